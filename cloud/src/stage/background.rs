//! Work of large stagings: on threads of their own that give way to whoever uses the drive.

use std::thread;
use tokio::{sync::oneshot, task};

/// Changed bytes and files from which on a staging counts as bulk. What is smaller is a save that
/// somebody waits for elsewhere.
const BULK_BYTES: u64 = 1 << 20;
const BULK_ITEMS: usize = 32;
/// The lowest priority there is (setpriority(2)): a thread with it hardly slows others down, and has
/// the processor to itself when nobody else wants it.
#[cfg(target_os = "linux")]
const NICE: i32 = 19;

/// Where the blocking work of one staging runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// The runtime's threads.
    Prompt,
    /// Threads of the lowest priority. Their number is bounded by how much a staging does at a time.
    Bulk,
}

impl Lane {
    pub(crate) fn of(bytes: u64, items: usize) -> Lane {
        if bytes > BULK_BYTES || items >= BULK_ITEMS { Lane::Bulk } else { Lane::Prompt }
    }

    /// Runs `work`; `None` when it panicked or the runtime stops.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self == Lane::Prompt {
            return task::spawn_blocking(work).await.ok();
        }
        let (to, result) = oneshot::channel();
        let polite = move || {
            give_way();
            // Nobody waits any more: the staging was given up.
            let _ = to.send(work());
        };
        let thread = thread::Builder::new().name("cloud-upload".into()).spawn(polite);
        match thread {
            Ok(_) => result.await.ok(),
            Err(error) => {
                tracing::warn!(%error, "no thread for an upload; it is tried again");
                None
            }
        }
    }
}

fn give_way() {
    // Linux counts priorities by thread: this one only.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "an upload runs with the priority of everything else");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn bulk_work_gives_way_and_small_work_does_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let own = nice();
        assert_eq!(Lane::of(BULK_BYTES + 1, 1).run(nice).await, Some(NICE));
        assert_eq!(Lane::of(10, BULK_ITEMS).run(nice).await, Some(NICE));
        assert_eq!(Lane::of(BULK_BYTES, 1).run(nice).await, Some(own));
        assert_eq!(nice(), own);
    }

    #[tokio::test]
    async fn a_panic_is_an_end() {
        assert_eq!(Lane::Bulk.run(|| assert_eq!(1, 2)).await, None);
    }
}
