//! Figures, not checks: `cargo test --release -p cloud --test native -- --nocapture speed`

use crate::world::{Memory, World, create, new_node, noise, whole};
use bytes::Bytes;
use cloud::CloudStore;
use fs_core::{ContentRef, GroupOutcome, Kind, NodeId, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const MIB: usize = 1 << 20;

fn rate(what: &str, bytes: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {:.0} MB/s ({seconds:.2} s)", bytes as f64 / 1e6 / seconds);
}

async fn fetch_counted(world: &World, content: ContentRef, range: Range) -> u64 {
    let count: Arc<AtomicU64> = Arc::default();
    let into = count.clone();
    let mut sink = move |_: u64, part: Bytes| {
        into.fetch_add(part.len() as u64, Ordering::Relaxed);
    };
    world.stranger().fetch(content, range, &mut sink).await.unwrap();
    count.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn speed() {
    if std::env::var_os("MESHDRIVE_FIGURES").is_none() {
        return; // figures are asked for, not checked
    }
    let world = World::new().await;
    let text: Vec<u8> =
        (0..256 * MIB).map(|at| b"some text that repeats "[at % 23] ^ (at >> 14) as u8).collect();
    for (what, bytes) in [("incompressible", noise(1, 256 * MIB)), ("compressible", text)] {
        let began = Instant::now();
        let content = world.file(&bytes).await;
        rate(&format!("{what}: stage and commit"), bytes.len(), began);
        for _ in 0..3 {
            let began = Instant::now();
            let all = Range::new(0, bytes.len() as u64);
            assert_eq!(fetch_counted(&world, content, all).await, bytes.len() as u64);
            rate(&format!("{what}: fetch"), bytes.len(), began);
        }
        let began = Instant::now();
        for step in 0..100_u64 {
            fetch_counted(&world, content, Range::at(step * 2_000_000, 4_096)).await;
        }
        println!("{what}: {:.2} ms for a cold 4 KiB read", began.elapsed().as_secs_f64() * 10.0);
    }
    small_files(&world).await;
}

async fn small_files(world: &World) {
    let before = world.store.traffic();
    let began = Instant::now();
    let mut refs = Vec::new();
    for batch in 0..10 {
        let items: Vec<_> = (0..1_000).map(|_| whole(new_node(), 4_096)).collect();
        let files = items.iter().map(|item| (item, noise(u64::from(item.id.0[15]) + 7, 4_096)));
        let drafts = world.store.stage(&items, Memory::many(files)).await;
        let group = |(item, draft): (&fs_core::StageItem, Result<_, _>)| {
            let text = format!("small-{batch}-{:?}", item.id);
            vec![create(item.id, NodeId::ROOT, &text, Kind::File, Some(draft.unwrap()))]
        };
        let outcomes = world.commit(items.iter().zip(drafts).map(group).collect()).await;
        let GroupOutcome::Done(rev) = outcomes[0] else { panic!("not accepted") };
        refs.extend(items.iter().map(|item| ContentRef { id: item.id, rev }));
    }
    let requests = world.store.traffic().requests - before.requests;
    let seconds = began.elapsed().as_secs_f64();
    println!("10,000 new files of 4 KiB: {seconds:.2} s, {requests} requests");
    let reader = world.stranger();
    let began = Instant::now();
    let fetched = reader.fetch_small(&refs).await.unwrap();
    assert!(fetched.iter().all(Result::is_ok));
    let (seconds, requests) = (began.elapsed().as_secs_f64(), reader.traffic().requests);
    println!("10,000 files of 4 KiB read: {seconds:.2} s, {requests} requests");
}
