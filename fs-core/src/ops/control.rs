//! The control plane: status, pins, eviction, barriers, versions.

use super::Flow;
use crate::drive::Drive;
use crate::faults::Step;
use crate::tree::Inode;
use crate::{
    Answer, Change, Command, ContentRef, ContentRow, FileState, FileStatus, FsError, Ino, Name,
    PathStatus, Pending, Range, Ranges, Response, Rev, Stale, Status, Ticket,
};
use alloc::{boxed::Box, format, string::ToString, vec::Vec};

/// Why a change is not sent.
const HELD: &str =
    "held, as much is changed at once: `meshdrive approve` sends it, `meshdrive undo` puts it back";
/// Pending nodes that one answer lists.
const LIST_MAX: usize = 1_000;

impl Drive {
    pub(super) fn control(&mut self, ticket: Ticket, command: &Command) -> Step<Flow> {
        let answer = match command {
            Command::Status => Answer::Status(self.status()),
            Command::PathStatus(path) => {
                let ino = self.resolve(path)?;
                Answer::Path(self.path_status(ino)?)
            }
            Command::Pin(path, on) => {
                let ino = self.resolve(path)?;
                self.set_pin(ino, *on);
                Answer::Done
            }
            Command::Pins => Answer::Pins(self.list_pins()),
            Command::Evict(path) => {
                let root = self.resolve(path)?;
                Answer::Freed(self.evict_below(root))
            }
            Command::Sync(path) => {
                let root = self.resolve(path)?;
                self.barrier(ticket, root);
                return Ok(None);
            }
            Command::Drained => {
                let is_sent = self.unsent().next().is_none();
                Answer::Drained(is_sent && !self.inbox.is_frozen())
            }
            Command::Identify(path) => {
                let ino = self.resolve(path)?;
                let row = &self.node(ino)?.row;
                let content = (row.content_rev != Rev(0))
                    .then_some(ContentRef { id: row.id, rev: row.content_rev });
                Answer::Identity { id: row.id, content }
            }
            Command::RestoreVersion { path, rev, size, mtime } => {
                let ino = self.resolve(path)?;
                self.restore_version(ino, *rev, (*size, *mtime))?;
                Answer::Done
            }
            Command::Pause(on) => {
                self.uploads.paused = *on;
                Answer::Done
            }
            Command::PendingList => Answer::Pending(self.list_pending()),
            Command::Conflicts => Answer::Conflicts(self.open_conflicts()?),
            Command::Approve => Answer::Counted(self.approve()),
            Command::UndoRemovals => Answer::Counted(self.undo_removals()),
            Command::SendAgain(id, rev) => Answer::Counted(self.send_again(*id, *rev).into()),
            Command::Held => Answer::Held(self.held_items()),
            Command::PutBack { ino, rev, size, mtime } => {
                self.put_back(*ino, *rev, (*size, *mtime))?;
                Answer::Done
            }
            Command::Resolve(path, keep) => {
                let ino = self.resolve(path)?;
                self.resolve_conflict(ino, *keep)?;
                Answer::Done
            }
        };
        Ok(Some(Response::Answer(answer)))
    }

    fn resolve(&self, path: &[Name]) -> Step<Ino> {
        let mut at = Ino::ROOT;
        for name in path {
            if !self.node(at)?.is_dir() {
                return Err(FsError::NotDirectory.into());
            }
            let entry = self.child(at, name)?.ok_or(FsError::NotFound)?;
            at = self.shown(entry)?.row.ino;
        }
        self.node(at)?;
        Ok(at)
    }

    fn status(&self) -> Status {
        let held = self.held_count();
        let weight = self.tree.weight();
        let unsent = |ino: &Ino| {
            let inode = self.tree.get(*ino)?;
            let whole = inode.row.pending.has(Pending::CREATE.with(Pending::CONTENT));
            let dirty = inode.content.as_ref().map_or(0, |content| content.dirty.bytes());
            Some(if whole { dirty } else { 0 })
        };
        let missing = |ino: &Ino| {
            let inode = self.tree.get(*ino)?;
            let gaps = inode.absent(Range::new(0, inode.row.size));
            Some(gaps.iter().map(Range::len).sum::<u64>())
        };
        let oldest = self.uploads.oldest();
        let trouble = if self.inbox.trouble.is_empty() {
            self.uploads.trouble.clone()
        } else {
            self.inbox.trouble.clone()
        };
        let kept = &self.uploads.kept;
        let pinned = self.tree.cached().iter().filter(|ino| self.tree.is_pinned(**ino));
        Status {
            online: self.inbox.online,
            trouble,
            refused: self.inbox.refused,
            paused: self.uploads.paused,
            applied: self.inbox.applied,
            head: self.inbox.head,
            complete: self.inbox.complete,
            unsure: self.inbox.is_frozen(),
            pending_nodes: self.unsent().count() as u64,
            pending_bytes: self
                .unsent()
                .filter_map(unsent)
                .sum::<u64>()
                .saturating_sub(self.uploads.sent()),
            local_only_nodes: kept.len() as u64,
            local_only_bytes: kept.iter().filter_map(unsent).sum(),
            ignore_trouble: self.ignore.trouble.clone(),
            sending_nodes: self.uploads.sending() as u64,
            oldest_pending_ms: oldest.map_or(0, |since| self.now.mono.millis_since(since)),
            attention: self.uploads.attention_count() as u64,
            cached_bytes: weight.clean + weight.dirty,
            dirty_bytes: weight.dirty,
            pinned_bytes: pinned.filter_map(|ino| self.tree.get(*ino)).map(here).sum(),
            quota_bytes: self.limits.cache_bytes,
            // What has not been looked at counts as one byte: nobody may take it for done.
            pin_missing_bytes: u64::from(self.pins.is_walking())
                + self.pins.missing().iter().filter_map(missing).sum::<u64>(),
            fetching: self.hydration.fetches() as u64,
            open_handles: self.handles.len() as u64,
            held_removals: held.removals,
            held_rewrites: held.rewrites,
            conflicts: self.tree.marked.len() as u64,
        }
    }

    /// What is pending and meant for the cloud.
    fn unsent(&self) -> impl Iterator<Item = &Ino> {
        self.tree.pending().iter().filter(|ino| !self.uploads.kept.contains(*ino))
    }

    /// The state of one node.
    pub(super) fn file_status(&self, inode: &Inode) -> FileStatus {
        let row = &inode.row;
        let pinned = self.tree.is_pinned(row.ino);
        let gaps = inode.absent(Range::new(0, row.size));
        let missing: u64 = gaps.iter().map(Range::len).sum();
        let state = if let Some(why) = self.uploads.attention(row.ino) {
            FileState::Attention(why.to_string())
        } else if self.is_held(row.ino) {
            FileState::Attention(HELD.to_string())
        } else if self.uploads.is_sending(row.ino) {
            FileState::Uploading
        } else if self.uploads.kept.contains(&row.ino) {
            FileState::LocalOnly
        } else if !row.pending.is_none() {
            FileState::Pending
        } else if !inode.is_file() {
            if pinned { FileState::Pinned } else { FileState::Local }
        } else if missing == 0 && pinned {
            FileState::Pinned
        } else if missing == 0 {
            FileState::Local
        } else if missing == row.size {
            FileState::Cloud
        } else {
            FileState::Partial { here: row.size - missing }
        };
        let path = self.tree.path(row.ino);
        FileStatus { path, size: row.size, dir: inode.is_dir(), state, pinned }
    }

    fn path_status(&self, ino: Ino) -> Step<PathStatus> {
        let file = self.file_status(self.node(ino)?);
        let below = self.unsent().filter(|at| self.tree.is_below(**at, ino));
        Ok(PathStatus { file, pending_below: below.count() as u64 })
    }

    fn list_pins(&self) -> Vec<FileStatus> {
        let pinned = self.tree.inodes().filter(|inode| inode.row.pinned);
        pinned.map(|inode| self.file_status(inode)).collect()
    }

    fn list_pending(&self) -> Vec<FileStatus> {
        let oldest = self.uploads.age_order();
        let nodes = oldest.iter().filter_map(|ino| self.tree.get(*ino)).take(LIST_MAX);
        nodes.map(|inode| self.file_status(inode)).collect()
    }

    fn evict_below(&mut self, root: Ino) -> u64 {
        let below: Vec<Ino> = self
            .tree
            .cached()
            .iter()
            .filter(|ino| self.tree.is_below(**ino, root) && self.can_evict(**ino))
            .copied()
            .collect();
        below
            .into_iter()
            .map(|ino| {
                self.invalidate(Stale::Data(ino)); // the kernel's copy goes too
                self.evict(ino)
            })
            .sum()
    }

    /// An old version becomes the content again: a new version whose bytes are the old one's, so
    /// nothing has to move.
    fn restore_version(
        &mut self,
        ino: Ino,
        rev: Rev,
        (size, mtime): (u64, crate::Timestamp),
    ) -> Step<()> {
        let inode = self.node(ino)?;
        if !inode.is_file() {
            return Err(FsError::Invalid.into());
        }
        if !inode.busy.is_empty() {
            return Err(crate::faults::Need::Idle(ino).into_halt());
        }
        let unseen = self.passthrough.is_blind(ino);
        if inode.opens > 0
            || unseen
            || inode.row.pending.has(Pending::CONTENT.with(Pending::CREATE))
        {
            return Err(FsError::Busy.into());
        }
        let version = ContentRef { id: inode.row.id, rev };
        self.take_version(ino, version, (size, mtime));
        self.note(format!("inode {}: version {} restored", ino.0, rev.0));
        Ok(())
    }

    /// A version, of this or another file, becomes the content of a file that nobody has open.
    pub(super) fn take_version(
        &mut self,
        ino: Ino,
        version: ContentRef,
        (size, mtime): (u64, crate::Timestamp),
    ) {
        let Some(inode) = self.tree.get(ino) else { return };
        let mut row = self.pend(inode, Pending::CONTENT);
        row.size = size;
        row.attrs.mtime = mtime;
        row.attrs.ctime = self.wall();
        let content = ContentRow {
            ino,
            base_id: version.id,
            base_rev: version.rev,
            base_len: size,
            valid: Ranges::new(),
            dirty: Ranges::new(),
            blind: false,
        };
        self.backing_gone(ino);
        self.commit(Change::PutContent(Box::new(content)));
        self.put(row);
        self.hydration.forget(ino);
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.generation += 1;
            inode.begin(Range::new(0, u64::MAX), true);
        }
        let after = self.latest();
        let work = crate::jobs::Work::Drop { ino, range: Range::new(0, u64::MAX) };
        self.local(work, crate::Local::Evict { ino, after });
        self.invalidate(Stale::Data(ino));
    }
}

/// Local bytes of a file.
fn here(inode: &Inode) -> u64 {
    inode.content.as_ref().map_or(0, |content| content.valid.bytes() + content.dirty.bytes())
}
