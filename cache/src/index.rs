//! The index: rows of the replica in SQLite, written by one thread, read by a few connections.

mod forget;
mod migrate;
mod read;
mod rows;
mod write;

pub(crate) use forget::forget_pending;
pub(crate) use read::{
    Readers, all_content, content_of, flights, graves, hot_nodes, load_with_ancestors, node_count,
    node_of,
};
pub(crate) use rows::{CONTENT_COLUMNS, NODE_COLUMNS, content_row, node_row};
pub(crate) use write::{
    Writer, delete_content, dig_grave, keep_only, put_content, put_flight, put_node, set_meta,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig};
use std::path::Path;
use std::time::Duration;

/// Page cache of the writing connection and of each reading one, in KiB.
const WRITER_CACHE_KIB: i64 = 16 << 10;
const READER_CACHE_KIB: i64 = 4 << 10;
/// Pages of 4 KiB in the write-ahead log before it is copied into the database.
const CHECKPOINT_PAGES: i64 = 4_000;
/// How long a connection waits for another's lock; only a checkpoint ever holds one for long.
const BUSY: Duration = Duration::from_secs(10);
/// Statements kept prepared per connection.
const STATEMENTS: usize = 64;
/// "mesh" in ASCII, so that `file` and we know whose database it is.
const APPLICATION_ID: i64 = 0x6d65_7368;

/// Names in the table `meta`.
pub(crate) mod meta {
    pub(crate) const APPLIED: &str = "applied_seq";
    pub(crate) const CURSOR: &str = "cursor";
    pub(crate) const EPOCH: &str = "epoch";
    pub(crate) const COMPLETE: &str = "complete";
    pub(crate) const HELD: &str = "held";
    /// 1 when a node with an access control list was ever put.
    pub(crate) const ACLS: &str = "acls";
    pub(crate) const LAST_INO: &str = "last_ino";
    /// Counts barriers: a row that changes so that a synced frame is written.
    pub(crate) const BARRIER: &str = "barrier";
}

/// Opens the index for writing, makes it if it is missing, and brings its tables up to date.
pub(crate) fn open(path: &Path) -> Result<Connection, migrate::Error> {
    let conn = connect(path, WRITER_CACHE_KIB)?;
    let id: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id == 0 {
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    } else if id != APPLICATION_ID {
        return Err(migrate::Error::Foreign);
    }
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    migrate::run(&conn)?;
    // A number of this index: another one means other inode numbers.
    conn.execute("INSERT OR IGNORE INTO meta (name, value) VALUES (?1, random())", [REPLICA])?;
    Ok(conn)
}

/// The name of that number in `meta`.
const REPLICA: &str = "replica";

pub(crate) use migrate::Error as OpenError;

fn connect(path: &Path, cache_kib: i64) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY)?;
    // Plans do not hang on what is bound: else a statement may be prepared anew for each new value.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.pragma_update(None, "synchronous", "normal")?;
    conn.pragma_update(None, "temp_store", "memory")?;
    Ok(conn)
}

/// Looks through the whole file for damage; `None` when it is sound.
pub(crate) fn quick_check(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then_some(verdict))
}

pub(crate) fn get_meta(conn: &Connection, name: &str) -> rusqlite::Result<Option<u64>> {
    let mut query = conn.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    query.query_row([name], |row| row.get::<_, i64>(0)).optional().map(|value| value.map(unsigned))
}

/// SQLite's integers are signed; ours are not. The bits are kept.
pub(crate) fn signed(value: u64) -> i64 {
    value.cast_signed()
}

pub(crate) fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}
