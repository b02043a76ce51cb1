//! A server, a drive on it, and a device's bytes in memory.

use bytes::Bytes;
use cloud::{
    ClientOptions, CloudStore, ContentSource, Credentials, NativeStore, RecoveryKey, create_drive,
};
use fs_core::{
    Attrs, CloudError, ContentRef, Draft, Flight, Group, GroupOutcome, Ino, Kind, Name, NodeId, Op,
    Range, Ranges, RequestId, Rev, StageBase, StageItem, Timestamp, Xattrs,
};
use server::{Server, ServerConfig};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that no other call in this process gets.
pub(crate) fn fresh() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn new_node() -> NodeId {
    let mut id = [0x11; 16];
    id[8..].copy_from_slice(&fresh().to_be_bytes());
    NodeId(id)
}

pub(crate) fn new_request() -> RequestId {
    RequestId(new_node().0)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

pub(crate) fn attrs(mode: u32) -> Attrs {
    let time = Timestamp(1_700_000_000_000_000_000);
    Attrs {
        mode,
        uid: 1000,
        gid: 100,
        rdev: 0,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
        target: Vec::new(),
        xattrs: Xattrs::new(),
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) struct World {
    pub(crate) server: Option<Server>,
    pub(crate) dir: TempDir,
    pub(crate) credentials: Credentials,
    pub(crate) recovery: RecoveryKey,
    pub(crate) store: Arc<NativeStore>,
}

impl World {
    pub(crate) async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path().join("server")).await;
        let url = format!("http://{}", server.local_addr());
        let options = ClientOptions::default();
        let code = server.setup_code();
        let names = ("Home", "laptop");
        let (credentials, recovery) = create_drive(&url, &code, names, &options).await.unwrap();
        let store = Arc::new(NativeStore::new(credentials.clone(), options).unwrap());
        World { server: Some(server), dir, credentials, recovery, store }
    }

    pub(crate) fn url(&self) -> String {
        self.credentials.server.clone()
    }

    /// Another client of the same device that remembers nothing.
    pub(crate) fn stranger(&self) -> Arc<NativeStore> {
        Arc::new(NativeStore::new(self.credentials.clone(), ClientOptions::default()).unwrap())
    }

    pub(crate) async fn commit(&self, groups: Vec<Vec<Op>>) -> Vec<GroupOutcome> {
        let flight = flight(groups);
        self.store.commit(&flight).await.unwrap()
    }

    /// Commits one group that must be accepted.
    pub(crate) async fn done(&self, ops: Vec<Op>) -> Rev {
        match self.commit(vec![ops]).await.as_slice() {
            [GroupOutcome::Done(rev)] => *rev,
            other => panic!("the commit was not accepted: {other:?}"),
        }
    }

    pub(crate) async fn mkdir(&self, parent: NodeId, text: &str) -> NodeId {
        let id = new_node();
        self.done(vec![create(id, parent, text, Kind::Dir, None)]).await;
        id
    }

    /// A new file in the root with these bytes.
    pub(crate) async fn file(&self, bytes: &[u8]) -> ContentRef {
        let id = new_node();
        let text = format!("file-{}", fresh());
        let draft = self.stage_whole(id, bytes).await;
        let rev = self.done(vec![create(id, NodeId::ROOT, &text, Kind::File, Some(draft))]).await;
        ContentRef { id, rev }
    }

    pub(crate) async fn stage_whole(&self, id: NodeId, bytes: &[u8]) -> Draft {
        let item = whole(id, bytes.len() as u64);
        let source = Memory::of(&item, bytes.to_vec());
        one(self.store.stage(&[item], source).await).unwrap()
    }

    /// Stages and commits new content of an existing file.
    pub(crate) async fn publish(&self, item: StageItem, bytes: Vec<u8>) -> ContentRef {
        let base = item.base.map_or(Rev(0), |base| base.content.rev);
        let id = item.id;
        let source = Memory::of(&item, bytes);
        let content = one(self.store.stage(&[item], source).await).unwrap();
        let rev = self.done(vec![Op::SetContent { id, base, content }]).await;
        ContentRef { id, rev }
    }

    /// The files in which the server keeps packs.
    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut rest = vec![self.dir.path().join("server")];
        while let Some(dir) = rest.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    rest.push(path);
                } else if std::fs::read(&path).unwrap().starts_with(b"MDPK") {
                    found.push(path);
                }
            }
        }
        found
    }
}

pub(crate) async fn start(data: PathBuf) -> Server {
    let mut config = ServerConfig::new("127.0.0.1:0".parse().unwrap(), data);
    config.rates.requests_per_second = 100_000;
    config.rates.request_burst = 100_000;
    config.rates.wrong_codes_per_minute = 1_000;
    Server::start(config).await.unwrap()
}

pub(crate) fn flight(groups: Vec<Vec<Op>>) -> Flight {
    let groups = groups.into_iter().map(|ops| Group { ops }).collect();
    Flight { request: new_request(), groups, items: Vec::new() }
}

pub(crate) fn create(
    id: NodeId,
    parent: NodeId,
    text: &str,
    kind: Kind,
    content: Option<Draft>,
) -> Op {
    let mode = if kind == Kind::Dir { 0o755 } else { 0o644 };
    Op::Create { id, parent, name: name(text), kind, attrs: attrs(mode), content }
}

/// A new file whose every byte is on the device.
pub(crate) fn whole(id: NodeId, size: u64) -> StageItem {
    StageItem {
        ino: Ino(fresh()),
        id,
        size,
        mtime: Timestamp(42),
        base: None,
        dirty: [Range::new(0, size)].into_iter().collect(),
        valid: Ranges::new(),
    }
}

/// A change of an existing file of which nothing else is on the device.
pub(crate) fn change(content: ContentRef, len: u64, size: u64, dirty: &[Range]) -> StageItem {
    StageItem {
        base: Some(StageBase { content, len }),
        dirty: dirty.iter().copied().collect(),
        ..whole(content.id, size)
    }
}

pub(crate) fn one<T>(mut list: Vec<T>) -> T {
    assert_eq!(list.len(), 1);
    list.remove(0)
}

/// This device's bytes. What is neither dirty nor valid must never be asked for.
pub(crate) struct Memory {
    files: HashMap<Ino, (Vec<u8>, Ranges)>,
    pub(crate) read: Mutex<u64>,
    /// What was told of the progress.
    pub(crate) sent: AtomicI64,
}

impl Memory {
    pub(crate) fn of(item: &StageItem, bytes: Vec<u8>) -> Arc<Memory> {
        Memory::many([(item, bytes)])
    }

    pub(crate) fn many<'a>(
        files: impl IntoIterator<Item = (&'a StageItem, Vec<u8>)>,
    ) -> Arc<Memory> {
        let file = |(item, bytes): (&StageItem, Vec<u8>)| {
            let mut here = item.dirty.clone();
            item.valid.iter().for_each(|range| here.insert(range));
            (item.ino, (bytes, here))
        };
        let files = files.into_iter().map(file).collect();
        Arc::new(Memory { files, read: Mutex::new(0), sent: AtomicI64::new(0) })
    }
}

impl ContentSource for Memory {
    fn sent(&self, bytes: i64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    fn read_at(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
        let (bytes, here) = self.files.get(&ino).ok_or("no such file on this device")?;
        let range = Range::at(offset, buffer.len() as u64);
        if !here.covers(range) {
            return Err(format!("asked for bytes that are not here: {range:?}"));
        }
        *self.read.lock().unwrap() += range.len();
        let from = &bytes[range.start as usize..range.end as usize];
        buffer.copy_from_slice(from);
        Ok(())
    }
}

/// Fetches a range and checks that parts come in order and cover it.
pub(crate) async fn fetch(
    store: &dyn CloudStore,
    content: ContentRef,
    range: Range,
) -> Result<Vec<u8>, CloudError> {
    let parts: Arc<Mutex<Vec<(u64, Bytes)>>> = Arc::default();
    let into = parts.clone();
    let mut sink = move |at: u64, part: Bytes| into.lock().unwrap().push((at, part));
    store.fetch(content, range, &mut sink).await?;
    let parts = std::mem::take(&mut *parts.lock().unwrap());
    let mut bytes = Vec::new();
    let mut reached = range.start;
    for (at, part) in parts {
        if reached >= range.end && at >= range.end {
            continue; // parts may go on beyond the range
        }
        assert!(at <= reached, "a gap before {at}");
        let end = at + part.len() as u64;
        if end > reached {
            let stop = end.min(range.end).max(reached);
            bytes.extend_from_slice(&part[(reached - at) as usize..(stop - at) as usize]);
            reached = stop;
        }
    }
    Ok(bytes)
}

pub(crate) async fn fetch_all(store: &dyn CloudStore, content: ContentRef) -> Vec<u8> {
    fetch(store, content, Range::new(0, u64::MAX)).await.unwrap()
}
