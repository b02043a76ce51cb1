//! Between a daemon and the supervisor that keeps its mount: JSON messages over a pair of sockets that
//! keep message boundaries. A descriptor may ride along. Daemon and supervisor may be of different
//! versions after an upgrade.

use crate::control::PathText;
use serde::{Deserialize, Serialize};

/// Bytes of a message: the longest path (4,096 bytes) as JSON numbers, and the rest.
pub const MESSAGE_BYTES: usize = 32 << 10;
/// A daemon that ends with this exit code wants a successor for its mount (`EX_TEMPFAIL` of
/// sysexits.h).
pub const AGAIN: u8 = 75;

/// The first message, to a daemon that starts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Handover {
    /// How many daemons have served the mount before.
    pub life: u32,
    /// How many of them have crashed; the others made room for a new one.
    pub crashes: u32,
    /// What they have served, with its channel to the kernel; `None` for the first.
    pub mount: Option<MountRecord>,
}

/// A mount, and what its kernel offered when it was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MountRecord {
    pub path: PathText,
    /// `major:minor`, as in the mount table.
    pub device: String,
    /// Minor version and flags of FUSE_INIT.
    pub minor: u32,
    pub flags: u64,
}

/// What a daemon tells.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "is", content = "value", rename_all = "snake_case")]
pub enum Word {
    /// Keep this mount; its channel to the kernel comes along.
    Keep(MountRecord),
    /// The drive answers.
    Serving,
}
