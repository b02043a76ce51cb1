//! Storing chunks: those that the server lacks are sealed, packed and sent.

use crate::chunk;
use crate::client::Call;
use crate::fetch::stopped;
use crate::keys::{ChunkId, random};
use crate::native::Native;
use crate::stage::background::Lane;
use crate::stage::cut::NewChunk;
use crate::store::ContentSource;
use fs_core::{CloudError, CloudErrorKind};
use futures_util::{Stream, StreamExt};
use protocol::codec::{decode, encode, hex};
use protocol::pack::PackWriter;
use protocol::wire;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A pack is sent once it has so many bytes, at least and at most. The format allows four times as much, but
/// memory is held for every pack on its way.
const LEAST_PACK_BYTES: usize = 256 << 10;
const PACK_BYTES: usize = 4 << 20;
/// Packs on their way at a time, and on a line that is not known to be quick. Six are enough for a link of
/// 1 Gbit/s at 190 ms. With the one being filled and the batches on their way to it, one staging holds
/// at most about (6 + 1) * 4 MiB + 6 * 2 MiB = 40 MiB.
const PACKS_IN_FLIGHT: usize = 6;
const PACKS_ON_A_SLOW_LINE: usize = 2;
/// Packs that arrive sooner than this are followed by larger ones, those that take longer by smaller ones:
/// what is in the store is known pack by pack, and what breaks off is sent again.
const QUICK: Duration = Duration::from_millis(500);
const SLOW: Duration = Duration::from_secs(2);
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
    plain_len: u64,
    bytes: Vec<u8>,
    refs: Vec<ChunkId>,
}

/// What is in a pack.
#[derive(Default)]
struct Packed {
    ids: Vec<ChunkId>,
    /// Bytes of files, before they were compressed and sealed.
    plain: u64,
    /// Bytes of the pack.
    sealed: usize,
}

/// How packs are sent on the line as it is.
pub(crate) struct Packing {
    /// Bytes of a pack.
    size: AtomicUsize,
    in_flight: AtomicUsize,
}

impl Default for Packing {
    fn default() -> Packing {
        let (size, in_flight) = (PACK_BYTES.into(), PACKS_ON_A_SLOW_LINE.into());
        Packing { size, in_flight }
    }
}

impl Packing {
    fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A pack of so many bytes took so long. One that was not full tells nothing of larger ones.
    fn arrived(&self, bytes: usize, took: Duration) {
        if took > SLOW {
            self.size.fetch_min((bytes / 2).max(LEAST_PACK_BYTES), Ordering::Relaxed);
            self.in_flight.store(PACKS_ON_A_SLOW_LINE, Ordering::Relaxed);
        } else if took < QUICK && bytes > self.size() / 2 {
            self.size.fetch_max((bytes * 2).min(PACK_BYTES), Ordering::Relaxed);
            self.in_flight.store(PACKS_IN_FLIGHT, Ordering::Relaxed);
        }
    }
}

/// One staging's way to the server.
pub(crate) struct Upload {
    native: Arc<Native>,
    pack: PackWriter,
    packed: Packed,
    flying: JoinSet<(Packed, Result<(), CloudError>)>,
    /// Where the work of the processor is done.
    pub(crate) lane: Lane,
    source: Arc<dyn ContentSource>,
    /// The first failure: nothing more is sent after it, and only chunks that are known are there.
    pub(crate) broken: Option<CloudError>,
}

impl Upload {
    pub(crate) fn new(native: Arc<Native>, lane: Lane, source: Arc<dyn ContentSource>) -> Upload {
        Upload {
            native,
            pack: PackWriter::default(),
            packed: Packed::default(),
            flying: JoinSet::new(),
            lane,
            source,
            broken: None,
        }
    }

    /// Stores what comes, until it ends or something breaks.
    pub(crate) async fn run(&mut self, batches: impl Stream<Item = Vec<NewChunk>> + Send) {
        let (native, lane, source) = (self.native.clone(), self.lane, self.source.clone());
        let mut seen = HashSet::new();
        let sealed = batches
            .map(move |mut batch| {
                batch.retain(|chunk| seen.insert(chunk.id));
                batch
            })
            .map(|batch| native.absent(batch, source.as_ref()))
            .buffered(LOOKUPS)
            .map(|batch| seal(native.clone(), lane, batch))
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
        let full = self.packed.sealed + stored.bytes.len() > self.native.packing.size()
            && !self.packed.ids.is_empty();
        if full || !self.pack.fits(stored.bytes.len(), stored.refs.len()) {
            while self.flying.len() >= self.native.packing.in_flight() {
                self.land().await;
            }
            self.send();
        }
        self.packed.ids.push(stored.id);
        self.packed.plain += stored.plain_len;
        self.packed.sealed += stored.bytes.len();
        self.pack.push(stored.id, &stored.bytes, stored.refs);
    }

    /// Starts sending the pack that is being filled.
    fn send(&mut self) {
        let packed = std::mem::take(&mut self.packed);
        let pack = std::mem::take(&mut self.pack);
        if packed.ids.is_empty() || self.broken.is_some() {
            return;
        }
        let (native, lane, source) = (self.native.clone(), self.lane, self.source.clone());
        self.flying.spawn(async move {
            let began = Instant::now();
            let sent = native.put_pack(pack, lane).await;
            if sent.is_ok() {
                native.packing.arrived(packed.sealed, began.elapsed());
                source.sent(packed.plain.cast_signed());
            }
            (packed, sent)
        });
    }

    /// Waits for one pack.
    async fn land(&mut self) {
        let Some(landed) = self.flying.join_next().await else { return };
        match landed {
            Ok((packed, Ok(()))) => {
                packed.ids.into_iter().for_each(|id| self.native.known.put(id, (), 1));
            }
            Ok((_, Err(error))) => drop(self.broken.get_or_insert(error)),
            Err(_) => drop(self.broken.get_or_insert_with(stopped)),
        }
    }
}

impl Native {
    /// Those chunks of a batch that have to be stored.
    async fn absent(
        &self,
        mut batch: Vec<NewChunk>,
        source: &dyn ContentSource,
    ) -> Result<Vec<NewChunk>, CloudError> {
        let len = |batch: &[NewChunk]| batch.iter().map(|chunk| chunk.plain.len() as u64).sum();
        let all: u64 = len(&batch);
        batch.retain(|chunk| self.known.get(&chunk.id).is_none());
        let left: u64 = len(&batch);
        if left < all {
            source.sent((all - left).cast_signed());
        }
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
        let lacking: u64 = len(&batch);
        if lacking < left {
            source.sent((left - lacking).cast_signed());
        }
        Ok(batch)
    }

    async fn put_pack(&self, pack: PackWriter, lane: Lane) -> Result<(), CloudError> {
        let work = move || {
            let bytes = pack.finish();
            let id = blake3::hash(&bytes);
            (bytes, id)
        };
        let (bytes, id) = lane.run(work).await.ok_or_else(stopped)?;
        let call = Call::put(format!("{}/packs/{}", self.path, hex(id.as_bytes())), bytes);
        self.client.bytes(call, "").await.map(drop)
    }
}

async fn seal(
    native: Arc<Native>,
    lane: Lane,
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
            let plain_len = chunk.plain.len() as u64;
            Ok(Stored { id: chunk.id, plain_len, bytes, refs: chunk.refs })
        };
        batch.into_iter().map(seal).collect()
    };
    lane.run(work).await.ok_or_else(stopped)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_suit_the_line() {
        let line = Packing::default();
        for _ in 0..5 {
            line.arrived(line.size() - 100_000, Duration::from_millis(80));
        }
        assert_eq!((line.size(), line.in_flight()), (PACK_BYTES, PACKS_IN_FLIGHT));
        line.arrived(1_000_000, Duration::from_secs(1));
        assert_eq!((line.size(), line.in_flight()), (PACK_BYTES, PACKS_IN_FLIGHT), "neither");
        for _ in 0..9 {
            line.arrived(line.size(), Duration::from_secs(3));
        }
        assert_eq!((line.size(), line.in_flight()), (LEAST_PACK_BYTES, PACKS_ON_A_SLOW_LINE));
        line.arrived(1_000, Duration::from_millis(1));
        assert_eq!(line.size(), LEAST_PACK_BYTES, "a small one says nothing of a full one");
    }
}
