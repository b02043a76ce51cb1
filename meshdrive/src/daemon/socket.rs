//! The control socket: HTTP over a Unix socket, or a named pipe on Windows, that only its owner may open.

use crate::{failure::Outcome, system::Door};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use protocol::control::{
    CONTROL_PATH, REQUEST_BYTES, Refusal, RefusalCode, Reply, Request, STATUS_PATH,
};
use std::{future::Future, path::Path};

/// Whoever answers requests.
pub(crate) trait Clerk: Clone + Send + Sync + 'static {
    fn answer(&self, request: Request) -> impl Future<Output = Result<Reply, Refusal>> + Send;
}

/// A bound control socket. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Socket(Door);

impl Socket {
    /// Binds `path`. The caller holds the drive's lock, so nobody else listens there.
    pub(crate) fn bind(path: &Path) -> Outcome<Socket> {
        Door::bind(path).map(Socket)
    }

    /// Answers until `stop`, then lets running requests end.
    pub(crate) async fn serve<C: Clerk>(
        self,
        clerk: C,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let router = Router::new()
            .route(CONTROL_PATH, post(control::<C>))
            .route(STATUS_PATH, get(status::<C>))
            .layer(DefaultBodyLimit::max(REQUEST_BYTES))
            .with_state(clerk);
        if let Err(error) = axum::serve(self.0, router).with_graceful_shutdown(stop).await {
            tracing::error!(%error, "the control socket ended");
        }
    }
}

async fn control<C: Clerk>(State(clerk): State<C>, Json(request): Json<Request>) -> Response {
    respond(clerk.answer(request).await)
}

async fn status<C: Clerk>(State(clerk): State<C>) -> Response {
    respond(clerk.answer(Request::Status).await)
}

fn respond(answer: Result<Reply, Refusal>) -> Response {
    match answer {
        Ok(reply) => Json(reply).into_response(),
        Err(refusal) => {
            let status = match refusal.code {
                RefusalCode::NotFound => StatusCode::NOT_FOUND,
                RefusalCode::Invalid => StatusCode::BAD_REQUEST,
                _ => StatusCode::CONFLICT,
            };
            (status, Json(refusal)).into_response()
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
