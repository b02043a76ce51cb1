//! The hall: one door in, one door out.

use crate::brake::Brake;
use crate::faults::{Faults, Halt, Need, Parked, Step, Wake};
use crate::handles::Handles;
use crate::held::Held;
use crate::hydration::Hydration;
use crate::ident::Random;
use crate::ignore::Ignore;
use crate::inbox::Inbox;
use crate::jobs::{Jobs, Why, Work};
use crate::passthrough::Passthrough;
use crate::pins::Pins;
use crate::siblings::Walks;
use crate::tree::{Inode, Tree};
use crate::uploads::Uploads;
use crate::{
    Attrs, Change, Cloud, Effect, Event, FsError, Ino, Job, Kind, Limits, Local, Mono, Name,
    NodeId, NodeRow, Now, Pending, Recovered, Request, Response, Rev, Seq, Stale, Ticket,
    Timestamp,
};
use alloc::{boxed::Box, collections::BTreeMap, collections::VecDeque, string::String, vec::Vec};

/// The drive of one device: decides everything, touches nothing.
///
/// Call [`Drive::handle`] with an event, then [`Drive::poll`] until it yields no effect, both under
/// one lock; perform the effects in order after unlocking.
pub struct Drive {
    pub(crate) limits: Limits,
    pub(crate) now: Now,
    pub(crate) tree: Tree,
    pub(crate) handles: Handles,
    pub(crate) held: Held,
    pub(crate) faults: Faults,
    pub(crate) jobs: Jobs,
    pub(crate) hydration: Hydration,
    pub(crate) walks: Walks,
    pub(crate) uploads: Uploads,
    pub(crate) inbox: Inbox,
    pub(crate) pins: Pins,
    pub(crate) passthrough: Passthrough,
    pub(crate) brake: Brake,
    pub(crate) ignore: Ignore,
    pub(crate) random: Random,
    pub(crate) last_ino: Ino,
    pub(crate) device: String,
    seq: Seq,
    batch: Vec<Change>,
    pub(crate) staged: Vec<Effect>,
    effects: VecDeque<Effect>,
}

impl Drive {
    /// Starts from what the local store recovered. The first effects connect to the cloud.
    #[must_use]
    pub fn recover(recovered: Recovered, limits: Limits, seed: u64, now: Now) -> Drive {
        let mut drive = Drive {
            limits,
            now,
            tree: Tree::new(limits.life, recovered.acls),
            handles: Handles::of_life(limits.life),
            held: Held::default(),
            faults: Faults::default(),
            jobs: Jobs::default(),
            hydration: Hydration::default(),
            walks: Walks::default(),
            uploads: Uploads::default(),
            inbox: Inbox::new(recovered.cursor, recovered.epoch, recovered.complete),
            pins: Pins::default(),
            passthrough: Passthrough::default(),
            brake: Brake::new(recovered.nodes, recovered.last_ino, recovered.held),
            ignore: Ignore::default(),
            random: Random::new(seed),
            last_ino: Ino(recovered.last_ino.0.max(Ino::ROOT.0)),
            device: String::new(),
            seq: recovered.last_seq,
            batch: Vec::new(),
            staged: Vec::new(),
            effects: VecDeque::new(),
        };
        drive.adopt_recovered(recovered);
        drive.connect();
        drive.flush();
        drive
    }

    fn adopt_recovered(&mut self, recovered: Recovered) {
        let mut waiting: BTreeMap<Ino, Vec<crate::Loaded>> = BTreeMap::new();
        for loaded in recovered.rows {
            waiting.entry(loaded.node.parent).or_default().push(loaded);
        }
        // Parents before children: the root and the placeless first, then level by level.
        let mut next: VecDeque<Ino> = [Ino::NONE, Ino::ROOT].into();
        let roots = waiting.values_mut().flat_map(|rows| {
            let at = rows.iter().position(|loaded| loaded.node.ino == Ino::ROOT);
            at.map(|at| rows.swap_remove(at))
        });
        for root in roots.collect::<Vec<_>>() {
            self.tree.adopt(root.node, root.content);
        }
        if self.tree.get(Ino::ROOT).is_none() {
            let root = self.new_root();
            self.commit(Change::PutNode(Box::new(root)));
        }
        while let Some(parent) = next.pop_front() {
            for loaded in waiting.remove(&parent).unwrap_or_default() {
                next.push_back(loaded.node.ino);
                self.tree.adopt(loaded.node, loaded.content);
            }
        }
        self.drop_closed_orphans();
        self.ask_for_ghosts();
        self.recover_blind();
        self.uploads.recover(recovered.flights);
        for ino in self.tree.pending().clone() {
            self.touch(ino);
        }
        let pinned = self.tree.inodes().filter(|inode| inode.row.pinned);
        for ino in pinned.map(|inode| inode.row.ino).collect::<Vec<_>>() {
            self.pins.walk(ino);
        }
        for ino in self.tree.cached().clone() {
            self.hydration.used(ino);
        }
    }

    /// Files that were unlinked while open: nobody can have them open in a fresh mount.
    fn drop_closed_orphans(&mut self) {
        let orphans = self.tree.inodes().filter(|inode| {
            let row = &inode.row;
            row.parent == Ino::NONE && row.pending.is_none() && !row.gone && row.origin.is_none()
        });
        for ino in orphans.map(|inode| inode.row.ino).collect::<Vec<_>>() {
            if ino != Ino::ROOT && self.limits.life == 0 {
                self.drop_node(ino);
            }
        }
    }

    /// The kernel is told to forget what it has of nodes without a place: its driver answers with a
    /// forget for those that it does not have any more.
    fn ask_for_ghosts(&mut self) {
        let ghosts =
            self.tree.inodes().filter(|inode| inode.haunted && inode.row.parent == Ino::NONE);
        for ino in ghosts.map(|inode| inode.row.ino).collect::<Vec<_>>() {
            if ino != Ino::ROOT {
                self.invalidate(Stale::Attrs(ino));
            }
        }
    }

    fn new_root(&self) -> NodeRow {
        let wall = self.now.wall;
        NodeRow {
            ino: Ino::ROOT,
            id: NodeId::ROOT,
            parent: Ino::NONE,
            name: Name::none(),
            kind: Kind::Dir,
            attrs: Attrs {
                mode: 0o755,
                uid: self.limits.owner.uid,
                gid: self.limits.owner.gid,
                rdev: 0,
                atime: wall,
                mtime: wall,
                ctime: wall,
                btime: wall,
                target: Vec::new(),
                xattrs: BTreeMap::new(),
            },
            size: 0,
            meta_rev: Rev(0),
            content_rev: Rev(0),
            pending: Pending::NONE,
            origin: None,
            listed: false,
            pinned: false,
            gone: false,
        }
    }

    /// Lets one event in. Never blocks; work is bounded.
    pub fn handle(&mut self, now: Now, event: Event) {
        self.now = now;
        match event {
            Event::Request(ticket, request) => self.run(ticket, Box::new(request)),
            Event::Cancel(ticket) => self.give_up(ticket, FsError::TimedOut),
            Event::Fetched(job, offset, bytes) => self.fetched(job, offset, &bytes),
            Event::Done(job, outcome) => self.done(job, outcome),
            Event::Sent(job, bytes) => self.sent(job, bytes),
            Event::Head(head) => self.head_moved(head),
            Event::Link(up) => self.link_changed(up),
            Event::DiskFree(bytes) => self.hydration.disk_free = Some(bytes),
            Event::Rules(asked, rules) => self.rules_read(asked, rules),
            Event::Tick => {}
        }
        self.expire();
        self.advance_inbox();
        self.advance_passthrough();
        self.advance_uploads();
        self.advance_pins();
        if !self.inbox.holds_rows() {
            self.let_go();
            self.tree.sweep(self.limits.idle_nodes);
        }
        self.flush();
    }

    /// The device's name, as conflict copies show it.
    pub fn name_device(&mut self, name: &str) {
        let legal = |c: &char| !matches!(c, '/' | '\0') && !c.is_control();
        self.device = name.chars().filter(legal).take(32).collect();
    }

    /// The next effect to perform, in order.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When the next `Tick` is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        let uploads = self.uploads.next_due().filter(|_| self.can_upload());
        let waits =
            [self.faults.next_deadline(), uploads, self.inbox.next_try(), self.pins.next_try()];
        waits.into_iter().chain([self.passthrough.next_look()]).flatten().min()
    }

    /// All invariants; for the simulator and debug builds.
    ///
    /// # Errors
    /// The first one that does not hold, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        let mut kept = self.uploads.kept.iter();
        if kept.any(|ino| !self.tree.pending().contains(ino)) {
            return Err("something stays here of which nothing is pending");
        }
        self.tree.check()
    }

    /// Every node in memory, for the simulator's oracles: row and local content.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeRow, Option<&crate::ContentRow>)> {
        self.tree.inodes().map(|inode| (&inode.row, inode.content.as_deref()))
    }

    /// The feed position applied so far.
    #[must_use]
    pub fn applied(&self) -> Rev {
        self.inbox.applied
    }

    pub(crate) fn run(&mut self, ticket: Ticket, request: Box<Request>) {
        match self.step(ticket, &request) {
            Ok(Some(response)) => self.reply(ticket, Ok(response)),
            Ok(None) => {}
            Err(Halt::Fail(error)) => self.reply(ticket, Err(error)),
            Err(Halt::Fault(need)) => self.park(ticket, request, need, None),
        }
    }

    fn park(&mut self, ticket: Ticket, request: Box<Request>, need: Need, deadline: Option<Mono>) {
        let patience = if self.inbox.online {
            self.limits.read_deadline_ms
        } else {
            self.limits.offline_deadline_ms
        };
        let deadline = deadline.unwrap_or_else(|| self.now.mono.plus_millis(patience));
        let need = match need {
            Need::Look(ino) => Need::Seen(self.measure(ino, Why::Asked)),
            need => {
                self.passthrough.forget_ticket(ticket);
                need
            }
        };
        self.faults.park(ticket, Parked { request, deadline, need });
        if let Err(error) = self.provide(need) {
            self.give_up(ticket, error);
        }
    }

    /// Starts what makes `need` come true, unless it is under way.
    fn provide(&mut self, need: Need) -> Result<(), FsError> {
        match need {
            Need::Listing(dir) => self.want_listing(dir),
            Need::Node(ino) => {
                self.load_node(ino);
                Ok(())
            }
            Need::Target(id) => {
                self.load_targets([id].into());
                Ok(())
            }
            Need::Targets(dir, _) => {
                let missing = self.missing_targets(dir);
                self.load_targets(missing);
                Ok(())
            }
            Need::Bytes(ino, range) => self.want_bytes(ino, range),
            Need::Idle(_) | Need::Look(_) | Need::Seen(_) => Ok(()),
            Need::Space => {
                self.uploads.hurry();
                Ok(())
            }
        }
    }

    /// Runs again every request that waits for `wake`. Each keeps its deadline.
    pub(crate) fn wake(&mut self, wake: Wake) {
        for ticket in self.faults.woken(wake) {
            let Some(parked) = self.faults.take(ticket) else { continue };
            match self.step(ticket, &parked.request) {
                Ok(Some(response)) => self.reply(ticket, Ok(response)),
                Ok(None) => {}
                Err(Halt::Fail(error)) => self.reply(ticket, Err(error)),
                Err(Halt::Fault(need)) => {
                    self.park(ticket, parked.request, need, Some(parked.deadline));
                }
            }
        }
    }

    /// Answers every request that waits for `wake` with `error`.
    pub(crate) fn fail_waiting(&mut self, wake: Wake, error: FsError) {
        for ticket in self.faults.woken(wake) {
            self.give_up(ticket, error);
        }
    }

    fn give_up(&mut self, ticket: Ticket, error: FsError) {
        if self.faults.take(ticket).is_some() {
            self.reply(ticket, Err(error));
        }
    }

    fn expire(&mut self) {
        for ticket in self.faults.overdue(self.now.mono) {
            let Some(parked) = self.faults.take(ticket) else { continue };
            let error = match parked.need {
                Need::Space => FsError::NoSpace,
                _ if self.inbox.online => FsError::TimedOut,
                _ => FsError::Offline,
            };
            self.reply(ticket, Err(error));
        }
    }

    /// Applies a change to memory and adds it to the batch that this call writes.
    pub(crate) fn commit(&mut self, change: Change) {
        self.brake.see(&change);
        let of_rules = self.is_of_rules(&change);
        self.tree.apply(&change);
        if of_rules {
            self.rules_changed();
        }
        self.batch.push(change);
    }

    /// The batch that the changes of this call belong to: nothing newer than it exists.
    pub(crate) fn latest(&self) -> Seq {
        if self.batch.is_empty() { self.seq } else { Seq(self.seq.0 + 1) }
    }

    pub(crate) fn flush(&mut self) {
        self.invalidate_targets();
        if !self.batch.is_empty() {
            self.seq = Seq(self.seq.0 + 1);
            self.effects.push_back(Effect::Commit(self.seq, core::mem::take(&mut self.batch)));
        }
        self.effects.extend(self.staged.drain(..));
    }

    pub(crate) fn reply(&mut self, ticket: Ticket, result: Result<Response, FsError>) {
        self.passthrough.forget_ticket(ticket);
        let after = if self.batch.is_empty() { Seq(0) } else { self.latest() };
        self.staged.push(Effect::Reply { ticket, result, after });
    }

    pub(crate) fn local(&mut self, work: Work, effect: Local) -> Job {
        let job = self.jobs.start(work);
        self.staged.push(Effect::Local(job, effect));
        job
    }

    pub(crate) fn cloud(&mut self, work: Work, effect: Cloud) -> Job {
        let job = self.jobs.start(work);
        self.staged.push(Effect::Cloud(job, effect));
        job
    }

    pub(crate) fn invalidate(&mut self, stale: Stale) {
        let open_dir = match &stale {
            Stale::Entry { parent, .. } => {
                self.tree.relist(*parent);
                Some(*parent).filter(|dir| self.tree.get(*dir).is_some_and(Inode::is_held))
            }
            _ => None,
        };
        self.staged.push(Effect::Invalidate(stale));
        // The next one who opens the directory is told to read it anew; one who has it open may rewind.
        if let Some(dir) = open_dir {
            self.staged.push(Effect::Invalidate(Stale::Data(dir)));
        }
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.staged.push(Effect::Note(text.into()));
    }

    pub(crate) fn new_ino(&mut self) -> Ino {
        self.last_ino = Ino(self.last_ino.0 + 1);
        self.last_ino
    }

    /// The node, or the need to load it.
    pub(crate) fn node(&self, ino: Ino) -> Step<&Inode> {
        let found = self.tree.get(ino).filter(|inode| !inode.row.gone || inode.is_held());
        found.ok_or(Halt::Fault(Need::Node(ino)))
    }

    /// The node as a directory whose listing is whole and in memory.
    pub(crate) fn listing(&self, ino: Ino) -> Step<&Inode> {
        let dir = self.node(ino)?;
        if !dir.is_dir() {
            return Err(FsError::NotDirectory.into());
        }
        if dir.loaded && self.is_listed(dir) {
            Ok(dir)
        } else {
            Err(Halt::Fault(Need::Listing(ino)))
        }
    }

    /// Whether the replica knows all children of a directory.
    pub(crate) fn is_listed(&self, dir: &Inode) -> bool {
        let fresh = self.inbox.reconcile.as_ref().is_some_and(|going| going.is_fresh(dir.row.ino));
        dir.row.listed || self.inbox.complete && !fresh
    }

    /// The child of that name, if the entry is known or the listing is whole.
    pub(crate) fn child(&self, parent: Ino, name: &Name) -> Step<Option<&Inode>> {
        match self.tree.child(parent, name) {
            Some(inode) => Ok(Some(inode)),
            None => {
                let dir = self.listing(parent)?;
                if dir.row.parent == Ino::NONE && parent != Ino::ROOT {
                    return Err(FsError::NotFound.into());
                }
                Ok(None)
            }
        }
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.now.wall
    }

    /// Removes the row of a node. The store removes the bytes when that survives power loss: a removal
    /// that did not must not leave a file without what was once synced.
    pub(crate) fn drop_node(&mut self, ino: Ino) {
        let had_content = self.tree.get(ino).is_some_and(|inode| inode.content.is_some());
        self.backing_gone(ino);
        self.passthrough.forget(ino);
        self.commit(Change::DropNode(ino));
        self.settled(ino);
        self.hydration.forget(ino);
        self.walks.forget(ino);
        if had_content {
            self.wake(Wake::Space);
        }
    }
}
