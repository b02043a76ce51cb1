//! A store that fails on purpose, the same way for the same seed. For tests.

use crate::history::{Activity, ActivityQuery, DeviceInfo, Moment};
use crate::mend::{Damage, Held};
use crate::relay::relay;
use crate::store::{CloudStore, ContentSource, PartSink};
use async_trait::async_trait;
use bytes::Bytes;
use fs_core::{
    CloudError, CloudErrorKind, ContentRef, Draft, DriveInfo, Flight, GroupOutcome, Known, NodeId,
    Page, Range, RemoteCommit, RemoteNode, Rev, StageItem, Timestamp, Version,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How one call goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It never reaches the store.
    Before,
    /// The store does it, and the answer is lost.
    After,
    /// It takes so long and then succeeds.
    Delay(Duration),
    /// A fetch delivers a part of the bytes and breaks off; other calls fail before.
    Truncate,
}

/// Decides for call number `n` (from 0) of a seed what goes wrong with it.
type Plan = dyn Fn(u64, u64) -> Option<Fault> + Send + Sync;

/// A store whose calls fail as a seed says.
pub struct Faulty {
    inner: Arc<dyn CloudStore>,
    plan: Box<Plan>,
    seed: u64,
    calls: AtomicU64,
}

impl Faulty {
    /// Of every thousand calls about `per_mille` go wrong, in ways that differ.
    #[must_use]
    pub fn new(inner: Arc<dyn CloudStore>, seed: u64, per_mille: u64) -> Faulty {
        Faulty::planned(inner, seed, move |seed, call| {
            let dice = mix(seed ^ mix(call));
            let kinds = [
                Fault::Before,
                Fault::After,
                Fault::Delay(Duration::from_millis(1 + dice % 20)),
                Fault::Truncate,
            ];
            (dice % 1_000 < per_mille).then(|| kinds[(dice >> 32) as usize % kinds.len()])
        })
    }

    /// `plan` decides, from the seed and the number of the call.
    pub fn planned(
        inner: Arc<dyn CloudStore>,
        seed: u64,
        plan: impl Fn(u64, u64) -> Option<Fault> + Send + Sync + 'static,
    ) -> Faulty {
        Faulty { inner, plan: Box::new(plan), seed, calls: AtomicU64::new(0) }
    }

    fn next(&self) -> Option<Fault> {
        (self.plan)(self.seed, self.calls.fetch_add(1, Ordering::Relaxed))
    }

    async fn run<T>(
        &self,
        call: impl Future<Output = Result<T, CloudError>>,
    ) -> Result<T, CloudError> {
        match self.next() {
            None => call.await,
            Some(Fault::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                call.await
            }
            Some(Fault::After) => {
                call.await?;
                Err(injected("the answer was lost"))
            }
            Some(Fault::Before | Fault::Truncate) => Err(injected("the request was lost")),
        }
    }
}

fn injected(what: &str) -> CloudError {
    CloudError::new(CloudErrorKind::Retry, format!("injected fault: {what}"))
}

/// One step of splitmix64 (public domain, Vigna 2015): spreads a counter over all bits.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[async_trait]
impl CloudStore for Faulty {
    async fn connect(&self) -> Result<DriveInfo, CloudError> {
        self.run(self.inner.connect()).await
    }

    async fn connect_again(&self, known: Known) -> Result<DriveInfo, CloudError> {
        self.run(self.inner.connect_again(known)).await
    }

    fn renew(&self) {
        self.inner.renew();
    }

    async fn renewed(&self) {
        self.inner.renewed().await;
    }

    async fn snapshot(&self, after: Option<Vec<u8>>) -> Result<Page, CloudError> {
        self.run(self.inner.snapshot(after)).await
    }

    async fn children(&self, dir: NodeId, after: Option<Vec<u8>>) -> Result<Page, CloudError> {
        self.run(self.inner.children(dir, after)).await
    }

    async fn changes(&self, since: Rev) -> Result<(Vec<RemoteCommit>, Rev), CloudError> {
        self.run(self.inner.changes(since)).await
    }

    async fn wait_head(&self, seen: Rev) -> Result<Rev, CloudError> {
        self.run(self.inner.wait_head(seen)).await
    }

    async fn fetch(
        &self,
        content: ContentRef,
        range: Range,
        sink: &mut PartSink,
    ) -> Result<(), CloudError> {
        match self.next() {
            None => self.inner.fetch(content, range, sink).await,
            Some(Fault::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                self.inner.fetch(content, range, sink).await
            }
            Some(Fault::Before) => Err(injected("the request was lost")),
            Some(Fault::After) => {
                self.inner.fetch(content, range, sink).await?;
                Err(injected("the end of the answer was lost"))
            }
            Some(Fault::Truncate) => {
                let half = Range::at(range.start, range.len() / 2);
                let cut = |at: u64, part: Bytes| {
                    let room = half.end.saturating_sub(at).min(part.len() as u64) as usize;
                    if room > 0 {
                        sink(at, part.slice(..room));
                    }
                };
                relay(self.inner.as_ref(), (content, half), cut).await?;
                Err(injected("the answer broke off"))
            }
        }
    }

    async fn fetch_small(
        &self,
        contents: &[ContentRef],
    ) -> Result<Vec<Result<Bytes, CloudError>>, CloudError> {
        self.run(self.inner.fetch_small(contents)).await
    }

    async fn stage(
        &self,
        items: &[StageItem],
        source: Arc<dyn ContentSource>,
    ) -> Vec<Result<Draft, CloudError>> {
        let staging = async { Ok(self.inner.stage(items, source).await) };
        match self.run(staging).await {
            Ok(results) => results,
            Err(error) => items.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn commit(&self, flight: &Flight) -> Result<Vec<GroupOutcome>, CloudError> {
        self.run(self.inner.commit(flight)).await
    }

    async fn versions(&self, id: NodeId) -> Result<Vec<Version>, CloudError> {
        self.run(self.inner.versions(id)).await
    }

    async fn trash(&self) -> Result<Vec<RemoteNode>, CloudError> {
        self.run(self.inner.trash()).await
    }

    async fn moment(&self, time: Timestamp) -> Result<Moment, CloudError> {
        self.run(self.inner.moment(time)).await
    }

    async fn children_at(
        &self,
        dir: NodeId,
        rev: Rev,
        after: Option<Vec<u8>>,
    ) -> Result<Page, CloudError> {
        self.run(self.inner.children_at(dir, rev, after)).await
    }

    async fn node_at(&self, id: NodeId, rev: Rev) -> Result<RemoteNode, CloudError> {
        self.run(self.inner.node_at(id, rev)).await
    }

    async fn activity(&self, asked: &ActivityQuery) -> Result<Activity, CloudError> {
        self.run(self.inner.activity(asked)).await
    }

    async fn devices(&self) -> Result<Vec<DeviceInfo>, CloudError> {
        self.run(self.inner.devices()).await
    }

    async fn revoke(&self, device: [u8; 16]) -> Result<(), CloudError> {
        self.run(self.inner.revoke(device)).await
    }

    async fn purge(&self, nodes: &[NodeId]) -> Result<u64, CloudError> {
        self.run(self.inner.purge(nodes)).await
    }

    async fn damage(&self) -> Result<Vec<Damage>, CloudError> {
        self.run(self.inner.damage()).await
    }

    async fn mend(
        &self,
        damage: &Damage,
        held: &Held,
        source: Arc<dyn ContentSource>,
    ) -> Result<u64, CloudError> {
        self.run(self.inner.mend(damage, held, source)).await
    }
}
