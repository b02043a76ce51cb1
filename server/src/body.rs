//! Bodies: read with bounds, written as CBOR or, for people, as JSON.

use crate::problem::Problem;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Request},
    http::{
        HeaderMap, HeaderValue,
        header::{ACCEPT, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use protocol::codec;
use serde::{Serialize, de::DeserializeOwned};
use std::{convert::Infallible, time::Duration};

/// Bodies from this size on, in bytes, are decoded away from the threads that serve connections.
const DECODE_ELSEWHERE: usize = 64 << 10;

/// The form of answer that the client reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Cbor,
    Json,
}

impl Form {
    pub(crate) fn of(headers: &HeaderMap) -> Form {
        let wanted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
        if wanted.contains("application/json") { Form::Json } else { Form::Cbor }
    }

    pub(crate) fn encode<T: Serialize>(self, value: &T) -> Response {
        match self {
            Form::Cbor => cbor(codec::encode(value)),
            Form::Json => {
                let kind = HeaderValue::from_static("application/json");
                ([(CONTENT_TYPE, kind)], codec::encode_json(value)).into_response()
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Form {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Form, Infallible> {
        Ok(Form::of(&parts.headers))
    }
}

/// An answer of bytes that are CBOR already.
pub(crate) fn cbor(bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(codec::CBOR))], bytes).into_response()
}

/// Reads a body of at most `limit` bytes, whose parts come no further than `idle` apart.
pub(crate) async fn read(body: Body, limit: usize, idle: Duration) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(part) = next(&mut stream, idle).await? {
        if whole.len() + part.len() > limit {
            return Err(Problem::too_large(format!("the body may have {limit} bytes at most")));
        }
        whole.extend_from_slice(&part);
    }
    Ok(Bytes::from(whole))
}

/// The next part of a body; `None` at its end.
pub(crate) async fn next(
    stream: &mut axum::body::BodyDataStream,
    idle: Duration,
) -> Result<Option<Bytes>, Problem> {
    match tokio::time::timeout(idle, stream.next()).await {
        Ok(Some(Ok(part))) => Ok(Some(part)),
        Ok(Some(Err(error))) => Err(Problem::invalid(format!("the body broke off: {error}"))),
        Ok(None) => Ok(None),
        Err(_) => Err(Problem::new(
            axum::http::StatusCode::REQUEST_TIMEOUT,
            "busy",
            format!("no byte of the body came for {} s; send it again", idle.as_secs()),
        )),
    }
}

/// Reads and decodes a CBOR body.
pub(crate) async fn decode<T>(request: Request, limit: usize, idle: Duration) -> Result<T, Problem>
where
    T: DeserializeOwned + Send + 'static,
{
    let bytes = read(request.into_body(), limit, idle).await?;
    let malformed = |error: codec::DecodeError| {
        Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid", error.to_string())
    };
    if bytes.len() < DECODE_ELSEWHERE {
        return codec::decode(&bytes).map_err(malformed);
    }
    elsewhere(move || codec::decode(&bytes).map_err(malformed)).await
}

/// Runs `work` on a thread that may block.
pub(crate) async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Problem::internal("a worker", &error)),
    }
}
