//! Packs of which little is used: what is used is written to new packs, the old ones are left
//! without chunks and go the way of all such packs.

use super::{
    Drive, ROWS_PER_LOOK, Upkeep,
    explain::Report,
    shelf::{self, Row},
};
use crate::{
    body::elsewhere,
    db::chunks::{self, Lease, StoredPack},
    ids::Hash,
    problem::Problem,
};
use protocol::{
    codec::hex,
    pack::{PackWriter, read_trailer},
};
use rusqlite::Connection;
use std::{collections::HashSet, io, sync::Arc};

/// A chunk on its way to a new pack, and the number of the pack that it comes from.
struct Moved {
    id: Hash,
    from: i64,
}

/// A new pack that is being filled.
#[derive(Default)]
struct Filling {
    writer: PackWriter,
    moved: Vec<Moved>,
}

impl Upkeep {
    pub(super) async fn repack(&self, drive: &Drive, report: &mut Report) -> Result<(), Problem> {
        let (mut after, mut budget) = (0, self.keep.repack_bytes);
        let mut filling = Filling::default();
        loop {
            let num = drive.num;
            let rows = self.db.read(move |conn| shelf::read(conn, num, after)).await?;
            for row in rows.iter().filter(|row| self.is_sparse(drive, row)) {
                if row.live > budget {
                    report.held_back("more is to be repacked; the next collection goes on".into());
                    return self.close(drive, report, filling).await;
                }
                budget -= row.live;
                report.done.repacked.add(row.size);
                let name = || format!("pack {}", hex(&row.id));
                let why =
                    format!("{} of {} bytes are used; those are written anew", row.live, row.size);
                report.item(name, &why, row.size - row.live.min(row.size));
                if drive.dry {
                    report.done.moved_bytes += row.live;
                } else {
                    filling = self.empty(drive, report, row, filling).await?;
                }
            }
            match rows.last() {
                Some(last) if rows.len() == ROWS_PER_LOOK => after = last.num,
                _ => return self.close(drive, report, filling).await,
            }
        }
    }

    fn is_sparse(&self, drive: &Drive, row: &Row) -> bool {
        let old = row.age <= self.before(drive, self.keep.repack_after);
        let sparse =
            row.live.saturating_mul(100) < row.size.saturating_mul(self.keep.repack_percent);
        // A whole one would only become the same pack again.
        old && sparse && row.partial && row.live > 0 && !row.damaged && row.held.is_none()
    }

    /// Adds what is used of a pack to the new one; full ones are stored on the way.
    async fn empty(
        &self,
        drive: &Drive,
        report: &mut Report,
        row: &Row,
        mut filling: Filling,
    ) -> Result<Filling, Problem> {
        let (packs, id, pack) = (Arc::clone(&self.packs), drive.id, row.id);
        let read = elsewhere(move || {
            Ok(packs.whole(&id, &pack).and_then(|bytes| {
                let bad = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                let entries = read_trailer(&bytes).map_err(bad)?;
                Ok((bytes, entries))
            }))
        });
        let (bytes, entries) = match read.await? {
            Ok(read) => read,
            Err(error) => {
                report.held_back(format!("pack {} cannot be repacked: {error}", hex(&pack)));
                if crate::frames::lost(&error) {
                    let num = drive.num;
                    self.db.write(move |conn| chunks::mark_damaged(conn, num, &pack)).await?;
                }
                return Ok(filling);
            }
        };
        let num = row.num;
        let used: HashSet<Hash> = self.db.read(move |conn| used(conn, num)).await?;
        for entry in entries.into_iter().filter(|entry| used.contains(&entry.id)) {
            let (at, len) = (entry.offset as usize, entry.len as usize);
            let Some(chunk) = bytes.get(at..at + len) else { continue };
            if !filling.writer.fits(len, entry.refs.len()) {
                self.close(drive, report, std::mem::take(&mut filling)).await?;
            }
            filling.writer.push(entry.id, chunk, entry.refs);
            filling.moved.push(Moved { id: entry.id, from: num });
        }
        Ok(filling)
    }

    /// Stores a new pack and lets the chunks lie there. If the program dies before the second step
    /// the file is a stray.
    async fn close(
        &self,
        drive: &Drive,
        report: &mut Report,
        filling: Filling,
    ) -> Result<(), Problem> {
        if filling.moved.is_empty() {
            return Ok(());
        }
        let Filling { writer, moved } = filling;
        let (packs, id) = (Arc::clone(&self.packs), drive.id);
        let age = self.db.age();
        let pack = elsewhere(move || {
            let bytes = writer.finish();
            let failed = |error: &dyn std::fmt::Display| Problem::internal("a new pack", error);
            let entries = read_trailer(&bytes).map_err(|error| failed(&error))?;
            let pack = packs.store(&id, &bytes).map_err(|error| failed(&error))?;
            let lease = Lease { until: age, slack: 0 };
            Ok(StoredPack { id: pack, size: bytes.len() as u64, entries, age, lease })
        })
        .await?;
        let (packs, drive) = (Arc::clone(&self.packs), drive.clone());
        let work = move |conn: &Connection| {
            if !packs.has(&drive.id, &pack.id) {
                return Err(Problem::internal("a new pack", &"its file is gone"));
            }
            settle(conn, drive.num, &pack, &moved)
        };
        report.done.moved_bytes += self.db.write(work).await?;
        Ok(())
    }
}

fn used(conn: &Connection, pack: i64) -> Result<HashSet<Hash>, Problem> {
    let mut query = conn.prepare_cached("SELECT id FROM chunk WHERE pack = ?")?;
    let rows = query.query_map([pack], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Enters the new pack, and moves those chunks there that still lie where they were read.
fn settle(
    conn: &Connection,
    drive: i64,
    pack: &StoredPack,
    moved: &[Moved],
) -> Result<u64, Problem> {
    let num = chunks::pack_row(conn, drive, pack)?;
    let mut chunk = conn.prepare_cached(
        "UPDATE chunk SET pack = ?1, at = ?2, len = ?3 WHERE drive = ?4 AND id = ?5 AND pack = ?6",
    )?;
    let mut old = conn.prepare_cached("UPDATE pack SET partial = 1 WHERE num = ?")?;
    let (mut bytes, mut last) = (0, None);
    for (entry, moved) in pack.entries.iter().zip(moved) {
        let count = chunk.execute((num, entry.offset, entry.len, drive, moved.id, moved.from))?;
        if count > 0 {
            bytes += u64::from(entry.len);
        }
        if last.replace(moved.from) != Some(moved.from) && moved.from != num {
            old.execute([moved.from])?;
        }
    }
    Ok(bytes)
}
