//! Extended attributes. `user.meshdrive.status` and `user.meshdrive.pin` are ours and virtual.

use super::Flow;
use super::acl::{ACCESS, DEFAULT, List};
use crate::drive::Drive;
use crate::faults::Step;
use crate::{Attrs, FileState, FsError, Ino, Pending, Response, Xattrs};
use alloc::{format, string::String, string::ToString, vec::Vec};

const STATUS: &[u8] = b"user.meshdrive.status";
const PIN: &[u8] = b"user.meshdrive.pin";
const OURS: &[u8] = b"user.meshdrive.";
/// What names begin with on Linux file systems (xattr(7)); others are refused there too.
const SPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system.posix_acl_"];
/// Linux XATTR_NAME_MAX and XATTR_SIZE_MAX, in bytes.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 65_536;
/// All names and values of a node together, in bytes: what a sealed record holds.
const TOTAL_MAX: usize = 65_536;

impl Drive {
    pub(super) fn setxattr(
        &mut self,
        ino: Ino,
        (name, value): (&[u8], &[u8]),
        create: bool,
        replace: bool,
    ) -> Step<Flow> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(FsError::Range.into());
        }
        if value.len() > VALUE_MAX {
            return Err(FsError::TooBig.into());
        }
        if name == PIN {
            let on = match value {
                b"1" | b"true" | b"yes" => true,
                b"0" | b"false" | b"no" => false,
                _ => return Err(FsError::Invalid.into()),
            };
            self.node(ino)?;
            self.set_pin(ino, on);
            return Ok(Some(Response::Done));
        }
        if name.starts_with(OURS) {
            return Err(FsError::NotPermitted.into());
        }
        if !SPACES.iter().any(|space| name.starts_with(space)) {
            return Err(FsError::Unsupported.into());
        }
        let inode = self.node(ino)?;
        let known = inode.row.attrs.xattrs.get(name);
        if create && known.is_some() {
            return Err(FsError::Exists.into());
        }
        if replace && known.is_none() {
            return Err(FsError::NoAttribute.into());
        }
        let (mode, xattrs) = with(&inode.row.attrs, name, value);
        let total: usize = xattrs.iter().map(|(n, v)| n.len() + v.len() + 8).sum();
        if total > TOTAL_MAX {
            return Err(FsError::NoSpace.into());
        }
        if mode == inode.row.attrs.mode && xattrs == inode.row.attrs.xattrs {
            return Ok(Some(Response::Done)); // nothing changes, and nothing has to be sent
        }
        let mut row = self.pend(inode, Pending::ATTRS);
        row.attrs.mode = mode;
        row.attrs.xattrs = xattrs;
        row.attrs.ctime = self.wall();
        self.put(row);
        Ok(Some(Response::Done))
    }

    pub(super) fn getxattr(&mut self, ino: Ino, name: &[u8], uid: u32) -> Step<Flow> {
        let inode = self.node(ino)?;
        if name == STATUS {
            let status = self.file_status(inode);
            return Ok(Some(Response::Xattr(state_word(&status.state).into_bytes())));
        }
        if name == PIN {
            let pinned = self.tree.is_pinned(ino);
            return Ok(Some(Response::Xattr(if pinned { b"1" } else { b"0" }.to_vec())));
        }
        let attrs = &inode.row.attrs;
        let absent = || self.absent(attrs, name, uid);
        let value = attrs.xattrs.get(name).ok_or_else(absent)?;
        Ok(Some(Response::Xattr(value.clone())))
    }

    /// `ls -l` asks each file for its list, until it hears once that there are none here. So that is said
    /// where nothing else depends on it: nobody has made a list in this drive, and who asks is the owner.
    /// A permission check of the kernel comes the same way, but never for the owner, whom a list cannot
    /// stop (acl(5)); it must hear that this file has none.
    fn absent(&self, attrs: &Attrs, name: &[u8], uid: u32) -> FsError {
        if name == ACCESS && uid == attrs.uid && !self.tree.has_acls() {
            FsError::Unsupported
        } else {
            FsError::NoAttribute
        }
    }

    /// Ours are not listed, so that copying tools do not carry them off.
    pub(super) fn listxattr(&mut self, ino: Ino) -> Step<Flow> {
        let inode = self.node(ino)?;
        let mut names = Vec::new();
        for name in inode.row.attrs.xattrs.keys().filter(|name| !name.starts_with(OURS)) {
            names.extend_from_slice(name);
            names.push(0);
        }
        Ok(Some(Response::XattrNames(names)))
    }

    pub(super) fn removexattr(&mut self, ino: Ino, name: &[u8]) -> Step<Flow> {
        if name.starts_with(OURS) {
            return Err(FsError::NotPermitted.into());
        }
        let inode = self.node(ino)?;
        if !inode.row.attrs.xattrs.contains_key(name) {
            if name == ACCESS || name == DEFAULT {
                return Ok(Some(Response::Done)); // as on a local disk: there is none now
            }
            return Err(FsError::NoAttribute.into());
        }
        let mut row = self.pend(inode, Pending::ATTRS);
        row.attrs.xattrs.remove(name);
        row.attrs.ctime = self.wall();
        self.put(row);
        Ok(Some(Response::Done))
    }
}

/// Mode and attributes after one was set. An access control list says the mode too, and is not kept when
/// it says no more than that.
fn with(attrs: &Attrs, name: &[u8], value: &[u8]) -> (u32, Xattrs) {
    let (mut mode, mut xattrs) = (attrs.mode, attrs.xattrs.clone());
    let list = List::parse(value).filter(|_| name == ACCESS || name == DEFAULT);
    let is_kept = match &list {
        Some(list) if list.is_empty() => false,
        Some(list) if name == ACCESS => {
            mode = list.mode(mode);
            list.says_more()
        }
        _ => true,
    };
    if is_kept {
        xattrs.insert(name.to_vec(), value.to_vec());
    } else {
        xattrs.remove(name);
    }
    (mode, xattrs)
}

/// The state of a file in a word or two.
fn state_word(state: &FileState) -> String {
    match state {
        FileState::Cloud => "cloud".to_string(),
        FileState::Partial { here } => format!("partial {here}"),
        FileState::Local => "local".to_string(),
        FileState::Pinned => "pinned".to_string(),
        FileState::Pending => "pending".to_string(),
        FileState::LocalOnly => "local-only".to_string(),
        FileState::Uploading => "uploading".to_string(),
        FileState::Attention(why) => format!("attention: {why}"),
    }
}
