//! A server whose disk rots, or that serves one thing for another.

use crate::world::{World, fetch, noise};
use bytes::Bytes;
use cloud::CloudStore;
use fs_core::{CloudErrorKind, Range};
use std::sync::{Arc, Mutex};

#[tokio::test(flavor = "multi_thread")]
async fn no_wrong_byte_is_ever_delivered() {
    let world = World::new().await;
    let bytes = noise(4, 3 << 20);
    let content = world.file(&bytes).await;
    let packs = world.packs();
    assert!(!packs.is_empty());
    let pack = &packs[0];
    let whole = std::fs::read(pack).unwrap();
    let mut refused = 0;
    // Steps that hit heads, bodies and tags of segments.
    for at in (40..whole.len() - 500).step_by(whole.len() / 40) {
        let mut rotten = whole.clone();
        rotten[at] ^= 0x10;
        std::fs::write(pack, &rotten).unwrap();
        let parts: Arc<Mutex<Vec<(u64, Bytes)>>> = Arc::default();
        let into = parts.clone();
        let mut sink = move |at: u64, part: Bytes| into.lock().unwrap().push((at, part));
        let all = Range::new(0, bytes.len() as u64);
        let result = world.stranger().fetch(content, all, &mut sink).await;
        let error = result.expect_err("a flipped bit was not noticed");
        assert_eq!(error.kind, CloudErrorKind::Corrupt, "byte {at}: {error}");
        refused += 1;
        for (at, part) in parts.lock().unwrap().iter() {
            assert!(bytes[*at as usize..][..part.len()] == part[..], "a wrong byte at {at}");
        }
        let small = world.stranger().fetch_small(&[content]).await.unwrap();
        assert_eq!(small[0].as_ref().unwrap_err().kind, CloudErrorKind::Corrupt);
    }
    assert!(refused >= 40);
    std::fs::write(pack, &whole).unwrap();
    let all = Range::new(0, u64::MAX);
    assert!(fetch(world.stranger().as_ref(), content, all).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_names_the_file_and_its_version() {
    let world = World::new().await;
    let content = world.file(&noise(4, 300_000)).await;
    for pack in world.packs() {
        let mut bytes = std::fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&pack, bytes).unwrap();
    }
    let all = Range::new(0, u64::MAX);
    let error = fetch(world.store.as_ref(), content, all).await.unwrap_err();
    let id = format!("{:?}", content.id);
    assert!(error.message.contains(&id), "{error}");
    assert!(error.message.contains(&format!("rev {}", content.rev.0)), "{error}");
}
