//! Ending a conflict: one side gets the file's name, or both stay. Nothing is destroyed: the side that
//! gives way is a version of the file, or in the trash.

use crate::conflict::{RECORD, Record, plain_name};
use crate::drive::Drive;
use crate::faults::{Need, Step};
use crate::tree::Inode;
use crate::{ContentRef, FsError, Ino, Keep, Name, Pending};

impl Drive {
    pub(super) fn resolve_conflict(&mut self, ino: Ino, keep: Keep) -> Step<()> {
        let copy = self.node(ino)?;
        let record = Record::of(&copy.row.attrs).ok_or(FsError::Invalid)?;
        if keep == Keep::Both {
            self.unmark(ino);
            return Ok(());
        }
        if !copy.is_file() {
            return Err(FsError::IsDirectory.into());
        }
        self.at_rest(copy)?;
        let kept = self.kept_of(&record)?;
        if keep == Keep::Kept {
            if kept.is_none() {
                return Err(FsError::NotFound.into());
            }
            self.remove_name(ino)?;
            return Ok(());
        }
        let Some(kept) = kept else {
            self.take_plain_name(ino);
            return Ok(());
        };
        if !kept.is_file() {
            return Err(FsError::IsDirectory.into());
        }
        self.at_rest(kept)?;
        let to = kept.row.ino;
        let row = &copy.row;
        let version = ContentRef { id: row.id, rev: row.content_rev };
        let shape = (row.size, row.attrs.mtime);
        self.other_name(ino)?;
        self.take_version(to, version, shape);
        self.remove_name(ino)
    }

    /// All of it is in the cloud, and nobody has it open.
    fn at_rest(&self, inode: &Inode) -> Step<()> {
        let row = &inode.row;
        if !inode.busy.is_empty() {
            return Err(Need::Idle(row.ino).into_halt());
        }
        let unsent = row.pending.has(Pending::CREATE.with(Pending::CONTENT));
        if inode.opens > 0 || unsent || self.passthrough.is_blind(row.ino) || row.content_rev.0 == 0
        {
            return Err(FsError::Busy.into());
        }
        Ok(())
    }

    /// The copy is a file like any other from now on.
    fn unmark(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        let mut row = self.pend(inode, Pending::ATTRS);
        row.attrs.xattrs.remove(RECORD);
        row.attrs.ctime = self.wall();
        self.put(row);
    }

    /// The file that it was a copy of is gone: it gets that name, if nobody else has it.
    fn take_plain_name(&mut self, ino: Ino) {
        self.unmark(ino);
        let Some(row) = self.tree.get(ino).map(|inode| inode.row.clone()) else { return };
        let Ok(plain) = Name::new(&plain_name(row.name.as_bytes())) else { return };
        let is_known = self.tree.get(row.parent).is_some_and(|dir| dir.loaded);
        if is_known && self.tree.child(row.parent, &plain).is_none() {
            let (parent, name) = (row.parent, row.name);
            self.place(ino, parent, &plain);
            self.invalidate(crate::Stale::Entry { parent, name });
            self.invalidate(crate::Stale::Entry { parent, name: plain });
            self.invalidate(crate::Stale::Attrs(parent));
        }
    }
}
