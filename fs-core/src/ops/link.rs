//! Hard links: `link(2)`.

use super::Flow;
use crate::drive::Drive;
use crate::faults::Step;
use crate::{CreateSpec, FsError, Ino, Kind, Name, Owner, Response};

impl Drive {
    pub(super) fn link(&mut self, ino: Ino, parent: Ino, name: &Name) -> Step<Flow> {
        let inode = self.node(ino)?;
        match inode.row.kind {
            Kind::Dir => return Err(FsError::NotPermitted.into()),
            Kind::Link => return Err(FsError::Io.into()),
            _ => {}
        }
        if inode.row.parent == Ino::NONE {
            return Err(FsError::NotFound.into());
        }
        let id = inode.row.id;
        if self.vacancy(parent, name)?.is_some() {
            return Err(FsError::Exists.into());
        }
        let target = id.0.to_vec();
        let owner = Owner::default();
        let spec = CreateSpec { kind: Kind::Link, mode: 0, rdev: 0, owner, target };
        self.insert_new(parent, name, &spec);
        self.touch_target(id);
        self.remember(ino);
        Ok(Some(Response::Entry(self.node(ino)?.attr())))
    }
}
