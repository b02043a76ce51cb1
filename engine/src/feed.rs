//! The feed thread: waits for the store's head to move, and knows whether the store can be reached.

use crate::hall::Hall;
use crate::jobs::Phase;
use cloud::CloudStore;
use fs_core::{CloudError, CloudErrorKind, Event, Rev};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Waiting for the store after a loss: full jitter over a window that doubles from the first to the last.
const FIRST_WINDOW: Duration = Duration::from_millis(500);
const LAST_WINDOW: Duration = Duration::from_secs(30);
/// No wait is shorter, so that a store that refuses at once is not hammered.
const LEAST_WAIT: Duration = Duration::from_millis(50);
/// The least time between two looks for which somebody rings.
const LEAST_RUNG: Duration = Duration::from_secs(1);
/// A store that asks to be left alone is left alone for at most so long.
const MOST_ASKED: Duration = Duration::from_secs(300);
/// A connect that takes longer has failed.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// A store that says nothing for so long is lost. Stores answer a quiet wait after about a minute.
const QUIET_LIMIT: Duration = Duration::from_secs(150);
/// The least time between two answers that bring nothing new.
const LEAST_ROUND: Duration = Duration::from_millis(100);

/// Doubling windows with full jitter.
pub(crate) struct Backoff {
    window: Duration,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Backoff {
        Backoff { window: FIRST_WINDOW, random: seed }
    }

    pub(crate) fn reset(&mut self) {
        self.window = FIRST_WINDOW;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let window = self.window;
        self.window = (window * 2).min(LAST_WINDOW);
        let spread = u64::try_from((window - LEAST_WAIT).as_nanos()).unwrap_or(u64::MAX).max(1);
        LEAST_WAIT + Duration::from_nanos(self.draw() % spread)
    }

    /// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): enough to keep devices apart.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The feed thread.
pub(crate) fn run(hall: &Arc<Hall>, seed: u64) {
    let mut backoff = Backoff::new(seed);
    while hall.jobs.phase() == Phase::Running && !hall.failed() {
        let Some(connected) = reach(hall) else { return };
        let error = match connected {
            Ok(head) => {
                backoff.reset();
                tell(hall, Ok(()));
                let Some(end) = follow(hall, head) else { return };
                let End::Lost(lost) = end else {
                    // By a new connection, and at once: nothing is lost yet.
                    if pause(hall, LEAST_RUNG).is_none() {
                        return;
                    }
                    continue;
                };
                tracing::info!(error = %lost, "the feed is lost; reconnecting");
                lost
            }
            Err(error) => {
                tracing::debug!(%error, "the cloud store cannot be reached");
                error
            }
        };
        tell(hall, Err(error.clone()));
        if let Some(asked) = error.retry_after
            && pause(hall, Duration::from_nanos(asked.0).min(MOST_ASKED)).is_none()
        {
            return;
        }
        let Some(rung) = rest(hall, backoff.next()) else { return };
        if rung {
            backoff.reset();
        }
    }
}

/// Connects; `None` when the engine stops meanwhile.
fn reach(hall: &Arc<Hall>) -> Option<Result<Rev, CloudError>> {
    let cloud = Arc::clone(&hall.cloud);
    stoppable(hall, bounded(CONNECT_LIMIT, async move { Ok(cloud.connect().await?.head) }))
}

/// Why the feed is followed no longer.
enum End {
    Lost(CloudError),
    /// The store uses new connections.
    Renewed,
}

/// Reports the head as it moves; `None` when the engine stops.
fn follow(hall: &Arc<Hall>, head: Rev) -> Option<End> {
    hall.deliver(Event::Head(head));
    let mut seen = head;
    loop {
        let asked = Instant::now();
        let wait = wait_head(Arc::clone(&hall.cloud), seen);
        let wait = bounded(QUIET_LIMIT, wait);
        let answer = stoppable(hall, async {
            tokio::select! {
                answer = wait => Some(answer),
                () = hall.cloud.renewed() => None,
            }
        });
        let Some(answer) = answer? else { return Some(End::Renewed) };
        match answer {
            // A head that went back is a restored store: the core must look, so it is told too.
            Ok(head) if head != seen => {
                seen = head;
                hall.deliver(Event::Head(head));
            }
            Ok(_) => {
                let rest = LEAST_ROUND.saturating_sub(asked.elapsed());
                pause(hall, rest)?;
            }
            Err(error) => return Some(End::Lost(error)),
        }
    }
}

async fn wait_head(cloud: Arc<dyn CloudStore>, seen: Rev) -> Result<Rev, CloudError> {
    cloud.wait_head(seen).await
}

/// Said at every look, not only at a change: the core may have reached the store by itself meanwhile, and
/// lost it again.
fn tell(hall: &Arc<Hall>, up: Result<(), CloudError>) {
    let is_up = up.is_ok();
    hall.deliver(Event::Link(up));
    if is_up {
        hall.rules.send_modify(|_| {}); // they may have been out of reach
        hall.mend.notify_one();
    }
}

async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, CloudError>>,
) -> Result<T, CloudError> {
    let late = |_| Err(CloudError::new(CloudErrorKind::Offline, "the cloud store does not answer"));
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}

/// Sleeps, unless the engine stops (`None`).
fn pause(hall: &Arc<Hall>, length: Duration) -> Option<()> {
    stoppable(hall, async move { tokio::time::sleep(length).await })
}

/// Waits before the next look for the store: for `length`, or until there is reason to look now
/// (true).
pub(crate) fn rest(hall: &Arc<Hall>, length: Duration) -> Option<bool> {
    pause(hall, length.min(LEAST_RUNG))?;
    let more = length.saturating_sub(LEAST_RUNG);
    stoppable(hall, async { tokio::time::timeout(more, hall.look.notified()).await.is_ok() })
}

/// Waits on this thread for `work`, or for the engine to stop (`None`).
pub(crate) fn stoppable<T>(hall: &Arc<Hall>, work: impl Future<Output = T>) -> Option<T> {
    hall.runtime.block_on(async {
        tokio::select! {
            biased;
            () = hall.jobs.reached(Phase::Stopping) => None,
            done = work => Some(done),
        }
    })
}
