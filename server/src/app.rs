//! What all requests share.

use crate::{
    config::ServerConfig,
    db::{Db, chunks::Lease, drives::Device},
    hints::Hints,
    ids::{Hash, Id},
    metrics::Metrics,
    packs::Packs,
    problem::Problem,
    rate::{CodeTries, RequestRate},
    setup::SetupCode,
    upkeep::Upkeep,
};
use protocol::operator::{Collection, Scrub};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::{Semaphore, watch};

/// Packs that are checked at once; each needs memory for the whole pack.
const CHECKED_AT_ONCE: usize = 4;
/// Tokens that are remembered without the database.
const TOKENS_REMEMBERED: usize = 10_000;

pub(crate) struct App {
    pub(crate) config: ServerConfig,
    /// Keeps other stores away from the data directory.
    pub(crate) lock: File,
    pub(crate) db: Arc<Db>,
    pub(crate) packs: Arc<Packs>,
    pub(crate) upkeep: Upkeep,
    pub(crate) hints: Hints,
    pub(crate) setup: SetupCode,
    pub(crate) rate: RequestRate,
    pub(crate) code_tries: CodeTries,
    pub(crate) metrics: Metrics,
    pub(crate) tokens: Tokens,
    pub(crate) feeds: Places,
    pub(crate) streams: Places,
    pub(crate) in_work: Semaphore,
    pub(crate) pack_checks: Semaphore,
    /// Devices that were sent away since the start: their feeds end.
    pub(crate) revoked: watch::Sender<HashSet<Id>>,
    /// True when the store is stopping: streams end.
    pub(crate) stopping: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(
        config: ServerConfig,
        lock: File,
        db: Db,
        packs: Packs,
        setup: SetupCode,
    ) -> App {
        let (db, packs) = (Arc::new(db), Arc::new(packs));
        App {
            upkeep: Upkeep::new(db.clone(), packs.clone(), config.keep),
            hints: Hints::default(),
            rate: RequestRate::new(&config.rates),
            code_tries: CodeTries::new(&config.rates),
            metrics: Metrics::new(),
            tokens: Tokens::default(),
            feeds: Places::default(),
            streams: Places::default(),
            in_work: Semaphore::new(config.bounds.requests_in_work),
            pack_checks: Semaphore::new(CHECKED_AT_ONCE),
            revoked: watch::Sender::default(),
            stopping: watch::Sender::new(false),
            config,
            lock,
            db,
            packs,
            setup,
        }
    }
}

impl App {
    /// The lease of chunks that somebody is about to name in a commit.
    pub(crate) fn lease(&self) -> Lease {
        Lease::new(self.db.age(), self.config.keep.lease)
    }

    /// Lets go of what has had its time, and counts it.
    pub(crate) async fn collect(&self, dry_run: bool) -> Result<Collection, Problem> {
        let done = self.upkeep.collect(dry_run).await?;
        if !dry_run {
            self.metrics.upkeep.collected(&done);
        }
        Ok(done)
    }

    /// Reads everything back, and counts what is bad.
    pub(crate) async fn scrub(&self) -> Result<Scrub, Problem> {
        let done = self.upkeep.scrub().await?;
        self.metrics.upkeep.scrubbed(&done);
        Ok(done)
    }
}

/// Devices by the hash of their token, so that not every request asks the database.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    known: RwLock<HashMap<Hash, Device>>,
}

impl Tokens {
    pub(crate) fn get(&self, token: &Hash) -> Option<Device> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(token).copied()
    }

    pub(crate) fn remember(&self, token: Hash, device: Device) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOKENS_REMEMBERED {
            known.clear();
        }
        known.insert(token, device);
    }

    /// Asks the database about this token from now on.
    pub(crate) fn forget(&self, token: &Hash) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(token);
    }
}

impl App {
    /// A place for an answer that streams bytes to `device`.
    pub(crate) fn stream_place(&self, device: &Device) -> Result<Place, Problem> {
        let bounds = &self.config.bounds;
        let place = self.streams.enter(device.id, bounds.streams, bounds.streams_per_device);
        place.ok_or_else(|| {
            let wait = Duration::from_millis(500);
            Problem::busy("too many answers are on their way; ask again", wait)
        })
    }
}

/// Counts answers that take long: feeds that are held open, or streams of bytes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    open: Arc<Mutex<(usize, HashMap<Id, usize>)>>,
}

impl Places {
    /// A place for one more; `None` when there are too many, of all or of this device.
    pub(crate) fn enter(&self, device: Id, most: usize, most_of_one: usize) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_device) = &mut *open;
        let own = by_device.get(&device).copied().unwrap_or(0);
        if *all >= most || own >= most_of_one {
            return None;
        }
        *all += 1;
        by_device.insert(device, own + 1);
        Some(Place { open: self.open.clone(), device })
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<Mutex<(usize, HashMap<Id, usize>)>>,
    device: Id,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_device) = &mut *open;
        *all = all.saturating_sub(1);
        if let Some(own) = by_device.get_mut(&self.device) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                by_device.remove(&self.device);
            }
        }
    }
}
