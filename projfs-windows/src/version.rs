//! What a placeholder says of itself: which drive, which node, which version. ProjFS keeps it on
//! disk and gives it back with every read, so a read finds its version after any rename.

use crate::decide::Shown;
use fs_core::{Ino, Timestamp};

/// Bytes of each of the two ids (PRJ_PLACEHOLDER_ID_LENGTH).
pub const ID_BYTES: usize = 128;

/// First bytes of the provider id.
const MAGIC: &[u8; 8] = b"MESHDRV\0";
/// Version of the layout of both ids.
const FORMAT: u8 = 1;

/// What a placeholder stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceholderKind {
    File,
    Dir,
}

impl PlaceholderKind {
    fn code(self) -> u8 {
        match self {
            PlaceholderKind::File => 1,
            PlaceholderKind::Dir => 2,
        }
    }

    fn from_code(code: u8) -> Option<PlaceholderKind> {
        use PlaceholderKind::{Dir, File};
        [File, Dir].into_iter().find(|kind| kind.code() == code)
    }
}

/// What a placeholder is a placeholder of. The version is what the core shows of the content: its length
/// and its time of change, which travels with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    pub kind: PlaceholderKind,
    pub shown: Shown,
}

/// The provider id of a drive: magic, format, and the local state that inode numbers belong to.
#[must_use]
pub fn provider_id(replica: &[u8; 16]) -> [u8; ID_BYTES] {
    let mut id = [0; ID_BYTES];
    id[..8].copy_from_slice(MAGIC);
    id[8] = FORMAT;
    id[9..25].copy_from_slice(replica);
    id
}

/// The content id: kind, inode number, length, time of change (8 bytes each, little endian), zeros.
#[must_use]
pub fn content_id(content: &Content) -> [u8; ID_BYTES] {
    let mut id = [0; ID_BYTES];
    id[0] = content.kind.code();
    id[1..9].copy_from_slice(&content.shown.ino.0.to_le_bytes());
    id[9..17].copy_from_slice(&content.shown.size.to_le_bytes());
    id[17..25].copy_from_slice(&content.shown.mtime.0.to_le_bytes());
    id
}

/// What a content id stands for; `None` if it is damaged or of a later format.
#[must_use]
pub fn content_of(id: &[u8; ID_BYTES]) -> Option<Content> {
    let kind = PlaceholderKind::from_code(id[0])?;
    let number = |at: usize| Some(u64::from_le_bytes(id.get(at..at + 8)?.try_into().ok()?));
    let mtime = Timestamp(number(17)?.cast_signed());
    let shown = Shown { ino: Ino(number(1)?), size: number(9)?, mtime };
    let content = Content { kind, shown };
    (*id == content_id(&content)).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(kind: PlaceholderKind, ino: u64, size: u64, mtime: i64) -> Content {
        Content { kind, shown: Shown { ino: Ino(ino), size, mtime: Timestamp(mtime) } }
    }

    #[test]
    fn the_layout_on_disk_does_not_change() {
        let id = content_id(&content(PlaceholderKind::Dir, 0x0102, 3, -1));
        assert_eq!(id[..18], [2, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 255]);
        assert_eq!(provider_id(&[9; 16])[..11], *b"MESHDRV\0\x01\x09\x09");
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        assert_eq!(content_of(&[0; ID_BYTES]), None);
        let mut damaged = content_id(&content(PlaceholderKind::File, 1, 1, 1));
        damaged[100] = 1;
        assert_eq!(content_of(&damaged), None);
    }

    proptest! {
        #[test]
        fn ids_come_back(ino: u64, size: u64, mtime: i64, code in 1_u8..=2) {
            let kind = PlaceholderKind::from_code(code).unwrap();
            let content = content(kind, ino, size, mtime);
            prop_assert_eq!(content_of(&content_id(&content)), Some(content));
        }
    }
}
