//! Every durable mutation. The core applies a batch to memory, `cache` writes the same batch as row
//! updates in one transaction: one meaning, two places.

use crate::{ContentRow, Group, Ino, Loaded, NodeRow, Range, RequestId, Rev, Timestamp};
use alloc::{boxed::Box, vec::Vec};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Insert or replace the row of a node.
    PutNode(Box<NodeRow>),
    /// Remove the row of a node and of its content; the backing file may go.
    DropNode(Ino),
    /// Insert or replace the content row of a file.
    PutContent(Box<ContentRow>),
    /// Remove the content row: no byte of the file is here.
    DropContent(Ino),
    /// `range` was written: it is dirty, no longer merely valid. Sets size, mtime and ctime.
    Wrote { ino: Ino, range: Range, size: u64, mtime: Timestamp },
    /// `range` was fetched and written to the backing file: it is valid.
    Filled { ino: Ino, range: Range },
    /// The feed has been applied up to here. `epoch` names the life of the server's drive.
    Cursor { rev: Rev, epoch: u64 },
    /// The whole tree is in the replica (snapshot finished).
    Complete,
    /// A commit is about to be sent (written before it leaves).
    PutFlight(Box<Flight>),
    /// Its outcome has been applied.
    DropFlight(RequestId),
    /// What waits for a person from now on.
    Held(Hold),
}

/// Changes that are not sent until a person has looked: too many of a kind at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hold {
    pub removals: bool,
    pub rewrites: bool,
}

impl Hold {
    /// As a number, for those who keep it.
    #[must_use]
    pub fn bits(self) -> u64 {
        u64::from(self.removals) | u64::from(self.rewrites) << 1
    }

    /// From [`Hold::bits`]; other bits are ignored.
    #[must_use]
    pub fn from_bits(bits: u64) -> Hold {
        Hold { removals: bits & 1 != 0, rewrites: bits & 2 != 0 }
    }
}

/// A commit in flight, kept so that it can be sent again, to the byte, after a crash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flight {
    pub request: RequestId,
    pub groups: Vec<Group>,
    /// For each op in order of groups and ops: which node it speaks of, and what it covers.
    pub items: Vec<FlightItem>,
}

/// What one op of a flight covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlightItem {
    pub group: u32,
    /// The node as it was when the op was made: on success it is what the cloud has.
    pub sent: Loaded,
    /// Write generation of the content at that time (volatile: 0 after a restart).
    pub generation: u64,
}
