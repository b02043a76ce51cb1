//! Rename, with replacing, NOREPLACE and EXCHANGE.

use super::Flow;
use crate::drive::Drive;
use crate::faults::Step;
use crate::{FsError, Ino, Name, Pending, RenameFlags, Response};

impl Drive {
    pub(super) fn rename(
        &mut self,
        from: &(Ino, Name),
        to: &(Ino, Name),
        flags: RenameFlags,
    ) -> Step<Flow> {
        self.node(from.0)?;
        if !self.node(to.0)?.is_dir() {
            return Err(FsError::NotDirectory.into());
        }
        let moved = self.child(from.0, &from.1)?.ok_or(FsError::NotFound)?;
        let (ino, is_dir) = (moved.row.ino, moved.is_dir());
        let target = self.child(to.0, &to.1)?.map(|inode| (inode.row.ino, inode.is_dir()));
        let same = match self.child(to.0, &to.1)? {
            Some(other) => self.shown(moved)?.row.ino == self.shown(other)?.row.ino,
            None => false,
        };
        if is_dir && self.tree.is_below(to.0, ino) {
            return Err(FsError::Invalid.into());
        }
        match target {
            // Two names of one node: POSIX leaves both.
            Some(_) if same => return Ok(Some(Response::Done)),
            Some((other, other_dir)) if flags.exchange => {
                if other_dir && self.tree.is_below(from.0, other) {
                    return Err(FsError::Invalid.into());
                }
                self.place(ino, to.0, &to.1);
                self.place(other, from.0, &from.1);
            }
            None if flags.exchange => return Err(FsError::NotFound.into()),
            Some(_) if flags.no_replace => return Err(FsError::Exists.into()),
            Some((other, other_dir)) => {
                match (is_dir, other_dir) {
                    (true, false) => return Err(FsError::NotDirectory.into()),
                    (false, true) => return Err(FsError::IsDirectory.into()),
                    (true, true) => self.require_empty(other)?,
                    (false, false) => {}
                }
                self.remove_name(other)?;
                self.place(ino, to.0, &to.1);
            }
            None => self.place(ino, to.0, &to.1),
        }
        self.touch_dir(from.0);
        if from.0 != to.0 {
            self.touch_dir(to.0);
        }
        Ok(Some(Response::Done))
    }

    /// Gives a node a new place.
    pub(crate) fn place(&mut self, ino: Ino, parent: Ino, name: &Name) {
        let wall = self.wall();
        let Some(inode) = self.tree.get(ino) else { return };
        let mut row = self.pend(inode, Pending::PLACE);
        row.parent = parent;
        row.name = name.clone();
        row.attrs.ctime = wall;
        self.put(row);
        self.reconsider(ino);
        self.look_also(ino);
    }
}
