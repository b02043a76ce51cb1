//! A server whose disk rots, or that serves one thing for another.

use crate::world::{Memory, World, fetch, noise, whole};
use bytes::Bytes;
use cloud::{CloudStore, Damage, Held};
use fs_core::{CloudErrorKind, ContentRef, Range};
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

/// Reads all of a version, however much of it fails, so that the store finds what it has lost.
async fn read_through(world: &World, content: ContentRef, len: u64) {
    const STEP: u64 = 256 << 10;
    for start in (0..len).step_by(STEP as usize) {
        let _ = fetch(world.store.as_ref(), content, Range::at(start, STEP)).await;
    }
    // It remembers the manifest, of which parts may be lost, too.
    let _ = fetch(world.stranger().as_ref(), content, Range::new(0, len)).await;
}

async fn lost(world: &World) -> Damage {
    let mut found = world.store.damage().await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// A file so large that its manifest has pages, all of which the store has lost, with the rest of it.
async fn lost_file(world: &World, bytes: &[u8]) -> (ContentRef, Damage) {
    let content = world.file(bytes).await;
    assert_eq!(world.store.damage().await.unwrap(), []);
    for pack in world.packs() {
        std::fs::remove_file(pack).unwrap();
    }
    read_through(world, content, bytes.len() as u64).await;
    let damage = lost(world).await;
    assert_eq!(damage.content, content);
    assert!(damage.chunks.len() > 66, "{}", damage.chunks.len());
    (content, damage)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_has_lost_is_sent_again() {
    let world = World::new().await;
    let bytes = noise(5, 32 << 20);
    let size = bytes.len() as u64;
    let (content, damage) = lost_file(&world, &bytes).await;
    let item = whole(content.id, size);
    let held = Held { ino: item.ino, here: [Range::new(0, size)].into_iter().collect() };
    // Whoever has other bytes heals nothing, and nothing of it reaches the store.
    let wrong = Memory::of(&item, noise(6, size as usize));
    assert_eq!(world.stranger().mend(&damage, &held, wrong).await.unwrap(), 0);
    assert_eq!(world.packs().len(), 0);
    assert_eq!(lost(&world).await, damage);
    // Whoever has all of it needs no manifest.
    let source = Memory::of(&item, bytes.clone());
    let sent = world.stranger().mend(&damage, &held, source).await.unwrap();
    assert_eq!(sent, damage.chunks.len() as u64);
    assert_eq!(world.store.damage().await.unwrap(), []);
    let all = Range::new(0, u64::MAX);
    assert!(fetch(world.stranger().as_ref(), content, all).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_of_a_lost_version_is_sent_again() {
    let world = World::new().await;
    let bytes = noise(7, 32 << 20);
    let size = bytes.len() as u64;
    let (content, damage) = lost_file(&world, &bytes).await;
    let item = whole(content.id, size);
    let half = Held { ino: item.ino, here: [Range::new(0, size / 2)].into_iter().collect() };
    let source = Memory::of(&item, bytes.clone());
    // Who does not know the manifest cannot tell what is whose.
    assert_eq!(world.stranger().mend(&damage, &half, source.clone()).await.unwrap(), 0);
    // Who remembers it heals that half, and the manifest.
    let some = world.store.mend(&damage, &half, source.clone()).await.unwrap();
    assert!(some > 20 && some < damage.chunks.len() as u64, "{some}");
    let rest = lost(&world).await;
    assert_eq!(rest.chunks.len() as u64 + some, damage.chunks.len() as u64);
    let half = Range::new(0, size / 4);
    let read = fetch(world.stranger().as_ref(), content, half).await.unwrap();
    assert!(read[..half.end as usize] == bytes[..half.end as usize]);
    let other = Held { here: [Range::new(size / 4, size)].into_iter().collect(), ino: item.ino };
    let sent = world.stranger().mend(&rest, &other, source).await.unwrap();
    assert_eq!(sent, rest.chunks.len() as u64);
    assert_eq!(world.store.damage().await.unwrap(), []);
}
