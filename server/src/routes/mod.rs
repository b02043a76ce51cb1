//! The endpoints, and what happens around each of them.

mod chunks;
mod commit;
mod drives;
mod feed;
mod health;
mod layer;
mod packs;
mod past;
mod tree;

use crate::{app::App, problem::Problem};
use axum::{
    Router,
    extract::Query,
    http::{StatusCode, Uri},
    middleware,
    routing::{delete, get, post},
};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Path of the feed, which is held open long.
const FEED: &str = "/v1/drives/{drive}/feed";
/// Path of a pack, whose body may take long.
const PACK: &str = "/v1/drives/{drive}/packs/{pack}";

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/v1/info", get(health::info))
        .route("/v1/drives", post(drives::create))
        .route("/v1/join", post(drives::join))
        .route("/v1/drives/{drive}", get(drives::describe))
        .route("/v1/drives/{drive}/invites", post(drives::invite))
        .route("/v1/drives/{drive}/snapshot", get(tree::snapshot))
        .route("/v1/drives/{drive}/changes", get(tree::changes))
        .route("/v1/drives/{drive}/trash", get(tree::trash))
        .route("/v1/drives/{drive}/nodes/{node}/children", get(tree::children))
        .route("/v1/drives/{drive}/nodes/{node}", get(tree::node))
        .route("/v1/drives/{drive}/nodes/{node}/versions", get(tree::versions))
        .route("/v1/drives/{drive}/at", get(past::at))
        .route("/v1/drives/{drive}/activity", get(past::activity))
        .route("/v1/drives/{drive}/devices", get(past::devices))
        .route("/v1/drives/{drive}/devices/{device}", delete(past::revoke))
        .route("/v1/drives/{drive}/purge", post(past::purge))
        .route("/v1/drives/{drive}/damaged", get(past::damaged))
        .route("/v1/drives/{drive}/commit", post(commit::commit))
        .route("/v1/drives/{drive}/content", post(chunks::content))
        .route("/v1/drives/{drive}/chunks/query", post(chunks::query))
        .route("/v1/drives/{drive}/chunks/read", post(chunks::read))
        .route(PACK, get(packs::get).head(packs::head).put(packs::put))
        .route(FEED, get(feed::feed))
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "invalid", "not with this method")
        })
        .layer(middleware::from_fn_with_state(app.clone(), layer::around))
        .with_state(app)
}

/// The parameters behind the path.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let parsed = Query::try_from_uri(uri);
    parsed.map(|Query(value)| value).map_err(|error| Problem::invalid(error.body_text()))
}
