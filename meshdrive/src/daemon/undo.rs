//! Taking back what is held here, and what a device has done: by new commits, so that nothing is lost.

use super::{
    desk::{drive_refusal, odd},
    drive::Drive,
    history::{cloud, failed},
};
use cloud::{ActivityQuery, ContentSource};
use fs_core::{
    Answer, Command, ContentRef, Flight, Group, GroupOutcome, HeldItem, Ino, Kind, Name, NodeId,
    Op, Ranges, RemoteNode, RequestId, Rev, StageBase, StageItem, Timestamp,
};
use protocol::{
    codec::hex,
    control::{PathText, Refusal, RefusalCode, Reply, UndoDevice, UndoReport},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Operations in one commit of an undo; the protocol's bound is 1,000.
const OPS: usize = 500;
/// Nodes that one undo takes back at most.
const NODES: usize = 100_000;
/// Folders that lie in each other, at most.
const DEPTH: usize = 256;

/// What is held is sent.
pub(super) async fn approve(drive: &Drive) -> Result<Reply, Refusal> {
    counted(drive, Command::Approve).await.map(|changes| Reply::Counted { changes })
}

async fn counted(drive: &Drive, command: Command) -> Result<u64, Refusal> {
    match drive.core(command).await.map_err(|error| drive_refusal(drive, error))? {
        Answer::Counted(count) => Ok(count),
        other => Err(odd(&other)),
    }
}

/// What is held comes back: removed files at once, rewritten ones as the store has them.
pub(super) async fn held(drive: &Drive) -> Result<Reply, Refusal> {
    let mut changes = counted(drive, Command::UndoRemovals).await?;
    let held = match drive.core(Command::Held).await.map_err(|error| drive_refusal(drive, error))? {
        Answer::Held(held) => held,
        other => return Err(odd(&other)),
    };
    for item in held.into_iter().filter(|item| item.is_rewrite) {
        put_back(drive, item).await?;
        changes += 1;
    }
    Ok(Reply::Counted { changes })
}

async fn put_back(drive: &Drive, item: HeldItem) -> Result<(), Refusal> {
    let versions = drive.cloud.versions(item.id).await.map_err(|error| cloud(&error))?;
    let version = versions.iter().find(|version| version.rev == item.rev);
    let version = version.ok_or_else(|| {
        failed(format!("the store does not keep version {} any more", item.rev.0))
    })?;
    let (size, mtime) = (version.size, version.mtime);
    let command = Command::PutBack { ino: item.ino, rev: item.rev, size, mtime };
    match drive.core(command).await {
        // It is not held any more, or was changed once more meanwhile.
        Ok(_) | Err(fs_core::FsError::Stale) => Ok(()),
        Err(error) => Err(drive_refusal(drive, error)),
    }
}

/// A node that the device has changed, and what it was before. A facet that somebody else has changed
/// since is theirs, and stays.
#[derive(Clone)]
struct Touched {
    now: RemoteNode,
    /// Place and attributes before; `Some(None)`: the device made the node.
    place: Option<Option<RemoteNode>>,
    content: Option<Option<RemoteNode>>,
}

/// Takes back what a device has changed since a time.
pub(super) async fn device(drive: &Drive, ask: &UndoDevice) -> Result<Reply, Refusal> {
    let device = find_device(drive, &ask.device).await?;
    let touched = touched(drive, device, Timestamp(ask.since_ns)).await?;
    let plan = Plan::of(&touched);
    let mut report = UndoReport { dry_run: ask.dry_run, ..plan.report(&touched) };
    if ask.dry_run {
        return Ok(Reply::Undone(report));
    }
    let mut left = Vec::new();
    for (id, op) in plan.first.into_iter().map(|op| (op.id(), op)) {
        left.push((id, op));
    }
    commit_all(drive, left, &mut report).await?;
    let mut contents = Vec::new();
    for (id, old, base) in &plan.contents {
        match stage(drive, *id, old).await {
            Ok(content) => contents.push((*id, Op::SetContent { id: *id, base: *base, content })),
            Err(why) => report.failed.push(format!("{}: {why}", shown(&old.name))),
        }
    }
    commit_all(drive, contents, &mut report).await?;
    commit_all(drive, plan.last.into_iter().map(|op| (op.id(), op)).collect(), &mut report).await?;
    Ok(Reply::Undone(report))
}

async fn find_device(drive: &Drive, wanted: &str) -> Result<[u8; 16], Refusal> {
    let devices = drive.cloud.devices().await.map_err(|error| cloud(&error))?;
    let is_it = |device: &&cloud::DeviceInfo| device.label == wanted || hex(&device.id) == wanted;
    let found: Vec<_> = devices.iter().filter(is_it).collect();
    match found.as_slice() {
        [device] => Ok(device.id),
        [] => Err(Refusal {
            code: RefusalCode::NotFound,
            message: format!("no device of this drive is called {wanted}"),
            hint: Some("`meshdrive devices` lists them".into()),
        }),
        _ => Err(Refusal {
            code: RefusalCode::Invalid,
            message: format!("{} devices are called {wanted}", found.len()),
            hint: Some("name one by its id, as `meshdrive devices --json` shows it".into()),
        }),
    }
}

/// Every node that the device has changed and that still is as it left it.
async fn touched(
    drive: &Drive,
    device: [u8; 16],
    since: Timestamp,
) -> Result<BTreeMap<NodeId, Touched>, Refusal> {
    let mut touched: BTreeMap<NodeId, Touched> = BTreeMap::new();
    let mut after = Rev(0);
    loop {
        let asked = ActivityQuery { since: Some(since), after, ..ActivityQuery::default() };
        let page = drive.cloud.activity(&asked).await.map_err(|error| cloud(&error))?;
        for entry in page.entries {
            for change in entry.changes {
                note(&mut touched, (entry.device == device, entry.rev), change);
            }
        }
        if touched.len() > NODES {
            return Err(failed(format!("more than {NODES} nodes were changed since then")));
        }
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    touched.retain(|_, node| node.place.is_some() || node.content.is_some());
    Ok(touched)
}

fn note(
    touched: &mut BTreeMap<NodeId, Touched>,
    (is_its, rev): (bool, Rev),
    change: cloud::NodeChange,
) {
    let cloud::NodeChange { before, after } = change;
    if !is_its && !touched.contains_key(&after.id) {
        return;
    }
    let (placed, written) = (after.meta_rev == rev, after.content_rev == rev);
    let node = touched.entry(after.id).or_insert_with(|| Touched {
        now: after.clone(),
        place: None,
        content: None,
    });
    node.now = after;
    if placed {
        node.place = is_its.then(|| node.place.take().unwrap_or_else(|| before.clone()));
    }
    if written {
        node.content = is_its.then(|| node.content.take().unwrap_or(before));
    }
}

/// The operations, in the order in which they must go.
#[derive(Default)]
struct Plan {
    /// Files that the device made, then what it moved or removed, folders before what is in them.
    first: Vec<Op>,
    /// Node, what it held before, and the version that it replaces.
    contents: Vec<(NodeId, RemoteNode, Rev)>,
    /// Folders that it made, the deepest first.
    last: Vec<Op>,
}

impl Plan {
    fn of(touched: &BTreeMap<NodeId, Touched>) -> Plan {
        let mut plan = Plan::default();
        let (mut made, mut moved, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        for node in touched.values() {
            let now = &node.now;
            let mine = now.kind != Kind::File || node.content.is_some();
            match &node.place {
                Some(None) if now.live && mine => match now.kind {
                    Kind::Dir => folders.push(now),
                    _ => made.push(now),
                },
                Some(Some(before)) if !before.live && now.live && mine => made.push(now),
                Some(Some(before)) if before.live => moved.push((before, node)),
                _ => {}
            }
            let old = node.content.as_ref().and_then(Option::as_ref);
            let lives = match &node.place {
                Some(Some(before)) => before.live,
                Some(None) => false,
                None => now.live,
            };
            if let Some(old) = old.filter(|old| lives && old.content_rev != now.content_rev)
                && old.content_rev != Rev(0)
            {
                plan.contents.push((now.id, old.clone(), now.content_rev));
            }
        }
        let before = |id: NodeId| touched.get(&id)?.place.as_ref()?.as_ref().map(|old| old.parent);
        let now = |id: NodeId| touched.get(&id).map(|node| node.now.parent);
        moved.sort_by_key(|(old, _)| depth(old.parent, &before));
        folders.sort_by_key(|node| std::cmp::Reverse(depth(node.parent, &now)));
        plan.first.extend(made.into_iter().map(trashed));
        plan.first.extend(moved.into_iter().filter_map(|(old, node)| put_where_it_was(old, node)));
        plan.last.extend(folders.into_iter().map(trashed));
        plan
    }

    fn report(&self, touched: &BTreeMap<NodeId, Touched>) -> UndoReport {
        let path = |id: NodeId| {
            touched.get(&id).map(|node| {
                let old = node.place.as_ref().and_then(Option::as_ref);
                let name = &old.unwrap_or(&node.now).name;
                PathText::from_bytes(name.as_bytes().to_vec())
            })
        };
        let mut report = UndoReport::default();
        for op in self.first.iter().chain(&self.last) {
            match op {
                Op::Trash { .. } => report.removed += 1,
                Op::Restore { .. } => report.restored += 1,
                _ => report.moved += 1,
            }
        }
        report.contents = self.contents.len() as u64;
        let ids = self.first.iter().chain(&self.last).map(Op::id);
        let ids: BTreeSet<NodeId> = ids.chain(self.contents.iter().map(|(id, ..)| *id)).collect();
        report.names = ids.into_iter().filter_map(path).take(NAMES).collect();
        report
    }
}

/// Names that one report carries.
const NAMES: usize = 1_000;

fn depth(start: NodeId, above: &impl Fn(NodeId) -> Option<NodeId>) -> usize {
    let mut at = start;
    for depth in 0..DEPTH {
        match above(at) {
            Some(parent) => at = parent,
            None => return depth,
        }
    }
    DEPTH
}

fn trashed(node: &RemoteNode) -> Op {
    Op::Trash { id: node.id, meta: node.meta_rev, content: node.content_rev }
}

fn put_where_it_was(old: &RemoteNode, node: &Touched) -> Option<Op> {
    let now = &node.now;
    let (id, base, parent) = (now.id, now.meta_rev, old.parent);
    let (name, attrs) = (old.name.clone(), old.attrs.clone());
    // The time of a file is that of its content where that comes back too.
    let for_content = if node.content.is_some() { Rev(0) } else { now.content_rev };
    if !now.live {
        return Some(Op::Restore { id, base, parent, name, attrs, for_content });
    }
    let stays = old.parent == now.parent && old.name == now.name && old.attrs == now.attrs;
    (!stays).then_some(Op::Move { id, base, parent, name, attrs, for_content })
}

/// The bytes of an old version, named anew: nothing moves.
async fn stage(drive: &Drive, id: NodeId, old: &RemoteNode) -> Result<fs_core::Draft, String> {
    let item = StageItem {
        ino: Ino::NONE,
        id,
        size: old.size,
        mtime: old.attrs.mtime,
        base: Some(StageBase { content: ContentRef { id, rev: old.content_rev }, len: old.size }),
        dirty: Ranges::new(),
        valid: Ranges::new(),
    };
    let staged = drive.cloud.stage(&[item], Arc::new(Nothing)).await;
    match staged.into_iter().next() {
        Some(Ok(draft)) => Ok(draft),
        Some(Err(error)) => Err(error.message.to_string()),
        None => Err("the store gave no answer".into()),
    }
}

/// No bytes of this device are sent.
struct Nothing;

impl ContentSource for Nothing {
    fn read_at(&self, _: Ino, _: u64, _: &mut [u8]) -> Result<(), String> {
        Err("no bytes of this device belong to an old version".into())
    }
}

/// Commits each operation as a group of its own; what finds its name taken gets another one.
async fn commit_all(
    drive: &Drive,
    ops: Vec<(NodeId, Op)>,
    report: &mut UndoReport,
) -> Result<(), Refusal> {
    let ops: Vec<Op> = ops.into_iter().map(|(_, op)| op).collect();
    let mut again = Vec::new();
    for part in ops.chunks(OPS) {
        for (op, outcome) in part.iter().zip(send(drive, part).await?) {
            if let GroupOutcome::Done(rev) = outcome {
                report.revs.extend((report.revs.last() != Some(&rev.0)).then_some(rev.0));
            } else {
                again.push(renamed(op));
            }
        }
    }
    for part in again.chunks(OPS) {
        for (op, outcome) in part.iter().zip(send(drive, part).await?) {
            if !matches!(outcome, GroupOutcome::Done(_)) {
                report.failed.push(format!("{} stays as it is", what(op)));
            }
        }
    }
    Ok(())
}

async fn send(drive: &Drive, ops: &[Op]) -> Result<Vec<GroupOutcome>, Refusal> {
    let mut request = RequestId::default();
    getrandom::fill(&mut request.0)
        .map_err(|error| failed(format!("cannot get random bytes: {error}")))?;
    let groups = ops.iter().map(|op| Group { ops: vec![op.clone()] }).collect();
    let flight = Flight { request, groups, items: Vec::new() };
    drive.cloud.commit(&flight).await.map_err(|error| cloud(&error))
}

fn renamed(op: &Op) -> Op {
    let mut op = op.clone();
    if let Op::Restore { name, .. } | Op::Move { name, .. } = &mut op {
        let text = [b"Restored ", name.as_bytes()].concat();
        *name = Name::new(&text).unwrap_or_else(|_| name.clone());
    }
    op
}

fn what(op: &Op) -> String {
    match op {
        Op::Restore { name, .. } | Op::Move { name, .. } => shown(name),
        other => format!("node {}", hex(&other.id().0)),
    }
}

fn shown(name: &Name) -> String {
    crate::render::text::path(&PathText::from_bytes(name.as_bytes().to_vec()))
}
