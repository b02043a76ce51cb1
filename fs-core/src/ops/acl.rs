//! POSIX access control lists: attributes that say the same as the mode bits, and more. The two are kept
//! in step, and a directory hands its default list down. Who may do what is decided by the kernel.

pub(super) use crate::attr::{ACL_ACCESS as ACCESS, ACL_DEFAULT as DEFAULT};
use alloc::vec::Vec;

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

/// A list that has a form we know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct List(Vec<[u8; ENTRY_BYTES]>);

impl List {
    /// `None` for something that is no list. One without entries means: no list.
    pub(super) fn parse(value: &[u8]) -> Option<List> {
        let (entries, rest) = value.strip_prefix(&VERSION)?.as_chunks::<ENTRY_BYTES>();
        rest.is_empty().then(|| List(entries.to_vec()))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        self.0.iter().for_each(|entry| bytes.extend_from_slice(entry));
        bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it says more than mode bits can.
    pub(super) fn says_more(&self) -> bool {
        self.0.iter().any(|entry| !matches!(entry[0], USER_OBJ | GROUP_OBJ | OTHER))
    }

    /// `mode` with the permissions that the list says. The group's bits are the mask, if there is one.
    pub(super) fn mode(&self, mode: u32) -> u32 {
        let bits = |tag| self.0.iter().find(|entry| entry[0] == tag).map(|e| u32::from(e[2] & 7));
        let group = bits(MASK).or(bits(GROUP_OBJ)).unwrap_or(0);
        let owner = bits(USER_OBJ).unwrap_or(0);
        mode & !SAID | owner << 6 | group << 3 | bits(OTHER).unwrap_or(0)
    }

    /// The list after a chmod: the mask follows the group's bits, if there is one (POSIX.1e 23.1.5).
    pub(super) fn after_chmod(mut self, mode: u32) -> List {
        self.permit(mode, 0);
        self
    }

    /// What a new node gets from this default list when it is made with `mode`: its own list, and its
    /// mode. Neither says more than both did (POSIX.1e 23.1.6).
    pub(super) fn hand_down(mut self, mode: u32) -> (List, u32) {
        self.permit(mode, 7);
        let own = self.mode(mode);
        (self, own)
    }

    /// Gives the entries that the mode's bits stand for those bits, but of the bits in `held` only what
    /// an entry has already.
    fn permit(&mut self, mode: u32, held: u8) {
        let masked = self.0.iter().any(|entry| entry[0] == MASK);
        for entry in &mut self.0 {
            let bits = match entry[0] {
                USER_OBJ => mode >> 6,
                MASK => mode >> 3,
                GROUP_OBJ if !masked => mode >> 3,
                OTHER => mode,
                _ => continue,
            };
            // Three bits: always fits.
            entry[2] = (bits & 7) as u8 & (entry[2] | !held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u8 = 0x02;

    fn list(entries: &[(u8, u8)]) -> List {
        List(
            entries.iter().map(|(tag, bits)| [*tag, 0, *bits, 0, 0xff, 0xff, 0xff, 0xff]).collect(),
        )
    }

    fn rich() -> List {
        list(&[(USER_OBJ, 7), (USER, 6), (GROUP_OBJ, 7), (MASK, 5), (OTHER, 1)])
    }

    #[test]
    fn a_list_says_a_mode() {
        let plain = list(&[(USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 0)]);
        assert!(plain.mode(0o4777) == 0o4640 && !plain.says_more());
        assert!(rich().mode(0) == 0o751 && rich().says_more());
    }

    #[test]
    fn only_whole_lists_are_taken() {
        let bytes = rich().bytes();
        assert_eq!(List::parse(&bytes), Some(rich()));
        assert!(List::parse(&VERSION).is_some_and(|list| list.is_empty()));
        for bad in [&b""[..], b"\x02\0\0\0\x01", &bytes[..bytes.len() - 1]] {
            assert_eq!(List::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_chmod_changes_the_mask_and_not_the_group() {
        let after = rich().after_chmod(0o620);
        let entries = [(USER_OBJ, 6), (USER, 6), (GROUP_OBJ, 7), (MASK, 2), (OTHER, 0)];
        assert_eq!(after, list(&entries));
    }

    #[test]
    fn what_is_handed_down_is_in_both() {
        let (own, mode) = rich().hand_down(0o2664);
        let entries = [(USER_OBJ, 6), (USER, 6), (GROUP_OBJ, 7), (MASK, 4), (OTHER, 0)];
        assert_eq!((own, mode), (list(&entries), 0o2640));
    }
}
