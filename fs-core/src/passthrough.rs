//! Files that the kernel reads and writes by itself, and what can be known of them.
//!
//! A file is open either through requests or by passthrough, never both: the kernel refuses the mix.
//! What is written by passthrough is not told. So before a handle that can write is given out, the
//! file is marked *blind*, durably; from then on its length and times are what a look at the backing
//! file shows, everything in it counts as dirty once it has changed, and it is neither dropped nor
//! taken for sent until a look has shown that nobody can write to it any more.

use crate::drive::Drive;
use crate::faults::{Need, Step, Wake};
use crate::handles::Route;
use crate::jobs::{Why, Work};
use crate::ops::DIRTY_ALLOWANCE;
use crate::tree::Inode;
use crate::{
    Change, Command, ContentRow, FsError, HandleId, Ino, Job, Local, Measure, Mono, Pending, Range,
    Ranges, Request, Seq, Ticket, Timestamp, Via,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

/// Milliseconds between two looks at a file that somebody may write to unseen.
const LOOK_MS: u64 = 5_000;
/// Milliseconds until a file is looked at again that somebody waits for, or that was just changing.
const AGAIN_MS: u64 = 200;
/// The coarsest step of file times that a kernel with passthrough has, in nanoseconds: a jiffy at
/// HZ=100. Within one step a second write does not move them.
const TICK_NANOS: i64 = 10_000_000;

/// What is known of a file that may be written unseen.
#[derive(Clone, Copy, Debug)]
struct Blind {
    /// The last look, and when it was taken; `None`: whatever is there counts as changed.
    seen: Option<(Measure, Timestamp)>,
    /// It was open for reading and writing at once: mapped pages can be written after the last close.
    mappable: bool,
    /// The last two looks showed the same.
    quiet: bool,
    looking: bool,
    next: Mono,
}

#[derive(Debug, Default)]
pub(crate) struct Passthrough {
    blind: BTreeMap<Ino, Blind>,
    /// What was looked at for requests that are being worked on.
    fresh: BTreeMap<Ticket, BTreeSet<Ino>>,
    /// Backing files numbered so far.
    files: u64,
    /// The handle that was last opened to read a file that is not wholly here.
    reader: Option<(Ino, HandleId)>,
}

impl Passthrough {
    pub(crate) fn is_blind(&self, ino: Ino) -> bool {
        self.blind.contains_key(&ino)
    }

    pub(crate) fn forget(&mut self, ino: Ino) {
        self.blind.remove(&ino);
    }

    /// A request is answered, or waits for something else: what was seen for it is old by then.
    pub(crate) fn forget_ticket(&mut self, ticket: Ticket) {
        if !self.fresh.is_empty() {
            self.fresh.remove(&ticket);
        }
    }

    pub(crate) fn next_look(&self) -> Option<Mono> {
        self.blind.values().filter(|blind| !blind.looking).map(|blind| blind.next).min()
    }

    fn is_fresh(&self, ticket: Ticket, ino: Ino) -> bool {
        self.fresh.get(&ticket).is_some_and(|seen| seen.contains(&ino))
    }

    /// Whether a look shows something else than the last one, and whether it was written since: without
    /// a last one, since `known`, the last change that was recorded.
    fn compare(
        &mut self,
        ino: Ino,
        (now, at): (&Measure, Timestamp),
        known: Timestamp,
    ) -> (bool, bool) {
        let Some(blind) = self.blind.get_mut(&ino) else { return (false, false) };
        let before = blind.seen.replace((*now, at));
        let Some((seen, seen_at)) = before else { return (true, now.mtime > known) };
        let moved = (seen.size, seen.mtime, seen.ctime) != (now.size, now.mtime, now.ctime);
        // The last look came so soon after the last write that another one may have gone unnoticed.
        let doubt = now.size > 0 && seen_at.0.saturating_sub(seen.mtime.0).abs() < TICK_NANOS;
        (moved || doubt, now.mtime != seen.mtime && now.mtime != Measure::UNWRITTEN)
    }
}

/// Every byte is in the backing file: nothing is absent, and no hole stands for zeros.
fn is_whole(inode: &Inode) -> bool {
    let Some(content) = &inode.content else { return false };
    let gaps = content.valid.gaps(Range::new(0, inode.row.size));
    gaps.into_iter().all(|gap| content.dirty.covers(gap))
}

fn lacks_bytes(inode: &Inode) -> bool {
    !inode.absent(Range::new(0, inode.row.size)).is_empty()
}

/// There is no clean byte that a changed one would have to be told from.
fn is_all_dirty(inode: &Inode) -> bool {
    let whole = Range::new(0, inode.row.size);
    inode
        .content
        .as_ref()
        .map_or(whole.is_empty(), |content| content.valid.is_empty() && content.dirty.covers(whole))
}

impl Drive {
    /// Of a mount that an earlier daemon served: who had the file open for writing unseen may have it
    /// open still. The kernel would refuse another way for a new handle, so that waits for the close.
    pub(crate) fn await_earlier(&mut self, ino: Ino, flags: crate::OpenFlags) -> Step<()> {
        if flags.inherited {
            return Ok(()); // the way is known
        }
        let open = self.tree.get(ino).is_some_and(|inode| inode.opens > 0);
        if self.limits.life == 0 || open || !self.passthrough.is_blind(ino) {
            return Ok(());
        }
        self.watch(ino);
        Err(Need::Idle(ino).into_halt())
    }

    /// How the bytes of a handle that is about to be opened travel. Deterministic; `design`: the mode
    /// machine. A handle that can both read and write can be mapped, and what is written to a map
    /// after the last close is told to nobody: it goes through requests whenever there is a choice.
    pub(crate) fn route(&self, ino: Ino, flags: crate::OpenFlags) -> Route {
        let Some(inode) = self.tree.get(ino) else { return Route::Core };
        if inode.passed > 0 || flags.inherited && inode.opens == 0 {
            return if flags.write { Route::Blind } else { Route::Read };
        }
        // The kernel takes set-id bits away by requests only.
        let set_id = inode.row.attrs.mode & 0o6000 != 0;
        if !flags.passthrough || inode.opens > 0 || inode.haunted || set_id {
            return Route::Core;
        }
        let placed = inode.row.parent != Ino::NONE && !inode.row.gone;
        if flags.write {
            if self.may_be_a_copy() {
                return Route::Core;
            }
            let takes = placed && is_all_dirty(inode) && !inode.is_changing() && self.has_room();
            if takes && !flags.read { Route::Blind } else { Route::Core }
        } else {
            let large = inode.row.size >= self.limits.passthrough_min;
            let still = large && !inode.is_changing() && is_whole(inode);
            if still { Route::Read } else { Route::Core }
        }
    }

    /// Somebody has just opened a file that is not here: what is written next may be a copy of it, for
    /// which nothing has to be fetched, unless the kernel writes the copy by itself.
    fn may_be_a_copy(&self) -> bool {
        self.passthrough.reader.is_some_and(|(ino, handle)| {
            self.handles.is_open(handle) && self.tree.get(ino).is_some_and(lacks_bytes)
        })
    }

    pub(crate) fn note_reader(&mut self, ino: Ino, handle: HandleId) {
        if self.tree.get(ino).is_some_and(lacks_bytes) {
            self.passthrough.reader = Some((ino, handle));
        }
    }

    /// Whether the kernel may read or write the backing file by itself.
    pub(crate) fn may_be_passed(&self, ino: Ino) -> bool {
        let passed = |inode: &Inode| inode.passed > 0 || inode.haunted;
        self.passthrough.is_blind(ino) || self.tree.get(ino).is_some_and(passed)
    }

    /// Unseen writes cannot be held back one by one: none are begun when dirty bytes are at their limit.
    fn has_room(&self) -> bool {
        let limit = self.limits.cache_bytes / 2 + DIRTY_ALLOWANCE;
        let roomy = self.hydration.disk_free.is_none_or(|free| free >= self.limits.disk_floor);
        roomy && self.tree.weight().dirty < limit
    }

    /// What the driver is told of a handle's way.
    pub(crate) fn via(&mut self, ino: Ino, route: Route) -> Via {
        let Some(inode) = self.tree.get_mut(ino) else { return Via::Core };
        if route == Route::Core {
            return Via::Core;
        }
        if inode.backing == 0 {
            self.passthrough.files += 1;
            inode.backing = self.passthrough.files;
        }
        let reads = route == Route::Read && inode.blind == 0;
        Via::Backing { file: inode.backing, len: reads.then_some(inode.row.size) }
    }

    /// The backing file goes, or another takes its place: drivers must not hand it out again.
    pub(crate) fn backing_gone(&mut self, ino: Ino) {
        let given = self.tree.get_mut(ino).map_or(0, |inode| core::mem::take(&mut inode.backing));
        if given != 0 {
            self.invalidate(crate::Stale::Backing(ino));
        }
    }

    /// Marks a file as written unseen, looks at it as it is now, and then answers the open.
    pub(crate) fn go_blind(&mut self, ticket: Ticket, ino: Ino, handle: HandleId) {
        let first = self.mark_blind(ino);
        let mappable = self.handles.get_mut(handle, ino).is_some_and(|open| open.flags.read);
        if let Some(blind) = self.passthrough.blind.get_mut(&ino) {
            blind.mappable |= mappable;
        }
        self.measure(ino, Why::Opened { ticket, handle, first });
    }

    /// Says whether nobody could write unseen before.
    fn mark_blind(&mut self, ino: Ino) -> bool {
        self.ensure_content(ino);
        let Some(inode) = self.tree.get_mut(ino) else { return false };
        // What is being staged or sent now may not be the file's last word.
        inode.generation += 1;
        let whole = Range::new(0, inode.row.size);
        if let Some(flight) = &mut inode.flight {
            flight.dirty.insert(whole);
        }
        let marked = inode.content.clone().filter(|content| !content.blind);
        if let Some(content) = marked {
            self.commit(Change::PutContent(Box::new(ContentRow { blind: true, ..*content })));
        }
        let now = self.now.mono;
        let first = !self.passthrough.blind.contains_key(&ino);
        self.passthrough.blind.entry(ino).or_insert(Blind {
            seen: None,
            mappable: false,
            quiet: false,
            looking: false,
            next: now.plus_millis(LOOK_MS),
        });
        first
    }

    /// Files that were marked when the last run ended: whoever had them open may have them still.
    pub(crate) fn recover_blind(&mut self) {
        let marked =
            self.tree.inodes().filter(|inode| inode.content.as_ref().is_some_and(|c| c.blind));
        for ino in marked.map(|inode| inode.row.ino).collect::<Vec<_>>() {
            let next = self.now.mono;
            let blind = Blind { seen: None, mappable: true, quiet: false, looking: false, next };
            self.passthrough.blind.insert(ino, blind);
        }
    }

    pub(crate) fn measure(&mut self, ino: Ino, why: Why) -> Job {
        let mappable = self.passthrough.blind.get(&ino).is_none_or(|blind| blind.mappable);
        let begin = matches!(why, Why::Opened { first: true, .. } | Why::Set { timed: true, .. });
        let writers = mappable && why == Why::Watch;
        let after = if begin { self.latest() } else { Seq(0) };
        let effect = Local::Measure { ino, begin, writers, after };
        self.local(Work::Measure { ino, why }, effect)
    }

    /// Looks at a file to see whether it rests, unless that is under way.
    pub(crate) fn watch(&mut self, ino: Ino) {
        if let Some(blind) = self.passthrough.blind.get_mut(&ino).filter(|blind| !blind.looking) {
            blind.looking = true;
            self.measure(ino, Why::Watch);
        }
    }

    pub(crate) fn advance_passthrough(&mut self) {
        let now = self.now.mono;
        let due =
            self.passthrough.blind.iter().filter(|(_, blind)| !blind.looking && blind.next <= now);
        for ino in due.map(|(ino, _)| *ino).collect::<Vec<_>>() {
            self.watch(ino);
        }
    }

    /// What must be looked at before `request` can be answered truly, if anything.
    pub(crate) fn unseen(&self, ticket: Ticket, request: &Request) -> Option<Need> {
        let blind = &self.passthrough.blind;
        if blind.is_empty() {
            return None;
        }
        let stale = |ino: &Ino| blind.contains_key(ino) && !self.passthrough.is_fresh(ticket, *ino);
        let found = match request {
            Request::Getattr { ino }
            | Request::Setattr { ino, .. }
            | Request::Fsync { ino, .. }
            | Request::Open { ino, .. }
            | Request::Read { ino, .. }
            | Request::Write { ino, .. }
            | Request::Seek { ino, .. }
            | Request::Link { ino, .. }
            | Request::Setxattr { ino, .. }
            | Request::Removexattr { ino, .. }
            | Request::Allocate { ino, .. } => Some(*ino).filter(stale),
            Request::Copy { from, to, .. } => [from.0, to.0].into_iter().find(stale),
            Request::Lookup { parent, name }
            | Request::Create { parent, name, .. }
            | Request::Unlink { parent, name } => self.named(*parent, name).filter(stale),
            Request::Rename { from, to, .. } => {
                let named = [from, to].map(|(parent, name)| self.named(*parent, name));
                named.into_iter().flatten().find(stale)
            }
            Request::Readdir { ino: dir, plus: true, .. } => {
                // A file with links may be listed in any folder.
                let inside = |ino: &&Ino| {
                    let inode = self.tree.get(**ino);
                    inode.is_some_and(|inode| inode.row.parent == *dir || inode.links > 0)
                };
                blind.keys().filter(inside).copied().find(stale)
            }
            Request::Control(
                Command::Status
                | Command::PathStatus(_)
                | Command::Sync(_)
                | Command::Drained
                | Command::PendingList,
            ) => blind.keys().copied().find(stale),
            _ => None,
        };
        let ino = found?;
        let changing = self.tree.get(ino).is_some_and(Inode::is_changing);
        Some(if changing { Need::Idle(ino) } else { Need::Look(ino) })
    }

    fn named(&self, parent: Ino, name: &crate::Name) -> Option<Ino> {
        let shown = self.shown(self.tree.child(parent, name)?).ok()?;
        Some(shown.row.ino)
    }

    pub(crate) fn measured(
        &mut self,
        job: Job,
        ino: Ino,
        why: Why,
        result: Result<Measure, FsError>,
    ) {
        match why {
            Why::Opened { ticket, handle, .. } => self.opened_blind(ticket, (ino, handle), result),
            Why::Asked => self.seen_for(job, ino, result),
            Why::Watch => self.watched(ino, result),
            Why::Set { ticket, .. } => {
                self.take_in(ino, result);
                self.answer_attr(ticket, ino, Ok(()));
            }
            Why::Staged => {
                self.take_in(ino, result);
                self.rechecked();
            }
        }
    }

    fn opened_blind(
        &mut self,
        ticket: Ticket,
        (ino, handle): (Ino, HandleId),
        result: Result<Measure, FsError>,
    ) {
        if let Err(error) = result {
            self.close(ino, handle);
            return self.reply(ticket, Err(error));
        }
        let fresh =
            self.tree.get(ino).is_some_and(|inode| inode.blind == 1 && !inode.is_changing());
        let at = self.wall();
        match (self.passthrough.blind.get_mut(&ino), result) {
            // Nobody could write unseen before: this is what the file is compared with from now on.
            (Some(blind), Ok(now)) if blind.seen.is_none() && !blind.mappable && fresh => {
                blind.seen = Some((now, at));
            }
            _ => drop(self.take_in(ino, result)),
        }
        self.answer_open(ticket, ino, handle);
    }

    fn seen_for(&mut self, job: Job, ino: Ino, result: Result<Measure, FsError>) {
        let wake = Wake::Seen(job);
        if let Err(error) = result {
            return self.fail_waiting(wake, error);
        }
        if self.take_in(ino, result).is_some() {
            for ticket in self.faults.waiting_for(wake) {
                self.passthrough.fresh.entry(ticket).or_default().insert(ino);
            }
        }
        self.wake(wake);
    }

    /// Takes in what a look showed; says whether the file had changed. `None`: it could not be told,
    /// because the file is just being changed from here.
    fn take_in(&mut self, ino: Ino, result: Result<Measure, FsError>) -> Option<bool> {
        let inode = self.tree.get(ino)?;
        let marked = inode.content.as_ref().is_some_and(|content| content.blind);
        if !marked {
            self.passthrough.forget(ino);
            return Some(false);
        }
        let Ok(now) = result else { return None };
        if inode.is_changing() {
            if let Some(inode) = self.tree.get_mut(ino) {
                inode.generation += 1;
            }
            return None;
        }
        let known = inode.row.attrs.ctime;
        let (changed, written) = self.passthrough.compare(ino, (&now, self.now.wall), known);
        if changed {
            self.changed_unseen(ino, &now, written);
        }
        Some(changed)
    }

    /// The file was written unseen: all of it is dirty.
    fn changed_unseen(&mut self, ino: Ino, now: &Measure, written: bool) {
        self.revive_superseded(ino);
        let whole = Range::new(0, now.size);
        let Some(inode) = self.tree.get_mut(ino) else { return };
        inode.generation += 1;
        if let Some(flight) = &mut inode.flight {
            flight.dirty.insert(whole);
            flight.shortest = flight.shortest.min(now.size);
        }
        let Some(inode) = self.tree.get(ino) else { return };
        let mut row = self.pend(inode, Pending::CONTENT);
        row.size = now.size;
        if written {
            row.attrs.mtime = now.mtime;
            // File times may lag behind the clock by a tick, and this one must move.
            let later = now.ctime > row.attrs.ctime;
            row.attrs.ctime = if later { now.ctime } else { self.wall() };
        }
        if let Some(content) = inode.content.as_deref() {
            let content = ContentRow {
                base_len: content.base_len.min(now.size),
                valid: Ranges::new(),
                dirty: [whole].into_iter().collect(),
                ..*content
            };
            self.commit(Change::PutContent(Box::new(content)));
        }
        self.commit(Change::PutNode(Box::new(row)));
        self.hydration.used(ino);
        if self.tree.get(ino).is_some_and(|inode| inode.row.parent != Ino::NONE) {
            self.touch(ino);
        }
        self.evict_for(0);
    }

    fn watched(&mut self, ino: Ino, result: Result<Measure, FsError>) {
        let writers = result.is_ok_and(|now| now.writers);
        let changed = self.take_in(ino, result);
        let open = self.tree.get(ino).is_some_and(|inode| inode.blind > 0);
        let wanted = self.uploads.is_awaited(ino);
        let now = self.now.mono;
        let Some(blind) = self.passthrough.blind.get_mut(&ino) else { return };
        blind.looking = false;
        blind.quiet = changed == Some(false);
        let soon = changed.is_none() || wanted || self.limits.life > 0;
        blind.next = now.plus_millis(if soon { AGAIN_MS } else { LOOK_MS });
        let quiet = blind.quiet;
        if changed.is_some() && !open && !writers {
            self.sees_again(ino);
        } else if quiet && wanted {
            self.uploads.hasten(ino, now);
        }
    }

    /// Nobody can write unseen any more.
    pub(crate) fn sees_again(&mut self, ino: Ino) {
        self.passthrough.forget(ino);
        let Some(inode) = self.tree.get(ino) else { return };
        if let Some(content) = inode.content.as_deref() {
            let content = ContentRow { blind: false, ..content.clone() };
            self.commit(Change::PutContent(Box::new(content)));
        }
        if self.tree.get(ino).is_some_and(|inode| !inode.row.pending.is_none()) {
            self.touch_closed(ino);
        }
        self.wake(Wake::Idle(ino));
        self.reap(ino);
    }

    /// Whether a file that is due may be sent as it is now. One that may be written unseen is sent when
    /// two looks have shown the same; it stays marked.
    pub(crate) fn may_send(&mut self, ino: Ino) -> bool {
        let Some(blind) = self.passthrough.blind.get_mut(&ino) else { return true };
        if core::mem::take(&mut blind.quiet) {
            return true;
        }
        self.watch(ino);
        false
    }
}
