//! Retrying, throttling and failing on purpose, over a real store.

use crate::world::{Memory, World, create, fetch, fetch_all, flight, new_node, noise, one, whole};
use cloud::{CloudStore, Fault, Faulty, Rates, Retrying, Throttled};
use fs_core::{CloudErrorKind, GroupOutcome, Kind, NodeId, Range, Rev};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_commit_does_not_commit_twice() {
    let world = World::new().await;
    let faulty =
        Faulty::planned(world.store.clone(), 0, |_, call| (call == 0).then_some(Fault::After));
    let store = Retrying::new(Arc::new(faulty), PATIENCE);
    let flight = flight(vec![vec![create(new_node(), NodeId::ROOT, "d", Kind::Dir, None)]]);
    let outcomes = store.commit(&flight).await.unwrap();
    assert_eq!(outcomes, [GroupOutcome::Done(Rev(1))]);
    assert_eq!(world.store.connect().await.unwrap().head, Rev(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_where_it_broke_off() {
    let world = World::new().await;
    let bytes = noise(1, 2 << 20);
    let content = world.file(&bytes).await;
    let plan =
        |_, call| [Fault::Truncate, Fault::Before, Fault::Truncate].get(call as usize).copied();
    let store = Retrying::new(Arc::new(Faulty::planned(world.store.clone(), 0, plan)), PATIENCE);
    let got = fetch(&store, content, Range::new(0, bytes.len() as u64)).await.unwrap();
    assert!(got == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_repeats_what_failed() {
    let world = World::new().await;
    let plan = |_, call| [Fault::Before, Fault::After].get(call as usize).copied();
    let store = Retrying::new(Arc::new(Faulty::planned(world.store.clone(), 0, plan)), PATIENCE);
    let item = whole(new_node(), 300_000);
    let source = Memory::of(&item, noise(3, 300_000));
    one(store.stage(&[item], source.clone()).await).unwrap();
    assert_eq!(source.sent.load(Ordering::Relaxed), 300_000, "each byte is told of once");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_may_help_is_tried_again_and_not_for_ever() {
    let world = World::new().await;
    let always = Faulty::planned(world.store.clone(), 0, |_, _| Some(Fault::Before));
    let store = Retrying::new(Arc::new(always), Duration::from_millis(50));
    assert_eq!(store.devices().await.unwrap_err().kind, CloudErrorKind::Retry);
    // Not repeated: it would take the whole patience.
    let patient = Retrying::new(world.store.clone(), Duration::from_secs(3_600));
    let gone = patient.versions(new_node()).await.unwrap_err();
    assert_eq!(gone.kind, CloudErrorKind::Gone);
    let never = Faulty::planned(world.store.clone(), 0, |_, _| Some(Fault::Before));
    let store = Retrying::new(Arc::new(never), Duration::from_secs(3_600));
    assert!(store.wait_head(Rev(0)).await.is_err(), "waiting for the head is not repeated");
    assert!(store.connect().await.is_err(), "nor is connecting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_decides_everything() {
    let world = World::new().await;
    let mut traces = Vec::new();
    for _ in 0..2 {
        let store = Faulty::new(world.store.clone(), 7, 500);
        let mut trace = Vec::new();
        for _ in 0..40 {
            trace.push(store.connect().await.is_ok());
        }
        traces.push(trace);
    }
    assert_eq!(traces[0], traces[1]);
    assert!(traces[0].contains(&true) && traces[0].contains(&false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_store_does_the_same_at_its_rate() {
    let world = World::new().await;
    let rate = NonZeroU32::new(400_000);
    let store = Throttled::new(world.store.clone(), Rates { up: rate, down: rate });
    let bytes = noise(5, 600_000);
    let item = whole(new_node(), bytes.len() as u64);
    let began = std::time::Instant::now();
    let draft =
        one(store.stage(std::slice::from_ref(&item), Memory::of(&item, bytes.clone())).await);
    // 600 KB at 400 KB/s, less the burst of 256 KiB: a lower bound only, so load cannot break it.
    assert!(began.elapsed() > Duration::from_millis(500));
    let op = create(item.id, NodeId::ROOT, "f", Kind::File, Some(draft.unwrap()));
    let GroupOutcome::Done(rev) = store.commit(&flight(vec![vec![op]])).await.unwrap()[0] else {
        panic!("not accepted");
    };
    let began = std::time::Instant::now();
    assert!(fetch_all(&store, fs_core::ContentRef { id: item.id, rev }).await == bytes);
    assert!(began.elapsed() > Duration::from_millis(500));
}
