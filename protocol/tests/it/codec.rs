use crate::samples;
use proptest::prelude::*;
use protocol::{codec, limits::*, wire::*};
use serde::Serialize;

/// A node of a later version, with a field more.
#[derive(Serialize)]
struct Later {
    lookup: Id,
    device: String,
    colour: Option<Vec<u64>>,
}

#[test]
fn fields_of_later_versions_are_skipped() {
    let later =
        Later { lookup: samples::id(1), device: "phone".into(), colour: Some(vec![1, 2, 3]) };
    let join: Join = codec::decode(&codec::encode(&later)).unwrap();
    assert_eq!(join, samples::join());
}

#[test]
fn the_whole_body_is_one_value() {
    let bytes = codec::encode(&samples::join());
    for cut in 0..bytes.len() {
        assert!(codec::decode::<Join>(&bytes[..cut]).is_err());
    }
    let error = codec::decode::<Join>(&[&bytes[..], &[0, 0]].concat()).unwrap_err();
    assert!(error.to_string().contains("2 bytes left over"), "{error}");
}

#[test]
fn nesting_is_bounded() {
    let mut bytes = vec![0xa3, 0x61, b'x'];
    bytes.extend([0x81; 100_000]);
    assert!(codec::decode::<Join>(&bytes).is_err());
}

#[test]
fn ids_have_their_length() {
    let mut bytes = codec::encode(&samples::join());
    // map(2) "lookup" bytes(16): one byte less.
    let at = bytes.iter().position(|byte| *byte == 0x50).unwrap();
    bytes[at] = 0x4f;
    bytes.remove(at + 1);
    assert!(codec::decode::<Join>(&bytes).is_err());
}

#[test]
fn lists_are_bounded() {
    let fits = ChunkQuery { chunks: vec![samples::hash(1); QUERY_IDS] };
    assert_eq!(codec::decode::<ChunkQuery>(&codec::encode(&fits)).unwrap(), fits);
    let more = ChunkQuery { chunks: vec![samples::hash(1); QUERY_IDS + 1] };
    let error = codec::decode::<ChunkQuery>(&codec::encode(&more)).unwrap_err();
    assert!(error.to_string().contains("at most 10000"), "{error}");
    let page = Page { nodes: vec![samples::node(); PAGE_NODES + 1], ..samples::page() };
    assert!(codec::decode::<Page>(&codec::encode(&page)).is_err());
    let trash = Op::Trash { id: samples::id(1), meta: 1, content: 1 };
    let commit = |groups: usize, ops: usize| {
        let groups = vec![vec![trash.clone(); ops]; groups];
        let commit = Commit { request: samples::id(1), groups };
        codec::decode::<Commit>(&codec::encode(&commit))
    };
    assert!(commit(OPS_PER_COMMIT, 1).is_ok());
    assert!(commit(1, OPS_PER_COMMIT).is_ok());
    assert!(commit(OPS_PER_COMMIT + 1, 0).is_err());
    assert!(commit(1, OPS_PER_COMMIT + 1).is_err());
    assert!(commit(2, OPS_PER_COMMIT / 2 + 1).is_err());
}

#[test]
fn json_for_people() {
    let json = codec::encode_json(&samples::commit_reply());
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["rev"], 9);
    assert_eq!(json["outcomes"][1]["conflict"]["nodes"][0]["id"], "04".repeat(16));
    assert_eq!(json["outcomes"][2], "dependent");
    let none = VersionContent { chunk: None, ..samples::content_reply().items[0].clone().unwrap() };
    let json: serde_json::Value = serde_json::from_slice(&codec::encode_json(&none)).unwrap();
    assert_eq!(json["chunk"], serde_json::Value::Null);
    let most = Hint { drive: "\"\n".into(), rev: u64::MAX };
    let json: serde_json::Value = serde_json::from_slice(&codec::encode_json(&most)).unwrap();
    assert_eq!((json["drive"].as_str(), json["rev"].as_u64()), (Some("\"\n"), Some(u64::MAX)));
}

#[test]
fn hex_is_strict() {
    assert_eq!(codec::hex(&[0, 0x1f, 0xff]), "001fff");
    assert_eq!(codec::unhex::<3>("001fff"), Some([0, 0x1f, 0xff]));
    for bad in ["", "001ff", "001fff0", "001FFF", "001fg0", " 01fff", "é1fff"] {
        assert_eq!(codec::unhex::<3>(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
        let _ = codec::decode::<Commit>(&bytes);
        let _ = codec::decode::<CommitReply>(&bytes);
        let _ = codec::decode::<Changes>(&bytes);
        let _ = codec::decode::<ContentReply>(&bytes);
    }

    #[test]
    fn damaged_commits_decode_or_are_refused(at: prop::sample::Index, value: u8) {
        let mut bytes = codec::encode(&samples::commit());
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = codec::decode::<Commit>(&bytes);
    }
}
