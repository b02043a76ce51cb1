//! Attributes: chmod, chown, utimens, truncate, readlink.

use super::Flow;
use super::acl::{ACCESS, List};
use crate::drive::Drive;
use crate::faults::{Need, Step};
use crate::jobs::{Cut, Why, Work};
use crate::{
    Change, FsError, HandleId, Ino, Kind, Local, Pending, Range, Response, SetAttrs, SetTime,
    Ticket, Timestamp,
};
use alloc::boxed::Box;

/// The longest file in bytes: what fits a signed 64-bit offset (POSIX off_t).
pub(crate) const FILE_MAX: u64 = i64::MAX as u64;

impl Drive {
    pub(super) fn readlink(&mut self, ino: Ino) -> Step<Flow> {
        let inode = self.node(ino)?;
        if inode.row.kind != Kind::Symlink {
            return Err(FsError::Invalid.into());
        }
        Ok(Some(Response::Target(inode.row.attrs.target.clone())))
    }

    pub(super) fn setattr(
        &mut self,
        ticket: Ticket,
        ino: Ino,
        set: &SetAttrs,
        handle: Option<HandleId>,
    ) -> Step<Flow> {
        let inode = self.node(ino)?;
        let Some(size) = set.size else {
            self.set_fields(ino, set);
            if set.mtime.is_some() && self.passthrough.is_blind(ino) {
                self.measure(ino, Why::Set { ticket, timed: true });
                return Ok(None);
            }
            return Ok(Some(Response::Attr(self.node(ino)?.attr())));
        };
        match inode.row.kind {
            Kind::File => {}
            Kind::Dir => return Err(FsError::IsDirectory.into()),
            _ => return Err(FsError::Invalid.into()),
        }
        if let Some(id) = handle {
            let open = self.handles.get_mut(id, ino).ok_or(FsError::BadHandle)?;
            if !open.flags.write {
                return Err(FsError::Invalid.into());
            }
        }
        self.truncate(ino, size)?;
        let rest = SetAttrs { size: None, ..*set };
        self.set_fields(ino, &rest);
        self.truncate_backing(ticket, ino, size, Cut::Set { timed: set.mtime.is_some() });
        Ok(None)
    }

    /// Sets every field but the size.
    pub(super) fn set_fields(&mut self, ino: Ino, set: &SetAttrs) {
        let wall = self.wall();
        let Some(inode) = self.tree.get(ino) else { return };
        let owner_changes = set.uid.is_some() || set.gid.is_some();
        let strips = (set.strip || owner_changes) && !inode.is_dir() && set.mode.is_none();
        let lost = if strips { set_id(inode.row.attrs.mode) } else { 0 };
        let mut row = self.pend(inode, Pending::ATTRS);
        let attrs = &mut row.attrs;
        attrs.mode &= !lost;
        if let Some(mode) = set.mode {
            attrs.mode = mode & 0o7777;
            if let Some(list) = attrs.xattrs.get_mut(ACCESS)
                && let Some(known) = List::parse(list)
            {
                *list = known.after_chmod(mode).bytes();
            }
        }
        attrs.uid = set.uid.unwrap_or(attrs.uid);
        attrs.gid = set.gid.unwrap_or(attrs.gid);
        attrs.atime = resolve(set.atime, attrs.atime, wall);
        attrs.mtime = resolve(set.mtime, attrs.mtime, wall);
        attrs.ctime = wall;
        self.put(row);
    }

    /// What counts as a change of content although no byte changes: room that is reserved.
    pub(super) fn set_modified(&mut self, ino: Ino) {
        self.set_fields(ino, &SetAttrs { mtime: Some(SetTime::Now), ..SetAttrs::default() });
    }

    /// Records a new length: first the record, then the backing file, so that a crash in between
    /// leaves a longer file (which recovery cuts), never bytes that were cut off and come back.
    pub(super) fn truncate(&mut self, ino: Ino, size: u64) -> Step<()> {
        if size > FILE_MAX {
            return Err(FsError::TooLarge.into());
        }
        let inode = self.node(ino)?;
        if inode.conflicts(Range::new(0, u64::MAX), true) {
            return Err(Need::Idle(ino).into_halt());
        }
        if size > inode.row.size {
            self.ensure_room(0)?;
        }
        self.ensure_content(ino);
        let wall = self.wall();
        let Some(inode) = self.tree.get(ino) else { return Ok(()) };
        let mut row = self.pend(inode, Pending::CONTENT);
        row.size = size;
        row.attrs.mtime = wall;
        row.attrs.ctime = wall;
        if let Some(content) = &inode.content {
            let mut content = content.clone();
            content.base_len = content.base_len.min(size);
            content.valid.truncate(size);
            content.dirty.truncate(size);
            self.commit(Change::PutContent(content));
        }
        self.put(row);
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.generation += 1;
            if let Some(flight) = &mut inode.flight {
                flight.shortest = flight.shortest.min(size);
                flight.dirty.truncate(size);
            }
        }
        Ok(())
    }

    /// Cuts the backing file after `truncate`, then answers the ticket.
    pub(super) fn truncate_backing(&mut self, ticket: Ticket, ino: Ino, size: u64, cut: Cut) {
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.begin(Range::new(0, u64::MAX), true);
        }
        let after = self.latest();
        let work = Work::Truncate { ticket, ino, cut };
        self.local(work, Local::Truncate { ino, size, after });
    }

    pub(crate) fn truncate_done(
        &mut self,
        ticket: Ticket,
        ino: Ino,
        cut: Cut,
        result: Result<(), FsError>,
    ) {
        let whole = Range::new(0, u64::MAX);
        if let Cut::Open(handle) = cut {
            if let Err(error) = result {
                self.close(ino, handle);
                self.reply(ticket, Err(error));
                return self.release(ino, whole, true);
            }
            if let Some(inode) = self.tree.get_mut(ino) {
                inode.end(whole, true);
            }
            self.give_cut_handle(ticket, ino, handle);
            self.release(ino, whole, true);
        } else {
            self.release(ino, whole, true);
            if result.is_ok() && self.passthrough.is_blind(ino) {
                let timed = matches!(cut, Cut::Set { timed: true });
                self.measure(ino, Why::Set { ticket, timed });
            } else {
                self.answer_attr(ticket, ino, result);
            }
        }
    }

    pub(crate) fn answer_attr(&mut self, ticket: Ticket, ino: Ino, result: Result<(), FsError>) {
        let attr = self.tree.get(ino).map(crate::tree::Inode::attr).ok_or(FsError::Stale);
        self.reply(ticket, result.and(attr).map(Response::Attr));
    }

    /// Gives a file a content row, so that ranges have something to be counted from.
    pub(crate) fn ensure_content(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        if inode.content.is_none() && inode.is_file() {
            let known = inode.row.content_rev.0 != 0;
            let content = crate::ContentRow {
                ino,
                base_id: inode.row.id,
                base_rev: inode.row.content_rev,
                base_len: if known { inode.row.size } else { 0 },
                ..crate::ContentRow::default()
            };
            self.commit(Change::PutContent(Box::new(content)));
        }
    }
}

/// The set-id bits that a change of owner takes away (POSIX chown), and one of content by somebody without
/// privileges: set-user-id, and set-group-id where the group may execute.
pub(super) fn set_id(mode: u32) -> u32 {
    let group = if mode & 0o010 != 0 { 0o2000 } else { 0 };
    (0o4000 | group) & mode
}

fn resolve(set: Option<SetTime>, old: Timestamp, now: Timestamp) -> Timestamp {
    match set {
        None => old,
        Some(SetTime::Now) => now,
        Some(SetTime::At(time)) => time,
    }
}

impl Need {
    pub(crate) fn into_halt(self) -> crate::faults::Halt {
        crate::faults::Halt::Fault(self)
    }
}
