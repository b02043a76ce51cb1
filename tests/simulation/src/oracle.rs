//! What must hold, a checker each (`design`: the oracles). A checker knows nothing of the workload.

mod handles;
mod quiet;
mod sent;

pub(crate) use handles::{History, one_version};
pub(crate) use quiet::is_quiet;
pub(crate) use sent::{has_cause, sent_once};

use crate::device::Device;
use crate::store::Store;
use crate::workload::{COMMON, User};
use fs_core::{Attr, Ino, Kind, NodeId, Pending, RemoteNode};
use std::collections::BTreeMap;

/// The promises by name. Secrecy has no place here, where nothing is sealed: see the tests of `cloud`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Oracle {
    Convergence,
    NothingLost,
    NoResurrection,
    ValidTree,
    OneVersionPerHandle,
    Barrier,
    ExactlyOnce,
    Bounds,
    Termination,
    ConflictNames,
}

impl Oracle {
    /// Says which promise was broken.
    pub(crate) fn broken(self, what: impl std::fmt::Display) -> String {
        format!("[{self:?}] {what}")
    }

    /// Says it of what a checker of this promise found.
    pub(crate) fn judge(self, found: Result<(), String>) -> Result<(), String> {
        found.map_err(|what| self.broken(what))
    }
}

/// A tree by path: kind, mode, size, and names of a node that is no directory.
pub(crate) type Shown = BTreeMap<Vec<u8>, (Kind, u32, u64, u32)>;

/// What a device says of an entry.
pub(crate) fn seen(attr: &Attr) -> (Kind, u32, u64, u32) {
    let names = if attr.kind == Kind::Dir { 0 } else { attr.nlink };
    (attr.kind, attr.mode, attr.size, names)
}

/// At rest: nothing of a device is pending, refused or without a place.
pub(crate) fn at_rest(device: &Device) -> Result<(), String> {
    let number = device.number;
    for (row, content) in device.drive.nodes() {
        if content.is_some_and(|content| content.blind) {
            return Err(format!("device {number}: still marked as written unseen: {row:?}"));
        }
        if !row.pending.is_none() {
            return Err(format!(
                "device {number}: still pending: {row:?}; notes {:?}",
                device.notes
            ));
        }
        if row.parent == Ino::NONE && row.ino != Ino::ROOT && row.origin.is_some() {
            return Err(format!("device {number}: still in limbo: {row:?}"));
        }
    }
    Ok(())
}

/// Convergence: a device shows exactly the store's tree.
pub(crate) fn converged(here: &Shown, store: &Store, device: &Device) -> Result<(), String> {
    let tree = stored(store);
    let mut names: BTreeMap<NodeId, u32> = BTreeMap::new();
    for node in tree.values() {
        *names.entry(node.id).or_default() += 1;
    }
    let there: Shown = tree
        .into_iter()
        .map(|(path, node)| {
            let names = if node.kind == Kind::Dir { 0 } else { names[&node.id] };
            (path, (node.kind, node.attrs.mode, node.size, names))
        })
        .collect();
    if *here == there {
        return Ok(());
    }
    let show = |tree: &Shown| {
        let lines = tree.iter().map(|(path, what)| format!("  {} {what:?}", path.escape_ascii()));
        lines.collect::<Vec<_>>().join("\n")
    };
    let number = device.number;
    Err(format!(
        "device {number} shows\n{}\nthe store has\n{}\n{:?}",
        show(here),
        show(&there),
        device.notes
    ))
}

/// The store's tree by path; hard links as what they name.
pub(crate) fn stored(store: &Store) -> BTreeMap<Vec<u8>, RemoteNode> {
    let nodes: BTreeMap<NodeId, RemoteNode> = store.live().map(|node| (node.id, node)).collect();
    let mut tree = BTreeMap::new();
    for node in nodes.values() {
        let mut path = node.name.as_bytes().to_vec();
        let mut at = node.parent;
        while at != NodeId::ROOT {
            let Some(dir) = nodes.get(&at) else { break };
            path.splice(..0, [dir.name.as_bytes(), b"/"].concat());
            at = dir.parent;
        }
        let target = node.link_target().and_then(|id| nodes.get(&id));
        tree.insert(path, target.unwrap_or(node).clone());
    }
    tree
}

/// Every hard link names a node that is there.
pub(crate) fn links_hold(store: &Store) -> Result<(), String> {
    let live: BTreeMap<NodeId, Kind> = store.live().map(|node| (node.id, node.kind)).collect();
    for node in store.live() {
        let Some(target) = node.link_target() else { continue };
        if !live.get(&target).is_some_and(|kind| !matches!(kind, Kind::Dir | Kind::Link)) {
            let name = node.name.as_bytes().escape_ascii();
            return Err(format!("the hard link \"{name}\" names {target:?}, which is not there"));
        }
    }
    Ok(())
}

/// No acknowledged write is lost: each that nothing on its own device overwrote or removed is in a
/// version that the store keeps.
pub(crate) fn nothing_lost(user: &User, store: &Store, number: usize) -> Result<(), String> {
    for (ino, tokens) in &user.tokens {
        for (offset, token) in tokens {
            if !is_kept(token, store) {
                return Err(format!(
                    "device {number}: the write at {offset} of inode {} is in no version",
                    ino.0
                ));
            }
        }
    }
    Ok(())
}

/// After a barrier, another device would see all that was there when it was asked for.
pub(crate) fn barrier(device: &Device, user: &mut User, store: &Store) -> Result<(), String> {
    for promised in std::mem::take(&mut user.promised) {
        // Of writes of the same bytes nobody knows which was promised.
        for (ino, token) in promised.tokens.iter().filter(|(_, token)| token != COMMON) {
            let current =
                user.tokens.get(ino).is_some_and(|all| all.iter().any(|(_, t)| t == token));
            if current && !is_kept(token, store) {
                return Err(format!(
                    "device {}: a write to inode {} is in no version after a barrier",
                    device.number, ino.0
                ));
            }
        }
        for (row, _) in device.drive.nodes().filter(|(row, _)| row.parent != Ino::NONE) {
            let made = promised.made.iter().find(|(ino, _)| *ino == row.ino);
            let sent = |id| store.nodes.contains_key(id);
            // It may have become another node since.
            if made.is_some_and(|(_, id)| !sent(id) && !sent(&row.id)) {
                return Err(format!("device {}: not sent by a barrier: {row:?}", device.number));
            }
        }
    }
    Ok(())
}

fn is_kept(token: &[u8; 8], store: &Store) -> bool {
    store.versions.values().any(|version| version.bytes.windows(8).any(|bytes| bytes == token))
}

/// One device is never in conflict with itself, and no name says twice that it is a copy.
pub(crate) fn conflict_names<'a>(
    paths: impl Iterator<Item = &'a Vec<u8>>,
    alone: bool,
) -> Result<(), String> {
    for path in paths {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let tags = name.windows(10).filter(|window| window == b" (conflict").count();
        if tags > 1 || tags > 0 && alone {
            return Err(format!(
                "a conflict of {}: {}",
                if alone { "one device" } else { "a conflict" },
                path.escape_ascii()
            ));
        }
    }
    Ok(())
}

/// Bounds: local bytes stay within the quota, except what is not sent yet or pinned.
pub(crate) fn bounded(device: &Device, quota: u64) -> Result<(), String> {
    if device.drive.nodes().any(|(row, _)| row.pinned) {
        return Ok(()); // pinned bytes may exceed it
    }
    let mut clean = 0;
    let mut kept = 0;
    for (row, content) in device.drive.nodes() {
        let Some(content) = content else { continue };
        let bytes = content.valid.bytes().div_ceil(4096) * 4096;
        if content.dirty.is_empty() && !row.pending.has(Pending::CONTENT) {
            clean += bytes;
        } else {
            kept += bytes + content.dirty.bytes().div_ceil(4096) * 4096;
        }
    }
    if clean > quota.max(kept) && clean > quota {
        return Err(format!("device {}: {clean} clean bytes cached, quota {quota}", device.number));
    }
    Ok(())
}
