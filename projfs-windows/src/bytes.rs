//! Changes and bytes of the core's nodes, for the driver: each is a request or a few.

use crate::{decide::Shown, names::from_windows, path::Place, tree::Tree};
use ::bytes::Bytes;
use fs_core::{
    Attr, CreateSpec, FsError, HandleId, Ino, Kind, Name, OpenFlags, Owner, RenameFlags, Request,
    Response, SetAttrs, SetTime, Timestamp,
};
use std::io::Read;

/// Bytes that go into the core at once.
const WRITE_BYTES: usize = 1 << 20;
/// Permissions of what is made on Windows, which has none of this kind.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// Why bytes did not get into the core.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("the core refused it: {0}")]
    Core(#[from] FsError),
    #[error("the file on the disk cannot be read: {0}")]
    Disk(#[from] std::io::Error),
}

/// The version of a file.
#[must_use]
pub(crate) fn shown(attr: &Attr) -> Shown {
    Shown { ino: attr.ino, size: attr.size, mtime: attr.mtime }
}

impl Tree {
    /// # Errors
    /// Those of the core.
    pub fn attr(&self, ino: Ino) -> Result<Attr, FsError> {
        match self.port().call(Request::Getattr { ino })? {
            Response::Attr(attr) => Ok(attr),
            _ => Err(FsError::Io),
        }
    }

    /// Opens a file; close it with [`Tree::close`].
    ///
    /// # Errors
    /// Those of the core.
    pub fn open(&self, ino: Ino, write: bool) -> Result<HandleId, FsError> {
        let flags = OpenFlags { read: !write, write, ..OpenFlags::default() };
        match self.port().call(Request::Open { ino, flags })? {
            Response::Opened { handle, .. } => Ok(handle),
            _ => Err(FsError::Io),
        }
    }

    pub fn close(&self, ino: Ino, handle: HandleId) {
        // What it wrote was acknowledged write by write; a handle that does not close loses nothing.
        let _ = self.port().call(Request::Flush { ino, handle });
        let _ = self.port().call(Request::Release { ino, handle });
    }

    /// # Errors
    /// Those of the core; the bytes that come may be fewer than asked for only at the end of the file.
    pub fn read_at(
        &self,
        (ino, handle): (Ino, HandleId),
        offset: u64,
        len: u32,
    ) -> Result<Bytes, FsError> {
        match self.port().call(Request::Read { ino, handle, offset, len })? {
            Response::Data(data) => Ok(data),
            _ => Err(FsError::Io),
        }
    }

    /// Makes the content of a node that of `from`, changed at `mtime`; gives the version.
    ///
    /// # Errors
    /// Those of the core and of `from`. The node may then have a part of the bytes; the caller tries
    /// again.
    pub fn push(
        &self,
        ino: Ino,
        from: &mut dyn Read,
        mtime: Timestamp,
    ) -> Result<Shown, PushError> {
        let handle = self.open(ino, true)?;
        let pushed = self.push_open((ino, handle), from, mtime);
        self.close(ino, handle);
        pushed?;
        Ok(shown(&self.attr(ino)?))
    }

    fn push_open(
        &self,
        (ino, handle): (Ino, HandleId),
        from: &mut dyn Read,
        mtime: Timestamp,
    ) -> Result<(), PushError> {
        let mut offset = 0;
        loop {
            let mut data = Vec::new();
            Read::take(&mut *from, WRITE_BYTES as u64).read_to_end(&mut data)?;
            if data.is_empty() {
                break;
            }
            let len = data.len() as u64;
            let data = Bytes::from(data);
            self.port().call(Request::Write { ino, handle, offset, data, strip: false })?;
            offset += len;
        }
        let set =
            SetAttrs { size: Some(offset), mtime: Some(SetTime::At(mtime)), ..SetAttrs::default() };
        self.port().call(Request::Setattr { ino, set, handle: Some(handle) })?;
        Ok(())
    }

    /// # Errors
    /// Those of the core.
    pub fn set_mtime(&self, ino: Ino, mtime: Timestamp) -> Result<Shown, FsError> {
        let set = SetAttrs { mtime: Some(SetTime::At(mtime)), ..SetAttrs::default() };
        match self.port().call(Request::Setattr { ino, set, handle: None })? {
            Response::Attr(attr) => Ok(shown(&attr)),
            _ => Err(FsError::Io),
        }
    }

    /// Makes an empty file or a folder at `place`, whose folder is there.
    ///
    /// # Errors
    /// Those of the core; `NotFound` when the folder is not there, `Invalid` for a name that the drive
    /// cannot have.
    pub fn make(&self, place: &Place, kind: Kind) -> Result<Ino, FsError> {
        let (parent, name) = self.spot(place)?;
        let is_dir = kind == Kind::Dir;
        let mode = if is_dir { DIR_MODE } else { FILE_MODE };
        let owner = Owner::default();
        let spec = CreateSpec { kind, mode, rdev: 0, owner, target: Vec::new() };
        let made = self.port().call(Request::Make { parent, name: name.clone(), spec });
        self.forget_listing(parent);
        match made? {
            Response::Entry(attr) => {
                self.hold(attr.ino, (parent, name));
                Ok(attr.ino)
            }
            _ => Err(FsError::Io),
        }
    }

    /// Removes what is at `place`. A folder must be empty.
    ///
    /// # Errors
    /// Those of the core.
    pub fn remove(&self, place: &Place) -> Result<(), FsError> {
        let entry = self.entry(place)?.ok_or(FsError::NotFound)?;
        let parent = self.dir(&place.parent().unwrap_or_default())?.ok_or(FsError::NotFound)?;
        let name = entry.node.name;
        let request = match entry.node.attr.kind {
            Kind::Dir => Request::Rmdir { parent, name },
            _ => Request::Unlink { parent, name },
        };
        let removed = self.port().call(request);
        self.forget_listing(parent);
        removed?;
        self.let_go(entry.node.attr.ino);
        Ok(())
    }

    /// Moves what is at `from` to `to`, with `replace` in place of a file that is there.
    ///
    /// # Errors
    /// Those of the core.
    pub fn rename(&self, from: &Place, to: &Place, replace: bool) -> Result<(), FsError> {
        let entry = self.entry(from)?.ok_or(FsError::NotFound)?;
        let source = self.dir(&from.parent().unwrap_or_default())?.ok_or(FsError::NotFound)?;
        let (target, mut name) = self.spot(to)?;
        // What is replaced is found as Windows finds it, and a mangled name must not come back.
        if let Some(old) = self.listing(target)?.find(to.name())
            && old.node.attr.ino != entry.node.attr.ino
        {
            name = old.node.name.clone();
        }
        let ino = entry.node.attr.ino;
        let request = Request::Rename {
            from: (source, entry.node.name),
            to: (target, name.clone()),
            flags: RenameFlags { no_replace: !replace, exchange: false },
        };
        let renamed = self.port().call(request);
        self.forget_listing(source);
        self.forget_listing(target);
        renamed?;
        self.moved(ino, (target, name));
        Ok(())
    }

    /// The folder and the name that something at `place` would have.
    fn spot(&self, place: &Place) -> Result<(Ino, Name), FsError> {
        let parent = place.parent().ok_or(FsError::Invalid)?;
        let dir = self.dir(&parent)?.ok_or(FsError::NotFound)?;
        Ok((dir, from_windows(place.name())?))
    }
}
