//! Sending again what the store has lost ([ADR 17](../../docs/adr/0017-damage-is-told-not-hidden.md)).
//!
//! The store names versions with the chunks that it cannot read back. Whoever has their bytes makes the
//! same chunks of them again. A chunk's name is a keyed hash of its bytes: bytes that do not give the name
//! are not sent, wherever they come from.

use crate::client::Call;
use crate::keys::ChunkId;
use crate::layout::{self, NewPage, Pagination, Part};
use crate::manifest::{Body, Extent, Layout, PageRef, chunks_of, encode_page};
use crate::native::Native;
use crate::stage::{BATCH_BYTES, Lane, NewChunk, Upload, WINDOW_BYTES};
use crate::store::ContentSource;
use bytes::Bytes;
use fs_core::{CloudError, CloudErrorKind, ContentRef, Ino, NodeId, Range, Ranges, Rev};
use protocol::codec::decode;
use protocol::wire;
use std::collections::HashSet;
use std::sync::Arc;

/// A version that the store cannot give back whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    pub content: ContentRef,
    /// The names of the chunks that are lost.
    pub chunks: Vec<[u8; 32]>,
}

/// Where the bytes of a version are on this device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    pub ino: Ino,
    /// Bytes of the version that are in the file's local content.
    pub here: Ranges,
}

/// What is still to be sent of one version.
struct Mend<'a> {
    native: &'a Arc<Native>,
    held: &'a Held,
    source: Arc<dyn ContentSource>,
    wanted: HashSet<ChunkId>,
    upload: Upload,
    batch: Vec<NewChunk>,
    sent: Vec<ChunkId>,
}

impl Native {
    pub(crate) async fn damage(&self) -> Result<Vec<Damage>, CloudError> {
        let call = Call::get(format!("{}/damaged", self.path));
        let list = self.client.call(call, decode::<wire::Damaged>).await?;
        let damage = |item: wire::DamagedItem| Damage {
            content: ContentRef { id: NodeId(*item.node), rev: Rev(item.rev) },
            chunks: item.chunks.into_iter().map(|id| *id).collect(),
        };
        Ok(list.items.into_iter().map(damage).collect())
    }

    /// Sends again what it can of the lost chunks. Gives how many are in the store by then.
    pub(crate) async fn mend(
        self: Arc<Native>,
        damage: &Damage,
        held: &Held,
        source: Arc<dyn ContentSource>,
    ) -> Result<u64, CloudError> {
        let wanted: HashSet<ChunkId> = damage.chunks.iter().copied().collect();
        // That they were there once says nothing any more.
        wanted.iter().for_each(|id| self.known.forget(id));
        let body = self.body(damage.content).await?;
        let lane = Lane::of(body.size, 1);
        let upload = Upload::new(self.clone(), lane, source.clone());
        let mut mend = Mend {
            native: &self,
            held,
            source,
            wanted,
            upload,
            batch: Vec::new(),
            sent: Vec::new(),
        };
        mend.named(damage.content, &body).await?;
        mend.cut_anew(&body).await?;
        mend.flush().await;
        mend.upload.finish().await;
        match mend.upload.broken.take() {
            Some(error) => Err(error),
            None => Ok(mend.sent.iter().filter(|id| self.known.get(id).is_some()).count() as u64),
        }
    }
}

impl Mend<'_> {
    /// Goes by the manifest, as far as it can be read.
    async fn named(&mut self, content: ContentRef, body: &Body) -> Result<(), CloudError> {
        match &body.layout {
            Layout::Inline(_) => Ok(()),
            Layout::Extents(extents) => self.extents(0, extents).await,
            Layout::Pages(pages) => {
                let mut at = 0;
                for page in pages {
                    if let Some(extents) = self.page(content, *page).await? {
                        self.extents(at, &extents).await?;
                    }
                    at += page.len;
                }
                Ok(())
            }
        }
    }

    /// The extents of a page. One that is lost itself may be in memory; else there are none.
    async fn page(
        &mut self,
        content: ContentRef,
        page: PageRef,
    ) -> Result<Option<Arc<Vec<Extent>>>, CloudError> {
        if !self.wanted.contains(&page.id) {
            return match self.native.load_pages(content, &[page]).await {
                Ok(pages) => Ok(pages.get(&page.id).cloned()),
                Err(error) if error.kind == CloudErrorKind::Corrupt => Ok(None),
                Err(error) => Err(error),
            };
        }
        let Some(extents) = self.native.pages.get(&page.id) else { return Ok(None) };
        self.offer_page(&extents).await;
        Ok(Some(extents))
    }

    async fn extents(&mut self, start: u64, extents: &[Extent]) -> Result<(), CloudError> {
        let mut at = start;
        for extent in extents {
            let range = Range::at(at, extent.len);
            at = range.end;
            let is_wanted = extent.chunk.is_some_and(|id| self.wanted.contains(&id));
            // What does not begin the chunk cannot be all of it.
            if is_wanted && extent.offset == 0 && self.held.here.covers(range) {
                let bytes = self.read(range).await?;
                self.offer(bytes).await;
            }
        }
        Ok(())
    }

    /// Cuts the whole file as it was cut when it was new: that gives the pages of its manifest, too.
    async fn cut_anew(&mut self, body: &Body) -> Result<(), CloudError> {
        let whole = Range::new(0, body.size);
        if self.wanted.is_empty() || !self.held.here.covers(whole) {
            return Ok(());
        }
        let chunker = self.native.chunker.clone();
        let (mut extents, mut window, mut at) = (Vec::new(), Bytes::new(), 0);
        while at < body.size || !window.is_empty() {
            let end = (at + WINDOW_BYTES as u64).min(body.size);
            let next = self.read(Range::new(at, end)).await?;
            window = [&window[..], &next[..]].concat().into();
            at = end;
            while window.len() >= chunker.max() || (at == body.size && !window.is_empty()) {
                let plain = window.split_to(chunker.cut(&window));
                extents.push(Extent::whole(
                    self.native.sealer.keys.chunk_id(&plain),
                    plain.len() as u64,
                ));
                self.offer(plain).await;
            }
        }
        if let Pagination::Paged(pages) = layout::paginate(vec![Part::Run(extents)], false) {
            for page in pages {
                if let NewPage::Made(extents) = page {
                    self.offer_page(&extents).await;
                }
            }
        }
        Ok(())
    }

    async fn read(&self, range: Range) -> Result<Bytes, CloudError> {
        let (source, ino) = (self.source.clone(), self.held.ino);
        let read = move || {
            let mut bytes = vec![0; range.len() as usize];
            source.read_at(ino, range.start, &mut bytes).map(|()| Bytes::from(bytes))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|_| crate::fetch::stopped())?;
        read.map_err(|why| {
            let text = format!("reading this device's copy of a file: {why}");
            CloudError::new(CloudErrorKind::Local, text)
        })
    }

    async fn offer_page(&mut self, extents: &[Extent]) {
        let plain = Bytes::from(encode_page(extents));
        let id = self.native.sealer.keys.page_id(&plain);
        self.take(NewChunk { id, plain, refs: chunks_of(extents) }).await;
    }

    async fn offer(&mut self, plain: Bytes) {
        let id = self.native.sealer.keys.chunk_id(&plain);
        self.take(NewChunk { id, plain, refs: Vec::new() }).await;
    }

    /// Sends a chunk if it is one of those that are lost: its bytes say so themselves.
    async fn take(&mut self, chunk: NewChunk) {
        if self.wanted.remove(&chunk.id) {
            self.sent.push(chunk.id);
            self.batch.push(chunk);
            let bytes: usize = self.batch.iter().map(|chunk| chunk.plain.len()).sum();
            if bytes >= BATCH_BYTES {
                self.flush().await;
            }
        }
    }

    async fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() && self.upload.broken.is_none() {
            self.upload.run(futures_util::stream::iter([batch])).await;
        }
    }
}
