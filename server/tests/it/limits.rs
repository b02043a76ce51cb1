use crate::client::*;
use protocol::{codec, limits::*, wire::*};
use reqwest::Method;
use serde_bytes::{ByteArray, ByteBuf};

#[tokio::test]
async fn sizes_of_a_commit() {
    let store = Store::new().await;
    let device = store.device().await;
    let named = |name: usize, meta: usize| Op::Create {
        id: ByteArray::new(fresh()),
        parent: ByteArray::new(ROOT),
        name_key: ByteArray::new(fresh()),
        name: ByteBuf::from(vec![1; name]),
        kind: 0,
        meta: ByteBuf::from(vec![1; meta]),
        content: None,
    };
    let full = |head: usize, body: usize| {
        let content = Content {
            head: ByteBuf::from(vec![1; head]),
            body: ByteBuf::from(vec![1; body]),
            refs: Vec::new(),
        };
        let id = fresh();
        create(id, ROOT, &codec::hex(&id), 0, Some(content))
    };
    device.done(vec![named(SEALED_NAME_BYTES, SEALED_META_BYTES)]).await;
    device.done(vec![full(SEALED_HEAD_BYTES, SEALED_BODY_BYTES)]).await;
    let cases = [
        named(SEALED_NAME_BYTES + 1, 0),
        named(0, SEALED_META_BYTES + 1),
        full(SEALED_HEAD_BYTES + 1, 0),
        full(0, SEALED_BODY_BYTES + 1),
    ];
    for op in cases {
        let reply = device.commit(vec![vec![op]]).await;
        let Outcome::Invalid { why } = &reply.outcomes[0] else { panic!("{reply:?}") };
        assert!(why.contains("at most"), "{why}");
    }
    let many = |count: usize| (0..count).map(move |i| file(fresh(), ROOT, &format!("{count}-{i}")));
    device.done(many(OPS_PER_COMMIT).collect()).await;
    let answer = device.try_commit(vec![many(OPS_PER_COMMIT + 1).collect()]).await;
    assert_eq!(answer.problem(), (400, "invalid".to_owned()));
    let half = || many(OPS_PER_COMMIT / 2).map(|op| vec![op]);
    let groups = half().chain(half()).chain([vec![file(fresh(), ROOT, "x")]]).collect();
    assert_eq!(device.try_commit(groups).await.problem(), (400, "invalid".to_owned()));
    assert_eq!(device.try_commit(vec![]).await.problem().0, 422);
    let request = device.request(Method::POST, "/commit").body(vec![0; COMMIT_BYTES + 1]);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.problem(), (413, "too_large".to_owned()));
}

#[tokio::test]
async fn a_commit_must_fit_in_the_log() {
    let store = Store::new().await;
    let device = store.device().await;
    let mut ids = Vec::new();
    for round in 0..2 {
        let mut group = Vec::new();
        for index in 0..100 {
            let id = fresh();
            let mut op = file(id, ROOT, &format!("{round}-{index}"));
            if let Op::Create { meta, .. } = &mut op {
                *meta = ByteBuf::from(vec![1; SEALED_META_BYTES]);
            }
            group.push(op);
            ids.push((id, round + 1));
        }
        device.done(group).await;
    }
    // Small operations, but the states that they leave are large.
    let groups: Vec<_> = ids.iter().map(|(id, rev)| vec![set_content(*id, *rev, "new")]).collect();
    let answer = device.try_commit(groups.clone()).await;
    assert_eq!(answer.problem(), (413, "too_large".to_owned()));
    device.commit(groups[..100].to_vec()).await;
    let (nodes, _) = device.snapshot(5_000).await;
    assert_eq!(nodes.len(), 200);
}

#[tokio::test]
async fn questions_are_bounded() {
    let store = Store::new().await;
    let device = store.device().await;
    let ids = |count| vec![ByteArray::new([1; 32]); count];
    let query = |count| ChunkQuery { chunks: ids(count) };
    assert_eq!(device.post("/chunks/query", &query(QUERY_IDS)).await.status, 200);
    assert_eq!(device.post("/chunks/query", &query(QUERY_IDS + 1)).await.problem().0, 400);
    let piece = Piece { chunk: ByteArray::new([1; 32]), first: 0, count: 0 };
    let read = |count| ReadPieces { pieces: vec![piece.clone(); count] };
    assert_eq!(device.post("/chunks/read", &read(READ_PIECES)).await.status, 200);
    assert_eq!(device.post("/chunks/read", &read(READ_PIECES + 1)).await.problem().0, 400);
    let item = VersionRef { node: ByteArray::new(ROOT), rev: u64::MAX };
    let content = |count| ContentQuery { items: vec![item; count], with_bytes: true };
    assert_eq!(device.post("/content", &content(CONTENT_ITEMS)).await.status, 200);
    assert_eq!(device.post("/content", &content(CONTENT_ITEMS + 1)).await.problem().0, 400);
    let long = CreateDrive { label: "x".repeat(129), ..create_drive(&store.server.setup_code()) };
    let answer = post(&store.http, &store.base, "/v1/drives", &long).await;
    assert_eq!(answer.problem(), (422, "invalid".to_owned()));
}

#[tokio::test]
async fn a_device_that_asks_too_often_waits() {
    let store = Store::with(|config| {
        config.rates.requests_per_second = 1;
        config.rates.request_burst = 3;
    })
    .await;
    let (device, other) = (store.device().await, store.device().await);
    let mut refused = None;
    for _ in 0..10 {
        let answer = device.get("").await;
        if answer.status != 200 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("ten requests at once are more than three");
    assert_eq!(refused.problem(), (429, "busy".to_owned()));
    let problem: Problem = codec::decode(&refused.body).unwrap();
    assert!(problem.retry_after_ms.is_some_and(|wait| wait <= 1_000));
    assert_eq!(other.get("").await.status, 200);
}

#[tokio::test]
async fn a_full_store_is_busy() {
    let store = Store::with(|config| config.bounds.requests_in_work = 0).await;
    let response = store.http.get(format!("{}/v1/info", store.base)).send().await.unwrap();
    let answer = Answer::of(response).await;
    assert_eq!(answer.problem(), (503, "busy".to_owned()));
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let store = Store::with(|config| {
        config.bounds.body_idle_timeout = std::time::Duration::from_millis(100);
    })
    .await;
    let device = store.device().await;
    let parts = futures_util::stream::iter([Ok::<_, std::io::Error>(vec![0x80_u8])]);
    let endless = futures_util::StreamExt::chain(parts, futures_util::stream::pending());
    let body = reqwest::Body::wrap_stream(endless);
    let response = device.request(Method::POST, "/commit").body(body).send().await.unwrap();
    assert_eq!(response.status(), 408);
}

#[tokio::test]
async fn connections_are_bounded() {
    use tokio::{io::AsyncReadExt, net::TcpStream};
    let store = Store::with(|config| config.bounds.connections = 2).await;
    let address = store.server.local_addr();
    let (one, two) = (TcpStream::connect(address).await, TcpStream::connect(address).await);
    let (one, _two) = (one.unwrap(), two.unwrap());
    // Connections are taken in order, so the first two have the places.
    let mut three = TcpStream::connect(address).await.unwrap();
    assert!(matches!(three.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    drop(one);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while store.http.get(format!("{}/healthz", store.base)).send().await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the place is not given back");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn streams_are_bounded() {
    let store = Store::with(|config| config.bounds.streams_per_device = 0).await;
    let device = store.device().await;
    let ask = ReadPieces { pieces: vec![] };
    assert_eq!(device.post("/chunks/read", &ask).await.problem(), (503, "busy".to_owned()));
}
