//! Where chunks lie.

use crate::{
    db::{now_ms, to_sql},
    ids::Hash,
    problem::Problem,
};
use protocol::{limits, pack::PackEntry};
use rusqlite::{Connection, OptionalExtension};
use std::collections::{HashMap, HashSet};

use super::nodes::split_hashes;

/// A stored chunk: part of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pack: Hash,
    pub(crate) at: u64,
    pub(crate) len: u32,
}

/// Where a chunk lies; `None` if it is not stored, or in a pack that cannot be read.
pub(crate) fn find(conn: &Connection, drive: i64, id: &Hash) -> Result<Option<Place>, Problem> {
    let sql = "SELECT pack.id, chunk.at, chunk.len FROM chunk JOIN pack ON pack.num = chunk.pack \
               WHERE chunk.drive = ? AND chunk.id = ?";
    let mut query = conn.prepare_cached(sql)?;
    let place = query.query_row((drive, id), |row| {
        Ok(Place { pack: row.get(0)?, at: row.get::<_, i64>(1)?.cast_unsigned(), len: row.get(2)? })
    });
    Ok(place.optional()?)
}

/// Whether a chunk is stored and can be read, as far as is known.
pub(crate) fn present(conn: &Connection, drive: i64, id: &Hash) -> Result<bool, Problem> {
    let sql = "SELECT 1 FROM chunk JOIN pack ON pack.num = chunk.pack \
               WHERE chunk.drive = ? AND chunk.id = ? AND pack.damaged = 0";
    Ok(conn.prepare_cached(sql)?.exists((drive, id))?)
}

/// The size of a pack that is stored whole.
pub(crate) fn pack_size(conn: &Connection, drive: i64, id: &Hash) -> Result<Option<u64>, Problem> {
    let sql = "SELECT size FROM pack WHERE drive = ? AND id = ? AND damaged = 0";
    let mut query = conn.prepare_cached(sql)?;
    let size: Option<i64> = query.query_row((drive, id), |row| row.get(0)).optional()?;
    Ok(size.map(i64::cast_unsigned))
}

/// A pack that is on the disk and has been checked.
#[derive(Debug)]
pub(crate) struct StoredPack {
    pub(crate) id: Hash,
    pub(crate) size: u64,
    pub(crate) entries: Vec<PackEntry>,
}

/// Enters a pack and its chunks. A chunk that is stored already stays where it is, unless its pack
/// is damaged. False: the pack was known.
pub(crate) fn enter(
    conn: &Connection,
    drive: i64,
    pack: &StoredPack,
    quota_bytes: Option<u64>,
) -> Result<bool, Problem> {
    let known: Option<(i64, bool)> = conn
        .prepare_cached("SELECT num, damaged FROM pack WHERE drive = ? AND id = ?")?
        .query_row((drive, pack.id), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((num, damaged)) = known {
        if damaged {
            conn.execute("UPDATE pack SET damaged = 0 WHERE num = ?", [num])?;
        }
        return Ok(false);
    }
    super::drives::charge(conn, drive, pack.size, quota_bytes)?;
    conn.prepare_cached(
        "INSERT INTO pack (drive, id, size, damaged, stored_ms) VALUES (?, ?, ?, 0, ?)",
    )?
    .execute((drive, pack.id, to_sql(pack.size), now_ms()))?;
    let num = conn.last_insert_rowid();
    let mut insert = conn.prepare_cached(
        "INSERT INTO chunk (drive, id, pack, at, len, refs) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO UPDATE SET pack = ?3, at = ?4, len = ?5, refs = ?6 \
         WHERE (SELECT damaged FROM pack WHERE num = chunk.pack)",
    )?;
    for entry in &pack.entries {
        let refs = (!entry.refs.is_empty()).then(|| entry.refs.concat());
        insert.execute((drive, entry.id, num, entry.offset, entry.len, refs))?;
    }
    Ok(true)
}

/// Notes that a pack cannot be read back, so that its chunks are asked for again.
pub(crate) fn mark_damaged(conn: &Connection, drive: i64, pack: &Hash) -> Result<(), Problem> {
    conn.prepare_cached("UPDATE pack SET damaged = 1 WHERE drive = ? AND id = ?")?
        .execute((drive, pack))?;
    Ok(())
}

/// What pages of manifests name that is not stored. Made before the commit on a connection that
/// reads, since pages of large files name millions of chunks.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// By page; an empty list: all is there.
    missing: HashMap<Hash, Vec<Hash>>,
}

/// Looks into those of `ids` that are pages whose chunks have not been seen all yet.
pub(crate) fn survey(
    conn: &Connection,
    drive: i64,
    ids: impl Iterator<Item = Hash>,
) -> Result<Survey, Problem> {
    let mut survey = Survey::default();
    let mut room = limits::QUERY_IDS;
    let mut query = conn.prepare_cached("SELECT refs FROM chunk WHERE drive = ? AND id = ?")?;
    for page in ids {
        if survey.missing.contains_key(&page) {
            continue;
        }
        let refs: Option<Option<Vec<u8>>> =
            query.query_row((drive, page), |row| row.get(0)).optional()?;
        let Some(Some(refs)) = refs else { continue };
        let mut missing = Vec::new();
        for id in split_hashes(&refs) {
            // At least one, so that a page that lacks something never looks whole.
            if missing.len() >= room.max(1) {
                break;
            }
            if !present(conn, drive, &id)? {
                missing.push(id);
            }
        }
        room = room.saturating_sub(missing.len());
        survey.missing.insert(page, missing);
    }
    Ok(survey)
}

/// Looks up, within one commit, whether all chunks are there that contents speak of.
#[derive(Debug)]
pub(crate) struct Presence {
    survey: Survey,
    known: HashMap<Hash, bool>,
    /// Ids that may still be told as missing; each group may tell at least one.
    room: usize,
}

impl Presence {
    pub(crate) fn new(survey: Survey) -> Presence {
        Presence { survey, known: HashMap::new(), room: limits::QUERY_IDS }
    }

    /// Those of `wanted`, and of what their pages name, that are not stored; a bounded list.
    pub(crate) fn missing(
        &mut self,
        conn: &Connection,
        drive: i64,
        wanted: impl Iterator<Item = Hash>,
    ) -> Result<Vec<Hash>, Problem> {
        let room = self.room.max(1);
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        for id in wanted.filter(|id| seen.insert(*id)) {
            if missing.len() >= room {
                break;
            }
            if !self.has(conn, drive, &id)? {
                missing.push(id);
            } else if is_open_page(conn, drive, &id)? {
                self.page(conn, drive, &id, &mut missing)?;
            }
        }
        missing.truncate(room);
        self.room = self.room.saturating_sub(missing.len());
        Ok(missing)
    }

    fn has(&mut self, conn: &Connection, drive: i64, id: &Hash) -> Result<bool, Problem> {
        if let Some(known) = self.known.get(id) {
            return Ok(*known);
        }
        let present = present(conn, drive, id)?;
        self.known.insert(*id, present);
        Ok(present)
    }

    /// Tells what a page lacks. If nothing, that is noted for good: what is stored stays stored.
    fn page(
        &self,
        conn: &Connection,
        drive: i64,
        page: &Hash,
        missing: &mut Vec<Hash>,
    ) -> Result<(), Problem> {
        match self.survey.missing.get(page) {
            Some(lacking) if lacking.is_empty() => {
                conn.prepare_cached("UPDATE chunk SET refs = NULL WHERE drive = ? AND id = ?")?
                    .execute((drive, page))?;
            }
            Some(lacking) => missing.extend(lacking),
            // It came after the survey: to be on the safe side it counts as missing.
            None => missing.push(*page),
        }
        Ok(())
    }
}

/// Whether it is a page of a manifest whose chunks have not been seen all yet.
fn is_open_page(conn: &Connection, drive: i64, id: &Hash) -> Result<bool, Problem> {
    let sql = "SELECT 1 FROM chunk WHERE drive = ? AND id = ? AND refs IS NOT NULL";
    Ok(conn.prepare_cached(sql)?.exists((drive, id))?)
}

/// Which of `ids` are stored, in order.
pub(crate) fn presence_of(
    conn: &Connection,
    drive: i64,
    ids: &[protocol::wire::Hash],
) -> Result<Vec<bool>, Problem> {
    ids.iter().map(|id| present(conn, drive, id)).collect()
}

/// Where each of the chunks lies, in order.
pub(crate) fn find_all(
    conn: &Connection,
    drive: i64,
    ids: impl Iterator<Item = Hash>,
) -> Result<Vec<Option<Place>>, Problem> {
    ids.map(|id| find(conn, drive, &id)).collect()
}
