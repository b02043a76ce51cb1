//! The native store: our protocol, sealed on this device.

use crate::buffers::Buffers;
use crate::chunker::Chunker;
use crate::client::{Client, ClientOptions, Traffic};
use crate::credentials::Credentials;
use crate::feed::Feed;
use crate::history::{Activity, ActivityQuery, DeviceInfo, Moment};
use crate::keys::{ChunkId, Keys};
use crate::manifest::{Body, Extent};
use crate::mend::{Damage, Held};
use crate::params::DriveParams;
use crate::recent::Recent;
use crate::record::Sealer;
use crate::stage::Packing;
use crate::store::{CloudStore, ContentSource, PartSink};
use async_trait::async_trait;
use bytes::Bytes;
use fs_core::{
    CloudError, CloudErrorKind, ContentRef, Draft, DriveInfo, Flight, GroupOutcome, Known, NodeId,
    Page, Range, RemoteCommit, RemoteNode, Rev, StageItem, Timestamp, Version,
};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::Semaphore;

/// Bytes of decoded bodies, and of decoded manifest pages, that are kept.
const BODIES_KEPT_BYTES: usize = 16 << 20;
const PAGES_KEPT_BYTES: usize = 16 << 20;
/// Chunks that are remembered as stored, so that they are neither sent nor asked for again.
const KNOWN_CHUNKS: usize = 100_000;
/// Stagings at a time: of much, each with its share of memory (see `stage`), and of little, so that
/// a small save never waits behind a large upload.
const LARGE_STAGES: usize = 1;
const SMALL_STAGES: usize = 4;

/// A drive on a Meshdrive server, as one device sees it.
pub struct NativeStore(Arc<Native>);

/// What every operation of the store needs.
pub(crate) struct Native {
    pub(crate) client: Client,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) chunker: Arc<Chunker>,
    /// `/v1/drives/{id}`
    pub(crate) path: String,
    pub(crate) bodies: Recent<ContentRef, Arc<Body>>,
    pub(crate) pages: Recent<ChunkId, Arc<Vec<Extent>>>,
    pub(crate) known: Recent<ChunkId, ()>,
    pub(crate) packing: Packing,
    pub(crate) large_stages: Semaphore,
    pub(crate) small_stages: Semaphore,
    pub(crate) feed: Feed,
    /// Of the store, when it was last connected; 0: not yet.
    pub(crate) epoch: AtomicU64,
    pub(crate) buffers: Buffers,
}

impl NativeStore {
    /// # Errors
    /// Credentials or options that cannot be used. Does not touch the network.
    pub fn new(
        credentials: Credentials,
        options: ClientOptions,
    ) -> Result<NativeStore, CloudError> {
        let params = DriveParams::decode(&credentials.params).map_err(|refused| {
            let text = format!("drive {}: {refused}; join this drive again", credentials.label);
            CloudError::new(CloudErrorKind::Invalid, text)
        })?;
        let client = Client::new(&credentials.server, Some(&credentials.token), &options)?;
        let keys = Keys::derive(&credentials.key);
        let chunker = Chunker::new(params.profile, keys.gear_seed());
        let sealer = Sealer { keys, suite: params.suite, drive: credentials.drive };
        Ok(NativeStore(Arc::new(Native {
            client,
            sealer: Arc::new(sealer),
            chunker: Arc::new(chunker),
            path: format!("/v1/drives/{}", protocol::codec::hex(&credentials.drive)),
            bodies: Recent::new(BODIES_KEPT_BYTES),
            pages: Recent::new(PAGES_KEPT_BYTES),
            known: Recent::new(KNOWN_CHUNKS),
            packing: Packing::default(),
            large_stages: Semaphore::new(LARGE_STAGES),
            small_stages: Semaphore::new(SMALL_STAGES),
            feed: Feed::default(),
            epoch: AtomicU64::new(0),
            buffers: Buffers::default(),
        })))
    }

    /// Requests made and bytes moved since the store was made.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.0.client.traffic()
    }
}

#[async_trait]
impl CloudStore for NativeStore {
    async fn connect(&self) -> Result<DriveInfo, CloudError> {
        self.0.connect().await
    }

    async fn connect_again(&self, known: Known) -> Result<DriveInfo, CloudError> {
        self.0.connect_again(known).await
    }

    fn renew(&self) {
        self.0.client.renew();
    }

    async fn renewed(&self) {
        self.0.client.renewed.notified().await;
    }

    async fn snapshot(&self, after: Option<Vec<u8>>) -> Result<Page, CloudError> {
        self.0.snapshot(after).await
    }

    async fn children(&self, dir: NodeId, after: Option<Vec<u8>>) -> Result<Page, CloudError> {
        self.0.children(dir, after).await
    }

    async fn changes(&self, since: Rev) -> Result<(Vec<RemoteCommit>, Rev), CloudError> {
        self.0.changes(since).await
    }

    async fn wait_head(&self, seen: Rev) -> Result<Rev, CloudError> {
        self.0.wait_head(seen).await
    }

    async fn fetch(
        &self,
        content: ContentRef,
        range: Range,
        sink: &mut PartSink,
    ) -> Result<(), CloudError> {
        self.0.fetch(content, range, sink).await
    }

    async fn fetch_small(
        &self,
        contents: &[ContentRef],
    ) -> Result<Vec<Result<Bytes, CloudError>>, CloudError> {
        self.0.fetch_small(contents).await
    }

    async fn stage(
        &self,
        items: &[StageItem],
        source: Arc<dyn ContentSource>,
    ) -> Vec<Result<Draft, CloudError>> {
        self.0.clone().stage(items, source).await
    }

    async fn commit(&self, flight: &Flight) -> Result<Vec<GroupOutcome>, CloudError> {
        self.0.commit(flight).await
    }

    async fn versions(&self, id: NodeId) -> Result<Vec<Version>, CloudError> {
        self.0.versions(id).await
    }

    async fn trash(&self) -> Result<Vec<RemoteNode>, CloudError> {
        self.0.trash().await
    }

    async fn moment(&self, time: Timestamp) -> Result<Moment, CloudError> {
        self.0.moment(time).await
    }

    async fn children_at(
        &self,
        dir: NodeId,
        rev: Rev,
        after: Option<Vec<u8>>,
    ) -> Result<Page, CloudError> {
        self.0.children_at(dir, rev, after).await
    }

    async fn node_at(&self, id: NodeId, rev: Rev) -> Result<RemoteNode, CloudError> {
        self.0.node_at(id, rev).await
    }

    async fn activity(&self, asked: &ActivityQuery) -> Result<Activity, CloudError> {
        self.0.activity(asked).await
    }

    async fn devices(&self) -> Result<Vec<DeviceInfo>, CloudError> {
        self.0.devices().await
    }

    async fn revoke(&self, device: [u8; 16]) -> Result<(), CloudError> {
        self.0.revoke(device).await
    }

    async fn purge(&self, nodes: &[NodeId]) -> Result<u64, CloudError> {
        self.0.purge(nodes).await
    }

    async fn damage(&self) -> Result<Vec<Damage>, CloudError> {
        self.0.damage().await
    }

    async fn mend(
        &self,
        damage: &Damage,
        held: &Held,
        source: Arc<dyn ContentSource>,
    ) -> Result<u64, CloudError> {
        self.0.clone().mend(damage, held, source).await
    }
}
