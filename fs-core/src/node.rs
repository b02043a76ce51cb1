//! The durable rows of the replica: one `NodeRow` a node, one `ContentRow` a file with local bytes.

use crate::{Attrs, ContentRef, Ino, Kind, Name, NodeId, Range, Ranges, Rev};
use alloc::{boxed::Box, vec::Vec};

/// Pending intent: which facets of a node differ from the cloud and must be sent. State, not a log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Pending(pub u8);

impl Pending {
    pub const NONE: Pending = Pending(0);
    /// The cloud has never seen this node.
    pub const CREATE: Pending = Pending(1);
    /// Moved or renamed here.
    pub const PLACE: Pending = Pending(2);
    /// Mode, owner, times, xattrs or target changed here.
    pub const ATTRS: Pending = Pending(4);
    /// Bytes or length changed here.
    pub const CONTENT: Pending = Pending(8);
    /// Removed here.
    pub const TRASH: Pending = Pending(16);
    /// In the cloud's trash, but wanted alive here.
    pub const RESTORE: Pending = Pending(32);

    #[must_use]
    pub const fn has(self, bits: Pending) -> bool {
        self.0 & bits.0 != 0
    }

    #[must_use]
    pub const fn with(self, bits: Pending) -> Pending {
        Pending(self.0 | bits.0)
    }

    #[must_use]
    pub const fn without(self, bits: Pending) -> Pending {
        Pending(self.0 & !bits.0)
    }

    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Place and attributes as the cloud has them: the merge ancestor of what is pending here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    pub parent: NodeId,
    pub name: Name,
    pub attrs: Attrs,
}

/// A node as this device shows it, with what it knows of the cloud's view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeRow {
    pub ino: Ino,
    pub id: NodeId,
    /// [`Ino::NONE`] when the node has no place here: unlinked but open, removed, or in limbo.
    pub parent: Ino,
    pub name: Name,
    pub kind: Kind,
    pub attrs: Attrs,
    /// Length in bytes; 0 for all but files and symlinks.
    pub size: u64,
    /// Last change of place, attributes or life that is known of the cloud; 0 = never sent.
    pub meta_rev: Rev,
    /// Last change of content that is known of the cloud; 0 = none.
    pub content_rev: Rev,
    pub pending: Pending,
    /// Present exactly while `pending` has PLACE, ATTRS, TRASH or RESTORE, or the node is in limbo.
    pub origin: Option<Box<Origin>>,
    /// Directories: all children are in the replica.
    pub listed: bool,
    /// Pinned here by the user (children inherit it).
    pub pinned: bool,
    /// A tombstone: removed in the cloud at `meta_rev` by this device; kept until the feed passes it.
    pub gone: bool,
}

impl NodeRow {
    /// The parts of `range` (inside the file) whose bytes are not on this device, where `content` is the
    /// node's content row.
    #[must_use]
    pub fn absent(&self, content: Option<&ContentRow>, range: Range) -> Vec<Range> {
        let Some(content) = content else {
            // No row: nothing is here, and everything is the current version's.
            return if self.content_rev.0 == 0 || range.is_empty() {
                Vec::new()
            } else {
                [range].into()
            };
        };
        let below_base = range.clip(Range::new(0, content.base_len));
        let gaps = content.valid.gaps(below_base);
        gaps.into_iter().flat_map(|gap| content.dirty.gaps(gap)).collect()
    }

    /// The version that those bytes come from.
    #[must_use]
    pub fn base(&self, content: Option<&ContentRow>) -> ContentRef {
        content.map_or(ContentRef { id: self.id, rev: self.content_rev }, |content| ContentRef {
            id: content.base_id,
            rev: content.base_rev,
        })
    }
}

/// The local bytes of a file. A byte is here when it is in `valid` or `dirty`, or at or beyond `base_len`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ContentRow {
    pub ino: Ino,
    /// The version that absent bytes come from; `base_rev` 0 when there is none.
    pub base_id: NodeId,
    pub base_rev: Rev,
    /// Bytes of the file from here on are not the base's: zeros unless written.
    pub base_len: u64,
    /// Clean bytes in the backing file, disjoint from `dirty`.
    pub valid: Ranges,
    /// Bytes written here that the cloud does not have.
    pub dirty: Ranges,
    /// Programs may write to the backing file unseen (passthrough): length and bytes are whatever the
    /// backing file has. Set before such a handle is given out, taken back when nobody can write any
    /// more; after a crash everything in the file counts as dirty.
    pub blind: bool,
}

/// A node and its content as the store loads them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    pub node: NodeRow,
    pub content: Option<ContentRow>,
}
