//! Identities. Each is a newtype so that one cannot stand in for another.

use core::fmt;

/// A local inode number. Never changes while the row exists, and survives remounts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ino(pub u64);

impl Ino {
    /// "Nowhere": the parent of a node that has no place (unlinked but open, or in limbo).
    pub const NONE: Ino = Ino(0);
    /// The root directory, as FUSE fixes it (FUSE_ROOT_ID).
    pub const ROOT: Ino = Ino(1);
}

/// The identity of a node in the cloud: a UUIDv7 made by the device that created it (RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub [u8; 16]);

impl NodeId {
    /// The root directory of every drive: all zero, never in a `Create`.
    pub const ROOT: NodeId = NodeId([0; 16]);
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Identifies one commit request for exactly-once effects; persisted before it is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RequestId(pub [u8; 16]);

/// The number of a commit in its drive's total order. 0 means "never in the cloud".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Rev(pub u64);

/// The order of durable changes on this device: 1, 2, 3, ... without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seq(pub u64);

/// One request from a driver or from the control socket; answered exactly once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ticket(pub u64);

/// One effect that reports back with `Event::Done`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Job(pub u64);

/// An open file or directory. Never reused within the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct HandleId(pub u64);
