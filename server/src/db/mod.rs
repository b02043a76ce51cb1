//! The metadata: one SQLite file, one thread that writes, several connections that read.

pub(crate) mod activity;
mod ages;
pub(crate) mod chunks;
pub(crate) mod damage;
pub(crate) mod drives;
pub(crate) mod lives;
pub(crate) mod log;
mod migrate;
pub(crate) mod nodes;
mod readers;
pub(crate) mod walk;
mod writer;

use crate::problem::Problem;
use ages::Ages;
use readers::Readers;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use writer::Writer;

/// Name of the database file in the data directory.
const FILE: &str = "store.db";
/// Memory for pages of the database, of the writer and of each reader, in KiB (negative for SQLite).
const WRITER_CACHE_KIB: i64 = -65_536;
const READER_CACHE_KIB: i64 = -16_384;
/// The log of SQLite is folded back into the file after this many pages of 4 KiB.
const CHECKPOINT_PAGES: i64 = 4_000;
/// Statements that stay prepared on each connection.
const PREPARED: usize = 64;
/// Part of the file that is mapped, in bytes.
const MAPPED_BYTES: i64 = 256 << 20;

#[derive(Debug)]
pub(crate) struct Db {
    writer: Writer,
    readers: Readers,
    ages: Ages,
}

impl Db {
    /// Opens (or makes) the database in `dir` and brings it to the schema of this program.
    pub(crate) fn open(dir: &Path) -> Result<Db, OpenError> {
        let file = dir.join(FILE);
        let fail = |source| OpenError::Sqlite { file: file.clone(), source };
        let mut conn = Connection::open(&file).map_err(fail)?;
        prepare(&conn, WRITER_CACHE_KIB).map_err(fail)?;
        conn.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
        conn.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
        conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(fail)?;
        migrate::to_current(&mut conn, &file)?;
        let age: i64 =
            conn.query_row("SELECT age FROM store", [], |row| row.get(0)).map_err(fail)?;
        let open_reader = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let conn = Connection::open_with_flags(&file, flags)?;
            prepare(&conn, READER_CACHE_KIB)?;
            conn.pragma_update(None, "query_only", true)?;
            Ok(conn)
        };
        let readers = Readers::open(open_reader).map_err(fail)?;
        let writer = Writer::spawn(conn).map_err(OpenError::Thread)?;
        Ok(Db { writer, readers, ages: Ages::from(age) })
    }

    /// The time of the age clock in milliseconds.
    pub(crate) fn age(&self) -> i64 {
        self.ages.now()
    }

    /// Notes the age clock, so that it goes on from here.
    pub(crate) async fn keep_age(&self) -> Result<(), Problem> {
        let age = self.age();
        self.write(move |conn| {
            conn.execute("UPDATE store SET age = max(age, ?)", [age])?;
            Ok(())
        })
        .await
    }

    /// Runs `work` in a transaction of its own; returns after it is on the disk. An error undoes it.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.writer.run(work).await
    }

    /// Runs `work` on one consistent state of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.readers.run(work).await
    }

    /// Finishes what was begun and closes all connections.
    pub(crate) fn close(&self) {
        self.readers.close();
        self.writer.close();
    }
}

fn prepare(conn: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(PREPARED);
    conn.busy_timeout(std::time::Duration::from_secs(10))?;
    // Plans do not hang on what is bound: else a statement is prepared anew for each new value
    // wherever an index is partial.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.pragma_update(None, "cache_size", cache_kib)?;
    conn.pragma_update(None, "mmap_size", MAPPED_BYTES)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database {}: {source}", file.display())]
    Sqlite { file: PathBuf, source: rusqlite::Error },
    #[error(
        "the database {} has schema {found}, this program knows up to {known}: use a newer meshdrive",
        file.display()
    )]
    Newer { file: PathBuf, found: i64, known: i64 },
    #[error("random bytes from the operating system: {0}")]
    Random(getrandom::Error),
    #[error("starting the thread that writes the database: {0}")]
    Thread(std::io::Error),
}

/// Milliseconds since 1970 by the clock of this machine.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A number of the wire as SQLite holds it. What is too large is larger than anything stored.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn a_statement_is_prepared_once_for_all_values() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        let mut conn = Connection::open(&file).unwrap();
        prepare(&conn, READER_CACHE_KIB).unwrap();
        migrate::to_current(&mut conn, &file).unwrap();
        for id in 0..9 {
            assert_eq!(chunks::find(&conn, 1, &[id; 32]).unwrap(), None);
        }
        let query = conn.prepare_cached(chunks::FIND).unwrap();
        assert_eq!(query.get_status(StatementStatus::Run), 9);
        assert_eq!(query.get_status(StatementStatus::RePrepare), 0);
    }
}
