//! Reading bytes.

use super::Flow;
use crate::drive::Drive;
use crate::faults::{Halt, Need, Step};
use crate::hydration::base_of;
use crate::jobs::Work;
use crate::{FsError, HandleId, Ino, Local, Range, Response, Ticket};
use bytes::Bytes;

impl Drive {
    pub(super) fn read(
        &mut self,
        ticket: Ticket,
        ino: Ino,
        handle: HandleId,
        (offset, len): (u64, u32),
    ) -> Step<Flow> {
        let open = self.handles.get_mut(handle, ino).ok_or(FsError::BadHandle)?;
        if !open.flags.read {
            return Err(FsError::BadHandle.into());
        }
        let inode = self.node(ino)?;
        let wanted = Range::at(offset, u64::from(len)).clip(Range::new(0, inode.row.size));
        if wanted.is_empty() {
            return Ok(Some(Response::Data(Bytes::new())));
        }
        if offset == 0 {
            self.doubt(ino); // once each time that the file is read
        }
        self.read_ahead(ino, handle, wanted);
        let inode = self.node(ino)?;
        if let Some(bytes) = self.hydration.passing.get(inode, base_of(inode), wanted) {
            return Ok(Some(Response::Data(bytes)));
        }
        if !inode.absent(wanted).is_empty() {
            return Err(Halt::Fault(Need::Bytes(ino, wanted)));
        }
        if inode.conflicts(wanted, false) {
            return Err(Halt::Fault(Need::Idle(ino)));
        }
        if inode.content.is_none() {
            // Nothing was ever written: a hole of that length.
            return Ok(Some(Response::Data(Bytes::from(alloc::vec![0; wanted.len() as usize]))));
        }
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.begin(wanted, false);
        }
        self.local(Work::Read { ticket, ino, range: wanted }, Local::Read { ino, range: wanted });
        Ok(None)
    }

    pub(crate) fn read_done(
        &mut self,
        ticket: Ticket,
        ino: Ino,
        range: Range,
        result: Result<Bytes, FsError>,
    ) {
        self.reply(ticket, result.map(Response::Data));
        self.release(ino, range, false);
        self.reap(ino);
    }
}
