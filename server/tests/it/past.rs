//! The tree as it was, what was done by whom, and devices.

use crate::client::*;
use protocol::{codec::hex, wire::*};
use std::time::Duration;

async fn children(device: &Device, dir: Raw, rev: u64) -> Vec<(Vec<u8>, u64)> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/nodes/{}/children?rev={rev}&limit=2{after}", hex(&dir));
        let page: Page = device.get(&path).await.ok();
        assert_eq!(page.rev, rev);
        found.extend(page.nodes.into_iter().map(|node| (node.name.into_vec(), node.content_rev)));
        match page.next {
            Some(next) => after = format!("&after={}", hex(&next)),
            None => break,
        }
    }
    found.sort();
    found
}

fn names(found: &[(Vec<u8>, u64)]) -> Vec<&str> {
    found.iter().map(|(name, _)| std::str::from_utf8(name).unwrap()).collect()
}

#[tokio::test]
async fn folders_as_they_were() {
    let store = Store::new().await;
    let device = store.device().await;
    let (sub, a, b) = (fresh(), fresh(), fresh());
    let r1 = device.done(vec![dir(sub, ROOT, "sub")]).await;
    let r2 = device.done(vec![file(a, ROOT, "a")]).await;
    let r3 = device.done(vec![file(b, sub, "b")]).await;
    let r4 = device.done(vec![set_content(a, r2, "new")]).await;
    let r5 = device.done(vec![move_to(a, r2, sub, "moved")]).await;
    let r6 = device.done(vec![trash(b, r3, r3)]).await;
    for name in ["c", "d", "e"] {
        device.done(vec![file(fresh(), ROOT, name)]).await;
    }
    assert_eq!(names(&children(&device, ROOT, 0).await), [""; 0]);
    assert_eq!(names(&children(&device, ROOT, r1).await), ["sub"]);
    assert_eq!(children(&device, ROOT, r2).await[0], (b"a".to_vec(), r2));
    assert_eq!(names(&children(&device, ROOT, r3).await), ["a", "sub"]);
    assert_eq!(children(&device, ROOT, r4).await[0], (b"a".to_vec(), r4));
    assert_eq!(names(&children(&device, sub, r5).await), ["b", "moved"]);
    assert_eq!(names(&children(&device, sub, r6).await), ["moved"]);
    assert_eq!(names(&children(&device, ROOT, r6 + 3).await), ["c", "d", "e", "sub"]);
    let later = device.get(&format!("/nodes/{}/children?rev=99", hex(&ROOT))).await;
    assert_eq!(later.problem(), (422, "invalid".to_owned()));
    let one = device.get(&format!("/nodes/{}?rev={r4}", hex(&a))).await.ok::<Node>();
    assert_eq!((&one.name[..], one.content_rev), (&b"a"[..], r4));
    let one = device.get(&format!("/nodes/{}", hex(&a))).await.ok::<Node>();
    assert_eq!(&one.name[..], b"moved");
    let gone = device.get(&format!("/nodes/{}?rev={r6}", hex(&b))).await;
    assert_eq!(gone.problem(), (404, "not_found".to_owned()));
    // Each old state names a content that can be read.
    let item = VersionRef { node: serde_bytes::ByteArray::new(a), rev: r2 };
    let ask = ContentQuery { items: vec![item], with_bytes: false };
    let reply: ContentReply = device.post("/content", &ask).await.ok();
    assert_eq!(reply.items[0].as_ref().unwrap().body.as_slice(), b"a");
}

#[tokio::test]
async fn a_time_has_a_rev() {
    let store = Store::new().await;
    let device = store.device().await;
    let at =
        async |time_ms: u64| -> Moment { device.get(&format!("/at?time_ms={time_ms}")).await.ok() };
    assert_eq!(at(5).await, Moment { rev: 0, stored_ms: 0 });
    let rev = device.done(vec![file(fresh(), ROOT, "a")]).await;
    let first = at(u64::MAX).await;
    assert_eq!(first.rev, rev);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = device.done(vec![file(fresh(), ROOT, "b")]).await;
    assert_eq!(at(first.stored_ms).await.rev, rev);
    assert_eq!(at(first.stored_ms - 1).await.rev, 0);
    assert_eq!(at(first.stored_ms + 10_000_000).await.rev, second);
    // After a month the past before the second commit is not whole any more, the present is.
    let store = store.restart_with(|_| {}, |dir| pass(dir, 31 * DAY)).await;
    let device = Device { base: store.base.clone(), ..device };
    let gone = device.get(&format!("/at?time_ms={}", first.stored_ms)).await;
    assert_eq!(gone.problem(), (410, "gone".to_owned()));
    let now: Moment = device.get(&format!("/at?time_ms={}", u64::MAX)).await.ok();
    assert_eq!(now.rev, second);
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A version of the past that was thinned shows as the one before it that is left.
#[tokio::test]
async fn thinned_versions_show_as_their_neighbours() {
    let store = Store::new().await;
    let device = store.device().await;
    let a = fresh();
    let r1 = device.done(vec![file(a, ROOT, "a")]).await;
    let r2 = device.done(vec![set_content(a, r1, "b")]).await;
    let r3 = device.done(vec![set_content(a, r2, "c")]).await;
    let remove = |rev: u64| {
        move |dir: &std::path::Path| {
            let db = rusqlite::Connection::open(dir.join("store.db")).unwrap();
            db.execute("DELETE FROM version WHERE rev = ?", [rev as i64]).unwrap();
        }
    };
    let store = store.restart_with(|_| {}, remove(r2)).await;
    let device = Device { base: store.base.clone(), ..device };
    assert_eq!(children(&device, ROOT, r2).await[0].1, r1);
    let store = store.restart_with(|_| {}, remove(r1)).await;
    let device = Device { base: store.base.clone(), ..device };
    assert_eq!(children(&device, ROOT, r2).await[0].1, r3);
}

#[tokio::test]
async fn what_was_done_and_by_whom() {
    let store = Store::new().await;
    let device = store.device().await;
    let invite = Invite { lookup: serde_bytes::ByteArray::new(fresh()), sealed_key: bytes("key") };
    let lookup = invite.lookup;
    device.post("/invites", &CreateInvite { invite, ttl_secs: 60 }).await;
    let join = Join { lookup, device: "phone".into() };
    let member: Membership = post(&store.http, &store.base, "/v1/join", &join).await.ok();
    let phone = Device::new(&store.base, store.http.clone(), &member);
    let (a, b) = (fresh(), fresh());
    let r1 = device.done(vec![file(a, ROOT, "a")]).await;
    let r2 = phone.done(vec![set_content(a, r1, "b"), file(b, ROOT, "b")]).await;
    let r3 = device.done(vec![move_to(a, r1, ROOT, "moved")]).await;
    let all: Activity = device.get("/activity").await.ok();
    let revs = |found: &Activity| found.entries.iter().map(|one| one.rev).collect::<Vec<_>>();
    assert_eq!(revs(&all), [r1, r2, r3]);
    assert_eq!((all.next, all.log_from, all.head), (None, 0, r3));
    let phones: Activity = device.get(&format!("/activity?device={}", hex(&phone.id))).await.ok();
    assert_eq!(revs(&phones), [r2]);
    assert_eq!(phones.entries[0].label, "phone");
    let [change, made] = &phones.entries[0].changes[..] else { panic!("{phones:?}") };
    assert_eq!(change.before.as_ref().map(|node| node.content_rev), Some(r1));
    assert_eq!((change.after.content_rev, made.before.is_none()), (r2, true));
    let of_b: Activity = device.get(&format!("/activity?node={}", hex(&b))).await.ok();
    assert_eq!(revs(&of_b), [r2]);
    let of_a: Activity = device.get(&format!("/activity?node={}", hex(&a))).await.ok();
    assert_eq!(revs(&of_a), [r1, r2, r3]);
    assert!(of_a.entries.iter().all(|entry| entry.changes.len() == 1));
    let later: Activity = device.get(&format!("/activity?after={r2}")).await.ok();
    assert_eq!(revs(&later), [r3]);
    let future: Activity = device.get("/activity?since_ms=9000000000000").await.ok();
    assert!(future.entries.is_empty());

    // And a device can be sent away.
    let list: Devices = device.get("/devices").await.ok();
    let labels: Vec<&str> = list.devices.iter().map(|one| one.label.as_str()).collect();
    assert_eq!(labels, ["laptop", "phone"]);
    assert!(list.devices[0].own && !list.devices[1].own);
    assert_eq!(list.devices[1].last_rev, Some(r2));
    let path = format!("/devices/{}", hex(&phone.id));
    let answer = device.request(reqwest::Method::DELETE, &path).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(phone.get("").await.problem(), (403, "revoked".to_owned()));
    let list: Devices = device.get("/devices").await.ok();
    assert!(list.devices[1].revoked_ms.is_some());
    let path = format!("/devices/{}", hex(&fresh()));
    let answer = device.request(reqwest::Method::DELETE, &path).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn the_trash_is_emptied_when_asked() {
    let store = Store::new().await;
    let device = store.device().await;
    let (a, b) = (fresh(), fresh());
    let r1 = device.done(vec![file(a, ROOT, "a"), file(b, ROOT, "b")]).await;
    device.done(vec![trash(a, r1, r1)]).await;
    let ids = [a, b, fresh()].map(serde_bytes::ByteArray::new).to_vec();
    let done: Purged = device.post("/purge", &Purge { nodes: ids }).await.ok();
    assert_eq!(done, Purged { nodes: 1, bytes: 1 });
    assert!(device.get("/trash").await.ok::<Page>().nodes.is_empty());
    assert_eq!(device.snapshot(100).await.0.len(), 1);
    assert_eq!(names(&children(&device, ROOT, r1).await), ["b"]);
}
