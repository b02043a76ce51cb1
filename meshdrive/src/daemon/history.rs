//! Versions and the trash: asked of the cloud store directly. What is restored comes back to this
//! device by the feed, like any other change.

use super::{
    convert,
    desk::{drive_refusal, odd},
    drive::Drive,
    driver,
};
use fs_core::{
    Answer, CloudError, CloudErrorKind, Command, Flight, Group, GroupOutcome, Ino, Kind, Loaded,
    Name, NodeId, Op, RemoteNode, RequestId, Rev, Timestamp,
};
use protocol::{
    codec::hex,
    control::{PathText, Refusal, RefusalCode, Reply, TrashItem, Untrash, VersionReport},
    limits::{OPS_PER_COMMIT, TREE_DEPTH},
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn versions(drive: &Drive, path: &PathText) -> Result<Reply, Refusal> {
    let (id, current) = match drive.command(path, Command::Identify).await? {
        Answer::Identity { id, content } => (id, content.map(|content| content.rev)),
        other => return Err(odd(&other)),
    };
    let versions = match drive.cloud.versions(id).await {
        Ok(versions) => versions,
        // The cloud has never seen it: it has no version there.
        Err(error) if error.kind == CloudErrorKind::Gone => Vec::new(),
        Err(error) => return Err(cloud(&error)),
    };
    let report = |version: fs_core::Version| VersionReport {
        rev: version.rev.0,
        size: version.size,
        modified_ns: version.mtime.0,
        stored_ns: version.stored.0,
        current: current == Some(version.rev),
        device: version.device,
    };
    Ok(Reply::Versions(versions.into_iter().map(report).collect()))
}

pub(super) async fn restore(drive: &Drive, path: &PathText, rev: u64) -> Result<Reply, Refusal> {
    let Reply::Versions(versions) = versions(drive, path).await? else { return Ok(Reply::Done) };
    let Some(version) = versions.into_iter().find(|version| version.rev == rev) else {
        return Err(Refusal {
            code: RefusalCode::NotFound,
            message: format!("{} has no version {rev}", crate::render::text::path(path)),
            hint: Some("`meshdrive versions` lists those that there are".into()),
        });
    };
    let (size, mtime) = (version.size, Timestamp(version.modified_ns));
    let restore = |path| Command::RestoreVersion { path, rev: Rev(rev), size, mtime };
    drive.command(path, restore).await.map(|_| Reply::Done)
}

pub(super) async fn trash(drive: &Drive) -> Result<Reply, Refusal> {
    let trash = Trash::load(drive).await?;
    let item = |node: &RemoteNode| TrashItem {
        id: hex(&node.id.0),
        path: PathText::from_bytes(trash.path(node.id)),
        dir: node.kind == Kind::Dir,
        size: node.size,
        modified_ns: node.attrs.mtime.0,
        removed_rev: node.meta_rev.0,
    };
    Ok(Reply::Trash(trash.nodes.iter().map(item).collect()))
}

pub(super) async fn untrash(drive: &Drive, ask: &Untrash) -> Result<Reply, Refusal> {
    let trash = Trash::load(drive).await?;
    let Some(node) = trash.nodes.iter().find(|node| hex(&node.id.0) == ask.id) else {
        return Err(Refusal {
            code: RefusalCode::NotFound,
            message: format!("nothing in the trash has the id {}", ask.id),
            hint: Some("`meshdrive restore --trash` lists what is there".into()),
        });
    };
    let (parent, name) = match &ask.to {
        Some(to) => place(drive, to).await?,
        None => (node.parent, node.name.clone()),
    };
    if trash.by_id.contains_key(&parent) {
        return Err(Refusal {
            code: RefusalCode::Invalid,
            message: format!("its folder {} is in the trash too", trash.shown(parent)),
            hint: Some("restore that folder, or say where to with --to PATH".into()),
        });
    }
    let mut ops = vec![restored(node, parent, name)];
    let mut paths =
        vec![ask.to.clone().unwrap_or_else(|| PathText::from_bytes(trash.path(node.id)))];
    if !ask.only {
        for below in trash.below(node.id).into_iter().take(OPS_PER_COMMIT - 1) {
            ops.push(restored(below, below.parent, below.name.clone()));
            paths.push(PathText::from_bytes(trash.path(below.id)));
        }
    }
    commit(drive, ops).await?;
    Ok(Reply::Restored(paths))
}

async fn commit(drive: &Drive, ops: Vec<Op>) -> Result<(), Refusal> {
    let mut request = RequestId::default();
    getrandom::fill(&mut request.0)
        .map_err(|error| failed(format!("cannot get random bytes: {error}")))?;
    let flight = Flight { request, groups: vec![Group { ops }], items: Vec::new() };
    let outcomes = drive.cloud.commit(&flight).await.map_err(|error| cloud(&error))?;
    match outcomes.into_iter().next() {
        Some(GroupOutcome::Done(_)) => Ok(()),
        Some(GroupOutcome::Conflict(_)) => Err(Refusal {
            code: RefusalCode::Busy,
            message: "something else is at that place now, or it has been restored already".into(),
            hint: Some("look at the place, or restore it elsewhere with --to PATH".into()),
        }),
        Some(GroupOutcome::Invalid(why)) => Err(failed(format!("the store refused it: {why}"))),
        Some(GroupOutcome::Dependent | GroupOutcome::Unstaged) | None => {
            Err(failed("the store did not take it; try again".into()))
        }
    }
}

fn restored(node: &RemoteNode, parent: NodeId, name: Name) -> Op {
    Op::Restore {
        id: node.id,
        base: node.meta_rev,
        parent,
        name,
        attrs: node.attrs.clone(),
        for_content: node.content_rev,
    }
}

/// The folder and name of a path that something shall have.
async fn place(drive: &Drive, to: &PathText) -> Result<(NodeId, Name), Refusal> {
    let mut components = driver::components(&drive.mount, to)?;
    let Some(name) = components.pop() else {
        return Err(Refusal {
            code: RefusalCode::Invalid,
            message: "--to names the drive itself".into(),
            hint: Some("name a path in the drive".into()),
        });
    };
    let identity = drive.core(Command::Identify(components)).await;
    match identity.map_err(|error| convert::refusal(to, error))? {
        Answer::Identity { id, .. } => Ok((id, name)),
        other => Err(odd(&other)),
    }
}

/// The trash, with the places of its parents.
pub(super) struct Trash {
    /// Newest first.
    nodes: Vec<RemoteNode>,
    by_id: BTreeMap<NodeId, usize>,
    /// Paths of the live folders that things were removed from.
    folders: BTreeMap<NodeId, Vec<u8>>,
}

impl Trash {
    pub(super) async fn load(drive: &Drive) -> Result<Trash, Refusal> {
        let nodes = drive.cloud.trash().await.map_err(|error| cloud(&error))?;
        let by_id: BTreeMap<NodeId, usize> =
            nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect();
        let wanted: BTreeSet<NodeId> = nodes
            .iter()
            .map(|node| node.parent)
            .filter(|parent| *parent != NodeId::ROOT && !by_id.contains_key(parent))
            .collect();
        let wanted: Vec<NodeId> = wanted.into_iter().collect();
        let local = drive.local.clone();
        let rows = tokio::task::spawn_blocking(move || local.load_ids(&wanted)).await;
        let rows = rows
            .map_err(|_| drive_refusal(drive, fs_core::FsError::Io))?
            .map_err(|error| failed(error.to_string()))?;
        Ok(Trash { folders: paths(&rows), by_id, nodes })
    }

    /// Where it was; `?` stands for a folder that is not known any more.
    fn path(&self, id: NodeId) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = id;
        let mut start = Vec::new();
        for _ in 0..TREE_DEPTH {
            let Some(node) = self.by_id.get(&at).and_then(|index| self.nodes.get(*index)) else {
                if at != NodeId::ROOT {
                    start = self.folders.get(&at).cloned().unwrap_or_else(|| b"?".to_vec());
                }
                break;
            };
            names.push(node.name.as_bytes());
            at = node.parent;
        }
        let mut path = start;
        for name in names.into_iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        path
    }

    /// What was removed last from a place.
    pub(super) fn at(&self, path: &[u8]) -> Option<NodeId> {
        self.nodes.iter().map(|node| node.id).find(|id| self.path(*id) == path)
    }

    fn shown(&self, id: NodeId) -> String {
        crate::render::text::path(&PathText::from_bytes(self.path(id)))
    }

    /// Everything in the trash below a folder, parents first; of two with one name, the one that was
    /// removed last.
    fn below(&self, folder: NodeId) -> Vec<&RemoteNode> {
        let mut found = Vec::new();
        let mut folders = vec![folder];
        while let Some(parent) = folders.pop() {
            let mut names = BTreeSet::new();
            for node in self.nodes.iter().filter(|node| node.parent == parent) {
                if node.id != folder && names.insert(node.name.as_bytes()) {
                    found.push(node);
                    folders.push(node.id);
                }
            }
        }
        found
    }
}

/// The path of every row that has one.
fn paths(rows: &[Loaded]) -> BTreeMap<NodeId, Vec<u8>> {
    let by_ino: BTreeMap<Ino, &Loaded> = rows.iter().map(|row| (row.node.ino, row)).collect();
    let path = |row: &Loaded| {
        let mut names = Vec::new();
        let mut at = &row.node;
        for _ in 0..TREE_DEPTH {
            if at.ino == Ino::ROOT {
                names.reverse();
                return Some((row.node.id, names.join(&b'/')));
            }
            names.push(at.name.as_bytes());
            at = &by_ino.get(&at.parent)?.node;
        }
        None
    };
    rows.iter().filter_map(path).collect()
}

pub(super) fn cloud(error: &CloudError) -> Refusal {
    let (code, hint) = match error.kind {
        CloudErrorKind::Offline | CloudErrorKind::Retry => {
            (RefusalCode::Offline, Some("try again when the store can be reached"))
        }
        CloudErrorKind::Gone => (RefusalCode::NotFound, None),
        _ => (RefusalCode::Failed, None),
    };
    Refusal { code, message: error.message.to_string(), hint: hint.map(str::to_string) }
}

pub(super) fn failed(message: String) -> Refusal {
    Refusal { code: RefusalCode::Failed, message, hint: None }
}

#[cfg(test)]
mod tests;
