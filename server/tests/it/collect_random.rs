//! Random work of several devices while collections, repacking and scrubs run all the time with no
//! grace at all: nothing that a live file names is ever lost, and what nothing names does not stay.

use crate::client::*;
use protocol::{pack::*, wire::*};
use serde_bytes::ByteArray;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Contents are made of so many different chunks, so that most are shared and come and go.
const CHUNKS: u64 = 40;

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A content of some chunks, or of a page that names them.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    chunks: Vec<u64>,
    paged: bool,
}

impl Wanted {
    pub(crate) fn random(random: &mut Random) -> Wanted {
        let count = 1 + random.below(6);
        let chunks = (0..count).map(|_| random.below(CHUNKS)).collect();
        Wanted { chunks, paged: random.below(3) == 0 }
    }

    fn ids(&self) -> Vec<[u8; 32]> {
        self.chunks.iter().map(|seed| chunk_of(*seed, 3_000).0).collect()
    }

    fn page(&self) -> ([u8; 32], Vec<u8>) {
        let seed = self.chunks.iter().fold(77, |all, one| all * 41 + one);
        chunk_of(seed, 50)
    }

    pub(crate) fn content(&self) -> Content {
        if self.paged { naming(&[self.page().0]) } else { naming(&self.ids()) }
    }

    /// A pack with those of its chunks that are in `missing`.
    pub(crate) fn pack(&self, missing: &[[u8; 32]], salt: u64) -> Vec<u8> {
        let mut writer = PackWriter::default();
        // So that no two packs are the same.
        let (id, bytes) = chunk_of(1_000_000 + salt, 10);
        writer.push(id, &bytes, Vec::new());
        for seed in &self.chunks {
            let (id, bytes) = chunk_of(*seed, 3_000);
            if missing.contains(&id) {
                writer.push(id, &bytes, Vec::new());
            }
        }
        let (id, bytes) = self.page();
        if self.paged && missing.contains(&id) {
            writer.push(id, &bytes, self.ids());
        }
        writer.finish()
    }
}

/// Sends `ops` until they are taken, with whatever the store says is missing.
async fn publish(
    device: &Device,
    wanted: &Wanted,
    random: &mut Random,
    op: impl Fn(Content) -> Op,
) -> u64 {
    for _ in 0..200 {
        let answer = device.try_commit(vec![vec![op(wanted.content())]]).await;
        if answer.status == 503 {
            continue;
        }
        let reply: CommitReply = answer.ok();
        match &reply.outcomes[..] {
            [Outcome::Done { rev }] => return *rev,
            [Outcome::ChunksMissing { chunks }] => {
                let missing: Vec<[u8; 32]> = chunks.iter().map(|id| **id).collect();
                let salt = u64::from_le_bytes(fresh()[..8].try_into().unwrap()) ^ random.0 << 20;
                let status = device.put_pack(wanted.pack(&missing, salt)).await.status;
                assert!(status.is_success() || status == 503, "{status}");
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("{wanted:?} was never taken");
}

/// Whether everything that a content names can be read, and is right.
pub(crate) async fn check(device: &Device, wanted: &Wanted) {
    let mut expected: Vec<([u8; 32], Vec<u8>)> =
        wanted.chunks.iter().map(|seed| chunk_of(*seed, 3_000)).collect();
    if wanted.paged {
        expected.push(wanted.page());
    }
    let ids: Vec<[u8; 32]> = expected.iter().map(|(id, _)| *id).collect();
    for (found, (id, bytes)) in device.read_chunks(&ids).await.into_iter().zip(expected) {
        let id = protocol::codec::hex(&id);
        assert_eq!(found.0, FrameStatus::Ok, "chunk {id} of {wanted:?}");
        assert!(found.1 == bytes, "chunk {id} of {wanted:?}");
    }
}

/// Creates, changes, removes, restores and purges files of its own; all must be whole at any time.
async fn work(device: Device, seed: u64, rounds: u64) -> HashMap<Raw, (u64, u64, Wanted)> {
    let mut random = Random(seed);
    let mut files: HashMap<Raw, (u64, u64, Wanted)> = HashMap::new();
    for round in 0..rounds {
        let wanted = Wanted::random(&mut random);
        let known: Vec<Raw> = files.keys().copied().collect();
        let some = (!known.is_empty()).then(|| known[random.below(known.len() as u64) as usize]);
        match (random.below(10), some) {
            (0..=2, Some(id)) => {
                let (meta, content, wanted) = files.remove(&id).unwrap();
                let rev = device.done(vec![trash(id, meta, content)]).await;
                // Purged by the next collection, if it comes first.
                if random.below(2) == 0 {
                    let back = restore(id, rev, ROOT, &format!("{seed} {round}"));
                    let reply = device.commit(vec![vec![back]]).await;
                    if let [Outcome::Done { rev }] = reply.outcomes[..] {
                        files.insert(id, (rev, content, wanted));
                    }
                }
            }
            (3..=6, Some(id)) => {
                let (meta, base, _) = files[&id];
                let op = |content| Op::SetContent { id: ByteArray::new(id), base, content };
                let rev = publish(&device, &wanted, &mut random, op).await;
                files.insert(id, (meta, rev, wanted));
            }
            (7, Some(id)) => check(&device, &files[&id].2).await,
            _ => {
                let (id, name) = (fresh(), format!("{seed} {round}"));
                let op = |content| create(id, ROOT, &name, 0, Some(content));
                let rev = publish(&device, &wanted, &mut random, op).await;
                files.insert(id, (rev, rev, wanted));
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_named_is_ever_lost() {
    let seeds = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for seed in 1..=seeds {
        let store = Store::with(|config| {
            keep_nothing(config);
            // Old packs are read from while they go: with no hold at all a reader may come too late.
            config.keep.held = Duration::from_millis(200);
        })
        .await;
        let device = store.device().await;
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> =
            (0..4).map(|lane| tokio::spawn(work(device.clone(), seed * 100 + lane, 120))).collect();
        let server = &store.server;
        let collect = async {
            let mut deleted = 0;
            while !stop.load(Ordering::Relaxed) {
                deleted += server.collect(false).await.unwrap().drives[0].deleted.count;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            deleted
        };
        let finish = async {
            let mut all = Vec::new();
            for worker in workers {
                all.extend(worker.await.unwrap());
            }
            stop.store(true, Ordering::Relaxed);
            all
        };
        let (deleted, files) = tokio::join!(collect, finish);
        assert!(deleted > 50, "only {deleted} chunks went: this tests nothing");
        for (_, (_, _, wanted)) in &files {
            check(&device, wanted).await;
        }
        bare(&store, &device, &files).await;
    }
}

/// Nothing unnamed is left after some quiet collections.
async fn bare(store: &Store, device: &Device, files: &[(Raw, (u64, u64, Wanted))]) {
    for _ in 0..6 {
        store.collect().await;
        tokio::time::sleep(Duration::from_millis(210)).await;
    }
    let mut expected: HashMap<[u8; 32], usize> = HashMap::new();
    for (_, (_, _, wanted)) in files {
        expected.extend(
            wanted
                .chunks
                .iter()
                .map(|seed| chunk_of(*seed, 3_000))
                .map(|(id, bytes)| (id, bytes.len())),
        );
        if wanted.paged {
            let (id, bytes) = wanted.page();
            expected.insert(id, bytes.len());
        }
    }
    let db = rusqlite::Connection::open(store.dir.path().join("store.db")).unwrap();
    let stored: i64 = db.query_row("SELECT count(*) FROM chunk", [], |row| row.get(0)).unwrap();
    assert_eq!(stored as usize, expected.len());
    let scrub = store.server.scrub().await.unwrap();
    assert!(scrub.database.is_empty(), "{scrub:?}");
    let found = &scrub.drives[0];
    assert!(found.bad_packs.is_empty() && found.bad_files == 0, "{found:?}");
    assert_eq!(found.strays.count, 0);
    // What is counted as used is what lies there, and little more than what is named.
    let on_disk = scrub.packs.bytes;
    let bodies: u64 = files.iter().map(|_| 4).sum();
    assert_eq!(device.get("").await.ok::<Drive>().used_bytes, on_disk + bodies);
}
