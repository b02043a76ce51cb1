//! What is to be sent, and when: settle windows, barriers, one commit at a time.
//!
//! A round goes `Idle -> Staging -> Durable -> Sending -> Idle`. Content is staged first; only if
//! nobody wrote meanwhile does the commit name it. The commit is made durable before it leaves, so
//! that after a crash the same request is sent again and its first outcome counts.

use crate::drive::Drive;
use crate::jobs::Work;
use crate::tree::SinceFlight;
use crate::{
    Change, Cloud, CloudError, CloudErrorKind, Draft, Flight, FsError, Ino, Job, Kind, Local, Mono,
    NodeId, Pending, Ranges, StageBase, StageItem, Ticket,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Operations in one commit at most; the protocol's bound is 1,000.
pub(crate) const OPS_MAX: usize = 900;
/// Content bytes staged in one round, except that one file may be larger.
const STAGE_BYTES: u64 = 64 << 20;
/// Milliseconds between two rounds while changes keep coming: they gather into fewer requests.
/// Longer while many are made at once, when nobody waits for a single one.
const GATHER_MS: u64 = 50;
const GATHER_BULK_MS: u64 = 1_000;
/// Operations in a commit from which on it counts as bulk.
const BULK_OPS: usize = 100;
/// Milliseconds until a file that may be written unseen, and does not rest yet, is due again.
const UNSEEN_MS: u64 = 1_000;
/// Milliseconds between two looks whether a full commit has gathered.
const COUNT_MS: u64 = 10;
/// Milliseconds to wait after a failed round, and at most after many.
const BACKOFF_MS: u64 = 500;
const BACKOFF_MAX_MS: u64 = 30_000;

/// When a node is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Due {
    at: Mono,
    /// Since when it has been pending.
    since: Mono,
    rewrites: u32,
}

#[derive(Debug)]
pub(crate) struct Barrier {
    pub(crate) ticket: Ticket,
    pub(crate) waiting: BTreeSet<Ino>,
}

/// A file being staged, and the write generation that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Staging {
    pub(crate) ino: Ino,
    /// Content is sealed to its node: under another identity it is worth nothing.
    id: NodeId,
    generation: u64,
}

/// What was staged, and how many looks are still out.
#[derive(Debug)]
struct Staged {
    staging: Vec<Staging>,
    chosen: Vec<Ino>,
    results: Vec<Result<Draft, CloudError>>,
    looks: usize,
}

#[derive(Debug)]
enum Round {
    Idle,
    Staging(Vec<Staging>, Vec<Ino>),
    /// Staged; files that may be written unseen are looked at once more.
    Checking(Box<Staged>),
    Durable(Box<Flight>),
    Sending(Box<Flight>),
}

#[derive(Debug)]
pub(crate) struct Uploads {
    due: BTreeSet<(Mono, Ino)>,
    when: BTreeMap<Ino, Due>,
    round: Round,
    sending: BTreeSet<Ino>,
    pub(crate) barriers: Vec<Barrier>,
    pub(crate) refusals: BTreeMap<Ino, u32>,
    pub(crate) attention: BTreeMap<Ino, String>,
    resend: VecDeque<Flight>,
    not_before: Mono,
    /// Pending and not due: stays on this device.
    pub(crate) kept: BTreeSet<Ino>,
    /// Pending and not due: held.
    pub(crate) laid_aside: BTreeSet<Ino>,
    /// Rounds with room left wait until then for more.
    pub(crate) gather_until: Mono,
    /// When it was last looked whether a commit would be full.
    counted: Mono,
    failures: u32,
    /// Bytes of the round under way that are in the store.
    sent: u64,
    pub(crate) paused: bool,
    pub(crate) trouble: String,
}

impl Default for Uploads {
    fn default() -> Uploads {
        Uploads {
            due: BTreeSet::new(),
            when: BTreeMap::new(),
            round: Round::Idle,
            sending: BTreeSet::new(),
            barriers: Vec::new(),
            refusals: BTreeMap::new(),
            attention: BTreeMap::new(),
            resend: VecDeque::new(),
            not_before: Mono(0),
            kept: BTreeSet::new(),
            laid_aside: BTreeSet::new(),
            gather_until: Mono(0),
            counted: Mono(0),
            failures: 0,
            sent: 0,
            paused: false,
            trouble: String::new(),
        }
    }
}

impl Uploads {
    /// Commits that were on their way at the crash go out again first.
    pub(crate) fn recover(&mut self, flights: Vec<Flight>) {
        for flight in &flights {
            self.sending.extend(flight.items.iter().map(|item| item.sent.node.ino));
        }
        self.resend = flights.into();
    }

    pub(crate) fn is_sending(&self, ino: Ino) -> bool {
        self.sending.contains(&ino)
    }

    pub(crate) fn sending(&self) -> usize {
        self.sending.len()
    }

    /// Bytes that are in the store while the commit that names them is not.
    pub(crate) fn sent(&self) -> u64 {
        if matches!(self.round, Round::Idle) { 0 } else { self.sent }
    }

    pub(crate) fn attention(&self, ino: Ino) -> Option<&String> {
        self.attention.get(&ino)
    }

    pub(crate) fn attention_count(&self) -> usize {
        self.attention.len()
    }

    /// A commit has left, or may have left: the feed must wait for its outcome.
    pub(crate) fn is_committing(&self) -> bool {
        matches!(self.round, Round::Durable(_) | Round::Sending(_)) || !self.resend.is_empty()
    }

    /// Whether somebody waits until the node is sent.
    pub(crate) fn is_awaited(&self, ino: Ino) -> bool {
        self.barriers.iter().any(|barrier| barrier.waiting.contains(&ino))
    }

    pub(crate) fn next_due(&self) -> Option<Mono> {
        if self.paused || !matches!(self.round, Round::Idle) {
            return None;
        }
        let due = self.due.first().map(|(at, _)| *at);
        let resend = (!self.resend.is_empty()).then_some(self.not_before);
        let gathered = self.gather_until.max(self.not_before);
        let due = due.map(|at| at.max(gathered));
        due.into_iter().chain(resend).min().map(|at| at.max(self.not_before))
    }

    pub(crate) fn oldest(&self) -> Option<Mono> {
        self.when.values().map(|due| due.since).min()
    }

    pub(crate) fn age_order(&self) -> Vec<Ino> {
        let mut all: Vec<(Mono, Ino)> =
            self.when.iter().map(|(ino, due)| (due.since, *ino)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, ino)| ino).collect()
    }

    pub(crate) fn schedule(&mut self, ino: Ino, at: Mono, now: Mono, rewrite: bool) {
        let old = self.when.get(&ino).copied();
        if let Some(old) = old {
            self.due.remove(&(old.at, ino));
        }
        let (since, rewrites) = old.map_or((now, 0), |old| (old.since, old.rewrites));
        let rewrites = rewrites + u32::from(rewrite);
        self.laid_aside.remove(&ino);
        self.kept.remove(&ino);
        self.when.insert(ino, Due { at, since, rewrites });
        self.due.insert((at, ino));
    }

    pub(crate) fn rewrites(&self, ino: Ino) -> u32 {
        self.when.get(&ino).map_or(0, |due| due.rewrites)
    }

    pub(crate) fn forget(&mut self, ino: Ino) {
        if let Some(due) = self.when.remove(&ino) {
            self.due.remove(&(due.at, ino));
        }
        self.laid_aside.remove(&ino);
        self.kept.remove(&ino);
        self.refusals.remove(&ino);
        self.attention.remove(&ino);
    }

    /// Sends `ino` at `at` if that is sooner than planned.
    pub(crate) fn hasten(&mut self, ino: Ino, at: Mono) {
        if let Some(due) = self.when.get(&ino).copied()
            && at < due.at
            && !self.attention.contains_key(&ino)
        {
            self.schedule(ino, at, at, false);
        }
    }

    /// Sends everything as soon as possible.
    pub(crate) fn hurry(&mut self) {
        self.gather_until = Mono(0);
        let all: Vec<Ino> = self.when.keys().copied().collect();
        for ino in all {
            self.hasten(ino, Mono(0));
        }
    }

    /// Not due until somebody takes it up again.
    fn lay_aside(&mut self, ino: Ino) {
        if let Some(due) = self.when.get(&ino) {
            self.due.remove(&(due.at, ino));
            self.laid_aside.insert(ino);
        }
    }

    pub(crate) fn defer(&mut self, ino: Ino, at: Mono) {
        if self.when.contains_key(&ino) {
            self.schedule(ino, at, at, false);
        }
    }

    /// The nodes that are due at `now`, oldest first.
    pub(crate) fn ready(&self, now: Mono) -> impl Iterator<Item = Ino> + '_ {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, ino)| *ino)
    }
}

impl Drive {
    /// Whether a round could start now. What is known of the cloud is merged first: fewer refusals.
    pub(crate) fn can_upload(&self) -> bool {
        let idle = matches!(self.uploads.round, Round::Idle);
        let resend = !self.uploads.resend.is_empty();
        // A commit that may have arrived goes out again even so: news waits for its outcome.
        let waits = self.inbox.is_frozen() && !(resend && self.inbox.reconcile.is_some());
        let held = self.uploads.paused || !self.inbox.online || !self.knows_rules() || waits;
        idle && !held && (resend || self.inbox.is_connected() && !self.inbox.is_behind())
    }

    /// A round just went and the next one has room left: more is likely to come.
    fn is_gathering(&mut self) -> bool {
        let now = self.now.mono;
        if now >= self.uploads.gather_until || !self.uploads.barriers.is_empty() {
            return false;
        }
        if now < self.uploads.counted.plus_millis(COUNT_MS) {
            return true;
        }
        self.uploads.counted = now;
        self.uploads.ready(now).take(OPS_MAX).count() < OPS_MAX
    }

    /// Starts the next round if one is due.
    pub(crate) fn advance_uploads(&mut self) {
        self.take_up();
        if !self.can_upload() || self.now.mono < self.uploads.not_before {
            return;
        }
        if let Some(flight) = self.uploads.resend.pop_front() {
            self.send(Box::new(flight));
            return;
        }
        if self.is_gathering() {
            return;
        }
        let chosen = self.choose();
        if chosen.is_empty() {
            return;
        }
        let (staging, items) = self.stage_items(&chosen);
        self.uploads.sent = 0;
        self.uploads.sending.extend(chosen.iter().copied());
        if items.is_empty() {
            self.build(&chosen, &BTreeMap::new());
            return;
        }
        self.uploads.round = Round::Staging(staging, chosen);
        self.cloud(Work::Stage, Cloud::Stage(items));
    }

    /// The nodes of the next round: due ones, oldest first, within the bounds of a commit.
    fn choose(&mut self) -> Vec<Ino> {
        self.brake();
        let ready: Vec<Ino> = self.uploads.ready(self.now.mono).take(OPS_MAX).collect();
        let mut chosen = Vec::new();
        let mut bytes = 0;
        for ino in ready {
            self.uploads.attention.remove(&ino);
            self.adopt_identity(ino);
            let Some(inode) = self.tree.get(ino) else { continue };
            if inode.row.pending.is_none() {
                self.settled(ino);
                continue;
            }
            if self.keep_if_ignored(ino) || self.lacks_lost_bytes(ino) {
                continue;
            }
            self.want_target(ino);
            let Some(inode) = self.tree.get(ino) else { continue };
            let unsent = inode.content.as_ref().map_or(0, |content| content.dirty.bytes());
            if self.is_held(ino) {
                self.uploads.lay_aside(ino);
                continue;
            }
            if !chosen.is_empty() && bytes + unsent > STAGE_BYTES {
                break;
            }
            if !self.may_send(ino) {
                self.uploads.defer(ino, self.now.mono.plus_millis(UNSEEN_MS));
                continue;
            }
            bytes += unsent;
            chosen.push(ino);
        }
        chosen
    }

    fn stage_items(&self, chosen: &[Ino]) -> (Vec<Staging>, Vec<StageItem>) {
        let mut staging = Vec::new();
        let mut items = Vec::new();
        for ino in chosen {
            let Some(inode) = self.tree.get(*ino) else { continue };
            let row = &inode.row;
            let wanted = row.pending.has(Pending::CREATE.with(Pending::CONTENT));
            if row.kind != Kind::File || !wanted || row.parent == Ino::NONE {
                continue;
            }
            let content = inode.content.as_deref();
            let base = content.filter(|content| content.base_rev.0 != 0);
            staging.push(Staging { ino: *ino, id: row.id, generation: inode.generation });
            items.push(StageItem {
                ino: *ino,
                id: row.id,
                size: row.size,
                mtime: row.attrs.mtime,
                base: base.map(|content| StageBase {
                    content: crate::ContentRef { id: content.base_id, rev: content.base_rev },
                    len: content.base_len,
                }),
                dirty: content.map(|content| content.dirty.clone()).unwrap_or_default(),
                valid: content.map(|content| content.valid.clone()).unwrap_or_default(),
            });
        }
        (staging, items)
    }

    pub(crate) fn sent(&mut self, job: Job, bytes: i64) {
        if matches!(self.jobs.get(job), Some(Work::Stage)) {
            self.uploads.sent = self.uploads.sent.saturating_add_signed(bytes);
        }
    }

    /// Content is in the cloud's hands: name it in a commit where nobody wrote meanwhile.
    pub(crate) fn staged(&mut self, results: Vec<Result<Draft, CloudError>>) {
        let round = core::mem::replace(&mut self.uploads.round, Round::Idle);
        let Round::Staging(staging, chosen) = round else { return };
        let files = staging.iter().map(|file| file.ino);
        let unseen: Vec<Ino> = files.filter(|ino| self.passthrough.is_blind(*ino)).collect();
        let staged = Staged { staging, chosen, results, looks: unseen.len() };
        if unseen.is_empty() {
            return self.name_staged(staged);
        }
        self.uploads.round = Round::Checking(Box::new(staged));
        for ino in unseen {
            self.measure(ino, crate::jobs::Why::Staged);
        }
    }

    /// One of the looks that a staged round waits for has been taken.
    pub(crate) fn rechecked(&mut self) {
        let Round::Checking(staged) = &mut self.uploads.round else { return };
        staged.looks = staged.looks.saturating_sub(1);
        if staged.looks > 0 {
            return;
        }
        if let Round::Checking(staged) = core::mem::replace(&mut self.uploads.round, Round::Idle) {
            self.name_staged(*staged);
        }
    }

    fn name_staged(&mut self, staged: Staged) {
        let Staged { staging, chosen, results, .. } = staged;
        if self.inbox.is_frozen() {
            return self.end_flight(&[]); // the store may not be the one that it was staged for
        }
        let mut drafts = BTreeMap::new();
        let mut offline = None;
        for (file, result) in staging.iter().zip(results) {
            match result {
                Ok(draft) => {
                    let same = self.tree.get(file.ino).is_some_and(|inode| {
                        inode.row.id == file.id
                            && inode.generation == file.generation
                            && inode.busy.iter().all(|b| !b.exclusive)
                    });
                    if same {
                        drafts.insert(file.ino, draft);
                    } else {
                        self.touch(file.ino);
                    }
                }
                Err(error) => offline = self.stage_failed(file.ino, error).or(offline),
            }
        }
        if let Some(error) = offline {
            self.round_failed(&error);
            return;
        }
        self.build(&chosen, &drafts);
    }

    /// The round did not come through: everything in it stays pending.
    fn round_failed(&mut self, error: &CloudError) {
        self.uploads.failures += 1;
        let doublings = self.uploads.failures.min(6);
        let ceiling = (BACKOFF_MS << doublings).min(BACKOFF_MAX_MS);
        let wait = BACKOFF_MS / 2 + self.random.next() % ceiling;
        let asked = error.retry_after.map_or(0, |after| after.0 / 1_000_000);
        self.uploads.not_before = self.now.mono.plus_millis(wait.max(asked));
        self.uploads.trouble = error.message.to_string();
        if self.uploads.resend.is_empty() {
            self.end_flight(&[]);
        }
    }

    /// Groups what was chosen into a commit and makes it durable.
    fn build(&mut self, chosen: &[Ino], drafts: &BTreeMap<Ino, Draft>) {
        let flight = self.plan(chosen, drafts);
        if flight.groups.is_empty() {
            self.end_flight(&[]);
            // What could not go now comes again after the short window.
            for ino in chosen {
                if self.uploads.when.get(ino).is_some_and(|due| due.at <= self.now.mono) {
                    let at = self.now.mono.plus_millis(self.limits.settle_ms.max(50));
                    self.uploads.defer(*ino, at);
                }
            }
            return;
        }
        let sent = flight.items.iter().map(|item| item.sent.node.ino).collect();
        let left_out = core::mem::replace(&mut self.uploads.sending, sent);
        left_out.into_iter().for_each(|ino| self.reap(ino));
        for item in &flight.items {
            let size = item.sent.node.size;
            if let Some(inode) = self.tree.get_mut(item.sent.node.ino) {
                inode.flight = Some(Box::new(SinceFlight { dirty: Ranges::new(), shortest: size }));
            }
        }
        self.commit(Change::PutFlight(Box::new(flight.clone())));
        let upto = self.latest();
        self.uploads.round = Round::Durable(Box::new(flight));
        self.local(Work::SyncFlight, Local::Sync { ino: None, upto });
    }

    pub(crate) fn flight_durable(&mut self, result: Result<(), FsError>) {
        let round = core::mem::replace(&mut self.uploads.round, Round::Idle);
        let Round::Durable(flight) = round else { return };
        if self.inbox.is_frozen() {
            self.commit(Change::DropFlight(flight.request));
            return self.end_flight(&flight.items);
        }
        if let Err(error) = result {
            // It never left: forget it, the nodes stay pending.
            self.commit(Change::DropFlight(flight.request));
            let text = format!("the journal cannot be made durable: {error}");
            self.round_failed(&CloudError::new(CloudErrorKind::Local, text));
            return;
        }
        self.send(flight);
    }

    fn send(&mut self, flight: Box<Flight>) {
        self.uploads.round = Round::Sending(flight.clone());
        self.cloud(Work::Commit, Cloud::Commit(flight));
    }

    pub(crate) fn committed(&mut self, result: Result<Vec<crate::GroupOutcome>, CloudError>) {
        let round = core::mem::replace(&mut self.uploads.round, Round::Idle);
        let Round::Sending(flight) = round else { return };
        match result {
            Ok(outcomes) if outcomes.len() == flight.groups.len() => {
                self.uploads.failures = 0;
                self.uploads.trouble.clear();
                self.settle_flight(&flight, &outcomes);
                self.commit(Change::DropFlight(flight.request));
                self.end_flight(&flight.items);
                let bulk = flight.items.len() > BULK_OPS;
                let pause = if bulk { GATHER_BULK_MS } else { GATHER_MS };
                self.uploads.gather_until = self.now.mono.plus_millis(pause);
                self.evict_for(0);
                self.wake(crate::faults::Wake::Space);
            }
            Ok(_) => self.resend_later(*flight, "the store answered for another commit"),
            Err(error) if error.kind == CloudErrorKind::Invalid => {
                // Refused as a whole and for good: nothing of it happened.
                self.commit(Change::DropFlight(flight.request));
                self.end_flight(&flight.items);
                for item in &flight.items {
                    self.needs_attention(item.sent.node.ino, &error.message);
                }
            }
            Err(error) => self.resend_later(*flight, &error.message),
        }
    }

    /// Whether it arrived is unknown: the same request goes out again until there is an answer.
    fn resend_later(&mut self, flight: Flight, why: &str) {
        self.uploads.resend.push_front(flight);
        if self.inbox.is_restored() {
            self.drop_flights(); // it spoke of a past that is gone
        }
        self.round_failed(&CloudError::new(CloudErrorKind::Retry, why));
    }

    /// Forgets commits whose outcome nobody will ever tell: what was in them is pending.
    pub(crate) fn drop_flights(&mut self) {
        for flight in core::mem::take(&mut self.uploads.resend) {
            self.commit(Change::DropFlight(flight.request));
            self.end_flight(&flight.items);
        }
    }

    fn end_flight(&mut self, items: &[crate::FlightItem]) {
        let ended = core::mem::take(&mut self.uploads.sending);
        for flight in &self.uploads.resend {
            self.uploads.sending.extend(flight.items.iter().map(|item| item.sent.node.ino));
        }
        for item in items {
            if let Some(inode) = self.tree.get_mut(item.sent.node.ino) {
                inode.flight = None;
            }
        }
        ended.into_iter().for_each(|ino| self.reap(ino));
    }

    /// Sends again what failed for lack of a connection.
    pub(crate) fn uploads_online(&mut self) {
        self.uploads.not_before = self.now.mono;
        self.uploads.failures = 0;
    }
}
