//! Reading everything back: bytes rot on disks, and nobody knows until they are wanted.

use super::{ROWS_PER_JOB, Upkeep, ms};
use crate::{
    body::elsewhere,
    db::damage,
    ids::{Hash, Id},
    problem::Problem,
};
use protocol::{
    codec::hex,
    operator::{BadFile, BadPack, DriveScrub, ITEMS, Scrub},
    pack::{PackEntry, read_trailer},
};
use rusqlite::Connection;
use std::{io, sync::Arc, time::Instant};

/// Lines that the check of the database gives at most.
const DATABASE_LINES: usize = 100;
/// Bytes of packs that one step of the schedule reads back.
const STEP_BYTES: u64 = 1 << 30;

/// How much one scrub reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extent {
    /// All packs, the database, and everything that is named.
    All,
    /// Packs whose turn it is.
    Due,
}

impl Upkeep {
    /// Reads back all packs and the database.
    pub(crate) async fn scrub(&self) -> Result<Scrub, Problem> {
        self.run_scrub(Extent::All).await
    }

    /// Reads back some of the packs that have not been read for long.
    pub(super) async fn scrub_step(&self) -> Result<Scrub, Problem> {
        self.run_scrub(Extent::Due).await
    }

    async fn run_scrub(&self, extent: Extent) -> Result<Scrub, Problem> {
        let _turn = self.turn.lock().await;
        let start = Instant::now();
        let mut scrub = Scrub::default();
        if extent == Extent::All {
            scrub.database = self.db.read(check_database).await?;
        }
        for (drive, label) in self.drives(0, true).await? {
            let mut found = DriveScrub { drive: hex(&drive.id), label, ..DriveScrub::default() };
            self.scrub_packs(extent, (drive.num, drive.id), &mut scrub, &mut found).await?;
            if extent == Extent::All {
                for (_, bytes) in self.strays(drive.num, drive.id).await? {
                    found.strays.add(bytes);
                }
            }
            if extent == Extent::All || !found.bad_packs.is_empty() {
                let all = extent == Extent::All;
                let num = drive.num;
                (found.files, found.bad_files) =
                    self.db.read(move |conn| files(conn, num, all)).await?;
            }
            tell(&found);
            scrub.drives.push(found);
        }
        scrub.took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(scrub)
    }

    async fn scrub_packs(
        &self,
        extent: Extent,
        (num, id): (i64, Id),
        scrub: &mut Scrub,
        found: &mut DriveScrub,
    ) -> Result<(), Problem> {
        let until = match extent {
            Extent::All => i64::MAX,
            Extent::Due => self.db.age().saturating_sub(ms(self.keep.scrub_every)),
        };
        let mut after = 0;
        loop {
            let due = move |conn: &Connection| damage::due(conn, num, after, until, ROWS_PER_JOB);
            let packs = self.db.read(due).await?;
            for (pack, hash, size, was_bad) in &packs {
                if extent == Extent::Due && scrub.packs.bytes >= STEP_BYTES {
                    return Ok(());
                }
                scrub.packs.add(*size);
                after = *pack;
                self.scrub_pack(id, (*pack, *hash, *size), *was_bad, found).await?;
            }
            if packs.len() < ROWS_PER_JOB {
                return Ok(());
            }
        }
    }

    async fn scrub_pack(
        &self,
        drive: Id,
        (pack, hash, size): (i64, Hash, u64),
        was_bad: bool,
        found: &mut DriveScrub,
    ) -> Result<(), Problem> {
        let packs = Arc::clone(&self.packs);
        let read = elsewhere(move || {
            Ok(packs.whole(&drive, &hash).and_then(|bytes| {
                read_trailer(&bytes)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            }))
        });
        let age = self.db.age();
        match read.await? {
            Ok(entries) => {
                let wrong = self.note_good(pack, age, entries).await?;
                if wrong > 0 {
                    tracing::error!(
                        pack = hex(&hash),
                        wrong,
                        "places of chunks were wrong and are put right"
                    );
                }
                found.healed += u64::from(was_bad);
            }
            Err(error) => {
                // Out of reach for the moment is not bad for good.
                let bad = crate::frames::lost(&error);
                let chunks = match bad {
                    true => self.db.write(move |conn| damage::note_bad(conn, pack, age)).await?,
                    false => 0,
                };
                let why = error.to_string();
                found.bad_packs.push(BadPack { pack: hex(&hash), bytes: size, why, chunks });
            }
        }
        Ok(())
    }

    async fn note_good(
        &self,
        pack: i64,
        age: i64,
        entries: Vec<PackEntry>,
    ) -> Result<usize, Problem> {
        self.db.write(move |conn| damage::note_good(conn, pack, age, &entries)).await
    }
}

/// What SQLite finds wrong with its file.
fn check_database(conn: &Connection) -> Result<Vec<String>, Problem> {
    let mut query = conn.prepare(&format!("PRAGMA integrity_check({DATABASE_LINES})"))?;
    let rows = query.query_map([], |row| row.get::<_, String>(0))?;
    // A file that is too far gone to be checked is told like one with faults.
    let lines = rows.map(|line| line.unwrap_or_else(|error| error.to_string()));
    Ok(lines.filter(|line| line != "ok").take(DATABASE_LINES).collect())
}

fn files(conn: &Connection, drive: i64, all: bool) -> Result<(Vec<BadFile>, u64), Problem> {
    let bad = damage::bad_chunks(conn, drive, all)?;
    let (hurt, count) = damage::hurt(conn, drive, &bad, ITEMS)?;
    let file = |hurt: damage::Hurt| BadFile {
        node: hex(&hurt.node),
        rev: hurt.rev,
        current: hurt.current,
        chunks: hurt.chunks.len() as u64,
    };
    Ok((hurt.into_iter().map(file).collect(), count))
}

fn tell(found: &DriveScrub) {
    for bad in &found.bad_packs {
        tracing::error!(
            drive = found.drive,
            pack = bad.pack,
            why = bad.why,
            chunks = bad.chunks,
            "a pack is not what was stored; its chunks are asked for again"
        );
    }
    if found.bad_files > 0 {
        tracing::error!(
            drive = found.drive,
            versions = found.bad_files,
            "versions cannot be read whole"
        );
    }
}
