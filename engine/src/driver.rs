//! The way out to the kernel: invalidations, from one thread of their own.
//!
//! Kernels call back: an invalidation may wait for a request that is being served at that moment. So
//! it is never sent from a thread that serves requests, and never while a lock is held.

use crate::hall::Hall;
use fs_core::{Ino, Name, Stale};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Invalidations kept while no driver is attached; the oldest are dropped beyond it. Nothing is
/// mounted then, or only just, so that a kernel can hardly have anything to forget.
const HELD_WITHOUT_DRIVER: usize = 65_536;
/// Waiting invalidations above which it is worth a warning. The queue itself is bounded by
/// coalescing: at most one for each name and inode that the kernel knows.
const CROWDED: usize = 100_000;
/// Invalidations sent behind one wait for replies.
const BATCH: usize = 256;

/// What a driver can be told. Called in order, from one thread, with no lock held; may block.
pub trait Driver: Send + Sync {
    /// Make the kernel forget `stale`.
    fn invalidate(&self, stale: Stale);
}

type Key = (u8, Ino, Option<Name>);

#[derive(Default)]
struct Waiting {
    order: VecDeque<Stale>,
    keys: BTreeSet<Key>,
    driver: Option<Arc<dyn Driver>>,
    warned: bool,
    stopped: bool,
}

/// Invalidations on their way to the driver; equal ones that still wait are one.
#[derive(Default)]
pub(crate) struct StaleQueue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

impl StaleQueue {
    pub(crate) fn attach(&self, driver: Arc<dyn Driver>) {
        self.lock().driver = Some(driver);
        self.bell.notify_all();
    }

    /// Never blocks.
    pub(crate) fn push(&self, stale: Stale) {
        let mut waiting = self.lock();
        if waiting.stopped || !waiting.keys.insert(key(&stale)) {
            return;
        }
        waiting.order.push_back(stale);
        if waiting.driver.is_none() && waiting.order.len() > HELD_WITHOUT_DRIVER {
            waiting.drop_oldest();
        } else if waiting.order.len() > CROWDED && !waiting.warned {
            waiting.warned = true;
            tracing::warn!(waiting = CROWDED, "the kernel is slow to take invalidations");
        }
        drop(waiting);
        self.bell.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.bell.notify_all();
    }

    /// The next invalidations, at most [`BATCH`], and whom to tell; `None` after [`StaleQueue::stop`].
    pub(crate) fn next(&self) -> Option<(Vec<Stale>, Arc<dyn Driver>)> {
        let mut waiting = self.lock();
        loop {
            if waiting.stopped {
                return None;
            }
            if let Some(driver) = waiting.driver.clone()
                && !waiting.order.is_empty()
            {
                let count = waiting.order.len().min(BATCH);
                let batch: Vec<Stale> = waiting.order.drain(..count).collect();
                // Out of the set before they are sent: what changes from here on needs another one.
                batch.iter().for_each(|stale| {
                    waiting.keys.remove(&key(stale));
                });
                return Some((batch, driver));
            }
            waiting = self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.keys.remove(&key(&oldest));
        }
    }
}

fn key(stale: &Stale) -> Key {
    match stale {
        Stale::Entry { parent, name } => (0, *parent, Some(name.clone())),
        Stale::Data(ino) => (1, *ino, None),
        Stale::Attrs(ino) => (2, *ino, None),
        Stale::Backing(ino) => (3, *ino, None),
    }
}

/// The invalidation thread.
pub(crate) fn run(hall: &Hall) {
    while let Some((batch, driver)) = hall.stale.next() {
        // The kernel must not see a state that a crash could still take back. If the journal is broken
        // it is told all the same: what it has is old either way.
        let _ = hall.journal.reach(&*hall.local, hall.journal.queued());
        hall.fence.pass();
        batch.into_iter().for_each(|stale| driver.invalidate(stale));
    }
}
