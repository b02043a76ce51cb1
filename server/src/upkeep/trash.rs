//! What was in the trash long enough goes for good.

use super::{Doomed, Drive, ROWS_PER_JOB, Upkeep, explain::Report};
use crate::{
    db::{drives, to_sql},
    ids::Id,
    problem::Problem,
};
use protocol::codec::hex;
use rusqlite::Connection;

const WHY: &str = "in the trash long enough";

/// A node of the trash, its time there, and the bytes of its bodies.
#[derive(Clone, Copy, Debug)]
struct Row {
    node: Id,
    gone_age: i64,
    bytes: u64,
}

impl Upkeep {
    pub(super) async fn empty_trash(
        &self,
        drive: &Drive,
        report: &mut Report,
        doomed: &mut Doomed,
    ) -> Result<(), Problem> {
        let (num, until) = (drive.num, self.before(drive, self.keep.trash));
        let mut after = (i64::MIN, [0; 16]);
        loop {
            let rows = self.db.read(move |conn| read(conn, num, after, until)).await?;
            for row in &rows {
                report.done.trash.add(row.bytes);
                report.item(|| format!("removed node {}", hex(&row.node)), WHY, row.bytes);
            }
            let nodes: Vec<Id> = rows.iter().map(|row| row.node).collect();
            if drive.dry {
                let all = self.db.read(move |conn| versions(conn, num, &nodes)).await?;
                doomed.extend(all);
            } else if !nodes.is_empty() {
                self.db.write(move |conn| purge(conn, num, &nodes, Some(until))).await?;
            }
            match rows.last() {
                Some(last) if rows.len() == ROWS_PER_JOB => after = (last.gone_age, last.node),
                _ => break,
            }
        }
        if !drive.dry {
            self.db.write(move |conn| forget(conn, num)).await?;
        }
        Ok(())
    }
}

fn read(conn: &Connection, drive: i64, after: (i64, Id), until: i64) -> Result<Vec<Row>, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT id, gone_age, (SELECT coalesce(sum(length(body)), 0) FROM version \
         WHERE drive = ?1 AND node = node.id) FROM node WHERE drive = ?1 AND live = 0 \
         AND purged = 0 AND gone_age <= ?4 AND (gone_age, id) > (?2, ?3) \
         ORDER BY gone_age, id LIMIT ?5",
    )?;
    let args = (drive, after.0, after.1, until, ROWS_PER_JOB as i64);
    let rows = query.query_map(args, |row| {
        Ok(Row {
            node: row.get(0)?,
            gone_age: row.get(1)?,
            bytes: row.get::<_, i64>(2)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn versions(conn: &Connection, drive: i64, nodes: &[Id]) -> Result<Vec<(Id, u64)>, Problem> {
    let mut query = conn.prepare_cached("SELECT rev FROM version WHERE drive = ? AND node = ?")?;
    let mut all = Vec::new();
    for node in nodes {
        let revs = query.query_map((drive, node), |row| row.get::<_, i64>(0))?;
        for rev in revs {
            all.push((*node, rev?.cast_unsigned()));
        }
    }
    Ok(all)
}

/// Removes those of `nodes` for good that are in the trash (since `until` on the age clock at the
/// latest): their versions and their past. Their ids stay, so that they are never used again.
pub(crate) fn purge(
    conn: &Connection,
    drive: i64,
    nodes: &[Id],
    until: Option<i64>,
) -> Result<protocol::wire::Purged, Problem> {
    let mut mark = conn.prepare_cached(
        "UPDATE node SET purged = 1, head = NULL WHERE drive = ? AND id = ? AND live = 0 \
         AND purged = 0 AND gone_age <= ?",
    )?;
    let mut size = conn.prepare_cached(
        "SELECT coalesce(sum(length(body)), 0) FROM version WHERE drive = ? AND node = ?",
    )?;
    let mut versions = conn.prepare_cached("DELETE FROM version WHERE drive = ? AND node = ?")?;
    let mut past = conn.prepare_cached("DELETE FROM history WHERE drive = ? AND id = ?")?;
    let mut done = protocol::wire::Purged { nodes: 0, bytes: 0 };
    for node in nodes {
        if mark.execute((drive, node, until.unwrap_or(i64::MAX)))? == 0 {
            continue;
        }
        let bytes: i64 = size.query_row((drive, node), |row| row.get(0))?;
        versions.execute((drive, node))?;
        past.execute((drive, node))?;
        done.nodes += 1;
        done.bytes += bytes.cast_unsigned();
    }
    drives::discharge(conn, drive, done.bytes)?;
    Ok(done)
}

/// Ids of purged nodes need not be kept any longer than the log goes back: who has not heard of
/// their removal by then reads the drive anew.
fn forget(conn: &Connection, drive: i64) -> Result<(), Problem> {
    let (_, log_from) = crate::db::log::bounds(conn, drive)?;
    conn.prepare_cached(
        "DELETE FROM node WHERE drive = ?1 AND id IN (SELECT id FROM node WHERE drive = ?1 \
         AND live = 0 AND purged = 1 AND meta_rev <= ?2 LIMIT ?3)",
    )?
    .execute((drive, to_sql(log_from), ROWS_PER_JOB as i64))?;
    Ok(())
}
