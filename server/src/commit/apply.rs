//! Writes what the accepted groups of a commit have changed.

use super::view::View;
use crate::{
    db::{
        drives::{self, Device},
        nodes::Node,
        now_ms, to_sql,
    },
    ids::Id,
    problem::Problem,
};
use protocol::{codec, wire};
use rusqlite::params;
use std::rc::Rc;

/// Bytes of the states that one commit leaves in the log: it must fit in one answer.
const LOG_BYTES: usize = 12 << 20;

pub(super) fn write(
    view: &View<'_>,
    device: &Device,
    ask: &wire::Commit,
    quota_bytes: Option<u64>,
) -> Result<(), Problem> {
    let bodies: usize = view.published.iter().map(|(_, content)| content.body.len()).sum();
    if bodies > 0 {
        drives::charge(view.conn, view.drive, bodies as u64, quota_bytes)?;
    }
    let states = view.results()?;
    write_nodes(view, &states)?;
    write_versions(view, device)?;
    write_log(view, device, ask, &states)
}

/// Rows of history first, then names are freed, then new states are written, so that nodes of one
/// commit may trade names.
fn write_nodes(view: &View<'_>, states: &[(Id, Rc<Node>)]) -> Result<(), Problem> {
    let mut remember = view.conn.prepare_cached(
        "INSERT INTO history (drive, id, rev_to, rev_from, parent, name_key, name, kind, meta, \
         head, meta_rev, content_rev, live) \
         SELECT drive, id, ?3, max(meta_rev, content_rev), parent, name_key, name, kind, meta, \
         head, meta_rev, content_rev, live FROM node WHERE drive = ?1 AND id = ?2",
    )?;
    let mut free =
        view.conn.prepare_cached("UPDATE node SET live = 0 WHERE drive = ? AND id = ?")?;
    for ((id, old), (_, new)) in view.changed.iter().zip(states) {
        let Some(old) = old else { continue };
        remember.execute((view.drive, id, to_sql(view.rev)))?;
        let moved = (old.parent, old.name_key) != (new.parent, new.name_key);
        if old.live && (moved || !new.live) {
            free.execute((view.drive, id))?;
        }
    }
    let mut put = view.conn.prepare_cached(
        "INSERT INTO node (drive, id, parent, name_key, name, kind, meta, head, meta_rev, \
         content_rev, live, gone_age) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
         ON CONFLICT (drive, id) DO UPDATE SET parent = ?3, name_key = ?4, name = ?5, meta = ?7, \
         head = ?8, meta_rev = ?9, content_rev = ?10, live = ?11, gone_age = ?12",
    )?;
    for (id, node) in states {
        put.execute(params![
            view.drive,
            id,
            node.parent,
            node.name_key,
            node.name,
            node.kind,
            node.meta,
            node.head,
            to_sql(node.meta_rev),
            to_sql(node.content_rev),
            node.live,
            (!node.live).then_some(view.age),
        ])?;
    }
    Ok(())
}

fn write_versions(view: &View<'_>, device: &Device) -> Result<(), Problem> {
    let mut insert = view.conn.prepare_cached(
        "INSERT INTO version (drive, node, rev, head, body, refs, device, stored_ms, age) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for (id, content) in &view.published {
        let refs: Vec<u8> = content.refs.iter().flat_map(|id| **id).collect();
        insert.execute(params![
            view.drive,
            id,
            to_sql(view.rev),
            &content.head[..],
            &content.body[..],
            refs,
            device.id,
            now_ms(),
            view.age,
        ])?;
    }
    Ok(())
}

fn write_log(
    view: &View<'_>,
    device: &Device,
    ask: &wire::Commit,
    states: &[(Id, Rc<Node>)],
) -> Result<(), Problem> {
    let nodes: Vec<wire::Node> = states.iter().map(|(id, node)| node.to_wire(*id)).collect();
    let encoded = codec::encode(&nodes);
    if encoded.len() > LOG_BYTES {
        return Err(Problem::too_large(format!(
            "the nodes of this commit come to {} bytes, at most {LOG_BYTES} are allowed: split it",
            encoded.len()
        )));
    }
    view.conn
        .prepare_cached(
            "INSERT INTO log (drive, rev, request, device, node_count, nodes, stored_ms, age) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            view.drive,
            to_sql(view.rev),
            *ask.request,
            device.id,
            to_sql(nodes.len() as u64),
            encoded,
            now_ms(),
            view.age,
        ])?;
    view.conn
        .prepare_cached("UPDATE drive SET head = ?, depth_bound = ? WHERE num = ?")?
        .execute(params![to_sql(view.rev), to_sql(view.depth_bound as u64), view.drive])?;
    Ok(())
}
