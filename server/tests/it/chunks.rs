use crate::client::*;
use protocol::{
    pack::{ChunkHead, FrameStatus, PackWriter},
    wire::*,
};
use serde_bytes::ByteArray;

fn piece(id: [u8; 32], first: u16, count: u16) -> Piece {
    Piece { chunk: ByteArray::new(id), first, count }
}

#[tokio::test]
async fn pieces_of_chunks() {
    let store = Store::new().await;
    let device = store.device().await;
    let (small, large) = (chunk(1, 100, 1), chunk(4, 3_000, 10));
    device.put_pack(pack_of(&[small.clone(), large.clone()])).await;
    let ask = ReadPieces {
        pieces: vec![
            piece(large.0, 1, 2),
            piece([9; 32], 0, 0),
            piece(small.0, 0, 0),
            piece(large.0, 0, 0),
            piece(large.0, 3, 0),
            piece(large.0, 4, 1),
            piece(large.0, 0, u16::MAX),
        ],
    };
    let answer = device.post("/chunks/read", &ask).await;
    assert_eq!(answer.status, 200);
    let got = frames(&answer.body);
    let status: Vec<FrameStatus> = got.iter().map(|frame| frame.0).collect();
    use FrameStatus::{Missing, Ok};
    assert_eq!(status, [Ok, Missing, Ok, Ok, Ok, Missing, Missing]);
    let head_len = ChunkHead::decode(&large.1).unwrap().encoded_len();
    assert_eq!(got[0].1, large.1[..head_len]);
    assert_eq!(got[0].2, large.1[head_len + 3_000..head_len + 9_000]);
    assert_eq!([&got[2].1[..], &got[2].2].concat(), small.1);
    assert_eq!([&got[3].1[..], &got[3].2].concat(), large.1);
    assert_eq!(got[4].2, large.1[head_len + 9_000..]);
}

#[tokio::test]
async fn a_full_answer_says_later() {
    let store = Store::new().await;
    let device = store.device().await;
    // Fourteen chunks of a megabyte: eight megabytes fit in an answer.
    let chunks: Vec<_> = (0..14).map(|fill| chunk(16, 65_000, fill * 16)).collect();
    device.put_pack(pack_of(&chunks)).await;
    let ask = ReadPieces { pieces: chunks.iter().map(|(id, _)| piece(*id, 0, 0)).collect() };
    let answer = device.post("/chunks/read", &ask).await;
    assert!(answer.body.len() <= (8 << 20) + 1_000);
    let got = frames(&answer.body);
    let served = got.iter().take_while(|frame| frame.0 == FrameStatus::Ok).count();
    assert_eq!(served, 8);
    assert!(got[served..].iter().all(|frame| frame.0 == FrameStatus::Later));
    for (frame, (_, bytes)) in got[..served].iter().zip(&chunks) {
        assert!([&frame.1[..], &frame.2].concat() == *bytes);
    }
}

#[tokio::test]
async fn which_chunks_are_here() {
    let store = Store::new().await;
    let (device, other) = (store.device().await, store.device().await);
    let (a, b) = (chunk(1, 10, 1), chunk(1, 10, 2));
    device.put_pack(pack_of(&[a.clone(), b.clone()])).await;
    let ask = ChunkQuery { chunks: [b.0, [9; 32], a.0].map(ByteArray::new).to_vec() };
    let answer: ChunkPresence = device.post("/chunks/query", &ask).await.ok();
    assert_eq!(answer.present, [true, false, true]);
    let answer: ChunkPresence = other.post("/chunks/query", &ask).await.ok();
    assert_eq!(answer.present, [false; 3]);
}

#[tokio::test]
async fn contents_come_with_bytes_if_wanted() {
    let store = Store::new().await;
    let device = store.device().await;
    let (a, b) = (chunk(1, 500, 1), chunk(1, 9_000, 2));
    device.put_pack(pack_of(&[a.clone(), b.clone()])).await;
    let refs = |ids: &[[u8; 32]]| ids.iter().map(|id| ByteArray::new(*id)).collect();
    let with = |name: &str, ids: &[[u8; 32]]| {
        let id = fresh();
        (id, create(id, ROOT, name, 0, Some(Content { refs: refs(ids), ..content(name) })))
    };
    let (one, two, none) = (with("one", &[a.0]), with("two", &[a.0, b.0]), with("none", &[]));
    let large = with("large", &[b.0, a.0]);
    device.done(vec![one.1, two.1, none.1, large.1]).await;
    let item = |id, rev| VersionRef { node: ByteArray::new(id), rev };
    let items =
        vec![item(one.0, 1), item(two.0, 1), item(none.0, 1), item(large.0, 1), item(one.0, 2)];
    let ask = ContentQuery { items: items.clone(), with_bytes: true };
    let reply: ContentReply = device.post("/content", &ask).await.ok();
    let [Some(first), Some(second), Some(third), Some(large), None] = &reply.items[..] else {
        panic!("{reply:?}")
    };
    assert_eq!(first.chunk.as_ref().map(|chunk| chunk.to_vec()), Some(a.1.clone()));
    assert_eq!((&first.body[..], &first.refs), (&b"one"[..], &refs(&[a.0])));
    let along = second.chunk.as_ref().map(|chunk| chunk.to_vec());
    assert_eq!((along, second.refs.len()), (Some(a.1), 2), "its first chunk, a small one");
    assert_eq!((&large.chunk, large.refs.len()), (&None, 2));
    assert_eq!((&third.chunk, &third.body[..]), (&None, &b"none"[..]));
    let ask = ContentQuery { items, with_bytes: false };
    let reply: ContentReply = device.post("/content", &ask).await.ok();
    assert_eq!(reply.items[0].as_ref().unwrap().chunk, None);
}

#[tokio::test]
async fn a_full_answer_has_fewer_contents() {
    let store = Store::new().await;
    let device = store.device().await;
    let big = "x".repeat(1_900_000);
    let mut items = Vec::new();
    for index in 0..6 {
        let id = fresh();
        let rev =
            device.done(vec![create(id, ROOT, &format!("{index}"), 0, Some(content(&big)))]).await;
        items.push(VersionRef { node: ByteArray::new(id), rev });
    }
    let ask = ContentQuery { items, with_bytes: true };
    let reply: ContentReply = device.post("/content", &ask).await.ok();
    assert_eq!(reply.items.len(), 4);
}

#[tokio::test]
async fn what_a_manifest_page_names_must_be_here_too() {
    let store = Store::new().await;
    let device = store.device().await;
    let (leaf, page) = (chunk(1, 100, 1), chunk(1, 200, 2));
    let mut writer = PackWriter::default();
    writer.push(page.0, &page.1, vec![leaf.0]);
    device.put_pack(writer.finish()).await;
    let refs = vec![ByteArray::new(page.0)];
    let op = |name: &str| {
        create(fresh(), ROOT, name, 0, Some(Content { refs: refs.clone(), ..content(name) }))
    };
    let reply = device.commit(vec![vec![op("a")]]).await;
    let expected = Outcome::ChunksMissing { chunks: vec![ByteArray::new(leaf.0)] };
    assert_eq!(reply.outcomes, [expected]);
    device.put_pack(pack_of(&[leaf])).await;
    // Several groups of one commit may speak of the same page.
    let reply = device.commit(vec![vec![op("b")], vec![op("c"), op("d")]]).await;
    assert!(reply.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })));
    device.done(vec![op("e")]).await;
}
