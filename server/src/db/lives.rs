//! The lives of a store. When its data came back from a backup, commits that devices have seen may be
//! missing, and their revs will be given to others. So a new life begins, with an epoch of its own and
//! a note of where each drive stood: up to there it is the drive that the devices know.
//!
//! Two things begin a life: the database is another file than it was at the last start (a copy), or a
//! device has seen commits that are not here (a file that was copied over, a rewound disk).

use super::{now_ms, to_sql};
use crate::problem::Problem;
use protocol::wire;
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;

/// Lives that are remembered: devices that have not been seen for longer compare everything.
const REMEMBERED: i64 = 256;

/// Looks whether the database is the file that it was when it was last opened.
pub(super) fn at_start(conn: &Connection, file: &Path) -> rusqlite::Result<()> {
    let Some(found) = identity(file) else { return Ok(()) };
    let known: Option<i64> = conn.query_row("SELECT identity FROM store", [], |row| row.get(0))?;
    if known == Some(found) {
        return Ok(());
    }
    if known.is_some() {
        tracing::warn!(
            "the database is a copy of what it was: devices will be asked what it lacks"
        );
        begin(conn)?;
    }
    conn.execute("UPDATE store SET identity = ?", [found])?;
    Ok(())
}

/// What a copy of a file has different, also one that keeps its times: its birth, or its number where
/// the file system knows no birth. (Some give files new numbers whenever they are mounted.)
#[cfg(unix)]
fn identity(file: &Path) -> Option<i64> {
    let meta = std::fs::metadata(file).ok()?;
    let born = meta.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let number = || std::os::unix::fs::MetadataExt::ino(&meta);
    let what = born.map_or_else(number, |since| since.as_nanos() as u64);
    Some(what.cast_signed())
}

#[cfg(not(unix))]
fn identity(_: &Path) -> Option<i64> {
    None
}

/// A new life begins: every drive as it is now.
pub(crate) fn begin(conn: &Connection) -> rusqlite::Result<()> {
    let mut random = [0; 8];
    let made = getrandom::fill(&mut random);
    made.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let epoch = i64::from_le_bytes(random) & super::migrate::EPOCH_BITS;
    let sql = "INSERT INTO life (epoch, began_ms) VALUES (?, ?)";
    conn.execute(sql, (epoch, now_ms()))?;
    let life = conn.last_insert_rowid();
    let sql = "INSERT INTO life_start (drive, life, head) SELECT num, ?, head FROM drive";
    conn.execute(sql, [life])?;
    conn.execute("UPDATE store SET epoch = ?", [epoch])?;
    conn.execute("DELETE FROM life_start WHERE life <= ?", [life - REMEMBERED])?;
    conn.execute("DELETE FROM life WHERE num <= ?", [life - REMEMBERED])?;
    Ok(())
}

/// Whether a device has seen more of this life than there is: the data went back unnoticed.
pub(crate) fn went_back(drive: &wire::Drive, epoch: u64, known: u64) -> bool {
    epoch == drive.epoch && known > drive.head
}

/// Up to which rev the drive is the one that a device of life `epoch` knows. Nothing is known of a life
/// that began from another backup, or very long ago: 0.
pub(crate) fn common(conn: &Connection, drive: i64, epoch: u64) -> Result<u64, Problem> {
    let life: Option<i64> = conn
        .prepare_cached("SELECT num FROM life WHERE epoch = ?")?
        .query_row([to_sql(epoch)], |row| row.get(0))
        .optional()?;
    let Some(life) = life else { return Ok(0) };
    let sql = "SELECT coalesce((SELECT min(head) FROM life_start WHERE drive = ?1 AND life > ?2), \
               (SELECT head FROM drive WHERE num = ?1))";
    let head: i64 = conn.prepare_cached(sql)?.query_row((drive, life), |row| row.get(0))?;
    Ok(head.cast_unsigned())
}
