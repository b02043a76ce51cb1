//! Reading the tree: whole, by directory, or what has changed.

use super::query;
use crate::{
    app::App,
    auth::Caller,
    body::{Form, elsewhere},
    db::{
        activity, log, nodes,
        walk::{self, Position},
    },
    ids::{Id, from_path},
    problem::Problem,
};
use axum::{
    extract::{Path, State},
    http::Uri,
    response::Response,
};
use protocol::{limits, wire};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::sync::Arc;

#[derive(Deserialize)]
struct PageQuery {
    /// The `next` of the page before, in lower-case hex.
    after: Option<String>,
    limit: Option<usize>,
    /// For children: as they were at this rev.
    rev: Option<u64>,
}

impl PageQuery {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(limits::PAGE_NODES)
    }

    fn after(&self) -> Result<Option<Vec<u8>>, Problem> {
        let Some(text) = &self.after else { return Ok(None) };
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).ok().and_then(protocol::codec::unhex::<1>))
            .map(|byte| byte.map(|[byte]| byte))
            .collect();
        bytes.map(Some).ok_or_else(bad_position)
    }
}

fn bad_position() -> Problem {
    Problem::invalid("`after` must be the `next` of the page before, in lower-case hex")
}

pub(super) async fn snapshot(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    uri: Uri,
) -> Result<Response, Problem> {
    let ask: PageQuery = query(&uri)?;
    let after = match ask.after()? {
        Some(bytes) => Some(Position::decode(&bytes).ok_or_else(bad_position)?),
        None => None,
    };
    let limit = ask.limit();
    let page = app
        .db
        .read(move |conn| {
            let (page, rev, next) = walk::page(conn, device.drive, after, limit)?;
            let next = next.map(|position| ByteBuf::from(position.encode()));
            Ok(wire::Page { nodes: page.nodes, rev, next })
        })
        .await?;
    encoded(form, page).await
}

/// Encodes a long answer away from the threads that serve connections.
async fn encoded<T: Serialize + Send + 'static>(form: Form, value: T) -> Result<Response, Problem> {
    elsewhere(move || Ok(form.encode(&value))).await
}

pub(super) async fn children(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    Path((_, node)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let node: Id = from_path("node id", &node)?;
    let ask: PageQuery = query(&uri)?;
    let after = match ask.after()? {
        Some(bytes) => Some(child_position(&bytes).ok_or_else(bad_position)?),
        None => None,
    };
    let limit = ask.limit();
    let kept = app.past_kept_from();
    let page = app
        .db
        .read(move |conn| {
            let bounds = log::bounds(conn, device.drive)?;
            let rev = ask.rev.unwrap_or(bounds.0);
            let (nodes, last) = match ask.rev {
                None => nodes::children(conn, device.drive, &node, after, limit)?,
                Some(rev) => {
                    activity::check_kept(conn, device.drive, rev, bounds, kept)?;
                    walk::children_at(conn, (device.drive, rev), &node, after, limit)?
                }
            };
            let next = last.map(|(kind, id)| ByteBuf::from([&[kind][..], &id].concat()));
            Ok(wire::Page { nodes, rev, next })
        })
        .await?;
    encoded(form, page).await
}

#[derive(Deserialize)]
struct AtRev {
    rev: Option<u64>,
}

/// One node, as it is or as it was.
pub(super) async fn node(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    Path((_, node)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let node: Id = from_path("node id", &node)?;
    let ask: AtRev = query(&uri)?;
    let kept = app.past_kept_from();
    let found = app
        .db
        .read(move |conn| {
            let bounds = log::bounds(conn, device.drive)?;
            let rev = ask.rev.unwrap_or(bounds.0);
            activity::check_kept(conn, device.drive, rev, bounds, kept)?;
            walk::node_at(conn, (device.drive, rev), &node)
        })
        .await?;
    let node = found.ok_or_else(|| Problem::not_found("there was no such node"))?;
    Ok(form.encode(&node))
}

fn child_position(bytes: &[u8]) -> Option<nodes::ChildKey> {
    let (kind, id) = bytes.split_first()?;
    Some((*kind, id.try_into().ok()?))
}

#[derive(Deserialize)]
struct Since {
    since: u64,
}

pub(super) async fn changes(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    uri: Uri,
) -> Result<Response, Problem> {
    let Since { since } = query(&uri)?;
    let changes = app.db.read(move |conn| log::changes(conn, device.drive, since)).await?;
    encoded(form, changes).await
}

pub(super) async fn trash(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
) -> Result<Response, Problem> {
    let page = app
        .db
        .read(move |conn| {
            let (rev, _) = log::bounds(conn, device.drive)?;
            Ok(wire::Page { nodes: nodes::trash(conn, device.drive)?, rev, next: None })
        })
        .await?;
    Ok(form.encode(&page))
}

pub(super) async fn versions(
    State(app): State<Arc<App>>,
    Caller(device): Caller,
    form: Form,
    Path((_, node)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let node: Id = from_path("node id", &node)?;
    let versions = app
        .db
        .read(move |conn| {
            let versions = nodes::versions(conn, device.drive, &node)?;
            if versions.is_empty() && nodes::get(conn, device.drive, &node)?.is_none() {
                return Err(Problem::not_found("the drive has no such node"));
            }
            Ok(wire::Versions { versions })
        })
        .await?;
    Ok(form.encode(&versions))
}
