//! What goes over the wire for a small change of a large file, and for a small read.

use crate::world::{World, change, fetch, noise};
use cloud::Traffic;
use fs_core::{ContentRef, Range};

const MIB: usize = 1 << 20;

/// A file of 256 MiB on the server.
async fn large(world: &World) -> (ContentRef, Vec<u8>) {
    let bytes = noise(77, 256 * MIB);
    (world.file(&bytes).await, bytes)
}

fn since(now: Traffic, before: Traffic) -> Traffic {
    Traffic {
        requests: now.requests - before.requests,
        sent: now.sent - before.sent,
        received: now.received - before.received,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_changes_of_a_large_absent_file_stay_small() {
    let world = World::new().await;
    let (base, mut bytes) = large(&world).await;
    let size = bytes.len() as u64;

    let reader = world.stranger();
    let range = Range::at(123_456_789, 4_096);
    let read = fetch(reader.as_ref(), base, range).await.unwrap();
    assert!(read == bytes[123_456_789..][..4_096]);
    let cost = reader.traffic();
    println!("4 KiB read, cold: {cost:?}");
    assert!(cost.received <= 150_000 && cost.requests <= 3, "{cost:?}");

    // A client that knows nothing of the file.
    let editor = World { store: world.stranger(), ..world };
    let at = 100 * MIB + 321;
    bytes[at..at + 4_096].copy_from_slice(&noise(1, 4_096));
    let item = change(base, size, size, &[Range::at(at as u64, 4_096)]);
    let edited = editor.publish(item, bytes.clone()).await;
    let cost = editor.store.traffic();
    println!("4 KiB edit, cold: {cost:?}");
    assert!(cost.sent <= 16 << 10, "{cost:?}");
    assert!(cost.received <= 16 << 10 && cost.requests <= 4, "{cost:?}");

    let before = editor.store.traffic();
    bytes.extend_from_slice(&noise(2, MIB));
    let grown = size + MIB as u64;
    let item = change(edited, size, grown, &[Range::new(size, grown)]);
    let appended = editor.publish(item, bytes.clone()).await;
    let cost = since(editor.store.traffic(), before);
    println!("1 MiB append, warm: {cost:?}");
    assert!(cost.sent <= 1_150_000, "{cost:?}");

    let whole = fetch(editor.stranger().as_ref(), appended, Range::new(0, grown)).await.unwrap();
    assert!(whole == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_absent_file_is_read_in_one_round_trip() {
    let world = World::new().await;
    for len in [1_000, 20_000, 100_000] {
        let bytes = noise(len as u64, len);
        let content = world.file(&bytes).await;
        let reader = world.stranger();
        let read = fetch(reader.as_ref(), content, Range::new(0, 4_096.min(len as u64))).await;
        assert!(bytes.starts_with(&read.unwrap()));
        let whole = fetch(reader.as_ref(), content, Range::new(0, len as u64)).await.unwrap();
        assert!(whole == bytes);
        assert_eq!(reader.traffic().requests, 2, "{len} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_bytes_of_a_large_absent_file_take_two_round_trips() {
    let world = World::new().await;
    for mib in [3, 60] {
        let bytes = noise(mib as u64, mib * MIB);
        let content = world.file(&bytes).await;
        let reader = world.stranger();
        let read = fetch(reader.as_ref(), content, Range::new(0, 4_096)).await.unwrap();
        assert!(bytes.starts_with(&read));
        let cost = reader.traffic();
        assert!(cost.requests == 2 && cost.received <= 150_000, "{mib} MiB: {cost:?}");
    }
}
