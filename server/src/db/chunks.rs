//! Where chunks lie.

use crate::{
    db::{now_ms, to_sql},
    ids::Hash,
    problem::Problem,
};
use protocol::{limits, pack::PackEntry};
use rusqlite::{Connection, OptionalExtension};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::nodes::split_hashes;

/// A stored chunk: part of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pack: Hash,
    pub(crate) at: u64,
    pub(crate) len: u32,
}

pub(super) const FIND: &str = "SELECT pack.id, chunk.at, chunk.len FROM chunk \
    JOIN pack ON pack.num = chunk.pack WHERE chunk.drive = ? AND chunk.id = ?";

/// Where a chunk lies; `None` if it is not stored, or in a pack that cannot be read.
pub(crate) fn find(conn: &Connection, drive: i64, id: &Hash) -> Result<Option<Place>, Problem> {
    let mut query = conn.prepare_cached(FIND)?;
    let place = query.query_row((drive, id), |row| {
        Ok(Place { pack: row.get(0)?, at: row.get::<_, i64>(1)?.cast_unsigned(), len: row.get(2)? })
    });
    Ok(place.optional()?)
}

/// Whether a chunk is stored, can be read as far as is known, and is not about to go.
pub(crate) fn present(conn: &Connection, drive: i64, id: &Hash) -> Result<bool, Problem> {
    let sql = "SELECT 1 FROM chunk JOIN pack ON pack.num = chunk.pack \
               WHERE chunk.drive = ? AND chunk.id = ? AND chunk.condemned IS NULL \
               AND pack.damaged = 0";
    Ok(conn.prepare_cached(sql)?.exists((drive, id))?)
}

/// The size of a pack that is stored whole.
pub(crate) fn pack_size(conn: &Connection, drive: i64, id: &Hash) -> Result<Option<u64>, Problem> {
    let sql = "SELECT size FROM pack WHERE drive = ? AND id = ? AND damaged = 0";
    let mut query = conn.prepare_cached(sql)?;
    let size: Option<i64> = query.query_row((drive, id), |row| row.get(0)).optional()?;
    Ok(size.map(i64::cast_unsigned))
}

/// Whether a pack is stored whole and all of its chunks still count, so that it need not be sent.
pub(crate) fn is_complete(conn: &Connection, drive: i64, id: &Hash) -> Result<bool, Problem> {
    let sql = "SELECT 1 FROM pack WHERE drive = ? AND id = ? AND damaged = 0 AND held IS NULL \
               AND partial = 0";
    Ok(conn.prepare_cached(sql)?.exists((drive, id))?)
}

/// Keeps chunks from being condemned until `until` on the age clock. Written at most once in
/// `slack` milliseconds for each chunk.
pub(crate) fn lease(
    conn: &Connection,
    drive: i64,
    ids: impl Iterator<Item = Hash>,
    lease: Lease,
) -> Result<(), Problem> {
    let sql = "UPDATE chunk SET lease = ?3 WHERE drive = ?1 AND id = ?2 AND lease < ?4";
    let mut query = conn.prepare_cached(sql)?;
    for id in ids {
        query.execute((drive, id, lease.until, lease.until - lease.slack))?;
    }
    Ok(())
}

/// Until when chunks are left alone, and how much less is as good, both in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) until: i64,
    pub(crate) slack: i64,
}

/// Leases are as coarse as this part of their length: an hour of a day.
const LEASE_PARTS: i64 = 24;

impl Lease {
    pub(crate) fn new(age: i64, length: Duration) -> Lease {
        let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 4);
        Lease { until: age.saturating_add(length), slack: length / LEASE_PARTS }
    }
}

/// A pack that is on the disk and has been checked.
#[derive(Debug)]
pub(crate) struct StoredPack {
    pub(crate) id: Hash,
    pub(crate) size: u64,
    pub(crate) entries: Vec<PackEntry>,
    /// Now, and the lease of its chunks.
    pub(crate) age: i64,
    pub(crate) lease: Lease,
}

/// A row of `pack` that is there already.
struct Known {
    num: i64,
    damaged: bool,
    held: bool,
    partial: bool,
}

/// Enters a pack and its chunks. A chunk that is stored already stays where it is, unless its pack
/// is damaged or it was about to go. False: the pack was known.
pub(crate) fn enter(
    conn: &Connection,
    drive: i64,
    pack: &StoredPack,
    quota_bytes: Option<u64>,
) -> Result<bool, Problem> {
    let Some(known) = known(conn, drive, &pack.id)? else {
        super::drives::charge(conn, drive, pack.size, quota_bytes)?;
        let num = insert_pack(conn, drive, pack)?;
        enter_chunks(conn, drive, num, pack)?;
        return Ok(true);
    };
    if known.held {
        super::drives::charge(conn, drive, pack.size, quota_bytes)?;
    }
    if known.damaged || known.held || known.partial {
        enter_chunks(conn, drive, known.num, pack)?;
    } else {
        lease(conn, drive, pack.entries.iter().map(|entry| entry.id), pack.lease)?;
    }
    Ok(false)
}

fn known(conn: &Connection, drive: i64, pack: &Hash) -> Result<Option<Known>, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT num, damaged, held, partial FROM pack WHERE drive = ? AND id = ?",
    )?;
    let known = query.query_row((drive, pack), |row| {
        Ok(Known {
            num: row.get(0)?,
            damaged: row.get(1)?,
            held: row.get::<_, Option<i64>>(2)?.is_some(),
            partial: row.get(3)?,
        })
    });
    Ok(known.optional()?)
}

/// The number of a pack that the store made itself, which may happen to be one that it had.
pub(crate) fn pack_row(conn: &Connection, drive: i64, pack: &StoredPack) -> Result<i64, Problem> {
    let Some(known) = known(conn, drive, &pack.id)? else {
        super::drives::charge(conn, drive, pack.size, None)?;
        return insert_pack(conn, drive, pack);
    };
    if known.held {
        super::drives::charge(conn, drive, pack.size, None)?;
    }
    conn.prepare_cached("UPDATE pack SET damaged = 0, held = NULL, age = ? WHERE num = ?")?
        .execute((pack.age, known.num))?;
    Ok(known.num)
}

/// Adds the row of a pack and gives its number.
fn insert_pack(conn: &Connection, drive: i64, pack: &StoredPack) -> Result<i64, Problem> {
    conn.prepare_cached(
        "INSERT INTO pack (drive, id, size, damaged, stored_ms, age, refs_known, scrubbed) \
         VALUES (?1, ?2, ?3, 0, ?4, ?5, 1, ?5)",
    )?
    .execute((drive, pack.id, to_sql(pack.size), now_ms(), pack.age))?;
    Ok(conn.last_insert_rowid())
}

fn enter_chunks(conn: &Connection, drive: i64, num: i64, pack: &StoredPack) -> Result<(), Problem> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO chunk (drive, id, pack, at, len, refs, lease) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT DO UPDATE SET pack = ?3, at = ?4, len = ?5, refs = ?6, whole = 0, \
         condemned = NULL, condemned_age = NULL \
         WHERE condemned IS NOT NULL OR (SELECT damaged FROM pack WHERE num = chunk.pack)",
    )?;
    for entry in &pack.entries {
        let refs = (!entry.refs.is_empty()).then(|| entry.refs.concat());
        let until = pack.lease.until;
        insert.execute((drive, entry.id, num, entry.offset, entry.len, refs, until))?;
    }
    lease(conn, drive, pack.entries.iter().map(|entry| entry.id), pack.lease)?;
    // Chunks that lay elsewhere already stay there: this pack is not needed whole.
    conn.prepare_cached(
        "UPDATE pack SET damaged = 0, held = NULL, refs_known = 1, \
         partial = ?2 > (SELECT count(*) FROM chunk WHERE pack = ?1) WHERE num = ?1",
    )?
    .execute((num, pack.entries.len() as i64))?;
    Ok(())
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
    /// [`condemnations`] at the time of the look.
    condemnations: i64,
    /// By page; an empty list: all is there.
    missing: HashMap<Hash, Vec<Hash>>,
}

/// Grows whenever chunks are condemned, so that an outdated look at which chunks are there can be
/// told from a good one.
fn condemnations(conn: &Connection) -> Result<i64, Problem> {
    let mut query = conn.prepare_cached("SELECT condemnations FROM store")?;
    Ok(query.query_row([], |row| row.get(0))?)
}

impl Survey {
    /// Whether what it says of pages still holds.
    pub(crate) fn is_current(&self, conn: &Connection) -> Result<bool, Problem> {
        Ok(self.missing.is_empty() || self.condemnations == condemnations(conn)?)
    }
}

/// Looks into those of `ids` that are pages whose chunks have not been seen all yet.
pub(crate) fn survey(
    conn: &Connection,
    drive: i64,
    ids: impl Iterator<Item = Hash>,
) -> Result<Survey, Problem> {
    let mut survey = Survey { condemnations: condemnations(conn)?, ..Survey::default() };
    let mut room = limits::QUERY_IDS;
    let mut query =
        conn.prepare_cached("SELECT refs FROM chunk WHERE drive = ? AND id = ? AND whole = 0")?;
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

    /// Tells what a page lacks. If nothing, that is noted for good: what a page names stays as long as
    /// the page does.
    fn page(
        &self,
        conn: &Connection,
        drive: i64,
        page: &Hash,
        missing: &mut Vec<Hash>,
    ) -> Result<(), Problem> {
        match self.survey.missing.get(page) {
            Some(lacking) if lacking.is_empty() => {
                conn.prepare_cached("UPDATE chunk SET whole = 1 WHERE drive = ? AND id = ?")?
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
    let sql = "SELECT 1 FROM chunk WHERE drive = ? AND id = ? AND refs IS NOT NULL AND whole = 0";
    Ok(conn.prepare_cached(sql)?.exists((drive, id))?)
}

/// Which of `ids` are stored, in order, and those of them whose lease is short of `lease`.
pub(crate) fn presence_of(
    conn: &Connection,
    drive: i64,
    ids: &[protocol::wire::Hash],
    lease: Lease,
) -> Result<(Vec<bool>, Vec<Hash>), Problem> {
    let mut query = conn.prepare_cached(
        "SELECT chunk.lease FROM chunk JOIN pack ON pack.num = chunk.pack WHERE chunk.drive = ? \
         AND chunk.id = ? AND chunk.condemned IS NULL AND pack.damaged = 0",
    )?;
    let (mut present, mut short) = (Vec::with_capacity(ids.len()), Vec::new());
    for id in ids {
        let found: Option<i64> = query.query_row((drive, **id), |row| row.get(0)).optional()?;
        present.push(found.is_some());
        if found.is_some_and(|until| until < lease.until - lease.slack) {
            short.push(**id);
        }
    }
    Ok((present, short))
}

/// Where each of the chunks lies, in order.
pub(crate) fn find_all(
    conn: &Connection,
    drive: i64,
    ids: impl Iterator<Item = Hash>,
) -> Result<Vec<Option<Place>>, Problem> {
    ids.map(|id| find(conn, drive, &id)).collect()
}
