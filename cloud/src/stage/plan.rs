//! What staging does with each byte of a file: keep it of the base, cut it anew, or leave a hole.

use crate::manifest::{Body, Layout};
use crate::store::ContentSource;
use fs_core::{
    CloudError, CloudErrorKind, ContentRef, Ino, NodeId, Range, Ranges, StageItem, Timestamp,
};
use protocol::limits::INLINE_BYTES;
use std::sync::Arc;

/// Files below this many bytes are one chunk, so that they can be fetched in one round trip.
pub(crate) const SMALL_BYTES: u64 = 128 << 10;
/// A file with more extents for each MiB (on average shorter than 64 KiB) is cut anew when all of
/// it is here; files of few extents are left alone.
const FRAGMENTED_PER_MIB: u64 = 16;
const FRAGMENTED_LEAST: u64 = 64;
/// Clean bytes between two changed runs that are sent along, to have one chunk instead of two.
const COALESCE_BYTES: u64 = 16 << 10;

/// How the new content of one file is made.
pub(crate) struct Plan {
    pub(crate) ino: Ino,
    pub(crate) id: NodeId,
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    /// The base and its body, when bytes of it are kept.
    pub(crate) base: Option<(ContentRef, Arc<Body>)>,
    /// Bytes that are the base's, by reference.
    pub(crate) kept: Ranges,
    /// Bytes that become new chunks.
    pub(crate) cut: Ranges,
    /// Bytes that the device has; what is cut but not here is zeros or inline in the base.
    here: Ranges,
    /// Bytes of the base that are inline in its body and still count.
    inline: Ranges,
}

/// Whether the base's body has to be known to stage this item.
pub(crate) fn needs_base(item: &StageItem) -> Option<ContentRef> {
    let base = item.base?;
    let end = base.len.min(item.size);
    let small = item.size < SMALL_BYTES && !item.dirty.is_empty();
    (end > 0 && !(small && is_here(item, end))).then_some(base.content)
}

/// Whether the device has every byte below `end`.
pub(crate) fn is_here(item: &StageItem, end: u64) -> bool {
    let mut here = item.dirty.clone();
    item.valid.iter().for_each(|range| here.insert(range));
    here.covers(Range::new(0, end))
}

impl Plan {
    /// `body`: of the base, if [`needs_base`] said so and it could be had.
    pub(crate) fn new(item: &StageItem, body: Option<Arc<Body>>) -> Plan {
        let all = Range::new(0, item.size);
        let base_end = item.base.map_or(0, |base| base.len.min(item.size));
        let end = body.as_ref().map_or(base_end, |body| base_end.min(body.size));
        let dirty: Ranges = item.dirty.within(all).into_iter().collect();
        let mut here: Ranges = item.valid.within(Range::new(0, end)).into_iter().collect();
        let base_part: Ranges = dirty.gaps(Range::new(0, end)).into_iter().collect();
        dirty.iter().for_each(|range| here.insert(range));
        let mut plan = Plan {
            ino: item.ino,
            id: item.id,
            size: item.size,
            mtime: item.mtime,
            base: None,
            kept: Ranges::new(),
            cut: Ranges::new(),
            here,
            inline: Ranges::new(),
        };
        let is_copy = dirty.is_empty() && body.as_ref().is_some_and(|body| body.size == item.size);
        if let Some(body) = &body
            && matches!(body.layout, Layout::Inline(_))
        {
            plan.inline = base_part.clone();
        }
        let inline = !plan.inline.is_empty();
        let wholly_here = inline || base_part.iter().all(|range| plan.here.covers(range));
        if is_copy && end == item.size {
            plan.kept.insert(all);
        } else if wholly_here && item.size < SMALL_BYTES {
            plan.cut.insert(all);
        } else if inline || body.is_none() || (wholly_here && fragmented(body.as_deref(), &dirty)) {
            plan.cut = dirty;
            base_part.iter().for_each(|range| plan.cut.insert(range));
        } else {
            plan.cut = coalesced(dirty, &plan.here);
            plan.kept = plan.cut.gaps(Range::new(0, end)).into_iter().collect();
        }
        if !plan.kept.is_empty() || inline {
            plan.base = item.base.map(|base| base.content).zip(body);
        }
        plan
    }

    /// Whether the bytes ride inside the body.
    pub(crate) fn is_inline(&self) -> bool {
        self.size <= INLINE_BYTES as u64 && self.kept.is_empty()
    }

    /// Reads bytes of the new content into `buffer`, which must be zeroed.
    pub(crate) fn read(
        &self,
        source: &dyn ContentSource,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), CloudError> {
        let range = Range::at(offset, buffer.len() as u64);
        let within = |part: Range| (part.start - offset) as usize..(part.end - offset) as usize;
        if let Some((_, body)) = &self.base
            && let Layout::Inline(bytes) = &body.layout
        {
            for part in self.inline.within(range) {
                let from = part.start as usize..part.end as usize;
                if let Some(bytes) = bytes.get(from) {
                    buffer[within(part)].copy_from_slice(bytes);
                }
            }
        }
        for part in self.here.within(range) {
            source.read_at(self.ino, part.start, &mut buffer[within(part)]).map_err(|why| {
                let text = format!("reading this device's copy of file {:?}: {why}", self.id);
                CloudError::new(CloudErrorKind::Local, text)
            })?;
        }
        Ok(())
    }
}

fn fragmented(body: Option<&Body>, dirty: &Ranges) -> bool {
    let Some(body) = body else { return false };
    let extents = body.extents() + 2 * dirty.count() as u64;
    let mib = (body.size >> 20) + 1;
    extents > FRAGMENTED_LEAST.max(FRAGMENTED_PER_MIB * mib)
}

/// Joins changed runs across small gaps whose bytes are here.
fn coalesced(dirty: Ranges, here: &Ranges) -> Ranges {
    let mut joined = dirty.clone();
    let mut last: Option<Range> = None;
    for range in dirty.iter() {
        if let Some(last) = last {
            let gap = Range::new(last.end, range.start);
            if gap.len() <= COALESCE_BYTES && here.covers(gap) {
                joined.insert(gap);
            }
        }
        last = Some(range);
    }
    joined
}
