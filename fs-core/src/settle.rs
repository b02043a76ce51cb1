//! Settle windows: a change is sent when it has been quiet for a while, so that what is rewritten or
//! removed at once never travels. And barriers, which cut the windows short.

use crate::drive::Drive;
use crate::uploads::Barrier;
use crate::{Answer, FsError, Ino, Mono, Pending, Response, Ticket};
use alloc::{collections::BTreeSet, vec::Vec};

/// A settle window doubles while a file keeps being rewritten, this many times at most.
const SETTLE_DOUBLINGS: u32 = 5;
/// Milliseconds of quiet before a file that is still open for writing is sent.
const OPEN_SETTLE_MS: u64 = 5_000;
/// Milliseconds before a file with a temporary name is sent: most never live that long.
const TEMPORARY_SETTLE_MS: u64 = 60_000;

/// Names that editors and downloads give to files that will not stay.
fn is_temporary(name: &[u8]) -> bool {
    const STARTS: [&[u8]; 4] = [b"~$", b".~lock.", b".goutputstream-", b".#"];
    const ENDS: [&[u8]; 7] =
        [b".tmp", b".swp", b".swx", b".crdownload", b".part", b".partial", b".lock"];
    STARTS.iter().any(|start| name.starts_with(start)) || ENDS.iter().any(|end| name.ends_with(end))
}

impl Drive {
    /// Something of a pending node changed: its settle window starts anew.
    pub(crate) fn touch(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        if inode.row.pending.is_none() {
            return;
        }
        if self.keep_if_ignored(ino) {
            return;
        }
        let Some(inode) = self.tree.get(ino) else { return };
        let unsent = Pending::CREATE.with(Pending::CONTENT);
        let rewritten = inode.is_file() && inode.row.pending.has(unsent);
        let doublings = self.uploads.rewrites(ino).min(SETTLE_DOUBLINGS);
        let mut settle = self.limits.settle_ms << doublings;
        if rewritten && inode.writers > 0 {
            settle = settle.max(OPEN_SETTLE_MS);
        }
        if inode.row.pending.has(Pending::CREATE) && is_temporary(inode.row.name.as_bytes()) {
            settle = settle.max(TEMPORARY_SETTLE_MS);
        }
        self.uploads.schedule(ino, self.now.mono.plus_millis(settle), self.now.mono, false);
        if self.uploads.barriers.iter().any(|barrier| barrier.waiting.contains(&ino)) {
            self.uploads.hasten(ino, self.now.mono.plus_millis(self.limits.settle_ms));
        }
    }

    /// A handle of a pending file was closed: the short window applies, longer while the file keeps
    /// being rewritten.
    pub(crate) fn touch_closed(&mut self, ino: Ino) {
        let doublings = self.uploads.rewrites(ino).min(SETTLE_DOUBLINGS);
        let Some(inode) = self.tree.get(ino) else { return };
        if self.uploads.kept.contains(&ino) {
            return;
        }
        let temporary = is_temporary(inode.row.name.as_bytes());
        if inode.writers > 0 || inode.row.pending.has(Pending::CREATE) && temporary {
            return self.touch(ino);
        }
        let settle = self.limits.settle_ms << doublings;
        let rewrite = inode.row.pending.has(Pending::CONTENT);
        self.uploads.schedule(ino, self.now.mono.plus_millis(settle), self.now.mono, rewrite);
    }

    /// A program wants what it wrote to be safe: the short window applies though the file is open, and
    /// starts again with each write. (A database syncs all day long.)
    pub(crate) fn hasten_synced(&mut self, ino: Ino) {
        let open = self.tree.get(ino).is_some_and(|inode| inode.writers > 0);
        let doublings = self.uploads.rewrites(ino).min(SETTLE_DOUBLINGS);
        let settle = if open { self.limits.settle_ms << doublings } else { 0 };
        self.uploads.hasten(ino, self.now.mono.plus_millis(settle));
    }

    /// What is pending of an inode belongs to another node from now on: its windows start anew.
    /// Barriers go on waiting for it.
    pub(crate) fn renewed(&mut self, ino: Ino) {
        self.uploads.forget(ino);
        self.brake.forget(ino);
    }

    /// Nothing of a node is pending any more.
    pub(crate) fn settled(&mut self, ino: Ino) {
        self.renewed(ino);
        let mut finished = Vec::new();
        for barrier in &mut self.uploads.barriers {
            barrier.waiting.remove(&ino);
            if barrier.waiting.is_empty() {
                finished.push(barrier.ticket);
            }
        }
        self.uploads.barriers.retain(|barrier| !barrier.waiting.is_empty());
        for ticket in finished {
            self.reply(ticket, Ok(Response::Answer(Answer::Done)));
        }
    }

    /// Answers `ticket` when everything pending below `root` now is in the cloud.
    pub(crate) fn barrier(&mut self, ticket: Ticket, root: Ino) {
        if self.waits_for_reconcile(ticket, root) {
            return;
        }
        let below = |ino: &&Ino| {
            let placeless = self.tree.get(**ino).is_some_and(|inode| inode.row.parent == Ino::NONE);
            placeless || self.tree.is_below(**ino, root)
        };
        let due = |ino: &&Ino| !self.uploads.kept.contains(*ino);
        let pending = self.tree.pending().iter().filter(due);
        let waiting: BTreeSet<Ino> = pending.filter(below).copied().collect();
        if waiting.is_empty() {
            let is_known = !self.inbox.is_frozen();
            let answer = is_known.then_some(Response::Answer(Answer::Done));
            self.reply(ticket, answer.ok_or(FsError::Io));
            return;
        }
        for ino in &waiting {
            self.uploads.hasten(*ino, self.now.mono);
        }
        self.uploads.gather_until = Mono(0);
        self.uploads.barriers.push(Barrier { ticket, waiting });
    }
}
