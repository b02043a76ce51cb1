//! Rows of nodes: what a drive's tree is now.

use crate::{
    db::to_sql,
    ids::{Hash, Id},
    problem::Problem,
};
use protocol::{limits, wire};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_bytes::{ByteArray, ByteBuf};

/// The state of a node, without its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) parent: Id,
    pub(crate) name_key: Id,
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) meta: Vec<u8>,
    pub(crate) head: Option<Vec<u8>>,
    pub(crate) meta_rev: u64,
    pub(crate) content_rev: u64,
    pub(crate) live: bool,
}

/// Kinds of nodes on the wire.
pub(crate) const FILE: u8 = 0;
pub(crate) const DIR: u8 = 1;
pub(crate) const LAST_KIND: u8 = 7;

/// The columns that [`from_row`] reads, in its order; `node` and `history` both have them.
macro_rules! columns {
    () => {
        "id, parent, name_key, name, kind, meta, head, meta_rev, content_rev, live"
    };
}
pub(crate) use columns;

impl Node {
    pub(crate) fn to_wire(&self, id: Id) -> wire::Node {
        wire::Node {
            id: ByteArray::new(id),
            parent: ByteArray::new(self.parent),
            name: ByteBuf::from(self.name.as_slice()),
            kind: self.kind,
            meta: ByteBuf::from(self.meta.as_slice()),
            head: self.head.as_deref().map(ByteBuf::from),
            meta_rev: self.meta_rev,
            content_rev: self.content_rev,
            live: self.live,
        }
    }

    /// About how many bytes it has in an answer.
    pub(crate) fn encoded_size(&self) -> usize {
        let head = self.head.as_ref().map_or(0, Vec::len);
        NODE_OVERHEAD + self.name.len() + self.meta.len() + head
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == DIR
    }
}

pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<(Id, Node)> {
    let rev = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let node = Node {
        parent: row.get(1)?,
        name_key: row.get(2)?,
        name: row.get(3)?,
        kind: row.get(4)?,
        meta: row.get(5)?,
        head: row.get(6)?,
        meta_rev: rev(7)?,
        content_rev: rev(8)?,
        live: row.get(9)?,
    };
    Ok((row.get(0)?, node))
}

pub(crate) fn get(conn: &Connection, drive: i64, id: &Id) -> Result<Option<Node>, Problem> {
    let sql =
        concat!("SELECT ", columns!(), " FROM node WHERE drive = ? AND id = ? AND purged = 0");
    let mut query = conn.prepare_cached(sql)?;
    Ok(query.query_row((drive, id), from_row).optional()?.map(|(_, node)| node))
}

/// Whether the id was used by a node that is gone for good. Ids are never used again.
pub(crate) fn is_purged(conn: &Connection, drive: i64, id: &Id) -> Result<bool, Problem> {
    let sql = "SELECT 1 FROM node WHERE drive = ? AND id = ? AND purged = 1";
    Ok(conn.prepare_cached(sql)?.exists((drive, id))?)
}

/// Which live node has the name.
pub(crate) fn holder(
    conn: &Connection,
    drive: i64,
    parent: &Id,
    name_key: &Id,
) -> Result<Option<Id>, Problem> {
    let sql = "SELECT id FROM node WHERE drive = ? AND parent = ? AND name_key = ? AND live = 1";
    let mut query = conn.prepare_cached(sql)?;
    Ok(query.query_row((drive, parent, name_key), |row| row.get(0)).optional()?)
}

/// Collects nodes of a page until one of its bounds is reached.
#[derive(Debug)]
pub(crate) struct PageRoom {
    pub(crate) nodes: Vec<wire::Node>,
    left: usize,
    bytes: usize,
}

/// What a node takes in an answer beside its blobs, in bytes: ids, numbers and the names of fields.
const NODE_OVERHEAD: usize = 160;
/// Bytes of nodes on one page; at least one node is always served.
pub(super) const PAGE_BYTES: usize = 8 << 20;

impl PageRoom {
    pub(crate) fn new(limit: usize) -> PageRoom {
        PageRoom { nodes: Vec::new(), left: limit.clamp(1, limits::PAGE_NODES), bytes: PAGE_BYTES }
    }

    /// Nodes that still fit, by their number.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Takes the node if there is room for it.
    pub(crate) fn push(&mut self, id: Id, node: &Node) -> bool {
        let size = node.encoded_size();
        if self.left == 0 || (size > self.bytes && !self.nodes.is_empty()) {
            return false;
        }
        self.left -= 1;
        self.bytes = self.bytes.saturating_sub(size);
        self.nodes.push(node.to_wire(id));
        true
    }
}

/// Where a child stands among its siblings: by kind, then by id.
pub(crate) type ChildKey = (u8, Id);

/// Live children of a directory after `after`, and where the next page goes on.
pub(crate) fn children(
    conn: &Connection,
    drive: i64,
    parent: &Id,
    after: Option<ChildKey>,
    limit: usize,
) -> Result<(Vec<wire::Node>, Option<ChildKey>), Problem> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM node WHERE drive = ? AND parent = ? AND live = 1 AND (kind, id) > (?, ?)",
        " ORDER BY kind, id"
    );
    let mut query = conn.prepare_cached(sql)?;
    let (kind, id) = after.map_or((-1, [0; 16]), |(kind, id)| (i64::from(kind), id));
    let mut rows = query.query((drive, parent, kind, id))?;
    let mut page = PageRoom::new(limit);
    while let Some(row) = rows.next()? {
        let (id, node) = from_row(row)?;
        if !page.push(id, &node) {
            let last = page.nodes.last().map(|node| (node.kind, *node.id));
            return Ok((page.nodes, last));
        }
    }
    Ok((page.nodes, None))
}

/// The trash, newest first.
pub(crate) fn trash(conn: &Connection, drive: i64) -> Result<Vec<wire::Node>, Problem> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM node WHERE drive = ? AND live = 0 AND purged = 0 ORDER BY meta_rev DESC, id"
    );
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query([drive])?;
    let mut page = PageRoom::new(limits::TRASH_NODES);
    while let Some(row) = rows.next()? {
        let (id, node) = from_row(row)?;
        if !page.push(id, &node) {
            break;
        }
    }
    Ok(page.nodes)
}

/// Versions of a file, newest first.
pub(crate) fn versions(
    conn: &Connection,
    drive: i64,
    node: &Id,
) -> Result<Vec<wire::VersionEntry>, Problem> {
    let sql = "SELECT v.rev, v.head, coalesce(d.label, ''), v.stored_ms FROM version v \
               LEFT JOIN device d ON d.id = v.device \
               WHERE v.drive = ? AND v.node = ? ORDER BY v.rev DESC LIMIT ?";
    let mut query = conn.prepare_cached(sql)?;
    let rows = query.query_map((drive, node, limits::VERSIONS_LISTED as i64), |row| {
        Ok(wire::VersionEntry {
            rev: row.get::<_, i64>(0)?.cast_unsigned(),
            head: ByteBuf::from(row.get::<_, Vec<u8>>(1)?),
            device: row.get(2)?,
            stored_ms: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The content of one version: head, body, refs.
pub(crate) fn version(
    conn: &Connection,
    drive: i64,
    node: &Id,
    rev: u64,
) -> Result<Option<wire::VersionContent>, Problem> {
    let sql = "SELECT head, body, refs FROM version WHERE drive = ? AND node = ? AND rev = ?";
    let mut query = conn.prepare_cached(sql)?;
    let content = query.query_row((drive, node, to_sql(rev)), |row| {
        let refs: Vec<u8> = row.get(2)?;
        Ok(wire::VersionContent {
            head: ByteBuf::from(row.get::<_, Vec<u8>>(0)?),
            body: ByteBuf::from(row.get::<_, Vec<u8>>(1)?),
            refs: split_hashes(&refs).map(ByteArray::new).collect(),
            chunk: None,
        })
    });
    Ok(content.optional()?)
}

/// Chunk ids that are stored back to back.
pub(crate) fn split_hashes(joined: &[u8]) -> impl Iterator<Item = Hash> + '_ {
    joined.chunks_exact(32).filter_map(|id| id.try_into().ok())
}
