//! How a new manifest is made from an old one: what is kept, what is fresh, what is a hole, and
//! which pages stay as they are. Pure: loading and sending are done elsewhere.

use crate::keys::ChunkId;
use crate::manifest::{BODY_EXTENTS, Extent, Layout, PAGE_EXTENTS, PAGE_EXTENTS_MAX, PageRef};
use fs_core::{Range, Ranges};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A run with fewer extents is joined with a page beside it, so that many small appends do not make
/// many small pages.
const TINY_RUN: usize = 16;

/// Decoded pages by their id.
pub(crate) type Pages = HashMap<ChunkId, Arc<Vec<Extent>>>;

/// A part of a file in order: an old page, untouched, or extents that belong on a new page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Kept(PageRef),
    Run(Vec<Extent>),
}

enum Slot {
    Kept(PageRef),
    Loose(Extent),
}

/// Pages of `layout` that are kept in part, and so must be read to build the new manifest.
pub(crate) fn touched(layout: &Layout, kept: &Ranges) -> Vec<PageRef> {
    let Layout::Pages(pages) = layout else { return Vec::new() };
    let mut at = 0;
    let mut touched = Vec::new();
    for page in pages {
        let range = Range::at(at, page.len);
        if !kept.covers(range) && kept.overlaps(range) {
            touched.push(*page);
        }
        at = range.end;
    }
    touched
}

/// The parts of a file of `size` bytes: the base where `kept` says so, `fresh` extents by their
/// offset, holes elsewhere. `None` when a page that is needed was not loaded.
pub(crate) fn assemble(
    size: u64,
    base: Option<&Layout>,
    kept: &Ranges,
    fresh: &BTreeMap<u64, Vec<Extent>>,
    pages: &Pages,
) -> Option<Vec<Part>> {
    let mut slots: BTreeMap<u64, Slot> = BTreeMap::new();
    match base {
        None | Some(Layout::Inline(_)) => {}
        Some(Layout::Extents(extents)) => keep_extents(0, extents, kept, &mut slots),
        Some(Layout::Pages(list)) => {
            let mut at = 0;
            for page in list {
                let range = Range::at(at, page.len);
                if kept.covers(range) {
                    slots.insert(at, Slot::Kept(*page));
                } else if kept.overlaps(range) {
                    keep_extents(at, pages.get(&page.id)?, kept, &mut slots);
                }
                at = range.end;
            }
        }
    }
    for (&start, extents) in fresh {
        let mut at = start;
        for extent in extents {
            slots.insert(at, Slot::Loose(*extent));
            at = at.saturating_add(extent.len);
        }
    }
    Some(group(size, slots))
}

fn keep_extents(start: u64, extents: &[Extent], kept: &Ranges, slots: &mut BTreeMap<u64, Slot>) {
    let mut at = start;
    for extent in extents {
        for range in kept.within(Range::at(at, extent.len)) {
            slots.insert(range.start, Slot::Loose(extent.slice(at, range)));
        }
        at = at.saturating_add(extent.len);
    }
}

/// Puts slots in order, holes between them, neighbours that belong together into one run.
fn group(size: u64, slots: BTreeMap<u64, Slot>) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut run = Vec::new();
    let mut at = 0;
    for (start, slot) in slots {
        if start > at {
            push(&mut run, Extent::hole(start - at));
        }
        match slot {
            Slot::Loose(extent) => {
                push(&mut run, extent);
                at = start.saturating_add(extent.len);
            }
            Slot::Kept(page) => {
                if !run.is_empty() {
                    parts.push(Part::Run(std::mem::take(&mut run)));
                }
                parts.push(Part::Kept(page));
                at = start.saturating_add(page.len);
            }
        }
    }
    if size > at {
        push(&mut run, Extent::hole(size - at));
    }
    if !run.is_empty() {
        parts.push(Part::Run(run));
    }
    parts
}

fn push(run: &mut Vec<Extent>, extent: Extent) {
    if let Some(last) = run.last_mut()
        && let Some(joined) = last.join(extent)
    {
        *last = joined;
    } else {
        run.push(extent);
    }
}

/// Old pages that runs too small for a page of their own should be joined with: the one before,
/// else the one after.
pub(crate) fn neighbours(parts: &[Part]) -> Vec<PageRef> {
    let mut wanted: Vec<PageRef> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let Part::Run(run) = part else { continue };
        if run.len() >= TINY_RUN {
            continue;
        }
        let before = index.checked_sub(1).and_then(|index| parts.get(index));
        let beside = before.or(parts.get(index + 1));
        if let Some(Part::Kept(page)) = beside {
            wanted.push(*page);
        }
    }
    wanted
}

/// Turns the kept pages among `pages` (by `absorb`) into runs and joins runs that then touch.
pub(crate) fn absorb(parts: Vec<Part>, absorb: &[PageRef], pages: &Pages) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        let part = match part {
            Part::Kept(page) if absorb.contains(&page) => match pages.get(&page.id) {
                Some(extents) => Part::Run(extents.to_vec()),
                None => Part::Kept(page),
            },
            part => part,
        };
        match (out.last_mut(), part) {
            (Some(Part::Run(run)), Part::Run(more)) => {
                more.into_iter().for_each(|extent| push(run, extent));
            }
            (_, part) => out.push(part),
        }
    }
    out
}

/// What a body is made of in the end.
pub(crate) enum Pagination {
    /// Few enough extents to live in the body.
    Flat(Vec<Extent>),
    /// Old pages as they are, and new pages to be stored.
    Paged(Vec<NewPage>),
}

pub(crate) enum NewPage {
    Kept(PageRef),
    Made(Vec<Extent>),
}

/// Cuts runs into pages; a run that grew out of an old page may stay one page a little longer.
pub(crate) fn paginate(parts: Vec<Part>, edited: bool) -> Pagination {
    let parts = match <[Part; 1]>::try_from(parts) {
        Ok([Part::Run(run)]) if run.len() <= BODY_EXTENTS => return Pagination::Flat(run),
        Ok(parts) => parts.into(),
        Err(parts) if parts.is_empty() => return Pagination::Flat(Vec::new()),
        Err(parts) => parts,
    };
    let most = if edited { PAGE_EXTENTS_MAX } else { PAGE_EXTENTS };
    let mut pages = Vec::new();
    for part in parts {
        match part {
            Part::Kept(page) => pages.push(NewPage::Kept(page)),
            Part::Run(run) if run.len() <= most => pages.push(NewPage::Made(run)),
            Part::Run(run) => {
                let each = run.len().div_ceil(run.len().div_ceil(PAGE_EXTENTS));
                pages.extend(run.chunks(each).map(|part| NewPage::Made(part.to_vec())));
            }
        }
    }
    Pagination::Paged(pages)
}

#[cfg(test)]
mod tests;
