//! Unlink and rmdir. In the cloud a removal is a move to the trash.

use super::Flow;
use crate::drive::Drive;
use crate::faults::Step;
use crate::{Change, FsError, Ino, Name, Pending, Response};
use alloc::boxed::Box;

impl Drive {
    pub(super) fn unlink(&mut self, parent: Ino, name: &Name) -> Step<Flow> {
        self.node(parent)?;
        let inode = self.child(parent, name)?.ok_or(FsError::NotFound)?;
        if inode.is_dir() {
            return Err(FsError::IsDirectory.into());
        }
        let ino = inode.row.ino;
        self.remove_name(ino)?;
        self.touch_dir(parent);
        Ok(Some(Response::Done))
    }

    pub(super) fn rmdir(&mut self, parent: Ino, name: &Name) -> Step<Flow> {
        self.node(parent)?;
        let ino = self.child(parent, name)?.ok_or(FsError::NotFound)?.row.ino;
        self.require_empty(ino)?;
        self.remove(ino);
        self.touch_dir(parent);
        Ok(Some(Response::Done))
    }

    /// The node is a directory and has no entries.
    pub(super) fn require_empty(&self, ino: Ino) -> Step<()> {
        let dir = self.listing(ino)?;
        if dir.children.is_empty() { Ok(()) } else { Err(FsError::NotEmpty.into()) }
    }

    /// Takes a node out of its own place, wherever it has other names. Open handles keep its bytes.
    pub(crate) fn remove(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        let wall = self.wall();
        let mut row = if self.is_unsent_create(ino) {
            let mut row = inode.row.clone();
            row.pending = Pending::NONE;
            row
        } else {
            self.pend(inode, Pending::TRASH)
        };
        row.parent = Ino::NONE;
        row.name = Name::none();
        row.attrs.ctime = wall;
        row.pinned = false;
        let pending = !row.pending.is_none();
        self.commit(Change::PutNode(Box::new(row)));
        if pending {
            self.touch(ino);
        } else {
            self.settled(ino);
        }
        self.reap(ino);
    }
}
