use crate::client::*;
use futures_util::StreamExt;
use protocol::{codec, wire::*};
use reqwest::Method;
use std::time::Duration;

/// Anything here that takes this long has failed.
const DEADLINE: Duration = Duration::from_secs(20);

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("too late")
}

/// The events of a stream as they come.
struct Events {
    parts: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>>>>,
    text: String,
}

impl Events {
    async fn open(device: &Device) -> Events {
        let response = device.request(Method::GET, "/feed").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { parts: Box::pin(response.bytes_stream()), text: String::new() }
    }

    /// The next hint; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Hint> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let hint = data.map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                if hint.is_some() {
                    return hint;
                }
                continue;
            }
            let part = self.parts.next().await?.ok()?;
            self.text.push_str(std::str::from_utf8(&part).unwrap());
        }
    }
}

#[tokio::test]
async fn hints_come_as_commits_are_made() {
    let store = Store::new().await;
    let device = store.device().await;
    device.done(vec![file(fresh(), ROOT, "a")]).await;
    let mut events = Events::open(&device).await;
    let first = within(events.next()).await.unwrap();
    assert_eq!(first, Hint { drive: codec::hex(&device.drive), rev: 1 });
    device.done(vec![file(fresh(), ROOT, "b")]).await;
    assert_eq!(within(events.next()).await.unwrap().rev, 2);
    // A burst may be told as one, but its end is told.
    for index in 0..20 {
        device.done(vec![file(fresh(), ROOT, &index.to_string())]).await;
    }
    let mut last = 2;
    while last < 22 {
        let next = within(events.next()).await.unwrap().rev;
        assert!(next > last);
        last = next;
    }
}

#[tokio::test]
async fn one_drive_does_not_hear_of_another() {
    let store = Store::new().await;
    let (one, two) = (store.device().await, store.device().await);
    let mut events = Events::open(&one).await;
    assert_eq!(within(events.next()).await.unwrap().rev, 0);
    for index in 0..3 {
        two.done(vec![file(fresh(), ROOT, &index.to_string())]).await;
    }
    one.done(vec![file(fresh(), ROOT, "a")]).await;
    let hint = within(events.next()).await.unwrap();
    assert_eq!(hint, Hint { drive: codec::hex(&one.drive), rev: 1 });
}

#[tokio::test]
async fn a_held_request_wakes_up() {
    let store = Store::new().await;
    let device = store.device().await;
    let waiting = {
        let device = device.clone();
        tokio::spawn(async move { device.get("/feed?since=0&wait=50").await.ok::<Drive>() })
    };
    device.done(vec![file(fresh(), ROOT, "a")]).await;
    assert_eq!(within(waiting).await.unwrap().head, 1);
    // Already beyond: no waiting at all. Nothing new: the old head in the end.
    let now: Drive = within(device.get("/feed?since=0&wait=50")).await.ok();
    assert_eq!(now.head, 1);
    let none: Drive = within(device.get("/feed?since=1&wait=1")).await.ok();
    assert_eq!(none.head, 1);
}

#[tokio::test]
async fn feeds_are_bounded_and_end_when_the_store_stops() {
    let store = Store::with(|config| config.bounds.feeds_per_device = 2).await;
    let device = store.device().await;
    let mut one = Events::open(&device).await;
    let two = Events::open(&device).await;
    assert_eq!(within(one.next()).await.unwrap().rev, 0);
    assert_eq!(device.get("/feed").await.problem(), (429, "busy".to_owned()));
    drop(two);
    // The place is given back when the server sees the end of the connection.
    let ask = |wait: u32| device.request(Method::GET, &format!("/feed?since=0&wait={wait}"));
    let full = async || ask(0).send().await.unwrap().status() == 429;
    let pause = || tokio::time::sleep(Duration::from_millis(5));
    within(async {
        while full().await {
            pause().await;
        }
    })
    .await;
    let mut waiting = tokio::spawn(ask(50).send());
    within(async {
        // Full: the held request is in. It may also have met a probe and been refused.
        pause().await;
        while !full().await {
            if waiting.is_finished() {
                waiting = tokio::spawn(ask(50).send());
            }
            pause().await;
        }
    })
    .await;
    within(store.server.stop()).await;
    assert_eq!(within(one.next()).await, None);
    assert_eq!(within(waiting).await.unwrap().unwrap().status(), 200);
}
