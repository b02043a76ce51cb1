//! Reading contents and chunks.

use crate::{
    app::App,
    auth::Caller,
    body::{self, Form},
    db::{chunks, nodes},
    frames::{Frames, Reader},
    problem::Problem,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use protocol::{limits, wire};
use serde_bytes::ByteBuf;
use std::sync::Arc;

/// Bytes of the bodies of questions.
const BODY_BYTES: usize = 1 << 20;

pub(super) async fn query(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    request: Request,
) -> Result<Response, Problem> {
    let idle = app.config.bounds.body_idle_timeout;
    let ask: wire::ChunkQuery = body::decode(request, BODY_BYTES, idle).await?;
    let (drive, lease) = (device.drive, app.lease());
    let (ask, (mut present, short)) = app
        .db
        .read(move |conn| {
            let found = chunks::presence_of(conn, drive, &ask.chunks, lease)?;
            Ok((ask, found))
        })
        .await?;
    if !short.is_empty() {
        // Who hears that a chunk is here will name it: it must not go meanwhile.
        present = app
            .db
            .write(move |conn| {
                chunks::lease(conn, drive, short.into_iter(), lease)?;
                Ok(chunks::presence_of(conn, drive, &ask.chunks, lease)?.0)
            })
            .await?;
    }
    Ok(form.encode(&wire::ChunkPresence { present }))
}

pub(super) async fn read(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    request: Request,
) -> Result<Response, Problem> {
    let idle = app.config.bounds.body_idle_timeout;
    let ask: wire::ReadPieces = body::decode(request, BODY_BYTES, idle).await?;
    let pieces = app
        .db
        .read(move |conn| {
            let ids = ask.pieces.iter().map(|piece| *piece.chunk);
            let places = chunks::find_all(conn, device.drive, ids)?;
            Ok(ask.pieces.into_iter().zip(places).collect())
        })
        .await?;
    let place = app.stream_place(&device)?;
    let frames = Frames::new(app, device, pieces, place);
    let kind = HeaderValue::from_static("application/vnd.meshdrive.frames");
    Ok(([(CONTENT_TYPE, kind)], Body::from_stream(frames.stream())).into_response())
}

/// Largest first chunk, in bytes, that comes along with a version of several: as large as a page of a
/// manifest, without which nothing else of such a file can be asked for.
const FIRST_OF_MANY_BYTES: usize = 8 << 10;

pub(super) async fn content(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    request: Request,
) -> Result<Response, Problem> {
    let idle = app.config.bounds.body_idle_timeout;
    let ask: wire::ContentQuery = body::decode(request, BODY_BYTES, idle).await?;
    let shared = app.clone();
    let reply = app
        .db
        .read(move |conn| {
            let mut reader = Reader::new(&shared.packs, device.drive_id);
            let (mut items, mut room) = (Vec::with_capacity(ask.items.len()), limits::READ_BYTES);
            for wanted in &ask.items {
                let found = nodes::version(conn, device.drive, &wanted.node, wanted.rev)?;
                let size = found.as_ref().map_or(0, size_of);
                if size > room && !items.is_empty() {
                    break;
                }
                room = room.saturating_sub(size);
                let mut content = found;
                if ask.with_bytes
                    && let Some(content) = &mut content
                    && let [first, others @ ..] = &content.refs[..]
                    && let Some(place) = chunks::find(conn, device.drive, first)?
                    && (others.is_empty() || place.len as usize <= FIRST_OF_MANY_BYTES)
                    && place.len as usize <= room
                    && let Ok(chunk) = reader.whole(&place)
                {
                    room -= chunk.len();
                    content.chunk = Some(ByteBuf::from(chunk));
                }
                items.push(content);
            }
            Ok(form.encode(&wire::ContentReply { items }))
        })
        .await?;
    Ok(reply)
}

fn size_of(content: &wire::VersionContent) -> usize {
    content.head.len() + content.body.len() + 32 * content.refs.len()
}
