//! The door out: the only way the drive touches the world.

use crate::{
    Change, ContentRef, Flight, FsError, Ino, Job, Known, Mono, Name, NodeId, Range, Response, Rev,
    Seq, StageItem, Ticket,
};
use alloc::{boxed::Box, string::String, vec::Vec};
use bytes::Bytes;

#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Write this batch to the journal; batches come in order of `Seq`, without gaps.
    Commit(Seq, Vec<Change>),
    /// Answer a ticket, not before the batches up to `after` survive `kill -9`.
    Reply {
        ticket: Ticket,
        result: Result<Response, FsError>,
        after: Seq,
    },
    Local(Job, Local),
    Cloud(Job, Cloud),
    /// Tell the kernel; from a thread of its own, holding no lock, after `after` is journalled.
    Invalidate(Stale),
    /// Read `.meshignore` in the root as it is now, and answer with [`crate::Event::Rules`] and this number.
    ReadRules(u64),
    /// For people: log it.
    Note(String),
}

/// Work for the local store. Blocking, short.
#[derive(Clone, PartialEq, Debug)]
pub enum Local {
    /// Rows of all children of a directory that are in the replica (and the directory itself).
    LoadDir(Ino),
    LoadNode(Ino),
    /// Rows by cloud identity; those that are not known are left out.
    LoadIds(Vec<NodeId>),
    Read {
        ino: Ino,
        range: Range,
    },
    /// User bytes. Like `Truncate`, `Zero` and `Evict`: not before the batches up to `after` are
    /// journalled (a range that was clean must be known as dirty before its bytes change).
    Write {
        ino: Ino,
        offset: u64,
        data: Bytes,
        /// The kernel may read or write the backing file by itself: the bytes must be in it when this is
        /// done.
        direct: bool,
        after: Seq,
    },
    /// Fetched bytes.
    Fill {
        ino: Ino,
        offset: u64,
        data: Bytes,
    },
    /// Set the length of the backing file (grows with a hole).
    Truncate {
        ino: Ino,
        size: u64,
        after: Seq,
    },
    /// Copy `part` of one backing file to `offset` of another.
    Copy {
        from: Ino,
        part: Range,
        to: Ino,
        offset: u64,
        after: Seq,
    },
    /// Make the bytes of a range zero (punch a hole in the backing file).
    Zero {
        ino: Ino,
        range: Range,
        after: Seq,
    },
    /// Make bytes, then every batch up to `upto`, survive power loss. `ino` `None`: only the batches.
    Sync {
        ino: Option<Ino>,
        upto: Seq,
    },
    /// Look at the backing file: its length, its times, and (with `writers`) whether anybody has it open
    /// for writing. With `begin` it is made if it is missing, and its time of modification becomes
    /// [`crate::Measure::UNWRITTEN`] before the look.
    Measure {
        ino: Ino,
        begin: bool,
        writers: bool,
        after: Seq,
    },
    /// Drop the backing file.
    Evict {
        ino: Ino,
        after: Seq,
    },
}

/// Work for the cloud store. May take long; every one is bounded by `deadline` where given.
#[derive(Clone, PartialEq, Debug)]
pub enum Cloud {
    /// Says what this device knows, so that the store can say whether it is still so.
    Connect(Known),
    /// One page of a directory's live children.
    Children {
        dir: NodeId,
        after: Option<Vec<u8>>,
    },
    /// One page of all live nodes, parents before children.
    Snapshot {
        after: Option<Vec<u8>>,
    },
    Changes {
        since: Rev,
    },
    /// At least `range` of a version, in parts as they arrive.
    Fetch {
        content: ContentRef,
        range: Range,
        deadline: Mono,
    },
    /// Whole small files, many in one round trip.
    FetchSmall {
        contents: Vec<ContentRef>,
    },
    /// Whether the bytes of a file here, all of them, are those of a version of that length.
    Same {
        ino: Ino,
        content: ContentRef,
        size: u64,
    },
    Stage(Vec<StageItem>),
    Commit(Box<Flight>),
}

/// What the kernel must forget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stale {
    /// The entry `name` in `parent` (present or negative).
    Entry { parent: Ino, name: Name },
    /// Attributes and cached pages; of a directory, its cached listing.
    Data(Ino),
    /// Attributes only.
    Attrs(Ino),
    /// The backing file is gone, or another one: what a driver keeps open of it. Handles that are open
    /// keep theirs.
    Backing(Ino),
}
