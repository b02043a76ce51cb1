//! Keeps a store to so many bytes a second, each way.

use crate::history::{Activity, ActivityQuery, DeviceInfo, Moment};
use crate::mend::{Damage, Held};
use crate::relay::relay;
use crate::store::{CloudStore, ContentSource, PartSink};
use async_trait::async_trait;
use bytes::Bytes;
use fs_core::{
    CloudError, ContentRef, Draft, DriveInfo, Flight, GroupOutcome, Ino, Known, NodeId, Page,
    Range, RemoteCommit, RemoteNode, Rev, StageItem, Timestamp, Version,
};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are taken at a time: a fetch asks for so much at once, and waits in between.
const STEP_BYTES: u32 = 256 << 10;

/// Bytes a second; `None` = as fast as it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    pub up: Option<NonZeroU32>,
    pub down: Option<NonZeroU32>,
}

/// A store that is held to [`Rates`]. Counts bytes of files: what goes over the wire is less where
/// they compress, a little more where they do not.
pub struct Throttled {
    inner: Arc<dyn CloudStore>,
    gates: Mutex<Gates>,
}

#[derive(Clone)]
struct Gates {
    rates: Rates,
    up: Option<Arc<Gate>>,
    down: Option<Arc<Gate>>,
}

impl Gates {
    fn new(rates: Rates) -> Gates {
        let gate = |rate: Option<NonZeroU32>| rate.map(Gate::new).map(Arc::new);
        Gates { rates, up: gate(rates.up), down: gate(rates.down) }
    }
}

impl Throttled {
    #[must_use]
    pub fn new(inner: Arc<dyn CloudStore>, rates: Rates) -> Throttled {
        Throttled { inner, gates: Mutex::new(Gates::new(rates)) }
    }

    /// From now on these hold; a file that is just being read for sending goes on at the old rate.
    pub fn set(&self, rates: Rates) {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.rates != rates {
            *gates = Gates::new(rates);
        }
    }

    fn gates(&self) -> Gates {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Lets bytes through at a rate.
struct Gate {
    limiter: DefaultDirectRateLimiter,
    step: NonZeroU32,
}

impl Gate {
    fn new(rate: NonZeroU32) -> Gate {
        // Never more at once than a second's worth, or a slow gate would not be even.
        let step = rate.min(NonZeroU32::new(STEP_BYTES).unwrap_or(NonZeroU32::MIN));
        let quota = Quota::per_second(rate).allow_burst(step);
        Gate { limiter: RateLimiter::direct(quota), step }
    }

    async fn pass(&self, mut bytes: u64) {
        while bytes > 0 {
            let part = self.part(bytes);
            // A part is never larger than the burst, so this only ever waits.
            let _ = self.limiter.until_n_ready(part).await;
            bytes -= u64::from(part.get());
        }
    }

    /// The same for threads that may block.
    fn pass_blocking(&self, mut bytes: u64) {
        let clock = DefaultClock::default();
        while bytes > 0 {
            let part = self.part(bytes);
            match self.limiter.check_n(part) {
                Ok(Err(not_until)) => std::thread::sleep(not_until.wait_time_from(clock.now())),
                _ => bytes -= u64::from(part.get()),
            }
        }
    }

    fn part(&self, bytes: u64) -> NonZeroU32 {
        let part = bytes.min(u64::from(self.step.get())) as u32;
        NonZeroU32::new(part).unwrap_or(NonZeroU32::MIN)
    }
}

/// This device's bytes, read no faster than they may be sent.
struct GatedSource {
    inner: Arc<dyn ContentSource>,
    gate: Arc<Gate>,
}

impl ContentSource for GatedSource {
    fn read_at(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        self.gate.pass_blocking(buffer.len() as u64);
        self.inner.read_at(ino, offset, buffer)
    }

    fn sent(&self, bytes: i64) {
        self.inner.sent(bytes);
    }
}

#[async_trait]
impl CloudStore for Throttled {
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
        self.inner.snapshot(after).await
    }

    async fn children(&self, dir: NodeId, after: Option<Vec<u8>>) -> Result<Page, CloudError> {
        self.inner.children(dir, after).await
    }

    async fn changes(&self, since: Rev) -> Result<(Vec<RemoteCommit>, Rev), CloudError> {
        self.inner.changes(since).await
    }

    async fn wait_head(&self, seen: Rev) -> Result<Rev, CloudError> {
        self.inner.wait_head(seen).await
    }

    async fn fetch(
        &self,
        content: ContentRef,
        range: Range,
        sink: &mut PartSink,
    ) -> Result<(), CloudError> {
        let mut rest = range;
        while !rest.is_empty() {
            // A rate may be set while this goes on.
            let Some(down) = self.gates().down else {
                return self.inner.fetch(content, rest, sink).await;
            };
            let step = Range::at(rest.start, u64::from(down.step.get())).clip(rest);
            let (mut reached, mut came) = (rest.start, 0);
            let counted = |at: u64, part: Bytes| {
                came += part.len() as u64;
                reached = reached.max(at.saturating_add(part.len() as u64));
                sink(at, part);
            };
            relay(self.inner.as_ref(), (content, step), counted).await?;
            if reached == rest.start {
                // The end of the file.
                return Ok(());
            }
            rest.start = reached;
            down.pass(came).await;
        }
        Ok(())
    }

    async fn fetch_small(
        &self,
        contents: &[ContentRef],
    ) -> Result<Vec<Result<Bytes, CloudError>>, CloudError> {
        let results = self.inner.fetch_small(contents).await?;
        if let Some(down) = self.gates().down {
            down.pass(results.iter().flatten().map(|bytes| bytes.len() as u64).sum()).await;
        }
        Ok(results)
    }

    async fn stage(
        &self,
        items: &[StageItem],
        source: Arc<dyn ContentSource>,
    ) -> Vec<Result<Draft, CloudError>> {
        let source = match self.gates().up {
            None => source,
            Some(gate) => Arc::new(GatedSource { inner: source, gate }),
        };
        self.inner.stage(items, source).await
    }

    async fn commit(&self, flight: &Flight) -> Result<Vec<GroupOutcome>, CloudError> {
        self.inner.commit(flight).await
    }

    async fn versions(&self, id: NodeId) -> Result<Vec<Version>, CloudError> {
        self.inner.versions(id).await
    }

    async fn trash(&self) -> Result<Vec<RemoteNode>, CloudError> {
        self.inner.trash().await
    }

    async fn moment(&self, time: Timestamp) -> Result<Moment, CloudError> {
        self.inner.moment(time).await
    }

    async fn children_at(
        &self,
        dir: NodeId,
        rev: Rev,
        after: Option<Vec<u8>>,
    ) -> Result<Page, CloudError> {
        self.inner.children_at(dir, rev, after).await
    }

    async fn node_at(&self, id: NodeId, rev: Rev) -> Result<RemoteNode, CloudError> {
        self.inner.node_at(id, rev).await
    }

    async fn activity(&self, asked: &ActivityQuery) -> Result<Activity, CloudError> {
        self.inner.activity(asked).await
    }

    async fn devices(&self) -> Result<Vec<DeviceInfo>, CloudError> {
        self.inner.devices().await
    }

    async fn revoke(&self, device: [u8; 16]) -> Result<(), CloudError> {
        self.inner.revoke(device).await
    }

    async fn purge(&self, nodes: &[NodeId]) -> Result<u64, CloudError> {
        self.inner.purge(nodes).await
    }

    async fn damage(&self) -> Result<Vec<Damage>, CloudError> {
        self.inner.damage().await
    }

    async fn mend(
        &self,
        damage: &Damage,
        held: &Held,
        source: Arc<dyn ContentSource>,
    ) -> Result<u64, CloudError> {
        let source = match self.gates().up {
            None => source,
            Some(gate) => Arc::new(GatedSource { inner: source, gate }),
        };
        self.inner.mend(damage, held, source).await
    }
}
