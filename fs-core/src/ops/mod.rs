//! One file a verb family. An operation looks first and applies its changes last, so that it can be
//! parked before it has changed anything and run again from its first line.

mod acl;
mod attr;
mod control;
mod copy;
mod link;
mod make;
mod open;
mod read;
mod readdir;
mod remove;
mod rename;
mod write;
mod xattr;

pub(crate) use write::DIRTY_ALLOWANCE;

use crate::drive::Drive;
use crate::faults::{Halt, Step};
use crate::tree::Inode;
use crate::{
    Change, FsError, Ino, Local, NodeRow, Origin, Pending, Request, Response, StatFs, Ticket,
};
use alloc::boxed::Box;

/// `None`: a job was started, its completion answers.
pub(crate) type Flow = Option<Response>;

/// Shown by `statfs` when neither the store nor the disk sets a bound: 1 PiB.
const UNBOUNDED: u64 = 1 << 50;

impl Drive {
    /// Runs a request from its first line.
    pub(crate) fn step(&mut self, ticket: Ticket, request: &Request) -> Step<Flow> {
        use Request as R;
        if self.limits.life > 0
            && let Some((ino, handle)) = request.handle()
        {
            self.take_over(ino, handle)?;
        }
        if let Some(need) = self.unseen(ticket, request) {
            return Err(Halt::Fault(need));
        }
        match request {
            R::Lookup { parent, name } => self.lookup(*parent, name),
            R::Forget { ino, count } => Ok(self.forget(*ino, *count)),
            R::Getattr { ino } => Ok(Some(Response::Attr(self.node(*ino)?.attr()))),
            R::Setattr { ino, set, handle } => self.setattr(ticket, *ino, set, *handle),
            R::Readlink { ino } => self.readlink(*ino),
            R::Make { parent, name, spec } => self.make(*parent, name, spec),
            R::Create { parent, name, mode, owner, flags } => {
                self.create(ticket, (*parent, name), *mode, *owner, *flags)
            }
            R::Link { ino, parent, name } => self.link(*ino, *parent, name),
            R::Unlink { parent, name } => self.unlink(*parent, name),
            R::Rmdir { parent, name } => self.rmdir(*parent, name),
            R::Rename { from, to, flags } => self.rename(from, to, *flags),
            R::Open { ino, flags } => self.open(ticket, *ino, *flags),
            R::Read { ino, handle, offset, len } => {
                self.read(ticket, *ino, *handle, (*offset, *len))
            }
            R::Write { ino, handle, offset, data, strip } => {
                self.write(ticket, (*ino, *handle), (*offset, data), *strip)
            }
            R::Flush { .. } => Ok(Some(Response::Done)),
            R::Unpass { ino, handle } => Ok(self.unpass(*ino, *handle)),
            R::Release { ino, handle } => Ok(self.close(*ino, *handle)),
            R::Fsync { ino, .. } => self.fsync(ticket, *ino),
            R::Opendir { ino } => self.opendir(*ino),
            R::Readdir { ino, handle, cookie, room, cost, plus } => {
                self.readdir((*ino, *handle), *cookie, (*room, *cost), *plus)
            }
            R::Releasedir { ino, handle } => Ok(self.closedir(*ino, *handle)),
            R::Setxattr { ino, name, value, create, replace } => {
                self.setxattr(*ino, (name, value), *create, *replace)
            }
            R::Getxattr { ino, name, uid } => self.getxattr(*ino, name, *uid),
            R::Listxattr { ino } => self.listxattr(*ino),
            R::Removexattr { ino, name } => self.removexattr(*ino, name),
            R::Statfs => Ok(Some(Response::StatFs(self.statfs()))),
            R::Seek { ino, handle, offset, hole } => self.seek(*ino, *handle, *offset, *hole),
            R::Allocate { ino, handle, offset, len, keep_size, zero } => {
                self.allocate(ticket, (*ino, *handle), (*offset, *len), *keep_size, *zero)
            }
            R::Copy { from, to, len } => self.copy(ticket, *from, *to, *len),
            R::Control(command) => self.control(ticket, command),
        }
    }

    fn lookup(&mut self, parent: Ino, name: &crate::Name) -> Step<Flow> {
        if !self.node(parent)?.is_dir() {
            return Err(FsError::NotDirectory.into());
        }
        let entry = self.child(parent, name)?.ok_or(FsError::NotFound)?;
        let attr = self.shown(entry)?.attr();
        self.remember(attr.ino);
        Ok(Some(Response::Entry(attr)))
    }

    /// Counts one kernel reference.
    pub(crate) fn remember(&mut self, ino: Ino) {
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.lookups += 1;
            if inode.lookups == 1 && !inode.is_dir() {
                self.held.take(ino);
            }
        }
    }

    fn forget(&mut self, ino: Ino, count: u64) -> Flow {
        if let Some(inode) = self.tree.get_mut(ino) {
            let before = inode.lookups;
            inode.lookups = before.saturating_sub(count);
            if inode.lookups == 0 {
                if before > 0 && !inode.is_dir() {
                    self.held.release(ino);
                }
                self.tree.may_be_idle();
                self.lay_to_rest(ino);
            }
        }
        Some(Response::Done)
    }

    fn fsync(&mut self, ticket: Ticket, ino: Ino) -> Step<Flow> {
        let inode = self.node(ino)?;
        let file = inode.is_file().then_some(ino);
        let upto = self.latest();
        self.local(crate::jobs::Work::Sync { ticket }, Local::Sync { ino: file, upto });
        self.hasten_synced(ino);
        Ok(None)
    }

    fn statfs(&self) -> StatFs {
        let info = self.inbox.info.as_ref();
        let used = info.map_or(0, |info| info.used_bytes) + self.tree.weight().dirty;
        let total = info.and_then(|info| info.quota_bytes).unwrap_or(UNBOUNDED);
        StatFs { total, free: total.saturating_sub(used), files: self.tree.len() as u64 }
    }

    /// The row of a node after a local change of the facets in `bits`: pending, with its merge
    /// ancestor. The caller changes the fields.
    pub(crate) fn pend(&self, inode: &Inode, bits: Pending) -> NodeRow {
        let mut row = inode.row.clone();
        if row.ino == Ino::ROOT || row.parent == Ino::NONE {
            return row; // the root stays here; what has no place is never sent
        }
        if row.pending.has(Pending::CREATE) {
            // All that there is of a new node goes up with its creation.
            row.pending = row.pending.with(bits.without(Pending::PLACE.with(Pending::ATTRS)));
            return row;
        }
        let facets = Pending::PLACE.with(Pending::ATTRS).with(Pending::TRASH);
        if bits.has(facets) && row.origin.is_none() {
            row.origin = Some(Box::new(self.origin_of(inode)));
        }
        row.pending = row.pending.with(bits);
        row
    }

    /// Where and how the cloud has a node of which nothing of that kind is pending.
    pub(crate) fn origin_of(&self, inode: &Inode) -> Origin {
        let parent = self.tree.get(inode.row.parent);
        Origin {
            parent: parent.map_or(crate::NodeId::ROOT, |dir| dir.row.id),
            name: inode.row.name.clone(),
            attrs: inode.row.attrs.clone(),
        }
    }

    /// Writes a changed row and starts its settle window anew.
    pub(crate) fn put(&mut self, mut row: NodeRow) {
        let ino = row.ino;
        normalise(self, &mut row);
        let pending = !row.pending.is_none();
        self.commit(Change::PutNode(Box::new(row)));
        if pending {
            self.touch(ino);
        } else {
            self.settled(ino);
        }
    }

    /// A directory whose entries changed: its mtime and ctime move.
    pub(crate) fn touch_dir(&mut self, dir: Ino) {
        let wall = self.wall();
        let Some(inode) = self.tree.get(dir) else { return };
        let mut row = self.pend(inode, Pending::ATTRS);
        row.attrs.mtime = wall;
        row.attrs.ctime = wall;
        self.put(row);
    }
}

/// Intent that leads back to where the cloud is already is no intent.
fn normalise(drive: &Drive, row: &mut NodeRow) {
    let Some(origin) = &row.origin else { return };
    if drive.uploads.is_sending(row.ino) {
        return; // the cloud may be about to have it elsewhere
    }
    let parent = drive.tree.get(row.parent).map(|dir| dir.row.id);
    if row.pending.has(Pending::PLACE)
        && !row.pending.has(Pending::TRASH.with(Pending::RESTORE))
        && parent == Some(origin.parent)
        && row.name == origin.name
    {
        row.pending = row.pending.without(Pending::PLACE);
    }
    let facets = Pending::PLACE.with(Pending::ATTRS).with(Pending::TRASH).with(Pending::RESTORE);
    if !row.pending.has(facets) && row.parent != Ino::NONE {
        row.origin = None;
    }
}
