//! Access control lists and the mode bits that say the same. The lists are kept, and nobody acts upon
//! them; the mode bits, which the kernel does act upon, follow a list that is set, as on a local disk.
//! `cp -a` sets the mode in this way alone.

use crate::door::Door;
use fs_core::{FsError, Ino, Request as Ask, Response, SetAttrs};

pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";

// linux/posix_acl_xattr.h: a version, then entries of tag, permissions and id, all little endian.
const VERSION: [u8; 4] = [2, 0, 0, 0];
const ENTRY_BYTES: usize = 8;
// linux/posix_acl.h
const USER_OBJ: u8 = 0x01;
const GROUP_OBJ: u8 = 0x04;
const MASK: u8 = 0x10;
const OTHER: u8 = 0x20;
/// Permission bits that a list says: rwx of owner, group and others.
const SAID: u32 = 0o777;

/// What a list says in mode bits, and whether it says more than those can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Meaning {
    mode: u32,
    more: bool,
}

/// `None` for something that is no list.
pub(crate) fn meaning(list: &[u8]) -> Option<Meaning> {
    let entries = list.strip_prefix(&VERSION)?;
    if entries.is_empty() || entries.len() % ENTRY_BYTES != 0 {
        return None;
    }
    let (mut owner, mut group, mut mask, mut other, mut more) = (0, 0, None, 0, false);
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let bits = u32::from(entry[2] & 7);
        match entry[0] {
            USER_OBJ => owner = bits,
            GROUP_OBJ => group = bits,
            MASK => mask = Some(bits),
            OTHER => other = bits,
            _ => more = true,
        }
    }
    let mode = owner << 6 | mask.unwrap_or(group) << 3 | other;
    Some(Meaning { mode, more: more || mask.is_some() })
}

/// Sets the mode that the list says; then stores the list, or, if the mode says it all, removes the
/// one that was there. `done` hears how it went.
pub(crate) fn set(
    port: &Door,
    (ino, means): (Ino, Meaning),
    store: Ask,
    done: impl FnOnce(Result<Response, FsError>) + Send + 'static,
) {
    let next = port.clone();
    port.submit(Ask::Getattr { ino }, move |found| {
        let attr = match found {
            Ok(Response::Attr(attr)) => attr,
            other => return done(other),
        };
        let mode = Some(attr.mode & !SAID | means.mode);
        let then = next.clone();
        let set = SetAttrs { mode, ..SetAttrs::default() };
        next.submit(Ask::Setattr { ino, set, handle: None }, move |set| match set {
            Ok(_) if means.more => then.submit(store, done),
            Ok(_) => {
                let remove = Ask::Removexattr { ino, name: ACCESS.to_vec() };
                then.submit(remove, |removed| {
                    done(match removed {
                        Ok(_) | Err(FsError::NoAttribute) => Ok(Response::Done),
                        Err(error) => Err(error),
                    });
                });
            }
            Err(error) => done(Err(error)),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u8, u8)]) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        for (tag, bits) in entries {
            bytes.extend([*tag, 0, *bits, 0, 0xff, 0xff, 0xff, 0xff]);
        }
        bytes
    }

    #[test]
    fn a_list_says_a_mode() {
        let plain = list(&[(USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 0)]);
        assert_eq!(meaning(&plain), Some(Meaning { mode: 0o640, more: false }));
        let rich = list(&[(USER_OBJ, 7), (0x02, 6), (GROUP_OBJ, 7), (MASK, 5), (OTHER, 1)]);
        assert_eq!(meaning(&rich), Some(Meaning { mode: 0o751, more: true }));
        for bad in [&b""[..], &VERSION, b"\x02\0\0\0\x01", &plain[..plain.len() - 1]] {
            assert_eq!(meaning(bad), None, "{bad:?}");
        }
    }
}
