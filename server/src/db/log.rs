//! The log of a drive: what each commit left behind.

use crate::{
    config::Bounds,
    db::{now_ms, to_sql},
    problem::Problem,
};
use protocol::{codec, limits, wire};
use rusqlite::Connection;
use serde_bytes::ByteArray;

/// Old rows that one commit removes at most, so that no commit waits long for tidiness.
const PRUNED_PER_COMMIT: i64 = 64;
/// Bytes of commits on one page of the log; at least one commit is always served.
const PAGE_BYTES: usize = 8 << 20;
/// Answers to requests are kept this long, in milliseconds: 30 days.
const REQUESTS_KEPT_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// Commits after `since`, as many as a page holds, and the head.
pub(crate) fn changes(conn: &Connection, drive: i64, since: u64) -> Result<wire::Changes, Problem> {
    let (head, from) = bounds(conn, drive)?;
    if since < from {
        return Err(Problem::gone(format!(
            "the log goes back to rev {from} only; read the drive anew from its snapshot"
        )));
    }
    let sql = "SELECT rev, request, device, node_count, nodes FROM log \
               WHERE drive = ? AND rev > ? ORDER BY rev";
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query((drive, to_sql(since)))?;
    let mut commits: Vec<wire::LogEntry> = Vec::new();
    let (mut nodes_left, mut bytes_left) = (limits::PAGE_COMMIT_NODES, PAGE_BYTES);
    while let Some(row) = rows.next()? {
        let count = row.get::<_, u32>(3)? as usize;
        let nodes = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
        let full =
            commits.len() == limits::PAGE_COMMITS || count > nodes_left || nodes.len() > bytes_left;
        if full && !commits.is_empty() {
            break;
        }
        nodes_left = nodes_left.saturating_sub(count);
        bytes_left = bytes_left.saturating_sub(nodes.len());
        commits.push(wire::LogEntry {
            rev: row.get::<_, i64>(0)?.cast_unsigned(),
            request: ByteArray::new(row.get(1)?),
            device: ByteArray::new(row.get(2)?),
            nodes: codec::decode(nodes)
                .map_err(|error| Problem::internal("a row of the log", &error))?,
        });
    }
    Ok(wire::Changes { commits, head })
}

/// The head of a drive, and the rev after which the log is whole.
pub(crate) fn bounds(conn: &Connection, drive: i64) -> Result<(u64, u64), Problem> {
    let mut query = conn.prepare_cached("SELECT head, log_from FROM drive WHERE num = ?")?;
    Ok(query.query_row([drive], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
    })?)
}

/// Forgets a few of the oldest commits that are beyond both bounds, with what the tree was then,
/// and a few old answers to requests.
pub(crate) fn prune(conn: &Connection, drive: i64, keep: &Bounds, age: i64) -> Result<(), Problem> {
    let now = now_ms();
    conn.prepare_cached(
        "DELETE FROM request WHERE rowid IN \
         (SELECT rowid FROM request WHERE stored_ms < ? ORDER BY stored_ms LIMIT ?)",
    )?
    .execute((now - REQUESTS_KEPT_MS, PRUNED_PER_COMMIT))?;
    let (head, from) = bounds(conn, drive)?;
    if head - from <= keep.log_commits {
        return Ok(());
    }
    let old = age - i64::try_from(keep.log_time.as_millis()).unwrap_or(i64::MAX);
    let newest_kept = to_sql(head - keep.log_commits);
    let until: Option<i64> = conn
        .prepare_cached(
            "SELECT max(rev) FROM (SELECT rev FROM log WHERE drive = ?1 AND rev > ?2 \
             AND rev <= ?3 AND age <= ?4 ORDER BY rev LIMIT ?5)",
        )?
        .query_row((drive, to_sql(from), newest_kept, old, PRUNED_PER_COMMIT), |row| row.get(0))?;
    let Some(until) = until else { return Ok(()) };
    conn.prepare_cached("DELETE FROM log WHERE drive = ? AND rev <= ?")?.execute((drive, until))?;
    conn.prepare_cached("DELETE FROM history WHERE drive = ? AND rev_to <= ?")?
        .execute((drive, until))?;
    conn.prepare_cached("UPDATE drive SET log_from = ? WHERE num = ?")?.execute((until, drive))?;
    Ok(())
}
