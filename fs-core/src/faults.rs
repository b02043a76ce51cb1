//! Requests that lack something. An operation that lacks an entry, bytes, room or an idle range names
//! its need, is parked whole, and runs again from its first line when that arrives.

use crate::{FsError, Ino, Job, Mono, NodeId, Range, Request, Ticket};
use alloc::{boxed::Box, collections::BTreeMap, collections::BTreeSet, vec::Vec};

/// Why an operation stops before it has changed anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Halt {
    Fail(FsError),
    Fault(Need),
}

impl From<FsError> for Halt {
    fn from(error: FsError) -> Halt {
        Halt::Fail(error)
    }
}

pub(crate) type Step<T> = Result<T, Halt>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// All children of a directory in memory.
    Listing(Ino),
    Node(Ino),
    /// The node that a hard link names.
    Target(NodeId),
    /// The nodes that all hard links in a directory name; one that is missing.
    Targets(Ino, NodeId),
    /// A range of a file's bytes in the backing file (or in passing).
    Bytes(Ino, Range),
    /// No work under way that conflicts on this file.
    Idle(Ino),
    /// Room for more dirty bytes.
    Space,
    /// A look at a backing file that others may write to, begun after the request came.
    Look(Ino),
    /// That look.
    Seen(Job),
}

/// What wakes a parked request. Waking too early is harmless.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Wake {
    Listing(Ino),
    Node(Ino),
    Target(NodeId),
    Bytes(Ino),
    Idle(Ino),
    Space,
    Seen(Job),
}

impl Need {
    pub(crate) fn wake(self) -> Wake {
        match self {
            Need::Listing(ino) => Wake::Listing(ino),
            Need::Node(ino) => Wake::Node(ino),
            Need::Target(id) | Need::Targets(_, id) => Wake::Target(id),
            Need::Bytes(ino, _) => Wake::Bytes(ino),
            Need::Idle(ino) => Wake::Idle(ino),
            Need::Space => Wake::Space,
            Need::Look(ino) => Wake::Idle(ino),
            Need::Seen(job) => Wake::Seen(job),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) request: Box<Request>,
    pub(crate) deadline: Mono,
    pub(crate) need: Need,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    parked: BTreeMap<Ticket, Parked>,
    waiting: BTreeMap<Wake, Vec<Ticket>>,
    deadlines: BTreeSet<(Mono, Ticket)>,
}

impl Faults {
    pub(crate) fn park(&mut self, ticket: Ticket, parked: Parked) {
        self.waiting.entry(parked.need.wake()).or_default().push(ticket);
        self.deadlines.insert((parked.deadline, ticket));
        self.parked.insert(ticket, parked);
    }

    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Parked> {
        let parked = self.parked.remove(&ticket)?;
        self.deadlines.remove(&(parked.deadline, ticket));
        Some(parked)
    }

    /// The tickets that wait for `wake`, in the order in which they were parked.
    pub(crate) fn woken(&mut self, wake: Wake) -> Vec<Ticket> {
        self.waiting.remove(&wake).unwrap_or_default()
    }

    /// The same, without waking them.
    pub(crate) fn waiting_for(&self, wake: Wake) -> Vec<Ticket> {
        self.waiting.get(&wake).cloned().unwrap_or_default()
    }

    /// The ranges that parked requests wait for.
    pub(crate) fn wanted_bytes(&self) -> Vec<(Ino, Range)> {
        let needs = self.parked.values().filter_map(|parked| match parked.need {
            Need::Bytes(ino, range) => Some((ino, range)),
            _ => None,
        });
        needs.collect()
    }

    /// The link targets that parked requests wait for.
    pub(crate) fn wanted_targets(&self) -> BTreeSet<NodeId> {
        let wakes = self.parked.values().map(|parked| parked.need.wake());
        let targets = wakes.filter_map(|wake| match wake {
            Wake::Target(id) => Some(id),
            _ => None,
        });
        targets.collect()
    }

    /// The directories whose listings parked requests wait for.
    pub(crate) fn wanted_listings(&self) -> BTreeSet<Ino> {
        let needs = self.parked.values().filter_map(|parked| match parked.need {
            Need::Listing(dir) => Some(dir),
            _ => None,
        });
        needs.collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Brings forward the deadlines of those who wait for bytes of a file.
    pub(crate) fn hasten_bytes(&mut self, ino: Ino, deadline: Mono) {
        for ticket in self.waiting.get(&Wake::Bytes(ino)).into_iter().flatten() {
            if let Some(parked) = self.parked.get_mut(ticket)
                && deadline < parked.deadline
            {
                self.deadlines.remove(&(parked.deadline, *ticket));
                parked.deadline = deadline;
                self.deadlines.insert((deadline, *ticket));
            }
        }
    }

    /// Tickets whose deadline has passed.
    pub(crate) fn overdue(&self, now: Mono) -> Vec<Ticket> {
        self.deadlines.iter().take_while(|(d, _)| *d <= now).map(|(_, ticket)| *ticket).collect()
    }
}
