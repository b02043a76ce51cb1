//! Packs without a chunk: held for a while, then removed from the disk.

use super::{Drive, ROWS_PER_LOOK, Upkeep, explain::Report};
use crate::{
    db::{drives, to_sql},
    ids::Hash,
    packs::Packs,
    problem::Problem,
};
use protocol::codec::hex;
use rusqlite::Connection;
use std::sync::Arc;

/// A pack and how much of it is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) num: i64,
    pub(super) id: Hash,
    pub(super) size: u64,
    pub(super) live: u64,
    pub(super) age: i64,
    pub(super) held: Option<i64>,
    pub(super) damaged: bool,
    /// Some of its chunks are not in it any more, for whoever asks the database.
    pub(super) partial: bool,
}

impl Upkeep {
    /// Holds packs that have no chunk any more, and removes those that were held long enough.
    pub(super) async fn shelve(&self, drive: &Drive, report: &mut Report) -> Result<(), Problem> {
        let until = self.before(drive, self.keep.held);
        let mut after = 0;
        loop {
            let num = drive.num;
            let rows = self.db.read(move |conn| read(conn, num, after)).await?;
            for row in rows.iter().filter(|row| row.live == 0) {
                let name = || format!("pack {}", hex(&row.id));
                match row.held {
                    None => {
                        report.done.held.add(row.size);
                        report.item(name, "no chunk of it is left; held for a while", row.size);
                        self.hold(drive, row).await?;
                    }
                    Some(age) if age <= until => {
                        report.done.dropped.add(row.size);
                        report.item(name, "no chunk of it is left, and it was held", row.size);
                        self.drop_pack(drive, row).await?;
                    }
                    Some(_) => report.done.holding.add(row.size),
                }
            }
            match rows.last() {
                Some(last) if rows.len() == ROWS_PER_LOOK => after = last.num,
                _ => return Ok(()),
            }
        }
    }

    async fn hold(&self, drive: &Drive, row: &Row) -> Result<(), Problem> {
        if drive.dry {
            return Ok(());
        }
        let (drive, row) = (drive.clone(), *row);
        self.db
            .write(move |conn| {
                let changed = conn
                    .prepare_cached(
                        "UPDATE pack SET held = ?2 WHERE num = ?1 AND held IS NULL \
                         AND NOT EXISTS (SELECT 1 FROM chunk WHERE pack = ?1)",
                    )?
                    .execute((row.num, drive.began))?;
                let freed = if changed > 0 { row.size } else { 0 };
                drives::discharge(conn, drive.num, freed)
            })
            .await
    }

    async fn drop_pack(&self, drive: &Drive, row: &Row) -> Result<(), Problem> {
        if drive.dry {
            return Ok(());
        }
        let (packs, drive, row) = (Arc::clone(&self.packs), drive.clone(), *row);
        self.db.write(move |conn| drop_pack(conn, &packs, &drive, &row)).await
    }
}

/// First the file, then the row: if the program dies between the two, the row is still held, has no
/// chunk, and is removed by the next collection. What was held and came back meanwhile stays.
fn drop_pack(conn: &Connection, packs: &Packs, drive: &Drive, row: &Row) -> Result<(), Problem> {
    let gone = conn
        .prepare_cached(
            "DELETE FROM pack WHERE num = ?1 AND held = ?2 \
             AND NOT EXISTS (SELECT 1 FROM chunk WHERE pack = ?1)",
        )?
        .execute((row.num, row.held))?;
    if gone > 0 {
        packs
            .remove(&drive.id, &row.id)
            .map_err(|error| Problem::internal("removing a pack", &error))?;
    }
    Ok(())
}

pub(super) fn read(conn: &Connection, drive: i64, after: i64) -> Result<Vec<Row>, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT num, id, size, age, held, damaged, partial, \
         (SELECT coalesce(sum(len), 0) FROM chunk WHERE chunk.pack = pack.num) \
         FROM pack WHERE drive = ? AND num > ? ORDER BY num LIMIT ?",
    )?;
    let rows = query.query_map((drive, after, to_sql(ROWS_PER_LOOK as u64)), |row| {
        Ok(Row {
            num: row.get(0)?,
            id: row.get(1)?,
            size: row.get::<_, i64>(2)?.cast_unsigned(),
            age: row.get(3)?,
            held: row.get(4)?,
            damaged: row.get(5)?,
            partial: row.get(6)?,
            live: row.get::<_, i64>(7)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
