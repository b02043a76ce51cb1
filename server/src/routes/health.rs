//! For operators and for first contact.

use crate::{app::App, body::Form, db::now_ms, problem::Problem};
use axum::{
    extract::{ConnectInfo, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use protocol::{PROTOCOL_VERSION, wire};
use std::{net::SocketAddr, sync::Arc, time::Duration};

pub(super) async fn info(form: Form) -> Response {
    form.encode(&wire::Info {
        protocol: PROTOCOL_VERSION.to_owned(),
        server: concat!("meshdrive/", env!("CARGO_PKG_VERSION")).to_owned(),
        time_ms: now_ms().cast_unsigned(),
    })
}

pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// Ready when the database answers and the store is not about to stop.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if *app.stopping.borrow() {
        return Err(Problem::busy("the store is stopping", Duration::from_secs(1)));
    }
    app.db.read(|conn| Ok(conn.query_row("SELECT epoch FROM store", [], |_| Ok(()))?)).await?;
    Ok("ready\n")
}

/// Numbers about the store are for its own machine.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Result<Response, Problem> {
    if !peer.ip().to_canonical().is_loopback() {
        return Err(Problem::not_found("there is nothing at this path"));
    }
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(CONTENT_TYPE, kind)], app.metrics.render()).into_response())
}
