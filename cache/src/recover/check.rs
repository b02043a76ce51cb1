//! Rows against backing files.

use super::Recovery;
use crate::index::Writer;
use crate::layout::LastStop;
use crate::{Error, index};
use fs_core::{Change, ContentRow, Ino, Measure, NodeRow, Pending, Range, Ranges, Timestamp};
use rusqlite::Connection;
use std::collections::HashSet;
use std::path::PathBuf;

/// Dirty bytes that are missing are reported file by file up to here, then only counted.
const REPORTS_MAX: usize = 100;
/// The coarsest step of file times that a kernel with passthrough has, in nanoseconds: a jiffy at
/// HZ=100.
const TICK_NANOS: i64 = 10_000_000;

impl Recovery<'_> {
    /// Makes the content rows say only what is true. Returns the backing files that no row knows,
    /// each with what is known of it.
    ///
    /// After power loss (the system was started anew and there is no mark of a clean stop), clean
    /// bytes that were never synced may be garbage. Which were is not recorded, so no clean byte is
    /// trusted then: all are fetched again. Dirty bytes stay: they are the only copy.
    pub(super) fn check_content(&mut self, conn: &Connection) -> Result<Vec<(Ino, String)>, Error> {
        let path = self.layout.index();
        let sql = |error: rusqlite::Error| Error::sql(&path, &error);
        let rows = index::all_content(conn).map_err(sql)?;
        let graves: HashSet<Ino> = index::graves(conn).map_err(sql)?.into_iter().collect();
        let mut known = HashSet::new();
        let mut unknown = Vec::new();
        let mut missing = 0;
        let transaction = conn.unchecked_transaction().map_err(sql)?;
        for row in rows {
            match index::node_of(conn, row.ino).map_err(sql)? {
                Some(node) => {
                    known.insert(row.ino);
                    missing += usize::from(self.check_row(conn, &node, row, missing)?);
                }
                None => {
                    let dirty = row.dirty.bytes();
                    let why = format!("inode {}: no node has it; {dirty} bytes unsent", row.ino.0);
                    unknown.push((row.ino, why));
                    self.repair(conn, Change::DropContent(row.ino))?;
                }
            }
        }
        transaction.commit().map_err(sql)?;
        if missing > REPORTS_MAX {
            self.notice(format!("unsent bytes are missing in {missing} files in all"));
        }
        let noted: HashSet<Ino> = unknown.iter().map(|(ino, _)| *ino).collect();
        for ino in self.content.inos() {
            if !known.contains(&ino) && !noted.contains(&ino) && !graves.contains(&ino) {
                unknown.push((ino, self.what_is_known(conn, ino)?));
            }
        }
        Ok(unknown)
    }

    /// Checks one row; returns whether dirty bytes are missing.
    fn check_row(
        &mut self,
        conn: &Connection,
        node: &NodeRow,
        mut row: ContentRow,
        reported: usize,
    ) -> Result<bool, Error> {
        let ino = row.ino;
        let here = self.content.len(ino)?;
        if row.blind {
            return self.adopt_unseen(conn, node, row).map(|()| false);
        }
        let before = row.valid.clone();
        if self.stop == LastStop::PowerLoss {
            row.valid = Ranges::new();
        }
        row.valid.truncate(here.unwrap_or(0));
        self.cut(node, &row, here)?;
        let end = row.dirty.iter().last().map_or(0, |range| range.end);
        let lacking = end > here.unwrap_or(0);
        if lacking && reported < REPORTS_MAX {
            let name = node.name.as_bytes().escape_ascii();
            let place = self.content.path(ino).display().to_string();
            self.notice(match here {
                None => format!(
                    "{place}: the backing file of \"{name}\" is missing, and with it {} unsent \
                     bytes; they read as zeros",
                    row.dirty.bytes()
                ),
                Some(len) => format!(
                    "{place}: the backing file of \"{name}\" ends at byte {len}, but unsent bytes \
                     reach to {end}; what is missing reads as zeros"
                ),
            });
        }
        if lacking {
            self.content.truncate(ino, end)?; // said once: from here on the zeros are its bytes
        }
        if row.valid == before {
            return Ok(lacking);
        }
        self.distrust(conn, Some(node), row)?;
        Ok(lacking)
    }

    /// Programs may have written to the file unseen when the last run ended: all that is in it is
    /// theirs, and unsent. They may still have it open, so the mark stays.
    fn adopt_unseen(
        &mut self,
        conn: &Connection,
        node: &NodeRow,
        mut row: ContentRow,
    ) -> Result<(), Error> {
        let here = self.content.measure(row.ino, false, false)?;
        row.valid = Ranges::new();
        row.dirty = [Range::new(0, here.size)].into_iter().collect();
        row.base_len = row.base_len.min(here.size);
        let mut node = node.clone();
        // What was set by hand after the last unseen write stays. (A crash may have come before the file
        // was marked as unwritten; file times may lag behind the clock by a tick.)
        let recent = here.mtime.0.saturating_add(TICK_NANOS) > node.attrs.ctime.0;
        if here.mtime != Measure::UNWRITTEN && recent {
            node.attrs.mtime = here.mtime;
        }
        node.size = here.size;
        // Later than anything that was sent: nobody knows what was written since.
        node.attrs.ctime = here.ctime.max(Timestamp(node.attrs.ctime.0.saturating_add(1)));
        if node.parent != Ino::NONE && !node.pending.has(Pending::CREATE.with(Pending::TRASH)) {
            node.pending = node.pending.with(Pending::CONTENT);
        }
        self.repair(conn, Change::PutContent(Box::new(row)))?;
        self.repair(conn, Change::PutNode(Box::new(node)))
    }

    /// Cuts a backing file that is longer than its row says: the bytes of a truncation whose record
    /// came first, or of a write whose record never came. A file that grows later must show zeros
    /// there.
    fn cut(&mut self, node: &NodeRow, row: &ContentRow, here: Option<u64>) -> Result<(), Error> {
        let ends = row.valid.iter().chain(row.dirty.iter()).map(|range| range.end);
        let keep = ends.max().unwrap_or(0).max(node.size);
        if here.is_some_and(|len| len > keep) {
            self.changed = true;
            self.content.truncate(row.ino, keep)?;
        }
        Ok(())
    }

    /// Writes a row that lost some of its valid ranges. If nothing of a file that the cloud has is
    /// here any more, row and backing file go: the file only holds clean bytes not to be trusted.
    pub(super) fn distrust(
        &mut self,
        conn: &Connection,
        node: Option<&NodeRow>,
        row: ContentRow,
    ) -> Result<(), Error> {
        let local = Pending::CREATE.with(Pending::CONTENT);
        let sent = node.is_some_and(|node| !node.pending.has(local));
        if !(sent && row.valid.is_empty() && row.dirty.is_empty()) {
            return self.repair(conn, Change::PutContent(Box::new(row)));
        }
        let path = self.layout.index();
        index::dig_grave(conn, row.ino).map_err(|error| Error::sql(&path, &error))?;
        self.repair(conn, Change::DropContent(row.ino))
    }

    fn what_is_known(&self, conn: &Connection, ino: Ino) -> Result<String, Error> {
        let rows = index::load_with_ancestors(conn, &[ino]);
        let rows = rows.map_err(|error| Error::sql(&self.layout.index(), &error))?;
        if rows.is_empty() {
            return Ok(format!("inode {}: no row knows it", ino.0));
        }
        let names =
            rows.iter().rev().map(|row| row.node.name.as_bytes().escape_ascii().to_string());
        let path = names.filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/");
        Ok(format!("inode {}: bytes beside the records of \"{path}\"", ino.0))
    }

    /// Removes the backing files that changes have dropped. The index says so durably by now.
    pub(super) fn bury(&self, writer: &mut Writer) -> Result<(), Error> {
        let path = self.layout.index();
        let sql = |error: rusqlite::Error| Error::sql(&path, &error);
        let graves = index::graves(&writer.conn).map_err(sql)?;
        for &ino in &graves {
            if index::content_of(&writer.conn, ino).map_err(sql)?.is_none() {
                self.content.evict(ino)?;
            }
        }
        writer.buried(&graves).map_err(sql)
    }

    /// Moves what no row knows to `lost+found/`.
    pub(super) fn move_unknown(
        &mut self,
        unknown: Vec<(Ino, String)>,
        strange: Vec<PathBuf>,
    ) -> Result<(), Error> {
        let count = unknown.len() + strange.len();
        for (ino, why) in unknown {
            if self.content.exists(ino) {
                self.lost.keep_content(&self.content, ino, &why)?;
            }
        }
        for path in strange {
            self.lost.keep(&path, "found among the backing files, but not one of them")?;
        }
        if count > 0 {
            let dir = self.layout.lost();
            self.notice(format!(
                "{count} files among the backing files are known to no row; they are in {}, and \
                 INDEX.txt there says what is known of them",
                dir.display()
            ));
        }
        Ok(())
    }
}
