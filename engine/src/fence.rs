//! Replies on their way, so that an invalidation never overtakes one.
//!
//! A reply is decided under the lock and sent after it. If an invalidation of the same inode went out in
//! between, the kernel would take the old attributes from the reply afterwards, and keep them for as long
//! as it may. So before invalidations are sent, every reply that was decided earlier has to be out.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A reply takes microseconds to send. One that takes this long is not waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Counts {
    /// Index of the count that new replies are added to.
    current: usize,
    sending: [usize; 2],
    /// Someone waits. Waking nobody would cost every reply a call into the kernel.
    waiting: bool,
}

/// Counts replies that are decided and not yet sent, in two generations.
#[derive(Default)]
pub(crate) struct Fence {
    counts: Mutex<Counts>,
    idle: Condvar,
}

/// One reply on its way; sent when this is dropped.
pub(crate) struct Sending {
    fence: Arc<Fence>,
    generation: usize,
}

impl Fence {
    pub(crate) fn begin(self: &Arc<Fence>) -> Sending {
        let mut counts = self.lock();
        let generation = counts.current;
        counts.sending[generation] += 1;
        Sending { fence: Arc::clone(self), generation }
    }

    /// Returns when every reply begun before the call has been sent. One caller at a time.
    pub(crate) fn pass(&self) {
        let end = Instant::now() + WAIT_LIMIT;
        let mut counts = self.lock();
        let before = counts.current;
        // The other count is empty unless an earlier wait gave up; then both are waited for.
        counts.current = 1 - before;
        while counts.sending[before] > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!("a reply takes long to send; invalidations go ahead of it");
                return;
            }
            counts.waiting = true;
            let woken = self.idle.wait_timeout(counts, left);
            counts = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    #[cfg(test)]
    pub(crate) fn turned(&self) -> bool {
        self.lock().current != 0
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut counts = self.fence.lock();
        counts.sending[self.generation] -= 1;
        if counts.sending[self.generation] == 0 && std::mem::take(&mut counts.waiting) {
            drop(counts);
            self.fence.idle.notify_all();
        }
    }
}
