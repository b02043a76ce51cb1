//! What collections let go of, and what they must not.

use crate::client::*;
use protocol::{operator::*, pack::*, wire::*};
use serde_bytes::ByteArray;
use server::Keep;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn versions(device: &Device, id: Raw) -> Vec<u64> {
    let path = format!("/nodes/{}/versions", protocol::codec::hex(&id));
    let found: Versions = device.get(&path).await.ok();
    found.versions.iter().map(|version| version.rev).collect()
}

#[tokio::test]
async fn unused_chunks_go_in_two_looks_and_their_packs_after_them() {
    let store = Store::with(keep_nothing).await;
    let device = store.device().await;
    let (used, unused) = (chunk_of(1, 30_000), chunk_of(2, 60_000));
    let pack = pack_of(&[used.clone(), unused.clone()]);
    device.put_pack(pack.clone()).await;
    device.done(vec![create(fresh(), ROOT, "a", 0, Some(naming(&[used.0])))]).await;
    let first = store.collect().await;
    assert_eq!((first.condemned.count, first.deleted.count), (1, 0));
    // A condemned chunk counts as missing, but can still be read.
    let group = vec![create(fresh(), ROOT, "b", 0, Some(naming(&[unused.0])))];
    let refused = device.commit(vec![group]).await;
    let missing = vec![ByteArray::new(unused.0)];
    assert_eq!(refused.outcomes, [Outcome::ChunksMissing { chunks: missing }]);
    assert_eq!(device.read_chunks(&[unused.0]).await[0].0, FrameStatus::Ok);
    // The second look gives it up, and the pack is sparse now: what is used moves.
    let second = store.collect().await;
    assert_eq!((second.condemned.count, second.deleted.count), (0, 1));
    assert_eq!((second.repacked.count, second.moved_bytes), (1, used.1.len() as u64));
    let third = store.collect().await;
    assert_eq!((third.held.count, third.dropped.count), (1, 0));
    let fourth = store.collect().await;
    assert_eq!((fourth.dropped.count, fourth.dropped.bytes), (1, pack.len() as u64));
    assert_eq!(device.read_chunks(&[used.0]).await, [(FrameStatus::Ok, used.1.clone())]);
    assert_eq!(device.read_chunks(&[unused.0]).await[0].0, FrameStatus::Missing);
    let left = device.get("").await.ok::<Drive>().used_bytes;
    assert!(left < 32_000, "{left} bytes are counted");
    // The same pack again is taken as if it were new.
    assert_eq!(device.put_pack(pack).await.status, 201);
    let group = vec![create(fresh(), ROOT, "b", 0, Some(naming(&[unused.0])))];
    device.done(group).await;
    assert_eq!(device.read_chunks(&[unused.0]).await, [(FrameStatus::Ok, unused.1)]);
}

#[tokio::test]
async fn what_was_sent_or_asked_for_waits_for_its_commit() {
    let lease = |config: &mut server::ServerConfig| {
        keep_nothing(config);
        config.keep.lease = DAY;
    };
    let store = Store::with(lease).await;
    let device = store.device().await;
    let (id, bytes) = chunk_of(1, 5_000);
    device.put_pack(pack_of(&[(id, bytes)])).await;
    assert_eq!(store.collect().await.condemned.count, 0);
    // Asked for just before its lease ends: it has a new one.
    let store = store.restart_with(lease, |dir| pass(dir, DAY - HOUR / 2)).await;
    let device = Device { base: store.base.clone(), ..device };
    let ask = ChunkQuery { chunks: vec![ByteArray::new(id)] };
    let answer: ChunkPresence = device.post("/chunks/query", &ask).await.ok();
    assert_eq!(answer.present, [true]);
    let store = store.restart_with(lease, |dir| pass(dir, DAY - HOUR)).await;
    assert_eq!(store.collect().await.condemned.count, 0);
    let store = store.restart_with(lease, |dir| pass(dir, 2 * HOUR)).await;
    assert_eq!(store.collect().await.condemned.count, 1);
}

/// A page that names chunks, in a pack of its own.
fn page_of(named: &[[u8; 32]]) -> ([u8; 32], Vec<u8>) {
    let (id, bytes) = chunk_of(u64::from(named[0][0]) + 1_000, 100);
    let mut writer = PackWriter::default();
    writer.push(id, &bytes, named.to_vec());
    (id, writer.finish())
}

#[tokio::test]
async fn what_pages_name_stays_as_long_as_they_do() {
    let store = Store::with(keep_nothing).await;
    let device = store.device().await;
    let chunks: Vec<_> = (0..5).map(|seed| chunk_of(seed, 2_000)).collect();
    let ids: Vec<[u8; 32]> = chunks.iter().map(|(id, _)| *id).collect();
    device.put_pack(pack_of(&chunks)).await;
    let (page, pack) = page_of(&ids);
    device.put_pack(pack).await;
    let node = fresh();
    let rev = device.done(vec![create(node, ROOT, "big", 0, Some(naming(&[page])))]).await;
    for _ in 0..5 {
        let done = store.collect().await;
        assert_eq!((done.condemned.count, done.deleted.count), (0, 0));
    }
    device.done(vec![trash(node, rev, rev)]).await;
    let mut deleted = 0;
    for _ in 0..3 {
        deleted += store.collect().await.deleted.count;
    }
    assert_eq!(deleted, 6);
    let found = device.read_chunks(&ids).await;
    assert!(found.iter().all(|(status, _)| *status == FrameStatus::Missing));
}

#[tokio::test]
async fn a_dry_run_says_what_goes_and_changes_nothing() {
    let store = Store::with(keep_nothing).await;
    let device = store.device().await;
    let (old, new) = (chunk_of(1, 9_000), chunk_of(2, 9_000));
    device.put_pack(pack_of(&[old.clone(), new.clone()])).await;
    let (file, gone) = (fresh(), fresh());
    let rev = device.done(vec![create(file, ROOT, "a", 0, Some(naming(&[old.0])))]).await;
    let op = Op::SetContent { id: ByteArray::new(file), base: rev, content: naming(&[new.0]) };
    device.done(vec![op]).await;
    let rev = device.done(vec![crate::client::file(gone, ROOT, "b")]).await;
    device.done(vec![trash(gone, rev, rev)]).await;
    for _ in 0..2 {
        let dry = store.server.collect(true).await.unwrap();
        assert!(dry.dry_run);
        let dry = &dry.drives[0];
        assert_eq!((dry.versions.count, dry.trash.count, dry.condemned.count), (1, 1, 1));
        assert_eq!(dry.condemned.bytes, old.1.len() as u64);
        let whys: Vec<&str> = dry.items.iter().map(|item| item.why.as_str()).collect();
        assert!(whys.iter().any(|why| why.contains("replaced")), "{whys:?}");
        assert!(whys.iter().any(|why| why.contains("trash")), "{whys:?}");
    }
    assert_eq!(versions(&device, file).await.len(), 2);
    assert_eq!(device.get("/trash").await.ok::<Page>().nodes.len(), 1);
    let real = store.collect().await;
    assert_eq!((real.versions.count, real.trash.count, real.condemned.count), (1, 1, 1));
    assert_eq!(versions(&device, file).await.len(), 1);
    assert_eq!(device.get("/trash").await.ok::<Page>().nodes.len(), 0);
}

#[tokio::test]
async fn versions_and_trash_stay_as_long_as_they_should() {
    let defaults = |config: &mut server::ServerConfig| config.keep = Keep::default();
    let mut store = Store::with(defaults).await;
    let mut device = store.device().await;
    let (file, gone) = (fresh(), fresh());
    let mut rev = device.done(vec![crate::client::file(file, ROOT, "a")]).await;
    for text in ["b", "c", "d"] {
        rev = device.done(vec![set_content(file, rev, text)]).await;
    }
    let made = device.done(vec![crate::client::file(gone, ROOT, "gone")]).await;
    device.done(vec![trash(gone, made, made)]).await;
    // Whole days later, so that the four versions are of one hour (or, at its end, of two).
    let expected = [(0, 4..=4, 1), (2, 1..=2, 1), (6, 1..=2, 1), (23, 1..=1, 0)];
    for (days, left, trashed) in expected {
        store = store.restart_with(defaults, |dir| pass(dir, days * DAY)).await;
        device.base = store.base.clone();
        store.collect().await;
        let found = versions(&device, file).await;
        assert!(left.contains(&found.len()), "{days} days on: {found:?}");
        assert_eq!(found[0], rev);
        assert_eq!(device.get("/trash").await.ok::<Page>().nodes.len(), trashed, "{days}");
    }
    // Its id is never used again, and nothing brings it back.
    let again = device.commit(vec![vec![crate::client::file(gone, ROOT, "new")]]).await;
    assert!(matches!(again.outcomes[..], [Outcome::Conflict { .. }]), "{again:?}");
    let back = device.commit(vec![vec![restore(gone, made + 1, ROOT, "back")]]).await;
    assert!(matches!(back.outcomes[..], [Outcome::Conflict { .. }]), "{back:?}");
}

/// The machine's clock has no say: rows that claim to be from long ago, or from the future, are as
/// old as the store has run since.
#[tokio::test]
async fn a_clock_that_jumps_thins_nothing() {
    let store = Store::new().await;
    let device = store.device().await;
    let file = fresh();
    let rev = device.done(vec![crate::client::file(file, ROOT, "a")]).await;
    device.done(vec![set_content(file, rev, "b")]).await;
    let jump = |dir: &std::path::Path| {
        let db = rusqlite::Connection::open(dir.join("store.db")).unwrap();
        let year = 365 * DAY.as_millis() as i64;
        db.execute("UPDATE version SET stored_ms = stored_ms - ?", [year]).unwrap();
        db.execute("UPDATE log SET stored_ms = stored_ms - ?", [year]).unwrap();
    };
    let store = store.restart_with(|_| {}, jump).await;
    let device = Device { base: store.base.clone(), ..device };
    assert_eq!(store.collect().await.versions.count, 0);
    assert_eq!(versions(&device, file).await.len(), 2);
}

#[tokio::test]
async fn the_operator_asks_at_a_door_of_their_own() {
    let store = Store::new().await;
    store.device().await;
    let file = store.dir.path().join(server::DOOR_FILE);
    let door: Door = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let ask = |path: &str, token: &str| {
        let request = store.http.post(format!("{}{path}", door.url)).bearer_auth(token);
        async { request.send().await.unwrap() }
    };
    assert_eq!(ask(COLLECT_PATH, "wrong").await.status(), 401);
    let answer = ask(DRY_RUN_PATH, &door.token).await;
    assert_eq!(answer.status(), 200);
    let dry: Collection = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert!(dry.dry_run && dry.drives.len() == 1);
    let answer = ask(SCRUB_PATH, &door.token).await;
    let scrub: Scrub = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert!(scrub.database.is_empty(), "{scrub:?}");
    let Store { server, dir, .. } = store;
    server.stop().await;
    assert!(!file.exists());
    // Nobody serves it now: the same without a door.
    let kept = server::Maintenance::open(dir.path(), Keep::default()).unwrap();
    assert!(!kept.collect(false).await.unwrap().dry_run);
    assert!(server::Maintenance::open(dir.path(), Keep::default()).is_err());
    kept.close();
}
