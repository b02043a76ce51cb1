//! Writing bytes, reserving and zeroing ranges, finding data and holes.

use super::Flow;
use super::attr::{FILE_MAX, set_id};
use crate::drive::Drive;
use crate::faults::{Halt, Need, Step, Wake};
use crate::jobs::Work;
use crate::{Change, FsError, HandleId, Ino, Local, Pending, Range, Response, SetAttrs, Ticket};
use alloc::{boxed::Box, vec::Vec};
use bytes::Bytes;

/// Dirty bytes beyond half of the cache that are still accepted: 1 GiB.
pub(crate) const DIRTY_ALLOWANCE: u64 = 1 << 30;

impl Drive {
    pub(super) fn write(
        &mut self,
        ticket: Ticket,
        (ino, handle): (Ino, HandleId),
        (offset, data): (u64, &Bytes),
        strip: bool,
    ) -> Step<Flow> {
        let open = self.handles.get_mut(handle, ino).ok_or(FsError::BadHandle)?;
        if !open.flags.write {
            return Err(FsError::BadHandle.into());
        }
        let append = open.flags.append;
        let inode = self.node(ino)?;
        let offset = if append { inode.row.size } else { offset };
        let len = data.len() as u64;
        check_end(offset, len)?;
        if data.is_empty() {
            return Ok(Some(Response::Written(0)));
        }
        if append && !inode.busy.is_empty() {
            return Err(Halt::Fault(Need::Idle(ino)));
        }
        if strip && set_id(inode.row.attrs.mode) != 0 {
            self.set_fields(ino, &SetAttrs { strip, ..SetAttrs::default() });
        }
        self.put_bytes(ticket, ino, offset, data)
    }

    /// Writes bytes to a place inside the longest file.
    pub(super) fn put_bytes(
        &mut self,
        ticket: Ticket,
        ino: Ino,
        offset: u64,
        data: &Bytes,
    ) -> Step<Flow> {
        let range = Range::at(offset, data.len() as u64);
        if self.node(ino)?.conflicts(range, true) {
            return Err(Halt::Fault(Need::Idle(ino)));
        }
        self.ensure_room(range.len())?;
        self.revive_superseded(ino);
        self.soil(ino, range);
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.begin(range, true);
        }
        self.hydration.filling(range);
        let after = self.latest();
        let direct = self.may_be_passed(ino);
        let write = Local::Write { ino, offset, data: data.clone(), direct, after };
        self.local(Work::Write { ticket, ino, range }, write);
        Ok(None)
    }

    /// A new file without holes or clean bytes.
    fn is_fresh(&self, ino: Ino) -> bool {
        self.tree.get(ino).is_some_and(|inode| {
            let row = &inode.row;
            let whole = inode
                .content
                .as_ref()
                .map_or(row.size == 0, |content| content.dirty.bytes() == row.size);
            row.pending.has(Pending::CREATE) && whole
        })
    }

    /// Before clean bytes change they are recorded as dirty; bytes that are not here yet are
    /// recorded after they are written, since a hole must never be taken for data.
    pub(super) fn soil(&mut self, ino: Ino, range: Range) {
        if self.is_fresh(ino) {
            return; // the cloud has nothing of it that its bytes could be mistaken for
        }
        self.ensure_content(ino);
        let Some(inode) = self.tree.get(ino) else { return };
        let clean: Vec<Range> = inode
            .content
            .as_ref()
            .map(|content| clean_within(content, inode.row.size, range))
            .unwrap_or_default();
        let (size, mtime) = (inode.row.size, inode.row.attrs.mtime);
        let unmarked = is_unmarked(&inode.row);
        if unmarked {
            let row = self.pend(inode, Pending::CONTENT);
            self.commit(Change::PutNode(Box::new(row)));
        }
        for part in clean {
            if let Some(flight) = self.tree.get_mut(ino).and_then(|inode| inode.flight.as_mut()) {
                flight.dirty.insert(part);
            }
            self.commit(Change::Wrote { ino, range: part, size, mtime });
        }
    }

    pub(crate) fn write_done(
        &mut self,
        ticket: Ticket,
        ino: Ino,
        range: Range,
        result: Result<(), FsError>,
    ) {
        self.hydration.filled(range);
        if result.is_ok() {
            self.wrote(ino, range);
        } else {
            self.backing_gone(ino); // it may be longer now than its record says
        }
        let written = u32::try_from(range.len()).unwrap_or(u32::MAX);
        self.reply(ticket, result.map(|()| Response::Written(written)));
        self.release(ino, range, true);
        self.reap(ino);
    }

    /// Records bytes that are in the backing file now.
    fn wrote(&mut self, ino: Ino, range: Range) {
        let mtime = self.wall();
        let Some(inode) = self.tree.get_mut(ino) else { return };
        inode.generation += 1;
        if let Some(flight) = &mut inode.flight {
            flight.dirty.insert(range);
        }
        let size = inode.row.size.max(range.end);
        if is_unmarked(&inode.row)
            && let Some(inode) = self.tree.get(ino)
        {
            // What was pending was sent while these bytes were being written.
            let row = self.pend(inode, Pending::CONTENT);
            self.commit(Change::PutNode(Box::new(row)));
        }
        self.commit(Change::Wrote { ino, range, size, mtime });
        self.hydration.used(ino);
        if self.tree.get(ino).is_some_and(|inode| inode.row.parent != Ino::NONE) {
            self.touch(ino);
        }
    }

    /// Makes sure that `len` more dirty bytes may be taken in.
    pub(super) fn ensure_room(&mut self, len: u64) -> Step<()> {
        if self.hydration.disk_free.is_some_and(|free| free < self.limits.disk_floor / 4) {
            self.evict_for(len);
            return Err(FsError::NoSpace.into());
        }
        let limit = self.limits.cache_bytes / 2 + DIRTY_ALLOWANCE;
        if self.tree.weight().dirty + len > limit {
            return Err(Halt::Fault(Need::Space));
        }
        self.evict_for(len);
        Ok(())
    }

    pub(super) fn allocate(
        &mut self,
        ticket: Ticket,
        (ino, handle): (Ino, HandleId),
        (offset, len): (u64, u64),
        keep_size: bool,
        zero: bool,
    ) -> Step<Flow> {
        let open = self.handles.get_mut(handle, ino).ok_or(FsError::BadHandle)?;
        if !open.flags.write {
            return Err(FsError::BadHandle.into());
        }
        let end =
            offset.checked_add(len).filter(|end| *end <= FILE_MAX).ok_or(FsError::TooLarge)?;
        if len == 0 {
            return Err(FsError::Invalid.into());
        }
        let size = self.node(ino)?.row.size;
        if zero {
            let range = Range::new(offset, if keep_size { end.min(size) } else { end });
            if range.is_empty() {
                self.set_modified(ino);
                return Ok(Some(Response::Done));
            }
            return self.zero_range(ticket, ino, range);
        }
        self.ensure_room(0)?;
        if !keep_size && end > size && self.passthrough.is_blind(ino) {
            // Its length is that of the backing file.
            return self.zero_range(ticket, ino, Range::new(size, end));
        }
        if !keep_size && end > size {
            self.truncate(ino, end)?;
        } else {
            self.set_modified(ino);
        }
        Ok(Some(Response::Done))
    }

    fn zero_range(&mut self, ticket: Ticket, ino: Ino, range: Range) -> Step<Flow> {
        if self.node(ino)?.conflicts(range, true) {
            return Err(Halt::Fault(Need::Idle(ino)));
        }
        self.ensure_room(0)?;
        self.soil(ino, range);
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.begin(range, true);
        }
        let after = self.latest();
        self.local(Work::Zero { ticket, ino, range }, Local::Zero { ino, range, after });
        Ok(None)
    }

    pub(crate) fn zero_done(
        &mut self,
        ticket: Ticket,
        ino: Ino,
        range: Range,
        result: Result<(), FsError>,
    ) {
        if result.is_ok() {
            self.wrote(ino, range);
        }
        self.reply(ticket, result.map(|()| Response::Done));
        self.release(ino, range, true);
        self.wake(Wake::Bytes(ino));
    }

    /// All of a file counts as data, its end as the one hole (which POSIX allows).
    pub(super) fn seek(
        &mut self,
        ino: Ino,
        handle: HandleId,
        offset: u64,
        hole: bool,
    ) -> Step<Flow> {
        self.handles.get_mut(handle, ino).ok_or(FsError::BadHandle)?;
        let size = self.node(ino)?.row.size;
        if offset >= size {
            return Err(FsError::NoData.into());
        }
        Ok(Some(Response::Offset(if hole { size } else { offset })))
    }
}

/// Refuses bytes beyond the longest file.
pub(super) fn check_end(offset: u64, len: u64) -> Result<(), FsError> {
    let fits = offset.checked_add(len).is_some_and(|end| end <= FILE_MAX);
    if fits { Ok(()) } else { Err(FsError::TooLarge) }
}

/// Has a place and bytes in the cloud, and nothing says yet that they differ here.
fn is_unmarked(row: &crate::NodeRow) -> bool {
    row.parent != Ino::NONE && !row.pending.has(Pending::CONTENT.with(Pending::CREATE))
}

/// The parts of `range` that are here and not dirty: fetched bytes, and holes inside the file.
fn clean_within(content: &crate::ContentRow, size: u64, range: Range) -> Vec<Range> {
    let holes = content.dirty.gaps(range.clip(Range::new(content.base_len, size)));
    let mut clean: crate::Ranges = holes.into_iter().collect();
    content.valid.within(range).into_iter().for_each(|part| clean.insert(part));
    clean.iter().collect()
}
