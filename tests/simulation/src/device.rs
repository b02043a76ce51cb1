//! One device: a drive, its disk, and everything it is waiting for.

use crate::disk::Disk;
use crate::random::Random;
use crate::store::Store;
use fs_core::{
    Change, Cloud, CloudError, CloudErrorKind, Draft, Drive, DriveInfo, Effect, Event, Job, Limits,
    Loaded, Local, Matcher, Mono, NodeId, Now, Outcome, Response, Rev, Rules, StageItem, Stale,
    Ticket, Timestamp,
};
use std::collections::{BTreeSet, VecDeque};

const NAMES: [&str; 3] = ["ann", "bob", "cid"];

/// Something under way; which one finishes next is chance.
pub(crate) enum InFlight {
    Local {
        job: Job,
        effect: Local,
        rows: Option<Vec<Loaded>>,
    },
    Cloud {
        job: Job,
        effect: Cloud,
        delivered: u64,
    },
    Hint(Rev),
    /// Somebody reads `.meshignore`.
    Rules(u64),
}

/// Names that start with one of these bytes stay on the device, and what is below them.
pub(crate) struct Starts(pub(crate) Vec<u8>);

impl Matcher for Starts {
    fn matches(&self, path: &[u8], _: bool) -> bool {
        let mut names = path.split(|byte| *byte == b'/');
        names.any(|name| name.first().is_some_and(|first| self.0.contains(first)))
    }
}

pub(crate) struct Device {
    pub(crate) number: usize,
    pub(crate) drive: Drive,
    pub(crate) disk: Disk,
    pub(crate) flights: Vec<InFlight>,
    pub(crate) online: bool,
    pub(crate) mono: u64,
    pub(crate) wall: i64,
    pub(crate) replies: VecDeque<(Ticket, Result<Response, fs_core::FsError>)>,
    pub(crate) stale: VecDeque<Stale>,
    pub(crate) next_ticket: u64,
    pub(crate) notes: Vec<String>,
    /// Files that were given out for unseen writes, or had a further name.
    wanted: BTreeSet<NodeId>,
    /// What the store was asked for, ever.
    pub(crate) asked: u64,
    /// Files that were made or changed alike elsewhere.
    pub(crate) twins: u64,
    /// What the rules of `.meshignore` are; `None`: nobody has ever asked for them.
    rules: Option<Vec<u8>>,
    /// Somebody reads them when asked; the last time that they were asked for.
    pub(crate) reads_rules: bool,
    pub(crate) rules_asked: u64,
    limits: Limits,
    /// Print every event and effect (set by `TRACE` in the environment, for one seed).
    trace: bool,
}

impl Device {
    pub(crate) fn new(number: usize, limits: Limits, seed: u64) -> Device {
        let mut disk = Disk::default();
        let recovered = disk.crash();
        let mono = 1;
        let wall = 1_800_000_000_000_000_000 + number as i64 * 1_000_003;
        let now = Now { mono: Mono(mono), wall: Timestamp(wall) };
        let mut device = Device {
            number,
            drive: Drive::recover(recovered, limits, seed, now),
            disk,
            flights: Vec::new(),
            online: true,
            mono,
            wall,
            replies: VecDeque::new(),
            stale: VecDeque::new(),
            next_ticket: 0,
            notes: Vec::new(),
            wanted: BTreeSet::new(),
            asked: 0,
            twins: 0,
            rules: None,
            reads_rules: true,
            rules_asked: 0,
            limits,
            trace: std::env::var_os("TRACE").is_some(),
        };
        device.drive.name_device(NAMES[number % NAMES.len()]);
        device.drain();
        device
    }

    /// From now on names that start with one of these bytes stay here.
    pub(crate) fn ignore(&mut self, starts: &[u8]) {
        self.rules = Some(starts.to_vec());
        self.drive.await_rules();
        self.drain();
    }

    /// Whether anything can be kept from the store.
    pub(crate) fn ignores(&self) -> bool {
        self.rules.is_some()
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: Mono(self.mono), wall: Timestamp(self.wall) }
    }

    pub(crate) fn pass(&mut self, nanos: u64) {
        self.mono += nanos;
        self.wall += nanos as i64;
    }

    pub(crate) fn handle(&mut self, event: Event) {
        self.pass(1_000);
        let now = self.now();
        if self.trace {
            eprintln!("{}@{} <- {event:?}", self.number, now.mono.0);
        }
        self.drive.handle(now, event);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.drive.poll() {
            if self.trace {
                eprintln!("{}    -> {effect:?}", self.number);
            }
            match effect {
                Effect::Commit(seq, batch) => {
                    self.wanted.extend(batch.iter().filter_map(wanted));
                    self.disk.queue(seq, batch);
                }
                Effect::Reply { ticket, result, after } => {
                    self.disk.journal(after);
                    self.replies.push_back((ticket, result));
                }
                Effect::Local(job, effect) => {
                    let rows = self.disk.rows(&effect);
                    self.flights.push(InFlight::Local { job, effect, rows });
                }
                Effect::Cloud(job, effect) => {
                    self.asked += 1;
                    self.flights.push(InFlight::Cloud { job, effect, delivered: 0 });
                }
                Effect::Invalidate(stale) => self.stale.push_back(stale),
                Effect::Note(note) => self.notes.push(note),
                Effect::ReadRules(asked) => {
                    self.rules_asked = asked;
                    if self.reads_rules {
                        self.flights.push(InFlight::Rules(asked));
                    }
                }
            }
        }
    }

    /// kill -9 and restart. Some of what was under way has happened, some has not.
    pub(crate) fn crash(&mut self, store: &mut Store, random: &mut Random, seed: u64) {
        if self.trace {
            eprintln!("{} CRASH", self.number);
        }
        for flight in std::mem::take(&mut self.flights) {
            match flight {
                InFlight::Local { effect, .. } if random.chance(50) => {
                    self.disk.perform(&effect);
                }
                InFlight::Cloud { effect: Cloud::Commit(flight), .. } if random.chance(50) => {
                    store.wanted.extend(&self.wanted);
                    store.commit(&flight);
                }
                _ => {}
            }
        }
        let recovered = self.disk.crash();
        self.replies.clear();
        self.stale.clear();
        self.mono += 1_000_000_000;
        self.wall += 1_000_000_000;
        self.drive = Drive::recover(recovered, self.limits, seed, self.now());
        self.drive.name_device(NAMES[self.number % NAMES.len()]);
        if self.rules.is_some() {
            self.drive.await_rules();
        }
        self.drain();
        if self.online {
            self.flights.push(InFlight::Hint(store.head()));
        }
    }

    /// Finishes, or moves on, one thing that is under way.
    pub(crate) fn complete(
        &mut self,
        index: usize,
        store: &mut Store,
        random: &mut Random,
        calm: bool,
    ) {
        match self.flights.swap_remove(index) {
            InFlight::Hint(rev) => {
                if self.online {
                    self.handle(Event::Head(rev));
                }
            }
            InFlight::Rules(asked) if !calm && random.chance(10) => {
                self.flights.push(InFlight::Rules(asked));
                self.handle(Event::Rules(asked, Err("out of reach".into())));
            }
            InFlight::Rules(asked) => {
                let starts = Starts(self.rules.clone().unwrap_or_default());
                self.handle(Event::Rules(asked, Ok(Rules::new(starts, String::new()))));
            }
            InFlight::Local { job, effect, rows } => {
                let outcome = match rows {
                    Some(rows) => Outcome::Rows(Ok(rows)),
                    None => self.disk.perform(&effect),
                };
                self.handle(Event::Done(job, outcome));
            }
            InFlight::Cloud { job, effect, delivered } => {
                self.complete_cloud(job, effect, delivered, store, (random, calm));
            }
        }
    }

    fn complete_cloud(
        &mut self,
        job: Job,
        effect: Cloud,
        delivered: u64,
        store: &mut Store,
        (random, calm): (&mut Random, bool),
    ) {
        let lost_before = !self.online || !calm && random.chance(8);
        let lost_after = !calm && random.chance(5);
        if let (Cloud::Fetch { content, range, .. }, false) = (&effect, lost_before || lost_after)
            && let Ok(bytes) = store.fetch(*content)
            && range.start + delivered < range.end
        {
            let start = range.start + delivered;
            let len = (1 + random.below(64) as u64).min(range.end - start);
            let end = (start + len).min(bytes.len() as u64);
            if start < end {
                let part = bytes.slice(start as usize..end as usize);
                let delivered = delivered + len;
                self.flights.push(InFlight::Cloud { job, effect, delivered });
                self.handle(Event::Fetched(job, start, part));
                return;
            }
        }
        let outcome = self.outcome(&effect, store, lost_before, lost_after, random);
        self.handle(Event::Done(job, outcome));
    }

    fn outcome(
        &mut self,
        effect: &Cloud,
        store: &mut Store,
        lost_before: bool,
        lost_after: bool,
        random: &mut Random,
    ) -> Outcome {
        let offline = || CloudError::new(CloudErrorKind::Offline, "simulated: not reachable");
        let lost = lost_before || lost_after;
        match effect {
            Cloud::Connect(known) => Outcome::Connected(if lost {
                Err(offline())
            } else {
                Ok(DriveInfo {
                    epoch: store.epoch,
                    head: store.head(),
                    used_bytes: 0,
                    quota_bytes: None,
                    common: store.common(known.epoch),
                })
            }),
            Cloud::Children { dir, after } => Outcome::Page(if lost {
                Err(offline())
            } else {
                Ok(store.children(*dir, after.as_deref()))
            }),
            Cloud::Snapshot { after } => Outcome::Page(if lost {
                Err(offline())
            } else {
                Ok(store.snapshot(after.as_deref()))
            }),
            Cloud::Changes { since } => Outcome::Changes(if lost {
                Err(offline())
            } else {
                store.changes(*since, 1 + random.below(4))
            }),
            Cloud::Fetch { content, .. } => Outcome::Fetch(if lost {
                Err(offline())
            } else {
                store.fetch(*content).map(|_| ())
            }),
            Cloud::FetchSmall { contents } => Outcome::Small(if lost {
                Err(offline())
            } else {
                Ok(contents.iter().map(|content| store.fetch(*content)).collect())
            }),
            Cloud::Same { ino, content, size } => Outcome::Same(if lost {
                Err(offline())
            } else {
                self.compare(*ino, *content, *size, store)
            }),
            Cloud::Stage(items) => Outcome::Staged(self.stage_all(items, store, lost)),
            Cloud::Commit(flight) => {
                store.wanted.extend(&self.wanted);
                Outcome::Committed(commit(flight, store, (lost_before, lost_after)))
            }
        }
    }

    fn compare(
        &mut self,
        ino: fs_core::Ino,
        content: fs_core::ContentRef,
        size: u64,
        store: &Store,
    ) -> Result<bool, CloudError> {
        let here = self.disk.read(ino, fs_core::Range::new(0, size));
        let same = store.fetch(content).map(|there| there == here);
        self.twins += u64::from(same == Ok(true));
        same
    }

    fn stage_all(
        &self,
        items: &[StageItem],
        store: &Store,
        lost: bool,
    ) -> Vec<Result<Draft, CloudError>> {
        let refused = store.refuse.or(lost.then_some(CloudErrorKind::Offline));
        let one = |item| match refused {
            Some(kind) => Err(CloudError::new(kind, "simulated: refused or not reachable")),
            None => self.stage(item, store),
        };
        items.iter().map(one).collect()
    }

    /// The bytes of a file as staging puts them together: dirty ones from here, the base's from
    /// there, the rest zeros.
    fn stage(&self, item: &StageItem, store: &Store) -> Result<Draft, CloudError> {
        let mut bytes = vec![0; item.size as usize];
        if let Some(base) = &item.base {
            let old = store.fetch(base.content)?;
            let len = (base.len as usize).min(old.len()).min(bytes.len());
            bytes[..len].copy_from_slice(&old[..len]);
            if base.len as usize > old.len() {
                let text = format!("base of {} bytes, wanted {}", old.len(), base.len);
                return Err(CloudError::new(CloudErrorKind::Corrupt, text));
            }
        }
        for range in item.dirty.iter() {
            let end = range.end.min(item.size);
            if range.start < end {
                let part = self.disk.read(item.ino, fs_core::Range::new(range.start, end));
                bytes[range.start as usize..end as usize].copy_from_slice(&part);
            }
        }
        let mut draft = item.id.0.to_vec();
        draft.extend_from_slice(&item.mtime.0.to_le_bytes());
        draft.extend_from_slice(&bytes);
        Ok(Draft { bytes: draft, size: item.size })
    }

    pub(crate) fn quota(&self) -> u64 {
        self.limits.cache_bytes
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Lets time pass until the drive wants a tick.
    pub(crate) fn tick(&mut self) {
        if let Some(deadline) = self.drive.deadline()
            && deadline.0 > self.mono
        {
            self.pass(deadline.0 - self.mono);
        }
        self.handle(Event::Tick);
    }
}

/// The file that a change marks as given out for unseen writes, or gives a further name.
fn wanted(change: &Change) -> Option<NodeId> {
    match change {
        Change::PutContent(row) if row.blind => Some(row.base_id),
        Change::PutNode(row) => row.link_target(),
        _ => None,
    }
}

/// Why a link is down.
pub(crate) fn lost() -> CloudError {
    CloudError::new(CloudErrorKind::Offline, "simulated: lost")
}

fn commit(
    flight: &fs_core::Flight,
    store: &mut Store,
    (lost_before, lost_after): (bool, bool),
) -> Result<Vec<fs_core::GroupOutcome>, CloudError> {
    let offline = || CloudError::new(CloudErrorKind::Offline, "simulated: not reachable");
    if lost_before {
        return Err(offline());
    }
    if let Some(kind) = store.refuse {
        return Err(CloudError::new(kind, "simulated: refused"));
    }
    let outcomes = store.commit(flight);
    if lost_after { Err(offline()) } else { Ok(outcomes) }
}
