//! Work that runs beside the requests, and how it is brought to an end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    Running,
    /// Nothing new is begun; what only reads from the cloud is given up.
    Stopping,
    /// Everything that still waits for the cloud is given up.
    Cancelled,
}

/// Counts running jobs and carries the word to stop.
pub(crate) struct Jobs {
    running: Mutex<usize>,
    idle: Condvar,
    phase: watch::Sender<Phase>,
}

/// One running job; it ends when this is dropped.
pub(crate) struct Running(Arc<Jobs>);

impl Jobs {
    pub(crate) fn new() -> Arc<Jobs> {
        let phase = watch::Sender::new(Phase::Running);
        Arc::new(Jobs { running: Mutex::new(0), idle: Condvar::new(), phase })
    }

    /// Counts a job in. Always possible: work on this device is finished even while stopping.
    pub(crate) fn begin(self: &Arc<Jobs>) -> Running {
        *self.lock() += 1;
        Running(Arc::clone(self))
    }

    /// Counts a job for the cloud in; `None` once the engine stops.
    pub(crate) fn begin_cloud(self: &Arc<Jobs>) -> Option<Running> {
        (self.phase() == Phase::Running).then(|| self.begin())
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }

    /// Returns when `phase` (or a later one) has been entered.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Waits until no job runs, at most for `limit`; says whether that came true.
    pub(crate) fn wait_idle(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut running = self.lock();
        while *running > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.idle.wait_timeout(running, left);
            running = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.0.lock();
        *running -= 1;
        if *running == 0 {
            self.0.idle.notify_all();
        }
    }
}
