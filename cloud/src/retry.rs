//! Tries again what is worth trying again.

use crate::history::{Activity, ActivityQuery, DeviceInfo, Moment};
use crate::mend::{Damage, Held};
use crate::relay::relay;
use crate::store::{CloudStore, ContentSource, PartSink};
use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use fs_core::{
    CloudError, CloudErrorKind, ContentRef, Draft, DriveInfo, Flight, GroupOutcome, Ino, Known,
    NodeId, Page, Range, RemoteCommit, RemoteNode, Rev, StageItem, Timestamp, Version,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The first wait is at most this long, each next one up to twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A store whose calls are repeated while the network or the server is in trouble.
pub struct Retrying {
    inner: Arc<dyn CloudStore>,
    patience: Duration,
}

impl Retrying {
    /// `patience`: how long one call may take in all before its last error is given back.
    #[must_use]
    pub fn new(inner: Arc<dyn CloudStore>, patience: Duration) -> Retrying {
        Retrying { inner, patience }
    }

    async fn again<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, CloudError>
    where
        F: Future<Output = Result<T, CloudError>>,
    {
        let mut waits = Waits::new(self.patience);
        loop {
            match call().await {
                Err(error) if worth(&error) && waits.wait(&error).await => {}
                result => return result,
            }
        }
    }
}

fn worth(error: &CloudError) -> bool {
    matches!(error.kind, CloudErrorKind::Retry | CloudErrorKind::Offline)
}

/// The waits of one call.
struct Waits {
    steps: ExponentialBackoff,
    end: Instant,
}

impl Waits {
    fn new(patience: Duration) -> Waits {
        let steps = ExponentialBuilder::default()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(LONGEST_WAIT)
            .without_max_times()
            .build();
        Waits { steps, end: Instant::now() + patience }
    }

    /// Waits before another try; false when there is no time for one.
    async fn wait(&mut self, error: &CloudError) -> bool {
        let step = self.steps.next().unwrap_or(LONGEST_WAIT);
        // Full jitter: anything from nothing to the whole step, so that devices do not come in waves.
        let wait = step.mul_f64(fraction());
        let asked = error.retry_after.map_or(Duration::ZERO, |asked| Duration::from_nanos(asked.0));
        let wait = wait.max(asked);
        if Instant::now() + wait >= self.end {
            return false;
        }
        tracing::debug!("trying again in {} ms: {error}", wait.as_millis());
        tokio::time::sleep(wait).await;
        true
    }
}

/// One attempt at a staging. What it told of its progress is taken back when another one follows, which
/// tells of the same bytes again: never does less seem to be left than is.
struct Attempt {
    source: Arc<dyn ContentSource>,
    told: AtomicI64,
}

impl Attempt {
    fn new(source: &Arc<dyn ContentSource>) -> Attempt {
        Attempt { source: source.clone(), told: AtomicI64::new(0) }
    }

    fn take_back(&self) {
        self.source.sent(-self.told.swap(0, Ordering::Relaxed));
    }
}

impl ContentSource for Attempt {
    fn read_at(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.source.read_at(ino, offset, buffer)
    }

    fn sent(&self, bytes: i64) {
        self.told.fetch_add(bytes, Ordering::Relaxed);
        self.source.sent(bytes);
    }
}

/// A random number from 0 to 1.
fn fraction() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[async_trait]
impl CloudStore for Retrying {
    /// Not repeated, as the next two: their callers wait in a loop already and must hear that the link
    /// is down.
    async fn connect(&self) -> Result<DriveInfo, CloudError> {
        self.inner.connect().await
    }

    async fn connect_again(&self, known: Known) -> Result<DriveInfo, CloudError> {
        self.inner.connect_again(known).await
    }

    fn renew(&self) {
        self.inner.renew();
    }

    async fn renewed(&self) {
        self.inner.renewed().await;
    }

    async fn snapshot(&self, after: Option<Vec<u8>>) -> Result<Page, CloudError> {
        self.again(|| self.inner.snapshot(after.clone())).await
    }

    async fn children(&self, dir: NodeId, after: Option<Vec<u8>>) -> Result<Page, CloudError> {
        self.again(|| self.inner.children(dir, after.clone())).await
    }

    async fn changes(&self, since: Rev) -> Result<(Vec<RemoteCommit>, Rev), CloudError> {
        self.again(|| self.inner.changes(since)).await
    }

    async fn wait_head(&self, seen: Rev) -> Result<Rev, CloudError> {
        self.inner.wait_head(seen).await
    }

    /// Goes on where it broke off: what was delivered is not fetched again.
    async fn fetch(
        &self,
        content: ContentRef,
        range: Range,
        sink: &mut PartSink,
    ) -> Result<(), CloudError> {
        let mut waits = Waits::new(self.patience);
        let mut rest = range;
        loop {
            let mut reached = rest.start;
            let counted = |at: u64, part: Bytes| {
                reached = reached.max(at.saturating_add(part.len() as u64));
                sink(at, part);
            };
            let result = relay(self.inner.as_ref(), (content, rest), counted).await;
            rest.start = reached.min(range.end);
            match result {
                Err(error) if worth(&error) => {
                    if rest.is_empty() && !range.is_empty() {
                        return Ok(());
                    }
                    if !waits.wait(&error).await {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }

    async fn fetch_small(
        &self,
        contents: &[ContentRef],
    ) -> Result<Vec<Result<Bytes, CloudError>>, CloudError> {
        self.again(|| self.inner.fetch_small(contents)).await
    }

    /// Stages again what failed; chunks that have arrived are not sent twice.
    async fn stage(
        &self,
        items: &[StageItem],
        source: Arc<dyn ContentSource>,
    ) -> Vec<Result<Draft, CloudError>> {
        let mut waits = Waits::new(self.patience);
        let mut attempt = Arc::new(Attempt::new(&source));
        let mut results = self.inner.stage(items, attempt.clone()).await;
        loop {
            let failed: Vec<usize> = (0..results.len().min(items.len()))
                .filter(|&index| results[index].as_ref().is_err_and(worth))
                .collect();
            let Some(Err(error)) = failed.first().map(|&index| results[index].clone()) else {
                return results;
            };
            if !waits.wait(&error).await {
                return results;
            }
            let rest: Vec<StageItem> = failed.iter().map(|&index| items[index].clone()).collect();
            attempt.take_back();
            attempt = Arc::new(Attempt::new(&source));
            let again = self.inner.stage(&rest, attempt.clone()).await;
            failed.into_iter().zip(again).for_each(|(index, result)| results[index] = result);
        }
    }

    /// Safe to repeat: the request id makes it happen once.
    async fn commit(&self, flight: &Flight) -> Result<Vec<GroupOutcome>, CloudError> {
        self.again(|| self.inner.commit(flight)).await
    }

    async fn versions(&self, id: NodeId) -> Result<Vec<Version>, CloudError> {
        self.again(|| self.inner.versions(id)).await
    }

    async fn trash(&self) -> Result<Vec<RemoteNode>, CloudError> {
        self.again(|| self.inner.trash()).await
    }

    async fn moment(&self, time: Timestamp) -> Result<Moment, CloudError> {
        self.again(|| self.inner.moment(time)).await
    }

    async fn children_at(
        &self,
        dir: NodeId,
        rev: Rev,
        after: Option<Vec<u8>>,
    ) -> Result<Page, CloudError> {
        self.again(|| self.inner.children_at(dir, rev, after.clone())).await
    }

    async fn node_at(&self, id: NodeId, rev: Rev) -> Result<RemoteNode, CloudError> {
        self.again(|| self.inner.node_at(id, rev)).await
    }

    async fn activity(&self, asked: &ActivityQuery) -> Result<Activity, CloudError> {
        self.again(|| self.inner.activity(asked)).await
    }

    async fn devices(&self) -> Result<Vec<DeviceInfo>, CloudError> {
        self.again(|| self.inner.devices()).await
    }

    async fn revoke(&self, device: [u8; 16]) -> Result<(), CloudError> {
        self.again(|| self.inner.revoke(device)).await
    }

    async fn purge(&self, nodes: &[NodeId]) -> Result<u64, CloudError> {
        self.again(|| self.inner.purge(nodes)).await
    }

    async fn damage(&self) -> Result<Vec<Damage>, CloudError> {
        self.again(|| self.inner.damage()).await
    }

    async fn mend(
        &self,
        damage: &Damage,
        held: &Held,
        source: Arc<dyn ContentSource>,
    ) -> Result<u64, CloudError> {
        self.again(|| self.inner.mend(damage, held, source.clone())).await
    }
}
