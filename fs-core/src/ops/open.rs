//! Open and close.

use super::Flow;
use crate::drive::Drive;
use crate::faults::Step;
use crate::handles::Route;
use crate::jobs::Cut;
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
        self.await_earlier(ino, flags)?;
        let Some(inode) = self.tree.get(ino) else { return Err(FsError::Stale.into()) };
        let cut = flags.truncate && inode.row.size > 0;
        if cut {
            self.truncate(ino, 0)?;
        }
        let handle = self.open_handle(ino, flags);
        if cut {
            self.truncate_backing(ticket, ino, 0, Cut::Open(handle));
            return Ok(None);
        }
        self.hydration.used(ino);
        if flags.read {
            self.opened_small(ino);
        }
        Ok(self.give_handle(ticket, ino, handle))
    }

    /// Counts a new handle, by the way that its bytes take.
    pub(super) fn open_handle(&mut self, ino: Ino, flags: OpenFlags) -> HandleId {
        let route = self.route(ino, flags);
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.opens += 1;
            inode.writers += u32::from(flags.write);
            inode.passed += u32::from(route != Route::Core);
            inode.blind += u32::from(route == Route::Blind);
        }
        let id = self.handles.open(ino, flags);
        if let Some(handle) = self.handles.get_mut(id, ino) {
            handle.route = route;
        }
        if flags.read && !flags.write {
            self.note_reader(ino, id);
        }
        if route == Route::Read {
            self.doubt(ino);
        }
        id
    }

    /// Answers the open of a new handle: at once, unless the file can be written unseen through it.
    pub(super) fn give_handle(&mut self, ticket: Ticket, ino: Ino, id: HandleId) -> Flow {
        if self.handles.get_mut(id, ino).is_some_and(|handle| handle.route == Route::Blind) {
            self.go_blind(ticket, ino, id);
            return None;
        }
        let old = self.tree.get_mut(ino).map(|inode| core::mem::take(&mut inode.old_pages));
        self.opened(ino, id, old != Some(true))
    }

    fn opened(&mut self, ino: Ino, id: HandleId, keep_cache: bool) -> Flow {
        let handle = self.handles.get_mut(id, ino)?;
        let (route, created) = (handle.route, handle.created);
        let via = self.via(ino, route);
        if created {
            let attr = self.tree.get(ino)?.attr();
            return Some(Response::Created { attr, handle: id, via });
        }
        Some(Response::Opened { handle: id, keep_cache, via })
    }

    /// The same after the file was cut: pages that the kernel has of it are old.
    pub(super) fn give_cut_handle(&mut self, ticket: Ticket, ino: Ino, id: HandleId) {
        if self.handles.get_mut(id, ino).is_some_and(|handle| handle.route == Route::Blind) {
            self.go_blind(ticket, ino, id);
        } else {
            self.answer_open(ticket, ino, id);
        }
    }

    pub(crate) fn answer_open(&mut self, ticket: Ticket, ino: Ino, id: HandleId) {
        let answer = self.opened(ino, id, false).ok_or(FsError::Stale);
        self.reply(ticket, answer);
    }

    /// The driver cannot hand the file to the kernel: nobody writes unseen through this handle.
    pub(super) fn unpass(&mut self, ino: Ino, id: HandleId) -> Flow {
        let handle = self.handles.get_mut(id, ino);
        let route = handle.map_or(Route::Core, |handle| core::mem::take(&mut handle.route));
        self.uncount(ino, route);
        if route == Route::Blind {
            self.watch(ino);
        }
        Some(Response::Done)
    }

    fn uncount(&mut self, ino: Ino, route: Route) {
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.passed = inode.passed.saturating_sub(u32::from(route != Route::Core));
            inode.blind = inode.blind.saturating_sub(u32::from(route == Route::Blind));
        }
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
    pub(crate) fn close(&mut self, ino: Ino, handle: HandleId) -> Flow {
        let closed = self.handles.close(handle);
        let route = closed.as_ref().map_or(Route::Core, |handle| handle.route);
        self.uncount(ino, route);
        if let Some(inode) = self.tree.get_mut(ino)
            && let Some(handle) = closed
        {
            inode.opens = inode.opens.saturating_sub(1);
            inode.writers = inode.writers.saturating_sub(u32::from(handle.flags.write));
            let pending = !inode.row.pending.is_none();
            if inode.opens == 0 {
                self.hydration.passing.forget(ino);
            }
            let size = inode.row.size;
            if pending && !self.passthrough.is_blind(ino) {
                self.touch_closed(ino);
            }
            if handle.created && route == Route::Core {
                self.passthrough.note_made(size >= self.limits.passthrough_min);
            }
            self.reap(ino);
            if route == Route::Blind {
                self.watch(ino); // what was written, and whether that was all
            }
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
