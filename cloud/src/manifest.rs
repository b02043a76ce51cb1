//! What a version consists of: its bytes, or extents over chunks, or pages of extents.

use crate::keys::{ChunkId, Refused};
use fs_core::Range;
use minicbor::{Decode, Encode};
use protocol::limits::{CHUNK_PLAIN_BYTES, INLINE_BYTES};
use std::collections::BTreeSet;

const BODY_VERSION: u8 = 1;
const PAGE_VERSION: u8 = 1;
/// Extents that a body holds itself; a file of more has pages.
pub(crate) const BODY_EXTENTS: usize = 64;
/// Extents of a page when it is made; and what it may grow to by edits before it is split.
pub(crate) const PAGE_EXTENTS: usize = 64;
pub(crate) const PAGE_EXTENTS_MAX: usize = 128;

/// A run of bytes of a file: `len` bytes at `offset` of a chunk, or a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Extent {
    #[n(0)]
    pub(crate) len: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) chunk: Option<ChunkId>,
    #[n(2)]
    pub(crate) offset: u32,
}

impl Extent {
    pub(crate) fn hole(len: u64) -> Extent {
        Extent { len, chunk: None, offset: 0 }
    }

    pub(crate) fn whole(chunk: ChunkId, len: u64) -> Extent {
        Extent { len, chunk: Some(chunk), offset: 0 }
    }

    /// The part of this extent, which lies at `at` in the file, inside `range`.
    pub(crate) fn slice(self, at: u64, range: Range) -> Extent {
        let part = Range::at(at, self.len).clip(range);
        let skip = part.start.saturating_sub(at);
        let offset = if self.chunk.is_some() { self.offset + skip as u32 } else { 0 };
        Extent { len: part.len(), chunk: self.chunk, offset }
    }

    /// This extent and `next` as one, if `next` continues it.
    pub(crate) fn join(self, next: Extent) -> Option<Extent> {
        let continues = match (self.chunk, next.chunk) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                a == b && u64::from(self.offset) + self.len == u64::from(next.offset)
            }
            _ => false,
        };
        continues.then(|| Extent { len: self.len.saturating_add(next.len), ..self })
    }

    fn check(&self) -> Result<(), Refused> {
        let end = u64::from(self.offset).saturating_add(self.len);
        if self.len == 0 || (self.chunk.is_some() && end > CHUNK_PLAIN_BYTES as u64) {
            return Err(Refused("an extent reaches beyond its chunk"));
        }
        Ok(())
    }
}

/// A page of the manifest as its body names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct PageRef {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) id: ChunkId,
    /// Bytes of the file that it covers.
    #[n(1)]
    pub(crate) len: u64,
    /// Extents in it.
    #[n(2)]
    pub(crate) count: u16,
}

#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) enum Layout {
    #[n(0)]
    Inline(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    #[n(1)]
    Extents(#[n(0)] Vec<Extent>),
    #[n(2)]
    Pages(#[n(0)] Vec<PageRef>),
}

/// The body of a version: the root of its manifest, or its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Body {
    #[n(0)]
    version: u8,
    #[n(1)]
    pub(crate) size: u64,
    #[n(2)]
    pub(crate) layout: Layout,
}

impl Body {
    pub(crate) fn new(size: u64, layout: Layout) -> Body {
        Body { version: BODY_VERSION, size, layout }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Body, Refused> {
        check_version(bytes, BODY_VERSION)?;
        let body: Body = minicbor::decode(bytes).map_err(|_| Refused("malformed body"))?;
        let len = match &body.layout {
            Layout::Inline(bytes) if bytes.len() > INLINE_BYTES => {
                return Err(Refused("too much inline"));
            }
            Layout::Inline(bytes) => Some(bytes.len() as u64),
            Layout::Extents(extents) => checked_len(extents)?,
            Layout::Pages(pages) => sum(pages.iter().map(|page| page.len)),
        };
        if len != Some(body.size) {
            return Err(Refused("its parts do not add up to its size"));
        }
        Ok(body)
    }

    /// The chunks that the body names: of its extents, or of its pages. Sorted, each once.
    pub(crate) fn refs(&self) -> Vec<ChunkId> {
        match &self.layout {
            Layout::Inline(_) => Vec::new(),
            Layout::Extents(extents) => chunks_of(extents),
            // The first page first: the server sends it along with the body.
            Layout::Pages(pages) => {
                let mut seen = BTreeSet::new();
                pages.iter().map(|page| page.id).filter(|id| seen.insert(*id)).collect()
            }
        }
    }

    /// Extents in all.
    pub(crate) fn extents(&self) -> u64 {
        match &self.layout {
            Layout::Inline(_) => 0,
            Layout::Extents(extents) => extents.len() as u64,
            Layout::Pages(pages) => pages.iter().map(|page| u64::from(page.count)).sum(),
        }
    }

    /// Bytes that it takes in memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        64 + match &self.layout {
            Layout::Inline(bytes) => bytes.len(),
            Layout::Extents(extents) => std::mem::size_of_val(extents.as_slice()),
            Layout::Pages(pages) => std::mem::size_of_val(pages.as_slice()),
        }
    }
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Page {
    #[n(0)]
    version: u8,
    #[n(1)]
    extents: Vec<Extent>,
}

/// Encodes a page of the manifest.
pub(crate) fn encode_page(extents: &[Extent]) -> Vec<u8> {
    encode(Page { version: PAGE_VERSION, extents: extents.to_vec() })
}

/// Decodes a page and checks that it covers exactly what its body says.
pub(crate) fn decode_page(bytes: &[u8], expected: PageRef) -> Result<Vec<Extent>, Refused> {
    let page: Page = minicbor::decode(bytes).map_err(|_| Refused("malformed page"))?;
    if page.version != PAGE_VERSION {
        return Err(Refused("made by a newer Meshdrive: update this device"));
    }
    let len = checked_len(&page.extents)?;
    if len != Some(expected.len) || page.extents.len() != usize::from(expected.count) {
        return Err(Refused("a page contradicts its body"));
    }
    Ok(page.extents)
}

/// The distinct chunks of some extents, sorted.
pub(crate) fn chunks_of(extents: &[Extent]) -> Vec<ChunkId> {
    distinct(extents.iter().filter_map(|extent| extent.chunk).collect())
}

/// Encodes a record; writing to memory cannot fail.
pub(crate) fn encode<T: Encode<()>>(value: T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap_or_default()
}

fn distinct(mut ids: Vec<ChunkId>) -> Vec<ChunkId> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn checked_len(extents: &[Extent]) -> Result<Option<u64>, Refused> {
    extents.iter().try_for_each(Extent::check)?;
    Ok(sum(extents.iter().map(|extent| extent.len)))
}

fn sum(mut lens: impl Iterator<Item = u64>) -> Option<u64> {
    lens.try_fold(0_u64, u64::checked_add)
}

/// Looks at field 0 of a numbered record first: a newer one may have fields that we cannot read.
pub(crate) fn check_version(bytes: &[u8], known: u8) -> Result<(), Refused> {
    #[derive(Decode)]
    #[cbor(map)]
    struct Versioned {
        #[n(0)]
        version: u8,
    }
    let found: Versioned = minicbor::decode(bytes).map_err(|_| Refused("malformed record"))?;
    if found.version == known {
        Ok(())
    } else {
        Err(Refused("made by a newer Meshdrive: update this device"))
    }
}
