//! Types of the cloud wire. Names, attributes, heads and bodies are sealed: the server moves them
//! about and never looks inside.

use crate::bounds;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// A node id, request id, drive id or name key.
pub type Id = ByteArray<16>;
/// The keyed hash of a chunk's plain bytes, or the hash of a pack's bytes.
pub type Hash = ByteArray<32>;

/// `GET /v1/info`, open to all.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Info {
    pub protocol: String,
    pub server: String,
    /// Milliseconds since 1970 on the server's clock.
    pub time_ms: u64,
}

/// `POST /v1/drives`: creates a drive. `setup_code` is the one-time code that `serve` printed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CreateDrive {
    pub setup_code: String,
    pub drive: Id,
    pub label: String,
    pub device: String,
    /// Parameters fixed for the drive's life (cipher suite, chunker profile), opaque to the server.
    pub params: ByteBuf,
    /// An invitation made from the recovery key; it does not expire and works any number of times.
    pub recovery: Invite,
}

/// An entry ticket: whoever knows the secret behind `lookup` may join and can open `sealed_key`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Invite {
    /// Derived from the code's secret; tells the server which invitation, not what is inside.
    pub lookup: Id,
    pub sealed_key: ByteBuf,
}

/// Answer to `CreateDrive` and `Join`: the device's identity and its bearer token.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Membership {
    pub drive: Id,
    pub label: String,
    pub device: Id,
    pub token: String,
    pub params: ByteBuf,
    /// For `Join`: the sealed drive key of the invitation.
    pub sealed_key: Option<ByteBuf>,
}

/// `POST /v1/drives/{d}/invites`: a one-time join code for another device; lives `ttl_secs`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CreateInvite {
    pub invite: Invite,
    pub ttl_secs: u64,
}

/// `POST /v1/join`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Join {
    pub lookup: Id,
    pub device: String,
}

/// `GET /v1/drives/{d}`, and the answer to `GET /v1/drives/{d}/feed?since=&wait=`, which is held until
/// `head` is beyond `since` or `wait` seconds have passed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Drive {
    pub drive: Id,
    pub label: String,
    /// Changes when the server's data was restored from a backup.
    pub epoch: u64,
    pub head: u64,
    pub used_bytes: u64,
    pub quota_bytes: Option<u64>,
    /// To `GET /v1/drives/{d}?epoch=&known=` with another epoch than this: up to which rev the drive is
    /// the one of that epoch; 0 when nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common: Option<u64>,
}

/// The data of an event named `hint` on the stream `GET /v1/drives/{d}/feed`, as JSON: the drive's
/// head is (at least) `rev`. The drive is in lower-case hex.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hint {
    pub drive: String,
    pub rev: u64,
}

/// The state of a node. The root directory of a drive has no such state: it is the id of 16 zero
/// bytes, which is a parent only, and never in a listing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Node {
    pub id: Id,
    pub parent: Id,
    pub name: ByteBuf,
    /// 0 file, 1 directory, 2 symlink, 3 fifo, 4 socket, 5 character device, 6 block device.
    pub kind: u8,
    pub meta: ByteBuf,
    /// Sealed size and mtime of the current version; files only.
    pub head: Option<ByteBuf>,
    pub meta_rev: u64,
    pub content_rev: u64,
    pub live: bool,
}

/// The content of a new version.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Content {
    pub head: ByteBuf,
    /// Sealed: the bytes of a small file, or the root of a manifest.
    pub body: ByteBuf,
    /// Every chunk that the body speaks of (pages of a manifest name their own).
    #[serde(deserialize_with = "bounds::refs")]
    pub refs: Vec<Hash>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Create {
        id: Id,
        parent: Id,
        name_key: Id,
        name: ByteBuf,
        kind: u8,
        meta: ByteBuf,
        content: Option<Content>,
    },
    SetContent {
        id: Id,
        base: u64,
        content: Content,
    },
    Move {
        id: Id,
        base: u64,
        parent: Id,
        name_key: Id,
        name: ByteBuf,
        meta: ByteBuf,
    },
    SetMeta {
        id: Id,
        base: u64,
        meta: ByteBuf,
    },
    Trash {
        id: Id,
        meta: u64,
        content: u64,
    },
    Restore {
        id: Id,
        base: u64,
        parent: Id,
        name_key: Id,
        name: ByteBuf,
        meta: ByteBuf,
    },
}

/// `POST /v1/drives/{d}/commit`: groups are atomic each; checked as wholes, in order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Commit {
    pub request: Id,
    #[serde(deserialize_with = "bounds::op_groups")]
    pub groups: Vec<Vec<Op>>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done {
        rev: u64,
    },
    /// States of the nodes concerned: the op's node, who has the name, the parent.
    Conflict {
        #[serde(deserialize_with = "bounds::nodes")]
        nodes: Vec<Node>,
    },
    /// Depends on a refused group of this commit.
    Dependent,
    /// These chunks are not (or no longer) stored.
    ChunksMissing {
        #[serde(deserialize_with = "bounds::ids")]
        chunks: Vec<Hash>,
    },
    Invalid {
        why: String,
    },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CommitReply {
    /// The rev of this commit, or the head if no group was accepted.
    pub rev: u64,
    #[serde(deserialize_with = "bounds::groups")]
    pub outcomes: Vec<Outcome>,
}

/// `GET /v1/drives/{d}/snapshot?after=` and `/nodes/{n}/children?after=`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Page {
    #[serde(deserialize_with = "bounds::nodes")]
    pub nodes: Vec<Node>,
    pub rev: u64,
    /// Sent back as `after=`, in lower-case hex. `None`: this was the last page.
    pub next: Option<ByteBuf>,
}

/// One entry of the log: the states of all nodes it touched, right after it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    pub rev: u64,
    pub request: Id,
    pub device: Id,
    #[serde(deserialize_with = "bounds::nodes")]
    pub nodes: Vec<Node>,
}

/// `GET /v1/drives/{d}/changes?since=`; 410 when the log no longer goes back that far.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Changes {
    #[serde(deserialize_with = "bounds::commits")]
    pub commits: Vec<LogEntry>,
    pub head: u64,
}

/// `POST /v1/drives/{d}/chunks/query`: which of these are stored? Answer: one bool each.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChunkQuery {
    #[serde(deserialize_with = "bounds::ids")]
    pub chunks: Vec<Hash>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChunkPresence {
    #[serde(deserialize_with = "bounds::ids")]
    pub present: Vec<bool>,
}

/// One run of segments of a chunk.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Piece {
    pub chunk: Hash,
    pub first: u16,
    /// 0 = to the end.
    pub count: u16,
}

/// `POST /v1/drives/{d}/chunks/read`. The answer is a stream of frames, see [`crate::pack::FrameHeader`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReadPieces {
    #[serde(deserialize_with = "bounds::pieces")]
    pub pieces: Vec<Piece>,
}

/// `POST /v1/drives/{d}/content`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ContentQuery {
    #[serde(deserialize_with = "bounds::items")]
    pub items: Vec<VersionRef>,
    /// Send the one chunk of files that have exactly one, while the answer has room.
    pub with_bytes: bool,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct VersionRef {
    pub node: Id,
    pub rev: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ContentReply {
    /// One an item asked for, in order; `None`: no such version. May be shorter than what was asked
    /// (never empty, unless nothing was asked): the answer was full, ask again for the rest.
    #[serde(deserialize_with = "bounds::items")]
    pub items: Vec<Option<VersionContent>>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VersionContent {
    pub head: ByteBuf,
    pub body: ByteBuf,
    #[serde(deserialize_with = "bounds::refs")]
    pub refs: Vec<Hash>,
    /// The whole stored chunk (head and segments) of the first of `refs`, if it was asked for, there was
    /// room, and it is the only one or small.
    pub chunk: Option<ByteBuf>,
}

/// `GET /v1/drives/{d}/nodes/{n}/versions`, newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Versions {
    #[serde(deserialize_with = "bounds::versions")]
    pub versions: Vec<VersionEntry>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VersionEntry {
    pub rev: u64,
    pub head: ByteBuf,
    pub device: String,
    pub stored_ms: u64,
}

/// `GET /v1/drives/{d}/at?time_ms=`: the last commit that the store had taken at that time, by its
/// own clock. 410 when the past is no longer kept that far back.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Moment {
    /// Sent as `rev=` to `/nodes/{n}/children`, which then lists the folder as it was.
    pub rev: u64,
    /// When that commit was taken; 0: nothing had been committed yet.
    pub stored_ms: u64,
}

/// `GET /v1/drives/{d}/activity?since_ms=&until_ms=&after=&device=&node=`: what was done, oldest
/// first. `device` and `node` (lower-case hex) keep only what that device did, or what happened to
/// that node; `after` is the `next` of the page before.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Activity {
    #[serde(deserialize_with = "bounds::commits")]
    pub entries: Vec<ActivityEntry>,
    /// More may follow this rev. `None`: this was all.
    pub next: Option<u64>,
    /// What was done up to this rev is no longer known.
    pub log_from: u64,
    pub head: u64,
}

/// One commit, or what is of interest in it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ActivityEntry {
    pub rev: u64,
    pub device: Id,
    /// Its label; empty when it is not known any more.
    pub label: String,
    pub stored_ms: u64,
    #[serde(deserialize_with = "bounds::nodes")]
    pub changes: Vec<NodeChange>,
}

/// A node before and after a commit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NodeChange {
    /// `None`: the commit created it, or its former state is no longer kept.
    pub before: Option<Node>,
    pub after: Node,
}

/// `GET /v1/drives/{d}/devices`: all that have ever joined, oldest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Devices {
    #[serde(deserialize_with = "bounds::devices")]
    pub devices: Vec<DeviceEntry>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DeviceEntry {
    pub id: Id,
    pub label: String,
    pub joined_ms: u64,
    /// `DELETE /v1/drives/{d}/devices/{id}` was asked then: its token is good no more.
    pub revoked_ms: Option<u64>,
    /// Its last commit, as far as the log goes back.
    pub last_rev: Option<u64>,
    pub last_ms: Option<u64>,
    /// The device that asks.
    pub own: bool,
}

/// `POST /v1/drives/{d}/purge`: removes nodes of the trash for good, with all their versions. What is
/// not in the trash is left alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Purge {
    #[serde(deserialize_with = "bounds::groups")]
    pub nodes: Vec<Id>,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Purged {
    pub nodes: u64,
    /// Bytes of small contents that went at once; what lies in packs goes with the next collections.
    pub bytes: u64,
}

/// `GET /v1/drives/{d}/damaged`: current contents that the store cannot read back whole. A device that
/// has the bytes sends the chunks again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Damaged {
    #[serde(deserialize_with = "bounds::ids")]
    pub items: Vec<DamagedItem>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DamagedItem {
    pub node: Id,
    pub rev: u64,
    /// It is what the file holds now, not an older version.
    pub current: bool,
    /// Chunks that are missing or lie in a pack that is not what it was, at most 10,000.
    #[serde(deserialize_with = "bounds::ids")]
    pub chunks: Vec<Hash>,
}

/// Body of every answer that is not a success.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// A fixed word: `unauthorized`, `revoked`, `gone`, `too_large`, `invalid`, `upgrade`,
    /// `busy`, `quota`, `not_found`, `code_unknown`, `internal`.
    pub code: String,
    /// For people: what, where, what to do.
    pub detail: String,
    pub retry_after_ms: Option<u64>,
}
