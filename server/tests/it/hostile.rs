//! Whatever comes, the store answers with a refusal and goes on.

use crate::client::*;
use protocol::{codec, wire::*};
use reqwest::Method;
use serde_bytes::ByteArray;

async fn refused(device: &Device, path: &str, body: Vec<u8>) {
    let request = device.request(Method::POST, path).body(body.clone());
    let answer = Answer::of(request.send().await.unwrap()).await;
    let (status, _) = answer.problem();
    assert!((400..500).contains(&status), "{path}: {status} for {} bytes", body.len());
}

#[tokio::test]
async fn bodies_that_are_not_cbor() {
    let store = Store::new().await;
    let device = store.device().await;
    let commit = codec::encode(&Commit {
        request: ByteArray::new(fresh()),
        groups: vec![vec![file(fresh(), ROOT, "a"), set_content(fresh(), 1, "b")]],
    });
    let mut bodies: Vec<Vec<u8>> = vec![
        vec![],
        vec![0xff],
        vec![0x80; 100_000],
        vec![0x81; 1_000_000],
        vec![0xa1; 1_000_000],
        // An array, a map, bytes and text that announce 2^64 - 1 elements.
        vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        // Tags in tags, and strings of pieces without an end.
        vec![0xc1; 1_000_000],
        vec![0x5f; 1_000],
        b"{\"groups\": []}".to_vec(),
    ];
    bodies.extend((0..commit.len()).map(|len| commit[..len].to_vec()));
    bodies.push([&commit[..], &[0]].concat());
    for path in ["/commit", "/content", "/chunks/query", "/chunks/read", "/invites"] {
        for body in &bodies {
            refused(&device, path, body.clone()).await;
        }
    }
    for path in ["/v1/drives", "/v1/join"] {
        for body in &bodies {
            let request = store.http.post(format!("{}{path}", store.base));
            let request = request.header("meshdrive-protocol", "1.0").body(body.clone());
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert!((400..500).contains(&answer.problem().0));
        }
    }
    assert_eq!(device.head().await, 0);
}

/// A million empty groups are a megabyte, and must not become many.
#[tokio::test]
async fn lists_are_counted_before_they_are_kept() {
    let store = Store::new().await;
    let device = store.device().await;
    let mut body = vec![0xa2, 0x67];
    body.extend_from_slice(b"request");
    body.push(0x50);
    body.extend_from_slice(&[1; 16]);
    body.push(0x66);
    body.extend_from_slice(b"groups");
    for start in [&[0x9a, 0x00, 0x0f, 0x42, 0x40][..], &[0x9f]] {
        let mut body = body.clone();
        body.extend_from_slice(start);
        body.resize(body.len() + 1_000_000, 0x80);
        refused(&device, "/commit", body).await;
    }
}

#[tokio::test]
async fn flipped_bits() {
    let store = Store::new().await;
    let device = store.device().await;
    let commit = codec::encode(&Commit {
        request: ByteArray::new(fresh()),
        groups: vec![vec![dir(fresh(), ROOT, "d"), file(fresh(), ROOT, "f")]],
    });
    for index in 0..commit.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut body = commit.clone();
            body[index] ^= bit;
            let request = device.request(Method::POST, "/commit").body(body);
            let status = request.send().await.unwrap().status();
            assert!(!status.is_server_error(), "byte {index}, bit {bit}: {status}");
        }
    }
    // What was taken is still a tree.
    let (nodes, _) = device.snapshot(100).await;
    let ids: Vec<Raw> = nodes.iter().map(|node| *node.id).collect();
    assert!(nodes.iter().all(|node| *node.parent == ROOT || ids.contains(&node.parent)));
}

#[tokio::test]
async fn paths_and_positions() {
    let store = Store::new().await;
    let device = store.device().await;
    let (d, f) = (fresh(), fresh());
    device.done(vec![dir(d, ROOT, "d"), file(f, d, "f")]).await;
    let upper = codec::hex(&[0xab; 16]).to_uppercase();
    let paths = [
        "/snapshot?after=zz".to_owned(),
        "/snapshot?after=0".to_owned(),
        "/snapshot?after=%ff".to_owned(),
        format!("/snapshot?after={}", "01".repeat(43)),
        format!("/snapshot?after={}", "00".repeat(43)),
        format!("/snapshot?after={}", "ff".repeat(43)),
        // A position in a node that is not there, and in one that is a file.
        format!("/snapshot?after=01{}{}{}", "0100000000000000", "09".repeat(16), "00".repeat(18)),
        "/snapshot?limit=x".to_owned(),
        "/snapshot?limit=-1".to_owned(),
        "/changes".to_owned(),
        "/changes?since=-1".to_owned(),
        "/changes?since=99999999999999999999999".to_owned(),
        "/feed?since=x".to_owned(),
        "/nodes/x/children".to_owned(),
        "/nodes/%ff%fe/children".to_owned(),
        format!("/nodes/{upper}/children"),
        format!("/nodes/{}/children?after=0", codec::hex(&d)),
        "/packs/x".to_owned(),
        "/packs/..%2f..%2fstore.db".to_owned(),
        "/nothing".to_owned(),
    ];
    for path in paths {
        let (status, _) = device.get(&path).await.problem();
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    let page: Page = device.get("/snapshot?limit=0").await.ok();
    assert_eq!(page.nodes.len(), 1);
    let page: Page = device.get("/snapshot?limit=999999999").await.ok();
    assert_eq!(page.nodes.len(), 2);
    let request = device.request(Method::DELETE, "/commit");
    assert_eq!(Answer::of(request.send().await.unwrap()).await.problem().0, 405);
    // A file has no children, whatever a position says of it.
    let at_file = format!("01{}{}{}", "0100000000000000", codec::hex(&f), "00".repeat(18));
    let page: Page = device.get(&format!("/snapshot?after={at_file}")).await.ok();
    assert!(page.nodes.is_empty());
}
