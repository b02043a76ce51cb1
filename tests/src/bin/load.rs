//! Fills a drive through the cloud store alone, for benchmarks: `load CREDENTIALS FOLDERS FILES`.
//!
//! Makes FOLDERS folders in the root (`d0000` ...), each with FILES small files (`f0000` ...) of
//! real content, by full commits of the real client. What a mount sees is what a device that wrote
//! all that would have left, without the hour it would take to write it.

use anyhow::{Context, Result, bail, ensure};
use cloud::{ClientOptions, CloudStore, ContentSource, Credentials, NativeStore};
use fs_core::{
    Attrs, Flight, Group, GroupOutcome, Ino, Kind, Name, NodeId, Op, Range, Ranges, RequestId,
    StageItem, Timestamp, Xattrs,
};
use std::{ops::Range as Span, path::Path, sync::Arc};
use tokio::task::JoinSet;

/// Operations in one commit, the protocol's bound.
const OPS_MAX: u64 = 1_000;
/// Commits on their way at a time: one is sealed while another is stored.
const COMMITS: usize = 3;
/// Bytes of each file: small enough to ride in its version.
const FILE_BYTES: u64 = 100;
/// 2023-11-14, in nanoseconds since 1970.
const TIME: Timestamp = Timestamp(1_700_000_000_000_000_000);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [credentials, folders, files] = arguments.as_slice() else {
        bail!("usage: load CREDENTIALS FOLDERS FILES");
    };
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("`{text}`"));
    let (folders, files) = (number(folders)?, number(files)?);
    let credentials = Credentials::load(Path::new(credentials))?;
    let store: Arc<dyn CloudStore> =
        Arc::new(NativeStore::new(credentials, ClientOptions::default())?);

    in_commits(&store, folders, |folder| {
        let name = format!("d{folder:04}");
        Entry { id: folder_id(folder), parent: NodeId::ROOT, name, kind: Kind::Dir }
    })
    .await?;
    in_commits(&store, folders * files, move |number| {
        let (folder, file) = (number / files, number % files);
        let name = format!("f{file:04}");
        Entry { id: id(2, number), parent: folder_id(folder), name, kind: Kind::File }
    })
    .await?;
    println!("{} nodes", folders * (files + 1));
    Ok(())
}

/// One node to be made.
struct Entry {
    id: NodeId,
    parent: NodeId,
    name: String,
    kind: Kind,
}

fn folder_id(number: u64) -> NodeId {
    id(1, number)
}

/// An id that only this program makes.
fn id(kind: u8, number: u64) -> NodeId {
    let mut id = [kind; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    NodeId(id)
}

/// Makes entries 0 to `count`, several commits at a time.
async fn in_commits(
    store: &Arc<dyn CloudStore>,
    count: u64,
    entry: impl Fn(u64) -> Entry + Copy + Send + Sync + 'static,
) -> Result<()> {
    let mut running = JoinSet::new();
    let mut start = 0;
    while start < count {
        if running.len() >= COMMITS
            && let Some(ended) = running.join_next().await
        {
            ended??;
        }
        let part = start..(start + OPS_MAX).min(count);
        start = part.end;
        running.spawn(commit(Arc::clone(store), part, entry));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

async fn commit(
    store: Arc<dyn CloudStore>,
    part: Span<u64>,
    entry: impl Fn(u64) -> Entry + Copy + Send,
) -> Result<()> {
    let entries: Vec<Entry> = part.clone().map(entry).collect();
    let files: Vec<StageItem> =
        entries.iter().filter(|entry| entry.kind == Kind::File).map(item).collect();
    let mut drafts = store.stage(&files, Arc::new(Filler)).await.into_iter();
    let mut groups = Vec::with_capacity(entries.len());
    for Entry { id, parent, name, kind } in entries {
        let content = if kind == Kind::File { drafts.next().transpose()? } else { None };
        let name = Name::new(name.as_bytes())?;
        let attrs = attrs(kind);
        groups.push(Group { ops: vec![Op::Create { id, parent, name, kind, attrs, content }] });
    }
    let mut request = [3; 16];
    request[8..].copy_from_slice(&part.start.to_be_bytes());
    request[7] = u8::from(files.is_empty());
    let flight = Flight { request: RequestId(request), groups, items: Vec::new() };
    let outcomes = store.commit(&flight).await?;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, GroupOutcome::Done(_))).count();
    ensure!(
        done == flight.groups.len(),
        "only {done} of {} groups were accepted; the first: {:?}",
        flight.groups.len(),
        outcomes.first()
    );
    Ok(())
}

fn item(entry: &Entry) -> StageItem {
    let mut dirty = Ranges::new();
    dirty.insert(Range::new(0, FILE_BYTES));
    let (ino, id) = (Ino(2), entry.id);
    let (size, base, valid) = (FILE_BYTES, None, Ranges::new());
    StageItem { ino, id, size, mtime: TIME, base, dirty, valid }
}

fn attrs(kind: Kind) -> Attrs {
    Attrs {
        mode: if kind == Kind::Dir { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        rdev: 0,
        atime: TIME,
        mtime: TIME,
        ctime: TIME,
        btime: TIME,
        target: Vec::new(),
        xattrs: Xattrs::new(),
    }
}

/// The content of every file.
struct Filler;

impl ContentSource for Filler {
    fn read_at(&self, _: Ino, _: u64, buffer: &mut [u8]) -> Result<(), String> {
        buffer.fill(b'x');
        Ok(())
    }
}
