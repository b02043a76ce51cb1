//! Stores in memory: enough of a device and of a cloud to run an engine between them.

use async_trait::async_trait;
use bytes::Bytes;
use cache::LocalStore;
use cloud::{CloudStore, ContentSource, PartSink};
use fs_core::{
    Change, CloudError, CloudErrorKind, ContentRef, ContentRow, Draft, DriveInfo, Flight,
    GroupOutcome, Ino, Kind, Loaded, Measure, NodeId, Op, Page, Range, Recovered, RemoteCommit,
    RemoteNode, Rev, Seq, StageItem, Timestamp, Version,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// Largest part of a fetch, in bytes.
const PART: usize = 64 << 10;

#[derive(Default)]
struct Device {
    rows: BTreeMap<Ino, Loaded>,
    files: BTreeMap<Ino, Vec<u8>>,
    cursor: (Rev, u64),
    complete: bool,
    flights: Vec<Flight>,
    last_ino: Ino,
    queued: Seq,
    journaled: Seq,
    /// The batch that made each node.
    born: BTreeMap<Ino, Seq>,
}

/// A local store in memory. It checks the order of batches, and its journal can be made to fail.
#[derive(Default)]
pub(crate) struct MemoryLocal {
    device: Mutex<Device>,
    pub(crate) full: AtomicBool,
    pub(crate) broken: AtomicBool,
    pub(crate) shut: AtomicBool,
    pub(crate) syncs: AtomicUsize,
    /// The next batch makes `queue` panic, under the engine's lock.
    pub(crate) bomb: AtomicBool,
    /// Held: fetched bytes are not written.
    fills: Mutex<()>,
}

impl MemoryLocal {
    /// Whether the batch that made `ino` is in the journal.
    pub(crate) fn knows(&self, ino: Ino) -> bool {
        let device = self.device();
        device.born.get(&ino).is_some_and(|born| *born <= device.journaled)
    }

    /// Writes of fetched bytes wait until what is returned is dropped.
    pub(crate) fn hold_fills(&self) -> MutexGuard<'_, ()> {
        self.fills.lock().unwrap()
    }

    /// Length of the backing file.
    pub(crate) fn stored(&self, ino: Ino) -> usize {
        self.device().files.get(&ino).map_or(0, Vec::len)
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap()
    }

    fn with_ancestors(&self, wanted: impl Fn(&Loaded) -> bool) -> Vec<Loaded> {
        let device = self.device();
        let mut found = BTreeMap::new();
        for row in device.rows.values().filter(|row| wanted(row)) {
            let mut next = Some(row);
            while let Some(row) = next {
                found.insert(row.node.ino, row.clone());
                next = device.rows.get(&row.node.parent);
            }
        }
        found.into_values().collect()
    }
}

impl Device {
    fn apply(&mut self, change: Change) {
        match change {
            Change::PutNode(row) => {
                self.last_ino = self.last_ino.max(row.ino);
                self.born.entry(row.ino).or_insert(self.queued);
                let content = self.rows.remove(&row.ino).and_then(|row| row.content);
                self.rows.insert(row.ino, Loaded { node: *row, content });
            }
            Change::DropNode(ino) => drop(self.rows.remove(&ino)),
            Change::PutContent(row) => {
                if let Some(loaded) = self.rows.get_mut(&row.ino) {
                    loaded.content = Some(*row);
                }
            }
            Change::DropContent(ino) => {
                if let Some(loaded) = self.rows.get_mut(&ino) {
                    loaded.content = None;
                }
            }
            Change::Wrote { ino, range, size, mtime } => self.wrote(ino, range, size, mtime),
            Change::Filled { ino, range } => {
                if let Some(loaded) = self.rows.get_mut(&ino) {
                    let content = loaded.content.get_or_insert_with(|| empty(ino));
                    for gap in content.dirty.gaps(range) {
                        content.valid.insert(gap);
                    }
                }
            }
            Change::Cursor { rev, epoch } => self.cursor = (rev, epoch),
            Change::Held(_) => {}
            Change::Complete => self.complete = true,
            Change::PutFlight(flight) => {
                self.flights.retain(|old| old.request != flight.request);
                self.flights.push(*flight);
            }
            Change::DropFlight(request) => self.flights.retain(|old| old.request != request),
        }
    }

    fn wrote(&mut self, ino: Ino, range: Range, size: u64, mtime: Timestamp) {
        let Some(loaded) = self.rows.get_mut(&ino) else { return };
        let content = loaded.content.get_or_insert_with(|| empty(ino));
        content.valid.remove(range);
        content.dirty.insert(range);
        loaded.node.size = size;
        loaded.node.attrs.mtime = mtime;
        loaded.node.attrs.ctime = mtime;
    }
}

fn empty(ino: Ino) -> ContentRow {
    ContentRow { ino, ..ContentRow::default() }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl LocalStore for MemoryLocal {
    fn measure(&self, ino: Ino, _: bool, _: bool) -> Result<Measure, cache::Error> {
        let size = self.device().files.get(&ino).map_or(0, Vec::len) as u64;
        Ok(Measure { size, ..Measure::default() })
    }

    fn backing(&self, _: Ino) -> Result<Option<File>, cache::Error> {
        Ok(None)
    }

    fn recover(&self) -> Result<Recovered, cache::Error> {
        let device = self.device();
        Ok(Recovered {
            cursor: device.cursor.0,
            epoch: device.cursor.1,
            complete: device.complete,
            acls: false,
            rows: device.rows.values().cloned().collect(),
            flights: device.flights.clone(),
            last_ino: device.last_ino,
            nodes: device.rows.len() as u64,
            held: fs_core::Hold::default(),
            last_seq: device.queued,
            repairs: Vec::new(),
        })
    }

    fn load_dir(&self, dir: Ino) -> Result<Vec<Loaded>, cache::Error> {
        Ok(self.with_ancestors(|row| row.node.parent == dir || row.node.ino == dir))
    }

    fn load_node(&self, ino: Ino) -> Result<Vec<Loaded>, cache::Error> {
        Ok(self.with_ancestors(|row| row.node.ino == ino))
    }

    fn load_ids(&self, ids: &[NodeId]) -> Result<Vec<Loaded>, cache::Error> {
        Ok(self.with_ancestors(|row| ids.contains(&row.node.id)))
    }

    fn queue(&self, seq: Seq, batch: Vec<Change>) {
        assert!(!self.bomb.load(Ordering::SeqCst), "panic on purpose");
        let mut device = self.device();
        assert_eq!(seq.0, device.queued.0 + 1, "batches come in order, without gaps");
        device.queued = seq;
        batch.into_iter().for_each(|change| device.apply(change));
    }

    fn journal(&self, seq: Seq) -> Result<(), cache::Error> {
        if self.full.load(Ordering::SeqCst) {
            return Err(cache::Error::Full("journal".into()));
        }
        if self.broken.load(Ordering::SeqCst) {
            let source = io::Error::other("broken on purpose");
            return Err(cache::Error::Io { path: "journal".into(), source });
        }
        let mut device = self.device();
        assert!(seq <= device.queued, "only what was queued can be journalled");
        device.journaled = device.journaled.max(seq);
        Ok(())
    }

    fn sync(&self, _: Option<Ino>, upto: Seq) -> Result<(), cache::Error> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.journal(upto)
    }

    fn read(&self, ino: Ino, range: Range) -> Result<Bytes, cache::Error> {
        let mut buffer = vec![0; at(range.len())];
        self.read_into(ino, range.start, &mut buffer)?;
        Ok(buffer.into())
    }

    fn read_into(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), cache::Error> {
        buffer.fill(0);
        if let Some(file) = self.device().files.get(&ino) {
            let here = file.get(at(offset)..).unwrap_or_default();
            let len = here.len().min(buffer.len());
            buffer[..len].copy_from_slice(&here[..len]);
        }
        Ok(())
    }

    fn write(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), cache::Error> {
        let mut device = self.device();
        let file = device.files.entry(ino).or_default();
        let end = at(offset) + data.len();
        file.resize(file.len().max(end), 0);
        file[at(offset)..end].copy_from_slice(data);
        Ok(())
    }

    fn fill(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), cache::Error> {
        let _released = self.hold_fills();
        self.write(ino, offset, data)
    }

    fn copy(&self, from: Ino, part: Range, to: Ino, offset: u64) -> Result<(), cache::Error> {
        let data = self.read(from, part)?;
        self.write(to, offset, &data)
    }

    fn truncate(&self, ino: Ino, size: u64) -> Result<(), cache::Error> {
        self.device().files.entry(ino).or_default().resize(at(size), 0);
        Ok(())
    }

    fn zero(&self, ino: Ino, range: Range) -> Result<(), cache::Error> {
        let mut device = self.device();
        let file = device.files.entry(ino).or_default();
        let end = file.len().min(at(range.end));
        if let Some(part) = file.get_mut(at(range.start)..end) {
            part.fill(0);
        }
        Ok(())
    }

    fn evict(&self, ino: Ino) -> Result<(), cache::Error> {
        self.device().files.remove(&ino);
        Ok(())
    }

    fn disk_free(&self) -> Result<u64, cache::Error> {
        Ok(1 << 40)
    }

    fn disk_used(&self) -> Result<u64, cache::Error> {
        Ok(self.device().files.values().map(|file| file.len() as u64).sum())
    }

    fn shutdown(&self) -> Result<(), cache::Error> {
        self.shut.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Sky {
    pub(crate) nodes: BTreeMap<NodeId, RemoteNode>,
    pub(crate) contents: BTreeMap<ContentRef, Vec<u8>>,
    log: Vec<RemoteCommit>,
}

/// A cloud store in memory: one drive, no preconditions, with switches for trouble.
pub(crate) struct MemoryCloud {
    sky: Mutex<Sky>,
    head: watch::Sender<Rev>,
    pub(crate) online: watch::Sender<bool>,
    /// Fetches deliver nothing and never end.
    pub(crate) stuck: AtomicBool,
    pub(crate) fetches: AtomicUsize,
    /// So many fetches still break off after their first part.
    pub(crate) breaks: AtomicUsize,
}

impl Default for MemoryCloud {
    fn default() -> MemoryCloud {
        MemoryCloud {
            sky: Mutex::default(),
            head: watch::Sender::new(Rev(0)),
            online: watch::Sender::new(true),
            stuck: AtomicBool::new(false),
            fetches: AtomicUsize::new(0),
            breaks: AtomicUsize::new(0),
        }
    }
}

impl MemoryCloud {
    pub(crate) fn sky(&self) -> MutexGuard<'_, Sky> {
        self.sky.lock().unwrap()
    }

    /// The content of the live file of that name, whatever its folder.
    pub(crate) fn content(&self, name: &str) -> Option<Vec<u8>> {
        let sky = self.sky();
        let node = sky.nodes.values().find(|n| n.live && n.name.as_bytes() == name.as_bytes())?;
        let content = ContentRef { id: node.id, rev: node.content_rev };
        sky.contents.get(&content).cloned()
    }

    /// What another device does: gives the live file of that name new bytes.
    pub(crate) fn overwrite(&self, name: &str, bytes: &[u8]) {
        let id = {
            let sky = self.sky();
            let named = sky.nodes.values().find(|node| node.name.as_bytes() == name.as_bytes());
            named.unwrap().id
        };
        let content = Draft { bytes: bytes.to_vec(), size: bytes.len() as u64 };
        let op = Op::SetContent { id, base: Rev(0), content };
        let group = fs_core::Group { ops: vec![op] };
        let request = fs_core::RequestId([9; 16]);
        self.accept(&Flight { request, groups: vec![group], items: Vec::new() });
    }

    fn reach(&self) -> Result<(), CloudError> {
        if *self.online.borrow() {
            return Ok(());
        }
        Err(CloudError::new(CloudErrorKind::Offline, "switched off"))
    }

    fn accept(&self, flight: &Flight) -> Rev {
        let mut sky = self.sky();
        let rev = Rev(sky.log.len() as u64 + 1);
        let mut nodes = Vec::new();
        for op in flight.groups.iter().flat_map(|group| &group.ops) {
            nodes.push(sky.apply(rev, op));
        }
        sky.log.push(RemoteCommit { rev, request: flight.request, nodes });
        drop(sky);
        self.head.send_replace(rev);
        rev
    }

    fn page(&self, wanted: impl Fn(&RemoteNode) -> bool) -> Page {
        let sky = self.sky();
        let nodes = sky.nodes.values().filter(|node| node.live && wanted(node)).cloned();
        // Ids are made in order of time, so parents come first.
        Page { nodes: nodes.collect(), rev: Rev(sky.log.len() as u64), next: None }
    }
}

impl Sky {
    fn apply(&mut self, rev: Rev, op: &Op) -> RemoteNode {
        let id = op.id();
        if let Op::Create { parent, name, kind, attrs, .. } = op {
            let size = if *kind == Kind::Symlink { attrs.target.len() as u64 } else { 0 };
            let (parent, name, kind, attrs) = (*parent, name.clone(), *kind, attrs.clone());
            let (meta_rev, content_rev, live) = (rev, Rev(0), true);
            let node =
                RemoteNode { id, parent, name, kind, attrs, size, meta_rev, content_rev, live };
            self.nodes.insert(id, node);
        }
        let node = self.nodes.get_mut(&id).unwrap();
        let content = match op {
            Op::Create { content, .. } => content.as_ref(),
            Op::SetContent { content, .. } => Some(content),
            Op::Move { parent, name, attrs, .. } | Op::Restore { parent, name, attrs, .. } => {
                node.parent = *parent;
                node.name = name.clone();
                node.attrs = attrs.clone();
                (node.meta_rev, node.live) = (rev, true);
                None
            }
            Op::SetAttrs { attrs, .. } => {
                node.attrs = attrs.clone();
                node.meta_rev = rev;
                None
            }
            Op::Trash { .. } => {
                (node.meta_rev, node.live) = (rev, false);
                None
            }
        };
        if let Some(content) = content {
            node.content_rev = rev;
            node.size = content.size;
            self.contents.insert(ContentRef { id, rev }, content.bytes.clone());
        }
        node.clone()
    }
}

#[async_trait]
impl CloudStore for MemoryCloud {
    async fn connect(&self) -> Result<DriveInfo, CloudError> {
        self.reach()?;
        Ok(DriveInfo {
            epoch: 1,
            head: *self.head.borrow(),
            used_bytes: 0,
            quota_bytes: None,
            common: None,
        })
    }

    async fn snapshot(&self, _: Option<Vec<u8>>) -> Result<Page, CloudError> {
        self.reach()?;
        Ok(self.page(|_| true))
    }

    async fn children(&self, dir: NodeId, _: Option<Vec<u8>>) -> Result<Page, CloudError> {
        self.reach()?;
        Ok(self.page(|node| node.parent == dir))
    }

    async fn changes(&self, since: Rev) -> Result<(Vec<RemoteCommit>, Rev), CloudError> {
        self.reach()?;
        let log = self.sky().log.iter().filter(|commit| commit.rev > since).cloned().collect();
        Ok((log, *self.head.borrow()))
    }

    async fn wait_head(&self, seen: Rev) -> Result<Rev, CloudError> {
        self.reach()?;
        let (mut head, mut online) = (self.head.subscribe(), self.online.subscribe());
        tokio::select! {
            head = head.wait_for(|head| *head > seen) => Ok(*head.unwrap()),
            _ = online.wait_for(|online| !*online) => Err(self.reach().unwrap_err()),
        }
    }

    async fn fetch(
        &self,
        content: ContentRef,
        range: Range,
        sink: &mut PartSink,
    ) -> Result<(), CloudError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        self.reach()?;
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let gone = || CloudError::new(CloudErrorKind::Gone, "no such version");
        let bytes = self.sky().contents.get(&content).cloned().ok_or_else(gone)?;
        let end = bytes.len().min(at(range.end));
        for start in (at(range.start).min(end)..end).step_by(PART) {
            let part = Bytes::copy_from_slice(&bytes[start..end.min(start + PART)]);
            sink(start as u64, part);
            let left = |left: usize| left.checked_sub(1);
            if self.breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
                return Err(CloudError::new(CloudErrorKind::Retry, "broken off on purpose"));
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn fetch_small(
        &self,
        contents: &[ContentRef],
    ) -> Result<Vec<Result<Bytes, CloudError>>, CloudError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        self.reach()?;
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let sky = self.sky();
        let gone = || CloudError::new(CloudErrorKind::Gone, "no such version");
        let one = |content| sky.contents.get(content).cloned().map(Bytes::from).ok_or_else(gone);
        Ok(contents.iter().map(one).collect())
    }

    async fn stage(
        &self,
        items: &[StageItem],
        source: Arc<dyn ContentSource>,
    ) -> Vec<Result<Draft, CloudError>> {
        let stage = |item: &StageItem| {
            self.reach()?;
            let mut bytes = vec![0; at(item.size)];
            if let Some(base) = item.base {
                let sky = self.sky();
                let old = sky.contents.get(&base.content).map_or(&[][..], Vec::as_slice);
                let len = old.len().min(at(base.len)).min(bytes.len());
                bytes[..len].copy_from_slice(&old[..len]);
            }
            for range in item.dirty.iter() {
                let part = &mut bytes[at(range.start)..at(range.end)];
                let read = source.read_at(item.ino, range.start, part);
                read.map_err(|text| CloudError::new(CloudErrorKind::Local, text))?;
            }
            Ok(Draft { bytes, size: item.size })
        };
        items.iter().map(stage).collect()
    }

    async fn commit(&self, flight: &Flight) -> Result<Vec<GroupOutcome>, CloudError> {
        self.reach()?;
        let known = self.sky().log.iter().find(|c| c.request == flight.request).map(|c| c.rev);
        let rev = known.unwrap_or_else(|| self.accept(flight));
        Ok(vec![GroupOutcome::Done(rev); flight.groups.len()])
    }

    async fn versions(&self, _: NodeId) -> Result<Vec<Version>, CloudError> {
        Ok(Vec::new())
    }

    async fn trash(&self) -> Result<Vec<RemoteNode>, CloudError> {
        Ok(self.sky().nodes.values().filter(|node| !node.live).cloned().collect())
    }
}
