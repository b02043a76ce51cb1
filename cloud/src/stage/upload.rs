//! Storing chunks: those that the server lacks are sealed, packed and sent.

use crate::chunk;
use crate::client::Call;
use crate::fetch::stopped;
use crate::keys::{ChunkId, random};
use crate::native::Native;
use crate::stage::cut::NewChunk;
use fs_core::{CloudError, CloudErrorKind};
use futures_util::{Stream, StreamExt};
use protocol::codec::{decode, encode, hex};
use protocol::pack::PackWriter;
use protocol::wire;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Packs on their way at a time. With the one being filled and the batches on their way to it, one
/// staging holds at most about (3 + 1) * 16 MiB + 6 * 4 MiB = 88 MiB.
const PACKS_IN_FLIGHT: usize = 3;
/// Batches that are being looked up, and that are being sealed, at a time.
const LOOKUPS: usize = 2;
const SEALINGS: usize = 2;
/// Only for chunks of at least this many bytes is the server asked whether it has them: new small
/// files must not cost a round trip. When it is asked anyway, smaller ones are asked for along.
const ASK_BYTES: usize = 128 << 10;
const ASK_ALONG_BYTES: usize = 8 << 10;

/// A chunk as it is stored, ready to be packed.
struct Stored {
    id: ChunkId,
    bytes: Vec<u8>,
    refs: Vec<ChunkId>,
}

/// One staging's way to the server.
pub(crate) struct Upload {
    native: Arc<Native>,
    pack: PackWriter,
    packed: Vec<ChunkId>,
    flying: JoinSet<(Vec<ChunkId>, Result<(), CloudError>)>,
    /// The first failure: nothing more is sent after it, and only chunks that are known are there.
    pub(crate) broken: Option<CloudError>,
}

impl Upload {
    pub(crate) fn new(native: Arc<Native>) -> Upload {
        Upload {
            native,
            pack: PackWriter::default(),
            packed: Vec::new(),
            flying: JoinSet::new(),
            broken: None,
        }
    }

    /// Stores what comes, until it ends or something breaks.
    pub(crate) async fn run(&mut self, batches: impl Stream<Item = Vec<NewChunk>> + Send) {
        let native = self.native.clone();
        let mut seen = HashSet::new();
        let sealed = batches
            .map(move |mut batch| {
                batch.retain(|chunk| seen.insert(chunk.id));
                batch
            })
            .map(|batch| native.absent(batch))
            .buffered(LOOKUPS)
            .map(|batch| seal(native.clone(), batch))
            .buffered(SEALINGS);
        let mut sealed = std::pin::pin!(sealed);
        while self.broken.is_none() {
            match sealed.next().await {
                None => return,
                Some(Ok(batch)) => {
                    for stored in batch {
                        self.push(stored).await;
                    }
                }
                Some(Err(error)) => self.broken = Some(error),
            }
        }
    }

    /// Sends what is left and waits for everything.
    pub(crate) async fn finish(&mut self) {
        self.send();
        while !self.flying.is_empty() {
            self.land().await;
        }
    }

    async fn push(&mut self, stored: Stored) {
        if !self.pack.fits(stored.bytes.len(), stored.refs.len()) {
            while self.flying.len() >= PACKS_IN_FLIGHT {
                self.land().await;
            }
            self.send();
        }
        self.packed.push(stored.id);
        self.pack.push(stored.id, &stored.bytes, stored.refs);
    }

    /// Starts sending the pack that is being filled.
    fn send(&mut self) {
        let ids = std::mem::take(&mut self.packed);
        let pack = std::mem::take(&mut self.pack);
        if ids.is_empty() || self.broken.is_some() {
            return;
        }
        let native = self.native.clone();
        self.flying.spawn(async move {
            let sent = native.put_pack(pack).await;
            (ids, sent)
        });
    }

    /// Waits for one pack.
    async fn land(&mut self) {
        let Some(landed) = self.flying.join_next().await else { return };
        match landed {
            Ok((ids, Ok(()))) => ids.into_iter().for_each(|id| self.native.known.put(id, (), 1)),
            Ok((_, Err(error))) => drop(self.broken.get_or_insert(error)),
            Err(_) => drop(self.broken.get_or_insert_with(stopped)),
        }
    }
}

impl Native {
    /// Those chunks of a batch that have to be stored.
    async fn absent(&self, mut batch: Vec<NewChunk>) -> Result<Vec<NewChunk>, CloudError> {
        batch.retain(|chunk| self.known.get(&chunk.id).is_none());
        if batch.iter().all(|chunk| chunk.plain.len() < ASK_BYTES) {
            return Ok(batch);
        }
        let asked = batch.iter().filter(|chunk| chunk.plain.len() >= ASK_ALONG_BYTES);
        let asked: Vec<ChunkId> = asked.map(|chunk| chunk.id).collect();
        let chunks = asked.iter().map(|id| wire::Hash::new(*id)).collect();
        let query = encode(&wire::ChunkQuery { chunks });
        let call = Call::post(format!("{}/chunks/query", self.path), query);
        let reply = self.client.call(call, decode::<wire::ChunkPresence>).await?;
        if reply.present.len() != asked.len() {
            return Err(self.corrupt("the answer to a chunk query does not match it"));
        }
        let present = asked.into_iter().zip(reply.present).filter(|(_, present)| *present);
        let present: HashSet<ChunkId> = present.map(|(id, _)| id).collect();
        present.iter().for_each(|id| self.known.put(*id, (), 1));
        batch.retain(|chunk| !present.contains(&chunk.id));
        Ok(batch)
    }

    async fn put_pack(&self, pack: PackWriter) -> Result<(), CloudError> {
        let work = move || {
            let bytes = pack.finish();
            let id = blake3::hash(&bytes);
            (bytes, id)
        };
        let (bytes, id) = tokio::task::spawn_blocking(work).await.map_err(|_| stopped())?;
        let call = Call::put(format!("{}/packs/{}", self.path, hex(id.as_bytes())), bytes);
        self.client.bytes(call, "").await.map(drop)
    }
}

async fn seal(
    native: Arc<Native>,
    batch: Result<Vec<NewChunk>, CloudError>,
) -> Result<Vec<Stored>, CloudError> {
    let batch = batch?;
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let sealer = native.sealer.clone();
    let work = move || {
        let seal = |chunk: NewChunk| {
            let bytes = chunk::seal(&sealer.keys, sealer.suite, &chunk.id, &chunk.plain, random()?)
                .map_err(|refused| {
                    let text = format!("sealing a chunk: {refused}");
                    CloudError::new(CloudErrorKind::Invalid, text)
                })?;
            Ok(Stored { id: chunk.id, bytes, refs: chunk.refs })
        };
        batch.into_iter().map(seal).collect()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| stopped())?
}
