//! Chunks that nothing names: condemned by one collection, given up by a later one.

use super::{
    Doomed, Drive, ROWS_PER_JOB, ROWS_PER_LOOK, Upkeep,
    explain::{Report, add},
    marks::{Marks, Part, mark_of},
};
use crate::{ids::Hash, problem::Problem};
use protocol::codec::hex;
use rusqlite::Connection;
use std::collections::HashSet;

/// A stored chunk as a collection sees it.
#[derive(Clone, Copy, Debug)]
struct Row {
    id: Hash,
    lease: i64,
    /// The collection that condemned it, and when.
    condemned: Option<(i64, i64)>,
    len: u64,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Stays,
    Condemned,
    Waits,
    Revived,
    Deleted,
}

impl Upkeep {
    pub(super) async fn sweep(
        &self,
        drive: &Drive,
        report: &mut Report,
        doomed: &Doomed,
    ) -> Result<(), Problem> {
        let num = drive.num;
        let count = "SELECT count(*) FROM chunk WHERE drive = ?";
        let chunks: i64 =
            self.db.read(move |conn| Ok(conn.query_row(count, [num], |row| row.get(0))?)).await?;
        let named_pages = self.named_pages(drive, doomed).await?;
        for part in Part::split(chunks.cast_unsigned()) {
            self.sweep_part(drive, report, doomed, (part, &named_pages)).await?;
        }
        Ok(())
    }

    async fn sweep_part(
        &self,
        drive: &Drive,
        report: &mut Report,
        doomed: &Doomed,
        (part, named_pages): (Part, &HashSet<u64>),
    ) -> Result<(), Problem> {
        let marks = self.marks(drive, part, named_pages, doomed).await?;
        let (num, mut after) = (drive.num, before_first(part));
        loop {
            let from = after.clone();
            let rows = self.db.read(move |conn| read(conn, num, from)).await?;
            let full = rows.len() == ROWS_PER_LOOK;
            let inside: Vec<Row> =
                rows.into_iter().take_while(|row| mark_of(&row.id) <= part.last).collect();
            let ended = !full || inside.len() < ROWS_PER_LOOK;
            if let Some(last) = inside.last() {
                after = last.id.to_vec();
            }
            self.judge(drive, report, &marks, inside).await?;
            if ended {
                return Ok(());
            }
        }
    }

    async fn judge(
        &self,
        drive: &Drive,
        report: &mut Report,
        marks: &Marks,
        rows: Vec<Row>,
    ) -> Result<(), Problem> {
        let hold = self.before(drive, self.keep.condemned);
        let judged: Vec<(Fate, Row)> =
            rows.into_iter().map(|row| (fate(&row, drive, marks, hold), row)).collect();
        let of = |fate: Fate| {
            judged.iter().filter(move |(found, _)| *found == fate).map(|(_, row)| *row)
        };
        let done = &mut report.done;
        for (fate, sum) in [
            (Fate::Condemned, &mut done.condemned),
            (Fate::Waits, &mut done.waiting),
            (Fate::Revived, &mut done.revived),
            (Fate::Deleted, &mut done.deleted),
        ] {
            add(sum, of(fate).map(|row| row.len));
        }
        for row in of(Fate::Condemned) {
            let why = "nothing names it; goes when a later look finds the same";
            report.item(|| format!("chunk {}", hex(&row.id)), why, row.len);
        }
        for row in of(Fate::Deleted) {
            let why = "nothing names it, for the second time";
            report.item(|| format!("chunk {}", hex(&row.id)), why, row.len);
        }
        if drive.dry {
            return Ok(());
        }
        self.change(drive, of(Fate::Revived).collect(), revive).await?;
        self.change(drive, of(Fate::Condemned).collect(), condemn).await?;
        self.change(drive, of(Fate::Deleted).collect(), delete).await
    }

    /// Changes rows in jobs of bounded length.
    async fn change(
        &self,
        drive: &Drive,
        rows: Vec<Row>,
        work: impl Fn(&Connection, &Drive, &[Row]) -> Result<(), Problem> + Clone + Send + 'static,
    ) -> Result<(), Problem> {
        for part in rows.chunks(ROWS_PER_JOB) {
            let (drive, part, work) = (drive.clone(), part.to_vec(), work.clone());
            self.db.write(move |conn| work(conn, &drive, &part)).await?;
        }
        Ok(())
    }
}

fn fate(row: &Row, drive: &Drive, marks: &Marks, hold: i64) -> Fate {
    match (marks.has(&row.id), row.condemned) {
        (true, None) => Fate::Stays,
        (true, Some(_)) => Fate::Revived,
        // Somebody may be about to name it, or has since this look began.
        (false, None) if row.lease >= drive.began => Fate::Stays,
        (false, None) => Fate::Condemned,
        (false, Some((run, age))) if run < drive.run && age <= hold => Fate::Deleted,
        (false, Some(_)) => Fate::Waits,
    }
}

/// The id just before the first of a part.
fn before_first(part: Part) -> Vec<u8> {
    // Shorter than any id with the same start, so it sorts before them all.
    part.first.to_be_bytes().to_vec()
}

fn read(conn: &Connection, drive: i64, after: Vec<u8>) -> Result<Vec<Row>, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT id, lease, condemned, condemned_age, len FROM chunk \
         WHERE drive = ? AND id > ? ORDER BY id LIMIT ?",
    )?;
    let rows = query.query_map((drive, after, ROWS_PER_LOOK as i64), |row| {
        let (run, age): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
        Ok(Row {
            id: row.get(0)?,
            lease: row.get(1)?,
            condemned: run.zip(age),
            len: row.get::<_, u32>(4)?.into(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// From here on no commit can name these chunks, unless they are sent again.
fn condemn(conn: &Connection, drive: &Drive, rows: &[Row]) -> Result<(), Problem> {
    conn.prepare_cached("UPDATE store SET condemnations = condemnations + 1")?.execute([])?;
    let mut query = conn.prepare_cached(
        "UPDATE chunk SET condemned = ?3, condemned_age = ?4 WHERE drive = ?1 AND id = ?2 \
         AND condemned IS NULL AND lease < ?4",
    )?;
    for row in rows {
        query.execute((drive.num, row.id, drive.run, drive.began))?;
    }
    Ok(())
}

/// What a page names has not been looked after while the page was condemned.
fn revive(conn: &Connection, drive: &Drive, rows: &[Row]) -> Result<(), Problem> {
    let mut query = conn.prepare_cached(
        "UPDATE chunk SET condemned = NULL, condemned_age = NULL, whole = 0 \
         WHERE drive = ? AND id = ?",
    )?;
    for row in rows {
        query.execute((drive.num, row.id))?;
    }
    Ok(())
}

/// Only what is still condemned by the same collection: if it was sent again meanwhile it stays.
fn delete(conn: &Connection, drive: &Drive, rows: &[Row]) -> Result<(), Problem> {
    let mut pack = conn.prepare_cached(
        "UPDATE pack SET partial = 1 WHERE partial = 0 AND num = \
         (SELECT pack FROM chunk WHERE drive = ?1 AND id = ?2 AND condemned = ?3)",
    )?;
    let mut chunk =
        conn.prepare_cached("DELETE FROM chunk WHERE drive = ?1 AND id = ?2 AND condemned = ?3")?;
    for row in rows {
        let Some((run, _)) = row.condemned else { continue };
        pack.execute((drive.num, row.id, run))?;
        chunk.execute((drive.num, row.id, run))?;
    }
    Ok(())
}
