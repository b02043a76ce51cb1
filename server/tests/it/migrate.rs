//! A store of schema 1 goes on, and nothing that pages of manifests name is lost.

use crate::client::*;
use protocol::{pack::*, wire::*};
use std::path::Path;

/// Makes the database what the release before had: schema 1, and pages that forgot what they name.
fn back_to_schema_1(dir: &Path) {
    let new = dir.join("new.db");
    std::fs::rename(dir.join("store.db"), &new).unwrap();
    let _ = std::fs::remove_file(dir.join("store.db-wal"));
    let _ = std::fs::remove_file(dir.join("store.db-shm"));
    let db = rusqlite::Connection::open(dir.join("store.db")).unwrap();
    db.execute_batch(include_str!("../../src/db/schema.sql")).unwrap();
    db.execute("ATTACH ? AS new", [new.to_str().unwrap()]).unwrap();
    let tables = ["store", "drive", "device", "invite", "node", "history", "version", "log"];
    for table in tables.into_iter().chain(["request", "pack", "chunk"]) {
        let columns: Vec<String> = db
            .prepare("SELECT name FROM pragma_table_info(?)")
            .unwrap()
            .query_map([table], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let columns = columns.join(", ");
        let sql = format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}");
        db.execute_batch(&sql).unwrap();
    }
    db.execute_batch("UPDATE chunk SET refs = NULL; PRAGMA user_version = 1").unwrap();
    db.execute_batch("DETACH new").unwrap();
    std::fs::remove_file(new).unwrap();
}

#[tokio::test]
async fn a_store_of_the_release_before_is_collected_safely() {
    let store = Store::new().await;
    let device = store.device().await;
    let (named, unused) = (chunk_of(1, 9_000), chunk_of(2, 9_000));
    device.put_pack(pack_of(&[named.clone(), unused.clone()])).await;
    let (page, bytes) = chunk_of(3, 100);
    let mut writer = PackWriter::default();
    writer.push(page, &bytes, vec![named.0]);
    let pack = writer.finish();
    device.put_pack(pack.clone()).await;
    let (file, gone) = (fresh(), fresh());
    let rev = device.done(vec![create(file, ROOT, "big", 0, Some(naming(&[page])))]).await;
    let made = device.done(vec![crate::client::file(gone, ROOT, "gone")]).await;
    device.done(vec![trash(gone, made, made)]).await;
    let store = store.restart_with(|_| {}, back_to_schema_1).await;
    let device = Device { base: store.base.clone(), ..device };
    assert_eq!(device.get("/trash").await.ok::<Page>().nodes.len(), 1);
    let dry = store.server.collect(true).await.unwrap().drives.remove(0);
    assert_eq!(dry.held_back.len(), 1, "{dry:?}");
    // While a pack cannot be read nothing is given up.
    let name = protocol::codec::hex(blake3::hash(&pack).as_bytes());
    let folder = store.dir.path().join("packs").join(protocol::codec::hex(&device.drive));
    let path = folder.join(&name[..2]).join(&name);
    std::fs::write(&path, b"rotten").unwrap();
    let store = store.restart_with(keep_nothing, |_| {}).await;
    let device = Device { base: store.base.clone(), ..device };
    let held = store.collect().await;
    assert_eq!((held.held_back.len(), held.condemned.count), (1, 0), "{held:?}");
    std::fs::write(&path, &pack).unwrap();
    for _ in 0..4 {
        store.collect().await;
    }
    let read = device.read_chunks(&[named.0, page, unused.0]).await;
    assert_eq!(read[0], (FrameStatus::Ok, named.1));
    assert_eq!(read[1], (FrameStatus::Ok, bytes));
    assert_eq!(read[2].0, FrameStatus::Missing);
    assert_eq!(device.snapshot(10).await.0[0].content_rev, rev);
    assert!(device.get("/trash").await.ok::<Page>().nodes.is_empty());
}
