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
        Ok(Some(Response::Opened { handle, keep_cache: true }))
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
            if pending {
                self.touch_closed(ino);
            }
            self.reap(ino);
            self.evict_for(0);
        }
        Some(Response::Done)
    }

    /// Drops a node that has no place, is not open, and of which nothing remains to be sent.
    pub(crate) fn reap(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        let row = &inode.row;
        let placeless = row.parent == Ino::NONE && ino != Ino::ROOT;
        if !placeless || inode.opens > 0 || !inode.busy.is_empty() || self.uploads.is_sending(ino) {
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
