//! Packs in, packs out.

use crate::{
    app::{App, Place},
    auth::Caller,
    body::{self, elsewhere},
    db::{
        chunks::{self, StoredPack},
        drives::Device,
    },
    ids::{Hash, from_path},
    packs::{Incoming, read_at},
    problem::Problem,
};
use axum::{
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE},
    },
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};
use protocol::{limits::PACK_BYTES, pack::read_trailer};
use rusqlite::Connection;
use std::{fs::File, io, sync::Arc};

/// Bytes that are written, or read, at once.
const STEP_BYTES: usize = 512 << 10;

/// Stores a pack: 201 if it was new, 204 if it was here.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    Path((_, pack)): Path<(String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let id: Hash = from_path("pack id", &pack)?;
    if app.db.read(move |conn| chunks::is_complete(conn, device.drive, &id)).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    check_size(&app, &device, request.headers()).await?;
    let incoming = receive(&app, request).await?;
    // A task of its own: what has arrived whole is kept also if its sender has gone away.
    let task = tokio::spawn(async move { keep(app, device, id, incoming).await });
    let new = task.await.map_err(|error| Problem::internal("pack", &error))??;
    Ok(if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

/// Refuses early what would be refused in the end.
async fn check_size(app: &App, device: &Device, headers: &HeaderMap) -> Result<(), Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let length: u64 = length.unwrap_or(0);
    if length > PACK_BYTES as u64 {
        return Err(too_large());
    }
    let Some(quota) = app.config.quota_bytes else { return Ok(()) };
    let drive = super::drives::current(app, device.drive).await?;
    if drive.used_bytes.saturating_add(length) > quota {
        return Err(Problem::quota(format!(
            "the drive holds {} of {quota} bytes, the pack has {length}: make room or ask its \
             operator for more",
            drive.used_bytes
        )));
    }
    Ok(())
}

fn too_large() -> Problem {
    Problem::too_large(format!("a pack may have {PACK_BYTES} bytes at most"))
}

fn disk(error: &io::Error) -> Problem {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        tracing::error!(%error, "the disk of the store is full");
        return Problem::busy(
            "the disk of the store is full; its operator must make room",
            std::time::Duration::from_secs(60),
        );
    }
    Problem::internal("the folder of packs", error)
}

/// Writes the body to a file of its own, a step at a time.
async fn receive(app: &Arc<App>, request: Request) -> Result<Incoming, Problem> {
    let idle = app.config.bounds.body_idle_timeout;
    let mut stream = request.into_body().into_data_stream();
    let shared = app.clone();
    let mut incoming = elsewhere(move || shared.packs.incoming().map_err(|e| disk(&e))).await?;
    let mut total = 0;
    loop {
        let (mut parts, mut gathered) = (Vec::new(), 0);
        while gathered < STEP_BYTES
            && let Some(part) = body::next(&mut stream, idle).await?
        {
            gathered += part.len();
            parts.push(part);
        }
        total += gathered;
        if total > PACK_BYTES {
            return Err(too_large());
        }
        if gathered == 0 {
            app.metrics.bytes_in.inc_by(total as u64);
            return Ok(incoming);
        }
        incoming = elsewhere(move || {
            parts.iter().try_for_each(|part| incoming.write(part)).map_err(|e| disk(&e))?;
            Ok(incoming)
        })
        .await?;
    }
}

/// Checks a pack, gives it its place and enters its chunks. False: it was there already.
async fn keep(
    app: Arc<App>,
    device: Device,
    id: Hash,
    incoming: Incoming,
) -> Result<bool, Problem> {
    let stopping = |error| Problem::internal("pack", &error);
    let turn = app.pack_checks.acquire().await.map_err(stopping)?;
    let shared = app.clone();
    let pack = elsewhere(move || {
        if incoming.hash() != id {
            return Err(Problem::invalid(
                "the bytes of the pack do not match its id; send them again",
            ));
        }
        let bytes = incoming.bytes().map_err(|error| disk(&error))?;
        let entries = read_trailer(&bytes).map_err(|error| Problem::invalid(error.to_string()))?;
        shared.packs.keep(&incoming, &device.drive_id, &id).map_err(|error| disk(&error))?;
        let (age, lease) = (shared.db.age(), shared.lease());
        Ok(StoredPack { id, size: bytes.len() as u64, entries, age, lease })
    })
    .await?;
    drop(turn);
    let quota = app.config.quota_bytes;
    let shared = app.clone();
    let enter = move |conn: &Connection| {
        // Files of packs are removed by jobs of this thread only, so what is here now stays.
        if !shared.packs.has(&device.drive_id, &id) {
            let wait = std::time::Duration::from_millis(100);
            return Err(Problem::busy("the pack was cleared away as it came; send it again", wait));
        }
        chunks::enter(conn, device.drive, &pack, quota)
    };
    let new = app.db.write(enter).await?;
    app.metrics.packs.inc_by(u64::from(new));
    Ok(new)
}

async fn size_of(app: &App, device: Device, pack: &str) -> Result<(Hash, u64), Problem> {
    let id: Hash = from_path("pack id", pack)?;
    let size = app.db.read(move |conn| chunks::pack_size(conn, device.drive, &id)).await?;
    let size = size.ok_or_else(|| Problem::not_found("the drive has no such pack"))?;
    Ok((id, size))
}

fn headers(size: u64) -> [(axum::http::HeaderName, HeaderValue); 3] {
    [
        (CONTENT_TYPE, HeaderValue::from_static("application/vnd.meshdrive.pack")),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CONTENT_LENGTH, HeaderValue::from(size)),
    ]
}

pub(super) async fn head(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    Path((_, pack)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (_, size) = size_of(&app, device, &pack).await?;
    Ok(headers(size).into_response())
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    Path((_, pack)): Path<(String, String)>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let (id, size) = size_of(&app, device, &pack).await?;
    let range = asked.get(RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range);
    let part = match range {
        None => 0..size,
        Some(range) => match range.within(size) {
            Some(part) => part,
            None => {
                let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
                let value = HeaderValue::try_from(format!("bytes */{size}"));
                response.headers_mut().extend(value.ok().map(|value| (CONTENT_RANGE, value)));
                return Ok(response);
            }
        },
    };
    let shared = app.clone();
    let file =
        elsewhere(move || shared.packs.read(&device.drive_id, &id).map_err(|error| disk(&error)))
            .await?;
    let place = app.stream_place(&device)?;
    let body = Body::from_stream(read_stream(app, file, part.clone(), place));
    let mut response = (headers(part.end - part.start), body).into_response();
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        let value = HeaderValue::try_from(value);
        response.headers_mut().extend(value.ok().map(|value| (CONTENT_RANGE, value)));
    }
    Ok(response)
}

/// The range of RFC 9110, 14.1.2, of which one is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteRange {
    From(u64, u64),
    Last(u64),
}

/// `None`: not one range of bytes, so the whole is served (RFC 9110, 14.2).
fn parse_range(header: &str) -> Option<ByteRange> {
    let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        return Some(ByteRange::Last(last.parse().ok()?));
    }
    let first = first.parse().ok()?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    (first <= last).then_some(ByteRange::From(first, last))
}

impl ByteRange {
    fn within(self, size: u64) -> Option<std::ops::Range<u64>> {
        let part = match self {
            ByteRange::From(first, last) => first..last.saturating_add(1).min(size),
            ByteRange::Last(count) => size.saturating_sub(count)..size,
        };
        (part.start < part.end).then_some(part)
    }
}

/// Reads a part of a file as the client takes it.
fn read_stream(
    app: Arc<App>,
    file: File,
    part: std::ops::Range<u64>,
    place: Place,
) -> impl Stream<Item = Result<Bytes, Problem>> {
    stream::try_unfold((app, Arc::new(file), part, place), |(app, file, part, place)| async move {
        if part.is_empty() {
            return Ok(None);
        }
        let len = (part.end - part.start).min(STEP_BYTES as u64);
        let from = file.clone();
        let bytes = elsewhere(move || {
            let mut bytes = vec![0; len as usize];
            read_at(&from, &mut bytes, part.start).map_err(|error| disk(&error))?;
            Ok(Bytes::from(bytes))
        })
        .await?;
        app.metrics.bytes_out.inc_by(len);
        Ok(Some((bytes, (app, file, part.start + len..part.end, place))))
    })
}
