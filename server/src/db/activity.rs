//! What was done when and by whom: the log, read for people.

use super::nodes::{self, Node, columns, from_row};
use crate::{
    db::{log, to_sql},
    ids::{Hash, Id},
    problem::Problem,
};
use protocol::{codec, limits, wire};
use rusqlite::{Connection, OptionalExtension, params};
use serde_bytes::ByteArray;

/// Bytes of the log that one page reads at most; at least one commit is always read.
const PAGE_BYTES: usize = 4 << 20;
/// Commits that one page looks at, also those that turn out to be of no interest.
const PAGE_LOOKED: usize = 10_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) since_ms: u64,
    pub(crate) until_ms: Option<u64>,
    pub(crate) after: u64,
    pub(crate) device: Option<Id>,
    pub(crate) node: Option<Id>,
}

/// A page of what was done.
pub(crate) fn page(
    conn: &Connection,
    drive: i64,
    asked: &Asked,
) -> Result<wire::Activity, Problem> {
    let (head, log_from) = log::bounds(conn, drive)?;
    let mut page = wire::Activity { entries: Vec::new(), next: None, log_from, head };
    let until = asked.until_ms.map_or(i64::MAX, to_sql);
    let revs = revs(conn, drive, asked)?;
    let mut query = conn.prepare_cached(
        "SELECT log.device, coalesce(device.label, ''), log.stored_ms, log.nodes FROM log \
         LEFT JOIN device ON device.id = log.device WHERE log.drive = ? AND log.rev = ?",
    )?;
    let (mut bytes, mut nodes) = (0, 0);
    let full = revs.len() == PAGE_LOOKED;
    let last = revs.last().copied();
    for rev in revs {
        if page.entries.len() == limits::PAGE_COMMITS
            || bytes > PAGE_BYTES
            || nodes >= limits::PAGE_COMMIT_NODES
        {
            page.next = page.entries.last().map(|entry| entry.rev);
            return Ok(page);
        }
        let row: Option<(Id, String, i64, Vec<u8>)> = query
            .query_row((drive, rev), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let Some((device, label, stored_ms, encoded)) = row else { continue };
        if stored_ms < to_sql(asked.since_ms) || stored_ms > until {
            continue;
        }
        bytes += encoded.len();
        let changes = changes(conn, drive, (rev, &encoded), asked.node)?;
        nodes += changes.len();
        page.entries.push(wire::ActivityEntry {
            rev: rev.cast_unsigned(),
            device: ByteArray::new(device),
            label,
            stored_ms: stored_ms.cast_unsigned(),
            changes,
        });
    }
    page.next = last.filter(|_| full).map(i64::cast_unsigned);
    Ok(page)
}

/// Revs that may be of interest, in order, a bounded list.
fn revs(conn: &Connection, drive: i64, asked: &Asked) -> Result<Vec<i64>, Problem> {
    let (after, most) = (to_sql(asked.after), PAGE_LOOKED as i64);
    if let Some(node) = asked.node {
        return revs_of_node(conn, drive, node, asked);
    }
    let since = to_sql(asked.since_ms);
    // The clock may have been set back: the first rev at or after the time, and all from there on.
    let first: Option<i64> = conn
        .prepare_cached("SELECT min(rev) FROM log WHERE drive = ? AND stored_ms >= ?")?
        .query_row((drive, since), |row| row.get(0))?;
    let Some(first) = first else { return Ok(Vec::new()) };
    let after = after.max(first - 1);
    let list = |sql: &str, device: Option<Id>| {
        let mut query = conn.prepare_cached(sql)?;
        let rows = query.query_map(params![drive, after, most, device], |row| row.get(0))?;
        rows.collect::<rusqlite::Result<Vec<i64>>>()
    };
    Ok(match asked.device {
        Some(device) => list(
            "SELECT rev FROM log WHERE drive = ?1 AND rev > ?2 AND device = ?4 ORDER BY rev LIMIT ?3",
            Some(device),
        )?,
        None => list(
            "SELECT rev FROM log WHERE drive = ?1 AND rev > ?2 AND ?4 IS NULL ORDER BY rev LIMIT ?3",
            None,
        )?,
    })
}

/// A node changed at the end of each state that history knows, and when the first began.
fn revs_of_node(
    conn: &Connection,
    drive: i64,
    node: Id,
    asked: &Asked,
) -> Result<Vec<i64>, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT rev FROM (SELECT rev_to AS rev FROM history WHERE drive = ?1 AND id = ?2 \
         UNION SELECT rev_from FROM history WHERE drive = ?1 AND id = ?2 \
         UNION SELECT max(meta_rev, content_rev) FROM node WHERE drive = ?1 AND id = ?2) \
         WHERE rev > ?3 ORDER BY rev LIMIT ?4",
    )?;
    let args = (drive, node, to_sql(asked.after), PAGE_LOOKED as i64);
    let revs = query.query_map(args, |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let Some(device) = asked.device else { return Ok(revs) };
    let mut of_device =
        conn.prepare_cached("SELECT 1 FROM log WHERE drive = ? AND rev = ? AND device = ?")?;
    let mut kept = Vec::new();
    for rev in revs {
        if of_device.exists((drive, rev, device))? {
            kept.push(rev);
        }
    }
    Ok(kept)
}

fn changes(
    conn: &Connection,
    drive: i64,
    (rev, encoded): (i64, &[u8]),
    only: Option<Id>,
) -> Result<Vec<wire::NodeChange>, Problem> {
    let states: Vec<wire::Node> =
        codec::decode(encoded).map_err(|error| Problem::internal("a row of the log", &error))?;
    let mut changes = Vec::new();
    for after in states.into_iter().filter(|node| only.is_none_or(|only| *node.id == only)) {
        let before = before(conn, drive, &after.id, rev)?.map(|(id, node)| node.to_wire(id));
        changes.push(wire::NodeChange { before, after });
    }
    Ok(changes)
}

/// The state that a commit ended.
fn before(conn: &Connection, drive: i64, id: &Id, rev: i64) -> Result<Option<(Id, Node)>, Problem> {
    let sql =
        concat!("SELECT ", columns!(), " FROM history WHERE drive = ? AND id = ? AND rev_to = ?");
    Ok(conn.prepare_cached(sql)?.query_row((drive, id, rev), from_row).optional()?)
}

/// The last commit at or before a time of this machine's clock.
///
/// # Errors
/// `gone` when what the tree held then is no longer kept: commits that ended that state are older
/// than `kept_from` on the age clock, or pruned.
pub(crate) fn moment(
    conn: &Connection,
    drive: i64,
    time_ms: u64,
    kept_from: i64,
) -> Result<wire::Moment, Problem> {
    let (head, log_from) = log::bounds(conn, drive)?;
    let found: Option<(i64, i64)> = conn
        .prepare_cached(
            "SELECT rev, stored_ms FROM log WHERE drive = ? AND stored_ms <= ? \
             ORDER BY stored_ms DESC, rev DESC LIMIT 1",
        )?
        .query_row((drive, to_sql(time_ms)), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (rev, stored_ms) = found.unwrap_or((0, 0));
    let rev = rev.cast_unsigned();
    check_kept(conn, drive, rev, (head, log_from), kept_from)?;
    Ok(wire::Moment { rev, stored_ms: stored_ms.cast_unsigned() })
}

/// Whether the tree at `rev` is still kept, with its contents.
pub(crate) fn check_kept(
    conn: &Connection,
    drive: i64,
    rev: u64,
    (head, log_from): (u64, u64),
    kept_from: i64,
) -> Result<(), Problem> {
    if rev > head {
        return Err(Problem::invalid(format!(
            "the drive is at rev {head}, {rev} is still to come"
        )));
    }
    let ended: Option<i64> = conn
        .prepare_cached("SELECT age FROM log WHERE drive = ? AND rev = ?")?
        .query_row((drive, to_sql(rev + 1)), |row| row.get(0))
        .optional()?;
    if rev < log_from || ended.is_some_and(|age| age < kept_from) {
        return Err(Problem::gone("the past of the drive is not kept that far back"));
    }
    Ok(())
}

/// Lets a node of the past speak of a version that is still kept: the last one before, else the
/// first one after.
pub(crate) fn with_kept_version(
    conn: &Connection,
    drive: i64,
    node: &mut wire::Node,
) -> Result<(), Problem> {
    if node.kind != nodes::FILE || node.head.is_none() {
        return Ok(());
    }
    let mut find = conn.prepare_cached(
        "SELECT rev, head FROM (SELECT * FROM (SELECT rev, head, 0 AS later FROM version \
         WHERE drive = ?1 AND node = ?2 AND rev <= ?3 ORDER BY rev DESC LIMIT 1) UNION ALL \
         SELECT * FROM (SELECT rev, head, 1 FROM version WHERE drive = ?1 AND node = ?2 \
         AND rev > ?3 ORDER BY rev LIMIT 1)) ORDER BY later LIMIT 1",
    )?;
    let kept: Option<(i64, Vec<u8>)> = find
        .query_row((drive, *node.id, to_sql(node.content_rev)), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    if let Some((rev, head)) = kept
        && rev.cast_unsigned() != node.content_rev
    {
        node.content_rev = rev.cast_unsigned();
        node.head = Some(serde_bytes::ByteBuf::from(head));
    }
    Ok(())
}

/// All devices of a drive, oldest first.
pub(crate) fn devices(conn: &Connection, drive: i64, own: Id) -> Result<wire::Devices, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT device.id, label, made_ms, revoked_ms, log.rev, log.stored_ms FROM device \
         LEFT JOIN log ON log.drive = device.drive AND log.rev = \
         (SELECT max(rev) FROM log WHERE drive = device.drive AND device = device.id) \
         WHERE device.drive = ? ORDER BY made_ms, device.id",
    )?;
    let number = |value: Option<i64>| value.map(i64::cast_unsigned);
    let rows = query.query_map([drive], |row| {
        let id: Id = row.get(0)?;
        Ok(wire::DeviceEntry {
            id: ByteArray::new(id),
            label: row.get(1)?,
            joined_ms: row.get::<_, i64>(2)?.cast_unsigned(),
            revoked_ms: number(row.get(3)?),
            last_rev: number(row.get(4)?),
            last_ms: number(row.get(5)?),
            own: id == own,
        })
    })?;
    Ok(wire::Devices { devices: rows.collect::<rusqlite::Result<_>>()? })
}

/// Makes a device's token good for nothing; the hash of its token, or `None` if there is no such
/// device. Asking again changes nothing.
pub(crate) fn revoke(
    conn: &Connection,
    drive: i64,
    device: &Id,
    now_ms: i64,
) -> Result<Option<Hash>, Problem> {
    conn.prepare_cached(
        "UPDATE device SET revoked_ms = coalesce(revoked_ms, ?) WHERE drive = ? AND id = ?",
    )?
    .execute((now_ms, drive, device))?;
    let mut query =
        conn.prepare_cached("SELECT token_hash FROM device WHERE drive = ? AND id = ?")?;
    Ok(query.query_row((drive, device), |row| row.get(0)).optional()?)
}
