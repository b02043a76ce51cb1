//! The brake: a device that is about to remove or rewrite a large share of the drive in a short time
//! waits until a person has looked. Everything else goes on being sent.

use crate::drive::Drive;
use crate::faults::Step;
use crate::{
    Change, CreateSpec, FsError, HeldItem, Hold, Ino, Kind, Limits, Mono, Name, NodeRow, Owner,
    Pending, Rev, Stale, Timestamp,
};
use alloc::{
    collections::{BTreeSet, VecDeque},
    format,
    string::String,
    vec::Vec,
};

/// Entries of the record of what was sent lately; older ones are added to their neighbours.
const RECORD_MAX: usize = 256;
/// Milliseconds that one entry of that record spans at least.
const RECORD_MS: u64 = 1_000;
/// Attempts to find a name for what is put aside.
const NAME_TRIES: u32 = 1_000;

/// Removals and rewrites, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Count {
    pub(crate) removals: u64,
    pub(crate) rewrites: u64,
}

/// A change that the brake counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Drastic {
    Removal,
    Rewrite,
}

impl Drastic {
    /// What is pending of a node that the cloud has.
    pub(crate) fn of(row: &NodeRow) -> Option<Drastic> {
        let pending = row.pending;
        if row.gone || pending.has(Pending::CREATE) || row.meta_rev == Rev(0) {
            return None;
        }
        if pending.has(Pending::TRASH) {
            return Some(Drastic::Removal);
        }
        let has_version = row.kind == Kind::File && row.content_rev != Rev(0);
        (has_version && pending.has(Pending::CONTENT)).then_some(Drastic::Rewrite)
    }
}

impl Count {
    pub(crate) fn add(&mut self, what: Drastic) {
        *self.of(what) += 1;
    }

    pub(crate) fn subtract(&mut self, what: Drastic) {
        let count = self.of(what);
        *count = count.saturating_sub(1);
    }

    fn of(&mut self, what: Drastic) -> &mut u64 {
        match what {
            Drastic::Removal => &mut self.removals,
            Drastic::Rewrite => &mut self.rewrites,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Brake {
    /// Nodes that this device knows of, and the newest that was counted.
    nodes: u64,
    newest: Ino,
    hold: Hold,
    /// Pending changes that a person has let go.
    approved: BTreeSet<Ino>,
    /// What was sent lately: since when, and how much.
    sent: VecDeque<(Mono, Count)>,
}

impl Brake {
    pub(crate) fn new(nodes: u64, newest: Ino, hold: Hold) -> Brake {
        Brake { nodes, newest, hold, approved: BTreeSet::new(), sent: VecDeque::new() }
    }

    /// Nodes that this device knows of.
    pub(crate) fn nodes(&self) -> u64 {
        self.nodes
    }

    /// Keeps count of the nodes.
    pub(crate) fn see(&mut self, change: &Change) {
        match change {
            Change::PutNode(row) if row.ino > self.newest => {
                self.newest = row.ino;
                self.nodes += 1;
            }
            Change::DropNode(_) => self.nodes = self.nodes.saturating_sub(1),
            _ => {}
        }
    }

    pub(crate) fn forget(&mut self, ino: Ino) {
        self.approved.remove(&ino);
    }

    /// Removals, or rewrites, from which on they are too many: a share of the drive as it was before
    /// those that have been sent.
    fn limit(&self, limits: &Limits, sent: Count) -> u64 {
        let nodes = self.nodes.saturating_add(sent.removals);
        let share = nodes.saturating_mul(limits.mass_percent) / 100;
        if limits.mass_percent == 0 { u64::MAX } else { share.max(limits.mass_least) }
    }

    fn sent_since(&mut self, from: Mono) -> Count {
        while self.sent.front().is_some_and(|(at, _)| *at < from) {
            self.sent.pop_front();
        }
        self.sent.iter().fold(Count::default(), |sum, (_, count)| Count {
            removals: sum.removals + count.removals,
            rewrites: sum.rewrites + count.rewrites,
        })
    }
}

impl Drive {
    /// An accepted operation was a removal or a rewrite.
    pub(crate) fn note_sent(&mut self, sent: &NodeRow) {
        let Some(what) = Drastic::of(sent) else { return };
        if self.brake.approved.contains(&sent.ino) {
            return;
        }
        let now = self.now.mono;
        let record = &mut self.brake.sent;
        match record.back_mut() {
            Some((at, count)) if now < at.plus_millis(RECORD_MS) => count.add(what),
            _ => {
                let mut count = Count::default();
                count.add(what);
                record.push_back((now, count));
            }
        }
        if record.len() > RECORD_MAX
            && let (Some((_, oldest)), Some((_, next))) = (record.pop_front(), record.front_mut())
        {
            next.removals += oldest.removals;
            next.rewrites += oldest.rewrites;
        }
    }

    /// Looks whether too much is about to be sent, before a round is chosen.
    pub(crate) fn brake(&mut self) {
        let pending = self.tree.drastic;
        let window = self.limits.mass_window_ms.saturating_mul(1_000_000);
        let from = Mono(self.now.mono.0.saturating_sub(window));
        let sent = self.brake.sent_since(from);
        let mut approved = Count::default();
        let rows = self.brake.approved.iter().filter_map(|ino| self.tree.get(*ino));
        rows.filter_map(|inode| Drastic::of(&inode.row)).for_each(|what| approved.add(what));
        let limit = self.brake.limit(&self.limits, sent);
        let was = self.brake.hold;
        let decide = |held: bool, pending: u64, approved: u64, sent: u64| {
            let open = pending.saturating_sub(approved);
            open > 0 && (held || open + sent >= limit)
        };
        let hold = Hold {
            removals: decide(was.removals, pending.removals, approved.removals, sent.removals),
            rewrites: decide(was.rewrites, pending.rewrites, approved.rewrites, sent.rewrites),
        };
        if hold == was {
            return;
        }
        self.set_hold(hold);
        if hold.removals && !was.removals || hold.rewrites && !was.rewrites {
            self.note(format!(
                "held: {} removals and {} rewrites wait for `meshdrive approve` or `meshdrive undo`",
                pending.removals, pending.rewrites
            ));
        }
    }

    fn set_hold(&mut self, hold: Hold) {
        self.brake.hold = hold;
        self.commit(Change::Held(hold));
    }

    /// Whether a person must look before this node's change is sent.
    pub(crate) fn is_held(&self, ino: Ino) -> bool {
        let Some(inode) = self.tree.get(ino) else { return false };
        let hold = self.brake.hold;
        let held = match Drastic::of(&inode.row) {
            Some(Drastic::Removal) => hold.removals,
            Some(Drastic::Rewrite) => hold.rewrites,
            None => false,
        };
        held && !self.brake.approved.contains(&ino) && !self.uploads.is_sending(ino)
    }

    /// What was held and is not any more is due again.
    pub(crate) fn take_up(&mut self) {
        let free: Vec<Ino> = match self.uploads.laid_aside.is_empty() {
            true => return,
            false => {
                self.uploads.laid_aside.iter().filter(|ino| !self.is_held(**ino)).copied().collect()
            }
        };
        for ino in free {
            self.uploads.laid_aside.remove(&ino);
            self.touch(ino);
        }
    }

    fn held(&self) -> Vec<Ino> {
        self.tree.pending().iter().filter(|ino| self.is_held(**ino)).copied().collect()
    }

    /// Removals and rewrites that are held.
    pub(crate) fn held_count(&self) -> Count {
        let mut count = Count::default();
        if self.brake.hold != Hold::default() {
            let rows = self.held().into_iter().filter_map(|ino| self.tree.get(ino));
            rows.filter_map(|inode| Drastic::of(&inode.row)).for_each(|what| count.add(what));
        }
        count
    }

    /// A person has looked: what is held now is sent. Says how much that is.
    pub(crate) fn approve(&mut self) -> u64 {
        let held = self.held();
        self.brake.approved.extend(held.iter().copied());
        self.set_hold(Hold::default());
        held.len() as u64
    }

    /// What is held, for putting it back.
    pub(crate) fn held_items(&self) -> Vec<HeldItem> {
        let rows = self.held().into_iter().filter_map(|ino| self.tree.get(ino));
        let item = |inode: &crate::tree::Inode| HeldItem {
            ino: inode.row.ino,
            id: inode.row.id,
            rev: inode.row.content_rev,
            is_rewrite: Drastic::of(&inode.row) == Some(Drastic::Rewrite),
        };
        rows.map(item).collect()
    }

    /// Brings back what was removed here and is held. Says how many came back.
    pub(crate) fn undo_removals(&mut self) -> u64 {
        let mut count = 0;
        // Names of a node come back after what they name.
        let mut held = self.held();
        held.sort_by_key(|ino| self.tree.get(*ino).map(|inode| inode.row.kind == Kind::Link));
        for ino in held {
            let is_removal = self.tree.get(ino).and_then(|inode| Drastic::of(&inode.row))
                == Some(Drastic::Removal);
            // A folder may have come back with what was in it.
            count += u64::from(is_removal && self.bring_back(ino));
        }
        self.brake();
        count
    }

    fn bring_back(&mut self, ino: Ino) -> bool {
        let Some(inode) = self.tree.get(ino) else { return false };
        let mut row = inode.row.clone();
        // What is left of a slow save by rename: the bytes here are those of the file that was replaced,
        // not those that the cloud has under this identity. They are a version of that file.
        if inode.content.as_ref().is_some_and(|content| content.base_id != row.id) {
            return false;
        }
        let written = inode.content.as_ref().is_some_and(|content| !content.dirty.is_empty());
        let Some(origin) = row.origin.clone() else { return false };
        let Some(parent) = self.living(origin.parent) else { return false };
        let lives = |id| self.tree.by_id(id).is_some_and(|named| named.row.parent != Ino::NONE);
        if row.link_target().is_some_and(|id| !lives(id)) {
            return false; // what it named stays removed
        }
        if written || self.passthrough.is_blind(ino) {
            row.pending = row.pending.with(Pending::CONTENT); // by programs that had it open
        }
        row.pending = row.pending.without(Pending::TRASH);
        row.parent = parent;
        row.name = match self.tree.child(parent, &origin.name) {
            Some(_) => self.conflict_name(parent, &origin.name),
            None => origin.name.clone(),
        };
        self.invalidate(Stale::Entry { parent, name: row.name.clone() });
        self.invalidate(Stale::Attrs(parent));
        self.invalidate(Stale::Attrs(ino));
        self.put_remaining(row);
        true
    }

    /// The cloud's version of a file that is held becomes its content again; `size` and `mtime` are that
    /// version's. What was written here is kept, under its name in a folder of its own.
    pub(crate) fn put_back(
        &mut self,
        ino: Ino,
        rev: Rev,
        (size, mtime): (u64, Timestamp),
    ) -> Step<()> {
        let inode = self.node(ino)?;
        let row = inode.row.clone();
        let is_rewrite = Drastic::of(&row) == Some(Drastic::Rewrite) && row.parent != Ino::NONE;
        if !self.is_held(ino) || !is_rewrite || row.content_rev != rev {
            return Err(FsError::Stale.into());
        }
        self.listing(Ino::ROOT)?;
        let folder = self.undone_folder();
        let mut aside = row.clone();
        aside.id = self.random.node_id(self.now);
        aside.name = self.free_name(folder, &row.name);
        aside.parent = folder;
        aside.pending = Pending::CREATE.with(Pending::CONTENT);
        aside.origin = None;
        aside.meta_rev = Rev(0);
        aside.content_rev = Rev(0);
        aside.pinned = false;
        self.renewed(ino);
        self.put(aside);
        self.succeed_with(row, (rev, size, mtime));
        self.brake();
        Ok(())
    }

    /// Where this device keeps what was undone today.
    fn undone_folder(&mut self) -> Ino {
        let comma = if self.device.is_empty() { "" } else { ", " };
        let date = crate::conflict::date_of(self.wall());
        let day = date.split(' ').next().unwrap_or_default();
        let text = format!("Undone ({}{comma}{day})", self.device);
        let Ok(name) = Name::new(text.as_bytes()) else { return Ino::ROOT };
        match self.tree.child(Ino::ROOT, &name) {
            Some(inode) if inode.is_dir() => return inode.row.ino,
            Some(_) => return Ino::ROOT,
            None => {}
        }
        let owner = Owner { umask: 0, ..self.limits.owner };
        let spec = CreateSpec { kind: Kind::Dir, mode: 0o700, rdev: 0, owner, target: Vec::new() };
        let ino = self.insert_new(Ino::ROOT, &name, &spec);
        self.invalidate(Stale::Entry { parent: Ino::ROOT, name });
        self.invalidate(Stale::Attrs(Ino::ROOT));
        ino
    }

    fn free_name(&self, folder: Ino, name: &Name) -> Name {
        let plain = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let numbered = (2..NAME_TRIES).map(|number| format!("{number} {plain}"));
        let mut names = numbered.filter_map(|text| Name::new(text.as_bytes()).ok());
        if self.tree.child(folder, name).is_none() {
            return name.clone();
        }
        let free = names.find(|name| self.tree.child(folder, name).is_none());
        free.unwrap_or_else(|| self.conflict_name(folder, name))
    }
}
