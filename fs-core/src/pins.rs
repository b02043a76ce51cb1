//! Pinned folders: walked in the background, their files fetched whole and kept fresh.

use crate::drive::Drive;
use crate::siblings::{SMALL_BATCH, SMALL_BATCH_BYTES, SMALL_BYTES};
use crate::{Change, Ino, Mono, Range};
use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};

/// Fetches in flight for pins: the rest is left to readers.
const PIN_FETCHES: usize = 6;
/// Bytes of one large pinned file asked for at a time.
const PIN_BYTES: u64 = 8 << 20;
/// Nodes looked at in one call.
const LOOKS: usize = 4_096;
/// Milliseconds before a listing or file that failed is tried again.
const RETRY_MS: u64 = 2_000;

#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// Nodes still to be looked at.
    todo: BTreeSet<Ino>,
    /// Of those, directories whose listing is on its way.
    unloaded: BTreeSet<Ino>,
    /// Files that lack bytes.
    missing: BTreeSet<Ino>,
    next_try: Option<Mono>,
}

impl Pins {
    /// Looks at a node and everything below it.
    pub(crate) fn walk(&mut self, ino: Ino) {
        self.todo.insert(ino);
    }

    pub(crate) fn resume(&mut self) {
        self.next_try = None;
    }

    pub(crate) fn next_try(&self) -> Option<Mono> {
        if self.todo.is_empty() && self.missing.is_empty() { None } else { self.next_try }
    }

    /// Whether something pinned has not been looked at yet.
    pub(crate) fn is_walking(&self) -> bool {
        !self.todo.is_empty()
    }

    pub(crate) fn missing(&self) -> &BTreeSet<Ino> {
        &self.missing
    }
}

impl Drive {
    pub(crate) fn set_pin(&mut self, ino: Ino, on: bool) {
        let Some(inode) = self.tree.get(ino) else { return };
        if inode.row.pinned != on {
            let mut row = inode.row.clone();
            row.pinned = on;
            self.commit(Change::PutNode(Box::new(row)));
        }
        if on {
            self.pins.walk(ino);
        } else {
            let kept = self.pins.missing.iter().filter(|ino| self.tree.is_pinned(**ino));
            self.pins.missing = kept.copied().collect();
        }
    }

    pub(crate) fn advance_pins(&mut self) {
        if self.pins.next_try.is_some_and(|at| at > self.now.mono) {
            return;
        }
        self.pins.next_try = None;
        let mut looks = LOOKS;
        while looks > 0
            && let Some(ino) = self.pins.todo.pop_first()
        {
            looks -= 1;
            self.look_at(ino);
        }
        if !self.pins.todo.is_empty() {
            self.pins.next_try = Some(self.now.mono); // go on at the next event
        }
        self.pins.todo.append(&mut self.pins.unloaded);
        if self.pins.missing.is_empty() || !self.inbox.online {
            return;
        }
        if self.evict_for(4096) {
            self.fetch_missing();
        } else {
            // The pinned files are larger than the cache allows: wait for room.
            self.pins.next_try = Some(self.now.mono.plus_millis(RETRY_MS));
        }
    }

    fn look_at(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        if !self.tree.is_pinned(ino) {
            return;
        }
        if inode.is_dir() {
            if inode.loaded && self.is_listed(inode) {
                self.pins.todo.extend(inode.children.values().copied());
            } else {
                self.pins.unloaded.insert(ino);
                self.pins.next_try = Some(self.now.mono.plus_millis(50));
                let _ = self.want_listing(ino);
            }
        } else if let Some(target) = inode.row.link_target() {
            match self.tree.by_id(target).map(|inode| inode.row.ino) {
                Some(target) => self.pins.walk(target),
                None => self.load_targets([target].into()),
            }
        } else if inode.is_file() && self.lacks_bytes(ino) {
            self.pins.missing.insert(ino);
        }
    }

    fn lacks_bytes(&self, ino: Ino) -> bool {
        self.tree.get(ino).is_some_and(|inode| {
            inode.row.parent != Ino::NONE && !inode.absent(Range::new(0, inode.row.size)).is_empty()
        })
    }

    fn fetch_missing(&mut self) {
        let mut small = Vec::new();
        let mut bytes = 0;
        for ino in self.pins.missing.clone() {
            if !self.lacks_bytes(ino) || !self.tree.is_pinned(ino) {
                self.pins.missing.remove(&ino);
                continue;
            }
            if self.hydration.fetches() >= PIN_FETCHES {
                break;
            }
            let Some(inode) = self.tree.get(ino) else { continue };
            if self.hydration.is_inflight(ino) || !inode.busy.is_empty() {
                continue;
            }
            if inode.row.size <= SMALL_BYTES && self.is_fetchable(inode) {
                bytes += inode.row.size;
                small.push(ino);
                if small.len() >= SMALL_BATCH || bytes >= SMALL_BATCH_BYTES {
                    self.fetch_small(core::mem::take(&mut small), 0);
                    bytes = 0;
                }
                continue;
            }
            let gaps = inode.absent(Range::new(0, inode.row.size));
            if let Some(gap) = gaps.first() {
                let part = Range::new(gap.start, gap.end.min(gap.start + PIN_BYTES));
                let _ = self.want_bytes(ino, part);
            }
        }
        if !small.is_empty() {
            self.fetch_small(small, 0);
        }
        if self.hydration.fetches() == 0 && !self.pins.missing.is_empty() {
            self.pins.next_try = Some(self.now.mono.plus_millis(RETRY_MS));
        }
    }
}
