//! The seam between the engine and a cloud store.

use crate::history::{Activity, ActivityQuery, DeviceInfo, Moment};
use crate::mend::{Damage, Held};
use async_trait::async_trait;
use bytes::Bytes;
use fs_core::{
    CloudError, CloudErrorKind, ContentRef, Draft, DriveInfo, Flight, GroupOutcome, Ino, Known,
    NodeId, Page, Range, RemoteCommit, RemoteNode, Rev, StageItem, Timestamp, Version,
};
use std::sync::Arc;

/// Where staging reads this device's bytes from.
pub trait ContentSource: Send + Sync + 'static {
    /// Fills `buffer` with the bytes of `ino` at `offset`; beyond the end of the file: zeros.
    ///
    /// # Errors
    /// Any failure to read, as text for people.
    fn read_at(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), String>;
    /// `bytes` more of what was read are in the store; fewer than none takes back what will be told
    /// again. Only for showing progress; what is kept in versions themselves (small files) is not told.
    /// Called from any thread, must not block.
    fn sent(&self, bytes: i64) {
        let _ = bytes;
    }
}

/// Takes the parts of a fetch as they arrive: offset in the file, verified bytes.
pub type PartSink = dyn FnMut(u64, Bytes) + Send;

/// A drive in a cloud store. Every method may be called from any task, in any number at once.
#[async_trait]
pub trait CloudStore: Send + Sync + 'static {
    async fn connect(&self) -> Result<DriveInfo, CloudError>;
    /// The same for a device that has a past with the store, which is told about it: a store that
    /// learns that it was restored from a backup says how much of that past it has.
    async fn connect_again(&self, _known: Known) -> Result<DriveInfo, CloudError> {
        self.connect().await
    }

    /// All live nodes at about one rev, parents before children; the page's `rev` is the position
    /// from which `changes` completes what the pages missed.
    async fn snapshot(&self, after: Option<Vec<u8>>) -> Result<Page, CloudError>;
    /// The live children of one directory.
    async fn children(&self, dir: NodeId, after: Option<Vec<u8>>) -> Result<Page, CloudError>;
    /// Commits after `since` in order (a bounded page of them), and the store's head.
    ///
    /// # Errors
    /// `Gone` when `since` is older than the log goes back.
    async fn changes(&self, since: Rev) -> Result<(Vec<RemoteCommit>, Rev), CloudError>;
    /// Waits until the head is beyond `seen` and returns it; returns `seen` after a quiet while.
    async fn wait_head(&self, seen: Rev) -> Result<Rev, CloudError>;

    /// The network is another one: connections that are open may lead nowhere, new ones are used from now
    /// on. A store without connections has nothing to do.
    fn renew(&self) {}
    /// Ends when new connections are used, for that or because the old ones were found dead: who holds one
    /// takes another. For one caller at a time.
    async fn renewed(&self) {
        std::future::pending().await
    }

    /// Delivers at least `range` of a version, in order, in parts as they arrive. Parts may reach
    /// beyond `range` to the edges of the store's unit. Never delivers a byte that is not verified.
    async fn fetch(
        &self,
        content: ContentRef,
        range: Range,
        sink: &mut PartSink,
    ) -> Result<(), CloudError>;
    /// Whole small files in as few round trips as can be; one result an item, in order.
    async fn fetch_small(
        &self,
        contents: &[ContentRef],
    ) -> Result<Vec<Result<Bytes, CloudError>>, CloudError>;

    /// Sends content so that a commit can name it. One result an item, in order. Idempotent.
    async fn stage(
        &self,
        items: &[StageItem],
        source: Arc<dyn ContentSource>,
    ) -> Vec<Result<Draft, CloudError>>;
    /// Commits groups exactly once: the same `flight.request` again returns the first outcome.
    async fn commit(&self, flight: &Flight) -> Result<Vec<GroupOutcome>, CloudError>;

    /// Versions of a file, newest first.
    async fn versions(&self, id: NodeId) -> Result<Vec<Version>, CloudError>;
    /// The trash, newest first: what was where, and when it was removed. At most 1,000.
    async fn trash(&self) -> Result<Vec<fs_core::RemoteNode>, CloudError>;

    // What only stores with a memory can do. The defaults say that this one has none.

    /// The last commit that the store had taken at `time`, by its own clock.
    ///
    /// # Errors
    /// `Gone`: the past is no longer kept that far back.
    async fn moment(&self, _time: Timestamp) -> Result<Moment, CloudError> {
        Err(no_memory())
    }
    /// The children of a directory as they were at `rev`. Files speak of the version they had then, or
    /// the nearest that is still kept.
    ///
    /// # Errors
    /// `Gone`: the past is no longer kept that far back.
    async fn children_at(
        &self,
        _dir: NodeId,
        _rev: Rev,
        _after: Option<Vec<u8>>,
    ) -> Result<Page, CloudError> {
        Err(no_memory())
    }
    /// One node as it was at `rev`.
    ///
    /// # Errors
    /// `Gone`: there was no such node, or the past is no longer kept that far back.
    async fn node_at(&self, _id: NodeId, _rev: Rev) -> Result<RemoteNode, CloudError> {
        Err(no_memory())
    }
    /// What was done, oldest first; a bounded page of it.
    async fn activity(&self, _asked: &ActivityQuery) -> Result<Activity, CloudError> {
        Err(no_memory())
    }
    /// All devices that ever joined, oldest first.
    async fn devices(&self) -> Result<Vec<DeviceInfo>, CloudError> {
        Err(no_memory())
    }
    /// Makes a device's token good for nothing.
    ///
    /// # Errors
    /// `Gone`: there is no such device.
    async fn revoke(&self, _device: [u8; 16]) -> Result<(), CloudError> {
        Err(no_memory())
    }
    /// Removes nodes of the trash for good, at most 1,000; gives how many there were.
    async fn purge(&self, _nodes: &[NodeId]) -> Result<u64, CloudError> {
        Err(no_memory())
    }

    // What only stores with disks that rot need. By default nothing is ever lost.

    /// Versions that the store cannot give back whole, current ones first; a bounded number of them.
    async fn damage(&self) -> Result<Vec<Damage>, CloudError> {
        Ok(Vec::new())
    }
    /// Sends the lost chunks of a version again, as far as `held` has their bytes; whatever `source` gives,
    /// only bytes that are the lost ones are sent. Gives how many of the chunks the store has by then.
    async fn mend(
        &self,
        _damage: &Damage,
        _held: &Held,
        _source: Arc<dyn ContentSource>,
    ) -> Result<u64, CloudError> {
        Ok(0)
    }
}

fn no_memory() -> CloudError {
    CloudError::new(CloudErrorKind::Invalid, "this store keeps no past, devices or trash")
}
