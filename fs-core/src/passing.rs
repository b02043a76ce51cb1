//! Fetched bytes in memory: readers are answered from here, before and without the disk. A part stays
//! for those who come right behind, until newer ones take its room or the file is closed.

use crate::tree::Inode;
use crate::{ContentRef, Ino, Range};
use alloc::{collections::BTreeMap, collections::BTreeSet, collections::VecDeque, vec::Vec};
use bytes::Bytes;

/// Bytes that are held: a read-ahead window and what the kernel asks for ahead of its reader.
pub(crate) const PASSING_BYTES: usize = 24 << 20;
/// Parts that are held; each small file is one.
const PASSING_PARTS: usize = 4_096;
/// Parts before a place that may still reach over it: neighbouring fetches overlap a little.
const OVERLAPS: usize = 4;

#[derive(Debug)]
struct Part {
    content: ContentRef,
    bytes: Bytes,
    turn: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Passing {
    parts: BTreeMap<(Ino, u64), Part>,
    /// The parts in the order in which they came; some are gone already.
    order: VecDeque<(Ino, u64, u64)>,
    turns: u64,
    bytes: usize,
    /// Files of which some bytes were held here only, since nothing more could be kept on disk.
    only: BTreeSet<Ino>,
}

impl Passing {
    pub(crate) fn put(&mut self, ino: Ino, content: ContentRef, offset: u64, bytes: Bytes) {
        self.turns += 1;
        self.bytes += bytes.len();
        self.order.push_back((ino, offset, self.turns));
        let part = Part { content, bytes, turn: self.turns };
        if let Some(old) = self.parts.insert((ino, offset), part) {
            self.bytes -= old.bytes.len();
        }
        while (self.bytes > PASSING_BYTES || self.order.len() > PASSING_PARTS)
            && let Some((ino, offset, turn)) = self.order.pop_front()
        {
            if self.parts.get(&(ino, offset)).is_some_and(|part| part.turn == turn) {
                self.remove(ino, offset);
            }
        }
    }

    /// All of `wanted`, if it is here and is what the file has there: only of files without local
    /// changes.
    pub(crate) fn get(&self, inode: &Inode, content: ContentRef, wanted: Range) -> Option<Bytes> {
        let ino = inode.row.ino;
        let find = |at: u64| {
            let before = self.parts.range((ino, 0)..=(ino, at)).rev().take(OVERLAPS);
            before
                .filter(|(_, part)| part.content == content)
                .map(|((_, offset), part)| (Range::at(*offset, part.bytes.len() as u64), part))
                .find(|(range, _)| at < range.end)
        };
        let slice = |range: Range, part: &Part, at: u64| {
            let from = usize::try_from(at - range.start).ok()?;
            let end = usize::try_from(range.end.min(wanted.end) - range.start).ok()?;
            Some(part.bytes.slice(from..end))
        };
        if !is_pristine(inode) {
            return None;
        }
        let (range, part) = find(wanted.start)?;
        if range.end >= wanted.end {
            return slice(range, part, wanted.start);
        }
        let mut out = Vec::with_capacity(usize::try_from(wanted.len()).ok()?);
        let mut at = wanted.start;
        while at < wanted.end {
            let (range, part) = find(at)?;
            out.extend_from_slice(&slice(range, part, at)?);
            at = range.end;
        }
        Some(Bytes::from(out))
    }

    /// From now on the bytes of `ino` are held in memory only.
    pub(crate) fn set_only(&mut self, ino: Ino) {
        self.only.insert(ino);
    }

    pub(crate) fn is_only(&self, ino: Ino) -> bool {
        self.only.contains(&ino)
    }

    pub(crate) fn forget(&mut self, ino: Ino) {
        self.only.remove(&ino);
        let range = (ino, 0)..=(ino, u64::MAX);
        let offsets: Vec<u64> = self.parts.range(range).map(|((_, offset), _)| *offset).collect();
        offsets.into_iter().for_each(|offset| self.remove(ino, offset));
    }

    fn remove(&mut self, ino: Ino, offset: u64) {
        if let Some(part) = self.parts.remove(&(ino, offset)) {
            self.bytes -= part.bytes.len();
        }
    }
}

/// All of the file is its base version's.
pub(crate) fn is_pristine(inode: &Inode) -> bool {
    inode
        .content
        .as_ref()
        .is_none_or(|content| content.dirty.is_empty() && content.base_len == inode.row.size)
}
