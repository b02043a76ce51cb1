//! `copy_file_range(2)`: bytes that are here are copied on the disk, and cut into chunks that the
//! cloud has already. A file whose bytes are not here is not fetched for that: the copy starts on
//! the same version of the same content.

use super::Flow;
use crate::drive::Drive;
use crate::faults::{Halt, Need, Step};
use crate::hydration::base_of;
use crate::jobs::Work;
use crate::tree::Inode;
use crate::{
    Change, ContentRow, FsError, HandleId, Ino, Local, Pending, Range, Ranges, Response, Ticket,
};
use alloc::boxed::Box;
use bytes::Bytes;

/// Bytes copied on the disk by one call: the caller asks again, and nobody else waits for long.
const COPY_BYTES: u64 = 64 << 20;
/// Bytes fetched at a time when a copy has to wait for them.
const FETCH_BYTES: u64 = 1 << 20;
/// The answer is a 32-bit number of bytes; whole pages below that.
const SHARE_BYTES: u64 = (u32::MAX as u64) & !0xfff;

/// One side of a copy.
pub(super) type Side = (Ino, HandleId, u64);

impl Drive {
    pub(super) fn copy(
        &mut self,
        ticket: Ticket,
        (from, from_handle, from_offset): Side,
        (to, to_handle, to_offset): Side,
        len: u64,
    ) -> Step<Flow> {
        self.take_over(from, from_handle)?;
        self.take_over(to, to_handle)?;
        let source = self.handles.get_mut(from_handle, from).ok_or(FsError::BadHandle)?;
        let readable = source.flags.read;
        let target = self.handles.get_mut(to_handle, to).ok_or(FsError::BadHandle)?;
        if !readable || !target.flags.write || target.flags.append {
            return Err(FsError::BadHandle.into());
        }
        let end = from_offset.saturating_add(len).min(self.node(from)?.row.size);
        let wanted = Range::new(from_offset.min(end), end);
        super::write::check_end(to_offset, wanted.len())?;
        if wanted.is_empty() {
            return Ok(Some(Response::Written(0)));
        }
        // What the kernel reads by itself must have its bytes here.
        let passed = self.tree.get(to).is_some_and(|inode| inode.passed > 0);
        if self.is_absent(from, wanted)
            && !(passed || self.passthrough.is_blind(to))
            && let Some(shared) = self.share((from, to), wanted, to_offset)?
        {
            return Ok(Some(Response::Written(shared)));
        }
        if let Some(bytes) = self.passing(from, wanted)? {
            return self.put_bytes(ticket, to, to_offset, &bytes);
        }
        let part = self.present(from, wanted)?;
        self.copy_here(ticket, (from, part), (to, to_offset))
    }

    fn is_absent(&self, ino: Ino, range: Range) -> bool {
        self.tree.get(ino).is_some_and(|inode| !inode.absent(range).is_empty())
    }

    /// The first bytes of `wanted` if they are held in memory only: there is no room for more.
    fn passing(&mut self, ino: Ino, wanted: Range) -> Step<Option<Bytes>> {
        let inode = self.node(ino)?;
        let first = first_of(wanted);
        let lacks = inode.absent(first).first().is_some_and(|gap| gap.start == first.start);
        if !lacks {
            return Ok(None);
        }
        Ok(self.hydration.passing.get(inode, base_of(inode), first))
    }

    /// The first bytes of `wanted` that are here; asks for them if they are not.
    fn present(&self, ino: Ino, wanted: Range) -> Step<Range> {
        let inode = self.node(ino)?;
        let part = Range::new(wanted.start, wanted.end.min(wanted.start + COPY_BYTES));
        let end = match inode.absent(part).first() {
            Some(gap) if gap.start == part.start => {
                return Err(Halt::Fault(Need::Bytes(ino, first_of(wanted))));
            }
            Some(gap) => gap.start,
            None => part.end,
        };
        let part = Range::new(part.start, end);
        if inode.conflicts(part, false) {
            return Err(Halt::Fault(Need::Idle(ino)));
        }
        Ok(part)
    }

    fn copy_here(
        &mut self,
        ticket: Ticket,
        (from, part): (Ino, Range),
        (to, offset): (Ino, u64),
    ) -> Step<Flow> {
        let range = Range::at(offset, part.len());
        if self.node(to)?.conflicts(range, true) {
            return Err(Halt::Fault(Need::Idle(to)));
        }
        if from == to && part.overlaps(range) {
            return Err(FsError::Invalid.into());
        }
        self.ensure_room(range.len())?;
        self.revive_superseded(to);
        self.soil(to, range);
        if let Some(inode) = self.tree.get_mut(from) {
            inode.begin(part, false);
        }
        if let Some(inode) = self.tree.get_mut(to) {
            inode.begin(range, true);
        }
        self.hydration.filling(range);
        let after = self.latest();
        let work = Work::Copy { ticket, from, part, to, range };
        self.local(work, Local::Copy { from, part, to, offset, after });
        Ok(None)
    }

    pub(crate) fn copy_done(
        &mut self,
        ticket: Ticket,
        (from, part): (Ino, Range),
        (to, range): (Ino, Range),
        result: Result<(), FsError>,
    ) {
        self.release(from, part, false);
        self.reap(from);
        self.write_done(ticket, to, range, result);
    }

    /// Lets the copy start on the source's version in the cloud. Returns how many bytes it has that
    /// way; `None` if that cannot be: not the same offset, not a copy from the start on, or unsent
    /// changes in the source.
    fn share(&mut self, (from, to): (Ino, Ino), wanted: Range, offset: u64) -> Step<Option<u32>> {
        let Some((source, target)) = self.tree.get(from).zip(self.tree.get(to)) else {
            return Ok(None);
        };
        let Some(base) = version_of(source).filter(|_| from != to) else { return Ok(None) };
        let continues = target.content.as_deref().is_some_and(|content| {
            (content.base_id, content.base_rev, content.base_len)
                == (base.base_id, base.base_rev, target.row.size)
        });
        let fresh = target.row.size == 0;
        if wanted.start != offset || offset != target.row.size || !(fresh || continues) {
            return Ok(None);
        }
        if target.flight.is_some() || self.uploads.is_sending(to) {
            return Ok(None); // what is sent becomes the base, and this would not be in it
        }
        if target.conflicts(Range::new(0, u64::MAX), true) {
            return Err(Halt::Fault(Need::Idle(to)));
        }
        let len = wanted.len().min(SHARE_BYTES);
        self.revive_superseded(to);
        self.ensure_content(to);
        let wall = self.wall();
        let Some(target) = self.tree.get(to) else { return Ok(None) };
        let mut row = self.pend(target, Pending::CONTENT);
        row.size = offset + len;
        row.attrs.mtime = wall;
        row.attrs.ctime = wall;
        let mut content = target.content.as_deref().cloned().unwrap_or_default();
        content.ino = to;
        (content.base_id, content.base_rev) = (base.base_id, base.base_rev);
        content.base_len = offset + len;
        if fresh {
            (content.valid, content.dirty) = (Ranges::new(), Ranges::new());
        }
        self.commit(Change::PutContent(Box::new(content)));
        self.put(row);
        if let Some(inode) = self.tree.get_mut(to) {
            inode.generation += 1;
        }
        Ok(Some(u32::try_from(len).unwrap_or(u32::MAX)))
    }
}

/// What is fetched of `wanted` when none of it is here.
fn first_of(wanted: Range) -> Range {
    Range::new(wanted.start, wanted.end.min(wanted.start + FETCH_BYTES))
}

/// The version in the cloud that all bytes of a file are of.
fn version_of(inode: &Inode) -> Option<ContentRow> {
    let row = &inode.row;
    match inode.content.as_deref() {
        None if row.content_rev.0 != 0 => Some(ContentRow {
            base_id: row.id,
            base_rev: row.content_rev,
            base_len: row.size,
            ..ContentRow::default()
        }),
        Some(content)
            if content.dirty.is_empty()
                && content.base_rev.0 != 0
                && content.base_len >= row.size =>
        {
            Some(content.clone())
        }
        _ => None,
    }
}
