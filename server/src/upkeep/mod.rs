//! Forgetting, and looking after what is kept. See docs/adr/0016.
//!
//! A collection goes over the drives one by one: versions and trash whose time is up go; then every
//! chunk is looked up among all that is still named; what is not is condemned, and given up when a
//! *later* collection finds the same; packs without chunks are held, then removed. Each step is a
//! short job of the writer, so commits are never held up, and each job is a transaction, so a crash
//! at any point leaves a store that is as good as before.
//!
//! Why nothing that is named can be lost, whatever runs at the same time: a condemned chunk counts
//! as missing, so no commit can name it any more; a chunk is only given up by a look that began
//! after it was condemned, so that look sees every version that may name it.

mod backfill;
mod explain;
mod marks;
mod orphans;
mod repack;
pub(crate) mod schedule;
mod scrub;
mod shelf;
mod sweep;
mod thin;
mod trash;

use crate::{config::Keep, db::Db, ids::Id, packs::Packs, problem::Problem};
use explain::Report;
use protocol::{
    codec::hex,
    operator::{Collection, DriveCollection},
};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use trash::purge;

/// Rows that one job of the writer changes at most.
const ROWS_PER_JOB: usize = 1_000;
/// Rows, and bytes of lists of chunks, that are read at once.
const ROWS_PER_LOOK: usize = 5_000;
const BYTES_PER_LOOK: usize = 8 << 20;

#[derive(Debug)]
pub(crate) struct Upkeep {
    db: Arc<Db>,
    packs: Arc<Packs>,
    keep: Keep,
    /// One collection or scrub at a time.
    turn: tokio::sync::Mutex<()>,
}

/// The drive in work, and when.
#[derive(Clone, Debug)]
struct Drive {
    num: i64,
    id: Id,
    /// The number of this collection; every earlier one has a smaller one.
    run: i64,
    /// The age clock when it began.
    began: i64,
    dry: bool,
}

/// Versions that a dry run would have removed.
type Doomed = HashSet<(Id, u64)>;

impl Upkeep {
    pub(crate) fn new(db: Arc<Db>, packs: Arc<Packs>, keep: Keep) -> Upkeep {
        Upkeep { db, packs, keep, turn: tokio::sync::Mutex::default() }
    }

    /// Goes over all drives once. With `dry_run` it changes nothing and says what it would do.
    pub(crate) async fn collect(&self, dry_run: bool) -> Result<Collection, Problem> {
        let _turn = self.turn.lock().await;
        let start = Instant::now();
        let run = self.begin(dry_run).await?;
        let drives = self.drives(run, dry_run).await?;
        let mut collection = Collection { dry_run, ..Collection::default() };
        for (drive, label) in drives {
            let mut report = Report::new(hex(&drive.id), label);
            self.collect_drive(&drive, &mut report).await?;
            let mut done = report.finish();
            done.used_bytes = self.used(&drive).await?;
            log(&done, dry_run);
            collection.drives.push(done);
        }
        self.db.keep_age().await?;
        collection.took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(collection)
    }

    async fn collect_drive(&self, drive: &Drive, report: &mut Report) -> Result<(), Problem> {
        let mut doomed = self.thin(drive, report).await?;
        self.empty_trash(drive, report, &mut doomed).await?;
        match self.backfill(drive).await? {
            None => self.sweep(drive, report, &doomed).await?,
            Some(why) => report.held_back(why),
        }
        self.shelve(drive, report).await?;
        self.repack(drive, report).await?;
        self.clear_strays(drive, report).await
    }

    /// The number of this collection.
    async fn begin(&self, dry_run: bool) -> Result<i64, Problem> {
        let number = "SELECT collections FROM store";
        if dry_run {
            let last: i64 =
                self.db.read(move |conn| Ok(conn.query_row(number, [], |row| row.get(0))?)).await?;
            return Ok(last + 1);
        }
        self.db
            .write(move |conn| {
                conn.execute("UPDATE store SET collections = collections + 1", [])?;
                Ok(conn.query_row(number, [], |row| row.get(0))?)
            })
            .await
    }

    async fn drives(&self, run: i64, dry: bool) -> Result<Vec<(Drive, String)>, Problem> {
        let began = self.db.age();
        self.db
            .read(move |conn| {
                let mut query = conn.prepare("SELECT num, id, label FROM drive ORDER BY num")?;
                let drives = query.query_map([], |row| {
                    let drive = Drive { num: row.get(0)?, id: row.get(1)?, run, began, dry };
                    Ok((drive, row.get(2)?))
                })?;
                Ok(drives.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    async fn used(&self, drive: &Drive) -> Result<u64, Problem> {
        let num = drive.num;
        let sql = "SELECT used_bytes FROM drive WHERE num = ?";
        let used: i64 =
            self.db.read(move |conn| Ok(conn.query_row(sql, [num], |row| row.get(0))?)).await?;
        Ok(used.cast_unsigned())
    }

    /// The age before which something must lie that is older than `time`.
    fn before(&self, drive: &Drive, time: Duration) -> i64 {
        drive.began.saturating_sub(ms(time))
    }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn log(done: &DriveCollection, dry_run: bool) {
    if dry_run {
        return;
    }
    tracing::info!(
        drive = done.drive,
        versions = done.versions.count,
        trash = done.trash.count,
        condemned = done.condemned.count,
        deleted = done.deleted.count,
        dropped = done.dropped.bytes,
        repacked = done.repacked.count,
        "collected"
    );
}
