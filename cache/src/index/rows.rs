//! Rows of the tables as values.

use super::unsigned;
use crate::codec::{self, DecodeError};
use fs_core::{Attrs, ContentRow, Ino, NodeId, NodeRow, Pending, Ranges, Rev, Timestamp, Xattrs};
use rusqlite::Row;
use rusqlite::types::Type;

pub(crate) const LISTED: i64 = 1;
pub(crate) const PINNED: i64 = 2;
pub(crate) const GONE: i64 = 4;

/// The columns that [`node_row`] reads, in its order.
pub(crate) const NODE_COLUMNS: &str = "node.ino, node.id, node.parent, node.name, node.kind, \
    node.mode, node.uid, node.gid, node.size, node.mtime, node.atime, node.ctime, node.btime, \
    node.meta_rev, node.content_rev, node.pending, node.flags, node.extra, node.origin";
/// How many those are: the columns of [`content_row`] follow them.
pub(crate) const NODE_COUNT: usize = 19;
/// The columns that [`content_row`] reads, in its order.
pub(crate) const CONTENT_COLUMNS: &str = "content.ino, content.base_id, content.base_rev, \
    content.base_len, content.valid, content.dirty, content.blind";

/// The node in the first columns of `row`.
pub(crate) fn node_row(row: &Row<'_>) -> rusqlite::Result<NodeRow> {
    let number = |column| row.get::<_, i64>(column).map(unsigned);
    let small = |column| row.get::<_, u32>(column);
    let time = |column| row.get::<_, Option<i64>>(column);
    let mtime: i64 = row.get(9)?;
    let or_mtime = |time: Option<i64>| Timestamp(time.unwrap_or(mtime));
    let (rdev, target, xattrs) = match row.get_ref(17)?.as_blob_or_null()? {
        Some(bytes) => codec::decode_extra(bytes).map_err(|error| damaged(17, error))?,
        None => (0, Vec::new(), Xattrs::new()),
    };
    let origin = row.get_ref(18)?.as_blob_or_null()?.map(codec::decode_origin).transpose();
    let flags: i64 = row.get(16)?;
    Ok(NodeRow {
        ino: Ino(number(0)?),
        id: identity(row, 1)?,
        parent: Ino(number(2)?),
        name: codec::name(row.get_ref(3)?.as_blob()?).map_err(|error| damaged(3, error))?,
        kind: codec::kind(row.get(4)?).map_err(|error| damaged(4, error))?,
        attrs: Attrs {
            mode: small(5)?,
            uid: small(6)?,
            gid: small(7)?,
            rdev,
            atime: or_mtime(time(10)?),
            mtime: Timestamp(mtime),
            ctime: or_mtime(time(11)?),
            btime: or_mtime(time(12)?),
            target,
            xattrs,
        },
        size: number(8)?,
        meta_rev: Rev(number(13)?),
        content_rev: Rev(number(14)?),
        pending: Pending(row.get(15)?),
        origin: origin.map_err(|error| damaged(18, error))?.map(Box::new),
        listed: flags & LISTED != 0,
        pinned: flags & PINNED != 0,
        gone: flags & GONE != 0,
    })
}

/// The content row in the columns from `at` on; `None` where a join found none.
pub(crate) fn content_row(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<ContentRow>> {
    let Some(ino) = row.get::<_, Option<i64>>(at)? else { return Ok(None) };
    let base_id = match row.get_ref(at + 1)?.as_blob_or_null()? {
        Some(_) => identity(row, at + 1)?,
        None => NodeId::default(),
    };
    Ok(Some(ContentRow {
        ino: Ino(unsigned(ino)),
        base_id,
        base_rev: Rev(unsigned(row.get(at + 2)?)),
        base_len: unsigned(row.get(at + 3)?),
        valid: ranges(row, at + 4)?,
        dirty: ranges(row, at + 5)?,
        blind: row.get(at + 6)?,
    }))
}

fn ranges(row: &Row<'_>, column: usize) -> rusqlite::Result<Ranges> {
    codec::decode_ranges(row.get_ref(column)?.as_blob()?).map_err(|error| damaged(column, error))
}

fn identity(row: &Row<'_>, column: usize) -> rusqlite::Result<NodeId> {
    let bytes = row.get_ref(column)?.as_blob()?;
    let bytes = <[u8; 16]>::try_from(bytes);
    bytes.map(NodeId).map_err(|_| damaged(column, DecodeError::message("not 16 bytes")))
}

pub(crate) fn damaged(column: usize, error: DecodeError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
}
