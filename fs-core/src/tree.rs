//! The owner of nodes in memory: rows, dentries and kernel references. Everything durable about a
//! node changes in [`Tree::apply`] and nowhere else.
//!
//! Only a part of the drive is in memory. A node here always has its parent here; a directory whose
//! `loaded` is set has all its known children here.

mod check;
mod sweep;

use crate::brake::{Count, Drastic};
use crate::{
    Attr, Change, ContentRow, Ino, Kind, Name, NodeId, NodeRow, Pending, Range, Ranges, Timestamp,
};
use alloc::{boxed::Box, collections::BTreeMap, collections::BTreeSet, vec::Vec};

/// What happened to a file's bytes since the commit in flight was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SinceFlight {
    pub(crate) dirty: Ranges,
    /// The shortest the file has been.
    pub(crate) shortest: u64,
}

/// Work under way on a range of the backing file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Busy {
    pub(crate) range: Range,
    pub(crate) exclusive: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inode {
    pub(crate) row: NodeRow,
    pub(crate) content: Option<Box<ContentRow>>,
    pub(crate) children: BTreeMap<Name, Ino>,
    pub(crate) subdirs: u32,
    /// All children that the local store knows are in memory.
    pub(crate) loaded: bool,
    /// Children are being loaded: rows put meanwhile must not be missed.
    pub(crate) loading: bool,
    /// Kernel references.
    pub(crate) lookups: u64,
    pub(crate) opens: u32,
    pub(crate) writers: u32,
    /// Handles whose bytes go past us (passthrough), and those of them that can write.
    pub(crate) passed: u32,
    pub(crate) blind: u32,
    /// The number of the backing file as drivers know it; 0: none was given out.
    pub(crate) backing: u64,
    /// Counts writes and truncations, to tell whether staged bytes are still the file's.
    pub(crate) generation: u64,
    pub(crate) busy: Vec<Busy>,
    pub(crate) flight: Option<Box<SinceFlight>>,
    /// An old version that is still open: the inode that has its place now.
    pub(crate) superseded: Option<Ino>,
    /// Names beside its own.
    pub(crate) links: u32,
    /// The kernel may have it open through handles of an earlier life, which are not counted.
    pub(crate) haunted: bool,
    /// The kernel may have pages of it that an earlier life had no time to call back.
    pub(crate) old_pages: bool,
    /// Of a directory: a listing that the kernel keeps is still right.
    pub(crate) listing_known: bool,
    /// Of a directory: reads of files in it since their attributes were listed. After each the kernel
    /// doubts the time of access, and asks before it shows the file's attributes again.
    pub(crate) doubts: u32,
}

impl Inode {
    fn new(row: NodeRow, content: Option<Box<ContentRow>>) -> Inode {
        Inode {
            row,
            content,
            children: BTreeMap::new(),
            subdirs: 0,
            loaded: false,
            loading: false,
            lookups: 0,
            opens: 0,
            writers: 0,
            passed: 0,
            blind: 0,
            backing: 0,
            generation: 0,
            busy: Vec::new(),
            flight: None,
            superseded: None,
            links: 0,
            haunted: false,
            old_pages: false,
            listing_known: false,
            doubts: 0,
        }
    }

    /// Whether somebody has it open, or may have.
    pub(crate) fn is_held(&self) -> bool {
        self.opens > 0 || self.haunted
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.row.kind == Kind::Dir
    }

    pub(crate) fn is_file(&self) -> bool {
        self.row.kind == Kind::File
    }

    /// The parts of `range` (inside the file) whose bytes are not here.
    pub(crate) fn absent(&self, range: Range) -> Vec<Range> {
        self.row.absent(self.content.as_deref(), range)
    }

    pub(crate) fn conflicts(&self, range: Range, exclusive: bool) -> bool {
        self.busy.iter().any(|busy| (busy.exclusive || exclusive) && busy.range.overlaps(range))
    }

    /// Whether the bytes of the file, or its length, are just being changed from here.
    pub(crate) fn is_changing(&self) -> bool {
        self.busy.iter().any(|busy| busy.exclusive)
    }

    pub(crate) fn begin(&mut self, range: Range, exclusive: bool) {
        self.busy.push(Busy { range, exclusive });
    }

    pub(crate) fn end(&mut self, range: Range, exclusive: bool) {
        let busy = Busy { range, exclusive };
        if let Some(at) = self.busy.iter().position(|other| *other == busy) {
            self.busy.swap_remove(at);
        }
    }

    /// Local bytes as the disk counts them: whole 4 KiB blocks.
    fn weigh(&self) -> Weight {
        self.content.as_ref().map_or_else(Weight::default, |content| Weight {
            clean: blocks(content.valid.bytes()),
            dirty: blocks(content.dirty.bytes()),
        })
    }

    pub(crate) fn attr(&self) -> Attr {
        let attrs = &self.row.attrs;
        // A version that was replaced elsewhere is not removed: its name lives on.
        let placed =
            self.row.parent != Ino::NONE || self.row.ino == Ino::ROOT || self.superseded.is_some();
        let own = if self.is_dir() && self.loaded { 2 + self.subdirs } else { 1 };
        Attr {
            ino: self.row.ino,
            kind: self.row.kind,
            mode: attrs.mode,
            nlink: if placed { own } else { 0 } + self.links,
            uid: attrs.uid,
            gid: attrs.gid,
            rdev: attrs.rdev,
            size: self.row.size,
            blocks: self.row.size.div_ceil(512),
            atime: attrs.atime,
            mtime: attrs.mtime,
            ctime: attrs.ctime,
            btime: attrs.btime,
        }
    }
}

fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(4096) * 4096
}

/// Local bytes by what they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Weight {
    pub(crate) clean: u64,
    pub(crate) dirty: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) links: crate::links::Links,
    /// Boxed: a search tree of large values is mostly air.
    inodes: BTreeMap<Ino, Box<Inode>>,
    ids: BTreeMap<NodeId, Ino>,
    pending: BTreeSet<Ino>,
    /// Where the cloud has nodes that are elsewhere (or nowhere) here.
    origins: BTreeMap<(NodeId, Name), Ino>,
    /// Files with local bytes.
    cached: BTreeSet<Ino>,
    tombstones: BTreeSet<Ino>,
    /// Conflict copies.
    pub(crate) marked: BTreeSet<Ino>,
    /// Pending removals and rewrites.
    pub(crate) drastic: Count,
    weight: Weight,
    /// Inodes dropped since some load was started; its answer may still name them.
    dropped: BTreeSet<Ino>,
    loads: u32,
    sweep_at: Ino,
    /// Looks that the next sweeps may take.
    sweep_credit: usize,
    /// The mount is older than this drive: what is loaded may be open already.
    haunted: bool,
    /// Some node has, or had, an access control list.
    acls: bool,
}

impl Tree {
    /// A tree whose mount `life` daemons have served before. `acls`: there have been access control
    /// lists.
    pub(crate) fn new(life: u32, acls: bool) -> Tree {
        Tree { haunted: life > 0, acls, ..Tree::default() }
    }

    pub(crate) fn has_acls(&self) -> bool {
        self.acls
    }

    pub(crate) fn get(&self, ino: Ino) -> Option<&Inode> {
        self.inodes.get(&ino).map(|inode| &**inode)
    }

    pub(crate) fn get_mut(&mut self, ino: Ino) -> Option<&mut Inode> {
        self.inodes.get_mut(&ino).map(|inode| &mut **inode)
    }

    pub(crate) fn by_id(&self, id: NodeId) -> Option<&Inode> {
        self.get(*self.ids.get(&id)?)
    }

    pub(crate) fn child(&self, parent: Ino, name: &Name) -> Option<&Inode> {
        self.get(*self.inodes.get(&parent)?.children.get(name)?)
    }

    pub(crate) fn pending(&self) -> &BTreeSet<Ino> {
        &self.pending
    }

    pub(crate) fn cached(&self) -> &BTreeSet<Ino> {
        &self.cached
    }

    pub(crate) fn tombstones(&self) -> &BTreeSet<Ino> {
        &self.tombstones
    }

    /// Who is at this place in the cloud but not here.
    pub(crate) fn moved_from(&self, parent: NodeId, name: &Name) -> Option<Ino> {
        let ino = *self.origins.get(&(parent, name.clone()))?;
        let away = Pending::PLACE.with(Pending::TRASH);
        self.inodes.get(&ino).filter(|inode| inode.row.pending.has(away)).map(|_| ino)
    }

    /// Nodes that the cloud has in directory `parent` but that are elsewhere, or nowhere, here.
    pub(crate) fn moved_out_of(&self, parent: NodeId) -> Vec<Ino> {
        let away = |ino: &Ino| {
            let bits = Pending::PLACE.with(Pending::TRASH);
            self.inodes.get(ino).is_some_and(|inode| inode.row.pending.has(bits))
        };
        self.homed_in(parent).into_iter().filter(away).collect()
    }

    /// Nodes with a recorded place in the cloud that lies in directory `parent`.
    pub(crate) fn homed_in(&self, parent: NodeId) -> Vec<Ino> {
        let from = (parent, Name::none());
        let range = self.origins.range(from..).take_while(|((dir, _), _)| *dir == parent);
        range.map(|(_, ino)| *ino).collect()
    }

    pub(crate) fn weight(&self) -> Weight {
        self.weight
    }

    pub(crate) fn len(&self) -> usize {
        self.inodes.len()
    }

    pub(crate) fn inodes(&self) -> impl Iterator<Item = &Inode> {
        self.inodes.values().map(|inode| &**inode)
    }

    /// The path of a node below the root, components joined by `/`; empty for the root.
    pub(crate) fn path(&self, ino: Ino) -> Vec<u8> {
        let mut parts: Vec<&Name> = Vec::new();
        let mut at = ino;
        while let Some(inode) = self.inodes.get(&at) {
            if at == Ino::ROOT || inode.row.parent == Ino::NONE {
                break;
            }
            parts.push(&inode.row.name);
            at = inode.row.parent;
        }
        parts.reverse();
        parts.iter().map(|name| name.as_bytes()).collect::<Vec<_>>().join(&b'/')
    }

    /// Whether `ino` is `ancestor` or lies below it.
    pub(crate) fn is_below(&self, ino: Ino, ancestor: Ino) -> bool {
        let mut at = ino;
        loop {
            if at == ancestor {
                return true;
            }
            match self.inodes.get(&at) {
                Some(inode) if inode.row.parent != Ino::NONE && at != Ino::ROOT => {
                    at = inode.row.parent;
                }
                _ => return false,
            }
        }
    }

    /// Whether the way up from `ino` does not end.
    fn is_endless(&self, ino: Ino) -> bool {
        let mut at = ino;
        for _ in 0..=self.inodes.len() {
            match self.inodes.get(&at) {
                Some(inode) if inode.row.parent != Ino::NONE => at = inode.row.parent,
                _ => return false,
            }
        }
        true
    }

    /// Whether the node, or a folder above one of its names, is pinned.
    pub(crate) fn is_pinned(&self, ino: Ino) -> bool {
        let Some(id) = self.inodes.get(&ino).map(|inode| inode.row.id) else { return false };
        self.is_place_pinned(ino)
            || self.links.shown(id).any(|(link, _)| self.is_place_pinned(link))
    }

    fn is_place_pinned(&self, ino: Ino) -> bool {
        let mut at = ino;
        while let Some(inode) = self.inodes.get(&at) {
            if inode.row.pinned {
                return true;
            }
            if at == Ino::ROOT {
                return false;
            }
            at = inode.row.parent;
        }
        false
    }

    pub(crate) fn begin_load(&mut self, dir: Option<Ino>) {
        self.loads += 1;
        if let Some(inode) = dir.and_then(|ino| self.inodes.get_mut(&ino)) {
            inode.loading = true;
        }
    }

    pub(crate) fn end_load(&mut self, dir: Option<Ino>, complete: bool) {
        self.loads = self.loads.saturating_sub(1);
        if self.loads == 0 {
            self.dropped.clear();
        }
        if let Some(inode) = dir.and_then(|ino| self.inodes.get_mut(&ino)) {
            inode.loading = false;
            inode.loaded |= complete;
        }
    }

    /// Takes in a loaded row, unless memory knows better. Parents come before children.
    pub(crate) fn adopt(&mut self, row: NodeRow, content: Option<ContentRow>) {
        let ino = row.ino;
        let known = self.inodes.contains_key(&ino) || self.dropped.contains(&ino);
        if known || self.ids.contains_key(&row.id) && !row.gone {
            return;
        }
        let orphan = row.parent != Ino::NONE && !self.inodes.contains_key(&row.parent);
        if orphan && ino != Ino::ROOT {
            return;
        }
        let mut row = row;
        if let Some(dir) = self.inodes.get(&row.parent)
            && dir.children.contains_key(&row.name)
        {
            // News that came ahead of its turn has the name: this one is about to leave it.
            let place = (dir.row.id, row.name.clone());
            if row.origin.is_none() {
                let (parent, name) = place;
                let attrs = row.attrs.clone();
                row.origin = Some(Box::new(crate::Origin { parent, name, attrs }));
            }
            row.parent = Ino::NONE;
        }
        let counts = self.links.enter(&row);
        let mut inode = Inode::new(row, content.map(Box::new));
        // The kernel knows what a hard link names, never the link.
        inode.haunted = self.haunted && inode.row.kind != Kind::Link;
        inode.old_pages = self.haunted;
        self.insert(inode);
        self.recount(counts);
    }

    /// The number of names of these nodes may have changed.
    fn recount(&mut self, targets: [Option<NodeId>; 2]) {
        for id in targets.into_iter().flatten() {
            let links = self.links.count(id);
            let ino = self.ids.get(&id).copied();
            if let Some(inode) = ino.and_then(|ino| self.inodes.get_mut(&ino)) {
                inode.links = links;
            }
        }
    }

    /// Applies one durable change to memory. Rows below directories that are not in memory stay in
    /// the local store only.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::PutNode(row) => {
                self.put_node(row);
                let counts = self.links.enter(row);
                self.recount(counts);
            }
            Change::DropNode(ino) => {
                self.drop_node(*ino);
                let counts = [self.links.leave(*ino), None];
                self.recount(counts);
            }
            Change::PutContent(content) => {
                self.with_content(content.ino, |inode| inode.content = Some(content.clone()));
            }
            Change::DropContent(ino) => self.with_content(*ino, |inode| inode.content = None),
            Change::Wrote { ino, range, size, mtime } => self.wrote(*ino, *range, *size, *mtime),
            Change::Filled { ino, range } => self.with_content(*ino, |inode| {
                let content = inode.content.get_or_insert_with(|| empty_content(*ino));
                for gap in content.dirty.gaps(*range) {
                    content.valid.insert(gap);
                }
            }),
            Change::Cursor { .. }
            | Change::Complete
            | Change::PutFlight(_)
            | Change::DropFlight(_)
            | Change::Held(_) => {}
        }
    }

    fn wrote(&mut self, ino: Ino, range: Range, size: u64, mtime: Timestamp) {
        self.with_content(ino, |inode| {
            let content = inode.content.get_or_insert_with(|| empty_content(ino));
            content.valid.remove(range);
            content.dirty.insert(range);
            inode.row.size = size;
            inode.row.attrs.mtime = mtime;
            inode.row.attrs.ctime = mtime;
        });
    }

    fn with_content(&mut self, ino: Ino, change: impl FnOnce(&mut Inode)) {
        let Some(inode) = self.inodes.get_mut(&ino) else { return };
        let before = inode.weigh();
        change(inode);
        let after = inode.weigh();
        if inode.content.as_ref().is_some_and(|c| !c.valid.is_empty() || !c.dirty.is_empty()) {
            self.cached.insert(ino);
        } else {
            self.cached.remove(&ino);
        }
        self.weight.clean = self.weight.clean + after.clean - before.clean;
        self.weight.dirty = self.weight.dirty + after.dirty - before.dirty;
    }

    fn put_node(&mut self, row: &NodeRow) {
        if let Some(known) = self.inodes.get(&row.ino).map(|inode| &inode.row) {
            let (parent, stays) =
                (known.parent, known.parent == row.parent && known.name == row.name);
            if !stays {
                self.relist(parent);
                self.relist(row.parent);
            }
            self.unlink(row.ino);
            if let Some(inode) = self.inodes.get_mut(&row.ino) {
                inode.row = row.clone();
            }
            self.link(row.ino);
            self.acls |= row.attrs.has_acl();
            return;
        }
        self.relist(row.parent);
        let anchored = self.inodes.contains_key(&row.parent);
        if anchored || row.parent == Ino::NONE || row.ino == Ino::ROOT {
            self.insert(Inode::new(row.clone(), None));
        }
    }

    /// What the kernel keeps of a directory's listing is not right any more, or may not be.
    pub(crate) fn relist(&mut self, dir: Ino) {
        if let Some(dir) = self.inodes.get_mut(&dir) {
            dir.listing_known = false;
        }
    }

    fn insert(&mut self, inode: Inode) {
        self.acls |= inode.row.attrs.has_acl();
        self.sweep_credit += sweep::CREDIT;
        let ino = inode.row.ino;
        let weight = inode.weigh();
        self.weight.clean += weight.clean;
        self.weight.dirty += weight.dirty;
        if weight != Weight::default() {
            self.cached.insert(ino);
        }
        self.inodes.insert(ino, Box::new(inode));
        self.link(ino);
    }

    /// Enters the node into every index.
    fn link(&mut self, ino: Ino) {
        let Some(inode) = self.inodes.get(&ino) else { return };
        let row = &inode.row;
        let (id, parent, name, is_dir) = (row.id, row.parent, row.name.clone(), inode.is_dir());
        if !row.pending.is_none() {
            self.pending.insert(ino);
        }
        if let Some(what) = Drastic::of(row) {
            self.drastic.add(what);
        }
        if row.gone {
            self.tombstones.insert(ino);
        }
        if row.is_conflict_copy() {
            self.marked.insert(ino);
        }
        if let Some(origin) = &row.origin {
            self.origins.insert((origin.parent, origin.name.clone()), ino);
        }
        self.ids.insert(id, ino);
        self.links.arrived(id);
        self.recount([Some(id), None]);
        if ino != Ino::ROOT
            && parent != Ino::NONE
            && let Some(dir) = self.inodes.get_mut(&parent)
        {
            let before = dir.children.insert(name, ino);
            dir.subdirs += u32::from(is_dir);
            if let Some(other) = before
                && other != ino
                && self.inodes.get(&other).is_some_and(|other| other.is_dir())
                && let Some(dir) = self.inodes.get_mut(&parent)
            {
                dir.subdirs = dir.subdirs.saturating_sub(1);
            }
        }
    }

    /// Takes the node out of every index.
    fn unlink(&mut self, ino: Ino) {
        let Some(inode) = self.inodes.get(&ino) else { return };
        let row = &inode.row;
        let (id, parent, name, is_dir) = (row.id, row.parent, row.name.clone(), inode.is_dir());
        let origin = row.origin.as_ref().map(|origin| (origin.parent, origin.name.clone()));
        if let Some(what) = Drastic::of(row) {
            self.drastic.subtract(what);
        }
        self.pending.remove(&ino);
        self.tombstones.remove(&ino);
        self.marked.remove(&ino);
        if let Some(key) = origin
            && self.origins.get(&key) == Some(&ino)
        {
            self.origins.remove(&key);
        }
        if self.ids.get(&id) == Some(&ino) {
            self.ids.remove(&id);
        }
        if let Some(dir) = self.inodes.get_mut(&parent)
            && dir.children.get(&name) == Some(&ino)
        {
            dir.children.remove(&name);
            dir.subdirs = dir.subdirs.saturating_sub(u32::from(is_dir));
        }
    }

    fn drop_node(&mut self, ino: Ino) {
        if self.loads > 0 {
            self.dropped.insert(ino);
        }
        self.with_content(ino, |inode| inode.content = None);
        if let Some(parent) = self.get(ino).map(|inode| inode.row.parent) {
            self.relist(parent);
        }
        self.unlink(ino);
        self.inodes.remove(&ino);
    }
}

fn empty_content(ino: Ino) -> Box<ContentRow> {
    Box::new(ContentRow { ino, ..ContentRow::default() })
}
