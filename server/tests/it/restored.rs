//! A store that came back from a backup begins a new life, and says how much of the old one it has.

use crate::client::*;
use protocol::wire::Drive;
use std::{fs, path::Path};

async fn asked(device: &Device, epoch: u64, known: u64) -> Drive {
    device.get(&format!("?epoch={epoch}&known={known}")).await.ok()
}

async fn described(device: &Device) -> Drive {
    device.get("").await.ok()
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from.join("store.db"), to.join("copy.db")).unwrap();
}

/// Two commits, then a copy of the database, then one more.
async fn gone_on() -> (Store, Device, Drive) {
    let store = Store::new().await;
    let device = store.device().await;
    for name in ["one", "two"] {
        device.done(vec![file(fresh(), ROOT, name)]).await;
    }
    let store = store.restart_with(|_| {}, |dir| copy(dir, dir)).await;
    let device = Device { base: store.base.clone(), ..device };
    device.done(vec![file(fresh(), ROOT, "three")]).await;
    let drive = described(&device).await;
    assert_eq!((drive.head, drive.common), (3, None));
    (store, device, drive)
}

#[tokio::test]
async fn a_restart_is_the_same_life() {
    let (store, device, before) = gone_on().await;
    let store = store.restart().await;
    let device = Device { base: store.base.clone(), ..device };
    assert_eq!(asked(&device, before.epoch, 3).await, before);
}

/// Makes the database what the release before had.
fn back_to_schema_2(dir: &Path) {
    let db = rusqlite::Connection::open(dir.join("store.db")).unwrap();
    let sql = "DROP TABLE life_start; DROP TABLE life; ALTER TABLE store DROP COLUMN identity; \
               PRAGMA user_version = 2";
    db.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_store_of_the_release_before_goes_on_as_it_was() {
    let (store, device, before) = gone_on().await;
    let store = store.restart_with(|_| {}, back_to_schema_2).await;
    let device = Device { base: store.base.clone(), ..device };
    assert_eq!(asked(&device, before.epoch, 3).await, before);
    let lost = asked(&device, before.epoch, 4).await;
    assert_eq!(lost.common, Some(3), "the life before is known by its epoch");
}

#[tokio::test]
async fn a_copied_database_begins_a_new_life_before_anybody_asks() {
    let (store, device, before) = gone_on().await;
    let restore = |dir: &Path| {
        fs::remove_file(dir.join("store.db")).unwrap();
        fs::rename(dir.join("copy.db"), dir.join("store.db")).unwrap();
    };
    let store = store.restart_with(|_| {}, restore).await;
    let device = Device { base: store.base.clone(), ..device };
    device.done(vec![file(fresh(), ROOT, "other")]).await;
    let after = asked(&device, before.epoch, 3).await;
    assert_ne!(after.epoch, before.epoch);
    assert_eq!((after.head, after.common), (3, Some(2)), "commit 3 is another one");
    assert_eq!(asked(&device, before.epoch, 1).await.common, Some(2));
    assert_eq!(asked(&device, before.epoch ^ 1, 3).await.common, Some(0), "no such life");
    assert_eq!(asked(&device, after.epoch, 3).await, described(&device).await);
}

#[tokio::test]
async fn a_database_that_was_copied_over_is_found_by_what_a_device_knows() {
    let (store, device, before) = gone_on().await;
    let restore = |dir: &Path| {
        fs::copy(dir.join("copy.db"), dir.join("store.db")).unwrap();
    };
    let store = store.restart_with(|_| {}, restore).await;
    let device = Device { base: store.base.clone(), ..device };
    assert_eq!(asked(&device, before.epoch, 2).await.epoch, before.epoch, "nobody knows it yet");
    let found = asked(&device, before.epoch, 3).await;
    assert_ne!(found.epoch, before.epoch);
    assert_eq!((found.head, found.common), (2, Some(2)));
    assert_eq!(asked(&device, before.epoch, 3).await.epoch, found.epoch, "one life, not two");
}
