//! New nodes: create, mkdir, mknod, symlink.

use super::Flow;
use super::acl::{ACCESS, DEFAULT, List};
use crate::drive::Drive;
use crate::faults::{Halt, Step};
use crate::jobs::Cut;
use crate::{
    Attrs, Change, CreateSpec, FsError, HandleId, Ino, Kind, Name, NodeRow, OpenFlags, Owner,
    Pending, Response, Rev, Ticket, Xattrs,
};
use alloc::{boxed::Box, vec::Vec};

/// The longest symlink target in bytes (Linux PATH_MAX less its NUL).
const TARGET_MAX: usize = 4095;

impl Drive {
    pub(super) fn make(&mut self, parent: Ino, name: &Name, spec: &CreateSpec) -> Step<Flow> {
        if spec.kind == Kind::Symlink && (spec.target.is_empty() || spec.target.len() > TARGET_MAX)
        {
            return Err(if spec.target.is_empty() {
                FsError::NotFound
            } else {
                FsError::NameTooLong
            }
            .into());
        }
        if self.vacancy(parent, name)?.is_some() {
            return Err(FsError::Exists.into());
        }
        let ino = self.insert_new(parent, name, spec);
        self.remember(ino);
        Ok(Some(Response::Entry(self.node(ino)?.attr())))
    }

    pub(super) fn create(
        &mut self,
        ticket: Ticket,
        (parent, name): (Ino, &Name),
        mode: u32,
        owner: Owner,
        flags: OpenFlags,
    ) -> Step<Flow> {
        if let Some(entry) = self.vacancy(parent, name)? {
            let ino = self.shown(self.node(entry)?)?.row.ino;
            return self.open_existing(ticket, ino, flags);
        }
        let spec = CreateSpec { kind: Kind::File, mode, rdev: 0, owner, target: Vec::new() };
        let ino = self.insert_new(parent, name, &spec);
        self.remember(ino);
        let handle = self.open_created(ino, flags);
        Ok(self.give_handle(ticket, ino, handle))
    }

    fn open_created(&mut self, ino: Ino, flags: OpenFlags) -> HandleId {
        let id = self.open_handle(ino, flags);
        if let Some(handle) = self.handles.get_mut(id, ino) {
            handle.created = true;
        }
        id
    }

    /// `create` of a name that another open made first: opens it, unless that was forbidden.
    fn open_existing(&mut self, ticket: Ticket, ino: Ino, flags: OpenFlags) -> Step<Flow> {
        if flags.exclusive {
            return Err(FsError::Exists.into());
        }
        if self.node(ino)?.is_dir() {
            return Err(FsError::IsDirectory.into());
        }
        let cut = flags.truncate && self.node(ino)?.is_file() && self.node(ino)?.row.size > 0;
        if cut {
            self.truncate(ino, 0)?;
        }
        self.remember(ino);
        let handle = self.open_created(ino, flags);
        if cut {
            self.truncate_backing(ticket, ino, 0, Cut::Open(handle));
            return Ok(None);
        }
        Ok(self.give_handle(ticket, ino, handle))
    }

    /// Who has the name already, if anyone; fails if nothing can be made there.
    pub(super) fn vacancy(&self, parent: Ino, name: &Name) -> Step<Option<Ino>> {
        let dir = self.node(parent)?;
        if !dir.is_dir() {
            return Err(FsError::NotDirectory.into());
        }
        if dir.row.parent == Ino::NONE && parent != Ino::ROOT {
            return Err(Halt::Fail(FsError::NotFound));
        }
        self.child(parent, name).map(|found| found.map(|inode| inode.row.ino))
    }

    pub(crate) fn insert_new(&mut self, parent: Ino, name: &Name, spec: &CreateSpec) -> Ino {
        let wall = self.wall();
        let ino = self.new_ino();
        let id = self.random.node_id(self.now);
        let (mut mode, xattrs) = self.permissions_of_new(parent, spec);
        let mut gid = spec.owner.gid;
        if let Some(dir) = self.tree.get(parent)
            && dir.row.attrs.mode & 0o2000 != 0
        {
            // A set-group-id directory hands its group down, and the bit to directories.
            gid = dir.row.attrs.gid;
            mode |= if spec.kind == Kind::Dir { 0o2000 } else { 0 };
        }
        let row = NodeRow {
            ino,
            id,
            parent,
            name: name.clone(),
            kind: spec.kind,
            attrs: Attrs {
                mode,
                uid: spec.owner.uid,
                gid,
                rdev: spec.rdev,
                atime: wall,
                mtime: wall,
                ctime: wall,
                btime: wall,
                target: spec.target.clone(),
                xattrs,
            },
            size: if spec.kind == Kind::Symlink { spec.target.len() as u64 } else { 0 },
            meta_rev: Rev(0),
            content_rev: Rev(0),
            pending: Pending::CREATE,
            origin: None,
            listed: spec.kind == Kind::Dir,
            pinned: false,
            gone: false,
        };
        self.commit(Change::PutNode(Box::new(row)));
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.loaded = true;
        }
        self.touch(ino);
        self.touch_dir(parent);
        ino
    }

    /// A directory with a default list decides; elsewhere the umask of who asks does.
    fn permissions_of_new(&self, parent: Ino, spec: &CreateSpec) -> (u32, Xattrs) {
        let asked = spec.mode & 0o7777;
        let mut xattrs = Xattrs::new();
        if spec.kind == Kind::Symlink {
            return (asked, xattrs);
        }
        let default = self.tree.get(parent).and_then(|dir| dir.row.attrs.xattrs.get(DEFAULT));
        let Some((value, list)) = default.and_then(|value| Some((value, List::parse(value)?)))
        else {
            return (asked & !spec.owner.umask, xattrs);
        };
        if spec.kind == Kind::Dir {
            xattrs.insert(DEFAULT.to_vec(), value.clone());
        }
        let (own, mode) = list.hand_down(asked);
        if own.says_more() {
            xattrs.insert(ACCESS.to_vec(), own.bytes());
        }
        (mode, xattrs)
    }
}
