//! What a commit's outcome means for the nodes in it: the cloud now has what was sent; whatever has
//! changed since remains pending.

use crate::attention::trashed;
use crate::drive::Drive;
use crate::{
    Attrs, Change, ContentRow, Flight, FlightItem, Group, GroupOutcome, Ino, Kind, NodeId, NodeRow,
    Op, Origin, Pending, Range, Ranges, RemoteNode, Rev,
};
use alloc::{boxed::Box, format, string::String, vec::Vec};

impl Drive {
    pub(crate) fn settle_flight(&mut self, flight: &Flight, outcomes: &[GroupOutcome]) {
        let mut items = flight.items.iter();
        let mut newest = Rev(0);
        for (group, outcome) in flight.groups.iter().zip(outcomes) {
            for (op, item) in group.ops.iter().zip(items.by_ref()) {
                let ino = item.sent.node.ino;
                if let Some(known) = trashed(op, outcome) {
                    self.restore_instead(ino, known);
                    continue;
                }
                match outcome {
                    GroupOutcome::Done(rev) => {
                        newest = newest.max(*rev);
                        if matches!(op, Op::Trash { .. } | Op::SetContent { .. }) {
                            self.note_sent(&item.sent.node);
                        }
                        self.accepted(op, item, *rev);
                    }
                    GroupOutcome::Conflict(known) if is_purged(op, group, known) => {
                        self.make_anew(ino, op.id());
                    }
                    GroupOutcome::Conflict(_) => {
                        self.refused(ino, "the cloud keeps refusing it: it has changed there");
                        self.inbox.refresh();
                    }
                    GroupOutcome::Dependent => self.refused(ino, "it needs another change first"),
                    GroupOutcome::Unstaged => self.refused(ino, "its content got lost on the way"),
                    GroupOutcome::Invalid(why) => self.needs_attention(ino, why),
                }
            }
        }
        self.passed(newest);
    }

    fn accepted(&mut self, op: &Op, item: &FlightItem, rev: Rev) {
        let ino = item.sent.node.ino;
        let Some(inode) = self.tree.get(ino) else { return };
        let mut row = inode.row.clone();
        if row.id != op.id() {
            return; // gave its identity away since
        }
        match op {
            Op::Trash { .. } => {
                row.gone = true;
                row.meta_rev = rev;
                row.pending = Pending::NONE;
                row.origin = None;
                self.commit(Change::PutNode(Box::new(row)));
                self.settled(ino);
                return;
            }
            Op::SetContent { .. } => self.content_accepted(&mut row, item, rev),
            Op::Create { parent, name, attrs, content, .. } => {
                row.meta_rev = rev;
                row.pending = row.pending.without(Pending::CREATE);
                let origin = Origin { parent: *parent, name: name.clone(), attrs: attrs.clone() };
                row.origin = Some(Box::new(origin));
                if content.is_some() {
                    self.content_accepted(&mut row, item, rev);
                }
            }
            Op::Move { parent, name, attrs, .. } | Op::Restore { parent, name, attrs, .. } => {
                row.meta_rev = rev;
                row.pending = row.pending.without(Pending::RESTORE);
                let origin = Origin { parent: *parent, name: name.clone(), attrs: attrs.clone() };
                row.origin = Some(Box::new(origin));
            }
            Op::SetAttrs { attrs, .. } => {
                row.meta_rev = rev;
                if let Some(origin) = &mut row.origin {
                    origin.attrs = attrs.clone();
                }
            }
        }
        self.put_remaining(row);
    }

    /// What still differs from the cloud stays pending.
    pub(crate) fn put_remaining(&mut self, mut row: NodeRow) {
        if let Some(origin) = &row.origin {
            let parent = self.tree.get(row.parent).map(|dir| dir.row.id);
            let moved = parent != Some(origin.parent) || row.name != origin.name;
            let changed = !same_attrs(&row.attrs, &origin.attrs, row.pending);
            let removed = row.parent == Ino::NONE;
            row.pending = row.pending.without(Pending::PLACE.with(Pending::ATTRS));
            if removed {
                row.pending = row.pending.with(Pending::TRASH);
            } else {
                let bit = |on: bool, bit: Pending| if on { bit } else { Pending::NONE };
                row.pending = row.pending.with(bit(moved, Pending::PLACE));
                row.pending = row.pending.with(bit(changed, Pending::ATTRS));
            }
        }
        let facets =
            Pending::PLACE.with(Pending::ATTRS).with(Pending::TRASH).with(Pending::RESTORE);
        if !row.pending.has(facets) {
            row.origin = None;
        }
        self.put(row);
    }

    /// The cloud has the content that was staged; what was written since remains dirty.
    fn content_accepted(&mut self, row: &mut NodeRow, item: &FlightItem, rev: Rev) {
        let ino = row.ino;
        row.content_rev = rev;
        let sent = &item.sent.node;
        let Some(inode) = self.tree.get(ino) else { return };
        let since = inode.flight.as_deref().cloned();
        let live = since.is_some() && item.generation != 0;
        let untouched = if live {
            item.generation == inode.generation + 1
        } else {
            same_content(inode.content.as_deref(), item.sent.content.as_ref())
                && inode.row.size == sent.size
                // Every write moves ctime, also one inside bytes that were dirty already.
                && inode.row.attrs.ctime == sent.attrs.ctime
        };
        // After a restart whoever writes unseen may have gone on before the first look.
        let untouched = untouched && (live || !self.passthrough.is_blind(ino));
        let Some(inode) = self.tree.get(ino) else { return };
        if let Some(content) = inode.content.as_deref() {
            let mut content = content.clone();
            let (dirty, shortest) = match (untouched, since) {
                (true, _) => (Ranges::new(), sent.size),
                (false, Some(since)) if live => (since.dirty, since.shortest),
                // After a restart nobody knows what changed since: all of it goes again. Only where the
                // old base reaches is the new version sure to have what was not written here: the file
                // may have been cut beyond and have grown again.
                (false, _) => (content.dirty.clone(), content.base_len.min(sent.size)),
            };
            rebase(&mut content, row, (rev, shortest), dirty);
            if !live {
                // The backing file may have lost bytes that the cloud has: fetch them again.
                content.valid = Ranges::new();
            }
            // Bytes that are being written right now are not the sent ones any more.
            let writing = inode.busy.iter().filter(|busy| busy.exclusive);
            for range in
                writing.flat_map(|busy| content.valid.within(busy.range)).collect::<Vec<_>>()
            {
                content.valid.remove(range);
                content.dirty.insert(range);
            }
            self.commit(Change::PutContent(Box::new(content)));
        }
        let writing = self
            .tree
            .get(ino)
            .is_some_and(|inode| inode.writers > 0 && inode.busy.iter().any(|busy| busy.exclusive));
        if untouched && !writing {
            row.pending = row.pending.without(Pending::CONTENT);
        } else {
            row.pending = row.pending.with(Pending::CONTENT);
        }
    }

    /// The cloud does not have the node any more, not even in its trash: it is made under a new identity.
    fn make_anew(&mut self, ino: Ino, old: NodeId) {
        let Some(inode) = self.tree.get(ino) else { return };
        let mut row = inode.row.clone();
        if row.id != old || row.parent == Ino::NONE {
            return;
        }
        if !inode.absent(Range::new(0, row.size)).is_empty() {
            return self.needs_attention(ino, "it was purged, and not all of its bytes are here");
        }
        if let Some(mut content) = inode.content.as_deref().cloned() {
            // What it was based on is gone as well.
            core::mem::take(&mut content.valid).iter().for_each(|r| content.dirty.insert(r));
            content.base_id = NodeId::default();
            content.base_rev = Rev(0);
            content.base_len = 0;
            self.commit(Change::PutContent(Box::new(content)));
        }
        row.id = self.random.node_id(self.now);
        row.meta_rev = Rev(0);
        row.content_rev = Rev(0);
        row.origin = None;
        row.pending = match row.kind {
            Kind::File => Pending::CREATE.with(Pending::CONTENT),
            _ => Pending::CREATE,
        };
        let path = String::from_utf8_lossy(&self.tree.path(ino)).into_owned();
        self.note(format!(
            "{path}: gone from the trash too, made anew because it was changed here"
        ));
        self.put(row);
    }

    /// Our own commit directly follows what is applied: nothing to fetch.
    fn passed(&mut self, rev: Rev) {
        if rev.0 == self.inbox.applied.0 + 1 && self.inbox.is_empty() {
            self.advance_cursor(rev);
        }
        self.inbox.heard(rev);
    }
}

/// Turns the sent version into the base: what was dirty and is not any more is clean now.
fn rebase(content: &mut ContentRow, row: &NodeRow, (rev, shortest): (Rev, u64), dirty: Ranges) {
    let whole = Range::new(0, shortest);
    // Below the old base only what was valid or dirty is here; above it everything was (holes).
    let mut here: Vec<Range> = content.valid.within(whole);
    here.extend(content.dirty.within(whole));
    here.push(Range::new(content.base_len, shortest));
    content.valid = here.into_iter().collect();
    for range in dirty.iter() {
        content.valid.remove(range);
    }
    content.base_id = row.id;
    content.base_rev = rev;
    content.base_len = shortest;
    content.dirty = dirty;
}

/// Whether what should come out of the trash is not in it any more: of a refused operation that stands
/// alone, the store says what it has of the node.
fn is_purged(op: &Op, group: &Group, known: &[RemoteNode]) -> bool {
    let is_alone = group.ops.len() == 1 || known.is_empty();
    matches!(op, Op::Restore { .. }) && is_alone && known.iter().all(|node| node.id != op.id())
}

fn same_content(here: Option<&ContentRow>, sent: Option<&ContentRow>) -> bool {
    match (here, sent) {
        (Some(here), Some(sent)) => here.same_bytes(sent),
        (here, sent) => here.is_none() == sent.is_none(),
    }
}

/// Attributes that travel. The mtime of a file whose content is pending travels with that.
pub(crate) fn same_attrs(here: &Attrs, there: &Attrs, pending: Pending) -> bool {
    let with_content = pending.has(Pending::CONTENT);
    here.mode == there.mode
        && here.uid == there.uid
        && here.gid == there.gid
        && here.rdev == there.rdev
        && (here.mtime == there.mtime || with_content)
        && here.target == there.target
        && here.xattrs == there.xattrs
}
