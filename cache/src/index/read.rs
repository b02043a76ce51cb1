//! Loads rows. Each load sees one state of the index.

use super::rows::{NODE_COUNT, damaged};
use super::{
    CONTENT_COLUMNS, NODE_COLUMNS, READER_CACHE_KIB, REPLICA, connect, get_meta, signed, unsigned,
};
use super::{content_row, node_row};
use crate::{codec, locked};
use fs_core::{ContentRow, Flight, Ino, Loaded, NodeId, NodeRow};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Reading connections that are kept open between uses. More readers at once open one each.
const IDLE_MAX: usize = 4;
/// The deepest chain of ancestors that is followed; the drive's own limit is 256.
const DEPTH_MAX: usize = 4_096;

/// Reading connections.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Readers {
        Readers { path: path.to_owned(), idle: Mutex::new(Vec::new()) }
    }

    /// Runs `load` on one state of the index.
    fn read<T>(
        &self,
        load: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let kept = locked(&self.idle).pop();
        let conn = match kept {
            Some(conn) => conn,
            None => connect(&self.path, READER_CACHE_KIB)?,
        };
        let result = {
            let transaction = conn.unchecked_transaction()?;
            let result = load(&transaction);
            transaction.finish()?;
            result
        };
        // A connection that failed may be in any state: it is not kept.
        let mut idle = locked(&self.idle);
        if result.is_ok() && idle.len() < IDLE_MAX {
            idle.push(conn);
        }
        result
    }

    /// The number of this index.
    pub(crate) fn replica(&self) -> rusqlite::Result<u64> {
        self.read(|conn| Ok(get_meta(conn, REPLICA)?.unwrap_or_default()))
    }

    pub(crate) fn load_dir(&self, dir: Ino) -> rusqlite::Result<Vec<Loaded>> {
        self.read(|conn| {
            let mut rows = load_with_ancestors(conn, &[dir])?;
            let query = format!(
                "SELECT {NODE_COLUMNS}, {CONTENT_COLUMNS} FROM node \
                 LEFT JOIN content ON content.ino = node.ino \
                 WHERE node.parent = ?1 AND node.parent <> 0"
            );
            let mut query = conn.prepare_cached(&query)?;
            for row in query.query_map([signed(dir.0)], loaded)? {
                let row = row?;
                // The root may be its own parent.
                if row.node.ino != dir {
                    rows.push(row);
                }
            }
            Ok(rows)
        })
    }

    pub(crate) fn load_node(&self, ino: Ino) -> rusqlite::Result<Vec<Loaded>> {
        self.read(|conn| load_with_ancestors(conn, &[ino]))
    }

    pub(crate) fn load_ids(&self, ids: &[NodeId]) -> rusqlite::Result<Vec<Loaded>> {
        self.read(|conn| {
            let mut inos = Vec::new();
            let mut query = conn.prepare_cached("SELECT ino FROM node WHERE id = ?1")?;
            for id in ids {
                for ino in query.query_map([id.0], |row| row.get(0))? {
                    inos.push(Ino(unsigned(ino?)));
                }
            }
            load_with_ancestors(conn, &inos)
        })
    }
}

/// A node with its content, from [`NODE_COLUMNS`] and [`CONTENT_COLUMNS`].
fn loaded(row: &Row<'_>) -> rusqlite::Result<Loaded> {
    Ok(Loaded { node: node_row(row)?, content: content_row(row, NODE_COUNT)? })
}

/// The rows of those nodes that exist, with all their ancestors, each once.
pub(crate) fn load_with_ancestors(
    conn: &Connection,
    inos: &[Ino],
) -> rusqlite::Result<Vec<Loaded>> {
    let query = format!(
        "SELECT {NODE_COLUMNS}, {CONTENT_COLUMNS} FROM node \
         LEFT JOIN content ON content.ino = node.ino WHERE node.ino = ?1"
    );
    let mut query = conn.prepare_cached(&query)?;
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    for &ino in inos {
        let mut next = ino;
        for _ in 0..DEPTH_MAX {
            if next == Ino::NONE || !seen.insert(next) {
                break;
            }
            let Some(row) = query.query_row([signed(next.0)], loaded).optional()? else { break };
            next = row.node.parent;
            rows.push(row);
        }
    }
    Ok(rows)
}

pub(crate) fn node_of(conn: &Connection, ino: Ino) -> rusqlite::Result<Option<NodeRow>> {
    let query = format!("SELECT {NODE_COLUMNS} FROM node WHERE ino = ?1");
    conn.prepare_cached(&query)?.query_row([signed(ino.0)], node_row).optional()
}

pub(crate) fn content_of(conn: &Connection, ino: Ino) -> rusqlite::Result<Option<ContentRow>> {
    let query = format!("SELECT {CONTENT_COLUMNS} FROM content WHERE ino = ?1");
    let mut query = conn.prepare_cached(&query)?;
    query.query_row([signed(ino.0)], |row| content_row(row, 0)).optional().map(Option::flatten)
}

pub(crate) fn all_content(conn: &Connection) -> rusqlite::Result<Vec<ContentRow>> {
    let query = format!("SELECT {CONTENT_COLUMNS} FROM content ORDER BY ino");
    let mut query = conn.prepare(&query)?;
    let rows = query.query_map([], |row| content_row(row, 0))?;
    rows.filter_map(Result::transpose).collect()
}

pub(crate) fn node_count(conn: &Connection) -> rusqlite::Result<u64> {
    conn.query_row("SELECT count(*) FROM node", [], |row| row.get(0).map(unsigned))
}

/// The nodes that every start loads: without a place, pending, pinned or gone.
pub(crate) fn hot_nodes(conn: &Connection) -> rusqlite::Result<Vec<Ino>> {
    let mut query = conn.prepare("SELECT ino FROM node WHERE hot = 1 ORDER BY ino")?;
    let rows = query.query_map([], |row| row.get(0).map(|ino| Ino(unsigned(ino))))?;
    rows.collect()
}

pub(crate) fn flights(conn: &Connection) -> rusqlite::Result<Vec<Flight>> {
    let mut query = conn.prepare("SELECT body FROM flight ORDER BY place")?;
    let rows = query.query_map([], |row| {
        codec::decode_flight(row.get_ref(0)?.as_blob()?).map_err(|error| damaged(0, error))
    })?;
    rows.collect()
}

/// Backing files that a change has dropped and that may still be there.
pub(crate) fn graves(conn: &Connection) -> rusqlite::Result<Vec<Ino>> {
    let mut query = conn.prepare("SELECT ino FROM grave ORDER BY ino")?;
    let rows = query.query_map([], |row| row.get(0).map(|ino| Ino(unsigned(ino))))?;
    rows.collect()
}
