//! Hard links. A node has one place of its own; each further name is a node of kind `Link` that
//! names its target by identity. So places, moves, trash and merges keep their single-parent rules.
//!
//! When a node's own name goes while links remain, it takes over the place of one of them, which
//! goes instead: programs see just the removed name disappear.

use crate::drive::Drive;
use crate::faults::{Halt, Need, Step, Wake};
use crate::jobs::Work;
use crate::merge::origin_of;
use crate::remote::link_target;
use crate::tree::Inode;
use crate::{
    Change, FsError, Ino, Kind, Loaded, Local, NodeId, NodeRow, Pending, RemoteNode, Stale,
};
use alloc::{boxed::Box, collections::BTreeMap, collections::BTreeSet, vec::Vec};

impl NodeRow {
    /// The node that a hard link names; `None` for every other kind.
    #[must_use]
    pub fn link_target(&self) -> Option<NodeId> {
        link_target(self.kind, &self.attrs)
    }
}

/// A link as the index has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    target: NodeId,
    id: NodeId,
    /// It has a place here. Otherwise its removal is still to be sent.
    shown: bool,
}

/// Every link of the drive by its target, also those whose rows are not in memory.
#[derive(Debug, Default)]
pub(crate) struct Links {
    by_link: BTreeMap<Ino, Entry>,
    by_target: BTreeMap<NodeId, BTreeSet<Ino>>,
    /// Targets that are not in the replica although all of the drive is known.
    absent: BTreeSet<NodeId>,
    /// Targets whose number of names changed: what the kernel knows of them is stale.
    changed: BTreeSet<NodeId>,
}

impl Links {
    /// Enters a row as it is now. Returns the targets whose number of names may have changed.
    pub(crate) fn enter(&mut self, row: &NodeRow) -> [Option<NodeId>; 2] {
        let Some(target) = row.link_target() else { return [None, None] };
        let shown = row.parent != Ino::NONE && !row.gone;
        let leaving = row.pending.has(Pending::TRASH);
        if !shown && !leaving {
            return [self.leave(row.ino), None];
        }
        let entry = Entry { target, id: row.id, shown };
        let before = self.by_link.insert(row.ino, entry);
        if before == Some(entry) {
            return [None, None];
        }
        let old = before.map(|before| self.detach(row.ino, before));
        self.by_target.entry(target).or_default().insert(row.ino);
        self.changed.insert(target);
        [old, Some(target)]
    }

    /// The row is no more.
    pub(crate) fn leave(&mut self, ino: Ino) -> Option<NodeId> {
        let entry = self.by_link.remove(&ino)?;
        Some(self.detach(ino, entry))
    }

    fn detach(&mut self, ino: Ino, entry: Entry) -> NodeId {
        if let Some(links) = self.by_target.get_mut(&entry.target) {
            links.remove(&ino);
            if links.is_empty() {
                self.by_target.remove(&entry.target);
            }
        }
        self.changed.insert(entry.target);
        entry.target
    }

    fn of(&self, target: NodeId, shown: bool) -> impl Iterator<Item = (Ino, NodeId)> {
        let links = self.by_target.get(&target).into_iter().flatten();
        links
            .filter_map(|ino| self.by_link.get(ino).map(|entry| (*ino, entry)))
            .filter(move |(_, entry)| entry.shown == shown)
            .map(|(ino, entry)| (ino, entry.id))
    }

    /// The names that a node has beside its own.
    pub(crate) fn shown(&self, target: NodeId) -> impl Iterator<Item = (Ino, NodeId)> {
        self.of(target, true)
    }

    /// Removed names of a node whose removal is still to be sent.
    pub(crate) fn leaving(&self, target: NodeId) -> impl Iterator<Item = (Ino, NodeId)> {
        self.of(target, false)
    }

    /// Whether anything names the node beside its own name, or has until what is still to be sent.
    pub(crate) fn has(&self, target: NodeId) -> bool {
        self.by_target.contains_key(&target)
    }

    pub(crate) fn count(&self, target: NodeId) -> u32 {
        u32::try_from(self.shown(target).count()).unwrap_or(u32::MAX)
    }

    /// The target is in memory: whoever missed it need not any more.
    pub(crate) fn arrived(&mut self, target: NodeId) {
        self.absent.remove(&target);
    }

    /// Whether the node is nowhere, although all of the drive is known.
    pub(crate) fn is_absent(&self, target: NodeId) -> bool {
        self.absent.contains(&target)
    }

    pub(crate) fn take_changed(&mut self) -> BTreeSet<NodeId> {
        core::mem::take(&mut self.changed)
    }
}

impl Drive {
    /// The node that an entry shows: of a link, its target. A link whose target is nowhere shows
    /// itself, so that it can be seen and removed.
    pub(crate) fn shown<'a>(&'a self, entry: &'a Inode) -> Step<&'a Inode> {
        let Some(target) = entry.row.link_target() else { return Ok(entry) };
        match self.tree.by_id(target) {
            Some(found) if found.row.gone || found.is_dir() || found.row.kind == Kind::Link => {
                Ok(entry)
            }
            Some(found) => Ok(found),
            None if self.tree.links.absent.contains(&target) => Ok(entry),
            None => Err(Halt::Fault(Need::Target(target))),
        }
    }

    /// Loads the targets of links that are not in memory.
    pub(crate) fn load_targets(&mut self, targets: Vec<NodeId>) {
        self.tree.begin_load(None);
        self.local(Work::LoadTargets(targets.clone()), Local::LoadIds(targets));
    }

    /// The targets of a directory's links that are not in memory.
    pub(crate) fn missing_targets(&self, dir: Ino) -> Vec<NodeId> {
        let children = self.tree.get(dir).into_iter().flat_map(|dir| dir.children.values());
        let targets = children.filter_map(|ino| self.tree.get(*ino)?.row.link_target());
        targets.filter(|id| self.lacks_target(*id)).collect()
    }

    fn lacks_target(&self, id: NodeId) -> bool {
        self.tree.by_id(id).is_none() && !self.tree.links.absent.contains(&id)
    }

    pub(crate) fn targets_loaded(
        &mut self,
        targets: &[NodeId],
        rows: Result<Vec<Loaded>, FsError>,
    ) {
        let result = rows.map(|rows| self.adopt_rows(rows));
        self.tree.end_load(None, false);
        for id in targets {
            let ino = self.tree.by_id(*id).map(|inode| inode.row.ino);
            let known = ino.is_some();
            if let Some(ino) = ino.filter(|ino| self.tree.is_pinned(*ino)) {
                self.pins.walk(ino);
            }
            if !known && self.inbox.complete && result.is_ok() {
                self.tree.links.absent.insert(*id);
            }
            match result {
                Ok(()) if known || self.inbox.complete => self.wake(Wake::Target(*id)),
                Ok(()) => {} // the rest of the tree is on its way
                Err(error) => self.fail_waiting(Wake::Target(*id), error),
            }
        }
    }

    /// Another name of a node, in memory.
    pub(crate) fn other_name(&self, ino: Ino) -> Step<Option<Ino>> {
        let id = self.node(ino)?.row.id;
        let Some((link, _)) = self.tree.links.shown(id).next() else { return Ok(None) };
        self.node(link)?;
        Ok(Some(link))
    }

    /// Takes one name away: a link, or a node's own place, which another of its names then becomes.
    pub(crate) fn remove_name(&mut self, ino: Ino) -> Step<()> {
        if let Some(target) = self.node(ino)?.row.link_target() {
            self.remove(ino);
            self.touch_target(target);
            return Ok(());
        }
        match self.other_name(ino)? {
            Some(link) => self.inherit_place(ino, link),
            None => self.remove(ino),
        }
        Ok(())
    }

    /// The node moves to where one of its links is; the link goes.
    fn inherit_place(&mut self, ino: Ino, link: Ino) {
        let Some(row) = self.tree.get(link).map(|link| link.row.clone()) else { return };
        self.remove(link);
        self.place(ino, row.parent, &row.name);
    }

    /// The number of a node's names changed: its ctime moves. That alone is not sent.
    pub(crate) fn touch_target(&mut self, target: NodeId) {
        let Some(inode) = self.tree.by_id(target) else { return };
        let mut row = inode.row.clone();
        row.attrs.ctime = self.wall();
        self.commit(Change::PutNode(Box::new(row)));
    }

    /// A link was placed by the feed. If its target was removed here meanwhile, the target is wanted
    /// after all, under the new name.
    pub(crate) fn link_placed(&mut self, id: NodeId) {
        let Some(link) = self.tree.by_id(id).map(|inode| inode.row.clone()) else { return };
        let target = link.link_target().and_then(|target| self.tree.by_id(target));
        let Some((mut row, here)) =
            target.map(|inode| (inode.row.clone(), inode.content.is_some()))
        else {
            return;
        };
        let removed = row.pending.has(Pending::TRASH) && !row.gone && row.parent == Ino::NONE;
        if !removed || link.parent == Ino::NONE || self.uploads.is_sending(row.ino) {
            return;
        }
        self.remove(link.ino);
        row.pending = row.pending.without(Pending::TRASH);
        if here {
            // Programs may have gone on with the removed file: that was not marked.
            row.pending = row.pending.with(Pending::CONTENT);
        }
        row.parent = link.parent;
        row.name = link.name;
        self.put_remaining(row);
    }

    /// The cloud moved a node to its trash that has another name here: it comes back under that one.
    /// Says whether it did.
    pub(crate) fn outlive_trash(&mut self, row: &NodeRow, remote: &RemoteNode) -> bool {
        let link = self.tree.links.shown(row.id).find_map(|(link, _)| self.tree.get(link));
        let Some(link) = link.map(|link| link.row.clone()) else { return false };
        if row.parent != Ino::NONE {
            self.invalidate(Stale::Entry { parent: row.parent, name: row.name.clone() });
            self.invalidate(Stale::Attrs(row.parent));
        }
        self.remove(link.ino);
        let mut row = row.clone();
        row.meta_rev = remote.meta_rev;
        row.content_rev = row.content_rev.max(remote.content_rev);
        row.origin = Some(Box::new(origin_of(remote)));
        let facets = Pending::PLACE.with(Pending::ATTRS).with(Pending::TRASH);
        row.pending = row.pending.without(facets).with(Pending::RESTORE);
        row.parent = link.parent;
        row.name = link.name;
        self.put(row);
        true
    }

    /// The names of a node show another inode now.
    pub(crate) fn invalidate_links(&mut self, id: NodeId) {
        let links = self.tree.links.shown(id).filter_map(|(link, _)| self.tree.get(link));
        let places: Vec<_> = links.map(|link| (link.row.parent, link.row.name.clone())).collect();
        for (parent, name) in places {
            self.invalidate(Stale::Entry { parent, name });
        }
    }

    /// What the kernel knows of nodes that got or lost a name is stale.
    pub(crate) fn invalidate_targets(&mut self) {
        for id in self.tree.links.take_changed() {
            if let Some(ino) = self.tree.by_id(id).map(|inode| inode.row.ino) {
                self.invalidate(Stale::Attrs(ino));
            }
        }
    }
}
