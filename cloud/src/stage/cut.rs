//! Reading this device's bytes and cutting them into chunks. Blocking.

use crate::chunker::Chunker;
use crate::keys::{ChunkId, Keys};
use crate::manifest::Extent;
use crate::stage::plan::{Plan, SMALL_BYTES};
use crate::store::ContentSource;
use bytes::Bytes;
use fs_core::{CloudError, CloudErrorKind, Range};
use std::collections::BTreeMap;
use tokio::sync::mpsc::Sender;

/// Bytes read at a time, and plain bytes of chunks handed on together.
pub(crate) const WINDOW_BYTES: usize = 4 << 20;
pub(crate) const BATCH_BYTES: usize = 2 << 20;

/// A chunk that may have to be stored.
pub(crate) struct NewChunk {
    pub(crate) id: ChunkId,
    pub(crate) plain: Bytes,
    /// Chunks that this one names: pages of manifests only.
    pub(crate) refs: Vec<ChunkId>,
}

/// What cutting made of a file.
pub(crate) enum Cut {
    Inline(Vec<u8>),
    /// New extents by their offset.
    Fresh(BTreeMap<u64, Vec<Extent>>),
}

/// Cuts file after file and hands chunks on in batches.
pub(crate) struct Cutter<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) chunker: &'a Chunker,
    pub(crate) source: &'a dyn ContentSource,
    pub(crate) to: Sender<Vec<NewChunk>>,
    batch: Vec<NewChunk>,
    bytes: usize,
}

impl<'a> Cutter<'a> {
    pub(crate) fn new(
        keys: &'a Keys,
        chunker: &'a Chunker,
        source: &'a dyn ContentSource,
        to: Sender<Vec<NewChunk>>,
    ) -> Cutter<'a> {
        Cutter { keys, chunker, source, to, batch: Vec::new(), bytes: 0 }
    }

    pub(crate) fn cut(&mut self, plan: &Plan) -> Result<Cut, CloudError> {
        if plan.is_inline() {
            let mut bytes = vec![0; plan.size as usize];
            plan.read(self.source, 0, &mut bytes)?;
            return Ok(Cut::Inline(bytes));
        }
        let mut fresh = BTreeMap::new();
        for run in plan.cut.iter() {
            let extents = if run.len() < SMALL_BYTES {
                let bytes = self.read(plan, run)?;
                vec![self.emit(bytes.into())?]
            } else {
                self.cut_run(plan, run)?
            };
            fresh.insert(run.start, extents);
        }
        Ok(Cut::Fresh(fresh))
    }

    /// Cuts a long run by its content, window by window.
    fn cut_run(&mut self, plan: &Plan, run: Range) -> Result<Vec<Extent>, CloudError> {
        let mut extents = Vec::new();
        let mut window = Bytes::new();
        let mut at = run.start;
        loop {
            let fill = ((run.end - at) as usize).min(WINDOW_BYTES);
            let mut next = vec![0; window.len() + fill];
            next[..window.len()].copy_from_slice(&window);
            plan.read(self.source, at, &mut next[window.len()..])?;
            at += fill as u64;
            window = next.into();
            let last = at == run.end;
            while window.len() >= self.chunker.max() || (last && !window.is_empty()) {
                let len = self.chunker.cut(&window);
                extents.push(self.emit(window.split_to(len))?);
            }
            if last {
                return Ok(extents);
            }
        }
    }

    fn read(&self, plan: &Plan, run: Range) -> Result<Vec<u8>, CloudError> {
        let mut bytes = vec![0; run.len() as usize];
        plan.read(self.source, run.start, &mut bytes)?;
        Ok(bytes)
    }

    fn emit(&mut self, plain: Bytes) -> Result<Extent, CloudError> {
        let id = self.keys.chunk_id(&plain);
        let extent = Extent::whole(id, plain.len() as u64);
        self.bytes += plain.len();
        self.batch.push(NewChunk { id, plain, refs: Vec::new() });
        if self.bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(extent)
    }

    /// Hands on what has gathered; waits while those who store are behind.
    pub(crate) fn flush(&mut self) -> Result<(), CloudError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.to.blocking_send(batch).map_err(|_| {
            CloudError::new(CloudErrorKind::Retry, "sending stopped before this file was read")
        })
    }
}
