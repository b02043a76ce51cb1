use crate::client::*;
use protocol::{codec, wire::*};
use reqwest::Method;
use serde_bytes::ByteArray;

fn path(bytes: &[u8]) -> String {
    format!("/packs/{}", codec::hex(blake3::hash(bytes).as_bytes()))
}

#[tokio::test]
async fn packs_go_in_and_come_out() {
    let store = Store::new().await;
    let device = store.device().await;
    let pack = pack_of(&[chunk(1, 1_000, 1), chunk(3, 5_000, 2)]);
    assert_eq!(device.put_pack(pack.clone()).await.status, 201);
    assert_eq!(device.put_pack(pack.clone()).await.status, 204);
    assert_eq!(device.get("").await.ok::<Drive>().used_bytes, pack.len() as u64);
    let got = device.get(&path(&pack)).await;
    assert_eq!((got.status.as_u16(), &got.body), (200, &pack));
    let head = device.request(Method::HEAD, &path(&pack)).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], pack.len().to_string());
    assert_eq!(device.get(&path(b"other")).await.problem(), (404, "not_found".to_owned()));
    let head = device.request(Method::HEAD, &path(b"other")).send().await.unwrap();
    assert_eq!(head.status(), 404);
}

#[tokio::test]
async fn parts_of_packs() {
    let store = Store::new().await;
    let device = store.device().await;
    let pack = pack_of(&[chunk(16, 60_000, 3)]);
    let len = pack.len();
    device.put_pack(pack.clone()).await;
    let cases = [
        (format!("bytes=0-{}", len - 1), Some(0..len)),
        ("bytes=10-19".to_owned(), Some(10..20)),
        (format!("bytes=100-{}", 10 * len), Some(100..len)),
        ("bytes=700000-".to_owned(), Some(700_000..len)),
        ("bytes=-8".to_owned(), Some(len - 8..len)),
        (format!("bytes={len}-"), None),
        ("bytes=-0".to_owned(), None),
    ];
    for (range, part) in cases {
        let request = device.request(Method::GET, &path(&pack)).header("range", &range);
        let answer = Answer::of(request.send().await.unwrap()).await;
        match part {
            Some(part) => {
                assert_eq!(answer.status, 206, "{range}");
                let expected = format!("bytes {}-{}/{len}", part.start, part.end - 1);
                assert_eq!(answer.headers["content-range"], expected);
                assert!(answer.body == pack[part], "{range}");
            }
            None => {
                assert_eq!(answer.status, 416, "{range}");
                assert_eq!(answer.headers["content-range"], format!("bytes */{len}"));
            }
        }
    }
    for odd in ["bytes=5-2", "bytes=0-1,5-6", "lines=1-2", "bytes=x-"] {
        let request = device.request(Method::GET, &path(&pack)).header("range", odd);
        assert_eq!(request.send().await.unwrap().status(), 200, "{odd}");
    }
}

#[tokio::test]
async fn damaged_packs_are_refused() {
    let store = Store::new().await;
    let device = store.device().await;
    let pack = pack_of(&[chunk(2, 1_000, 1)]);
    // The bytes are not those of the id.
    let mut wrong = pack.clone();
    wrong[100] ^= 1;
    let request = device.request(Method::PUT, &path(&pack)).body(wrong);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.problem(), (422, "invalid".to_owned()));
    // The hash is right, but it is not a pack.
    let mut cut = pack.clone();
    cut.truncate(pack.len() - 1);
    let mut magic = pack.clone();
    magic[0] = b'X';
    let mut version = pack.clone();
    version[4] = 9;
    let mut trailer = pack.clone();
    trailer[pack.len() - 6] = 0xff;
    let mut head = pack.clone();
    head[9] = 15;
    for bad in [cut, magic, version, trailer, head, Vec::new(), vec![0; 100]] {
        assert_eq!(device.put_pack(bad).await.problem(), (422, "invalid".to_owned()));
    }
    let answer = device.put_pack(vec![0; (16 << 20) + 1]).await;
    assert_eq!(answer.problem(), (413, "too_large".to_owned()));
    assert_eq!(device.get("").await.ok::<Drive>().used_bytes, 0);
    assert_eq!(device.get(&path(&pack)).await.status, 404);
    let left = std::fs::read_dir(store.dir.path().join("incoming")).unwrap().count();
    assert_eq!(left, 0);
    assert_eq!(device.put_pack(pack).await.status, 201);
}

#[tokio::test]
async fn a_pack_that_was_lost_can_be_sent_again() {
    let store = Store::new().await;
    let device = store.device().await;
    let (id, bytes) = chunk(1, 1_000, 1);
    let pack = pack_of(&[(id, bytes)]);
    device.put_pack(pack.clone()).await;
    let hash = codec::hex(blake3::hash(&pack).as_bytes());
    let file = store.dir.path().join("packs").join(codec::hex(&device.drive));
    let file = file.join(&hash[..2]).join(&hash);
    std::fs::remove_file(&file).unwrap();
    let ask = ReadPieces { pieces: vec![Piece { chunk: ByteArray::new(id), first: 0, count: 0 }] };
    let answer = device.post("/chunks/read", &ask).await;
    assert_eq!(frames(&answer.body)[0].0, protocol::pack::FrameStatus::Damaged);
    let query = ChunkQuery { chunks: vec![ByteArray::new(id)] };
    let presence: ChunkPresence = device.post("/chunks/query", &query).await.ok();
    assert_eq!(presence.present, [false]);
    assert!(device.put_pack(pack.clone()).await.status.is_success());
    let presence: ChunkPresence = device.post("/chunks/query", &query).await.ok();
    assert_eq!(presence.present, [true]);
    let answer = device.post("/chunks/read", &ask).await;
    assert_eq!(frames(&answer.body)[0].0, protocol::pack::FrameStatus::Ok);
    assert_eq!(device.get("").await.ok::<Drive>().used_bytes, pack.len() as u64);
}

#[tokio::test]
async fn the_quota_counts_packs_and_bodies() {
    let store = Store::with(|config| config.quota_bytes = Some(10_000)).await;
    let device = store.device().await;
    let drive: Drive = device.get("").await.ok();
    assert_eq!(drive.quota_bytes, Some(10_000));
    assert_eq!(device.put_pack(pack_of(&[chunk(1, 6_000, 1)])).await.status, 201);
    let answer = device.put_pack(pack_of(&[chunk(1, 6_000, 2)])).await;
    assert_eq!(answer.problem(), (507, "quota".to_owned()));
    let big = create(fresh(), ROOT, "big", 0, Some(content(&"x".repeat(5_000))));
    let answer = device.try_commit(vec![vec![big]]).await;
    assert_eq!(answer.problem(), (507, "quota".to_owned()));
    assert_eq!(device.head().await, 0);
    let used = device.get("").await.ok::<Drive>().used_bytes;
    let small = create(fresh(), ROOT, "small", 0, Some(content("1234")));
    device.done(vec![small]).await;
    assert_eq!(device.get("").await.ok::<Drive>().used_bytes, used + 4);
}
