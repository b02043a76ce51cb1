//! Applies groups of batches as row updates, one transaction a group.

use super::rows::{GONE, LISTED, PINNED};
use super::{content_of, get_meta, meta, signed};
use crate::codec::{self, EncodeError};
use crate::content::Content;
use fs_core::{Change, ContentRow, Flight, Ino, Kind, NodeId, NodeRow, RequestId, Rev, Timestamp};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

/// The one connection that writes.
pub(crate) struct Writer {
    pub(crate) conn: Connection,
    last_ino: u64,
}

/// What a group makes of a node.
struct NodeEdit<'a> {
    row: RowEdit<'a>,
    /// Size and times set by writes since.
    wrote: Option<(u64, Timestamp)>,
}

enum RowEdit<'a> {
    Keep,
    Put(&'a NodeRow),
    Drop,
}

/// All changes of a group, merged per row: a file that was written a thousand times is one update.
#[derive(Default)]
struct Group<'a> {
    nodes: BTreeMap<u64, NodeEdit<'a>>,
    /// `None`: the row goes.
    contents: BTreeMap<u64, Option<ContentRow>>,
    /// Nodes that were dropped: their backing files go.
    dropped: BTreeSet<u64>,
    cursor: Option<(Rev, u64)>,
    complete: bool,
    last_ino: u64,
}

impl Writer {
    pub(crate) fn new(conn: Connection) -> rusqlite::Result<Writer> {
        let last_ino = get_meta(&conn, meta::LAST_INO)?.unwrap_or(0);
        Ok(Writer { conn, last_ino })
    }

    pub(crate) fn last_ino(&self) -> u64 {
        self.last_ino
    }

    /// Makes sure that no number up to `ino` is ever given out again.
    pub(crate) fn raise_last_ino(&mut self, ino: u64) -> rusqlite::Result<()> {
        if ino > self.last_ino {
            set_meta(&self.conn, meta::LAST_INO, ino)?;
            self.last_ino = ino;
        }
        Ok(())
    }

    /// Applies the batches and notes that everything up to `seq` is in the index. Returns the
    /// dropped nodes: their backing files may go once this is durable.
    pub(crate) fn apply<'a>(
        &mut self,
        batches: impl IntoIterator<Item = &'a [Change]>,
        seq: u64,
        content: &Content,
    ) -> rusqlite::Result<Vec<Ino>> {
        let transaction = self.conn.transaction()?;
        let mut group = Group { last_ino: self.last_ino, ..Group::default() };
        for change in batches.into_iter().flatten() {
            group.add(&transaction, change)?;
        }
        group.flush(&transaction, content)?;
        set_meta(&transaction, meta::APPLIED, seq)?;
        transaction.commit()?;
        self.last_ino = group.last_ino;
        Ok(group.dropped.into_iter().map(Ino).collect())
    }

    /// Makes everything applied so far survive power loss: a commit that syncs the whole
    /// write-ahead log, and so all commits before it.
    pub(crate) fn barrier(&mut self) -> rusqlite::Result<()> {
        self.conn.pragma_update(None, "synchronous", "full")?;
        let count = get_meta(&self.conn, meta::BARRIER)?.unwrap_or(0);
        let result = set_meta(&self.conn, meta::BARRIER, count.wrapping_add(1));
        self.conn.pragma_update(None, "synchronous", "normal")?;
        result
    }

    /// The backing files of these nodes are gone.
    pub(crate) fn buried(&mut self, inos: &[Ino]) -> rusqlite::Result<()> {
        let transaction = self.conn.transaction()?;
        for ino in inos {
            let mut delete = transaction.prepare_cached("DELETE FROM grave WHERE ino = ?1")?;
            delete.execute([signed(ino.0)])?;
        }
        transaction.commit()
    }

    /// Copies the whole log into the database and empties it.
    pub(crate) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

impl<'a> Group<'a> {
    fn add(&mut self, conn: &Connection, change: &'a Change) -> rusqlite::Result<()> {
        match change {
            Change::PutNode(row) => {
                self.last_ino = self.last_ino.max(row.ino.0);
                let edit = NodeEdit { row: RowEdit::Put(row), wrote: None };
                self.nodes.insert(row.ino.0, edit);
                self.dropped.remove(&row.ino.0);
            }
            Change::DropNode(ino) => {
                self.nodes.insert(ino.0, NodeEdit { row: RowEdit::Drop, wrote: None });
                self.contents.insert(ino.0, None);
                self.dropped.insert(ino.0);
            }
            Change::PutContent(row) => {
                self.contents.insert(row.ino.0, Some((**row).clone()));
            }
            Change::DropContent(ino) => {
                self.contents.insert(ino.0, None);
            }
            Change::Wrote { ino, range, size, mtime } => {
                let keep = NodeEdit { row: RowEdit::Keep, wrote: None };
                self.nodes.entry(ino.0).or_insert(keep).wrote = Some((*size, *mtime));
                if !range.is_empty() {
                    let content = self.content(conn, *ino)?;
                    content.dirty.insert(*range);
                    content.valid.remove(*range);
                }
            }
            Change::Filled { ino, range } => {
                let content = self.content(conn, *ino)?;
                for part in content.dirty.gaps(*range) {
                    content.valid.insert(part);
                }
            }
            Change::Cursor { rev, epoch } => self.cursor = Some((*rev, *epoch)),
            Change::Complete => self.complete = true,
            Change::PutFlight(flight) => put_flight(conn, flight)?,
            Change::DropFlight(request) => drop_flight(conn, *request)?,
        }
        Ok(())
    }

    /// The content row of `ino` as the group has made it so far; made if there is none.
    fn content(&mut self, conn: &Connection, ino: Ino) -> rusqlite::Result<&mut ContentRow> {
        let slot = match self.contents.entry(ino.0) {
            std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => slot.insert(content_of(conn, ino)?),
        };
        Ok(slot.get_or_insert_with(|| ContentRow { ino, ..ContentRow::default() }))
    }

    fn flush(&self, conn: &Connection, content: &Content) -> rusqlite::Result<()> {
        for (&ino, edit) in &self.nodes {
            match edit.row {
                RowEdit::Put(row) => put_node(conn, row)?,
                RowEdit::Drop => drop_node(conn, Ino(ino))?,
                RowEdit::Keep => {}
            }
            if let (RowEdit::Put(_) | RowEdit::Keep, Some((size, time))) = (&edit.row, edit.wrote) {
                touch_node(conn, Ino(ino), size, time)?;
            }
        }
        for (&ino, row) in &self.contents {
            match row {
                Some(row) => put_content(conn, row)?,
                None => {
                    delete_content(conn, Ino(ino))?;
                    if content.exists(Ino(ino)) {
                        dig_grave(conn, Ino(ino))?;
                    }
                }
            }
        }
        if let Some((rev, epoch)) = self.cursor {
            set_meta(conn, meta::CURSOR, rev.0)?;
            set_meta(conn, meta::EPOCH, epoch)?;
        }
        if self.complete {
            set_meta(conn, meta::COMPLETE, 1)?;
        }
        set_meta(conn, meta::LAST_INO, self.last_ino)
    }
}

const PUT_NODE: &str = "INSERT INTO node (ino, id, parent, name, kind, mode, uid, gid, size, \
    mtime, atime, ctime, btime, meta_rev, content_rev, pending, flags, hot, extra, origin) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
    ?20) ON CONFLICT (ino) DO UPDATE SET id = ?2, parent = ?3, name = ?4, kind = ?5, mode = ?6, \
    uid = ?7, gid = ?8, size = ?9, mtime = ?10, atime = ?11, ctime = ?12, btime = ?13, \
    meta_rev = ?14, content_rev = ?15, pending = ?16, flags = ?17, hot = ?18, extra = ?19, \
    origin = ?20";

pub(crate) fn put_node(conn: &Connection, row: &NodeRow) -> rusqlite::Result<()> {
    let attrs = &row.attrs;
    let unless_mtime = |time: Timestamp| (time != attrs.mtime).then_some(time.0);
    let flag = |set: bool, bit: i64| if set { bit } else { 0 };
    let flags = flag(row.listed, LISTED) | flag(row.pinned, PINNED) | flag(row.gone, GONE);
    let hot = row.parent == Ino::NONE
        || !row.pending.is_none()
        || row.pinned
        || row.gone
        || row.kind == Kind::Link;
    let origin = row.origin.as_deref().map(codec::encode_origin).transpose().map_err(unwritable)?;
    conn.prepare_cached(PUT_NODE)?.execute(params![
        signed(row.ino.0),
        row.id.0,
        signed(row.parent.0),
        row.name.as_bytes(),
        codec::kind_number(row.kind),
        attrs.mode,
        attrs.uid,
        attrs.gid,
        signed(row.size),
        attrs.mtime.0,
        unless_mtime(attrs.atime),
        unless_mtime(attrs.ctime),
        unless_mtime(attrs.btime),
        signed(row.meta_rev.0),
        signed(row.content_rev.0),
        row.pending.0,
        flags,
        hot,
        codec::encode_extra(attrs).map_err(unwritable)?,
        origin,
    ])?;
    if attrs.has_acl() {
        set_meta(conn, meta::ACLS, 1)?;
    }
    Ok(())
}

fn drop_node(conn: &Connection, ino: Ino) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM node WHERE ino = ?1")?.execute([signed(ino.0)])?;
    Ok(())
}

/// Sets size, mtime and ctime. The other times must stop saying "as mtime".
fn touch_node(conn: &Connection, ino: Ino, size: u64, time: Timestamp) -> rusqlite::Result<()> {
    let update = "UPDATE node SET atime = coalesce(atime, mtime), btime = coalesce(btime, mtime), \
        ctime = NULL, size = ?2, mtime = ?3 WHERE ino = ?1";
    conn.prepare_cached(update)?.execute((signed(ino.0), signed(size), time.0))?;
    Ok(())
}

pub(crate) fn put_content(conn: &Connection, row: &ContentRow) -> rusqlite::Result<()> {
    let put = "INSERT OR REPLACE INTO content \
        (ino, base_id, base_rev, base_len, valid, dirty, blind) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    conn.prepare_cached(put)?.execute(params![
        signed(row.ino.0),
        (row.base_id != NodeId::default()).then_some(row.base_id.0),
        signed(row.base_rev.0),
        signed(row.base_len),
        codec::encode_ranges(&row.valid).map_err(unwritable)?,
        codec::encode_ranges(&row.dirty).map_err(unwritable)?,
        row.blind,
    ])?;
    conn.prepare_cached("DELETE FROM grave WHERE ino = ?1")?.execute([signed(row.ino.0)])?;
    Ok(())
}

pub(crate) fn delete_content(conn: &Connection, ino: Ino) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM content WHERE ino = ?1")?.execute([signed(ino.0)])?;
    Ok(())
}

pub(crate) fn dig_grave(conn: &Connection, ino: Ino) -> rusqlite::Result<()> {
    let insert = "INSERT OR IGNORE INTO grave (ino) VALUES (?1)";
    conn.prepare_cached(insert)?.execute([signed(ino.0)])?;
    Ok(())
}

pub(crate) fn put_flight(conn: &Connection, flight: &Flight) -> rusqlite::Result<()> {
    let put = "INSERT INTO flight (request, body) VALUES (?1, ?2) \
        ON CONFLICT (request) DO UPDATE SET body = ?2";
    let body = codec::encode_flight(flight).map_err(unwritable)?;
    conn.prepare_cached(put)?.execute((flight.request.0, body))?;
    Ok(())
}

fn drop_flight(conn: &Connection, request: RequestId) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM flight WHERE request = ?1")?.execute([request.0])?;
    Ok(())
}

/// Removes all nodes but these, all clean content, and the claim that anything is complete.
pub(crate) fn keep_only(conn: &Connection, kept: &BTreeSet<Ino>) -> rusqlite::Result<()> {
    conn.execute_batch(
        "CREATE TEMP TABLE kept (ino INTEGER PRIMARY KEY);
         DELETE FROM meta WHERE name IN ('cursor', 'complete');",
    )?;
    for ino in kept {
        let mut insert = conn.prepare_cached("INSERT INTO kept (ino) VALUES (?1)")?;
        insert.execute([signed(ino.0)])?;
    }
    conn.execute("DELETE FROM node WHERE ino NOT IN (SELECT ino FROM kept)", [])?;
    conn.execute("UPDATE node SET flags = flags & ~?1", [LISTED])?;
    conn.execute("DELETE FROM content WHERE ino NOT IN (SELECT ino FROM kept)", [])?;
    conn.execute_batch("DROP TABLE kept")
}

pub(crate) fn set_meta(conn: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let put = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
    conn.prepare_cached(put)?.execute((name, signed(value)))?;
    Ok(())
}

fn unwritable(error: EncodeError) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.to_string().into())
}
