//! Open and close.

use super::Flow;
use crate::drive::Drive;
use crate::faults::Step;
use crate::{FsError, HandleId, Ino, Kind, OpenFlags, Pending, Response, Ticket};

impl Drive {
    pub(super) fn open(&mut self, ticket: Ticket, ino: Ino, flags: OpenFlags) -> Step<Flow> {
        let inode = self.node(ino)?;
        match inode.row.kind {
            Kind::File => {}
            Kind::Dir => return Err(FsError::IsDirectory.into()),
            Kind::Link => return Err(FsError::Io.into()), // what it names is nowhere
            _ => return Err(FsError::Invalid.into()),
        }
        if flags.truncate && inode.row.size > 0 {
            self.truncate(ino, 0)?;
            let handle = self.open_handle(ino, flags);
            self.truncate_backing(ticket, ino, 0, Some(handle));
            return Ok(None);
        }
        let handle = self.open_handle(ino, flags);
        self.hydration.used(ino);
        if flags.read {
            self.opened_small(ino);
        }
        let old = self.tree.get_mut(ino).map(|inode| core::mem::take(&mut inode.old_pages));
        Ok(Some(Response::Opened { handle, keep_cache: old != Some(true) }))
    }

    /// A handle of an earlier life counts from its first use on.
    pub(super) fn take_over(&mut self, ino: Ino, handle: HandleId) -> Step<()> {
        if !self.handles.is_earlier(handle) {
            return Ok(());
        }
        let is_file = self.node(ino)?.is_file();
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.opens += 1;
            inode.writers += u32::from(is_file);
        }
        self.handles.take_over(handle, ino);
        Ok(())
    }

    /// The kernel has let go of a node without a place: nobody has it open any more.
    pub(super) fn lay_to_rest(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get_mut(ino) else { return };
        if inode.haunted && inode.row.parent == Ino::NONE && ino != Ino::ROOT {
            inode.haunted = false;
            self.reap(ino);
        }
    }

    /// The last close of a handle. A file that was unlinked while open goes with its last handle.
    pub(super) fn close(&mut self, ino: Ino, handle: HandleId) -> Flow {
        let closed = self.handles.close(handle);
        if let Some(inode) = self.tree.get_mut(ino)
            && let Some(handle) = closed
        {
            inode.opens = inode.opens.saturating_sub(1);
            inode.writers = inode.writers.saturating_sub(u32::from(handle.flags.write));
            let pending = !inode.row.pending.is_none();
            if inode.opens == 0 {
                self.hydration.passing.forget(ino);
            }
            if pending {
                self.touch_closed(ino);
            }
            self.reap(ino);
            self.evict_for(0);
        } else if self.limits.life > 0 {
            self.touch_closed(ino); // of an earlier life, never used in this one
        }
        Some(Response::Done)
    }

    /// Drops a node that has no place, is not open, and of which nothing remains to be sent.
    pub(crate) fn reap(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        let row = &inode.row;
        let placeless = row.parent == Ino::NONE && ino != Ino::ROOT;
        if !placeless || inode.is_held() || !inode.busy.is_empty() || self.uploads.is_sending(ino) {
            return;
        }
        let limbo = row.origin.is_some() && row.pending.is_none();
        // Wanted back from the cloud's trash, then removed here: nothing is left to do.
        let moot = row.pending.has(Pending::RESTORE);
        let unsent = !row.pending.is_none() && !moot && !self.is_unsent_create(ino);
        let tombstone = row.gone && row.meta_rev > self.inbox.applied;
        if !limbo && !unsent && !tombstone {
            self.drop_node(ino);
        }
    }

    /// Whether the cloud can know nothing of the node.
    pub(crate) fn is_unsent_create(&self, ino: Ino) -> bool {
        let created = |inode: &crate::tree::Inode| inode.row.pending.has(Pending::CREATE);
        self.tree.get(ino).is_some_and(created) && !self.uploads.is_sending(ino)
    }
}
