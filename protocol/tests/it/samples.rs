//! One value of each type, with every optional field present.

use protocol::{pack::*, wire::*};
use serde_bytes::{ByteArray, ByteBuf};

pub(crate) fn id(fill: u8) -> Id {
    ByteArray::new([fill; 16])
}

pub(crate) fn hash(fill: u8) -> Hash {
    ByteArray::new([fill; 32])
}

fn bytes(text: &str) -> ByteBuf {
    ByteBuf::from(text.as_bytes())
}

pub(crate) fn info() -> Info {
    Info { protocol: "1.0".into(), server: "meshdrive/0".into(), time_ms: 1_800_000_000_000 }
}

pub(crate) fn invite() -> Invite {
    Invite { lookup: id(1), sealed_key: bytes("key") }
}

pub(crate) fn create_drive() -> CreateDrive {
    CreateDrive {
        setup_code: "ABCD-EFGH".into(),
        drive: id(2),
        label: "photos".into(),
        device: "laptop".into(),
        params: bytes("params"),
        recovery: invite(),
    }
}

pub(crate) fn membership() -> Membership {
    Membership {
        drive: id(2),
        label: "photos".into(),
        device: id(3),
        token: "token".into(),
        params: bytes("params"),
        sealed_key: Some(bytes("key")),
    }
}

pub(crate) fn create_invite() -> CreateInvite {
    CreateInvite { invite: invite(), ttl_secs: 600 }
}

pub(crate) fn join() -> Join {
    Join { lookup: id(1), device: "phone".into() }
}

pub(crate) fn drive() -> Drive {
    Drive {
        drive: id(2),
        label: "photos".into(),
        epoch: 7,
        head: 1_000,
        used_bytes: 5_000_000_000,
        quota_bytes: Some(10_000_000_000),
        common: None,
    }
}

pub(crate) fn hint() -> Hint {
    Hint { drive: "02".repeat(16), rev: 9 }
}

pub(crate) fn node() -> Node {
    Node {
        id: id(4),
        parent: id(0),
        name: bytes("sealed name"),
        kind: 0,
        meta: bytes("sealed meta"),
        head: Some(bytes("sealed head")),
        meta_rev: 5,
        content_rev: 300,
        live: true,
    }
}

pub(crate) fn content() -> Content {
    Content { head: bytes("head"), body: bytes("body"), refs: vec![hash(1), hash(2)] }
}

pub(crate) fn ops() -> Vec<Op> {
    vec![
        Op::Create {
            id: id(4),
            parent: id(0),
            name_key: id(5),
            name: bytes("name"),
            kind: 0,
            meta: bytes("meta"),
            content: Some(content()),
        },
        Op::SetContent { id: id(4), base: 5, content: content() },
        Op::Move {
            id: id(4),
            base: 5,
            parent: id(6),
            name_key: id(5),
            name: bytes("name"),
            meta: bytes("meta"),
        },
        Op::SetMeta { id: id(4), base: 5, meta: bytes("meta") },
        Op::Trash { id: id(4), meta: 5, content: 6 },
        Op::Restore {
            id: id(4),
            base: 5,
            parent: id(6),
            name_key: id(5),
            name: bytes("name"),
            meta: bytes("meta"),
        },
    ]
}

pub(crate) fn commit() -> Commit {
    Commit { request: id(8), groups: vec![ops()[..1].to_vec(), ops()[4..].to_vec()] }
}

pub(crate) fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Done { rev: 9 },
        Outcome::Conflict { nodes: vec![node()] },
        Outcome::Dependent,
        Outcome::ChunksMissing { chunks: vec![hash(1)] },
        Outcome::Invalid { why: "why".into() },
    ]
}

pub(crate) fn commit_reply() -> CommitReply {
    CommitReply { rev: 9, outcomes: outcomes() }
}

pub(crate) fn page() -> Page {
    Page { nodes: vec![node()], rev: 9, next: Some(bytes("next")) }
}

pub(crate) fn changes() -> Changes {
    let entry = LogEntry { rev: 9, request: id(8), device: id(3), nodes: vec![node()] };
    Changes { commits: vec![entry], head: 10 }
}

pub(crate) fn chunk_query() -> ChunkQuery {
    ChunkQuery { chunks: vec![hash(1), hash(2)] }
}

pub(crate) fn chunk_presence() -> ChunkPresence {
    ChunkPresence { present: vec![true, false] }
}

pub(crate) fn read_pieces() -> ReadPieces {
    ReadPieces { pieces: vec![Piece { chunk: hash(1), first: 2, count: 3 }] }
}

pub(crate) fn content_query() -> ContentQuery {
    ContentQuery { items: vec![VersionRef { node: id(4), rev: 5 }], with_bytes: true }
}

pub(crate) fn content_reply() -> ContentReply {
    let content = VersionContent {
        head: bytes("head"),
        body: bytes("body"),
        refs: vec![hash(1)],
        chunk: Some(bytes("chunk")),
    };
    ContentReply { items: vec![Some(content), None] }
}

pub(crate) fn versions() -> Versions {
    let entry = VersionEntry {
        rev: 9,
        head: bytes("head"),
        device: "laptop".into(),
        stored_ms: 1_800_000_000_000,
    };
    Versions { versions: vec![entry] }
}

pub(crate) fn problem() -> Problem {
    Problem { code: "busy".into(), detail: "ask later".into(), retry_after_ms: Some(500) }
}

pub(crate) fn chunk_head() -> ChunkHead {
    ChunkHead {
        suite: 1,
        plain_len: 65_537,
        salt: [9; 16],
        segments: vec![
            Segment { stored_len: 3, compressed: true },
            Segment { stored_len: 17, compressed: false },
        ],
    }
}

/// The stored chunk: its head and 20 bytes of segments.
pub(crate) fn chunk() -> Vec<u8> {
    let mut chunk = Vec::new();
    chunk_head().encode(&mut chunk);
    chunk.extend_from_slice(&[0xaa; 20]);
    chunk
}

pub(crate) fn pack() -> Vec<u8> {
    let mut pack = PackWriter::default();
    pack.push([1; 32], &chunk(), vec![]);
    pack.push([2; 32], &chunk(), vec![[1; 32], [3; 32]]);
    pack.finish()
}

pub(crate) fn frame_header() -> FrameHeader {
    FrameHeader { status: FrameStatus::Later, head_len: 30, body_len: 1 << 20 }
}

pub(crate) fn moment() -> Moment {
    Moment { rev: 300, stored_ms: 1_800_000_000_000 }
}

pub(crate) fn activity() -> Activity {
    let change = NodeChange { before: Some(node()), after: node() };
    let entry = ActivityEntry {
        rev: 300,
        device: id(3),
        label: "laptop".into(),
        stored_ms: 1_800_000_000_000,
        changes: vec![change, NodeChange { before: None, after: node() }],
    };
    Activity { entries: vec![entry], next: Some(300), log_from: 7, head: 301 }
}

pub(crate) fn devices() -> Devices {
    let entry = DeviceEntry {
        id: id(3),
        label: "laptop".into(),
        joined_ms: 1_700_000_000_000,
        revoked_ms: Some(1_800_000_000_000),
        last_rev: Some(300),
        last_ms: Some(1_750_000_000_000),
        own: true,
    };
    Devices { devices: vec![entry] }
}

pub(crate) fn purge() -> Purge {
    Purge { nodes: vec![id(4), id(5)] }
}

pub(crate) fn purged() -> Purged {
    Purged { nodes: 2, bytes: 4_000 }
}

pub(crate) fn damaged() -> Damaged {
    let item = DamagedItem { node: id(4), rev: 300, current: true, chunks: vec![hash(1)] };
    Damaged { items: vec![item] }
}
