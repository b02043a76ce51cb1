//! From pending state to a commit: which operations, in which groups, in which order. Derived anew
//! each round from what is pending, never from a log.

use crate::drive::Drive;
use crate::tree::Inode;
use crate::uploads::OPS_MAX;
use crate::{
    Attrs, Change, ContentRow, Draft, Flight, FlightItem, Group, Ino, Kind, Loaded, NodeRow, Op,
    Pending, Rev,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

/// Nodes that must go in the same group, and nodes that must go before.
#[derive(Debug, Default)]
struct Ties {
    together: Vec<Ino>,
    before: Vec<Ino>,
}

/// What a commit may still take: the protocol refuses more than 1,000 operations or 8 MiB.
#[derive(Debug)]
struct Room {
    ops: usize,
    bytes: usize,
}

/// A file that takes a place in the cloud.
const ARRIVING: Pending = Pending::CREATE.with(Pending::PLACE);
/// Bytes of operations in one commit, with some of the protocol's 8 MiB left for their envelopes.
const COMMIT_BYTES: usize = 6 << 20;
/// An operation without its content and xattrs, in bytes, generously.
const OP_BYTES: usize = 1 << 10;

impl Default for Room {
    fn default() -> Room {
        Room { ops: OPS_MAX, bytes: COMMIT_BYTES }
    }
}

impl Room {
    fn take<'a>(&mut self, ops: impl Iterator<Item = &'a Op>) -> bool {
        let (mut count, mut bytes) = (0, 0);
        for op in ops {
            count += 1;
            bytes += OP_BYTES + weigh(op);
        }
        let fits = count <= self.ops && bytes <= self.bytes;
        self.ops = self.ops.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(bytes);
        fits
    }
}

/// The parts of an operation that can be large, in bytes.
fn weigh(op: &Op) -> usize {
    let attrs = |attrs: &Attrs| {
        attrs.target.len() + attrs.xattrs.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
    };
    match op {
        Op::Create { attrs: a, content, .. } => {
            attrs(a) + content.as_ref().map_or(0, |draft| draft.bytes.len())
        }
        Op::SetContent { content, .. } => content.bytes.len(),
        Op::Move { attrs: a, .. }
        | Op::SetAttrs { attrs: a, .. }
        | Op::Restore { attrs: a, .. } => attrs(a),
        Op::Trash { .. } => 0,
    }
}

impl Drive {
    /// The commit for `chosen` and everything that must go with it.
    pub(crate) fn plan(&mut self, chosen: &[Ino], drafts: &BTreeMap<Ino, Draft>) -> Flight {
        let selected = self.closure(chosen, drafts);
        let mut order = Order::default();
        for ino in &selected {
            order.visit(self, *ino, &selected);
        }
        let mut flight = Flight {
            request: self.random.request_id(self.now),
            groups: Vec::new(),
            items: Vec::new(),
        };
        // Components come in dependency order, so any prefix of them is a valid commit.
        let mut room = Room::default();
        for component in order.components {
            if !self.add_groups(&mut flight, &component, drafts, &mut room) {
                break;
            }
        }
        flight
    }

    /// The chosen nodes that can go now, each with what it needs, within the bounds of a commit.
    fn closure(&self, chosen: &[Ino], drafts: &BTreeMap<Ino, Draft>) -> BTreeSet<Ino> {
        let mut selected = BTreeSet::new();
        for ino in chosen {
            let mut with = BTreeSet::new();
            let mut todo = Vec::from([*ino]);
            let mut possible = true;
            while let Some(ino) = todo.pop() {
                if selected.contains(&ino) || !with.insert(ino) {
                    continue;
                }
                possible &= self.can_go(ino, drafts);
                let ties = self.ties(ino);
                todo.extend(ties.together);
                todo.extend(ties.before);
                if with.len() + selected.len() > OPS_MAX / 2 && !selected.is_empty() {
                    possible = false;
                }
                if !possible || with.len() > OPS_MAX {
                    possible = false;
                    break;
                }
            }
            if possible {
                selected.extend(with);
            }
        }
        selected
    }

    /// Whether the node's part is ready: a new file needs its content staged.
    fn can_go(&self, ino: Ino, drafts: &BTreeMap<Ino, Draft>) -> bool {
        let Some(inode) = self.tree.get(ino) else { return false };
        let row = &inode.row;
        if row.pending.is_none() || self.uploads.attention(ino).is_some() || self.is_held(ino) {
            return false;
        }
        if row.pending.has(Pending::CREATE) {
            let staged = row.kind != Kind::File || drafts.contains_key(&ino);
            return row.parent != Ino::NONE && staged;
        }
        true
    }

    fn ties(&self, ino: Ino) -> Ties {
        let mut ties = Ties::default();
        let Some(inode) = self.tree.get(ino) else { return ties };
        let row = &inode.row;
        ties.together.extend(self.taker(inode));
        if row.pending.has(Pending::TRASH) {
            if inode.is_dir() {
                ties.before = self.tree.moved_out_of(row.id);
            }
            // Links go before what they name, so that none ever names what is in the trash.
            ties.before.extend(self.tree.links.leaving(row.id).map(|(link, _)| link));
            return ties;
        }
        let moving = Pending::CREATE.with(Pending::PLACE).with(Pending::RESTORE);
        if !row.pending.has(moving) {
            return ties;
        }
        let target = row.link_target().and_then(|id| self.tree.by_id(id));
        ties.before.extend(target.filter(|inode| is_coming(inode)).map(|inode| inode.row.ino));
        let Some(parent) = self.tree.get(row.parent) else { return ties };
        ties.together.extend(self.tree.moved_from(parent.row.id, &row.name));
        ties.together.retain(|other| *other != ino);
        // Folders above that are themselves new, restored or moved go first.
        let mut at = row.parent;
        while let Some(dir) = self.tree.get(at) {
            if dir.row.pending.has(moving) {
                ties.before.push(at);
            }
            if at == Ino::ROOT || dir.row.parent == Ino::NONE {
                break;
            }
            at = dir.row.parent;
        }
        ties
    }

    /// Who takes the place that the node leaves in the cloud. Both go in one group, so that nobody
    /// ever sees the name missing.
    pub(crate) fn taker(&self, inode: &Inode) -> Option<Ino> {
        let origin = inode.row.origin.as_ref()?;
        if !inode.row.pending.has(Pending::PLACE.with(Pending::TRASH)) {
            return None;
        }
        let dir = self.tree.by_id(origin.parent)?;
        let taker = self.tree.child(dir.row.ino, &origin.name)?;
        let moving = Pending::CREATE.with(Pending::PLACE).with(Pending::RESTORE);
        (taker.row.ino != inode.row.ino && taker.row.pending.has(moving)).then_some(taker.row.ino)
    }

    /// Adds the groups of one component: its places in one group, then its contents. False if the
    /// commit has no room for it.
    fn add_groups(
        &self,
        flight: &mut Flight,
        component: &[Ino],
        drafts: &BTreeMap<Ino, Draft>,
        room: &mut Room,
    ) -> bool {
        let mut places = Vec::new();
        let mut contents = Vec::new();
        for ino in component {
            let Some(inode) = self.tree.get(*ino) else { continue };
            places.extend(self.place_op(inode, drafts).map(|op| (*ino, op)));
            contents.extend(content_op(inode, drafts).map(|op| (*ino, op)));
        }
        let ops = places.iter().chain(&contents).map(|(_, op)| op);
        if !room.take(ops) && !flight.groups.is_empty() {
            return false;
        }
        let groups = [places].into_iter().chain(contents.into_iter().map(|op| Vec::from([op])));
        for group in groups.filter(|group| !group.is_empty()) {
            let number = u32::try_from(flight.groups.len()).unwrap_or(u32::MAX);
            let mut ops = Vec::new();
            for (ino, op) in group {
                let Some(inode) = self.tree.get(ino) else { continue };
                ops.push(op);
                flight.items.push(FlightItem {
                    group: number,
                    sent: Loaded {
                        node: inode.row.clone(),
                        content: inode.content.as_deref().cloned(),
                    },
                    generation: inode.generation + 1, // 0 is "from before a restart"
                });
            }
            flight.groups.push(Group { ops });
        }
        true
    }

    fn place_op(&self, inode: &Inode, drafts: &BTreeMap<Ino, Draft>) -> Option<Op> {
        let row = &inode.row;
        let (id, attrs, name) = (row.id, row.attrs.clone(), row.name.clone());
        if row.pending.has(Pending::TRASH) {
            return Some(Op::Trash { id, meta: row.meta_rev, content: row.content_rev });
        }
        let parent = self.tree.get(row.parent)?.row.id;
        let for_content = if row.pending.has(Pending::CONTENT) { Rev(0) } else { row.content_rev };
        let base = row.meta_rev;
        if row.pending.has(Pending::CREATE) {
            let content = drafts.get(&row.ino).cloned();
            return Some(Op::Create { id, parent, name, kind: row.kind, attrs, content });
        }
        if row.pending.has(Pending::RESTORE) {
            return Some(Op::Restore { id, base, parent, name, attrs, for_content });
        }
        if row.pending.has(Pending::PLACE) {
            return Some(Op::Move { id, base, parent, name, attrs, for_content });
        }
        row.pending.has(Pending::ATTRS).then_some(Op::SetAttrs { id, base, attrs, for_content })
    }

    /// Save-by-rename: a new file that stands where the cloud has another one, which was removed or
    /// moved aside here, takes over that one's identity. Its history and versions stay with the name.
    /// A save may take longer than the settle window; then the cloud knows the new file too, and the
    /// two change places.
    pub(crate) fn adopt_identity(&mut self, ino: Ino) {
        let ino = self.slow_taker(ino).unwrap_or(ino);
        let Some(new) = self.tree.get(ino) else { return };
        if !new.row.pending.has(ARRIVING) || !new.is_file() || self.uploads.is_sending(ino) {
            return;
        }
        let linked = |id| self.tree.links.has(id);
        let Some(parent) = self.tree.get(new.row.parent) else { return };
        let Some(old) = self
            .tree
            .moved_from(parent.row.id, &new.row.name)
            .and_then(|old| self.tree.get(old))
            .filter(|old| old.is_file() && !self.uploads.is_sending(old.row.ino))
            // Their links must go on naming what they name.
            .filter(|old| !linked(old.row.id) && !linked(new.row.id))
        else {
            return;
        };
        let trashed = old.row.pending.has(Pending::TRASH);
        let aside = old.row.pending.has(Pending::PLACE) && old.row.parent == new.row.parent;
        if (!trashed && !aside) || old.row.pending.has(Pending::RESTORE) {
            return;
        }
        let is_new = new.row.pending.has(Pending::CREATE);
        if !is_new && (!trashed || !is_slow_save(&new.row, &old.row)) {
            return;
        }
        let (new_row, old_row) = (new.row.clone(), old.row.clone());
        self.ensure_content(ino);
        self.ensure_content(old_row.ino);
        // The old inode first gives up the identity ...
        let mut left = old_row.clone();
        left.id = self.random.node_id(self.now);
        left.origin = None;
        left.meta_rev = Rev(0);
        left.content_rev = Rev(0);
        left.pending = if trashed {
            Pending::NONE
        } else {
            Pending::CREATE.with(Pending::CONTENT) // its bytes stay the old version's: no upload
        };
        self.commit(Change::PutNode(Box::new(left)));
        // ... then the new one takes it.
        let mut heir = new_row.clone();
        heir.id = old_row.id;
        heir.meta_rev = old_row.meta_rev;
        heir.content_rev = old_row.content_rev;
        heir.origin = old_row.origin.clone();
        heir.pending = Pending::CONTENT.with(Pending::ATTRS);
        self.put(heir);
        if !is_new {
            self.put(temporary(&new_row, &old_row));
            self.touch(old_row.ino);
        } else if trashed {
            self.settled(old_row.ino);
            self.reap(old_row.ino);
        } else {
            self.touch(old_row.ino);
        }
    }

    /// Who took the place of a removed node and is known to the cloud. It may still be written to,
    /// and so be due much later than the removal, which would then end the history.
    fn slow_taker(&self, ino: Ino) -> Option<Ino> {
        let removed = self.tree.get(ino).filter(|inode| inode.row.pending.has(Pending::TRASH))?;
        let taker = self.taker(removed)?;
        let is_new = self.tree.get(taker)?.row.pending.has(Pending::CREATE);
        (!is_new).then_some(taker)
    }
}

/// The cloud does not have the node, or has it in its trash.
fn is_coming(inode: &Inode) -> bool {
    inode.row.pending.has(Pending::CREATE.with(Pending::RESTORE))
}

/// Whether a file that the cloud knows and that replaces another is what a save has left: it was
/// made in the same folder, and after the version that it replaces.
fn is_slow_save(new: &NodeRow, old: &NodeRow) -> bool {
    let folder = |row: &NodeRow| row.origin.as_ref().map(|origin| origin.parent);
    !new.pending.has(Pending::RESTORE.with(Pending::TRASH))
        && folder(new).is_some()
        && folder(new) == folder(old)
        && new.content_rev > old.content_rev
}

/// What the cloud knows as the temporary file of a save goes to the trash, in place of the old one.
fn temporary(new: &NodeRow, old: &NodeRow) -> NodeRow {
    NodeRow {
        id: new.id,
        origin: new.origin.clone(),
        meta_rev: new.meta_rev,
        content_rev: new.content_rev,
        pending: Pending::TRASH,
        ..old.clone()
    }
}

fn content_op(inode: &Inode, drafts: &BTreeMap<Ino, Draft>) -> Option<Op> {
    let row = &inode.row;
    let wanted =
        row.pending.has(Pending::CONTENT) && !row.pending.has(Pending::CREATE.with(Pending::TRASH));
    let content = drafts.get(&row.ino).filter(|_| wanted)?;
    Some(Op::SetContent { id: row.id, base: row.content_rev, content: content.clone() })
}

/// Strongly connected components in dependency order (Tarjan 1972): what must go together comes
/// together, what must go before comes before.
#[derive(Debug, Default)]
struct Order {
    index: BTreeMap<Ino, (usize, usize)>,
    stack: Vec<Ino>,
    done: BTreeSet<Ino>,
    components: Vec<Vec<Ino>>,
}

impl Order {
    fn visit(&mut self, drive: &Drive, ino: Ino, selected: &BTreeSet<Ino>) -> usize {
        if let Some((_, low)) = self.index.get(&ino) {
            return *low;
        }
        let number = self.index.len();
        self.index.insert(ino, (number, number));
        self.stack.push(ino);
        let ties = drive.ties(ino);
        let mut low = number;
        let edges = ties.together.iter().chain(&ties.before);
        for next in edges.filter(|next| selected.contains(next)).copied().collect::<Vec<_>>() {
            if !self.done.contains(&next) {
                low = low.min(self.visit(drive, next, selected));
            }
        }
        self.index.insert(ino, (number, low));
        if low == number {
            self.close(ino);
        }
        low
    }

    fn close(&mut self, root: Ino) {
        let mut component = Vec::new();
        while let Some(ino) = self.stack.pop() {
            self.done.insert(ino);
            component.push(ino);
            if ino == root {
                break;
            }
        }
        self.components.push(component);
    }
}

impl ContentRow {
    /// Whether the local bytes are exactly as they were in `sent`.
    pub(crate) fn same_bytes(&self, sent: &ContentRow) -> bool {
        self.base_rev == sent.base_rev && self.base_len == sent.base_len && self.dirty == sent.dirty
    }
}
