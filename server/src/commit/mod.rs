//! The commit: groups of operations, each taken or refused as a whole, all taken ones in one rev.

mod apply;
mod check;
mod shape;
mod view;

use crate::{
    config::Bounds,
    db::{
        chunks::{self, Lease, Survey},
        drives::Device,
        log, now_ms,
    },
    ids::Hash,
    problem::Problem,
};
use check::Verdict;
use protocol::{codec, wire};
use rusqlite::{Connection, OptionalExtension};
use view::View;

/// Bytes of node states that all conflicts of one reply carry together; beyond that they carry none,
/// and the client learns the states from the log.
const CONFLICT_BYTES: usize = 1 << 20;

/// What a commit came to.
#[derive(Debug)]
pub(crate) struct Done {
    /// The encoded `wire::CommitReply`.
    pub(crate) reply: Vec<u8>,
    /// The new head, if there is one.
    pub(crate) rev: Option<u64>,
    /// Operations that took effect.
    pub(crate) ops: usize,
}

/// A commit on its way in.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) device: Device,
    pub(crate) commit: wire::Commit,
    pub(crate) survey: Survey,
    /// Now, and the lease of the chunks that it names.
    pub(crate) age: i64,
    pub(crate) lease: Lease,
}

/// Every chunk that the contents of a commit speak of.
pub(crate) fn refs(commit: &wire::Commit) -> impl Iterator<Item = Hash> + '_ {
    let contents = commit.groups.iter().flatten().filter_map(shape::content_of);
    contents.flat_map(|content| &content.refs).map(|id| **id)
}

/// Checks and applies one commit, inside the caller's transaction. The same request of the same
/// device again is answered with the same bytes.
pub(crate) fn commit(
    conn: &Connection,
    sent: Sent,
    quota_bytes: Option<u64>,
    keep: &Bounds,
) -> Result<Done, Problem> {
    let Sent { device, commit: ask, survey, age, lease } = sent;
    let (device, ask) = (&device, &ask);
    if let Some(reply) = stored_reply(conn, device, ask)? {
        return Ok(Done { reply, rev: None, ops: 0 });
    }
    let mut view = View::load(conn, device.drive, survey, age)?;
    let mut room = CONFLICT_BYTES;
    let (mut outcomes, mut ops) = (Vec::with_capacity(ask.groups.len()), 0);
    for group in &ask.groups {
        outcomes.push(match check::group(&mut view, group)? {
            Verdict::Taken => {
                ops += group.len();
                view.accept(group)?;
                wire::Outcome::Done { rev: view.rev }
            }
            Verdict::Refused(outcome) => {
                view.refuse(group);
                within_room(outcome, &mut room)
            }
        });
    }
    let rev = if ops == 0 { view.rev - 1 } else { view.rev };
    let reply = codec::encode(&wire::CommitReply { rev, outcomes });
    if ops > 0 {
        apply::write(&view, device, ask, quota_bytes)?;
        let named = view.published.iter().flat_map(|(_, content)| &content.refs);
        chunks::lease(conn, device.drive, named.map(|id| **id), lease)?;
        log::prune(conn, device.drive, keep, age)?;
    }
    store_reply(conn, device, ask, &reply)?;
    Ok(Done { reply, rev: (ops > 0).then_some(rev), ops })
}

fn within_room(outcome: wire::Outcome, room: &mut usize) -> wire::Outcome {
    let wire::Outcome::Conflict { nodes } = outcome else { return outcome };
    let size: usize = nodes.iter().map(|node| node.meta.len() + node.name.len() + 512).sum();
    if size > *room {
        *room = 0;
        return wire::Outcome::Conflict { nodes: Vec::new() };
    }
    *room -= size;
    wire::Outcome::Conflict { nodes }
}

fn stored_reply(
    conn: &Connection,
    device: &Device,
    ask: &wire::Commit,
) -> Result<Option<Vec<u8>>, Problem> {
    let sql = "SELECT reply FROM request WHERE device = ? AND id = ?";
    let mut query = conn.prepare_cached(sql)?;
    Ok(query.query_row((device.id, *ask.request), |row| row.get(0)).optional()?)
}

/// Refusals are stored, too: a late copy of a request must not take effect after its sender has
/// read that it did not.
fn store_reply(
    conn: &Connection,
    device: &Device,
    ask: &wire::Commit,
    reply: &[u8],
) -> Result<(), Problem> {
    let sql = "INSERT INTO request (device, id, reply, stored_ms) VALUES (?, ?, ?, ?)";
    conn.prepare_cached(sql)?.execute((device.id, *ask.request, reply, now_ms()))?;
    Ok(())
}
