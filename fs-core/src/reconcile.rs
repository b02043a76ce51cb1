//! Coming into step with a store by its whole tree instead of its log: after the log has forgotten
//! where this device is, when the log is longer than the tree, and when the store was restored from a
//! backup and lacks what this device knows ([ADR 23](../../docs/adr/0023-a-restored-store-is-told-what-it-lacks.md)).
//!
//! The snapshot is merged page by page as news is, then every node here that was in none of them is
//! looked at. Nothing is sent and no position is kept meanwhile: after a crash it begins anew.

use crate::drive::Drive;
use crate::jobs::Work;
use crate::merge::{is_limbo, origin_of};
use crate::{
    Change, Cloud, ContentRow, DriveInfo, FsError, Ino, Kind, Name, NodeId, NodeRow, Pending,
    Range, Ranges, RemoteNode, Rev, Ticket,
};
use alloc::{
    boxed::Box,
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Nodes looked at in one call.
const LOOKS: usize = 4_096;
/// Operations behind from which on the tree may be shorter than the log.
const LONG_LOG: u64 = 100_000;
/// Stands for a lost version that bytes are missing of. No store ever gives it, while the rev that it had
/// comes to stand for another version in the restored one.
const NOWHERE: Rev = Rev(i64::MAX as u64);
const LOST: &str = "the store lost it when it was restored from a backup, and not all of its bytes are \
    here: another device that has them sends them";

/// What is known while it goes on.
#[derive(Debug)]
pub(crate) struct Reconcile {
    /// Up to this rev the store is the one that was known. `Rev(u64::MAX)`: it is that one.
    common: Rev,
    /// What the position will be at the end.
    epoch: u64,
    head: Rev,
    /// Nodes that the pages had.
    seen: BTreeSet<NodeId>,
    /// Folders that are new here: their children may still be to come.
    fresh: BTreeSet<Ino>,
    /// Folders still to be looked at, the deepest last, each before and after what is in it. `None`
    /// while pages come.
    walk: Option<Vec<(Ino, bool)>>,
    loading: Option<Ino>,
    /// Nodes without a place that the walk has taken up.
    placeless: BTreeSet<Ino>,
    /// Who waits until everything below a folder is in the store: what that is comes out at the end.
    waiting: Vec<(Ticket, Ino)>,
    resent: u64,
    lost: u64,
    removed: u64,
}

impl Reconcile {
    /// Only the log was too short, or too long: the store has all that it ever had.
    pub(crate) fn is_same_store(&self) -> bool {
        self.common == Rev(u64::MAX)
    }

    /// All pages have come.
    pub(crate) fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// Whether a folder's listing may still lack entries.
    pub(crate) fn is_fresh(&self, dir: Ino) -> bool {
        self.fresh.contains(&dir)
    }
}

impl Drive {
    /// The store is not in the state that was last seen.
    pub(crate) fn another_state(&mut self, info: &DriveInfo) {
        match info.common {
            // Also when all that was applied here is from before the backup: commits of this device may
            // have been accepted beyond that.
            Some(common) => {
                self.note(format!(
                    "the cloud store was moved or restored from a backup: it has this device's past up \
                     to commit {}, this device knows {}; what it lacks is sent again",
                    common.0, self.inbox.applied.0
                ));
                self.reconcile(common, (info.epoch, info.head));
            }
            None => self.freeze(
                "the cloud store is not in the state this device last saw (restored from a \
                 backup?): nothing is sent or applied; local changes stay here",
            ),
        }
    }

    /// The log does not go back far enough, or is longer than the tree.
    pub(crate) fn skip_log(&mut self, why: &str) {
        self.note(format!("{why}: the whole tree is read instead"));
        self.reconcile(Rev(u64::MAX), (self.inbox.epoch, self.inbox.head));
    }

    /// Whether the rest of the log, judged by a page of it that ends at `last`, is longer than the tree.
    pub(crate) fn is_long_log(&self, last: Rev, commits: usize, nodes: usize) -> bool {
        let behind = self.inbox.head.0.saturating_sub(last.0);
        let rest = behind.saturating_mul(nodes as u64) / (commits as u64).max(1);
        rest > LONG_LOG.max(self.brake.nodes())
    }

    fn reconcile(&mut self, common: Rev, (epoch, head): (u64, Rev)) {
        let waiting = self.inbox.reconcile.take().map(|before| before.waiting);
        self.inbox.begin_reconcile(Reconcile {
            common,
            epoch,
            head,
            seen: BTreeSet::new(),
            fresh: BTreeSet::new(),
            walk: None,
            loading: None,
            placeless: BTreeSet::new(),
            waiting: waiting.unwrap_or_default(),
            resent: 0,
            lost: 0,
            removed: 0,
        });
        if common != Rev(u64::MAX) {
            // Their preconditions speak of a past that is gone: what is pending is sent anew.
            self.drop_flights();
            for ino in self.tree.pending().clone() {
                self.leave_past(ino, common);
            }
        }
        self.take_snapshot();
    }

    /// Asks for the first page of the tree, unless pages are on their way.
    pub(crate) fn take_snapshot(&mut self) {
        if let Some(run) = self.inbox.begin_snapshot() {
            self.cloud(Work::Snapshot(run), Cloud::Snapshot { after: None });
        }
    }

    /// What is known of nodes that a page speaks of, said in the terms of the restored store. A node
    /// that was sent again by another device is met here too.
    pub(crate) fn weigh(&mut self, nodes: &[RemoteNode]) {
        for remote in nodes.iter().filter(|node| node.live) {
            if let Some(row) = self.tree.by_id(remote.id).map(|inode| inode.row.clone()) {
                if row.pending.has(Pending::CREATE) {
                    self.meet_again(row);
                    continue;
                }
                self.face(row, remote);
            }
            self.free_place(remote);
        }
    }

    /// The pages of a tree have these nodes.
    pub(crate) fn mark_seen(&mut self, nodes: &[RemoteNode]) {
        if let Some(reconcile) = &mut self.inbox.reconcile {
            reconcile.seen.extend(nodes.iter().map(|node| node.id));
        }
    }

    /// A folder came to be known; its children have not been listed.
    pub(crate) fn mark_fresh(&mut self, row: &NodeRow) {
        if let Some(reconcile) = &mut self.inbox.reconcile
            && row.kind == Kind::Dir
        {
            reconcile.fresh.insert(row.ino);
        }
    }

    /// This device is about to make a node again that the store has by now.
    fn meet_again(&mut self, mut row: NodeRow) {
        row.meta_rev = Rev(0);
        row.content_rev = Rev(0);
        row.origin = None;
        let dirty = self.has_dirty(row.ino);
        row.pending = if dirty { Pending::CONTENT } else { Pending::NONE };
        self.uploads.attention.remove(&row.ino);
        self.put(row);
    }

    /// Revs beyond the common past say nothing any more: where the store has only the common past, what
    /// is here counts as a change to it; where it has a new one, the two are merged.
    fn face(&mut self, mut row: NodeRow, remote: &RemoteNode) {
        let Some(common) = self.doubtful(remote.id) else { return };
        let ino = row.ino;
        let is_place_known = row.meta_rev <= common || row.meta_rev == Rev(0);
        let is_content_known = row.content_rev <= common;
        if is_place_known && is_content_known {
            return;
        }
        if !is_content_known {
            let store_is_older = remote.content_rev <= common;
            let mine = self.make_dirty(ino) || row.pending.has(Pending::CONTENT);
            if mine && !row.pending.has(Pending::TRASH) {
                row.pending = row.pending.with(Pending::CONTENT);
            }
            let is_edit = store_is_older && mine;
            row.content_rev = if is_edit { remote.content_rev } else { Rev(0) };
            self.count_resent(is_edit);
        }
        let shown = row.parent != Ino::NONE || row.pending.has(Pending::TRASH);
        if is_place_known {
            self.put(row);
        } else if remote.meta_rev <= common && shown && !row.gone && !is_limbo(&row) {
            row.meta_rev = remote.meta_rev;
            row.origin = Some(Box::new(origin_of(remote)));
            row.pending = row.pending.without(Pending::RESTORE);
            self.put_remaining(row);
        } else {
            row.meta_rev = Rev(0);
            self.commit(Change::PutNode(Box::new(row)));
        }
    }

    /// Whoever stands here where the store has another node, and is from the past that is gone, makes
    /// way whatever its rev.
    fn free_place(&mut self, remote: &RemoteNode) {
        let Some(dir) = self.tree.by_id(remote.parent).map(|inode| inode.row.ino) else { return };
        let Some(there) = self.tree.child(dir, &remote.name).map(|inode| inode.row.clone()) else {
            return;
        };
        let is_past = self.doubtful(there.id).is_some_and(|common| there.meta_rev > common);
        if there.id != remote.id && is_past {
            let mut row = there;
            row.meta_rev = Rev(0);
            self.commit(Change::PutNode(Box::new(row)));
        }
    }

    /// The end of the common past, if revs of this node may lie beyond it.
    fn doubtful(&self, id: NodeId) -> Option<Rev> {
        let reconcile = self.inbox.reconcile.as_ref()?;
        (!reconcile.is_same_store() && !reconcile.seen.contains(&id)).then_some(reconcile.common)
    }

    /// A pending file may be a change of a lost version, or a copy of one of another file.
    fn leave_past(&mut self, ino: Ino, common: Rev) {
        let content = self.tree.get(ino).and_then(|inode| inode.content.as_deref());
        if content.is_some_and(|content| content.base_rev > common) {
            self.make_dirty(ino);
        }
    }

    /// Whether bytes of a file are nowhere, so that it cannot be sent. What was missing may have been
    /// written anew since, or cut off.
    pub(crate) fn lacks_lost_bytes(&mut self, ino: Ino) -> bool {
        let content = self.tree.get(ino).and_then(|inode| inode.content.as_deref());
        let is_of_lost = content.is_some_and(|content| content.base_rev == NOWHERE);
        if is_of_lost && !self.make_dirty(ino) {
            self.needs_attention(ino, LOST);
            return true;
        }
        false
    }

    fn has_dirty(&self, ino: Ino) -> bool {
        let content = self.tree.get(ino).and_then(|inode| inode.content.as_deref());
        content.is_some_and(|content| !content.dirty.is_empty() || content.blind)
    }

    /// All bytes of a file are to be sent, as its version is gone from the store; false if not all of
    /// them are here: those that are not are nowhere.
    pub(crate) fn make_dirty(&mut self, ino: Ino) -> bool {
        let Some(inode) = self.tree.get(ino).filter(|inode| inode.is_file()) else { return false };
        let is_whole = inode.absent(Range::new(0, inode.row.size)).is_empty();
        let nothing = || ContentRow {
            ino,
            base_id: inode.row.id,
            base_len: inode.row.size,
            ..ContentRow::default()
        };
        let mut content = inode.content.as_deref().cloned().unwrap_or_else(nothing);
        if !is_whole {
            content.base_rev = NOWHERE;
            self.commit(Change::PutContent(Box::new(content)));
            return false;
        }
        let valid = core::mem::replace(&mut content.valid, Ranges::new());
        valid.iter().for_each(|range| content.dirty.insert(range));
        content.base_id = NodeId::default();
        content.base_rev = Rev(0);
        content.base_len = 0;
        self.commit(Change::PutContent(Box::new(content)));
        true
    }

    fn count_resent(&mut self, is_resent: bool) {
        if let Some(reconcile) = &mut self.inbox.reconcile {
            reconcile.resent += u64::from(is_resent);
        }
    }

    /// The last page was merged: what was in none of them is looked at.
    pub(crate) fn begin_walk(&mut self) {
        let Some(reconcile) = &mut self.inbox.reconcile else { return };
        reconcile.walk = Some(Vec::from([(Ino::ROOT, false)]));
    }

    /// Goes on with the look at what no page had.
    pub(crate) fn advance_reconcile(&mut self) {
        for _ in 0..LOOKS {
            let Some(reconcile) = &mut self.inbox.reconcile else { return };
            let Some(walk) = &mut reconcile.walk else { return };
            if reconcile.loading.is_some() {
                return;
            }
            match walk.pop() {
                Some((ino, after)) => self.look(ino, after),
                None if self.walk_placeless() => {}
                None => return self.finish_reconcile(),
            }
        }
        self.inbox.go_on(self.now);
    }

    fn look(&mut self, ino: Ino, after: bool) {
        let again = (ino, after);
        let Some(inode) = self.tree.get(ino) else {
            return self.look_again(again, |drive| drive.load_node(ino));
        };
        if after || !inode.is_dir() {
            return self.judge(ino);
        }
        if !inode.loaded {
            return self.look_again(again, |drive| drive.load_dir(ino));
        }
        let children: Vec<Ino> = inode.children.values().copied().collect();
        let Some(reconcile) = &mut self.inbox.reconcile else { return };
        let Some(walk) = &mut reconcile.walk else { return };
        if ino != Ino::ROOT {
            walk.push((ino, true));
        }
        walk.extend(children.into_iter().map(|child| (child, false)));
    }

    /// Comes back to a node when its rows are in memory.
    fn look_again(&mut self, again: (Ino, bool), load: impl FnOnce(&mut Drive)) {
        let Some(reconcile) = &mut self.inbox.reconcile else { return };
        reconcile.loading = Some(again.0);
        if let Some(walk) = &mut reconcile.walk {
            walk.push(again);
        }
        load(self);
    }

    /// Rows that the look may wait for have come, or cannot be read.
    pub(crate) fn reconcile_loaded(&mut self, ino: Ino, is_there: Result<(), FsError>) {
        let Some(reconcile) = &mut self.inbox.reconcile else { return };
        if reconcile.loading != Some(ino) {
            return;
        }
        reconcile.loading = None;
        let gone = self.tree.get(ino).is_none();
        match is_there {
            Err(error) if !gone => {
                self.freeze(&format!("the local index cannot be read: {error}"));
            }
            _ if gone => {
                // Removed meanwhile: nothing to look at.
                let walk = self.inbox.reconcile.as_mut().and_then(|going| going.walk.as_mut());
                walk.and_then(Vec::pop);
            }
            _ => {}
        }
    }

    /// A node here that may have been in no page.
    fn judge(&mut self, ino: Ino) {
        let Some(row) = self.tree.get(ino).map(|inode| inode.row.clone()) else { return };
        let Some(reconcile) = &self.inbox.reconcile else { return };
        let is_known = reconcile.seen.contains(&row.id);
        if is_known || row.gone || row.pending.has(Pending::CREATE) || ino == Ino::ROOT {
            return;
        }
        let (common, head) = (reconcile.common, reconcile.head);
        // A commit of this device came through after the pages were asked for: the log tells of it.
        let is_newer = row.meta_rev > head || row.content_rev > head;
        if reconcile.is_same_store() && is_newer {
            return;
        }
        let was_lost = row.meta_rev > common || row.meta_rev == Rev(0) || row.content_rev > common;
        if !was_lost && row.pending.has(Pending::RESTORE) {
            return; // known to be in the trash there, and wanted back
        }
        if was_lost && !row.pending.has(Pending::TRASH) {
            self.make_again(row);
        } else {
            self.removed_there(row);
        }
    }

    /// The store removed it, in a part of the log that was not read.
    fn removed_there(&mut self, row: NodeRow) {
        let Some(reconcile) = &mut self.inbox.reconcile else { return };
        reconcile.removed += 1;
        let head = reconcile.head;
        let parent = self.tree.get(row.parent).map_or(NodeId::ROOT, |dir| dir.row.id);
        let gone = RemoteNode {
            id: row.id,
            parent,
            name: row.name.clone(),
            kind: row.kind,
            attrs: row.attrs.clone(),
            size: row.size,
            meta_rev: head.max(row.meta_rev),
            content_rev: row.content_rev,
            live: false,
        };
        self.merge_trashed(row, &gone);
    }

    /// The store lost it: it is made there once more, with its identity.
    fn make_again(&mut self, mut row: NodeRow) {
        let ino = row.ino;
        if row.parent == Ino::NONE {
            self.give_place(&mut row);
        }
        let is_file = row.kind == Kind::File;
        let is_whole = !is_file || self.make_dirty(ino);
        if let Some(reconcile) = &mut self.inbox.reconcile {
            reconcile.resent += u64::from(is_whole);
            reconcile.lost += u64::from(!is_whole);
        }
        row.meta_rev = Rev(0);
        row.content_rev = Rev(0);
        row.origin = None;
        let content = if is_file { Pending::CONTENT } else { Pending::NONE };
        row.pending = Pending::CREATE.with(content);
        self.put(row);
        if !is_whole {
            self.needs_attention(ino, LOST);
        }
    }

    /// It made way for what the store has in its place: it needs another name.
    fn give_place(&mut self, row: &mut NodeRow) {
        let origin = row.origin.take();
        let home = origin.as_ref().and_then(|origin| self.living(origin.parent));
        let home = home.filter(|home| !self.tree.is_below(*home, row.ino)).unwrap_or(Ino::ROOT);
        let wanted = origin.map_or(Name::none(), |origin| origin.name);
        let name = if row.name.as_bytes().is_empty() { wanted } else { row.name.clone() };
        let taken = self.tree.child(home, &name).is_some();
        row.name = if taken { self.conflict_name(home, &name) } else { name };
        row.parent = home;
        self.invalidate(crate::Stale::Entry { parent: home, name: row.name.clone() });
        self.invalidate(crate::Stale::Attrs(home));
    }

    /// What has no place is not below the root: it was lifted out of the way (changed here or not), or is
    /// in limbo since before. What only has open handles has no origin. Says whether there was more.
    fn walk_placeless(&mut self) -> bool {
        let is_placeless = |row: &NodeRow| {
            row.parent == Ino::NONE && (row.origin.is_some() || row.pending.has(Pending::TRASH))
        };
        let placeless = self.tree.inodes().filter(|inode| is_placeless(&inode.row));
        let placeless: Vec<Ino> = placeless.map(|inode| inode.row.ino).collect();
        let Some(reconcile) = &mut self.inbox.reconcile else { return false };
        let Some(walk) = &mut reconcile.walk else { return false };
        let new = placeless.into_iter().filter(|ino| reconcile.placeless.insert(*ino));
        walk.extend(new.map(|ino| (ino, false)));
        !walk.is_empty()
    }

    fn finish_reconcile(&mut self) {
        let Some(done) = self.inbox.end_reconcile() else { return };
        self.inbox.epoch = done.epoch;
        self.inbox.complete = true;
        self.commit(Change::Complete);
        self.advance_cursor(done.head);
        self.wake_listings();
        self.uploads_online();
        self.note(account(&done));
        for (ticket, root) in done.waiting {
            self.barrier(ticket, root);
        }
    }

    /// A node was moved here: the look at the tree may have passed its new place already.
    pub(crate) fn look_also(&mut self, ino: Ino) {
        let walk = self.inbox.reconcile.as_mut().and_then(|reconcile| reconcile.walk.as_mut());
        if let Some(walk) = walk {
            walk.insert(0, (ino, false));
        }
    }

    /// Lets `ticket` wait until it is known what the store lacks. Says whether that is not known.
    pub(crate) fn waits_for_reconcile(&mut self, ticket: Ticket, root: Ino) -> bool {
        if let Some(reconcile) = &mut self.inbox.reconcile {
            reconcile.waiting.push((ticket, root));
            return true;
        }
        false
    }

    /// Nothing is sent or applied until a person has looked.
    pub(crate) fn freeze(&mut self, why: &str) {
        self.inbox.freeze(why.to_string());
        self.note(why);
        let waiting =
            self.inbox.reconcile.as_mut().map(|going| core::mem::take(&mut going.waiting));
        for (ticket, _) in waiting.into_iter().flatten() {
            self.reply(ticket, Err(FsError::Io));
        }
    }
}

/// What was found, in words.
fn account(done: &Reconcile) -> String {
    let mut text = format!("in step with the store again, at commit {}", done.head.0);
    if done.removed > 0 {
        text.push_str(&format!("; {} were removed there", done.removed));
    }
    if done.resent > 0 {
        text.push_str(&format!("; {} that it had lost are sent again", done.resent));
    }
    if done.lost > 0 {
        text.push_str(&format!("; of {} that it lost the content is not here", done.lost));
    }
    text
}
