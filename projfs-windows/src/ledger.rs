//! What the driver keeps across restarts, in one SQLite file: places to look at, and what was last
//! known to be the same on the disk and in the core.
//!
//! Nothing here is the only copy of anything. A damaged file is put aside and a fresh one is made; then
//! the whole disk is looked at, and files of an unknown version are compared or kept twice.

use crate::{
    decide::{Known, Print, Shown},
    path::{Place, SEPARATOR},
};
use fs_core::{Ino, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Layout of the file. A file of another one is put aside like a damaged one.
const FORMAT: i64 = 1;
/// Distinguishes our file from those of other programs (SQLite's application id): "MDpj".
const APPLICATION: i64 = 0x4d44_706a;
/// Statements that are kept prepared.
const STATEMENTS: usize = 16;

const TABLES: &str = "
    CREATE TABLE queue (id INTEGER PRIMARY KEY AUTOINCREMENT, place BLOB NOT NULL, target BLOB,
        removed INTEGER NOT NULL) STRICT;
    CREATE TABLE known (key BLOB PRIMARY KEY, ino INTEGER NOT NULL, size INTEGER NOT NULL,
        mtime INTEGER NOT NULL, is_dir INTEGER NOT NULL, print_size INTEGER, print_written INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE replica (id BLOB NOT NULL) STRICT;
";

#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct LedgerError {
    path: String,
    source: rusqlite::Error,
}

/// A place to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hint {
    pub place: Place,
    /// A program has moved it there.
    pub target: Option<Place>,
    /// A program has removed it. Without that a mark of removal at the place may be half of a move, the
    /// other half of which is yet to be told.
    pub removed: bool,
}

impl Hint {
    #[must_use]
    pub fn look(place: Place) -> Hint {
        Hint { place, target: None, removed: false }
    }
}

/// Where something that was moved has gone since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trail {
    pub end: Place,
    /// Something that waits in the queue tells more about that place.
    pub goes_on: bool,
}

/// What opening found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    Kept,
    Fresh,
    /// It was damaged, and is kept under this name.
    Damaged(PathBuf),
}

/// The file. Any thread may use it.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Ledger {
    /// Opens or makes the file. `replica` names the local state that inode numbers belong to: with
    /// another one, everything known is forgotten.
    ///
    /// # Errors
    /// When the file can neither be used nor put aside.
    pub fn open(path: &Path, replica: &[u8; 16]) -> Result<(Ledger, Found), LedgerError> {
        let is_there = path.exists();
        match Ledger::attempt(path, replica) {
            Ok((ledger, same)) if is_there && same => Ok((ledger, Found::Kept)),
            Ok((ledger, _)) => Ok((ledger, Found::Fresh)),
            Err(error) if is_there => {
                tracing::warn!(path = %path.display(), %error, "damaged; it is put aside");
                let aside = put_aside(path);
                let (ledger, _) = Ledger::attempt(path, replica)?;
                Ok((ledger, Found::Damaged(aside)))
            }
            Err(error) => Err(error),
        }
    }

    fn attempt(path: &Path, replica: &[u8; 16]) -> Result<(Ledger, bool), LedgerError> {
        let fail = |source| LedgerError { path: path.display().to_string(), source };
        let connection = Connection::open(path).map_err(fail)?;
        let same = prepare(&connection, replica).map_err(fail)?;
        let ledger = Ledger { path: path.to_owned(), connection: Mutex::new(connection) };
        Ok((ledger, same))
    }

    /// Adds a place to the end of the queue. When this returns, it survives the end of the process.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&self, hint: &Hint) -> Result<(), LedgerError> {
        self.with(|connection| {
            let mut add = connection
                .prepare_cached("INSERT INTO queue (place, target, removed) VALUES (?1, ?2, ?3)")?;
            add.execute(params![
                bytes(hint.place.units()),
                hint.target.as_ref().map(|target| bytes(target.units())),
                hint.removed,
            ])
            .map(drop)
        })
    }

    /// The oldest place in the queue; it stays there until it is done.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next(&self, after: i64) -> Result<Option<(i64, Hint)>, LedgerError> {
        self.with(|connection| {
            let mut first = connection.prepare_cached(
                "SELECT id, place, target, removed FROM queue WHERE id > ?1 ORDER BY id LIMIT 1",
            )?;
            first
                .query_row([after], |row| {
                    let target: Option<Vec<u8>> = row.get(2)?;
                    let target = target.map(|target| Place::new(&units(&target)));
                    let place = Place::new(&units(&row.get::<_, Vec<u8>>(1)?));
                    Ok((row.get(0)?, Hint { place, target, removed: row.get(3)? }))
                })
                .optional()
        })
    }

    /// Where something that was moved to `place` has gone since, by what waits behind entry `after`; at
    /// most `steps` moves are followed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn follow(
        &self,
        mut after: i64,
        place: &Place,
        steps: usize,
    ) -> Result<Trail, LedgerError> {
        let mut at = place.clone();
        for _ in 0..steps {
            let next = self.with(|connection| {
                let mut find = connection.prepare_cached(
                    "SELECT id, target FROM queue
                     WHERE id > ?1 AND place = ?2 AND target IS NOT NULL ORDER BY id LIMIT 1",
                )?;
                find.query_row(params![after, bytes(at.units())], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
                })
                .optional()
            })?;
            let Some((id, target)) = next else { break };
            (after, at) = (id, Place::new(&units(&target)));
        }
        let goes_on = self.with(|connection| {
            let mut find = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM queue WHERE id > ?1 AND place = ?2 AND removed)",
            )?;
            find.query_row(params![after, bytes(at.units())], |row| row.get(0))
        })?;
        Ok(Trail { end: at, goes_on })
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn done(&self, id: i64) -> Result<(), LedgerError> {
        self.with(|connection| {
            let mut remove = connection.prepare_cached("DELETE FROM queue WHERE id = ?1")?;
            remove.execute([id]).map(drop)
        })
    }

    /// # Errors
    /// When the file cannot be read.
    pub fn waiting(&self) -> Result<u64, LedgerError> {
        self.with(|connection| {
            let count = |row: &Row<'_>| row.get::<_, i64>(0).map(i64::cast_unsigned);
            connection.query_row("SELECT count(*) FROM queue", [], count)
        })
    }

    /// # Errors
    /// When the file cannot be read.
    pub fn known(&self, place: &Place) -> Result<Option<Known>, LedgerError> {
        self.with(|connection| {
            let mut get = connection.prepare_cached(
                "SELECT ino, size, mtime, is_dir, print_size, print_written FROM known WHERE key = ?1",
            )?;
            get.query_row([bytes(&place.key())], known_of).optional()
        })
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn learn(&self, place: &Place, known: &Known) -> Result<(), LedgerError> {
        self.with(|connection| {
            let mut put = connection.prepare_cached(
                "INSERT OR REPLACE INTO known
                    (key, ino, size, mtime, is_dir, print_size, print_written)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            put.execute(params![
                bytes(&place.key()),
                known.shown.ino.0.cast_signed(),
                known.shown.size.cast_signed(),
                known.shown.mtime.0,
                known.is_dir,
                known.print.map(|print| print.size.cast_signed()),
                known.print.map(|print| print.written),
            ])
            .map(drop)
        })
    }

    /// Forgets a place and all below it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget(&self, place: &Place) -> Result<(), LedgerError> {
        let (key, first, end) = below(place);
        self.with(|connection| {
            let mut remove = connection
                .prepare_cached("DELETE FROM known WHERE key = ?1 OR (key >= ?2 AND key < ?3)")?;
            remove.execute(params![key, first, end]).map(drop)
        })
    }

    /// What was known of a place and all below it is known of another from here on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn moved(&self, from: &Place, to: &Place) -> Result<(), LedgerError> {
        let (key, first, end) = below(from);
        let target = bytes(&to.key());
        self.with(|connection| {
            // `substr` of a BLOB counts bytes from 1.
            let rest = i64::try_from(key.len()).unwrap_or(i64::MAX).saturating_add(1);
            connection
                .execute(
                    "UPDATE OR REPLACE known SET key = CAST(?1 || substr(key, ?2) AS BLOB)
                 WHERE key = ?3 OR (key >= ?4 AND key < ?5)",
                    params![target, rest, key, first, end],
                )
                .map(drop)
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        work(&self.lock())
            .map_err(|source| LedgerError { path: self.path.display().to_string(), source })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the tables or checks them; whether they belong to `replica`.
fn prepare(connection: &Connection, replica: &[u8; 16]) -> rusqlite::Result<bool> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Survives the end of the process; a power loss may take the last entries, and then the scan at the
    // next start finds what they named.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if number("user_version")? == 0 && number("application_id")? == 0 {
        connection.execute_batch(&format!(
            "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; \
             PRAGMA user_version = {FORMAT}; COMMIT;"
        ))?;
    }
    let ours = number("user_version")? == FORMAT && number("application_id")? == APPLICATION;
    let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if !ours || sound != "ok" {
        return Err(rusqlite::Error::InvalidQuery);
    }
    let found = connection.query_row("SELECT id FROM replica", [], |row| row.get::<_, Vec<u8>>(0));
    if found.optional()?.as_deref() == Some(replica) {
        return Ok(true);
    }
    connection.execute_batch("DELETE FROM known; DELETE FROM replica;")?;
    connection.execute("INSERT INTO replica (id) VALUES (?1)", [replica])?;
    Ok(false)
}

/// Moves a damaged file and its companions out of the way; gives its new name.
fn put_aside(path: &Path) -> PathBuf {
    let named = |path: &Path, end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = named(path, ".damaged");
    for end in ["", "-wal", "-shm"] {
        let (from, to) = (named(path, end), named(&aside, end));
        if let Err(error) = std::fs::rename(&from, &to)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %from.display(), %error, "cannot be put aside");
        }
    }
    aside
}

fn known_of(row: &Row<'_>) -> rusqlite::Result<Known> {
    let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let shown = Shown { ino: Ino(unsigned(0)?), size: unsigned(1)?, mtime: Timestamp(row.get(2)?) };
    let print = match (row.get::<_, Option<i64>>(4)?, row.get(5)?) {
        (Some(size), Some(written)) => Some(Print { size: size.cast_unsigned(), written }),
        _ => None,
    };
    Ok(Known { shown, is_dir: row.get(3)?, print })
}

/// The key of a place, and the bounds of the keys below it.
fn below(place: &Place) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let key = place.key();
    let with = |unit: u16| bytes(&[&key[..], &[unit]].concat());
    if key.is_empty() {
        return (Vec::new(), Vec::new(), vec![0xff; 3]);
    }
    (bytes(&key), with(SEPARATOR), with(SEPARATOR + 1))
}

/// Big-endian, so that bytes sort as units do.
fn bytes(units: &[u16]) -> Vec<u8> {
    units.iter().flat_map(|unit| unit.to_be_bytes()).collect()
}

fn units(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place::new(&text.encode_utf16().collect::<Vec<_>>())
    }

    fn known(ino: u64) -> Known {
        let shown = Shown { ino: Ino(ino), size: u64::MAX, mtime: Timestamp(-5) };
        Known { shown, is_dir: false, print: Some(Print { size: 3, written: 9 }) }
    }

    fn open(dir: &Path, replica: u8) -> (Ledger, Found) {
        Ledger::open(&dir.join("ledger.sqlite"), &[replica; 16]).unwrap()
    }

    #[test]
    fn the_queue_is_in_order_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, found) = open(dir.path(), 1);
        assert_eq!(found, Found::Fresh);
        let hints = [("a", None), ("b\\c", Some("d")), ("a", None)];
        let hints =
            hints.map(|(from, to)| Hint { target: to.map(place), ..Hint::look(place(from)) });
        hints.iter().for_each(|hint| ledger.push(hint).unwrap());
        drop(ledger);
        let (ledger, found) = open(dir.path(), 1);
        assert_eq!((found, ledger.waiting().unwrap()), (Found::Kept, 3));
        for hint in hints {
            let (id, next) = ledger.next(0).unwrap().unwrap();
            assert_eq!(next, hint);
            ledger.done(id).unwrap();
        }
        assert_eq!(ledger.next(0).unwrap(), None);
    }

    #[test]
    fn moves_are_followed_through_the_queue() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = open(dir.path(), 1);
        for (from, to) in [("a", Some("b")), ("b", None), ("b", Some("c")), ("c", Some("d"))] {
            ledger.push(&Hint { target: to.map(place), ..Hint::look(place(from)) }).unwrap();
        }
        let (first, _) = ledger.next(0).unwrap().unwrap();
        let trail = |at: &str| ledger.follow(first, &place(at), 64).unwrap();
        assert_eq!(trail("b"), Trail { end: place("d"), goes_on: false });
        assert_eq!(trail("x"), Trail { end: place("x"), goes_on: false });
        ledger.push(&Hint { removed: true, ..Hint::look(place("d")) }).unwrap();
        assert_eq!(trail("b"), Trail { end: place("d"), goes_on: true });
    }

    #[test]
    fn what_is_known_moves_and_goes_with_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = open(dir.path(), 1);
        for (at, ino) in [("Dir", 1), ("dir\\a", 2), ("dir\\sub\\b", 3), ("dir2", 4)] {
            ledger.learn(&place(at), &known(ino)).unwrap();
        }
        assert_eq!(ledger.known(&place("DIR\\A")).unwrap(), Some(known(2)));
        ledger.moved(&place("dir"), &place("New\\place")).unwrap();
        let ino = |at: &str| ledger.known(&place(at)).unwrap().map(|known| known.shown.ino.0);
        assert_eq!(
            ["new\\place", "new\\place\\a", "new\\place\\sub\\b", "dir2", "dir\\a"].map(ino),
            [Some(1), Some(2), Some(3), Some(4), None]
        );
        ledger.forget(&place("new\\place")).unwrap();
        assert_eq!(["new\\place\\a", "new\\place\\sub\\b", "dir2"].map(ino), [None, None, Some(4)]);
        ledger.forget(&Place::root()).unwrap();
        assert_eq!(ino("dir2"), None);
    }

    #[test]
    fn a_damaged_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.sqlite");
        let (ledger, _) = open(dir.path(), 1);
        ledger.learn(&place("a"), &known(1)).unwrap();
        drop(ledger);
        std::fs::write(&path, b"this is no database at all, not even a small one").unwrap();
        let (ledger, found) = open(dir.path(), 1);
        let Found::Damaged(aside) = found else { panic!("{found:?}") };
        assert!(aside.exists());
        assert_eq!(ledger.known(&place("a")).unwrap(), None);
        ledger.push(&Hint::look(place("a"))).unwrap();
    }

    #[test]
    fn inode_numbers_of_another_state_mean_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = open(dir.path(), 1);
        ledger.learn(&place("a"), &known(1)).unwrap();
        drop(ledger);
        let (ledger, found) = open(dir.path(), 2);
        assert_eq!((found, ledger.known(&place("a")).unwrap()), (Found::Fresh, None));
    }
}
