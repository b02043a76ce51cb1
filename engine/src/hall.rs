//! The hall: the core under its lock, and the loop that carries out what it decides.

use crate::clock::Clock;
use crate::driver::StaleQueue;
use crate::fence::{Fence, Sending};
use crate::filler::Filler;
use crate::jobs::Jobs;
use crate::journal::Journal;
use crate::past::{self, Past};
use crate::timer::Alarm;
use crate::{cloud_job, local_job};
use cache::LocalStore;
use cloud::CloudStore;
use fs_core::{
    Cloud, Drive, Effect, Event, FsError, Ino, Job, Local, Mono, Request, Response, Seq, Stale,
    Ticket,
};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

/// A lock hold longer than this is reported: `handle` is meant to take microseconds.
const LONG_HOLD: Duration = Duration::from_millis(50);

pub(crate) type Callback = Box<dyn FnOnce(Result<Response, FsError>) + Send>;

/// What is left to do after the lock is released.
pub(crate) enum Work {
    Reply { callback: Callback, result: Result<Response, FsError>, after: Seq, sending: Sending },
    Local(Job, Local),
    Cloud(Job, Cloud),
    Invalidate(Stale),
    Note(String),
}

enum Input {
    Event(Event),
    Request(Request, Callback),
}

struct State {
    drive: Drive,
    replies: HashMap<Ticket, Callback>,
    last_ticket: u64,
    /// When the timer thread will wake up by itself.
    armed: Option<Mono>,
    closed: bool,
}

pub(crate) struct Hall {
    state: Mutex<State>,
    /// Held by the one thread that syncs on its own.
    syncing: Mutex<()>,
    failed: AtomicBool,
    /// A failure ends the process at once, before anybody is answered.
    pub(crate) fatal: AtomicBool,
    pub(crate) local: Arc<dyn LocalStore>,
    pub(crate) cloud: Arc<dyn CloudStore>,
    pub(crate) runtime: Handle,
    pub(crate) clock: Clock,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) journal: Journal,
    pub(crate) alarm: Alarm,
    pub(crate) stale: StaleQueue,
    pub(crate) filler: Filler,
    pub(crate) fence: Arc<Fence>,
    /// Rung when there is reason to look for the store now.
    pub(crate) look: Notify,
    /// Rung when there is reason to ask the store what it has lost.
    pub(crate) mend: Notify,
    /// How often the core has asked for the rules of `.meshignore`; rung also when the store is back.
    pub(crate) rules: watch::Sender<u64>,
    /// The tree as it was, beside the core.
    pub(crate) past: Past,
}

/// The rooms around the hall.
pub(crate) struct Rooms {
    pub(crate) local: Arc<dyn LocalStore>,
    pub(crate) cloud: Arc<dyn CloudStore>,
    pub(crate) runtime: Handle,
    pub(crate) clock: Clock,
}

impl Hall {
    pub(crate) fn new(drive: Drive, last_seq: Seq, rooms: Rooms) -> Arc<Hall> {
        let replies = HashMap::new();
        let state = State { drive, replies, last_ticket: 0, armed: None, closed: false };
        Arc::new(Hall {
            state: Mutex::new(state),
            syncing: Mutex::new(()),
            failed: AtomicBool::new(false),
            fatal: AtomicBool::new(false),
            local: rooms.local,
            cloud: rooms.cloud,
            runtime: rooms.runtime,
            past: Past::new(rooms.clock.now().wall),
            clock: rooms.clock,
            jobs: Jobs::new(),
            journal: Journal::starting_at(last_seq),
            alarm: Alarm::default(),
            stale: StaleQueue::default(),
            filler: Filler::default(),
            fence: Arc::default(),
            look: Notify::new(),
            mend: Notify::new(),
            rules: watch::Sender::new(0),
        })
    }

    /// Takes a request from anywhere. On a thread of the runtime only the decision is made here.
    pub(crate) fn submit(self: &Arc<Hall>, request: Request, reply: Callback) {
        if past::claims(&request) {
            return past::submit(self, request, reply);
        }
        if let Err(error) = self.journal.admit(&*self.local, &request) {
            return reply(Err(error));
        }
        let work = self.decide(Input::Request(request, reply));
        if work.is_empty() {
            return;
        }
        if Handle::try_current().is_ok() {
            let hall = Arc::clone(self);
            let running = self.jobs.begin();
            self.runtime.spawn_blocking(move || {
                hall.perform(work);
                drop(running);
            });
        } else {
            self.perform(work);
        }
    }

    /// Takes an event on a thread that may block, and carries out all that follows from it.
    pub(crate) fn deliver(self: &Arc<Hall>, event: Event) {
        let work = self.decide(Input::Event(event));
        self.perform(work);
    }

    /// Carries out work in order. What completes on this thread goes back to the core at once.
    pub(crate) fn perform(self: &Arc<Hall>, work: Vec<Work>) {
        let mut queue = VecDeque::from(work);
        let mut syncs = VecDeque::new();
        loop {
            let Some(work) = queue.pop_front() else {
                let Some((job, effect)) = syncs.pop_front() else { break };
                queue.extend(self.sync(job, effect));
                continue;
            };
            match work {
                Work::Reply { callback, result, after, sending } => {
                    self.reply(callback, result, after);
                    drop(sending);
                }
                Work::Local(job, effect @ Local::Sync { .. }) => syncs.push_back((job, effect)),
                Work::Local(job, effect @ Local::Fill { .. }) => {
                    // Not done by the thread that fetches: its reader waits for what comes next.
                    let refused = self.filler.push(job, effect, self.jobs.begin());
                    if let Some((job, effect)) = refused {
                        queue.extend(self.perform_here(job, &effect));
                    }
                }
                Work::Local(job, effect) => queue.extend(self.perform_here(job, &effect)),
                Work::Cloud(job, effect) => cloud_job::start(self, job, effect),
                Work::Invalidate(stale) => self.stale.push(stale),
                Work::Note(text) => tracing::info!("{text}"),
            }
        }
    }

    /// The core's next deadline. From now on the timer is taken to wake up then.
    pub(crate) fn arm(&self) -> Option<Mono> {
        let mut state = self.state.lock().ok()?;
        state.armed = state.drive.deadline();
        state.armed
    }

    pub(crate) fn backing(&self, ino: Ino) -> Result<Option<File>, FsError> {
        local_job::plain(self.local.backing(ino))
    }

    pub(crate) fn hand_out(&self, ino: Ino) -> Result<(), FsError> {
        local_job::plain(self.local.hand_out(ino))
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Answers everything that still waits with `Io`, and every later request too.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        let waiting = std::mem::take(&mut state.replies);
        drop(state);
        waiting.into_values().for_each(|reply| reply(Err(FsError::Io)));
    }

    fn perform_here(&self, job: Job, effect: &Local) -> Vec<Work> {
        let outcome = local_job::perform(&*self.local, &self.journal, effect);
        self.decide(Input::Event(Event::Done(job, outcome)))
    }

    /// A sync waits for the platter. One at a time does that on the thread that was asked, which is much
    /// faster for a program that syncs all the time; more would leave nobody to serve the others.
    fn sync(self: &Arc<Hall>, job: Job, effect: Local) -> Vec<Work> {
        if let Ok(_only) = self.syncing.try_lock() {
            return self.perform_here(job, &effect);
        }
        self.perform_aside(job, effect);
        Vec::new()
    }

    fn perform_aside(self: &Arc<Hall>, job: Job, effect: Local) {
        let hall = Arc::clone(self);
        let running = self.jobs.begin();
        self.runtime.spawn_blocking(move || {
            let outcome = local_job::perform(&*hall.local, &hall.journal, &effect);
            hall.deliver(Event::Done(job, outcome));
            drop(running);
        });
    }

    fn reply(&self, callback: Callback, result: Result<Response, FsError>, after: Seq) {
        if matches!(result, Err(FsError::Offline)) {
            self.look.notify_one();
        }
        let safe = self.journal.reach(&*self.local, after);
        callback(safe.and(result));
    }

    /// One lock hold: the core takes the input, and all its effects are collected.
    fn decide(&self, input: Input) -> Vec<Work> {
        let Ok(mut state) = self.state.lock() else {
            return refuse(input);
        };
        if state.closed {
            drop(state);
            return refuse(input);
        }
        let held = Instant::now();
        // The guard goes into the closure: a panic must poison the lock on its way out.
        let decided = catch_unwind(AssertUnwindSafe(move || {
            let work = self.step(&mut state, input);
            let ring = state.wants_earlier();
            drop(state);
            (work, ring)
        }));
        let Ok((work, ring)) = decided else {
            self.fail();
            return Vec::new();
        };
        if ring {
            self.alarm.ring();
        }
        let held = held.elapsed();
        if held > LONG_HOLD && !cfg!(debug_assertions) {
            tracing::warn!(?held, "the core held its lock for long");
        }
        work
    }

    fn step(&self, state: &mut State, input: Input) -> Vec<Work> {
        let event = match input {
            Input::Event(event) => event,
            Input::Request(request, reply) => Event::Request(state.admit(reply), request),
        };
        state.drive.handle(self.clock.now(), event);
        let mut work = Vec::new();
        while let Some(effect) = state.drive.poll() {
            work.extend(self.sort(state, effect));
        }
        work
    }

    /// Queues a batch at once, under the lock, because that keeps batches in order; the rest waits.
    fn sort(&self, state: &mut State, effect: Effect) -> Option<Work> {
        match effect {
            Effect::Commit(seq, batch) => {
                self.local.queue(seq, batch);
                self.journal.note_queued(seq);
                None
            }
            Effect::Reply { ticket, result, after } => {
                let callback = state.replies.remove(&ticket)?;
                // Under the lock: what is decided later can tell that this one is on its way.
                let sending = self.fence.begin();
                Some(Work::Reply { callback, result, after, sending })
            }
            Effect::Local(job, effect) => Some(Work::Local(job, effect)),
            Effect::Cloud(job, effect) => Some(Work::Cloud(job, effect)),
            Effect::Invalidate(stale) => Some(Work::Invalidate(stale)),
            Effect::Note(text) => Some(Work::Note(text)),
            Effect::ReadRules(asked) => {
                self.rules.send_replace(asked);
                None
            }
        }
    }

    /// The core or a thread panicked: the state cannot be trusted, the journal can. Better no drive than
    /// a lying one.
    pub(crate) fn fail(&self) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(
                "the drive failed (see the panic above): every request is refused from here \
                 on; restart to recover from the journal, nothing acknowledged is lost"
            );
        }
        if self.fatal.load(Ordering::Acquire) {
            std::process::abort();
        }
        self.close();
    }
}

impl State {
    fn admit(&mut self, reply: Callback) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.replies.insert(ticket, reply);
        ticket
    }

    /// Whether the core's deadline is earlier than what the timer knows of.
    fn wants_earlier(&mut self) -> bool {
        let Some(deadline) = self.drive.deadline() else {
            return false;
        };
        let earlier = self.armed.is_none_or(|armed| deadline < armed);
        if earlier {
            self.armed = Some(deadline);
        }
        earlier
    }
}

fn refuse(input: Input) -> Vec<Work> {
    if let Input::Request(_, reply) = input {
        reply(Err(FsError::Io));
    }
    Vec::new()
}
