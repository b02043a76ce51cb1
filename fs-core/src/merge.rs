//! Rebasing what is pending here onto what the cloud has. Total: every combination of remote and
//! local changes has a result, and none loses bytes (`design`: the conflict matrix).

use crate::drive::Drive;
use crate::jobs::Work;
use crate::outcome::same_attrs;
use crate::{
    Attrs, Change, Ino, Kind, Local, Name, NodeId, NodeRow, Origin, Pending, Range, RemoteCommit,
    RemoteNode, Rev, Stale, Timestamp,
};
use alloc::{boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};

/// What of a commit is still to be merged, by node.
pub(crate) type Rest<'a> = BTreeMap<NodeId, &'a RemoteNode>;

impl Drive {
    pub(crate) fn merge_commit(&mut self, commit: &RemoteCommit) {
        self.merge_all(&commit.nodes);
    }

    pub(crate) fn merge_listing(&mut self, nodes: &[RemoteNode]) {
        self.merge_all(nodes);
    }

    fn merge_all(&mut self, nodes: &[RemoteNode]) {
        let mut rest: Rest<'_> = nodes.iter().map(|node| (node.id, node)).collect();
        for node in nodes {
            self.merge_node(node.id, &mut rest);
        }
    }

    /// Merges one node, after those of the same commit that it depends on.
    fn merge_node(&mut self, id: NodeId, rest: &mut Rest<'_>) {
        let Some(remote) = rest.remove(&id) else { return };
        if id == NodeId::ROOT {
            return;
        }
        if remote.live {
            self.merge_node(remote.parent, rest);
        } else if let Some(inode) = self.tree.by_id(id) {
            let children = inode.children.values();
            let children = children.filter_map(|child| Some(self.tree.get(*child)?.row.id));
            let links = self.tree.links.shown(id).map(|(_, link)| link);
            let first = children.chain(links).filter(|before| rest.contains_key(before));
            for before in first.collect::<Vec<_>>() {
                self.merge_node(before, rest);
            }
        }
        match self.tree.by_id(id).map(|inode| inode.row.clone()) {
            None => self.merge_unknown(remote, rest),
            Some(row) => self.merge_known(row, remote, rest),
        }
        if remote.kind == Kind::Link {
            self.link_placed(id);
        }
    }

    fn merge_unknown(&mut self, remote: &RemoteNode, rest: &Rest<'_>) {
        if !remote.live {
            self.inbox.bury(remote.id, remote.meta_rev);
            return;
        }
        if self.inbox.buried(remote.id).is_some_and(|rev| rev >= remote.meta_rev) {
            return;
        }
        if self.become_remote(remote) || self.become_twin(remote) {
            return;
        }
        let ino = self.new_ino();
        let row = NodeRow {
            ino,
            id: remote.id,
            parent: Ino::NONE,
            name: remote.name.clone(),
            kind: remote.kind,
            attrs: remote.attrs.clone(),
            size: remote.size,
            meta_rev: remote.meta_rev,
            content_rev: remote.content_rev,
            pending: Pending::NONE,
            origin: Some(Box::new(origin_of(remote))),
            listed: false,
            pinned: false,
            gone: false,
        };
        self.mark_fresh(&row);
        self.settle_place(row, (remote.parent, &remote.name), rest);
    }

    /// A folder made here and elsewhere under one name is one folder: ours takes the cloud's
    /// identity and keeps its inode, which programs may be working in.
    fn become_remote(&mut self, remote: &RemoteNode) -> bool {
        if remote.kind != Kind::Dir {
            return false;
        }
        let Some(parent) = self.living(remote.parent) else { return false };
        let ours = self.tree.child(parent, &remote.name).map(|inode| inode.row.clone());
        let made_here = |row: &NodeRow| row.kind == Kind::Dir && row.pending.has(Pending::CREATE);
        let Some(mut row) = ours.filter(made_here) else { return false };
        let ino = row.ino;
        row.id = remote.id;
        row.attrs = remote.attrs.clone();
        row.meta_rev = remote.meta_rev;
        row.pending = Pending::NONE;
        row.origin = None;
        row.listed = false;
        self.commit(Change::PutNode(Box::new(row)));
        self.settled(ino);
        self.invalidate(Stale::Attrs(ino));
        self.recall(ino, &Rest::new());
        true
    }

    fn merge_known(&mut self, row: NodeRow, remote: &RemoteNode, rest: &Rest<'_>) {
        let ino = row.ino;
        let limbo = is_limbo(&row);
        let meta_newer = remote.meta_rev > row.meta_rev || limbo && remote.meta_rev == row.meta_rev;
        let content_newer = remote.content_rev > row.content_rev;
        if row.gone {
            if remote.live && remote.meta_rev > row.meta_rev {
                self.drop_node(ino);
                self.merge_unknown(remote, rest);
            }
            return;
        }
        if meta_newer && !remote.live {
            self.merge_trashed(row, remote);
            return;
        }
        // The content may be forked off to another inode: look the node up again.
        if content_newer {
            self.merge_content(row, remote);
        }
        let Some(row) = self.tree.by_id(remote.id).map(|inode| inode.row.clone()) else { return };
        if meta_newer {
            self.merge_meta(row, remote, content_newer, rest);
        } else if content_newer && row.pending.has(Pending::TRASH) {
            // Edited elsewhere, removed here: it comes back to the newest place that is known.
            let mut known = remote.clone();
            known.meta_rev = row.meta_rev;
            if let Some(origin) = &row.origin {
                known.parent = origin.parent;
                known.name = origin.name.clone();
                known.attrs = origin.attrs.clone();
                known.attrs.mtime = remote.attrs.mtime;
            }
            self.merge_meta(row, &known, content_newer, rest);
        }
    }

    fn merge_meta(
        &mut self,
        mut row: NodeRow,
        remote: &RemoteNode,
        content_newer: bool,
        rest: &Rest<'_>,
    ) {
        let old = row.origin.take().map_or_else(|| self.place_as_origin(&row), |origin| *origin);
        let here = self.tree.get(row.parent).map(|dir| dir.row.id);
        let stayed = remote.parent == old.parent && remote.name == old.name;
        row.meta_rev = row.meta_rev.max(remote.meta_rev);
        row.attrs = merge_attrs(&old.attrs, &row, &remote.attrs);
        row.origin = Some(Box::new(origin_of(remote)));
        if row.pending.has(Pending::TRASH) {
            // Renamed in its folder is no reason to keep what was removed here.
            if remote.parent == old.parent && !content_newer {
                self.commit(Change::PutNode(Box::new(row))); // still to be removed, from a newer base
                return;
            }
            row.pending = row.pending.without(Pending::TRASH);
            if self
                .tree
                .get(row.ino)
                .is_some_and(|inode| inode.content.is_some() || inode.opens > 0)
            {
                // Programs may have gone on with the removed file: what comes back is the cloud's.
                self.disown(row);
                self.merge_unknown(remote, rest);
                return;
            }
        }
        let keeps_place = row.pending.has(Pending::PLACE.with(Pending::RESTORE))
            && (stayed || row.pending.has(Pending::RESTORE) && here != Some(old.parent))
            && row.parent != Ino::NONE;
        let moved = row.pending.has(Pending::PLACE) && row.parent != Ino::NONE;
        let is_there = here == Some(remote.parent) && row.name == remote.name;
        row.pending = row.pending.without(Pending::RESTORE);
        if moved && !stayed && !keeps_place && !is_there {
            let path = String::from_utf8_lossy(&self.tree.path(row.ino)).into_owned();
            let name = String::from_utf8_lossy(remote.name.as_bytes()).into_owned();
            self.note(format!(
                "{path}: moved elsewhere too, where it is called \"{name}\": that holds"
            ));
        }
        if keeps_place {
            self.invalidate(Stale::Attrs(row.ino));
            self.put_remaining(row);
        } else {
            self.settle_place(row, (remote.parent, &remote.name), rest);
        }
    }

    /// The cloud moved the node to its trash.
    pub(crate) fn merge_trashed(&mut self, mut row: NodeRow, remote: &RemoteNode) {
        self.inbox.bury(remote.id, remote.meta_rev);
        if self.outlive_trash(&row, remote) {
            return;
        }
        let ino = row.ino;
        let here = self.tree.get(row.parent).map(|dir| dir.row.id);
        let moved_away = row.pending.has(Pending::PLACE)
            && row.origin.as_ref().is_some_and(|origin| Some(origin.parent) != here);
        let inhabited = self.tree.get(ino).is_some_and(|inode| !inode.children.is_empty());
        let removed = row.pending.has(Pending::TRASH);
        let unseen = self.passthrough.is_blind(ino);
        let changed = row.pending.has(Pending::CONTENT) || unseen || moved_away || inhabited;
        let wanted = changed && !removed;
        row.meta_rev = remote.meta_rev;
        row.content_rev = row.content_rev.max(remote.content_rev);
        if wanted && row.parent == Ino::NONE {
            // It was lifted out of the way of what has its name now: it needs another place.
            let home = self.living(remote.parent).unwrap_or(Ino::ROOT);
            row.parent = home;
            row.name = remote.name.clone();
            if self.tree.child(home, &row.name).is_some() || self.tree.is_below(home, ino) {
                row.name = self.conflict_name(home, &row.name);
            }
            self.invalidate(Stale::Entry { parent: home, name: row.name.clone() });
        }
        if wanted {
            row.origin = Some(Box::new(origin_of(remote)));
            row.pending = row.pending.without(Pending::PLACE.with(Pending::ATTRS));
            row.pending = row.pending.with(Pending::RESTORE);
            let path = String::from_utf8_lossy(&self.tree.path(ino)).into_owned();
            self.note(format!("{path}: removed elsewhere, kept because it was changed here"));
            self.put(row);
            return;
        }
        if row.parent != Ino::NONE {
            self.invalidate(Stale::Entry { parent: row.parent, name: row.name.clone() });
            self.invalidate(Stale::Attrs(row.parent));
            self.invalidate(Stale::Attrs(ino)); // open handles see that it has no link any more
        }
        row.parent = Ino::NONE;
        row.name = Name::none();
        row.pending = Pending::NONE;
        row.origin = None;
        row.gone = true;
        row.pinned = false;
        self.commit(Change::PutNode(Box::new(row)));
        self.settled(ino);
        self.reap_removed(ino);
    }

    /// A node that the feed removed: only open handles keep it.
    fn reap_removed(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        if inode.haunted {
            self.invalidate(crate::Stale::Attrs(ino)); // whether the kernel still has it
        } else if inode.opens == 0 && inode.busy.is_empty() {
            self.drop_node(ino);
        }
    }

    /// The cloud has newer content.
    fn merge_content(&mut self, row: NodeRow, remote: &RemoteNode) {
        let ino = row.ino;
        let placed = row.parent != Ino::NONE;
        let open = self.tree.get(ino).is_some_and(|inode| inode.opens > 0);
        // One that may have been written unseen counts as changed here.
        let changed = row.pending.has(Pending::CONTENT) || self.passthrough.is_blind(ino) && placed;
        if changed && !row.pending.has(Pending::TRASH) {
            if self.is_twin(row.ino, remote) {
                self.agree(row, remote);
            } else {
                self.fork(row, remote);
            }
        } else if open && placed {
            self.supersede(row, remote);
        } else {
            self.replace_content(row, remote);
        }
    }

    fn replace_content(&mut self, mut row: NodeRow, remote: &RemoteNode) {
        let ino = row.ino;
        row.content_rev = remote.content_rev;
        row.size = remote.size;
        row.attrs.mtime = remote.attrs.mtime;
        row.attrs.ctime = row.attrs.ctime.max(self.wall());
        row.pending = row.pending.without(Pending::CONTENT);
        let had_content = self.tree.get(ino).is_some_and(|inode| inode.content.is_some());
        if let Some(origin) = &mut row.origin {
            origin.attrs.mtime = remote.attrs.mtime;
        }
        self.commit(Change::PutNode(Box::new(row)));
        if had_content {
            self.backing_gone(ino);
            self.passthrough.forget(ino);
            self.commit(Change::DropContent(ino));
            let whole = Range::new(0, u64::MAX);
            if let Some(inode) = self.tree.get_mut(ino) {
                inode.begin(whole, true);
            }
            let after = self.latest();
            self.local(Work::Drop { ino, range: whole }, Local::Evict { ino, after });
        }
        self.hydration.forget(ino);
        self.invalidate(Stale::Data(ino));
        if self.tree.is_pinned(ino) {
            self.pins.walk(ino);
        }
    }

    /// Both sides changed the content: the cloud's keeps name and identity, ours becomes a copy
    /// beside it. The inode (with its bytes and open handles) goes with ours.
    fn fork(&mut self, row: NodeRow, remote: &RemoteNode) {
        let mut copy = row.clone();
        copy.id = self.random.node_id(self.now);
        if copy.parent == Ino::NONE {
            // In limbo: lifted out of the way of another node of the same commit.
            let origin = row.origin.as_ref().map_or(NodeId::ROOT, |origin| origin.parent);
            copy.parent = self.living(origin).unwrap_or(Ino::ROOT);
        }
        copy.name = self.conflict_name(copy.parent, &row.name);
        self.mark(&mut copy, row.id, (row.content_rev, remote.content_rev));
        copy.pending = Pending::CREATE.with(Pending::CONTENT);
        copy.origin = None;
        copy.meta_rev = Rev(0);
        copy.content_rev = Rev(0);
        let path = String::from_utf8_lossy(row.name.as_bytes()).into_owned();
        let kept = String::from_utf8_lossy(copy.name.as_bytes()).into_owned();
        self.note(format!(
            "{path}: changed here and elsewhere; this device's version is kept as \"{kept}\""
        ));
        self.renewed(row.ino);
        self.put(copy);
        self.succeed(row, remote);
    }

    /// Somebody reads the old version here: the path gets a new inode with the new version, the old
    /// one stays with its handles.
    fn supersede(&mut self, row: NodeRow, remote: &RemoteNode) {
        self.disown(row.clone());
        let heir = self.succeed(row.clone(), remote);
        if let Some(inode) = self.tree.get_mut(row.ino) {
            inode.superseded = Some(heir);
        }
    }

    /// Leaves an inode to its open handles, without identity or place.
    fn disown(&mut self, row: NodeRow) {
        let ino = row.ino;
        self.ensure_content(ino);
        let mut orphan = row;
        orphan.id = self.random.node_id(self.now);
        orphan.parent = Ino::NONE;
        orphan.name = Name::none();
        orphan.pending = Pending::NONE;
        orphan.origin = None;
        orphan.pinned = false;
        self.commit(Change::PutNode(Box::new(orphan)));
        self.settled(ino);
        self.reap(ino);
    }

    /// A new inode takes over the identity of `row`, with the cloud's content.
    fn succeed(&mut self, row: NodeRow, remote: &RemoteNode) -> Ino {
        self.succeed_with(row, (remote.content_rev, remote.size, remote.attrs.mtime))
    }

    pub(crate) fn succeed_with(
        &mut self,
        row: NodeRow,
        (rev, size, mtime): (Rev, u64, Timestamp),
    ) -> Ino {
        let (parent, name) = (row.parent, row.name.clone());
        let mut heir = row;
        heir.ino = self.new_ino();
        heir.content_rev = rev;
        heir.size = size;
        heir.attrs.mtime = mtime;
        heir.pending = heir.pending.without(Pending::CONTENT);
        if let Some(origin) = &mut heir.origin {
            origin.attrs.mtime = mtime;
        }
        let ino = heir.ino;
        let id = heir.id;
        self.put(heir);
        self.invalidate_links(id);
        self.invalidate(Stale::Entry { parent, name });
        self.invalidate(Stale::Attrs(parent));
        if self.tree.is_pinned(ino) {
            self.pins.walk(ino);
        }
        ino
    }

    /// A write through a handle of a superseded version: an edit on an old base, so a copy.
    pub(crate) fn revive_superseded(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get_mut(ino) else { return };
        let Some(heir) = inode.superseded.take() else { return };
        let mut row = inode.row.clone();
        let base = row.content_rev;
        let Some(beside) = self.tree.get(heir).map(|inode| inode.row.clone()) else { return };
        if row.parent != Ino::NONE || beside.parent == Ino::NONE {
            return;
        }
        row.parent = beside.parent;
        row.name = self.conflict_name(beside.parent, &beside.name);
        self.mark(&mut row, beside.id, (base, beside.content_rev));
        row.pending = Pending::CREATE.with(Pending::CONTENT);
        row.meta_rev = Rev(0);
        row.content_rev = Rev(0);
        let kept = String::from_utf8_lossy(row.name.as_bytes()).into_owned();
        self.note(format!("written to a version that was replaced meanwhile; kept as \"{kept}\""));
        self.invalidate(Stale::Attrs(row.parent));
        self.put(row);
    }

    /// Place and attributes of a node of which nothing is pending, as a merge ancestor.
    fn place_as_origin(&self, row: &NodeRow) -> Origin {
        let parent = self.tree.get(row.parent).map_or(NodeId::ROOT, |dir| dir.row.id);
        Origin { parent, name: row.name.clone(), attrs: row.attrs.clone() }
    }
}

pub(crate) fn origin_of(remote: &RemoteNode) -> Origin {
    Origin { parent: remote.parent, name: remote.name.clone(), attrs: remote.attrs.clone() }
}

/// Known, but its place in the cloud is not one that can be shown yet.
pub(crate) fn is_limbo(row: &NodeRow) -> bool {
    row.parent == Ino::NONE && row.pending.is_none() && row.origin.is_some() && !row.gone
}

/// Field by field: the cloud's, unless only we changed it.
fn merge_attrs(base: &Attrs, row: &NodeRow, theirs: &Attrs) -> Attrs {
    let mut merged = theirs.clone();
    let ours = &row.attrs;
    if row.pending.has(Pending::CONTENT) {
        merged.mtime = ours.mtime;
    }
    if !row.pending.has(Pending::ATTRS) || same_attrs(ours, base, row.pending) {
        return merged;
    }
    if ours.mode != base.mode && theirs.mode == base.mode {
        merged.mode = ours.mode;
    }
    if (ours.uid, ours.gid) != (base.uid, base.gid)
        && (theirs.uid, theirs.gid) == (base.uid, base.gid)
    {
        (merged.uid, merged.gid) = (ours.uid, ours.gid);
    }
    if ours.mtime != base.mtime && theirs.mtime == base.mtime {
        merged.mtime = ours.mtime;
    }
    if ours.xattrs != base.xattrs && theirs.xattrs == base.xattrs {
        merged.xattrs = ours.xattrs.clone();
    }
    if ours.target != base.target && theirs.target == base.target {
        merged.target = ours.target.clone();
    }
    merged
}
