//! What each effect in flight is for.

use crate::{ContentRef, HandleId, Ino, Job, NodeId, Range, Ticket};
use alloc::{collections::BTreeMap, vec::Vec};

/// The reason of a job: what to do when it is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    LoadDir(Ino),
    LoadNode(Ino),
    /// Nodes that hard links name.
    LoadTargets(Vec<NodeId>),
    /// Rows of the commit or page at the head of the inbox.
    LoadInbox,
    Read {
        ticket: Ticket,
        ino: Ino,
        range: Range,
    },
    Write {
        ticket: Ticket,
        ino: Ino,
        range: Range,
    },
    Fill {
        ino: Ino,
        range: Range,
        content: ContentRef,
    },
    Truncate {
        ticket: Ticket,
        ino: Ino,
        cut: Cut,
    },
    /// The backing bytes of a range are dropped; nobody may fill it meanwhile.
    Drop {
        ino: Ino,
        range: Range,
    },
    Copy {
        ticket: Ticket,
        from: Ino,
        part: Range,
        to: Ino,
        range: Range,
    },
    Zero {
        ticket: Ticket,
        ino: Ino,
        range: Range,
    },
    Sync {
        ticket: Ticket,
    },
    Measure {
        ino: Ino,
        why: Why,
    },
    /// The flight is about to leave and must be durable first.
    SyncFlight,
    /// Which attempt.
    Connect(u32),
    Children {
        dir: NodeId,
    },
    /// Of which run.
    Snapshot(u32),
    Changes,
    Fetch {
        ino: Ino,
        content: ContentRef,
        range: Range,
    },
    FetchSmall {
        files: Vec<(Ino, ContentRef)>,
        /// The number of the walk that they are for; 0 = none.
        walk: u64,
    },
    /// A file here and a version of the cloud's are compared.
    Same,
    Stage,
    Commit,
}

/// Why a file is cut (or made longer).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// A handle was opened so.
    Open(HandleId),
    /// Its length was set, with `timed` the time of modification too.
    Set { timed: bool },
}

/// What a look at a backing file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// Requests wait to know its size and times.
    Asked,
    /// A handle that can write to it unseen is about to be given out.
    Opened { ticket: Ticket, handle: HandleId, first: bool },
    /// Whether it has changed, and whether anybody can still write.
    Watch,
    /// Its length, or its time of modification (`timed`), was set: the answer shows both.
    Set { ticket: Ticket, timed: bool },
    /// Its bytes were staged: whether they changed meanwhile.
    Staged,
}

#[derive(Debug, Default)]
pub(crate) struct Jobs {
    running: BTreeMap<Job, Work>,
    last: u64,
}

impl Jobs {
    pub(crate) fn start(&mut self, work: Work) -> Job {
        self.last += 1;
        self.running.insert(Job(self.last), work);
        Job(self.last)
    }

    pub(crate) fn get(&self, job: Job) -> Option<&Work> {
        self.running.get(&job)
    }

    pub(crate) fn finish(&mut self, job: Job) -> Option<Work> {
        self.running.remove(&job)
    }
}
