//! Bytes that rot are found, told, and asked for again.

use crate::client::*;
use protocol::{codec::hex, pack::FrameStatus, wire::*};
use std::path::{Path, PathBuf};

fn file_of(dir: &Path, drive: &Raw, pack: &[u8]) -> PathBuf {
    let name = hex(blake3::hash(pack).as_bytes());
    dir.join("packs").join(hex(drive)).join(&name[..2]).join(name)
}

#[tokio::test]
async fn rot_is_found_told_and_healed() {
    let store = Store::new().await;
    let device = store.device().await;
    let (good, bad, lost) = (chunk_of(1, 8_000), chunk_of(2, 8_000), chunk_of(3, 8_000));
    let packs = [&good, &bad, &lost].map(|chunk| pack_of(std::slice::from_ref(chunk)));
    for pack in &packs {
        device.put_pack(pack.clone()).await;
    }
    let nodes = [fresh(), fresh(), fresh()];
    let mut revs = Vec::new();
    for (node, (id, _)) in nodes.iter().zip([&good, &bad, &lost]) {
        let op = create(*node, ROOT, &hex(id), 0, Some(naming(&[*id])));
        revs.push(device.done(vec![op]).await);
    }
    let clean = store.server.scrub().await.unwrap();
    assert_eq!((clean.packs.count, clean.drives[0].bad_packs.len()), (3, 0));
    assert!(clean.database.is_empty() && clean.drives[0].bad_files == 0);
    assert!(device.get("/damaged").await.ok::<Damaged>().items.is_empty());

    let path = file_of(store.dir.path(), &device.drive, &packs[1]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[500] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_file(file_of(store.dir.path(), &device.drive, &packs[2])).unwrap();
    let found = store.server.scrub().await.unwrap().drives.remove(0);
    assert_eq!(found.bad_packs.len(), 2, "{found:?}");
    let mut files: Vec<(String, u64, bool)> =
        found.files.iter().map(|file| (file.node.clone(), file.rev, file.current)).collect();
    files.sort();
    let mut expected: Vec<_> =
        (1..3).map(|index| (hex(&nodes[index]), revs[index], true)).collect();
    expected.sort();
    assert_eq!(files, expected);
    let damaged: Damaged = device.get("/damaged").await.ok();
    assert_eq!(damaged.items.len(), 2);
    let named: Vec<Hash> = damaged.items.iter().flat_map(|item| item.chunks.clone()).collect();
    assert!(named.iter().any(|id| **id == bad.0) && named.iter().any(|id| **id == lost.0));

    // Somebody who has the bytes sends the chunks again, in a pack of their own making.
    device.put_pack(pack_of(&[bad.clone(), lost.clone()])).await;
    let healed = store.server.scrub().await.unwrap().drives.remove(0);
    assert_eq!(healed.bad_files, 0, "{healed:?}");
    let read = device.read_chunks(&[good.0, bad.0, lost.0]).await;
    assert_eq!(read, [good.1, bad.1, lost.1].map(|bytes| (FrameStatus::Ok, bytes)));
    assert!(device.get("/damaged").await.ok::<Damaged>().items.is_empty());
}

#[tokio::test]
async fn a_pack_that_comes_back_is_good_again() {
    let store = Store::new().await;
    let device = store.device().await;
    let (id, bytes) = chunk_of(1, 8_000);
    let pack = pack_of(&[(id, bytes.clone())]);
    device.put_pack(pack.clone()).await;
    device.done(vec![create(fresh(), ROOT, "a", 0, Some(naming(&[id])))]).await;
    let path = file_of(store.dir.path(), &device.drive, &pack);
    std::fs::write(&path, b"nonsense").unwrap();
    assert_eq!(store.server.scrub().await.unwrap().drives[0].bad_packs.len(), 1);
    std::fs::write(&path, &pack).unwrap();
    let again = store.server.scrub().await.unwrap().drives.remove(0);
    assert_eq!((again.bad_packs.len(), again.healed, again.bad_files), (0, 1, 0));
    assert_eq!(device.read_chunks(&[id]).await, [(FrameStatus::Ok, bytes)]);
}

/// Rows that lie about where chunks are, or that are gone, are found; places are put right from the
/// packs themselves.
#[tokio::test]
async fn faults_of_the_database_are_found() {
    let store = Store::new().await;
    let device = store.device().await;
    let (a, b) = (chunk_of(1, 8_000), chunk_of(2, 8_000));
    device.put_pack(pack_of(&[a.clone(), b.clone()])).await;
    device.done(vec![create(fresh(), ROOT, "a", 0, Some(naming(&[a.0])))]).await;
    device.done(vec![create(fresh(), ROOT, "b", 0, Some(naming(&[b.0])))]).await;
    let harm = |dir: &Path| {
        let db = rusqlite::Connection::open(dir.join("store.db")).unwrap();
        db.execute("UPDATE chunk SET at = at + 3 WHERE id = ?", [a.0]).unwrap();
        db.execute("DELETE FROM chunk WHERE id = ?", [b.0]).unwrap();
    };
    let store = store.restart_with(|_| {}, harm).await;
    let device = Device { base: store.base.clone(), ..device };
    let found = store.server.scrub().await.unwrap().drives.remove(0);
    assert_eq!((found.bad_packs.len(), found.bad_files), (0, 1), "{found:?}");
    assert_eq!(device.read_chunks(&[a.0]).await, [(FrameStatus::Ok, a.1)]);
}
