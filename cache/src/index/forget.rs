//! Takes the index back to what the cloud is known to have.

use super::write::{delete_content, put_node};
use super::{content_of, dig_grave, hot_nodes, meta, node_of, set_meta, signed};
use fs_core::{Hold, Ino, Kind, NodeId, NodeRow, Pending};
use rusqlite::{Connection, OptionalExtension};

/// Forgets every change that the cloud does not have, in one transaction that survives power loss. Where
/// this device knows what the cloud has in its place that is put back; other nodes are dropped, and the
/// position in the feed with them, so that the feed tells of them again. Pins, clean contents and inode
/// numbers of all that is left stay. Backing files of what was dropped are noted as graves.
pub(crate) fn forget_pending(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "synchronous", "full")?;
    let transaction = conn.unchecked_transaction()?;
    for ino in hot_nodes(conn)? {
        let Some(node) = node_of(conn, ino)? else { continue };
        let is_limbo = node.parent == Ino::NONE && node.origin.is_some() && !node.gone;
        if node.pending.is_none() && !is_limbo {
            continue;
        }
        match known_of_cloud(conn, &node)? {
            Some(row) => put_node(conn, &row)?,
            None => drop_row(conn, ino)?,
        }
    }
    drop_unreachable(conn)?;
    conn.execute("DELETE FROM flight", [])?;
    set_meta(conn, meta::CURSOR, 0)?;
    set_meta(conn, meta::HELD, Hold::default().bits())?;
    transaction.commit()?;
    conn.pragma_update(None, "synchronous", "normal")
}

/// The node as the cloud has it; `None` when that is not known here. The length of a file whose content
/// was changed is not: only the cloud knows it.
fn known_of_cloud(conn: &Connection, node: &NodeRow) -> rusqlite::Result<Option<NodeRow>> {
    let only = Pending::PLACE.with(Pending::ATTRS);
    let is_written = content_of(conn, node.ino)?.is_some_and(|row| !row.dirty.is_empty());
    let is_placed = node.parent != Ino::NONE || node.ino == Ino::ROOT;
    let Some(origin) = node.origin.as_deref().filter(|_| is_placed) else { return Ok(None) };
    if !matches!(node.kind, Kind::File | Kind::Dir)
        || !node.pending.without(only).is_none()
        || is_written
    {
        return Ok(None);
    }
    let mut row = NodeRow { pending: Pending::NONE, origin: None, ..node.clone() };
    row.attrs = origin.attrs.clone();
    if row.ino == Ino::ROOT {
        return Ok(Some(row));
    }
    let Some(parent) = ino_of(conn, origin.parent)? else { return Ok(None) };
    (row.parent, row.name) = (parent, origin.name.clone());
    let taken = "SELECT 1 FROM node WHERE parent = ?1 AND name = ?2 AND ino <> ?3 AND pending = 0";
    let taken = conn.prepare_cached(taken)?.exists((
        signed(parent.0),
        row.name.as_bytes(),
        signed(row.ino.0),
    ))?;
    Ok((!taken).then_some(row))
}

fn ino_of(conn: &Connection, id: NodeId) -> rusqlite::Result<Option<Ino>> {
    let mut query = conn.prepare_cached("SELECT ino FROM node WHERE id = ?1")?;
    let ino = query.query_row([id.0], |row| row.get(0)).optional()?;
    Ok(ino.map(|ino| Ino(super::unsigned(ino))))
}

fn drop_row(conn: &Connection, ino: Ino) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM node WHERE ino = ?1")?.execute([signed(ino.0)])?;
    Ok(())
}

/// What lay in a dropped folder has no place any more; contents go with their nodes. The mark of a node
/// that was removed in the cloud stays: the feed may still speak of it.
fn drop_unreachable(conn: &Connection) -> rusqlite::Result<()> {
    let gone = super::rows::GONE;
    conn.execute(
        "WITH RECURSIVE kept (ino) AS (SELECT ?1 UNION \
         SELECT node.ino FROM node JOIN kept ON node.parent = kept.ino WHERE node.parent <> 0) \
         DELETE FROM node WHERE ino NOT IN (SELECT ino FROM kept) AND flags & ?2 = 0",
        (signed(Ino::ROOT.0), gone),
    )?;
    let mut query =
        conn.prepare("SELECT ino FROM content WHERE ino NOT IN (SELECT ino FROM node)")?;
    let orphans: Vec<i64> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for ino in orphans {
        let ino = Ino(super::unsigned(ino));
        delete_content(conn, ino)?;
        dig_grave(conn, ino)?;
    }
    Ok(())
}
