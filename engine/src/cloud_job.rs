//! Effects for the cloud store.
//!
//! Each runs on a blocking thread of the runtime that drives the store's future: parts of a fetch are
//! written to disk where they arrive, and a slow disk slows the fetch down instead of filling memory.
//! Their number is bounded by the core (`Limits::fetches` and a few more).

use crate::compare;
use crate::hall::Hall;
use crate::jobs::Phase;
use cloud::ContentSource;
use fs_core::{
    Cloud, CloudError, CloudErrorKind, ContentRef, Event, Flight, GroupOutcome, Ino, Job, Mono,
    Outcome, Range,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Starts `effect`; its `Done` follows, unless the engine stops.
pub(crate) fn start(hall: &Arc<Hall>, job: Job, effect: Cloud) {
    let Some(running) = hall.jobs.begin_cloud() else {
        return;
    };
    let hall = Arc::clone(hall);
    hall.runtime.clone().spawn_blocking(move || {
        if let Some(outcome) = perform(&hall, job, &effect) {
            hall.deliver(Event::Done(job, outcome));
        }
        drop(running);
    });
}

/// `None` when the engine stops meanwhile: the core's state says what to do again after a restart.
fn perform(hall: &Arc<Hall>, job: Job, effect: &Cloud) -> Option<Outcome> {
    let work = async {
        tokio::select! {
            biased;
            () = hall.jobs.reached(given_up_at(effect)) => None,
            outcome = attempt(hall, job, effect) => Some(outcome),
        }
    };
    let ended = catch_unwind(AssertUnwindSafe(|| hall.runtime.block_on(work)));
    ended.unwrap_or_else(|_| {
        tracing::error!(kind = kind(effect), "the cloud store panicked");
        let text = "internal error of the cloud store; see the log";
        Some(failure(effect, CloudError::new(CloudErrorKind::Retry, text)))
    })
}

/// What only reads is given up at once when the engine stops; what sends gets a moment to finish.
fn given_up_at(effect: &Cloud) -> Phase {
    match effect {
        Cloud::Stage(_) | Cloud::Commit(_) => Phase::Cancelled,
        _ => Phase::Stopping,
    }
}

async fn attempt(hall: &Arc<Hall>, job: Job, effect: &Cloud) -> Outcome {
    let cloud = &hall.cloud;
    match effect {
        Cloud::Connect(known) => Outcome::Connected(cloud.connect_again(*known).await),
        Cloud::Children { dir, after } => Outcome::Page(cloud.children(*dir, after.clone()).await),
        Cloud::Snapshot { after } => Outcome::Page(cloud.snapshot(after.clone()).await),
        Cloud::Changes { since } => Outcome::Changes(cloud.changes(*since).await),
        Cloud::Fetch { content, range, deadline } => {
            Outcome::Fetch(fetch(hall, job, (*content, *range), *deadline).await)
        }
        Cloud::FetchSmall { contents } => Outcome::Small(cloud.fetch_small(contents).await),
        Cloud::Same { ino, content, size } => {
            Outcome::Same(compare::same(hall, *ino, *content, *size).await)
        }
        Cloud::Stage(items) => {
            let source = Arc::new(Source { hall: Arc::clone(hall), job, progress: Arc::default() });
            Outcome::Staged(cloud.stage(items, source).await)
        }
        Cloud::Commit(flight) => Outcome::Committed(commit(hall, flight).await),
    }
}

/// The record of the flight is in the journal before it leaves, so that after a crash the same
/// request is sent again, and takes effect once.
async fn commit(hall: &Arc<Hall>, flight: &Flight) -> Result<Vec<GroupOutcome>, CloudError> {
    hall.journal.reach(&*hall.local, hall.journal.queued()).map_err(|error| {
        let text = format!("not sent, the journal cannot be written: {error}");
        CloudError::new(CloudErrorKind::Local, text)
    })?;
    hall.cloud.commit(flight).await
}

/// Parts go to the core as they arrive, in order, before the end is reported.
async fn fetch(
    hall: &Arc<Hall>,
    job: Job,
    (content, range): (ContentRef, Range),
    deadline: Mono,
) -> Result<(), CloudError> {
    let door = Arc::clone(hall);
    let mut sink = move |offset, bytes| door.deliver(Event::Fetched(job, offset, bytes));
    let work = hall.cloud.fetch(content, range, &mut sink);
    tokio::time::timeout(hall.clock.until(deadline), work).await.unwrap_or_else(|_| {
        let text = "the cloud store did not deliver the bytes before the deadline";
        Err(CloudError::new(CloudErrorKind::Retry, text))
    })
}

fn failure(effect: &Cloud, error: CloudError) -> Outcome {
    match effect {
        Cloud::Connect(_) => Outcome::Connected(Err(error)),
        Cloud::Children { .. } | Cloud::Snapshot { .. } => Outcome::Page(Err(error)),
        Cloud::Changes { .. } => Outcome::Changes(Err(error)),
        Cloud::Fetch { .. } => Outcome::Fetch(Err(error)),
        Cloud::FetchSmall { .. } => Outcome::Small(Err(error)),
        Cloud::Same { .. } => Outcome::Same(Err(error)),
        Cloud::Stage(items) => Outcome::Staged(vec![Err(error); items.len()]),
        Cloud::Commit(_) => Outcome::Committed(Err(error)),
    }
}

fn kind(effect: &Cloud) -> &'static str {
    match effect {
        Cloud::Connect(_) => "connect",
        Cloud::Children { .. } => "children",
        Cloud::Snapshot { .. } => "snapshot",
        Cloud::Changes { .. } => "changes",
        Cloud::Fetch { .. } => "fetch",
        Cloud::FetchSmall { .. } => "fetch small",
        Cloud::Same { .. } => "compare",
        Cloud::Stage(_) => "stage",
        Cloud::Commit(_) => "commit",
    }
}

/// This device's bytes, for staging.
struct Source {
    hall: Arc<Hall>,
    job: Job,
    progress: Arc<Progress>,
}

/// What the core has not been told yet.
#[derive(Default)]
struct Progress {
    bytes: AtomicI64,
    /// It is about to be told.
    coming: AtomicBool,
}

impl ContentSource for Source {
    fn read_at(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.hall.local.read_into(ino, offset, buffer).map_err(|error| error.to_string())
    }

    fn sent(&self, bytes: i64) {
        self.progress.bytes.fetch_add(bytes, Ordering::SeqCst);
        if self.progress.coming.swap(true, Ordering::SeqCst) {
            return; // told along
        }
        let (hall, job, progress) = (Arc::clone(&self.hall), self.job, Arc::clone(&self.progress));
        self.hall.runtime.spawn_blocking(move || {
            progress.coming.store(false, Ordering::SeqCst);
            hall.deliver(Event::Sent(job, progress.bytes.swap(0, Ordering::SeqCst)));
        });
    }
}
