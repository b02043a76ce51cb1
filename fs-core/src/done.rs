//! Completions: each goes to the part that started the job.

use crate::drive::Drive;
use crate::faults::Wake;
use crate::jobs::Work;
use crate::{FsError, Ino, Job, Loaded, Local, Outcome, Range};
use alloc::vec::Vec;

impl Drive {
    pub(crate) fn done(&mut self, job: Job, outcome: Outcome) {
        let Some(work) = self.jobs.finish(job) else { return };
        match (work, outcome) {
            (Work::LoadDir(dir), Outcome::Rows(rows)) => self.dir_loaded(dir, rows),
            (Work::LoadNode(ino), Outcome::Rows(rows)) => self.node_loaded(ino, rows),
            (Work::LoadTargets(ids), Outcome::Rows(rows)) => self.targets_loaded(&ids, rows),
            (Work::LoadInbox, Outcome::Rows(rows)) => self.inbox_loaded(rows),
            (Work::Read { ticket, ino, range }, Outcome::Bytes(result)) => {
                self.read_done(ticket, ino, range, result);
            }
            (Work::Write { ticket, ino, range }, Outcome::Local(result)) => {
                self.write_done(ticket, ino, range, result);
            }
            (Work::Fill { ino, range, content }, Outcome::Local(result)) => {
                self.fill_done(ino, range, content, result);
            }
            (Work::Truncate { ticket, ino, cut }, Outcome::Local(result)) => {
                self.truncate_done(ticket, ino, cut, result);
            }
            (Work::Copy { ticket, from, part, to, range }, Outcome::Local(result)) => {
                self.copy_done(ticket, (from, part), (to, range), result);
            }
            (Work::Zero { ticket, ino, range }, Outcome::Local(result)) => {
                self.zero_done(ticket, ino, range, result);
            }
            (Work::Drop { ino, range }, Outcome::Local(_)) => {
                self.release(ino, range, true);
                self.reap(ino);
            }
            (Work::Sync { ticket }, Outcome::Local(result)) => {
                self.reply(ticket, result.map(|()| crate::Response::Done));
            }
            (Work::Measure { ino, why }, Outcome::Measured(result)) => {
                self.measured(job, ino, why, result);
            }
            (Work::SyncFlight, Outcome::Local(result)) => self.flight_durable(result),
            (Work::Connect(attempt), Outcome::Connected(result)) => self.connected(attempt, result),
            (Work::Children { dir }, Outcome::Page(result)) => self.children_arrived(dir, result),
            (Work::Snapshot(run), Outcome::Page(result)) => self.snapshot_arrived(run, result),
            (Work::Changes, Outcome::Changes(result)) => self.changes_arrived(result),
            (Work::Fetch { ino, content, range }, Outcome::Fetch(result)) => {
                let whole = self.hydration.take_delivered(job, range);
                self.fetch_done(ino, content, (range, whole), result);
            }
            (Work::FetchSmall { files, walk }, Outcome::Small(result)) => {
                self.small_arrived(&files, walk, result);
            }
            (Work::Same, Outcome::Same(result)) => self.compared(result),
            (Work::Stage, Outcome::Staged(drafts)) => self.staged(drafts),
            (Work::Commit, Outcome::Committed(result)) => self.committed(result),
            (work, _) => debug_assert!(false, "an outcome that does not belong to {work:?}"),
        }
    }

    /// Starts loading a directory's rows, unless that is under way.
    pub(crate) fn load_dir(&mut self, dir: Ino) {
        if self.tree.get(dir).is_some_and(|inode| !inode.loading) {
            self.tree.begin_load(Some(dir));
            self.local(Work::LoadDir(dir), Local::LoadDir(dir));
        }
    }

    pub(crate) fn load_node(&mut self, ino: Ino) {
        self.tree.begin_load(None);
        self.local(Work::LoadNode(ino), Local::LoadNode(ino));
    }

    pub(crate) fn adopt_rows(&mut self, rows: Vec<Loaded>) {
        // Ancestors come in any order: a row whose parent is not here yet waits for the next round.
        let mut waiting = rows;
        loop {
            let before = waiting.len();
            let mut rest = Vec::new();
            for loaded in waiting {
                let parent = loaded.node.parent;
                if parent == Ino::NONE || self.tree.get(parent).is_some() {
                    self.tree.adopt(loaded.node, loaded.content);
                } else {
                    rest.push(loaded);
                }
            }
            if rest.is_empty() || rest.len() == before {
                return;
            }
            waiting = rest;
        }
    }

    fn dir_loaded(&mut self, dir: Ino, rows: Result<Vec<Loaded>, FsError>) {
        match rows {
            Ok(rows) => {
                self.adopt_rows(rows);
                self.tree.end_load(Some(dir), true);
                self.wake(Wake::Listing(dir));
                self.reconcile_loaded(dir, Ok(()));
            }
            Err(error) => {
                self.tree.end_load(Some(dir), false);
                self.fail_waiting(Wake::Listing(dir), error);
                self.reconcile_loaded(dir, Err(error));
            }
        }
    }

    fn node_loaded(&mut self, ino: Ino, rows: Result<Vec<Loaded>, FsError>) {
        let error = match rows {
            Ok(rows) => {
                self.adopt_rows(rows);
                FsError::Stale
            }
            Err(error) => error,
        };
        self.tree.end_load(None, false);
        self.reconcile_loaded(ino, Ok(()));
        if self.tree.get(ino).is_some_and(|inode| !inode.row.gone || inode.is_held()) {
            self.wake(Wake::Node(ino));
        } else {
            self.fail_waiting(Wake::Node(ino), error);
        }
    }

    /// Ends the mark on a range that a local job worked on, and lets those who waited try again.
    pub(crate) fn release(&mut self, ino: Ino, range: Range, exclusive: bool) {
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.end(range, exclusive);
        }
        self.wake(Wake::Idle(ino));
        if exclusive {
            self.wake(Wake::Bytes(ino));
        }
    }
}
