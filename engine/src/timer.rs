//! The timer thread: the core's deadlines, and a look at the free space of the disk now and then.

use crate::hall::Hall;
use crate::jobs::Phase;
use fs_core::{Event, Mono};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the free space of the cache's disk is looked at.
const DISK_EVERY: Duration = Duration::from_secs(3);
/// The least sleep before a deadline.
const LEAST_SLEEP: Duration = Duration::from_micros(200);
/// The sleep after a tick that left the deadline in the past: the core waits for something else, and
/// the thread must not spin until it comes.
const OVERDUE_SLEEP: Duration = Duration::from_millis(10);

/// Wakes the timer thread when there is an earlier deadline, or an end.
#[derive(Default)]
pub(crate) struct Alarm {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Alarm {
    pub(crate) fn ring(&self) {
        *self.lock() = true;
        self.bell.notify_all();
    }

    /// Sleeps until it is rung, at most for `limit`.
    fn sleep(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut rung = self.lock();
        while !*rung {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.bell.wait_timeout(rung, left);
            rung = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The timer thread.
pub(crate) fn run(hall: &Arc<Hall>) {
    let mut next_disk = Instant::now() + DISK_EVERY;
    while hall.jobs.phase() == Phase::Running && !hall.failed() {
        if Instant::now() >= next_disk {
            look_at_disk(hall);
            next_disk = Instant::now() + DISK_EVERY;
        }
        let due = |deadline: Option<Mono>| deadline.is_some_and(|at| at <= hall.clock.mono());
        let mut deadline = hall.arm();
        if due(deadline) {
            hall.deliver(Event::Tick);
            deadline = hall.arm();
        }
        let sleep = match deadline {
            _ if due(deadline) => OVERDUE_SLEEP,
            Some(deadline) => hall.clock.until(deadline).max(LEAST_SLEEP),
            None => DISK_EVERY,
        };
        hall.alarm.sleep(sleep.min(next_disk.saturating_duration_since(Instant::now())));
    }
}

pub(crate) fn look_at_disk(hall: &Arc<Hall>) {
    match hall.local.disk_free() {
        Ok(free) => hall.deliver(Event::DiskFree(free)),
        Err(error) => tracing::warn!(%error, "cannot see how much space is left"),
    }
}
