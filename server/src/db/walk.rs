//! The snapshot: the whole tree as it was at the rev of the first page, whatever happens meanwhile.
//!
//! Directory by directory, depth first: all children of a directory, files before directories, each
//! by id; then each of its child directories in turn. So a parent always comes before its children.
//! States of the past come from `history`, so the pages of one snapshot are one tree at one rev, and
//! `changes` from that rev on completes it. The position is the directory and its last child sent.

use super::nodes::{ChildKey, DIR, Node, PAGE_BYTES, PageRoom, columns, from_row};
use crate::{
    db::{activity, log, to_sql},
    ids::{Id, ROOT},
    problem::Problem,
};
use protocol::{limits, wire};
use rusqlite::{Connection, OptionalExtension};
use std::collections::VecDeque;

const CURSOR_VERSION: u8 = 1;
const CURSOR_BYTES: usize = 1 + 8 + 16 + 1 + 1 + 16;

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The rev that the snapshot shows.
    rev: u64,
    dir: Id,
    /// The last child of `dir` that was sent; `None`: not one yet.
    last: Option<ChildKey>,
}

impl Position {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CURSOR_BYTES);
        out.push(CURSOR_VERSION);
        out.extend_from_slice(&self.rev.to_le_bytes());
        out.extend_from_slice(&self.dir);
        let (kind, id) = self.last.unwrap_or((0, ROOT));
        out.extend_from_slice(&[u8::from(self.last.is_some()), kind]);
        out.extend_from_slice(&id);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Position> {
        if bytes.len() != CURSOR_BYTES || bytes[0] != CURSOR_VERSION {
            return None;
        }
        let last = (bytes[26], bytes[27..].try_into().ok()?);
        Some(Position {
            rev: u64::from_le_bytes(bytes[1..9].try_into().ok()?),
            dir: bytes[9..25].try_into().ok()?,
            last: (bytes[25] == 1).then_some(last),
        })
    }
}

/// A page of the snapshot: nodes, the rev that it shows, and where the next page goes on.
pub(crate) fn page(
    conn: &Connection,
    drive: i64,
    after: Option<Position>,
    limit: usize,
) -> Result<(PageRoom, u64, Option<Position>), Problem> {
    let (head, log_from) = log::bounds(conn, drive)?;
    let at = after.unwrap_or(Position { rev: head, dir: ROOT, last: None });
    if at.rev < log_from || at.rev > head {
        return Err(Problem::gone("this snapshot is too old to be continued; begin a new one"));
    }
    let tree = Tree { conn, drive, rev: at.rev, past: at.rev < head };
    let mut page = PageRoom::new(limit);
    let mut walk = Walk { tree, path: tree_path(&tree, at.dir)? };
    let mut last = at.last;
    loop {
        let Some(dir) = walk.path.last().map(|level| level.dir) else {
            return Ok((page, at.rev, None));
        };
        let block = tree.children(&dir, last, page.left() + 1)?;
        let from_start = last.is_none();
        let mut dirs = VecDeque::new();
        for (id, node) in &block {
            if !page.push(*id, node) {
                return Ok((page, at.rev, Some(Position { rev: at.rev, dir, last })));
            }
            last = Some((node.kind, *id));
            if node.is_dir() {
                dirs.push_back(*id);
            }
        }
        walk.next(from_start.then_some(dirs))?;
        last = None;
    }
}

/// The children that a directory had at a rev, and where the next page goes on. Files speak of the
/// version they had, or the nearest that is still kept.
pub(crate) fn children_at(
    conn: &Connection,
    (drive, rev): (i64, u64),
    dir: &Id,
    after: Option<ChildKey>,
    limit: usize,
) -> Result<(Vec<wire::Node>, Option<ChildKey>), Problem> {
    let mut page = PageRoom::new(limit);
    let tree = Tree { conn, drive, rev, past: true };
    let found = tree.children(dir, after, page.left() + 1)?;
    let fits = found.iter().all(|(id, node)| page.push(*id, node));
    for node in &mut page.nodes {
        activity::with_kept_version(conn, drive, node)?;
    }
    let last = page.nodes.last().map(|node| (node.kind, *node.id));
    Ok((page.nodes, last.filter(|_| !fits)))
}

/// A node as it was at a rev; not if it was in the trash then.
pub(crate) fn node_at(
    conn: &Connection,
    (drive, rev): (i64, u64),
    id: &Id,
) -> Result<Option<wire::Node>, Problem> {
    let now = concat!(
        "SELECT ",
        columns!(),
        " FROM node WHERE drive = ?1 AND id = ?2 AND live = 1 AND max(meta_rev, content_rev) <= ?3"
    );
    let past = concat!(
        "SELECT ",
        columns!(),
        " FROM history WHERE drive = ?1 AND id = ?2 AND live = 1 AND rev_from <= ?3 AND rev_to > ?3"
    );
    for sql in [now, past] {
        let mut query = conn.prepare_cached(sql)?;
        if let Some((id, node)) = query.query_row((drive, id, to_sql(rev)), from_row).optional()? {
            let mut node = node.to_wire(id);
            activity::with_kept_version(conn, drive, &mut node)?;
            return Ok(Some(node));
        }
    }
    Ok(None)
}

/// The path from the root to `dir`, each level with where it goes on after its child.
fn tree_path(tree: &Tree<'_>, dir: Id) -> Result<Vec<Level>, Problem> {
    let mut path = vec![Level { dir, after: None, known: None }];
    let mut at = dir;
    while at != ROOT {
        if path.len() > limits::TREE_DEPTH + 1 {
            return Err(Problem::invalid("the position of the snapshot is not of this drive"));
        }
        let parent = tree
            .parent(&at)?
            .ok_or_else(|| Problem::invalid("the position of the snapshot is not of this drive"))?;
        path.push(Level { dir: parent, after: Some(at), known: None });
        at = parent;
    }
    path.reverse();
    Ok(path)
}

/// A directory on the path to where the walk is.
struct Level {
    dir: Id,
    /// The child directory that the walk is in or has been in last.
    after: Option<Id>,
    /// The child directories still to come, if this page has seen them all.
    known: Option<VecDeque<Id>>,
}

struct Walk<'a> {
    tree: Tree<'a>,
    path: Vec<Level>,
}

impl Walk<'_> {
    /// Moves on to the next directory, after all children of the last level have been sent.
    /// `known`: its child directories, if they are all known. The path is empty at the end.
    fn next(&mut self, known: Option<VecDeque<Id>>) -> Result<(), Problem> {
        if let Some(level) = self.path.last_mut() {
            level.known = known;
        }
        while let Some(level) = self.path.last_mut() {
            let next = match &mut level.known {
                Some(dirs) => dirs.pop_front(),
                None => self.tree.child_dir(&level.dir, level.after)?,
            };
            if let Some(dir) = next {
                level.after = Some(dir);
                self.path.push(Level { dir, after: None, known: None });
                return Ok(());
            }
            self.path.pop();
        }
        Ok(())
    }
}

/// The live tree at `rev`.
#[derive(Clone, Copy)]
struct Tree<'a> {
    conn: &'a Connection,
    drive: i64,
    rev: u64,
    /// Whether anything has been committed since.
    past: bool,
}

const NOW: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM node WHERE drive = ?1 AND parent = ?2 AND live = 1 AND (kind, id) > (?3, ?4)",
    " AND max(meta_rev, content_rev) <= ?5 ORDER BY kind, id LIMIT ?6"
);
const PAST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM history WHERE drive = ?1 AND parent = ?2 AND live = 1 AND (kind, id) > (?3, ?4)",
    " AND rev_from <= ?5 AND rev_to > ?5 ORDER BY kind, id LIMIT ?6"
);

impl Tree<'_> {
    fn children(
        &self,
        dir: &Id,
        after: Option<ChildKey>,
        limit: usize,
    ) -> Result<Vec<(Id, Node)>, Problem> {
        let mut found = self.select(NOW, dir, after, limit)?;
        if self.past {
            found.extend(self.select(PAST, dir, after, limit)?);
            found.sort_by_key(|(id, node)| (node.kind, *id));
            found.truncate(limit);
        }
        Ok(found)
    }

    fn select(
        &self,
        sql: &str,
        dir: &Id,
        after: Option<ChildKey>,
        limit: usize,
    ) -> Result<Vec<(Id, Node)>, Problem> {
        let (kind, id) = after.map_or((-1, ROOT), |(kind, id)| (i64::from(kind), id));
        let mut query = self.conn.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let args = (self.drive, dir, kind, id, to_sql(self.rev), limit);
        let mut rows = query.query(args)?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let (id, node) = from_row(row)?;
            bytes += node.encoded_size();
            found.push((id, node));
            // More than fits on a page, so the page ends before this list does.
            if bytes > PAGE_BYTES {
                break;
            }
        }
        Ok(found)
    }

    /// The child directory of `dir` that follows `after`.
    fn child_dir(&self, dir: &Id, after: Option<Id>) -> Result<Option<Id>, Problem> {
        let after = after.map_or((DIR - 1, [0xff; 16]), |id| (DIR, id));
        let next = self.children(dir, Some(after), 1)?;
        Ok(next.first().filter(|(_, node)| node.is_dir()).map(|(id, _)| *id))
    }

    fn parent(&self, id: &Id) -> Result<Option<Id>, Problem> {
        let now = "SELECT parent FROM node WHERE drive = ?1 AND id = ?2 AND live = 1 \
                   AND max(meta_rev, content_rev) <= ?3";
        let past = "SELECT parent FROM history WHERE drive = ?1 AND id = ?2 AND live = 1 \
                    AND rev_from <= ?3 AND rev_to > ?3";
        for sql in [now, past] {
            let mut query = self.conn.prepare_cached(sql)?;
            let args = (self.drive, id, to_sql(self.rev));
            if let Some(parent) = query.query_row(args, |row| row.get(0)).optional()? {
                return Ok(Some(parent));
            }
        }
        Ok(None)
    }
}
