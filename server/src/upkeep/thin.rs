//! Which versions of a file have had their time.

use super::{Doomed, Drive, ROWS_PER_JOB, ROWS_PER_LOOK, Upkeep, explain::Report, ms};
use crate::{
    config::Keep,
    db::{drives, to_sql},
    ids::Id,
    problem::Problem,
};
use protocol::codec::hex;
use rusqlite::Connection;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// Why a version goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    Hour,
    Day,
    Old,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Why::Hour => "replaced long ago, and a later one of the same hour stays",
            Why::Day => "replaced long ago, and a later one of the same day stays",
            Why::Old => "replaced too long ago",
        }
    }
}

/// Why the version stored at `stored` that was replaced at `replaced` goes; all on the age clock.
pub(super) fn verdict(stored: i64, replaced: i64, now: i64, keep: &Keep) -> Option<Why> {
    let age = now.saturating_sub(replaced);
    let same = |unit: i64| stored.div_euclid(unit) == replaced.div_euclid(unit);
    if age < ms(keep.all) {
        None
    } else if age < ms(keep.hourly) {
        same(HOUR).then_some(Why::Hour)
    } else if age < ms(keep.daily) {
        same(DAY).then_some(Why::Day)
    } else {
        Some(Why::Old)
    }
}

/// A row of `version`.
#[derive(Clone, Copy, Debug)]
struct Row {
    node: Id,
    rev: u64,
    age: i64,
    bytes: u64,
}

impl Upkeep {
    /// Removes versions; in a dry run it only gives their names.
    pub(super) async fn thin(&self, drive: &Drive, report: &mut Report) -> Result<Doomed, Problem> {
        let (num, mut after) = (drive.num, ([0; 16], 0));
        let mut doomed = Doomed::new();
        loop {
            let rows = self.db.read(move |conn| read(conn, num, after)).await?;
            let goes = goes(&rows, drive.began, &self.keep);
            for (row, why) in &goes {
                report.done.versions.add(row.bytes);
                let what = || format!("version {} of {}", row.rev, hex(&row.node));
                report.item(what, why.text(), row.bytes);
            }
            if drive.dry {
                doomed.extend(goes.iter().map(|(row, _)| (row.node, row.rev)));
            } else {
                self.remove(drive, goes.into_iter().map(|(row, _)| row)).await?;
            }
            match next(&rows) {
                Some(next) => after = next,
                None => return Ok(doomed),
            }
        }
    }

    async fn remove(&self, drive: &Drive, rows: impl Iterator<Item = Row>) -> Result<(), Problem> {
        let rows: Vec<Row> = rows.collect();
        for part in rows.chunks(ROWS_PER_JOB) {
            let (num, part) = (drive.num, part.to_vec());
            self.db.write(move |conn| delete(conn, num, &part)).await?;
        }
        Ok(())
    }
}

/// Versions that go. Of the last file in the list only what has its successor there is judged.
fn goes(rows: &[Row], now: i64, keep: &Keep) -> Vec<(Row, Why)> {
    let pairs = rows.windows(2).filter(|pair| pair[0].node == pair[1].node);
    let judged = pairs
        .filter_map(|pair| verdict(pair[0].age, pair[1].age, now, keep).map(|why| (pair[0], why)));
    judged.collect()
}

/// Where the next list begins, so that every version is seen together with its successor.
fn next(rows: &[Row]) -> Option<(Id, u64)> {
    let last = rows.last().filter(|_| rows.len() == ROWS_PER_LOOK)?;
    // Just before the last row: it is the first of the next list.
    Some((last.node, last.rev - 1))
}

fn read(conn: &Connection, drive: i64, after: (Id, u64)) -> Result<Vec<Row>, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT node, rev, age, length(body) FROM version WHERE drive = ? AND (node, rev) > (?, ?) \
         ORDER BY node, rev LIMIT ?",
    )?;
    let args = (drive, after.0, to_sql(after.1), ROWS_PER_LOOK as i64);
    let rows = query.query_map(args, |row| {
        Ok(Row {
            node: row.get(0)?,
            rev: row.get::<_, i64>(1)?.cast_unsigned(),
            age: row.get(2)?,
            bytes: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes versions, but never what a file holds now.
fn delete(conn: &Connection, drive: i64, rows: &[Row]) -> Result<(), Problem> {
    let mut query = conn.prepare_cached(
        "DELETE FROM version WHERE drive = ?1 AND node = ?2 AND rev = ?3 AND NOT EXISTS \
         (SELECT 1 FROM node WHERE drive = ?1 AND id = ?2 AND content_rev = ?3)",
    )?;
    let mut freed = 0;
    for row in rows {
        if query.execute((drive, row.node, to_sql(row.rev)))? > 0 {
            freed += row.bytes;
        }
    }
    drives::discharge(conn, drive, freed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: i64 = 1_000 * DAY;

    fn row(rev: u64, age: i64) -> Row {
        Row { node: [1; 16], rev, age, bytes: 0 }
    }

    fn kept(ages: &[i64], now: i64) -> Vec<i64> {
        let rows: Vec<Row> = ages.iter().zip(1..).map(|(age, rev)| row(rev, *age)).collect();
        let gone = goes(&rows, now, &Keep::default());
        let gone: Vec<i64> = gone.iter().map(|(row, _)| row.age).collect();
        ages.iter().copied().filter(|age| !gone.contains(age)).collect()
    }

    #[test]
    fn all_of_a_day_then_one_an_hour_then_one_a_day_then_none() {
        // Replaced within the last day: all stay, however old they were.
        assert_eq!(kept(&[0, NOW - HOUR, NOW - 1], NOW), [0, NOW - HOUR, NOW - 1]);
        // Two days ago: of three in one hour the last stays.
        let at = NOW - 2 * DAY;
        assert_eq!(kept(&[at, at + 1, at + 2, at + HOUR, NOW], NOW), [at + 2, at + HOUR, NOW]);
        // Ten days ago: of four in one day the last stays.
        let at = NOW - 10 * DAY;
        let ages = [at, at + HOUR, at + 2 * HOUR, at + 3 * HOUR, at + DAY + 5, NOW];
        assert_eq!(kept(&ages, NOW), [at + 3 * HOUR, at + DAY + 5, NOW]);
        // Forty days ago: none, but the current one always.
        assert_eq!(kept(&[NOW - 50 * DAY, NOW - 40 * DAY], NOW), [NOW - 40 * DAY]);
    }

    #[test]
    fn what_was_replaced_just_now_stays_however_old_it_is() {
        assert_eq!(kept(&[5, NOW - 10], NOW), [5, NOW - 10]);
    }

    /// What one look keeps, a later look does not need anything else to judge by.
    #[test]
    fn many_looks_keep_what_one_look_keeps() {
        let mut seed = 7_u64;
        for _ in 0..200 {
            let mut ages = vec![NOW - 60 * DAY];
            for _ in 0..40 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let step =
                    1 + (seed >> 33) as i64 % (3 * DAY / [1, 50, 2_000][(seed % 3) as usize]);
                ages.push(ages[ages.len() - 1] + step);
            }
            let end = ages[ages.len() - 1] + 3 * DAY;
            let mut stepwise = ages.clone();
            let mut now = NOW - 60 * DAY;
            while now < end {
                let (past, future): (Vec<i64>, Vec<i64>) =
                    stepwise.iter().partition(|age| **age <= now);
                stepwise = [kept(&past, now), future].concat();
                now += 6 * HOUR;
            }
            let once = kept(&ages, end);
            assert!(stepwise.iter().all(|age| ages.contains(age)));
            // Never fewer than one look at the end would keep.
            assert!(
                once.iter().all(|age| kept(&stepwise, end).contains(age)),
                "{once:?} {stepwise:?}"
            );
        }
    }

    #[test]
    fn a_clock_that_stands_still_thins_nothing() {
        let keep = Keep { all: Duration::from_secs(1), ..Keep::default() };
        assert_eq!(verdict(5, 5, 5, &keep), None);
        // A crash may set the age clock back a little.
        assert_eq!(verdict(100, 200, 50, &keep), None);
    }
}
