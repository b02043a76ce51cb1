//! What cannot be read back, and whose it is.

use super::nodes::split_hashes;
use crate::{
    db::to_sql,
    ids::{Hash, Id},
    problem::Problem,
};
use rusqlite::Connection;
use std::collections::{HashMap, HashSet};

/// Chunks in bad packs that are looked at together; with more, the rest comes when these are well.
const BAD_CHUNKS: i64 = 1_000_000;

/// Chunks of a drive that count as missing although something may name them.
#[derive(Debug, Default)]
pub(crate) struct Bad {
    chunks: HashSet<Hash>,
    /// Pages of manifests, good or bad themselves, with the bad chunks that they name.
    pages: HashMap<Hash, Vec<Hash>>,
}

impl Bad {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The bad chunks that a list of references needs.
    pub(crate) fn among(&self, refs: &[u8]) -> Vec<Hash> {
        let mut bad = Vec::new();
        for id in split_hashes(refs) {
            if self.chunks.contains(&id) {
                bad.push(id);
            }
            if let Some(named) = self.pages.get(&id) {
                bad.extend(named);
            }
        }
        bad.sort_unstable();
        bad.dedup();
        bad
    }
}

/// Chunks that lie in packs which could not be read back; with `all`, also those that are named and
/// have no row, which takes a look at everything.
pub(crate) fn bad_chunks(conn: &Connection, drive: i64, all: bool) -> Result<Bad, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT chunk.id FROM chunk JOIN pack ON pack.num = chunk.pack \
         WHERE pack.drive = ? AND pack.damaged = 1 LIMIT ?",
    )?;
    let rows = query.query_map((drive, BAD_CHUNKS), |row| row.get::<_, Hash>(0))?;
    let mut bad = Bad { chunks: rows.collect::<rusqlite::Result<_>>()?, pages: HashMap::default() };
    if all {
        missing(conn, drive, &mut bad)?;
    }
    if bad.is_empty() {
        return Ok(bad);
    }
    let sql = "SELECT id, refs FROM chunk WHERE drive = ? AND refs IS NOT NULL";
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query([drive])?;
    while let Some(row) = rows.next()? {
        let (id, refs): (Hash, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let named: Vec<Hash> =
            split_hashes(&refs).filter(|named| bad.chunks.contains(named)).collect();
        if !named.is_empty() {
            bad.pages.insert(id, named);
        }
    }
    Ok(bad)
}

/// Adds what is named by versions, or by their pages, and has no row.
fn missing(conn: &Connection, drive: i64, bad: &mut Bad) -> Result<(), Problem> {
    let mut known = conn.prepare_cached("SELECT 1 FROM chunk WHERE drive = ? AND id = ?")?;
    let sql = "SELECT refs FROM version WHERE drive = ?1 AND refs <> x'' UNION ALL SELECT refs \
               FROM chunk WHERE drive = ?1 AND refs IS NOT NULL AND whole = 1 AND condemned IS NULL";
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query([drive])?;
    while let Some(row) = rows.next()? {
        let refs = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        for id in split_hashes(refs) {
            if !known.exists((drive, id))? {
                bad.chunks.insert(id);
            }
        }
    }
    Ok(())
}

/// A version that needs bad chunks.
#[derive(Debug)]
pub(crate) struct Hurt {
    pub(crate) node: Id,
    pub(crate) rev: u64,
    pub(crate) current: bool,
    pub(crate) chunks: Vec<Hash>,
}

/// The versions that need bad chunks, current ones first, at most `most` of them, and how many there are.
pub(crate) fn hurt(
    conn: &Connection,
    drive: i64,
    bad: &Bad,
    most: usize,
) -> Result<(Vec<Hurt>, u64), Problem> {
    if bad.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let mut query = conn.prepare_cached(
        "SELECT version.node, version.rev, version.refs, node.content_rev IS version.rev \
         FROM version LEFT JOIN node ON node.drive = version.drive AND node.id = version.node \
         WHERE version.drive = ? AND version.refs <> x''",
    )?;
    let mut rows = query.query([drive])?;
    let (mut current, mut older, mut count) = (Vec::new(), Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let refs = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let chunks = bad.among(refs);
        if chunks.is_empty() {
            continue;
        }
        count += 1;
        let is_current: bool = row.get(3)?;
        let list = if is_current { &mut current } else { &mut older };
        if list.len() < most {
            let rev = row.get::<_, i64>(1)?.cast_unsigned();
            list.push(Hurt { node: row.get(0)?, rev, current: is_current, chunks });
        }
    }
    current.extend(older);
    current.truncate(most);
    Ok((current, count))
}

/// Notes that a pack is what it should be, as of `age`; puts right where its chunks lie in it. Gives
/// how many rows had been wrong.
pub(crate) fn note_good(
    conn: &Connection,
    pack: i64,
    age: i64,
    entries: &[protocol::pack::PackEntry],
) -> Result<usize, Problem> {
    conn.prepare_cached("UPDATE pack SET damaged = 0, scrubbed = ? WHERE num = ?")?
        .execute((age, pack))?;
    let mut fix = conn.prepare_cached(
        "UPDATE chunk SET at = ?3, len = ?4 WHERE id = ?1 AND pack = ?2 \
         AND drive = (SELECT drive FROM pack WHERE num = ?2) AND (at, len) <> (?3, ?4)",
    )?;
    let mut wrong = 0;
    for entry in entries {
        wrong += fix.execute((entry.id, pack, entry.offset, entry.len))?;
    }
    Ok(wrong)
}

/// Notes that a pack is not what it should be.
pub(crate) fn note_bad(conn: &Connection, pack: i64, age: i64) -> Result<u64, Problem> {
    conn.prepare_cached("UPDATE pack SET damaged = 1, scrubbed = ? WHERE num = ?")?
        .execute((age, pack))?;
    let count: i64 = conn
        .prepare_cached("SELECT count(*) FROM chunk WHERE pack = ?")?
        .query_row([pack], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// Packs that were read back last before `until`, the longest ago first: number, drive, id, size.
pub(crate) fn due(
    conn: &Connection,
    drive: i64,
    after: i64,
    until: i64,
    most: usize,
) -> Result<Vec<(i64, Hash, u64, bool)>, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT num, id, size, damaged FROM pack WHERE drive = ? AND num > ? AND held IS NULL \
         AND scrubbed <= ? ORDER BY num LIMIT ?",
    )?;
    let rows = query.query_map((drive, after, until, to_sql(most as u64)), |row| {
        let size: i64 = row.get(2)?;
        Ok((row.get(0)?, row.get(1)?, size.cast_unsigned(), row.get(3)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
