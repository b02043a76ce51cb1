//! The thread that writes the index, and looks after journal, backing files and reserve; and the one
//! that moves small writes into their backing files.

use crate::disk::Shared;
use crate::index::{self, Writer};
use crate::queue::{Batch, Queue};
use crate::{Error, content::Content};
use fs_core::Ino;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause before a failed write of the index is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the backing file of a dropped node may stay: until then many share one sync.
const BURY_AFTER: Duration = Duration::from_secs(1);

/// The writer's thread, and what it carries from group to group.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    writer: Writer,
    applied: u64,
    /// Dropped nodes whose backing files are still there, and since when there are any. They go
    /// only when the drop survives power loss; else a resurrected row would have no bytes.
    graves: Vec<Ino>,
    since: Instant,
}

/// The thread that moves small writes.
pub(crate) struct Mover {
    shared: Arc<Shared>,
}

impl Mover {
    pub(crate) fn new(shared: Arc<Shared>) -> Mover {
        Mover { shared }
    }

    /// Runs until small writes are stopped. What could not be moved stays in the journal.
    pub(crate) fn run(self) {
        let small = &self.shared.journal.small;
        while small.wait_for_work() {
            let moved =
                self.shared.reserve.spend(Error::is_full, || self.shared.content.move_some());
            match moved {
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot move small writes to their files; trying again");
                    std::thread::sleep(RETRY);
                }
            }
        }
    }
}

/// Wakes everyone who waits, should the thread die.
struct Alarm<'a>(&'a Queue);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close(false);
        }
    }
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, writer: Writer, applied: u64) -> Keeper {
        Keeper { shared, writer, applied, graves: Vec::new(), since: Instant::now() }
    }

    /// Runs until the queue is closed; returns itself for the last steps.
    pub(crate) fn run(mut self) -> Keeper {
        let shared = Arc::clone(&self.shared);
        let _alarm = Alarm(&shared.queue);
        while let Some(group) = shared.queue.next_group() {
            if !group.is_empty() && !self.apply(&group) {
                break;
            }
            self.tend();
        }
        self
    }

    /// Applies a group, again and again until it works; false when the store is closed before.
    fn apply(&mut self, group: &[Arc<Batch>]) -> bool {
        let shared = Arc::clone(&self.shared);
        loop {
            match shared.reserve.spend(Error::is_full, || self.try_apply(group)) {
                Ok(()) => {
                    shared.queue.applied(group);
                    return true;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot write the index; trying again");
                    if !shared.queue.pause(error, RETRY) {
                        return false;
                    }
                }
            }
        }
    }

    fn try_apply(&mut self, group: &[Arc<Batch>]) -> Result<(), Error> {
        let Some(last) = group.last().map(|batch| batch.seq) else { return Ok(()) };
        let shared = &self.shared;
        // Journal first, always: the index is never ahead of it.
        shared.journal.write(last, &shared.queue, &shared.reserve)?;
        let batches = group.iter().map(|batch| batch.changes.as_slice());
        let dropped = self.writer.apply(batches, last, &shared.content);
        let dropped = dropped.map_err(|error| Error::sql(&shared.layout.index(), &error))?;
        self.applied = last;
        if self.graves.is_empty() {
            self.since = Instant::now();
        }
        let content: &Content = &shared.content;
        self.graves.extend(dropped.into_iter().filter(|&ino| content.drop_unsynced(ino)));
        Ok(())
    }

    fn tend(&mut self) {
        let retire = self.shared.journal.can_retire(self.applied);
        let bury = !self.graves.is_empty() && self.since.elapsed() >= BURY_AFTER;
        if (retire || bury)
            && let Err(error) = self.settle(retire)
        {
            tracing::warn!(%error, "could not tidy up the store; trying again later");
            self.since = Instant::now();
        }
        self.shared.reserve.restore();
    }

    /// Makes what was applied durable, then removes what is needed only until then.
    fn settle(&mut self, retire: bool) -> Result<(), Error> {
        let path = self.shared.layout.index();
        let sql = |error: rusqlite::Error| Error::sql(&path, &error);
        if retire {
            self.shared.content.move_all()?;
            self.writer.barrier().map_err(sql)?;
            self.shared.journal.retire(self.applied);
        } else {
            self.shared.journal.sync(self.applied)?;
        }
        for &ino in &self.graves {
            if index::content_of(&self.writer.conn, ino).map_err(sql)?.is_none() {
                self.shared.content.evict(ino)?;
            }
        }
        self.writer.buried(&self.graves).map_err(sql)?;
        self.graves.clear();
        Ok(())
    }

    /// Closes cleanly: everything is on the disk, the index needs neither journal nor log.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.settle(true)?;
        let checkpoint = self.writer.checkpoint();
        checkpoint.map_err(|error| Error::sql(&self.shared.layout.index(), &error))?;
        self.shared.journal.remove();
        Ok(())
    }
}
