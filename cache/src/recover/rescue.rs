//! What can be saved of a damaged index: unsent changes, with the folders above them.
//!
//! Everything else is in the cloud and is read again from there.

use crate::index::{self, meta};
use fs_core::{ContentRow, Flight, Ino, NodeRow, Ranges};
use rusqlite::{Connection, OpenFlags, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Rows of a damaged index that could be read and matter.
#[derive(Default)]
pub(super) struct Saved {
    nodes: BTreeMap<u64, NodeRow>,
    content: BTreeMap<u64, ContentRow>,
    flights: Vec<Flight>,
    epoch: u64,
    last_ino: u64,
}

/// Reads what can be read. Errors are not errors here: damage is expected.
pub(super) fn read(path: &Path) -> Saved {
    let mut saved = Saved::default();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(conn) = Connection::open_with_flags(path, flags) else { return saved };
    for row in scan(&conn, "content", index::CONTENT_COLUMNS, |row| index::content_row(row, 0)) {
        let Some(mut row) = row.filter(|row| !row.dirty.is_empty()) else { continue };
        row.valid = Ranges::new();
        saved.content.insert(row.ino.0, row);
    }
    let mut parents = BTreeMap::new();
    for node in scan(&conn, "node", index::NODE_COLUMNS, index::node_row) {
        parents.insert(node.ino.0, node.parent.0);
        saved.last_ino = saved.last_ino.max(node.ino.0);
        if is_wanted(&node) || saved.content.contains_key(&node.ino.0) {
            saved.nodes.insert(node.ino.0, node);
        }
    }
    let wanted: Vec<u64> = saved.nodes.keys().copied().collect();
    for ancestor in ancestors(&wanted, &parents) {
        if let Ok(Some(node)) = index::node_of(&conn, Ino(ancestor)) {
            saved.nodes.insert(ancestor, node);
        }
    }
    saved.flights = index::flights(&conn).unwrap_or_default();
    let number = |name| index::get_meta(&conn, name).ok().flatten().unwrap_or(0);
    saved.epoch = number(meta::EPOCH);
    saved.last_ino = saved.last_ino.max(number(meta::LAST_INO));
    saved
}

impl Saved {
    pub(super) fn summary(&self) -> String {
        format!(
            "{} nodes (unsent changes and the folders above them) and {} files with unsent bytes \
             could be read",
            self.nodes.len(),
            self.content.len()
        )
    }

    pub(super) fn write(&self, conn: &Connection) -> rusqlite::Result<()> {
        // Durable at once: the index that these rows came from is no longer in its place.
        conn.pragma_update(None, "synchronous", "full")?;
        let transaction = conn.unchecked_transaction()?;
        for node in self.nodes.values() {
            index::put_node(conn, node)?;
        }
        for row in self.content.values() {
            index::put_content(conn, row)?;
        }
        for flight in &self.flights {
            index::put_flight(conn, flight)?;
        }
        index::set_meta(conn, meta::EPOCH, self.epoch)?;
        index::set_meta(conn, meta::LAST_INO, self.last_ino)?;
        transaction.commit()?;
        conn.pragma_update(None, "synchronous", "normal")
    }
}

/// Reads a table from both ends towards the damage: SQLite stops at the first page it cannot use.
fn scan<T>(
    conn: &Connection,
    table: &str,
    columns: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for order in ["ASC", "DESC"] {
        let query = format!("SELECT {columns} FROM {table} NOT INDEXED ORDER BY ino {order}");
        let Ok(mut query) = conn.prepare(&query) else { continue };
        let Ok(mut rows) = query.query([]) else { continue };
        let mut met = false;
        while let Ok(Some(row)) = rows.next() {
            let Ok(ino) = row.get::<_, i64>(0) else { continue };
            if !seen.insert(ino) {
                met = true;
                break;
            }
            if let Ok(value) = read(row) {
                found.push(value);
            }
        }
        if met {
            break;
        }
    }
    found
}

fn is_wanted(node: &NodeRow) -> bool {
    !node.pending.is_none() || node.pinned || node.gone || node.parent == Ino::NONE
}

/// All nodes above `inos`.
fn ancestors(inos: &[u64], parents: &BTreeMap<u64, u64>) -> BTreeSet<u64> {
    let mut above = BTreeSet::new();
    for ino in inos {
        let mut next = parents.get(ino).copied();
        while let Some(parent) = next.filter(|&parent| parent != 0) {
            if !above.insert(parent) {
                break;
            }
            next = parents.get(&parent).copied();
        }
    }
    above
}

/// Reduces a rebuilt index to what must not be lost: unsent changes, pins, and the folders above
/// them. The rest may be out of date, and the core reads it again from the cloud.
pub(super) fn prune(conn: &Connection, notices: &mut Vec<String>) -> rusqlite::Result<()> {
    let dirty = index::all_content(conn)?.into_iter().filter(|row| !row.dirty.is_empty());
    let mut wanted: BTreeSet<Ino> = dirty.map(|row| row.ino).collect();
    wanted.extend(index::hot_nodes(conn)?);
    let mut kept = BTreeSet::from([Ino::ROOT]);
    let transaction = conn.unchecked_transaction()?;
    for ino in wanted {
        let chain = index::load_with_ancestors(conn, &[ino])?;
        let Some(top) = chain.last() else { continue };
        // Whole if it ends at the root (which the core makes when it is missing), or is placeless.
        let whole = matches!(top.node.parent, Ino::NONE | Ino::ROOT) || top.node.ino == Ino::ROOT;
        if whole {
            kept.extend(chain.iter().map(|row| row.node.ino));
            continue;
        }
        let name = chain[0].node.name.as_bytes().escape_ascii().to_string();
        let text = format!(
            "inode {} (\"{name}\") had unsent changes, but the folder it was in is lost with the \
             index; its bytes are in lost+found",
            ino.0
        );
        tracing::error!("{text}");
        notices.push(text);
    }
    index::keep_only(conn, &kept)?;
    transaction.commit()
}
