//! Batches on their way: queued by the engine, then in the journal, then in the index.

use crate::{Error, locked};
use fs_core::Change;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the writer of the index gathers batches before it applies them, unless someone waits.
const LINGER: Duration = Duration::from_millis(5);
/// How long the writer sleeps when there is nothing to do, before it looks after the house.
const IDLE: Duration = Duration::from_secs(1);
/// Changes after which a group of batches is full. A single batch may be larger.
const GROUP_CHANGES_MAX: usize = 20_000;

#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) seq: u64,
    pub(crate) changes: Vec<Change>,
    /// Its length in the journal in bytes, once it is there.
    pub(crate) bytes: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// The writer applies what is queued, then ends.
    Draining,
    /// The writer ends at once.
    Abandoned,
}

#[derive(Debug)]
struct State {
    /// Not in the journal yet.
    unwritten: VecDeque<Arc<Batch>>,
    /// Not taken by the writer of the index yet.
    unapplied: VecDeque<Arc<Batch>>,
    /// The last batch queued, and the last in the index.
    last: u64,
    applied: u64,
    /// Someone waits until the index has everything up to here.
    wanted: u64,
    phase: Phase,
    /// The writer waits for its first batch.
    sleeping: bool,
    /// Batches did not come in order: nothing can be promised any more.
    fault: Option<String>,
    /// Why the writer cannot go on at the moment.
    trouble: Option<Error>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    progress: Condvar,
    /// Bytes of the journal that the index does not have.
    backlog: AtomicU64,
    backlog_max: u64,
}

impl Queue {
    pub(crate) fn new(last: u64, backlog_max: u64) -> Queue {
        let state = State {
            unwritten: VecDeque::new(),
            unapplied: VecDeque::new(),
            last,
            applied: last,
            wanted: 0,
            phase: Phase::Open,
            sleeping: false,
            fault: None,
            trouble: None,
        };
        Queue {
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: Condvar::new(),
            backlog: AtomicU64::new(0),
            backlog_max,
        }
    }

    pub(crate) fn push(&self, seq: u64, changes: Vec<Change>) {
        let batch = Arc::new(Batch { seq, changes, bytes: AtomicU64::new(0) });
        let mut state = locked(&self.state);
        if state.phase != Phase::Open {
            state.fault.get_or_insert(format!("batch {seq} came after the store was closed"));
            return;
        }
        if seq != state.last.wrapping_add(1) {
            let text = format!("batch {seq} came after batch {}", state.last);
            state.fault.get_or_insert(text);
            return;
        }
        state.last = seq;
        state.unwritten.push_back(Arc::clone(&batch));
        state.unapplied.push_back(batch);
        if std::mem::take(&mut state.sleeping) {
            drop(state);
            self.work.notify_one();
        }
    }

    /// Fails when a batch was lost or `seq` was never queued.
    pub(crate) fn check(&self, seq: u64) -> Result<(), Error> {
        let state = locked(&self.state);
        if let Some(fault) = &state.fault {
            return Err(failed(&format!("{fault}; restart the drive")));
        }
        if seq > state.last {
            return Err(failed(&format!("batch {seq} was never queued")));
        }
        Ok(())
    }

    /// Takes all batches that are not in the journal, in order.
    pub(crate) fn take_unwritten(&self) -> VecDeque<Arc<Batch>> {
        std::mem::take(&mut locked(&self.state).unwritten)
    }

    /// Returns batches that could not be written.
    pub(crate) fn put_back(&self, mut batches: VecDeque<Arc<Batch>>) {
        let mut state = locked(&self.state);
        batches.append(&mut state.unwritten);
        state.unwritten = batches;
    }

    /// Takes note of `bytes` more in the journal.
    pub(crate) fn grew(&self, bytes: u64) {
        self.backlog.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Waits while the index is too far behind the journal.
    pub(crate) fn wait_for_room(&self) -> Result<(), Error> {
        if self.backlog.load(Ordering::Acquire) <= self.backlog_max {
            return Ok(());
        }
        let mut state = locked(&self.state);
        while self.backlog.load(Ordering::Acquire) > self.backlog_max {
            state = self.wait_for_writer(state)?;
        }
        Ok(())
    }

    /// Waits until the index has every batch queued before the call.
    pub(crate) fn wait_applied(&self) -> Result<(), Error> {
        let mut state = locked(&self.state);
        let target = state.last;
        while state.applied < target {
            if state.wanted < target {
                state.wanted = target;
                self.work.notify_one();
            }
            state = self.wait_for_writer(state)?;
        }
        Ok(())
    }

    fn wait_for_writer<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, Error> {
        if let Some(trouble) = &state.trouble {
            return Err(trouble.again());
        }
        if state.phase == Phase::Abandoned {
            return Err(failed("the store was closed before its index was written"));
        }
        Ok(self.progress.wait(state).unwrap_or_else(PoisonError::into_inner))
    }

    /// The next group for the index: empty when it is only time to look after the house, `None`
    /// when the writer shall end.
    pub(crate) fn next_group(&self) -> Option<Vec<Arc<Batch>>> {
        let mut state = locked(&self.state);
        if state.unapplied.is_empty() && state.phase == Phase::Open {
            state.sleeping = true;
            state = self.sleep(state, IDLE);
            state.sleeping = false;
        }
        let until = Instant::now() + LINGER;
        while state.phase == Phase::Open
            && !state.unapplied.is_empty()
            && state.wanted <= state.applied
        {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            state = self.sleep(state, left);
        }
        match state.phase {
            Phase::Abandoned => None,
            Phase::Draining if state.unapplied.is_empty() => None,
            _ => Some(take_group(&mut state.unapplied)),
        }
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits before the writer tries again; returns whether it shall.
    pub(crate) fn pause(&self, trouble: Error, time: Duration) -> bool {
        let mut state = locked(&self.state);
        state.trouble = Some(trouble);
        self.progress.notify_all();
        if state.phase == Phase::Open {
            state = self.sleep(state, time);
        }
        state.phase == Phase::Open
    }

    /// The index has the group.
    pub(crate) fn applied(&self, group: &[Arc<Batch>]) {
        let bytes = group.iter().map(|batch| batch.bytes.load(Ordering::Acquire)).sum();
        self.backlog.fetch_sub(bytes, Ordering::AcqRel);
        let mut state = locked(&self.state);
        state.trouble = None;
        if let Some(batch) = group.last() {
            state.applied = batch.seq;
        }
        self.progress.notify_all();
    }

    /// No batch comes any more. The writer ends when the index has all (`drain`), or at once.
    pub(crate) fn close(&self, drain: bool) {
        let mut state = locked(&self.state);
        state.phase = if drain { Phase::Draining } else { Phase::Abandoned };
        self.work.notify_all();
        self.progress.notify_all();
    }
}

fn failed(text: &str) -> Error {
    Error::Io { path: "the queue of changes".into(), source: io::Error::other(text.to_owned()) }
}

fn take_group(unapplied: &mut VecDeque<Arc<Batch>>) -> Vec<Arc<Batch>> {
    let mut changes = 0;
    let mut count = 0;
    for batch in unapplied.iter() {
        changes += batch.changes.len();
        if count > 0 && changes > GROUP_CHANGES_MAX {
            break;
        }
        count += 1;
    }
    unapplied.drain(..count).collect()
}
