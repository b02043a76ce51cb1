//! Small writes on their way: bytes that the journal has and their backing files do not have yet.
//!
//! A small new file is made of one append to the journal instead of a file of its own, and a small
//! write that is synced needs one sync instead of two. A thread moves the bytes into their backing
//! files a moment later; until then reads lay them over what the file has. Each write has a number;
//! once the bytes up to a number are in the backing file, the journal gets a mark that says so, and a
//! replay passes over them.

use crate::locked;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The largest write that goes this way, in bytes.
pub(crate) const WRITE_MAX: usize = 64 << 10;
/// Bytes of one file since its last sync: what is written on and on goes straight to its file.
const UNSYNCED_MAX: u64 = 128 << 10;
/// Bytes and writes of all files together that are held in memory.
const BYTES_MAX: u64 = 24 << 20;
const PARTS_MAX: usize = 16_384;
/// How long bytes are held: most temporary files are gone by then, and most new ones are sent.
const HOLD: Duration = Duration::from_secs(3);
/// Files that are moved out behind one mark.
const GROUP: usize = 32;

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// 1, 2, 3, in the order in which the writes were taken since the journal was started.
    pub(crate) number: u64,
    pub(crate) ino: u64,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
}

/// The writes of one file.
#[derive(Debug)]
struct Held {
    parts: Vec<Part>,
    /// Bytes since the last sync.
    unsynced: u64,
    /// A sync was acknowledged, or is about to be: the journal is what it rests upon.
    promised: bool,
    /// Being moved out.
    leaving: bool,
    since: Instant,
}

/// The writes of one file that are being moved out.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) ino: u64,
    pub(crate) parts: Vec<Part>,
    pub(crate) promised: bool,
}

impl Leaving {
    /// The number of the last write.
    pub(crate) fn upto(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.number)
    }
}

/// What the journal has to get ahead of the next batch.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    pub(crate) parts: Vec<Part>,
    /// Files, and the numbers up to which their writes are void.
    pub(crate) marks: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<u64, Held>,
    /// Not in the journal yet.
    unwritten: Unwritten,
    last: u64,
    bytes: u64,
    parts: usize,
    stopped: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Small {
    state: Mutex<State>,
    /// A file is no longer leaving.
    moved: Condvar,
    /// There is something to move out.
    work: Condvar,
}

impl Small {
    /// Takes a write in, unless it is none for here; `fits` says whether the backing file allows it.
    pub(crate) fn take(
        &self,
        ino: u64,
        offset: u64,
        data: &[u8],
        fits: impl FnOnce() -> bool,
    ) -> bool {
        let len = data.len() as u64;
        let mut state = locked(&self.state);
        let held = state.files.get(&ino);
        let unsynced = held.map_or(0, |held| held.unsynced) + len;
        let room = state.bytes + len <= BYTES_MAX && state.parts < PARTS_MAX && !state.stopped;
        if data.len() > WRITE_MAX || unsynced > UNSYNCED_MAX || !room || !fits() {
            return false;
        }
        state.last += 1;
        let part = Part { number: state.last, ino, offset, data: Bytes::copy_from_slice(data) };
        state.unwritten.parts.push(part.clone());
        state.bytes += len;
        state.parts += 1;
        let held = state.files.entry(ino).or_insert_with(|| Held {
            parts: Vec::with_capacity(1),
            unsynced: 0,
            promised: false,
            leaving: false,
            since: Instant::now(),
        });
        held.unsynced += len;
        held.parts.push(part);
        if state.is_crowded() {
            self.work.notify_one();
        }
        true
    }

    pub(crate) fn holds(&self, ino: u64) -> bool {
        locked(&self.state).files.contains_key(&ino)
    }

    /// Room on the disk for what is held: whole blocks of 4 KiB, as most file systems count.
    pub(crate) fn used(&self) -> u64 {
        let state = locked(&self.state);
        let bytes = |held: &Held| held.parts.iter().map(|part| part.data.len() as u64).sum::<u64>();
        state.files.values().map(|held| bytes(held).next_multiple_of(4096)).sum()
    }

    /// The writes of a file, to be laid over what its backing file has.
    pub(crate) fn parts(&self, ino: u64) -> Vec<Part> {
        locked(&self.state).files.get(&ino).map(|held| held.parts.clone()).unwrap_or_default()
    }

    /// From here on the writes of a file are what a sync rests upon: they leave the journal only for
    /// a synced backing file.
    pub(crate) fn promise(&self, ino: u64) {
        let mut state = self.wait_moved(locked(&self.state), ino);
        if let Some(held) = state.files.get_mut(&ino) {
            held.promised = true;
            held.unsynced = 0;
        }
    }

    pub(crate) fn is_promised(&self, ino: u64) -> bool {
        locked(&self.state).files.get(&ino).is_some_and(|held| held.promised)
    }

    pub(crate) fn take_unwritten(&self) -> Unwritten {
        std::mem::take(&mut locked(&self.state).unwritten)
    }

    /// Returns what could not be written.
    pub(crate) fn put_back(&self, mut earlier: Unwritten) {
        let mut state = locked(&self.state);
        earlier.parts.append(&mut state.unwritten.parts);
        earlier.marks.append(&mut state.unwritten.marks);
        state.unwritten = earlier;
    }

    /// Begins to move the writes of a file out; `None` when there are none (any more).
    pub(crate) fn begin(&self, ino: u64) -> Option<Leaving> {
        self.wait_moved(locked(&self.state), ino).leave(ino)
    }

    /// Begins to move out some files: those that are held for long, or any if there are too many.
    pub(crate) fn begin_some(&self) -> Vec<Leaving> {
        let mut state = locked(&self.state);
        let any = state.is_crowded();
        let now = Instant::now();
        let due = |held: &Held| !held.leaving && (any || now.duration_since(held.since) >= HOLD);
        let due = state.files.iter().filter(|(_, held)| due(held)).map(|(ino, _)| *ino);
        let inos: Vec<u64> = due.take(GROUP).collect();
        inos.into_iter().filter_map(|ino| state.leave(ino)).collect()
    }

    /// Files with writes that are held.
    pub(crate) fn inos(&self) -> Vec<u64> {
        locked(&self.state).files.keys().copied().collect()
    }

    /// The files have been moved out up to what was leaving, or could not be.
    pub(crate) fn end(&self, left: &[Leaving], done: bool) {
        let mut state = locked(&self.state);
        for leaving in left {
            state.end(leaving, done);
        }
        drop(state);
        self.moved.notify_all();
    }

    /// Drops the writes of a file. The mark goes into the journal with the next batch: nothing that
    /// is written to the file after this counts before a batch says so.
    pub(crate) fn discard(&self, ino: u64) {
        let mut state = self.wait_moved(locked(&self.state), ino);
        if let Some(leaving) = state.leave(ino) {
            state.end(&leaving, true);
            state.unwritten.marks.push((ino, leaving.upto()));
        }
    }

    /// Waits until there may be something to move out; false when that has ended.
    pub(crate) fn wait_for_work(&self) -> bool {
        let state = locked(&self.state);
        if state.stopped || state.is_crowded() {
            return !state.stopped;
        }
        let (state, _) =
            self.work.wait_timeout(state, HOLD / 4).unwrap_or_else(PoisonError::into_inner);
        !state.stopped
    }

    /// Nothing is taken in any more.
    pub(crate) fn stop(&self) {
        locked(&self.state).stopped = true;
        self.work.notify_all();
    }

    fn wait_moved<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        ino: u64,
    ) -> MutexGuard<'a, State> {
        while state.files.get(&ino).is_some_and(|held| held.leaving) {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

impl State {
    /// Half of the room is taken.
    fn is_crowded(&self) -> bool {
        self.bytes > BYTES_MAX / 2 || self.parts > PARTS_MAX / 2
    }

    fn leave(&mut self, ino: u64) -> Option<Leaving> {
        let held = self.files.get_mut(&ino)?;
        held.leaving = true;
        Some(Leaving { ino, parts: held.parts.clone(), promised: held.promised })
    }

    fn end(&mut self, leaving: &Leaving, done: bool) {
        let Some(held) = self.files.get_mut(&leaving.ino) else { return };
        held.leaving = false;
        if !done {
            // It is tried again, after a while.
            held.since = Instant::now();
            return;
        }
        let gone = leaving.parts.len();
        held.parts.drain(..gone);
        self.parts -= gone;
        self.bytes -= leaving.parts.iter().map(|part| part.data.len() as u64).sum::<u64>();
        if held.parts.is_empty() {
            self.files.remove(&leaving.ino);
        }
    }
}
