//! Staging: from this device's bytes to chunks in the store and drafts that name them.
//!
//! A body may have [`SEALED_BODY_BYTES`] (2 MiB). One page reference takes at most 46 bytes and a
//! page covers 64 chunks, of about 290 KiB on average: files up to about 800 GiB, in the worst case
//! (each chunk of the smallest size, 64 KiB) up to 178 GiB.

mod background;
mod cut;
mod plan;
mod upload;

use crate::draft::DraftRecord;
use crate::fetch::stopped;
use crate::keys::ChunkId;
use crate::layout::{self, NewPage, Pages, Pagination};
use crate::manifest::{Body, Extent, Layout, PageRef, chunks_of, encode_page};
use crate::native::Native;
use crate::record::Field;
use crate::records::Head;
use crate::store::ContentSource;
pub(crate) use background::Lane;
use bytes::Bytes;
pub(crate) use cut::{BATCH_BYTES, NewChunk, WINDOW_BYTES};
use cut::{Cut, Cutter};
use fs_core::{CloudError, CloudErrorKind, ContentRef, Draft, StageItem};
use futures_util::{StreamExt, stream};
use plan::{Plan, is_here, needs_base};
use protocol::limits::{CONTENT_ITEMS, REFS_PER_BODY, SEALED_BODY_BYTES};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::mpsc;
pub(crate) use upload::{Packing, Upload};

/// Manifests that are put together at a time; each may have to wait for a page of its base.
const MANIFESTS_AT_ONCE: usize = 4;
/// Changed bytes beyond which a staging is a large one, of which few run at a time.
const LARGE_STAGE_BYTES: u64 = 8 << 20;
/// What sealing adds to a record, rounded up.
const SEAL_MARGIN_BYTES: usize = 64;

/// A file's new body, and the chunks that must have arrived for it to be true.
struct Made {
    body: Body,
    fresh: Vec<ChunkId>,
    pages: Vec<NewChunk>,
}

impl Native {
    pub(crate) async fn stage(
        self: Arc<Native>,
        items: &[StageItem],
        source: Arc<dyn ContentSource>,
    ) -> Vec<Result<Draft, CloudError>> {
        let dirty: u64 = items.iter().map(|item| item.dirty.bytes()).sum();
        let turns = if dirty > LARGE_STAGE_BYTES { &self.large_stages } else { &self.small_stages };
        let Ok(_turn) = turns.acquire().await else {
            return items.iter().map(|_| Err(stopped())).collect();
        };
        let plans = self.plans(items).await;
        let lane = Lane::of(dirty, items.len());
        let mut upload = Upload::new(self.clone(), lane, source.clone());
        let cuts = self.cut_and_send(plans, source, &mut upload).await;
        let make = cuts.into_iter().map(|cut| self.make(cut));
        let mut made: Vec<_> = stream::iter(make).buffered(MANIFESTS_AT_ONCE).collect().await;
        let pages: Vec<NewChunk> = made
            .iter_mut()
            .flatten()
            .flat_map(|(_, made)| std::mem::take(&mut made.pages))
            .collect();
        if upload.broken.is_none() {
            upload.run(stream::iter([pages])).await;
        }
        upload.finish().await;
        made.into_iter().map(|made| self.draft(made?, &upload)).collect()
    }

    /// A plan for each item, with the bodies of bases fetched together.
    async fn plans(&self, items: &[StageItem]) -> Vec<Result<Plan, CloudError>> {
        let wanted: Vec<ContentRef> = items.iter().filter_map(needs_base).collect();
        let bodies = self.base_bodies(wanted).await;
        let plan = |item: &StageItem| {
            let body = match needs_base(item).and_then(|content| bodies.get(&content)) {
                None => None,
                Some(Ok(body)) => Some(body.clone()),
                // The base is lost, but all of it is here: send it again.
                Some(Err(error))
                    if matches!(error.kind, CloudErrorKind::Gone | CloudErrorKind::Corrupt)
                        && item.base.is_some_and(|b| is_here(item, b.len.min(item.size))) =>
                {
                    None
                }
                Some(Err(error)) => return Err(error.clone()),
            };
            Ok(Plan::new(item, body))
        };
        items.iter().map(plan).collect()
    }

    async fn base_bodies(
        &self,
        mut wanted: Vec<ContentRef>,
    ) -> HashMap<ContentRef, Result<Arc<Body>, CloudError>> {
        let mut bodies = HashMap::new();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|content| match self.bodies.get(content) {
            Some(body) => bodies.insert(*content, Ok(body)).is_some_and(|_| false),
            None => true,
        });
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let asked = &rest[..rest.len().min(CONTENT_ITEMS)];
            match self.contents(asked, false).await {
                Ok(found) => {
                    for (content, found) in rest.iter().zip(&found) {
                        let body = match found {
                            Some(found) => self.keep_body(*content, found),
                            None => Err(crate::fetch::gone(*content)),
                        };
                        bodies.insert(*content, body);
                    }
                    rest = &rest[found.len()..];
                }
                Err(error) => {
                    bodies.extend(rest.iter().map(|content| (*content, Err(error.clone()))));
                    break;
                }
            }
        }
        bodies
    }

    /// Reads and cuts on a thread of its own while chunks are sealed and sent.
    async fn cut_and_send(
        &self,
        plans: Vec<Result<Plan, CloudError>>,
        source: Arc<dyn ContentSource>,
        upload: &mut Upload,
    ) -> Vec<Result<(Plan, Cut), CloudError>> {
        let count = plans.len();
        let (to, mut from) = mpsc::channel(1);
        let (sealer, chunker) = (self.sealer.clone(), self.chunker.clone());
        let cutting = upload.lane.run(move || {
            let mut cutter = Cutter::new(&sealer.keys, &chunker, source.as_ref(), to);
            let mut cuts: Vec<Result<(Plan, Cut), CloudError>> = Vec::with_capacity(plans.len());
            for plan in plans {
                let cut = plan.and_then(|plan| cutter.cut(&plan).map(|cut| (plan, cut)));
                cuts.push(cut);
            }
            // A failure here is one of those who store, and they know it.
            let _ = cutter.flush();
            cuts
        });
        let cutting = tokio::spawn(cutting);
        // `from` ends with this block: a cutter whose chunks are not wanted any more stops.
        {
            upload.run(stream::poll_fn(|cx| from.poll_recv(cx))).await;
            drop(from);
        }
        let cuts = cutting.await.ok().flatten();
        let mut cuts = cuts.unwrap_or_else(|| (0..count).map(|_| Err(stopped())).collect());
        if let Some(error) = &upload.broken {
            // Why sending stopped says more than that it stopped.
            let stopped = cuts.iter_mut().filter_map(|cut| cut.as_mut().err());
            stopped.filter(|e| e.kind == CloudErrorKind::Retry).for_each(|e| *e = error.clone());
        }
        cuts
    }

    /// The new body of a file.
    async fn make(&self, cut: Result<(Plan, Cut), CloudError>) -> Result<(Plan, Made), CloudError> {
        let (plan, cut) = cut?;
        let fresh = match cut {
            Cut::Inline(bytes) => {
                let body = Body::new(plan.size, Layout::Inline(bytes));
                return Ok((plan, Made { body, fresh: Vec::new(), pages: Vec::new() }));
            }
            Cut::Fresh(fresh) => fresh,
        };
        if let Some((_, body)) = &plan.base
            && fresh.is_empty()
            && body.size == plan.size
            && plan.kept.covers(fs_core::Range::new(0, plan.size))
        {
            let body = Body::clone(body);
            return Ok((plan, Made { body, fresh: Vec::new(), pages: Vec::new() }));
        }
        let made = self.splice(&plan, fresh).await?;
        Ok((plan, made))
    }

    /// Puts new extents into the manifest of the base.
    async fn splice(
        &self,
        plan: &Plan,
        fresh: BTreeMap<u64, Vec<Extent>>,
    ) -> Result<Made, CloudError> {
        let base = plan.base.as_ref().map(|(content, body)| (*content, &body.layout));
        let layout = base.map(|(_, layout)| layout);
        let mut pages = Pages::new();
        if let Some((content, layout)) = base {
            pages = self.load_pages(content, &layout::touched(layout, &plan.kept)).await?;
        }
        let parts = layout::assemble(plan.size, layout, &plan.kept, &fresh, &pages);
        let mut parts = parts.ok_or_else(stopped)?;
        let beside = layout::neighbours(&parts);
        if let Some((content, _)) = base
            && !beside.is_empty()
        {
            let loaded = self.load_pages(content, &beside).await?;
            parts = layout::absorb(parts, &beside, &loaded);
        }
        let mut fresh: Vec<ChunkId> = fresh.values().flat_map(|run| chunks_of(run)).collect();
        let (layout, new) = match layout::paginate(parts, base.is_some()) {
            Pagination::Flat(extents) => (Layout::Extents(extents), Vec::new()),
            Pagination::Paged(pages) => self.store_pages(pages),
        };
        fresh.extend(new.iter().map(|page| page.id));
        let body = Body::new(plan.size, layout);
        Ok(Made { body, fresh, pages: new })
    }

    fn store_pages(&self, pages: Vec<NewPage>) -> (Layout, Vec<NewChunk>) {
        let mut new = Vec::new();
        let mut refs = Vec::with_capacity(pages.len());
        for page in pages {
            match page {
                NewPage::Kept(page) => refs.push(page),
                NewPage::Made(extents) => {
                    let plain = Bytes::from(encode_page(&extents));
                    let id = self.sealer.keys.page_id(&plain);
                    let len = extents.iter().map(|extent| extent.len).sum();
                    // At most `PAGE_EXTENTS_MAX`.
                    refs.push(PageRef { id, len, count: extents.len() as u16 });
                    new.push(NewChunk { id, plain, refs: chunks_of(&extents) });
                    self.keep_page(id, &Arc::new(extents));
                }
            }
        }
        (Layout::Pages(refs), new)
    }

    /// Seals the new body for its node, if all it speaks of has arrived.
    fn draft(&self, (plan, made): (Plan, Made), upload: &Upload) -> Result<Draft, CloudError> {
        if let Some(error) = &upload.broken
            && made.fresh.iter().any(|id| self.known.get(id).is_none())
        {
            return Err(error.clone());
        }
        let plain = made.body.encode();
        let refs = made.body.refs();
        if plain.len() + SEAL_MARGIN_BYTES > SEALED_BODY_BYTES || refs.len() > REFS_PER_BODY {
            let text = format!(
                "file {:?} of {} bytes is larger than this format can hold (178 GiB at least, \
                 about 800 GiB for most files); split it into several files",
                plan.id, plan.size
            );
            return Err(CloudError::new(CloudErrorKind::Invalid, text));
        }
        let head = Head::new(plan.size, plan.mtime).encode();
        let record = DraftRecord::new(
            self.sealer.seal(plan.id, Field::Head, &head)?,
            self.sealer.seal(plan.id, Field::Body, &plain)?,
            refs,
        );
        Ok(Draft { bytes: record.encode(), size: plan.size })
    }
}
