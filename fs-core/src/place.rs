//! Finding a node's place in the tree that is shown: parents that were removed here come back, a name
//! that something local has taken is vacated, a cycle is broken, and what cannot be shown yet waits
//! in limbo until the feed has caught up.

use crate::drive::Drive;
use crate::merge::Rest;
use crate::{Change, Ino, Name, NodeId, NodeRow, Pending, Stale};
use alloc::{boxed::Box, format, string::String, vec::Vec};

impl Drive {
    /// Puts `row` where the cloud has it: `(parent, name)`.
    pub(crate) fn settle_place(&mut self, row: NodeRow, to: (NodeId, &Name), rest: &Rest<'_>) {
        let (old_parent, old_name) = (row.parent, row.name.clone());
        let target = self.living(to.0).filter(|dir| self.vacate(&row, *dir, to.1, rest));
        if old_parent != Ino::NONE {
            self.invalidate(Stale::Entry { parent: old_parent, name: old_name });
            self.invalidate(Stale::Attrs(old_parent));
        }
        self.invalidate(Stale::Attrs(row.ino));
        let mut row = row;
        match target {
            Some(dir) => {
                row.parent = dir;
                row.name = to.1.clone();
                self.invalidate(Stale::Entry { parent: dir, name: to.1.clone() });
                self.invalidate(Stale::Attrs(dir));
                let ino = row.ino;
                self.put_remaining(row);
                self.reconsider(ino);
                if self.tree.get(ino).is_some() && self.tree.is_pinned(ino) {
                    self.pins.walk(ino);
                }
                self.recall(ino, rest);
            }
            None => self.send_to_limbo(row),
        }
    }

    /// A directory has its place: what waited for it in limbo comes to light.
    pub(crate) fn recall(&mut self, dir: Ino, rest: &Rest<'_>) {
        let Some(id) = self.tree.get(dir).filter(|inode| inode.is_dir()).map(|inode| inode.row.id)
        else {
            return;
        };
        for ino in self.tree.homed_in(id) {
            let Some(row) = self.tree.get(ino).map(|inode| inode.row.clone()) else { continue };
            // What is still to be merged places itself, unless it is older than what is known.
            let older = rest.get(&row.id).is_none_or(|remote| remote.meta_rev < row.meta_rev);
            let waits = crate::merge::is_limbo(&row) && older;
            if let Some(origin) = row.origin.clone().filter(|_| waits) {
                self.settle_place(row, (id, &origin.name), rest);
            }
        }
    }

    /// Takes a node out of sight until the feed says where it belongs.
    fn send_to_limbo(&mut self, mut row: NodeRow) {
        row.parent = Ino::NONE;
        row.pending = row.pending.without(Pending::PLACE.with(Pending::ATTRS));
        let ino = row.ino;
        let pending = !row.pending.is_none();
        self.commit(Change::PutNode(Box::new(row)));
        if !pending {
            self.settled(ino);
        }
    }

    /// The directory with that identity, brought back if it was removed here only.
    pub(crate) fn living(&mut self, id: NodeId) -> Option<Ino> {
        let row = self.tree.by_id(id)?.row.clone();
        let shown = row.parent != Ino::NONE || row.ino == Ino::ROOT;
        if row.gone || row.kind != crate::Kind::Dir {
            return None;
        }
        if shown {
            return Some(row.ino);
        }
        if !row.pending.has(Pending::TRASH) {
            return None; // itself in limbo
        }
        let origin = row.origin.clone()?;
        let parent = self.living(origin.parent)?;
        // Its old name may be taken for good by now: then it comes back beside it.
        let free = self.vacate(&row, parent, &origin.name, &Rest::new());
        let beside =
            if free { origin.name.clone() } else { self.conflict_name(parent, &origin.name) };
        if self.tree.is_below(parent, row.ino) {
            return None;
        }
        let mut revived = row;
        revived.pending = revived.pending.without(Pending::TRASH);
        revived.parent = parent;
        revived.name = beside;
        let ino = revived.ino;
        self.invalidate(Stale::Entry { parent, name: revived.name.clone() });
        self.invalidate(Stale::Attrs(parent));
        self.put_remaining(revived);
        Some(ino)
    }

    /// Makes `(dir, name)` free for `row`. False: it must wait in limbo.
    fn vacate(&mut self, row: &NodeRow, dir: Ino, name: &Name, rest: &Rest<'_>) -> bool {
        if !self.break_cycle(row.ino, dir) {
            return false;
        }
        let Some(other) = self.tree.child(dir, name).map(|inode| inode.row.clone()) else {
            return true;
        };
        if other.ino == row.ino {
            return true;
        }
        let newer = rest.get(&other.id).is_some_and(|remote| remote.meta_rev > other.meta_rev);
        let ours = Pending::CREATE.with(Pending::PLACE).with(Pending::RESTORE);
        if other.pending.has(ours) {
            self.yield_name(other, row);
            return true;
        }
        if newer || other.meta_rev <= row.meta_rev {
            // It leaves this name in the same commit, or has left it in one that is still to come.
            let mut lifted = other;
            if lifted.origin.is_none() {
                let parent = self.tree.get(dir).map_or(NodeId::ROOT, |dir| dir.row.id);
                let attrs = lifted.attrs.clone();
                lifted.origin = Some(Box::new(crate::Origin { parent, name: name.clone(), attrs }));
            }
            self.send_to_limbo(lifted);
            return true;
        }
        false // the other one is there by a later commit of our own: this one moves on before it
    }

    /// A local newcomer makes way for what the cloud has under its name: two directories become one,
    /// anything else gets a conflict name.
    fn yield_name(&mut self, local: NodeRow, remote: &NodeRow) {
        let both_dirs = local.kind == crate::Kind::Dir && remote.kind == crate::Kind::Dir;
        if both_dirs && local.pending.has(Pending::CREATE) && remote.parent == Ino::NONE {
            self.unite(local, remote);
            return;
        }
        let name = self.conflict_name(local.parent, &local.name);
        let shown = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let path = String::from_utf8_lossy(&self.tree.path(local.ino)).into_owned();
        self.note(format!("{path}: made here and elsewhere; this device's is kept as \"{shown}\""));
        self.invalidate(Stale::Entry { parent: local.parent, name: local.name.clone() });
        self.invalidate(Stale::Attrs(local.parent));
        self.set_aside(local.ino, local.parent, &name, remote);
    }

    /// The cloud's directory takes the place of ours: ours takes over its identity, and keeps its
    /// inode and its children.
    fn unite(&mut self, local: NodeRow, remote: &NodeRow) {
        let mut row = local;
        let displaced = remote.ino;
        row.pending = Pending::NONE;
        row.id = self.random.node_id(self.now);
        let children: Vec<(Ino, Name)> = self
            .tree
            .get(row.ino)
            .map(|dir| dir.children.iter().map(|(name, ino)| (*ino, name.clone())).collect())
            .unwrap_or_default();
        // The remote directory is not in the tree yet: enter it first, without a place.
        let mut entering = remote.clone();
        entering.parent = Ino::NONE;
        entering.listed = false;
        self.commit(Change::PutNode(Box::new(entering)));
        for (child, name) in children {
            let taken = self.tree.child(displaced, &name).is_some();
            let name = if taken { self.conflict_name(displaced, &name) } else { name };
            self.place(child, displaced, &name);
        }
        self.invalidate(Stale::Entry { parent: row.parent, name: row.name.clone() });
        let ino = row.ino;
        self.settled(ino);
        row.parent = Ino::NONE;
        row.name = Name::none();
        self.commit(Change::PutNode(Box::new(row)));
        self.reap(ino);
    }

    /// If `dir` lies below `ino`, a local move is to blame: undo those on the way. False: it cannot
    /// be undone now.
    fn break_cycle(&mut self, ino: Ino, dir: Ino) -> bool {
        while self.tree.is_below(dir, ino) {
            let Some(culprit) = self.moved_between(dir, ino) else { return false };
            let Some(row) = self.tree.get(culprit).map(|inode| inode.row.clone()) else {
                return false;
            };
            let Some(origin) = row.origin.clone() else { return false };
            let path = String::from_utf8_lossy(&self.tree.path(culprit)).into_owned();
            self.note(format!(
                "{path}: moved back, another device moved a folder above it into it"
            ));
            self.invalidate(Stale::Entry { parent: row.parent, name: row.name.clone() });
            let home = self.tree.by_id(origin.parent).map(|dir| dir.row.ino);
            let free = home.filter(|home| {
                self.tree.child(*home, &origin.name).is_none()
                    && !self.tree.is_below(*home, culprit)
                    && self.tree.is_below(*home, Ino::ROOT)
            });
            let (parent, name) = match free {
                Some(home) => (home, origin.name.clone()),
                None => (Ino::ROOT, self.conflict_name(Ino::ROOT, &origin.name)),
            };
            self.invalidate(Stale::Entry { parent, name: name.clone() });
            self.place(culprit, parent, &name);
        }
        true
    }

    /// The first node on the way from `from` up to below `top` that was moved here.
    fn moved_between(&self, from: Ino, top: Ino) -> Option<Ino> {
        let mut at = from;
        while at != top && at != Ino::ROOT {
            let row = &self.tree.get(at)?.row;
            if row.pending.has(Pending::PLACE.with(Pending::RESTORE)) && row.origin.is_some() {
                return Some(at);
            }
            at = row.parent;
        }
        None
    }
}
