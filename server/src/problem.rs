//! Refusals: what the other side gets to read when a request fails.

use axum::{
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use protocol::wire;
use std::{fmt::Display, time::Duration};

/// A refusal on its way out. Its body is written by the outermost layer, which knows the form that
/// the client reads.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) retry_after: Option<Duration>,
    /// For the log and the operator; never sent to a client.
    pub(crate) cause: Option<String>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { status, code, detail: detail.into(), retry_after: None, cause: None }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub(crate) fn gone(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::GONE, "gone", detail)
    }

    pub(crate) fn quota(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INSUFFICIENT_STORAGE, "quota", detail)
    }

    pub(crate) fn busy(detail: impl Into<String>, retry_after: Duration) -> Problem {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem { retry_after: Some(retry_after), ..Problem::new(status, "busy", detail) }
    }

    pub(crate) fn too_often(detail: impl Into<String>, retry_after: Duration) -> Problem {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Problem { retry_after: Some(retry_after), ..Problem::new(status, "busy", detail) }
    }

    /// A failure of the store itself. The cause goes to the log, not to the client.
    pub(crate) fn internal(what: &str, cause: &dyn Display) -> Problem {
        tracing::error!(what, %cause, "the store failed");
        let problem = Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the store failed; its log says why. Send the request again later",
        );
        Problem { cause: Some(format!("{what}: {cause}")), ..problem }
    }

    pub(crate) fn to_wire(&self) -> wire::Problem {
        wire::Problem {
            code: self.code.to_owned(),
            detail: self.detail.clone(),
            retry_after_ms: self.retry_after.map(|time| time.as_millis() as u64),
        }
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Problem {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            tracing::error!(%error, "the disk of the store is full");
            return Problem::busy(
                "the disk of the store is full; its operator must make room",
                Duration::from_secs(60),
            );
        }
        Problem::internal("database", &error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(time) = self.retry_after {
            let seconds = time.as_secs_f64().ceil().max(1.0) as u64;
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}
