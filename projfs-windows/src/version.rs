//! What a placeholder says of itself: which drive, which node, which version. ProjFS keeps it on
//! disk and gives it back with every read, so a read finds its version after any rename.

use fs_core::{ContentRef, NodeId, Rev};

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
    Symlink,
}

impl PlaceholderKind {
    fn code(self) -> u8 {
        match self {
            PlaceholderKind::File => 1,
            PlaceholderKind::Dir => 2,
            PlaceholderKind::Symlink => 3,
        }
    }

    fn from_code(code: u8) -> Option<PlaceholderKind> {
        use PlaceholderKind::{Dir, File, Symlink};
        [File, Dir, Symlink].into_iter().find(|kind| kind.code() == code)
    }
}

/// The provider id of a drive: magic, format, and the epoch of the drive on its server.
#[must_use]
pub fn provider_id(epoch: u64) -> [u8; ID_BYTES] {
    let mut id = [0; ID_BYTES];
    id[..8].copy_from_slice(MAGIC);
    id[8] = FORMAT;
    id[9..17].copy_from_slice(&epoch.to_le_bytes());
    id
}

/// The epoch in a provider id; `None` if it is not ours.
#[must_use]
pub fn epoch_of(provider: &[u8; ID_BYTES]) -> Option<u64> {
    let bytes = provider.get(9..17)?.try_into().ok()?;
    let epoch = u64::from_le_bytes(bytes);
    (*provider == provider_id(epoch)).then_some(epoch)
}

/// The content id of one version of one node: kind, 16 bytes of node id, 8 bytes of content rev
/// (little endian), zeros.
#[must_use]
pub fn content_id(kind: PlaceholderKind, content: ContentRef) -> [u8; ID_BYTES] {
    let mut id = [0; ID_BYTES];
    id[0] = kind.code();
    id[1..17].copy_from_slice(&content.id.0);
    id[17..25].copy_from_slice(&content.rev.0.to_le_bytes());
    id
}

/// What a content id stands for; `None` if it is damaged or of a later format.
#[must_use]
pub fn content_of(id: &[u8; ID_BYTES]) -> Option<(PlaceholderKind, ContentRef)> {
    let kind = PlaceholderKind::from_code(id[0])?;
    let node = NodeId(id.get(1..17)?.try_into().ok()?);
    let rev = Rev(u64::from_le_bytes(id.get(17..25)?.try_into().ok()?));
    let content = ContentRef { id: node, rev };
    (*id == content_id(kind, content)).then_some((kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layout_on_disk_does_not_change() {
        let id =
            content_id(PlaceholderKind::Dir, ContentRef { id: NodeId([7; 16]), rev: Rev(0x0102) });
        assert_eq!(id[..20], [2, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 1, 0]);
        assert_eq!(provider_id(1)[..12], *b"MESHDRV\0\x01\x01\0\0");
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        assert_eq!(epoch_of(&[0; ID_BYTES]), None);
        assert_eq!(content_of(&[0; ID_BYTES]), None);
        let mut later = provider_id(5);
        later[8] = FORMAT + 1;
        assert_eq!(epoch_of(&later), None);
        let mut damaged =
            content_id(PlaceholderKind::File, ContentRef { id: NodeId([1; 16]), rev: Rev(1) });
        damaged[100] = 1;
        assert_eq!(content_of(&damaged), None);
    }

    proptest! {
        #[test]
        fn ids_come_back(node in any::<[u8; 16]>(), rev in any::<u64>(), code in 1_u8..=3) {
            let kind = PlaceholderKind::from_code(code).unwrap();
            let content = ContentRef { id: NodeId(node), rev: Rev(rev) };
            prop_assert_eq!(content_of(&content_id(kind, content)), Some((kind, content)));
            prop_assert_eq!(epoch_of(&provider_id(rev)), Some(rev));
        }
    }
}
