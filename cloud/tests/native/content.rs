//! Staging and fetching, by size and by kind of change.

use crate::world::{
    Memory, World, change, create, fetch, fetch_all, fresh, new_node, noise, one, whole,
};
use cloud::{CloudStore, ContentSource};
use fs_core::{
    CloudErrorKind, ContentRef, GroupOutcome, Ino, Kind, NodeId, Op, Range, Ranges, Rev, StageBase,
    StageItem, Timestamp,
};
use std::sync::Arc;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_come_back_as_they_were() {
    let world = World::new().await;
    let sizes = [
        0,
        1,
        2_047,
        2_048,
        2_049,
        65_535,
        65_536,
        65_537,
        131_071,
        131_072,
        300_000,
        5 * MIB + 3,
        30 * MIB,
    ];
    let mut contents = Vec::new();
    for (seed, size) in sizes.into_iter().enumerate() {
        let bytes = noise(seed as u64, size);
        contents.push((world.file(&bytes).await, bytes));
    }
    for reader in [world.store.clone(), world.stranger()] {
        for (content, bytes) in &contents {
            assert!(fetch_all(reader.as_ref(), *content).await == *bytes, "{} bytes", bytes.len());
        }
    }
    let small: Vec<_> = contents.iter().filter(|(_, bytes)| bytes.len() < 8 * MIB).collect();
    let refs: Vec<ContentRef> = small.iter().map(|(content, _)| *content).collect();
    let fetched = world.stranger().fetch_small(&refs).await.unwrap();
    for ((_, bytes), fetched) in small.iter().zip(fetched) {
        assert!(fetched.unwrap() == *bytes, "{} bytes", bytes.len());
    }
    let large = world.store.fetch_small(&[contents[12].0]).await.unwrap();
    assert_eq!(one(large).unwrap_err().kind, CloudErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_reach_exactly_or_beyond() {
    let world = World::new().await;
    let bytes = noise(1, 3 * MIB + 77);
    let content = world.file(&bytes).await;
    let store = world.stranger();
    let end = bytes.len() as u64;
    for (start, stop) in [
        (0, 1),
        (65_535, 65_537),
        (1_000_000, 2_500_000),
        (end - 1, end),
        (end - 5, end + 5),
        (end, end + 1),
        (7, 7),
    ] {
        let got = fetch(store.as_ref(), content, Range::new(start, stop)).await.unwrap();
        let (from, to) = (start.min(end) as usize, stop.min(end) as usize);
        assert!(got == bytes[from..to], "{start}..{stop}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_an_absent_file_needs_none_of_its_bytes() {
    let world = World::new().await;
    let mut bytes = noise(2, 4 * MIB);
    let base = world.file(&bytes).await;
    let edit = Range::at(1_234_567, 4_096);
    bytes[1_234_567..1_234_567 + 4_096].copy_from_slice(&noise(3, 4_096));
    let size = bytes.len() as u64;
    // `Memory` refuses to be read outside of the dirty range.
    let edited = world.publish(change(base, size, size, &[edit]), bytes.clone()).await;
    assert!(fetch_all(world.stranger().as_ref(), edited).await == bytes);
    // Truncated, then extended by a hole.
    let cut = change(edited, 1_300_000, 2_000_000, &[]);
    bytes.truncate(1_300_000);
    bytes.resize(2_000_000, 0);
    let cut = world.publish(cut, bytes.clone()).await;
    assert!(fetch_all(world.stranger().as_ref(), cut).await == bytes);
    let old = fetch_all(world.stranger().as_ref(), base).await;
    assert!(old == noise(2, 4 * MIB), "the version before is what it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparse_file_sends_its_data_only() {
    let world = World::new().await;
    let size = 1_u64 << 40;
    let id = new_node();
    let data = Range::at(size / 2, 10_000);
    let item = StageItem { dirty: [data].into_iter().collect(), ..whole(id, size) };
    struct Sevens;
    impl ContentSource for Sevens {
        fn read_at(&self, _: Ino, _: u64, buffer: &mut [u8]) -> Result<(), String> {
            buffer.fill(7);
            Ok(())
        }
    }
    let draft = one(world.store.stage(&[item], Arc::new(Sevens)).await).unwrap();
    assert_eq!(draft.size, size);
    let rev = world.done(vec![create(id, NodeId::ROOT, "sparse", Kind::File, Some(draft))]).await;
    let content = ContentRef { id, rev };
    let around = Range::new(data.start - 3_000_000, data.end + 3_000_000);
    let got = fetch(world.stranger().as_ref(), content, around).await.unwrap();
    assert_eq!(got.len() as u64, around.len());
    assert_eq!(got.iter().filter(|byte| **byte == 7).count(), 10_000);
    assert!(world.store.traffic().sent < 20_000, "{:?}", world.store.traffic());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_sends_no_bytes() {
    let world = World::new().await;
    for size in [100, 50_000, 40 * MIB] {
        let bytes = noise(size as u64, size);
        let from = world.file(&bytes).await;
        let before = world.store.traffic();
        let to = new_node();
        let size = size as u64;
        let base = Some(StageBase { content: from, len: size });
        let item = StageItem { base, dirty: Ranges::new(), ..whole(to, size) };
        let draft = one(world.store.stage(&[item], Memory::many([])).await).unwrap();
        let text = format!("copy-{}", fresh());
        let rev = world.done(vec![create(to, NodeId::ROOT, &text, Kind::File, Some(draft))]).await;
        let sent = world.store.traffic().sent - before.sent;
        assert!(sent < 16_000, "{sent} bytes for a copy of {size}");
        let copy = ContentRef { id: to, rev };
        assert!(fetch_all(world.stranger().as_ref(), copy).await == bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_content_is_stored_once() {
    let world = World::new().await;
    let bytes = noise(9, 6 * MIB);
    let items: Vec<StageItem> = (0..3).map(|_| whole(new_node(), bytes.len() as u64)).collect();
    let source = Memory::many(items.iter().map(|item| (item, bytes.clone())));
    let drafts = world.store.stage(&items, source).await;
    assert!(drafts.iter().all(Result::is_ok));
    let sent = world.store.traffic().sent;
    assert!(sent < 6_300_000 + 100_000, "{sent} bytes sent for three equal files of 6 MiB");
    // Another client asks, and sends nothing either.
    let other = world.stranger();
    let item = whole(new_node(), bytes.len() as u64);
    one(other.stage(std::slice::from_ref(&item), Memory::of(&item, bytes)).await).unwrap();
    assert!(other.traffic().sent < 10_000, "{:?}", other.traffic());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_take_few_requests() {
    let world = World::new().await;
    let before = world.store.traffic();
    let items: Vec<StageItem> = (0..1_000).map(|_| whole(new_node(), 4_096)).collect();
    let bytes = |index: usize| noise(index as u64 + 1, 4_096);
    let files = items.iter().enumerate().map(|(index, item)| (item, bytes(index)));
    let drafts = world.store.stage(&items, Memory::many(files)).await;
    let group = |(item, draft): (&StageItem, Result<_, _>)| {
        let text = format!("small-{}", fresh());
        vec![create(item.id, NodeId::ROOT, &text, Kind::File, Some(draft.unwrap()))]
    };
    let outcomes = world.commit(items.iter().zip(drafts).map(group).collect()).await;
    let requests = world.store.traffic().requests - before.requests;
    assert!(requests <= 2, "{requests} requests for 1,000 new files");
    let GroupOutcome::Done(rev) = outcomes[0] else { panic!("{:?}", outcomes[0]) };
    let refs: Vec<ContentRef> = items.iter().map(|item| ContentRef { id: item.id, rev }).collect();
    let reader = world.stranger();
    let fetched = reader.fetch_small(&refs).await.unwrap();
    for (index, fetched) in fetched.into_iter().enumerate() {
        assert!(fetched.unwrap() == bytes(index));
    }
    assert!(reader.traffic().requests <= 4, "{:?}", reader.traffic());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_file_does_not_spoil_the_others() {
    let world = World::new().await;
    let items = [whole(new_node(), 5_000), whole(new_node(), 3_000_000), whole(new_node(), 100)];
    // The second file cannot be read.
    let source = Memory::many([(&items[0], vec![1; 5_000]), (&items[2], vec![2; 100])]);
    let drafts = world.store.stage(&items, source).await;
    assert!(drafts[0].is_ok() && drafts[2].is_ok());
    let error = drafts[1].as_ref().unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Local);
    let absent = ContentRef { id: new_node(), rev: Rev(77) };
    let real = world.file(&noise(1, 3_000)).await;
    let fetched = world.store.fetch_small(&[absent, real]).await.unwrap();
    assert_eq!(fetched[0].as_ref().unwrap_err().kind, CloudErrorKind::Gone);
    assert!(fetched[1].is_ok());
    let gone = world
        .store
        .stage(&[change(absent, 9_000, 9_000, &[Range::new(0, 10)])], Memory::many([]))
        .await;
    assert_eq!(one(gone).unwrap_err().kind, CloudErrorKind::Gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_base_does_not_matter_when_all_of_it_is_here() {
    let world = World::new().await;
    let bytes = noise(5, MIB);
    let lost = ContentRef { id: new_node(), rev: Rev(99) };
    let size = bytes.len() as u64;
    let mut item = change(lost, size, size, &[Range::new(0, 10)]);
    item.valid = [Range::new(10, size)].into_iter().collect();
    let draft =
        one(world.store.stage(std::slice::from_ref(&item), Memory::of(&item, bytes.clone())).await);
    let draft = draft.unwrap();
    let rev = world.done(vec![create(item.id, NodeId::ROOT, "f", Kind::File, Some(draft))]).await;
    assert!(fetch_all(world.stranger().as_ref(), ContentRef { id: item.id, rev }).await == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragmented_file_is_cut_anew_when_it_is_all_here() {
    let world = World::new().await;
    let mut bytes = noise(6, MIB);
    let size = bytes.len() as u64;
    let mut content = world.file(&bytes).await;
    for step in 0..60 {
        let at = step * 16_384;
        bytes[at..at + 100].copy_from_slice(&noise(1_000 + step as u64, 100));
        let item = change(content, size, size, &[Range::at(at as u64, 100)]);
        content = world.publish(item, bytes.clone()).await;
    }
    let mut item = change(content, size, size, &[Range::new(0, 100)]);
    item.valid = [Range::new(100, size)].into_iter().collect();
    let before = world.store.traffic().sent;
    content = world.publish(item, bytes.clone()).await;
    let sent = world.store.traffic().sent - before;
    assert!(sent > size / 2, "all that had changed was sent anew: {sent}");
    let reader = world.stranger();
    assert!(fetch_all(reader.as_ref(), content).await == bytes);
    let received = reader.traffic().received;
    assert!(received < size + 20_000, "it is whole again: {received} bytes to read {size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_the_server_lost_are_staged_again() {
    let world = World::new().await;
    let id = new_node();
    let bytes = noise(8, 50_000);
    let draft = world.stage_whole(id, &bytes).await;
    // Another drive on another server has never heard of these chunks, but this client's memory of
    // them is what a server restored from a backup looks like.
    let other = World::new().await;
    let op = create(id, NodeId::ROOT, "f", Kind::File, Some(draft));
    assert_eq!(other.commit(vec![vec![op]]).await, [GroupOutcome::Unstaged]);
    let draft = other.stage_whole(id, &bytes).await;
    let op = Op::Create {
        id,
        parent: NodeId::ROOT,
        name: crate::world::name("f"),
        kind: Kind::File,
        attrs: crate::world::attrs(0o644),
        content: Some(draft),
    };
    let rev = other.done(vec![op]).await;
    assert!(fetch_all(other.stranger().as_ref(), ContentRef { id, rev }).await == bytes);
    assert_eq!(other.store.versions(id).await.unwrap()[0].mtime, Timestamp(42));
}
