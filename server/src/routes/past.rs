//! What was: moments, what was done by whom, devices; and what to do about damage.

use super::query;
use crate::{
    app::App,
    auth::Caller,
    body::{self, Form, elsewhere},
    db::{
        activity::{self, Asked},
        damage, now_ms,
    },
    ids::{Id, from_path},
    problem::Problem,
    upkeep,
};
use axum::{
    extract::{Path, Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use protocol::{limits, wire};
use serde::Deserialize;
use serde_bytes::ByteArray;
use std::sync::Arc;

const BODY_BYTES: usize = 64 << 10;

#[derive(Deserialize)]
struct At {
    time_ms: u64,
}

impl App {
    /// The age from which on the past is kept whole.
    pub(super) fn past_kept_from(&self) -> i64 {
        let kept = self.config.keep.daily.min(self.config.keep.trash).as_millis();
        self.db.age().saturating_sub(i64::try_from(kept).unwrap_or(i64::MAX))
    }
}

pub(super) async fn at(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    uri: Uri,
) -> Result<Response, Problem> {
    let At { time_ms } = query(&uri)?;
    let kept = app.past_kept_from();
    let moment =
        app.db.read(move |conn| activity::moment(conn, device.drive, time_ms, kept)).await?;
    Ok(form.encode(&moment))
}

#[derive(Deserialize)]
struct ActivityQuery {
    #[serde(default)]
    since_ms: u64,
    until_ms: Option<u64>,
    #[serde(default)]
    after: u64,
    device: Option<String>,
    node: Option<String>,
}

pub(super) async fn activity(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    form: Form,
    uri: Uri,
) -> Result<Response, Problem> {
    let ask: ActivityQuery = query(&uri)?;
    let id = |what: &str, text: Option<String>| {
        text.map(|text| from_path::<16>(what, &text)).transpose()
    };
    let asked = Asked {
        since_ms: ask.since_ms,
        until_ms: ask.until_ms,
        after: ask.after,
        device: id("device id", ask.device)?,
        node: id("node id", ask.node)?,
    };
    let page = app.db.read(move |conn| activity::page(conn, caller.drive, &asked)).await?;
    elsewhere(move || Ok(form.encode(&page))).await
}

pub(super) async fn devices(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
) -> Result<Response, Problem> {
    let list = app.db.read(move |conn| activity::devices(conn, device.drive, device.id)).await?;
    Ok(form.encode(&list))
}

/// Any device of a drive may send any other away, also itself. Its feeds end at once.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    Path((_, other)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let other: Id = from_path("device id", &other)?;
    let token = app
        .db
        .write(move |conn| activity::revoke(conn, device.drive, &other, now_ms()))
        .await?
        .ok_or_else(|| Problem::not_found("the drive has no such device"))?;
    app.tokens.forget(&token);
    app.revoked.send_modify(|gone| {
        gone.insert(other);
    });
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn purge(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    request: Request,
) -> Result<Response, Problem> {
    let idle = app.config.bounds.body_idle_timeout;
    let ask: wire::Purge = body::decode(request, BODY_BYTES, idle).await?;
    let nodes: Vec<Id> = ask.nodes.iter().map(|id| **id).collect();
    let done = app.db.write(move |conn| upkeep::purge(conn, device.drive, &nodes, None)).await?;
    Ok(form.encode(&done))
}

/// Chunks that one answer lists at most, over all its items; at least one item is always whole.
const DAMAGED_CHUNKS: usize = limits::QUERY_IDS;

pub(super) async fn damaged(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
) -> Result<Response, Problem> {
    let items = app
        .db
        .read(move |conn| {
            let bad = damage::bad_chunks(conn, device.drive, false)?;
            Ok(damage::hurt(conn, device.drive, &bad, limits::CONTENT_ITEMS)?.0)
        })
        .await?;
    let mut room = DAMAGED_CHUNKS;
    let mut list = wire::Damaged { items: Vec::new() };
    for mut item in items {
        if room == 0 {
            break;
        }
        item.chunks.truncate(room);
        room -= item.chunks.len();
        list.items.push(wire::DamagedItem {
            node: ByteArray::new(item.node),
            rev: item.rev,
            current: item.current,
            chunks: item.chunks.into_iter().map(ByteArray::new).collect(),
        });
    }
    Ok(form.encode(&list))
}
