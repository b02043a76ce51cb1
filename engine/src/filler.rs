//! Writes fetched bytes to the local store behind the readers, who have them from memory. What waits is
//! bounded: a disk that is slower than the line slows the fetches down, never fills the memory.

use crate::hall::Hall;
use crate::jobs::Running;
use crate::local_job;
use fs_core::{Event, Job, Local};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that may wait to be written; one write more is always let in.
const WAITING_BYTES: usize = 8 << 20;

#[derive(Default)]
pub(crate) struct Filler {
    queue: Mutex<Queue>,
    more: Condvar,
    room: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Job, Local, Running)>,
    bytes: usize,
    /// No thread takes anything from here any more.
    closed: bool,
}

impl Filler {
    /// Hands over a write of fetched bytes; waits while too many are ahead of it. Gives it back when
    /// there is nobody to do it.
    pub(crate) fn push(&self, job: Job, effect: Local, running: Running) -> Option<(Job, Local)> {
        let mut queue = self.lock();
        while queue.bytes >= WAITING_BYTES && !queue.closed {
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.closed {
            return Some((job, effect));
        }
        queue.bytes += len(&effect);
        queue.waiting.push_back((job, effect, running));
        self.more.notify_one();
        None
    }

    /// What was handed over is still done; what comes later is given back.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
        self.room.notify_all();
    }

    fn next(&self) -> Option<(Job, Local, Running)> {
        let mut queue = self.lock();
        loop {
            if let Some(next) = queue.waiting.pop_front() {
                return Some(next);
            }
            if queue.closed {
                return None;
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Its bytes count until they are written, so that no more of them are in memory.
    fn done(&self, bytes: usize) {
        self.lock().bytes -= bytes;
        self.room.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// However its thread ends: nobody must wait for it.
struct CloseOnDrop<'a>(&'a Filler);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The thread that writes.
pub(crate) fn run(hall: &Arc<Hall>) {
    let _closed = CloseOnDrop(&hall.filler);
    while let Some((job, effect, running)) = hall.filler.next() {
        let bytes = len(&effect);
        let outcome = local_job::perform(&*hall.local, &hall.journal, &effect);
        drop(effect);
        hall.filler.done(bytes);
        hall.deliver(Event::Done(job, outcome));
        drop(running);
    }
}

fn len(effect: &Local) -> usize {
    match effect {
        Local::Fill { data, .. } => data.len(),
        _ => 0,
    }
}
