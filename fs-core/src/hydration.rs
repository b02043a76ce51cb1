//! Bytes on their way here: fetches, fills, read-ahead, and what is dropped to make room.

use crate::drive::Drive;
use crate::faults::Wake;
use crate::jobs::Work;
use crate::passing::{Passing, is_pristine};
use crate::tree::Inode;
use crate::{
    Change, Cloud, CloudError, CloudErrorKind, ContentRef, FsError, HandleId, Ino, Job, Local,
    Mono, Range, Ranges,
};
use alloc::{boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};
use bytes::Bytes;
use lru::LruCache;

/// One fetch asks for at most this many bytes, so that several ranges can be in flight.
const FETCH_BYTES: u64 = 4 << 20;
/// The first read-ahead window.
const WINDOW_MIN: u64 = 256 << 10;
/// A read this near to where it was expected still counts as reading in order (the kernel's own
/// read-ahead sends requests out of order).
const IN_ORDER_SLACK: u64 = 1 << 20;
/// Files looked at to find one that can be dropped.
const EVICT_TRIES: usize = 1_024;
/// Milliseconds before a failed fetch is tried again for those who still wait.
const RETRY_MS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Hydration {
    used: LruCache<Ino, ()>,
    inflight: BTreeMap<Ino, Ranges>,
    fetches: usize,
    pub(crate) passing: Passing,
    pub(crate) disk_free: Option<u64>,
    pub(crate) retry_at: Option<Mono>,
    /// What fetches in flight have delivered, kept or not.
    delivered: BTreeMap<Job, Ranges>,
    /// Bytes on their way into backing files, not recorded yet.
    filling: u64,
}

impl Default for Hydration {
    fn default() -> Hydration {
        Hydration {
            used: LruCache::unbounded(),
            inflight: BTreeMap::new(),
            fetches: 0,
            passing: Passing::default(),
            disk_free: None,
            retry_at: None,
            delivered: BTreeMap::new(),
            filling: 0,
        }
    }
}

impl Hydration {
    /// Marks a file as just used.
    pub(crate) fn used(&mut self, ino: Ino) {
        self.used.put(ino, ());
    }

    pub(crate) fn forget(&mut self, ino: Ino) {
        self.used.pop(&ino);
        self.passing.forget(ino);
        self.inflight.remove(&ino);
    }

    pub(crate) fn fetches(&self) -> usize {
        self.fetches
    }

    pub(crate) fn is_inflight(&self, ino: Ino) -> bool {
        self.inflight.contains_key(&ino)
    }

    /// A fetch begins; one that ends is followed by `unmark`.
    pub(crate) fn begin(&mut self) {
        self.fetches += 1;
    }

    pub(crate) fn end(&mut self) {
        self.fetches = self.fetches.saturating_sub(1);
    }

    pub(crate) fn mark(&mut self, ino: Ino, range: Range) {
        self.inflight.entry(ino).or_default().insert(range);
    }

    /// Forgets what a fetch delivered; says whether it was all of `range`.
    pub(crate) fn take_delivered(&mut self, job: Job, range: Range) -> bool {
        self.delivered.remove(&job).unwrap_or_default().covers(range)
    }

    pub(crate) fn filling(&mut self, range: Range) {
        self.filling += range.len();
    }

    pub(crate) fn filled(&mut self, range: Range) {
        self.filling = self.filling.saturating_sub(range.len());
    }

    pub(crate) fn unmark(&mut self, ino: Ino, range: Range) {
        if let Some(ranges) = self.inflight.get_mut(&ino) {
            ranges.remove(range);
            if ranges.is_empty() {
                self.inflight.remove(&ino);
            }
        }
    }
}

/// The version that a file's absent bytes come from.
pub(crate) fn base_of(inode: &Inode) -> ContentRef {
    inode.row.base(inode.content.as_deref())
}

impl Drive {
    /// Starts fetching what of `range` is neither here nor on its way.
    pub(crate) fn want_bytes(&mut self, ino: Ino, range: Range) -> Result<(), FsError> {
        let Some(inode) = self.tree.get(ino) else { return Err(FsError::Stale) };
        if self.inbox.refused {
            return Err(FsError::Denied); // a program that asks on and on must not become a storm
        }
        let mut gaps = inode.absent(range);
        if (self.is_full() || self.hydration.passing.is_only(ino)) && !gaps.is_empty() {
            gaps = Vec::from([range]); // held in memory, in one piece
        }
        for gap in gaps {
            self.fetch(ino, gap);
        }
        Ok(())
    }

    fn fetch(&mut self, ino: Ino, range: Range) {
        let gaps = self.not_coming(ino, &[range]);
        let Some(inode) = self.tree.get(ino) else { return };
        let content = base_of(inode);
        let deadline = self.now.mono.plus_millis(self.limits.read_deadline_ms);
        for gap in gaps {
            let mut start = gap.start;
            while start < gap.end {
                // Cut where the next reader's requests are cut too.
                let end = start.saturating_add(FETCH_BYTES - start % FETCH_BYTES);
                let part = Range::new(start, gap.end.min(end));
                start = part.end;
                self.hydration.mark(ino, part);
                self.hydration.begin();
                let work = Work::Fetch { ino, content, range: part };
                self.cloud(work, Cloud::Fetch { content, range: part, deadline });
            }
        }
    }

    /// The parts of `gaps` that are not on their way: neither asked for, nor being written to the
    /// backing file, whose end wakes those who wait.
    fn not_coming(&self, ino: Ino, gaps: &[Range]) -> Vec<Range> {
        let mut rest: Ranges = gaps.iter().copied().collect();
        for range in self.hydration.inflight.get(&ino).into_iter().flat_map(Ranges::iter) {
            rest.remove(range);
        }
        let busy = self.tree.get(ino).into_iter().flat_map(|inode| &inode.busy);
        busy.filter(|busy| busy.exclusive).for_each(|busy| rest.remove(busy.range));
        rest.iter().collect()
    }

    /// Fetches ahead of a reader, if there are fetches to spare.
    fn prefetch(&mut self, ino: Ino, range: Range) {
        let Some(inode) = self.tree.get(ino) else { return };
        if !self.inbox.online || range.is_empty() || self.is_full() {
            return;
        }
        let gaps = self.not_coming(ino, &inode.absent(range));
        let missing: u64 = gaps.iter().map(Range::len).sum();
        let at_end = self.tree.get(ino).is_none_or(|inode| range.end >= inode.row.size);
        if missing * 2 < range.len() && !at_end {
            return; // enough is on its way
        }
        for gap in gaps {
            if self.hydration.fetches < self.limits.fetches {
                self.fetch(ino, gap);
            }
        }
    }

    pub(crate) fn read_ahead(&mut self, ino: Ino, handle: HandleId, wanted: Range) {
        let max = self.limits.read_ahead;
        let Some(size) = self.tree.get(ino).map(|inode| inode.row.size) else { return };
        let Some(open) = self.handles.get_mut(handle, ino) else { return };
        let pace = &mut open.pace;
        let distance = wanted.start.abs_diff(pace.next);
        pace.window = match distance {
            0 => (pace.window * 2).clamp(WINDOW_MIN.min(max), max),
            _ if distance <= IN_ORDER_SLACK => pace.window,
            _ => 0,
        };
        pace.next = if distance <= IN_ORDER_SLACK { pace.next.max(wanted.end) } else { wanted.end };
        let ahead = Range::at(pace.next, pace.window).clip(Range::new(0, size));
        self.prefetch(ino, ahead);
    }

    /// A part of a fetch arrived: keep what is still wanted of it.
    pub(crate) fn fetched(&mut self, job: Job, offset: u64, bytes: &Bytes) {
        let Some(Work::Fetch { ino, content, .. }) = self.jobs.get(job).cloned() else { return };
        let part = Range::at(offset, bytes.len() as u64);
        self.hydration.delivered.entry(job).or_default().insert(part);
        self.fill(ino, content, offset, bytes);
    }

    /// Writes fetched bytes to the backing file where they are absent: never over newer ones.
    pub(crate) fn fill(&mut self, ino: Ino, content: ContentRef, offset: u64, bytes: &Bytes) {
        let Some(inode) = self.tree.get(ino) else { return };
        if base_of(inode) != content {
            return; // another version by now
        }
        let arrived = Range::at(offset, bytes.len() as u64).clip(Range::new(0, inode.row.size));
        let gaps = inode.absent(arrived);
        let total: u64 = gaps.iter().map(Range::len).sum();
        let only = self.hydration.passing.is_only(ino);
        if total == 0 && !only {
            return;
        }
        let full = total == 0 || !self.evict_for(total);
        if self.tree.get(ino).is_some_and(is_pristine) {
            if full {
                self.hydration.passing.set_only(ino);
            }
            self.hydration.passing.put(ino, content, offset, bytes.clone());
            self.wake(Wake::Bytes(ino));
            if full {
                return;
            }
        }
        self.ensure_content(ino);
        for range in self.idle_parts(ino, &gaps) {
            let Some(inode) = self.tree.get_mut(ino) else { return };
            inode.begin(range, true);
            self.hydration.filling(range);
            let from = usize::try_from(range.start - offset).unwrap_or(usize::MAX);
            let data = bytes.slice(from..from + range.len() as usize);
            let work = Work::Fill { ino, range, content };
            self.local(work, Local::Fill { ino, offset: range.start, data });
        }
    }

    /// The parts of `gaps` that nobody works on. The rest is let go: a neighbouring fetch is filling
    /// it, or somebody writes there; those who wait will ask again.
    fn idle_parts(&self, ino: Ino, gaps: &[Range]) -> Vec<Range> {
        let Some(inode) = self.tree.get(ino) else { return Vec::new() };
        let mut idle: Ranges = gaps.iter().copied().collect();
        let busy: Vec<Range> = inode.busy.iter().map(|busy| busy.range).collect();
        busy.into_iter().for_each(|range| idle.remove(range));
        idle.iter().collect()
    }

    pub(crate) fn fill_done(
        &mut self,
        ino: Ino,
        range: Range,
        content: ContentRef,
        result: Result<(), FsError>,
    ) {
        self.hydration.filled(range);
        let same = self.tree.get(ino).is_some_and(|inode| base_of(inode) == content);
        match result {
            Ok(()) if same => {
                self.commit(Change::Filled { ino, range });
                self.hydration.used(ino);
            }
            Ok(()) => {}
            Err(error) => self.fail_waiting(Wake::Bytes(ino), error),
        }
        self.release(ino, range, true);
        self.reap(ino);
    }

    /// `whole`: the parts that were delivered cover all that was asked for.
    pub(crate) fn fetch_done(
        &mut self,
        ino: Ino,
        content: ContentRef,
        (range, whole): (Range, bool),
        result: Result<(), CloudError>,
    ) {
        self.hydration.end();
        self.hydration.unmark(ino, range);
        match result {
            Ok(()) if whole => self.wake(Wake::Bytes(ino)),
            Ok(()) => {
                let path = String::from_utf8_lossy(&self.tree.path(ino)).into_owned();
                self.note(format!("{path}: the store sent too little"));
                self.fail_waiting(Wake::Bytes(ino), FsError::Corrupt);
            }
            Err(error) => self.fetch_failed(ino, content, &error),
        }
    }

    pub(crate) fn fetch_failed(&mut self, ino: Ino, content: ContentRef, error: &CloudError) {
        let stale = self.tree.get(ino).is_none_or(|inode| base_of(inode) != content);
        if stale {
            self.wake(Wake::Bytes(ino)); // a newer version: ask for that
            return;
        }
        let fs = match error.kind {
            CloudErrorKind::Offline | CloudErrorKind::Retry => {
                self.hydration.retry_at = Some(self.now.mono.plus_millis(RETRY_MS));
                if error.kind == CloudErrorKind::Offline {
                    let deadline = self.now.mono.plus_millis(self.limits.offline_deadline_ms);
                    self.faults.hasten_bytes(ino, deadline);
                }
                return;
            }
            CloudErrorKind::Denied => FsError::Denied,
            CloudErrorKind::Corrupt => FsError::Corrupt,
            _ => FsError::Io,
        };
        let path = String::from_utf8_lossy(&self.tree.path(ino)).into_owned();
        self.note(format!("{path}: {}", error.message));
        self.fail_waiting(Wake::Bytes(ino), fs);
    }

    /// Asks again for everything that somebody waits for.
    pub(crate) fn retry_remote(&mut self) {
        self.hydration.retry_at = None;
        for (ino, range) in self.faults.wanted_bytes() {
            let _ = self.want_bytes(ino, range);
        }
        for dir in self.faults.wanted_listings() {
            let _ = self.want_listing(dir);
        }
    }

    /// Whether nothing more can be cached on disk even after dropping all that may go.
    fn is_full(&self) -> bool {
        let weight = self.tree.weight();
        self.hydration.disk_free.is_some_and(|free| free < self.limits.disk_floor)
            || weight.dirty >= self.limits.cache_bytes
    }

    /// Drops clean, unpinned bytes, least recently used first, until `len` more fit into the cache.
    pub(crate) fn evict_for(&mut self, len: u64) -> bool {
        let mut tries = 0;
        while !self.fits(len) && tries < EVICT_TRIES {
            tries += 1;
            let Some((ino, ())) = self.hydration.used.pop_lru() else { break };
            if self.can_evict(ino) && self.tree.get(ino).is_some_and(|inode| inode.opens == 0) {
                self.evict(ino);
            } else if self.tree.cached().contains(&ino) {
                self.hydration.used.put(ino, ());
            }
        }
        if !self.fits(len) {
            self.trim_open(len);
        }
        self.fits(len)
    }

    fn fits(&self, len: u64) -> bool {
        let weight = self.tree.weight();
        let roomy = self.hydration.disk_free.is_none_or(|free| free >= self.limits.disk_floor);
        let used = weight.clean + weight.dirty + self.hydration.filling;
        roomy && used + len.div_ceil(4096) * 4096 <= self.limits.cache_bytes
    }

    /// Clean, in the store as far as is known, not pinned, nothing under way.
    pub(crate) fn can_evict(&self, ino: Ino) -> bool {
        !self.inbox.is_in_doubt()
            && self.tree.get(ino).is_some_and(|inode| {
                let clean = inode.content.as_ref().is_some_and(|content| {
                    content.dirty.is_empty() && content.base_rev.0 != 0 && !content.blind
                });
                clean
                && inode.passed == 0 // whoever reads past us would find holes
                && inode.busy.is_empty()
                && !inode.row.pending.has(crate::Pending::CONTENT)
                && !self.uploads.is_sending(ino)
                && !self.tree.is_pinned(ino)
            })
    }

    /// Drops all local bytes of a file for which `can_evict` holds. Returns how many.
    pub(crate) fn evict(&mut self, ino: Ino) -> u64 {
        let Some(content) = self.tree.get(ino).and_then(|inode| inode.content.clone()) else {
            return 0;
        };
        let freed = content.valid.bytes();
        self.backing_gone(ino);
        if content.base_len == self.tree.get(ino).map_or(0, |inode| inode.row.size)
            && self.tree.get(ino).is_some_and(|inode| base_of(inode) == current(inode))
        {
            self.commit(Change::DropContent(ino));
        } else {
            let content = crate::ContentRow { valid: Ranges::new(), ..*content };
            self.commit(Change::PutContent(Box::new(content)));
        }
        self.hydration.used.pop(&ino);
        let whole = Range::new(0, u64::MAX);
        if let Some(inode) = self.tree.get_mut(ino) {
            inode.begin(whole, true);
        }
        let after = self.latest();
        self.local(Work::Drop { ino, range: whole }, Local::Evict { ino, after });
        freed
    }

    /// Nothing closed is left to drop: open files give up what their readers have passed.
    fn trim_open(&mut self, len: u64) {
        let keep = self.limits.read_ahead * 2;
        for ino in self.tree.cached().clone() {
            if self.fits(len) {
                return;
            }
            if !self.can_evict(ino) {
                continue;
            }
            let near = self.handles.near(ino, keep);
            let Some(inode) = self.tree.get(ino) else { continue };
            let Some(content) = &inode.content else { continue };
            let mut content = content.clone();
            let passed: Vec<Range> =
                content.valid.iter().flat_map(|range| near.gaps(range)).collect();
            if passed.is_empty() {
                continue;
            }
            passed.iter().for_each(|range| content.valid.remove(*range));
            self.commit(Change::PutContent(content));
            for range in passed {
                if let Some(inode) = self.tree.get_mut(ino) {
                    inode.begin(range, true);
                }
                let after = self.latest();
                self.local(Work::Drop { ino, range }, Local::Zero { ino, range, after });
            }
        }
    }
}

fn current(inode: &Inode) -> ContentRef {
    ContentRef { id: inode.row.id, rev: inode.row.content_rev }
}
