//! Half-open byte ranges and sets of them.

use alloc::vec::Vec;
use rangemap::RangeSet;

/// A half-open byte range `start..end`; empty when `start >= end`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

impl Range {
    #[must_use]
    pub const fn new(start: u64, end: u64) -> Range {
        Range { start, end }
    }

    /// The range of `len` bytes at `offset`, cut off at `u64::MAX`.
    #[must_use]
    pub const fn at(offset: u64, len: u64) -> Range {
        Range { start: offset, end: offset.saturating_add(len) }
    }

    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    #[must_use]
    pub fn overlaps(&self, other: Range) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The part of this range inside `other`, maybe empty.
    #[must_use]
    pub fn clip(&self, other: Range) -> Range {
        let start = self.start.max(other.start);
        Range { start, end: self.end.min(other.end).max(start) }
    }
}

/// A set of bytes: disjoint, sorted, coalesced ranges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges(RangeSet<u64>);

impl Ranges {
    #[must_use]
    pub fn new() -> Ranges {
        Ranges::default()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of disjoint ranges.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The number of bytes in the set.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.iter().map(|range| range.len()).sum()
    }

    pub fn insert(&mut self, range: Range) {
        if !range.is_empty() {
            self.0.insert(range.start..range.end);
        }
    }

    pub fn remove(&mut self, range: Range) {
        if !range.is_empty() {
            self.0.remove(range.start..range.end);
        }
    }

    /// Whether every byte of `range` is in the set.
    #[must_use]
    pub fn covers(&self, range: Range) -> bool {
        range.is_empty() || self.0.get(&range.start).is_some_and(|found| found.end >= range.end)
    }

    #[must_use]
    pub fn overlaps(&self, range: Range) -> bool {
        !range.is_empty() && self.0.overlaps(&(range.start..range.end))
    }

    pub fn iter(&self) -> impl Iterator<Item = Range> + '_ {
        self.0.iter().map(|range| Range::new(range.start, range.end))
    }

    /// The parts of the set inside `range`.
    #[must_use]
    pub fn within(&self, range: Range) -> Vec<Range> {
        if range.is_empty() {
            return Vec::new();
        }
        let query = range.start..range.end;
        self.0.overlapping(&query).map(|r| Range::new(r.start, r.end).clip(range)).collect()
    }

    /// The parts of `range` that are not in the set.
    #[must_use]
    pub fn gaps(&self, range: Range) -> Vec<Range> {
        if range.is_empty() {
            return Vec::new();
        }
        let query = range.start..range.end;
        self.0.gaps(&query).map(|r| Range::new(r.start, r.end)).collect()
    }

    /// Forgets everything from `size` on.
    pub fn truncate(&mut self, size: u64) {
        self.remove(Range::new(size, u64::MAX));
    }
}

impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Ranges {
        let mut set = Ranges::new();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}
