//! What answers is not always a Meshdrive server, or not an honest one.

use crate::world::World;
use cloud::{ClientOptions, CloudStore, Credentials, NativeStore};
use fs_core::{CloudError, CloudErrorKind, Rev};
use protocol::codec::encode;
use protocol::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Answers every connection with the same bytes and closes it.
struct Stranger {
    url: String,
    task: JoinHandle<()>,
}

impl Stranger {
    async fn new(answer: Vec<u8>) -> Stranger {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 4_096];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Stranger { url, task }
    }

    async fn with(status: &str, media: &str, body: &[u8]) -> Stranger {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        Stranger::new([head.as_bytes(), body].concat()).await
    }

    /// A client that takes this for the server of its drive.
    fn store(&self, world: &World) -> NativeStore {
        let path = world.dir.path().join("redirected");
        world.credentials.save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(&world.url(), &self.url)).unwrap();
        NativeStore::new(Credentials::load(&path).unwrap(), ClientOptions::default()).unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const CBOR: &str = "application/cbor";

async fn connect(world: &World, stranger: Stranger) -> CloudError {
    stranger.store(world).connect().await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_is_recognised_and_tried_again_later() {
    let world = World::new().await;
    let page = b"<html>please sign in</html>";
    for stranger in [
        Stranger::with("200 OK", "text/html", page).await,
        Stranger::with("200 OK", CBOR, page).await,
        Stranger::with("302 Found", "text/html", b"").await,
        Stranger::with("403 Forbidden", "text/html", page).await,
    ] {
        let error = connect(&world, stranger).await;
        assert_eq!(error.kind, CloudErrorKind::Retry, "{error}");
        assert!(error.message.contains("portal"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_mean_what_the_protocol_says() {
    let world = World::new().await;
    let cases = [
        ("401 Unauthorized", "unauthorized", CloudErrorKind::Denied),
        ("403 Forbidden", "revoked", CloudErrorKind::Denied),
        ("410 Gone", "gone", CloudErrorKind::Gone),
        ("404 Not Found", "not_found", CloudErrorKind::Gone),
        ("413 Payload Too Large", "too_large", CloudErrorKind::Invalid),
        ("422 Unprocessable Entity", "invalid", CloudErrorKind::Invalid),
        ("426 Upgrade Required", "upgrade", CloudErrorKind::Invalid),
        ("503 Service Unavailable", "busy", CloudErrorKind::Retry),
        ("500 Internal Server Error", "internal", CloudErrorKind::Retry),
        ("507 Insufficient Storage", "quota", CloudErrorKind::Quota),
        ("529 Something", "never heard of", CloudErrorKind::Retry),
    ];
    for (status, code, kind) in cases {
        let detail = "because\n\x1b[31m of it".to_owned();
        let retry_after_ms = Some(1_500);
        let problem = encode(&wire::Problem { code: code.to_owned(), detail, retry_after_ms });
        let error = connect(&world, Stranger::with(status, CBOR, &problem).await).await;
        assert_eq!(error.kind, kind, "{code}: {error}");
        assert!(error.message.contains("because"), "{error}");
        assert!(!error.message.contains(['\n', '\x1b']), "fit for a terminal: {error}");
        assert_eq!(error.retry_after.map(|wait| wait.0), Some(1_500_000_000));
    }
    let error =
        connect(&world, Stranger::with("502 Bad Gateway", "text/plain", b"oops").await).await;
    assert_eq!(error.kind, CloudErrorKind::Retry, "{error}");
    // Who is no Meshdrive store cannot say that it does not know this device.
    let proxy = Stranger::with("401 Unauthorized", "text/plain", b"who are you?").await;
    let error = connect(&world, proxy).await;
    assert_eq!(error.kind, CloudErrorKind::Retry, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_off_are_tried_again() {
    let world = World::new().await;
    let cut =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/cbor\r\ncontent-length: 500\r\n\r\nabc";
    let error = connect(&world, Stranger::new(cut.to_vec()).await).await;
    assert_eq!(error.kind, CloudErrorKind::Retry, "{error}");
    let error = connect(&world, Stranger::new(Vec::new()).await).await;
    assert_eq!(error.kind, CloudErrorKind::Retry, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_an_end_are_not_read_to_it() {
    let world = World::new().await;
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-type: application/cbor\r\n\r\n".to_vec();
    endless.resize(40 << 20, 0);
    let stranger = Stranger::new(endless).await;
    let store = stranger.store(&world);
    let error = store.connect().await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Corrupt, "{error}");
    assert!(store.traffic().received < 18 << 20, "{:?}", store.traffic());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_over_their_limits_are_refused() {
    let world = World::new().await;
    let node = wire::Node {
        id: wire::Id::new([1; 16]),
        parent: wire::Id::new([0; 16]),
        name: Vec::new().into(),
        kind: 0,
        meta: Vec::new().into(),
        head: None,
        meta_rev: 1,
        content_rev: 1,
        live: true,
    };
    let page = wire::Page { nodes: vec![node.clone(); 5_001], rev: 1, next: None };
    let stranger = Stranger::with("200 OK", CBOR, &encode(&page)).await;
    let error = stranger.store(&world).snapshot(None).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Corrupt, "{error}");
    // One node that cannot be opened is shown as such.
    let page = wire::Page { nodes: vec![node.clone()], rev: 1, next: None };
    let stranger = Stranger::with("200 OK", CBOR, &encode(&page)).await;
    let page = stranger.store(&world).snapshot(None).await.unwrap();
    assert!(page.nodes[0].name.as_bytes().starts_with(b"invalid-0101"));
    // A folder's listing must be of that folder.
    let stranger = Stranger::with(
        "200 OK",
        CBOR,
        &encode(&wire::Page { nodes: vec![node], rev: 1, next: None }),
    )
    .await;
    let dir = fs_core::NodeId([9; 16]);
    let error = stranger.store(&world).children(dir, None).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Corrupt, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_out_of_order_is_refused() {
    let world = World::new().await;
    let entry = |rev| wire::LogEntry {
        rev,
        request: wire::Id::new([1; 16]),
        device: wire::Id::new([1; 16]),
        nodes: Vec::new(),
    };
    for (revs, head) in [(vec![5, 4], 9), (vec![3], 9), (vec![4, 10], 9), (vec![], 9)] {
        let commits = revs.iter().copied().map(entry).collect();
        let answer = encode(&wire::Changes { commits, head });
        let stranger = Stranger::with("200 OK", CBOR, &answer).await;
        let error = stranger.store(&world).changes(Rev(3)).await.unwrap_err();
        assert_eq!(error.kind, CloudErrorKind::Corrupt, "{revs:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_drive_is_not_taken_for_ours() {
    let world = World::new().await;
    let drive = wire::Drive {
        drive: wire::Id::new([7; 16]),
        label: "other".to_owned(),
        epoch: 1,
        head: 1,
        used_bytes: 0,
        quota_bytes: None,
        common: None,
    };
    let error = connect(&world, Stranger::with("200 OK", CBOR, &encode(&drive)).await).await;
    assert_eq!(error.kind, CloudErrorKind::Corrupt, "{error}");
}
