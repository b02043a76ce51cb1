//! What is still named. Chunk ids are keyed hashes, so their first eight bytes are as good as random:
//! a set of those says "maybe named" for one in 10^12 of what is not, which then stays a little
//! longer, and never "not named" for what is.

use super::{BYTES_PER_LOOK, Doomed, Drive, ROWS_PER_LOOK, Upkeep};
use crate::{
    db::{nodes::split_hashes, to_sql},
    ids::{Hash, Id},
    problem::Problem,
};
use rusqlite::Connection;
use std::collections::HashSet;

/// Marks that are in memory at once (32 MiB, and twice that while they are gathered). Drives with
/// more chunks are looked through in several parts.
const MARKS: u64 = 4 << 20;
/// Levels of pages that name pages; clients make one.
const PAGE_LEVELS: usize = 8;

/// The start of a chunk's id.
pub(super) fn mark_of(id: &Hash) -> u64 {
    let mut start = [0; 8];
    start.copy_from_slice(&id[..8]);
    u64::from_be_bytes(start)
}

/// A range of chunk ids: all whose marks are in it, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Part {
    /// Parts of about equal size, none with more than [`MARKS`] of `chunks` chunks or so.
    pub(super) fn split(chunks: u64) -> impl Iterator<Item = Part> {
        let count = chunks.div_ceil(MARKS).max(1);
        let width = u64::MAX / count;
        (0..count).map(move |index| Part {
            first: index * width + u64::from(index > 0),
            last: if index + 1 == count { u64::MAX } else { (index + 1) * width },
        })
    }

    fn contains(self, mark: u64) -> bool {
        (self.first..=self.last).contains(&mark)
    }
}

/// The marks of one part.
#[derive(Debug)]
pub(super) struct Marks {
    part: Part,
    sorted: Vec<u64>,
    /// Size at which duplicates are thrown out.
    tidy_at: usize,
}

impl Marks {
    fn new(part: Part) -> Marks {
        Marks { part, sorted: Vec::new(), tidy_at: 2 * MARKS as usize }
    }

    fn add(&mut self, ids: impl Iterator<Item = Hash>) {
        self.sorted.extend(ids.map(|id| mark_of(&id)).filter(|mark| self.part.contains(*mark)));
        if self.sorted.len() >= self.tidy_at {
            self.tidy();
            self.tidy_at = self.tidy_at.max(2 * self.sorted.len());
        }
    }

    fn tidy(&mut self) {
        self.sorted.sort_unstable();
        self.sorted.dedup();
    }

    pub(super) fn has(&self, id: &Hash) -> bool {
        self.sorted.binary_search(&mark_of(id)).is_ok()
    }
}

/// What a version, or a page, names.
struct Named<K> {
    key: K,
    refs: Vec<u8>,
}

impl Upkeep {
    /// Everything of `part` that a version or a page names. Pages that are not condemned count, named
    /// or not: while a page counts as stored a commit may name it, so what it names must stay.
    pub(super) async fn marks(
        &self,
        drive: &Drive,
        part: Part,
        named_pages: &HashSet<u64>,
        doomed: &Doomed,
    ) -> Result<Marks, Problem> {
        let mut marks = Marks::new(part);
        self.versions(drive, doomed, |refs| marks.add(split_hashes(refs))).await?;
        self.pages(drive, |page, condemned, refs| {
            if !condemned || named_pages.contains(&mark_of(page)) {
                marks.add(split_hashes(refs));
            }
        })
        .await?;
        marks.tidy();
        Ok(marks)
    }

    /// Condemned pages that are named all the same.
    pub(super) async fn named_pages(
        &self,
        drive: &Drive,
        doomed: &Doomed,
    ) -> Result<HashSet<u64>, Problem> {
        let (mut condemned_pages, mut named) = (HashSet::new(), HashSet::new());
        self.pages(drive, |page, condemned, _| {
            if condemned {
                condemned_pages.insert(mark_of(page));
            }
        })
        .await?;
        if condemned_pages.is_empty() {
            return Ok(named);
        }
        let wanted = |id: &Hash| condemned_pages.contains(&mark_of(id));
        self.versions(drive, doomed, |refs| {
            named.extend(split_hashes(refs).filter(wanted).map(|id| mark_of(&id)));
        })
        .await?;
        for _ in 0..PAGE_LEVELS {
            let mut more = Vec::new();
            self.pages(drive, |page, condemned, refs| {
                if !condemned || named.contains(&mark_of(page)) {
                    more.extend(split_hashes(refs).filter(wanted).map(|id| mark_of(&id)));
                }
            })
            .await?;
            let before = named.len();
            named.extend(more);
            if named.len() == before {
                break;
            }
        }
        Ok(named)
    }

    /// Hands on what each version names.
    async fn versions(
        &self,
        drive: &Drive,
        doomed: &Doomed,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Problem> {
        let (num, mut after) = (drive.num, ([0; 16], 0));
        loop {
            let rows = self.db.read(move |conn| read_versions(conn, num, after)).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.key;
            for row in rows.iter().filter(|row| !doomed.contains(&row.key)) {
                take(&row.refs);
            }
        }
    }

    /// Hands on what each page names, and whether the page is condemned.
    async fn pages(
        &self,
        drive: &Drive,
        mut take: impl FnMut(&Hash, bool, &[u8]),
    ) -> Result<(), Problem> {
        let (num, mut after) = (drive.num, None);
        loop {
            let rows = self.db.read(move |conn| read_pages(conn, num, after)).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.key.0);
            for row in &rows {
                take(&row.key.0, row.key.1, &row.refs);
            }
        }
    }
}

fn read_versions(
    conn: &Connection,
    drive: i64,
    after: (Id, u64),
) -> Result<Vec<Named<(Id, u64)>>, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT node, rev, refs FROM version WHERE drive = ? AND (node, rev) > (?, ?) \
         ORDER BY node, rev LIMIT ?",
    )?;
    let mut rows = query.query((drive, after.0, to_sql(after.1), ROWS_PER_LOOK as i64))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while bytes < BYTES_PER_LOOK
        && let Some(row) = rows.next()?
    {
        let key = (row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned());
        let refs: Vec<u8> = row.get(2)?;
        bytes += refs.len();
        found.push(Named { key, refs });
    }
    Ok(found)
}

fn read_pages(
    conn: &Connection,
    drive: i64,
    after: Option<Hash>,
) -> Result<Vec<Named<(Hash, bool)>>, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT id, condemned IS NOT NULL, refs FROM chunk WHERE drive = ?1 AND refs IS NOT NULL \
         AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let after: &[u8] = after.as_ref().map_or(&[], |id| &id[..]);
    let mut rows = query.query((drive, after, ROWS_PER_LOOK as i64))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while bytes < BYTES_PER_LOOK
        && let Some(row) = rows.next()?
    {
        let key = (row.get(0)?, row.get(1)?);
        let refs: Vec<u8> = row.get(2)?;
        bytes += refs.len();
        found.push(Named { key, refs });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_mark_once() {
        for chunks in [0, 1, MARKS, MARKS + 1, 5 * MARKS, 1_000 * MARKS + 3] {
            let parts: Vec<Part> = Part::split(chunks).collect();
            assert_eq!((parts[0].first, parts[parts.len() - 1].last), (0, u64::MAX));
            for pair in parts.windows(2) {
                assert_eq!(pair[0].last + 1, pair[1].first);
            }
        }
    }

    #[test]
    fn marks_know_what_was_added() {
        let mut marks = Marks::new(Part { first: 0, last: u64::MAX });
        marks.tidy_at = 10;
        let id = |n: u32| *blake3::hash(&n.to_le_bytes()).as_bytes();
        for n in 0..1_000 {
            marks.add([id(n % 100)].into_iter());
        }
        marks.tidy();
        assert_eq!(marks.sorted.len(), 100);
        assert!((0..100).all(|n| marks.has(&id(n))));
        assert!((100..200).all(|n| !marks.has(&id(n))));
    }
}
