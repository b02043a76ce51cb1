//! Reading: from a range of a file to pieces of chunks, and back to verified bytes in order.

use crate::chunk;
use crate::client::Call;
use crate::keys::{ChunkId, Keys, Refused};
use crate::layout::Pages;
use crate::manifest::{Body, Extent, Layout, PageRef, decode_page};
use crate::native::Native;
use crate::pieces::{Piece, batches};
use crate::record::Field;
use crate::store::PartSink;
use bytes::Bytes;
use fs_core::{CloudError, CloudErrorKind, ContentRef, Range};
use futures_util::{StreamExt, stream};
use protocol::codec::{decode, encode};
use protocol::limits::{CONTENT_ITEMS, SEGMENT_PLAIN_BYTES};
use protocol::wire;
use std::sync::Arc;

/// Chunk reads in flight for one batch of files: enough to keep a long, fat line full.
const READS_IN_FLIGHT: usize = 4;
/// Pages of a manifest whose pieces are planned at once (about 256 MiB of file).
const PAGES_AT_ONCE: usize = 16;
/// Largest range at the start of a file for which its only chunk is asked for along with its body.
const ALONG_BYTES: u64 = 128 << 10;
/// A range from this size on is delivered as it was asked for, without what lies around it.
const LONG_BYTES: u64 = 1 << 20;
/// Largest file that `fetch_small` takes, in bytes.
const SMALL_FILE_BYTES: u64 = 8 << 20;

/// A part of a file to be delivered: from a piece of a chunk, or zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Want {
    /// Which of the files asked for.
    file: usize,
    pub(crate) at: u64,
    pub(crate) len: u64,
    pub(crate) piece: Option<Piece>,
    /// Bytes of the opened piece before the part.
    pub(crate) skip: usize,
}

impl Want {
    /// The part of `extent`, at `at` in the file, that `range` needs, widened to whole segments:
    /// bytes that have to be fetched anyway are delivered too. Of a long range they are left out: what
    /// is beside it is most likely on its way as well.
    fn new(file: usize, at: u64, extent: &Extent, range: Range) -> Option<Want> {
        let part = Range::at(at, extent.len).clip(range);
        if part.is_empty() {
            return None;
        }
        let Some(chunk) = extent.chunk else {
            let (at, len) = (part.start, part.len());
            return Some(Want { file, at, len, piece: None, skip: 0 });
        };
        let segment = SEGMENT_PLAIN_BYTES as u64;
        let offset = u64::from(extent.offset);
        let first = (offset + (part.start - at)) / segment;
        let end = (offset + (part.end - at)).div_ceil(segment);
        let (start, stop) = if range.len() >= LONG_BYTES {
            (offset + (part.start - at), offset + (part.end - at))
        } else {
            ((first * segment).max(offset), (end * segment).min(offset + extent.len))
        };
        Some(Want {
            file,
            at: at + (start - offset),
            len: stop - start,
            piece: Some(Piece { chunk, first: first as u16, count: (end - first) as u16 }),
            skip: (start - first * segment) as usize,
        })
    }

    /// The rest of the part when `bytes` of it are done.
    pub(crate) fn moved(&mut self, bytes: u64) {
        self.at += bytes;
        self.len -= bytes;
    }

    /// The part, out of the opened piece.
    fn take(&self, opened: Result<Bytes, Refused>) -> Result<Bytes, Refused> {
        let opened = opened?;
        let end = self.skip + self.len as usize;
        if end > opened.len() {
            return Err(Refused("a chunk is shorter than the file needs"));
        }
        Ok(opened.slice(self.skip..end))
    }
}

impl Native {
    pub(crate) async fn fetch(
        &self,
        content: ContentRef,
        range: Range,
        sink: &mut PartSink,
    ) -> Result<(), CloudError> {
        let body = match self.start(content, range).await? {
            Small::Bytes(bytes) => {
                if !bytes.is_empty() {
                    sink(0, bytes);
                }
                return Ok(());
            }
            Small::Manifest(body, _) => body,
        };
        let range = range.clip(Range::new(0, body.size));
        match &body.layout {
            Layout::Inline(bytes) => {
                if !range.is_empty() {
                    sink(0, Bytes::copy_from_slice(bytes));
                }
                Ok(())
            }
            Layout::Extents(extents) => {
                self.deliver(content, wants(0, 0, extents, range), sink).await
            }
            Layout::Pages(pages) => {
                let pages = overlapping(pages, range);
                for window in pages.chunks(PAGES_AT_ONCE) {
                    let wants = self.page_wants(content, 0, window, range).await?;
                    self.deliver(content, wants, sink).await?;
                }
                Ok(())
            }
        }
    }

    /// The body of a version. Where the first bytes of an unknown file are wanted it may well be a small
    /// one: then its only chunk comes along, and the file costs one round trip instead of two. Of a large
    /// one the first page of its manifest does, so that it costs two instead of three.
    async fn start(&self, content: ContentRef, range: Range) -> Result<Small, CloudError> {
        let known = self.bodies.get(&content).is_some();
        if known || range.start > 0 || range.len() > ALONG_BYTES {
            return Ok(Small::Manifest(self.body(content).await?, None));
        }
        let found = self.contents(&[content], true).await?;
        let mut opened = self.open_small(vec![content], found).await?.into_iter();
        let small = opened.next().unwrap_or_else(|| Err(gone(content)))?;
        if let Small::Manifest(body, first_page) = &small {
            self.bodies.put(content, body.clone(), body.weight());
            if let Some((id, extents)) = first_page {
                self.keep_page(*id, extents);
            }
        }
        Ok(small)
    }

    /// Fetches and opens the pieces of some parts; `None` for holes.
    async fn read_wants(
        &self,
        wants: Vec<Want>,
    ) -> Result<Vec<(Want, Option<Result<Bytes, Refused>>)>, CloudError> {
        let pieces: Vec<Piece> = wants.iter().filter_map(|want| want.piece).collect();
        let mut opened = self.read_pieces(pieces).await?.into_iter();
        let pair = |want: Want| (want, want.piece.and_then(|_| opened.next()));
        Ok(wants.into_iter().map(pair).collect())
    }

    pub(crate) async fn fetch_small(
        &self,
        contents: &[ContentRef],
    ) -> Result<Vec<Result<Bytes, CloudError>>, CloudError> {
        let mut results = Vec::with_capacity(contents.len());
        let mut rest = Vec::new();
        let mut asked = contents;
        while !asked.is_empty() {
            let found = self.contents(asked, true).await?;
            let (now, later) = asked.split_at(found.len());
            asked = later;
            for (content, opened) in now.iter().zip(self.open_small(now.to_vec(), found).await?) {
                match opened {
                    Ok(Small::Bytes(bytes)) => results.push(Ok(bytes)),
                    Ok(Small::Manifest(body, _)) => {
                        rest.push((results.len(), *content, body));
                        results.push(Ok(Bytes::new()));
                    }
                    Err(error) => results.push(Err(error)),
                }
            }
        }
        self.fetch_rest(rest, &mut results).await?;
        Ok(results)
    }

    /// Opens what came with the bodies, off the async threads.
    async fn open_small(
        &self,
        contents: Vec<ContentRef>,
        found: Vec<Option<wire::VersionContent>>,
    ) -> Result<Vec<Result<Small, CloudError>>, CloudError> {
        let sealer = self.sealer.clone();
        let open = move || {
            let open = |(content, found): (&ContentRef, &Option<wire::VersionContent>)| {
                let found = found.as_ref().ok_or_else(|| gone(*content))?;
                let body = open_body(&sealer, *content, found)?;
                let chunk = found.chunk.as_ref();
                match (&body.layout, chunk) {
                    (Layout::Inline(bytes), _) => Ok(Small::Bytes(Bytes::copy_from_slice(bytes))),
                    (Layout::Extents(extents), Some(stored)) => match extents.as_slice() {
                        [Extent { len, chunk: Some(id), offset }] => {
                            let opened = chunk::open_whole(&sealer.keys, id, stored);
                            let skip = *offset as usize;
                            let piece = None;
                            let want = Want { file: 0, at: 0, len: *len, piece, skip };
                            let bytes = want.take(opened.map(Bytes::from));
                            bytes.map(Small::Bytes).map_err(|why| damaged(*content, why))
                        }
                        _ => Ok(Small::Manifest(body, None)),
                    },
                    (Layout::Pages(pages), Some(stored)) => {
                        let first = first_page(&sealer.keys, pages, stored);
                        Ok(Small::Manifest(body, first))
                    }
                    _ => Ok(Small::Manifest(body, None)),
                }
            };
            contents.iter().zip(&found).map(open).collect()
        };
        tokio::task::spawn_blocking(open).await.map_err(|_| stopped())
    }

    /// Fetches those files whose bytes did not come with their bodies, together.
    async fn fetch_rest(
        &self,
        rest: Vec<(usize, ContentRef, Arc<Body>)>,
        results: &mut [Result<Bytes, CloudError>],
    ) -> Result<(), CloudError> {
        let mut wanted = Vec::new();
        let mut files: Vec<Result<Vec<u8>, CloudError>> = Vec::with_capacity(rest.len());
        for (file, (_, content, body)) in rest.iter().enumerate() {
            let planned = self.small_wants(*content, file, body).await;
            files.push(planned.map(|wants| {
                wanted.extend(wants);
                vec![0; body.size as usize]
            }));
        }
        let reads = batches(wanted).into_iter().map(|batch| self.read_wants(batch));
        let mut reads = stream::iter(reads).buffered(READS_IN_FLIGHT);
        while let Some(read) = reads.next().await {
            for (want, opened) in read? {
                let Some(opened) = opened else { continue };
                match (want.take(opened), &mut files[want.file]) {
                    (Ok(bytes), Ok(file)) => {
                        let start = want.at as usize;
                        file[start..start + bytes.len()].copy_from_slice(&bytes);
                    }
                    (Err(why), file) => *file = Err(damaged(rest[want.file].1, why)),
                    (_, Err(_)) => {}
                }
            }
        }
        for ((index, ..), file) in rest.iter().zip(files) {
            results[*index] = file.map(Bytes::from);
        }
        Ok(())
    }

    async fn small_wants(
        &self,
        content: ContentRef,
        file: usize,
        body: &Body,
    ) -> Result<Vec<Want>, CloudError> {
        if body.size > SMALL_FILE_BYTES {
            let text = format!("{} is not a small file: fetch it by ranges", name(content));
            return Err(CloudError::new(CloudErrorKind::Invalid, text));
        }
        let all = Range::new(0, body.size);
        match &body.layout {
            Layout::Inline(_) => Ok(Vec::new()),
            Layout::Extents(extents) => Ok(wants(file, 0, extents, all)),
            Layout::Pages(pages) => {
                self.page_wants(content, file, &overlapping(pages, all), all).await
            }
        }
    }

    async fn page_wants(
        &self,
        content: ContentRef,
        file: usize,
        pages: &[(u64, PageRef)],
        range: Range,
    ) -> Result<Vec<Want>, CloudError> {
        let refs: Vec<PageRef> = pages.iter().map(|(_, page)| *page).collect();
        let loaded = self.load_pages(content, &refs).await?;
        let mut list = Vec::new();
        for (at, page) in pages {
            if let Some(extents) = loaded.get(&page.id) {
                list.extend(wants(file, *at, extents, range));
            }
        }
        Ok(list)
    }

    /// The pages of a manifest, from memory or from the server in one request.
    pub(crate) async fn load_pages(
        &self,
        content: ContentRef,
        pages: &[PageRef],
    ) -> Result<Pages, CloudError> {
        let mut loaded = Pages::new();
        let mut absent: Vec<PageRef> = Vec::new();
        for page in pages {
            match self.pages.get(&page.id) {
                Some(extents) => drop(loaded.insert(page.id, extents)),
                None => absent.push(*page),
            }
        }
        for some in absent.chunks(protocol::limits::READ_PIECES) {
            let whole = |page: &PageRef| Piece { chunk: page.id, first: 0, count: 0 };
            let opened = self.read_pieces(some.iter().map(whole).collect()).await?;
            for (page, opened) in some.iter().zip(opened) {
                let extents = opened.and_then(|bytes| decode_page(&bytes, *page));
                let extents = Arc::new(extents.map_err(|why| damaged(content, why))?);
                self.keep_page(page.id, &extents);
                loaded.insert(page.id, extents);
            }
        }
        Ok(loaded)
    }

    pub(crate) fn keep_page(&self, id: ChunkId, extents: &Arc<Vec<Extent>>) {
        let weight = 96 + std::mem::size_of_val(extents.as_slice());
        self.pages.put(id, extents.clone(), weight);
    }

    /// The body of a version, from memory or from the server.
    pub(crate) async fn body(&self, content: ContentRef) -> Result<Arc<Body>, CloudError> {
        if let Some(body) = self.bodies.get(&content) {
            return Ok(body);
        }
        let found = self.contents(&[content], false).await?;
        let found = found.into_iter().next().flatten().ok_or_else(|| gone(content))?;
        self.keep_body(content, &found)
    }

    pub(crate) fn keep_body(
        &self,
        content: ContentRef,
        found: &wire::VersionContent,
    ) -> Result<Arc<Body>, CloudError> {
        let body = open_body(&self.sealer, content, found)?;
        self.bodies.put(content, body.clone(), body.weight());
        Ok(body)
    }

    /// Asks for versions; the answer may be shorter than the question, but is never empty.
    pub(crate) async fn contents(
        &self,
        contents: &[ContentRef],
        with_bytes: bool,
    ) -> Result<Vec<Option<wire::VersionContent>>, CloudError> {
        let asked = &contents[..contents.len().min(CONTENT_ITEMS)];
        let item = |content: &ContentRef| wire::VersionRef {
            node: wire::Id::new(content.id.0),
            rev: content.rev.0,
        };
        let query = wire::ContentQuery { items: asked.iter().map(item).collect(), with_bytes };
        let call = Call::post(format!("{}/content", self.path), encode(&query));
        let reply = self.client.call(call, decode::<wire::ContentReply>).await?;
        if reply.items.len() > asked.len() || (reply.items.is_empty() && !asked.is_empty()) {
            return Err(self.corrupt("the answer to a content request does not match it"));
        }
        Ok(reply.items)
    }
}

enum Small {
    Bytes(Bytes),
    /// With the first page of a manifest that has pages, if that came along.
    Manifest(Arc<Body>, Option<FirstPage>),
}

type FirstPage = (ChunkId, Arc<Vec<Extent>>);

/// The page that came along with a body. It was not asked for by its name: anything else is as good as
/// nothing.
fn first_page(keys: &Keys, pages: &[PageRef], stored: &[u8]) -> Option<FirstPage> {
    let page = pages.first()?;
    let plain = chunk::open_whole(keys, &page.id, stored).ok()?;
    let extents = decode_page(&plain, *page).ok()?;
    Some((page.id, Arc::new(extents)))
}

fn open_body(
    sealer: &crate::record::Sealer,
    content: ContentRef,
    found: &wire::VersionContent,
) -> Result<Arc<Body>, CloudError> {
    let open = || {
        let head = sealer.open_head(content.id, &found.head)?;
        let body = Body::decode(&sealer.open(content.id, Field::Body, &found.body)?)?;
        if head.size != body.size {
            return Err(Refused("its head and its body are of different lengths"));
        }
        Ok(Arc::new(body))
    };
    open().map_err(|why| damaged(content, why))
}

fn wants(file: usize, start: u64, extents: &[Extent], range: Range) -> Vec<Want> {
    let mut at = start;
    let mut list = Vec::new();
    for extent in extents {
        list.extend(Want::new(file, at, extent, range));
        at = at.saturating_add(extent.len);
    }
    list
}

/// The pages that overlap `range`, with where each begins in the file.
fn overlapping(pages: &[PageRef], range: Range) -> Vec<(u64, PageRef)> {
    let mut at = 0;
    let mut list = Vec::new();
    for page in pages {
        if Range::at(at, page.len).overlaps(range) {
            list.push((at, *page));
        }
        at = at.saturating_add(page.len);
    }
    list
}

fn name(content: ContentRef) -> String {
    format!("file {:?} as of rev {}", content.id, content.rev.0)
}

pub(crate) fn damaged(content: ContentRef, why: Refused) -> CloudError {
    let text = format!(
        "{}: what came back is not what was stored ({why}); an older version may be whole",
        name(content)
    );
    CloudError::new(CloudErrorKind::Corrupt, text)
}

pub(crate) fn gone(content: ContentRef) -> CloudError {
    let text = format!("{}: the store does not have this version any more", name(content));
    CloudError::new(CloudErrorKind::Gone, text)
}

/// The runtime is shutting down, or a task of ours panicked (which is logged by itself).
pub(crate) fn stopped() -> CloudError {
    CloudError::new(CloudErrorKind::Retry, "the work was stopped before its end")
}

#[cfg(test)]
mod tests;
