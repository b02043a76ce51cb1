//! The control plane: what the command line asks of a running drive. Paths are relative to the mount.

use crate::{ContentRef, Ino, NodeId, Rev, Timestamp};
use alloc::{string::String, vec::Vec};

/// A path below the mount, as its components; empty = the root.
pub type Path = Vec<crate::Name>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// The drive's one true sentence and its numbers.
    Status,
    /// The state of one file or folder.
    PathStatus(Path),
    /// Keep a file or folder here; answered at once, the bytes follow.
    Pin(Path, bool),
    /// Everything pinned by the user.
    Pins,
    /// Drop the clean, unpinned local bytes of a file or folder (all, for the root).
    Evict(Path),
    /// Answered when everything changed below `Path` before this command is durable in the cloud.
    Sync(Path),
    /// Whether nothing unsent is left (does not wait).
    Drained,
    /// The cloud identity of a path, for `versions`.
    Identify(Path),
    /// Make version `rev` of the file its current content; `size` and `mtime` as `versions` lists them.
    RestoreVersion { path: Path, rev: Rev, size: u64, mtime: Timestamp },
    /// Stop or resume sending changes.
    Pause(bool),
    /// The pending nodes, at most 1,000, oldest first.
    PendingList,
    /// The open conflicts.
    Conflicts,
    /// What is held is sent.
    Approve,
    /// What was removed here and is held comes back.
    UndoRemovals,
    /// What is held.
    Held,
    /// A held rewrite is taken back: version `rev` is the content again, what was written is kept aside.
    PutBack { ino: Ino, rev: Rev, size: u64, mtime: Timestamp },
    /// The store has lost parts of this version: what is here of it is sent as a new one, if it is whole.
    SendAgain(NodeId, Rev),
    /// Ends the conflict whose copy is at this path.
    Resolve(Path, Keep),
}

#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    Done,
    Status(Status),
    Path(PathStatus),
    Pins(Vec<FileStatus>),
    /// Bytes freed.
    Freed(u64),
    Identity {
        id: NodeId,
        content: Option<ContentRef>,
    },
    Pending(Vec<FileStatus>),
    Drained(bool),
    Conflicts(Vec<OpenConflict>),
    Held(Vec<HeldItem>),
    /// How many changes were let go, or taken back.
    Counted(u64),
}

/// The states a file can be in (`design`: save states). Exactly one holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileState {
    /// Only in the cloud.
    Cloud,
    /// Part of it is here.
    Partial {
        here: u64,
    },
    /// Wholly here, evictable.
    Local,
    /// Wholly here and kept.
    Pinned,
    /// Changed here, waiting to be sent.
    Pending,
    /// New here and never sent: `.meshignore` says so.
    LocalOnly,
    Uploading,
    /// Cannot be sent; the text says why and what to do.
    Attention(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileStatus {
    /// Path below the mount, components joined by `/`.
    pub path: Vec<u8>,
    pub size: u64,
    pub dir: bool,
    pub state: FileState,
    pub pinned: bool,
}

/// The state of a path: itself, and for a folder the loaded part below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathStatus {
    pub file: FileStatus,
    pub pending_below: u64,
}

/// A change that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldItem {
    pub ino: Ino,
    pub id: NodeId,
    /// The version that the cloud has.
    pub rev: Rev,
    /// Its content was changed; else it was removed.
    pub is_rewrite: bool,
}

/// Which side of a conflict stays under the file's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// The copy's content; what the file held stays one of its versions.
    Copy,
    /// The file's own; the copy goes to the trash.
    Kept,
    /// Both, as two files.
    Both,
}

/// One side of a conflict as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Side {
    pub id: NodeId,
    /// Path below the mount, components joined by `/`.
    pub path: Vec<u8>,
    pub dir: bool,
    pub size: u64,
    pub mtime: Timestamp,
    /// Its version in the cloud; 0: none yet.
    pub rev: Rev,
    /// Nothing of it is unsent.
    pub is_sent: bool,
}

/// A conflict that was settled by keeping both, and that nobody has decided yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenConflict {
    /// What the device that came second had.
    pub copy: Side,
    /// What has the name; `None`: it is not there any more, or there never was one.
    pub kept: Option<Side>,
    /// The node that `base` and `theirs` are versions of.
    pub of: NodeId,
    /// The version that both started from; 0: none.
    pub base: Rev,
    /// The version that the first side had made.
    pub theirs: Rev,
    pub at: Timestamp,
    /// The device that made the copy, and whether that is this one.
    pub device: String,
    pub is_ours: bool,
}

/// Numbers of the drive; all are true at the moment of the answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    pub online: bool,
    /// Why not online, or the last refusal; empty when all is well.
    pub trouble: String,
    /// The store was reached, and knows this device or its drive not, or no longer: nothing more is sent
    /// or fetched, and nothing that is here is evicted.
    pub refused: bool,
    pub paused: bool,
    /// Feed position applied here, and the store's head as last heard.
    pub applied: Rev,
    pub head: Rev,
    /// The whole tree is in the replica.
    pub complete: bool,
    /// It is not known what the store has: nothing is sent until that is found out.
    pub unsure: bool,
    /// Nodes with unsent changes, and the unsent bytes among them.
    pub pending_nodes: u64,
    pub pending_bytes: u64,
    /// Nodes that `.meshignore` keeps on this device, and their bytes; not counted as pending.
    pub local_only_nodes: u64,
    pub local_only_bytes: u64,
    /// Why `.meshignore`, or a part of it, cannot be read; empty when all is well.
    pub ignore_trouble: String,
    /// Nodes that are being sent now.
    pub sending_nodes: u64,
    /// Milliseconds since the oldest unsent change was made.
    pub oldest_pending_ms: u64,
    /// Nodes that the store refused for good.
    pub attention: u64,
    /// Local bytes: in all, dirty, pinned; and the cache's limit.
    pub cached_bytes: u64,
    pub dirty_bytes: u64,
    pub pinned_bytes: u64,
    pub quota_bytes: u64,
    /// Pinned bytes that are not here yet.
    pub pin_missing_bytes: u64,
    /// Fetches in flight.
    pub fetching: u64,
    pub open_handles: u64,
    /// Removals and rewrites that wait for a person: too many at once.
    pub held_removals: u64,
    pub held_rewrites: u64,
    /// Conflicts that nobody has decided yet, of any device.
    pub conflicts: u64,
}
