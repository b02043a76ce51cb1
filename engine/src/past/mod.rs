//! The past in the path: `.meshdrive/at/<time>/` under the root shows the drive as it was, to any
//! program, and nobody can change it. A small tree of its own beside the core, which knows nothing of
//! it: nothing here is cached on the disk, recovered or sent. See docs/adr/0018.

mod attrs;
#[cfg(test)]
mod tests;
mod time;
mod tree;

use crate::{
    hall::{Callback, Hall},
    jobs::Phase,
};
use bytes::Bytes;
use cloud::CloudStore;
use fs_core::{
    CloudError, CloudErrorKind, ContentRef, FsError, Kind, Name, NodeId, Range, RemoteNode,
    Request, Response, Rev, Stale, Timestamp,
};
use jiff::tz::TimeZone;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tree::{Halt, Tree, Want};

pub(crate) use tree::claims;

/// How long one answer may take that has to be asked for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nodes that one folder of the past may hold; with more it is not shown.
const FOLDER_NODES: usize = 1_000_000;
/// A name like `-2h` stands for the same moment for this long, so that a program that walks the tree
/// sees one tree.
const STEADY: Duration = Duration::from_secs(60);
/// Bytes that are fetched at once: reads of the kernel come one after the other.
const WINDOW_BYTES: u64 = 1 << 20;

pub(crate) struct Past {
    tree: Mutex<Tree>,
    window: Mutex<Option<Window>>,
}

/// The bytes that were fetched last.
struct Window {
    content: ContentRef,
    start: u64,
    bytes: Bytes,
}

impl Past {
    pub(crate) fn new(now: Timestamp) -> Past {
        Past { tree: Mutex::new(Tree::new(now)), window: Mutex::default() }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(&self) -> MutexGuard<'_, Option<Window>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers a request that [`claims`] has claimed: at once, or when the store has said what is lacking.
pub(crate) fn submit(hall: &Arc<Hall>, request: Request, reply: Callback) {
    let want = match hall.past.tree().answer(&request) {
        Ok(response) => Ok(response),
        Err(Halt::Error(error)) => Err(error),
        Err(Halt::Want(want)) => return ask(hall, request, want, reply),
    };
    reply(want);
}

fn ask(hall: &Arc<Hall>, request: Request, want: Want, reply: Callback) {
    let Some(running) = hall.jobs.begin_cloud() else {
        return reply(Err(FsError::Io));
    };
    let hall = Arc::clone(hall);
    hall.runtime.clone().spawn(async move {
        let result = tokio::select! {
            biased;
            () = hall.jobs.reached(Phase::Stopping) => Err(FsError::Io),
            result = tokio::time::timeout(PATIENCE, settle(&hall, &request, want)) => {
                result.unwrap_or(Err(FsError::TimedOut))
            }
        };
        reply(result);
        drop(running);
    });
}

/// Asks for what is lacking until the request can be answered.
async fn settle(hall: &Arc<Hall>, request: &Request, mut want: Want) -> Result<Response, FsError> {
    loop {
        match want {
            Want::Moment(name) => moment(hall, name).await?,
            Want::Listing { ino, dir, rev } => {
                let nodes = listing(&*hall.cloud, dir, rev).await?;
                hall.past.tree().learn_listing(ino, nodes);
            }
            Want::Bytes { content, range } => {
                return bytes(&hall.past, &*hall.cloud, content, range).await.map(Response::Data);
            }
        }
        want = match hall.past.tree().answer(request) {
            Ok(response) => return Ok(response),
            Err(Halt::Error(error)) => return Err(error),
            Err(Halt::Want(want)) => want,
        };
    }
}

/// Learns which commit was the last at a time.
async fn moment(hall: &Arc<Hall>, name: Name) -> Result<(), FsError> {
    let now = hall.clock.now().wall;
    // Names that say nothing about time are not there.
    let when = time::parse(name.as_bytes(), now, &TimeZone::system()).ok_or(FsError::NotFound)?;
    if when.time > now {
        // Not "not found", which the kernel would remember beyond that time.
        return Err(FsError::Invalid);
    }
    let found = hall.cloud.moment(when.time).await.map_err(|error| told("the past", &error))?;
    hall.past.tree().learn_moment(name.clone(), found.rev);
    if tree::is_moving(&when, now) {
        let hall = Arc::clone(hall);
        hall.runtime.clone().spawn(async move {
            tokio::select! {
                () = hall.jobs.reached(Phase::Stopping) => {}
                () = tokio::time::sleep(STEADY) => {
                    hall.past.tree().forget_moment(&name);
                    hall.stale.push(Stale::Entry { parent: tree::AT, name });
                }
            }
        });
    }
    Ok(())
}

/// The whole of a folder as it was.
async fn listing(
    cloud: &dyn CloudStore,
    dir: NodeId,
    rev: Rev,
) -> Result<Vec<RemoteNode>, FsError> {
    let (mut nodes, mut after) = (Vec::new(), None);
    loop {
        let page = cloud.children_at(dir, rev, after).await;
        let page = page.map_err(|error| told("a folder of the past", &error))?;
        nodes.extend(page.nodes);
        if nodes.len() > FOLDER_NODES {
            return Err(FsError::TooLarge);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    for node in &mut nodes {
        if let Some(target) = node.link_target() {
            follow(cloud, node, target, rev).await?;
        }
    }
    Ok(nodes)
}

/// Shows a hard link as the node that it named. One whose target was nowhere is an empty file that
/// nobody may read, as in the present.
async fn follow(
    cloud: &dyn CloudStore,
    node: &mut RemoteNode,
    target: NodeId,
    rev: Rev,
) -> Result<(), FsError> {
    let found = match cloud.node_at(target, rev).await {
        Ok(found) => Some(found),
        Err(error) if error.kind == CloudErrorKind::Gone => None,
        Err(error) => return Err(told("a file of the past", &error)),
    };
    let (name, parent) = (node.name.clone(), node.parent);
    match found.filter(|found| found.live && found.kind != Kind::Link) {
        Some(found) => *node = RemoteNode { name, parent, ..found },
        None => {
            node.kind = Kind::File;
            node.size = 0;
            node.attrs.mode = 0;
        }
    }
    Ok(())
}

/// Bytes of a version, fetched a window at a time.
async fn bytes(
    past: &Past,
    cloud: &dyn CloudStore,
    content: ContentRef,
    range: Range,
) -> Result<Bytes, FsError> {
    if let Some(window) = &*past.window()
        && window.content == content
        && let Some(bytes) = part(window, range)
    {
        return Ok(bytes);
    }
    let wide = Range::new(range.start, range.end.max(range.start + WINDOW_BYTES));
    let gathered = Arc::new(Mutex::new(Gathered { next: wide.start, bytes: Vec::new() }));
    let taker = Arc::clone(&gathered);
    let mut sink = move |at: u64, part: Bytes| {
        taker.lock().unwrap_or_else(PoisonError::into_inner).take(at, &part);
    };
    let fetched = cloud.fetch(content, wide, &mut sink).await;
    fetched.map_err(|error| told("a file of the past", &error))?;
    let bytes = std::mem::take(&mut gathered.lock().unwrap_or_else(PoisonError::into_inner).bytes);
    let window = Window { content, start: wide.start, bytes: bytes.into() };
    let bytes = part(&window, range).ok_or(FsError::Corrupt)?;
    *past.window() = Some(window);
    Ok(bytes)
}

/// Parts of a fetch put together.
struct Gathered {
    next: u64,
    bytes: Vec<u8>,
}

impl Gathered {
    /// Parts come in order, and may begin before what was asked for. After a gap nothing is taken.
    fn take(&mut self, at: u64, part: &[u8]) {
        let end = at + part.len() as u64;
        if at <= self.next && self.next < end {
            self.bytes.extend_from_slice(&part[(self.next - at) as usize..]);
            self.next = end;
        }
    }
}

fn part(window: &Window, range: Range) -> Option<Bytes> {
    let start = usize::try_from(range.start.checked_sub(window.start)?).ok()?;
    let end = usize::try_from(range.end.checked_sub(window.start)?).ok()?;
    (start <= end && end <= window.bytes.len()).then(|| window.bytes.slice(start..end))
}

fn told(what: &str, error: &CloudError) -> FsError {
    tracing::debug!(%error, "{what} cannot be shown");
    match error.kind {
        CloudErrorKind::Offline | CloudErrorKind::Retry => FsError::Offline,
        CloudErrorKind::Denied => FsError::Denied,
        CloudErrorKind::Gone => FsError::NotFound,
        CloudErrorKind::Corrupt => FsError::Corrupt,
        CloudErrorKind::Invalid => FsError::Unsupported,
        CloudErrorKind::Quota | CloudErrorKind::Local => FsError::Io,
    }
}
