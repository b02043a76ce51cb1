//! Around every request: version, load, time, counters, and the form of refusals.

use super::{FEED, PACK};
use crate::{app::App, body::Form, problem::Problem};
use axum::{
    body::HttpBody,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse, Response},
};
use protocol::{PROTOCOL_HEADER, PROTOCOL_VERSION};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A pack of 16 MiB may take this long to arrive: 30 kB/s.
const PACK_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let form = Form::of(request.headers());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let endpoint = path.as_ref().map_or("other", MatchedPath::as_str);
    let response = guarded(&app, endpoint, request, next).await;
    let mut response = dressed(response, form);
    let version = HeaderValue::from_static(PROTOCOL_VERSION);
    response.headers_mut().insert(HeaderName::from_static(PROTOCOL_HEADER), version);
    app.metrics.answered(endpoint, response.status().as_u16(), began.elapsed());
    // Streams count what they send as they go.
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    app.metrics.bytes_out.inc_by(bytes);
    response
}

async fn guarded(app: &App, endpoint: &str, request: Request, next: Next) -> Response {
    if let Err(problem) = check_version(endpoint, request.headers()) {
        return problem.into_response();
    }
    if endpoint == FEED {
        return next.run(request).await;
    }
    let Ok(_turn) = app.in_work.try_acquire() else {
        let wait = Duration::from_millis(500);
        return Problem::busy("the store has too much to do; ask again", wait).into_response();
    };
    let put_pack = endpoint == PACK && request.method() == Method::PUT;
    let limit = if put_pack { PACK_TIMEOUT } else { app.config.bounds.request_timeout };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::busy(
            format!("the request took longer than {} s; send it again", limit.as_secs()),
            Duration::from_secs(1),
        )
        .into_response(),
    }
}

fn check_version(endpoint: &str, headers: &HeaderMap) -> Result<(), Problem> {
    if !endpoint.starts_with("/v1/") || endpoint == "/v1/info" {
        return Ok(());
    }
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    let theirs = headers.get(PROTOCOL_HEADER).and_then(|value| value.to_str().ok());
    if theirs.and_then(major) == major(PROTOCOL_VERSION) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UPGRADE_REQUIRED,
        "upgrade",
        format!(
            "this store speaks protocol {PROTOCOL_VERSION}, the request {}: bring both to the same \
             release",
            theirs.map_or("does not say (header meshdrive-protocol)", |theirs| theirs)
        ),
    ))
}

/// Gives a refusal its body. Refusals of the libraries below become refusals like ours.
fn dressed(mut response: Response, form: Form) -> Response {
    let status = response.status();
    let Some(problem) = response.extensions_mut().remove::<Problem>().or_else(|| foreign(status))
    else {
        return response;
    };
    let body = form.encode(&problem.to_wire());
    if let Some(kind) = body.headers().get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
    *response.body_mut() = body.into_body();
    response
}

fn foreign(status: StatusCode) -> Option<Problem> {
    let failed = status.is_client_error() || status.is_server_error();
    let code = if status.is_server_error() { "internal" } else { "invalid" };
    failed.then(|| Problem::new(status, code, status.canonical_reason().unwrap_or("refused")))
}
