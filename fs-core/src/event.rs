//! The door in.

use crate::{
    Change, CloudError, Draft, DriveInfo, Flight, FsError, GroupOutcome, Ino, Job, Loaded, Page,
    RemoteCommit, Request, Rev, Ticket, Timestamp,
};
use alloc::{string::String, vec::Vec};
use bytes::Bytes;

/// Everything that can wake the drive.
#[derive(Clone, Debug)]
pub enum Event {
    Request(Ticket, Request),
    /// The caller no longer waits; the ticket is answered with `TimedOut` if it was parked.
    Cancel(Ticket),
    /// A part of a fetch arrived, verified; more may follow before `Done`.
    Fetched(Job, u64, Bytes),
    Done(Job, Outcome),
    /// So many bytes more (or less) of a staging are in the store. Nothing but progress for people.
    Sent(Job, i64),
    /// The store's head moved (a hint; truth is `Changes`).
    Head(Rev),
    /// The feed is up, or lost, and why; also told at each look that found it still lost.
    Link(Result<(), CloudError>),
    /// Bytes free on the cache's disk, when it matters.
    DiskFree(u64),
    /// The rules of `.meshignore` as they were read for the [`crate::Effect::ReadRules`] of that number, or
    /// why they cannot be read; whoever reads them tries again then.
    Rules(u64, Result<crate::Rules, String>),
    /// Time passed: deadlines, settle windows, retries.
    Tick,
}

/// How a job ended. The variant always belongs to the effect that started it.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// LoadDir, LoadIds, LoadNode: rows with all their ancestors.
    Rows(Result<Vec<Loaded>, FsError>),
    /// Read
    Bytes(Result<Bytes, FsError>),
    /// Write, Fill, Truncate, Copy, Sync, Evict, Zero
    Local(Result<(), FsError>),
    /// Measure
    Measured(Result<Measure, FsError>),
    /// Connect
    Connected(Result<DriveInfo, CloudError>),
    /// Children, Snapshot
    Page(Result<Page, CloudError>),
    /// Changes: commits in order, and the store's head.
    Changes(Result<(Vec<RemoteCommit>, Rev), CloudError>),
    /// Fetch: all parts have been delivered, or it failed.
    Fetch(Result<(), CloudError>),
    /// FetchSmall: one result an item asked for, in order.
    Small(Result<Vec<Result<Bytes, CloudError>>, CloudError>),
    /// Same
    Same(Result<bool, CloudError>),
    /// Stage: one result an item, in order.
    Staged(Vec<Result<Draft, CloudError>>),
    /// Commit: one outcome a group, in order.
    Committed(Result<Vec<GroupOutcome>, CloudError>),
}

/// A backing file as it is at one moment. Every write to it moves its times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measure {
    /// Length in bytes.
    pub size: u64,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// Somebody may write to it: has it open for that, or mapped. True if that is not known.
    pub writers: bool,
}

impl Measure {
    /// The time of modification (1970) that a backing file gets when it is handed out for unseen
    /// writes: another one is that of such a write.
    pub const UNWRITTEN: Timestamp = Timestamp(0);
}

/// What the store recovered at start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Recovered {
    /// Applied feed position and epoch; rev 0 before the first snapshot.
    pub cursor: Rev,
    pub epoch: u64,
    pub complete: bool,
    /// Whether some node ever had an access control list ([`crate::Attrs::has_acl`]).
    pub acls: bool,
    /// The root, every pending node, every pinned node, every limbo node and tombstone, every hard
    /// link, every conflict copy, every file with local bytes, each with all its ancestors.
    pub rows: Vec<Loaded>,
    pub flights: Vec<Flight>,
    /// The highest inode number ever given out.
    pub last_ino: Ino,
    /// Nodes in the replica.
    pub nodes: u64,
    pub held: crate::Hold,
    /// The sequence number of the last durable change.
    pub last_seq: crate::Seq,
    /// Changes that recovery itself made necessary (nothing is lost; for the record).
    pub repairs: Vec<Change>,
}

/// Limits and switches, fixed at start. Every one is a named bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Local bytes of the cache; hard.
    pub cache_bytes: u64,
    /// Milliseconds that a read of absent bytes may take, online and known offline.
    pub read_deadline_ms: u64,
    pub offline_deadline_ms: u64,
    /// Milliseconds of quiet before a closed file is sent.
    pub settle_ms: u64,
    /// Nodes that may stay in memory without a kernel reference.
    pub idle_nodes: usize,
    /// Files that may stay in memory because the kernel refers to them; beyond that it is asked to let
    /// the oldest go.
    pub held_nodes: usize,
    /// Fetches in flight.
    pub fetches: usize,
    /// Largest read-ahead window in bytes.
    pub read_ahead: u64,
    /// Owner of the root directory until the cloud says otherwise.
    pub owner: crate::Owner,
    /// Free bytes of the cache's disk below which nothing more is cached.
    pub disk_floor: u64,
    /// Bytes that a file must have to be read or written by passthrough: below, setting that up costs
    /// more than it saves. A new file is taken for what the last new one became.
    pub passthrough_min: u64,
    /// The brake: when this device is about to remove, or to rewrite, at least `mass_percent` of the
    /// nodes that it knows, and at least `mass_least` nodes, within `mass_window_ms` milliseconds, that
    /// waits for a person. 0 percent: never.
    pub mass_percent: u64,
    pub mass_least: u64,
    pub mass_window_ms: u64,
    /// How many daemons have served this mount before: 0 for a fresh one. Above 0 the kernel may have
    /// nodes in use and files open that this drive does not know of.
    pub life: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            cache_bytes: 10 << 30,
            read_deadline_ms: 30_000,
            offline_deadline_ms: 3_000,
            settle_ms: 100,
            idle_nodes: 50_000,
            held_nodes: 120_000,
            fetches: 16,
            read_ahead: 16 << 20,
            owner: crate::Owner::default(),
            disk_floor: 1 << 30,
            passthrough_min: 128 << 10,
            mass_percent: 30,
            mass_least: 1_000,
            mass_window_ms: 600_000,
            life: 0,
        }
    }
}
