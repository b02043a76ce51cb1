//! What crosses the border to the cloud, in plain words: no key, chunk, pack or wire type.

use crate::{Attrs, Ino, Kind, Mono, Name, NodeId, Ranges, RequestId, Rev, Timestamp};
use alloc::{boxed::Box, string::String, vec::Vec};
use thiserror::Error;

/// What a store says of itself when it is connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriveInfo {
    pub epoch: u64,
    pub head: Rev,
    pub used_bytes: u64,
    /// `None`: no quota.
    pub quota_bytes: Option<u64>,
    /// Where `epoch` is not the one that was known, or `head` is below what was applied: up to this rev
    /// the drive is the one that was known. `None`: the store cannot say.
    pub common: Option<Rev>,
}

/// What a device says it knows of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// 0: nothing yet.
    pub epoch: u64,
    /// The newest commit of it that the store has spoken of.
    pub newest: Rev,
}

/// One immutable version of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ContentRef {
    pub id: NodeId,
    pub rev: Rev,
}

/// The state of a node right after the commit that touched it, or in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteNode {
    pub id: NodeId,
    pub parent: NodeId,
    pub name: Name,
    pub kind: Kind,
    /// `attrs.mtime` is already the effective one (of attributes or of content, whichever counts).
    pub attrs: Attrs,
    /// Length of the content in bytes; of a symlink, the length of its target.
    pub size: u64,
    pub meta_rev: Rev,
    pub content_rev: Rev,
    /// False: in the trash (or purged).
    pub live: bool,
}

impl RemoteNode {
    /// The node that a hard link names; `None` for every other kind.
    #[must_use]
    pub fn link_target(&self) -> Option<NodeId> {
        link_target(self.kind, &self.attrs)
    }
}

/// The node that a hard link names.
pub(crate) fn link_target(kind: Kind, attrs: &Attrs) -> Option<NodeId> {
    let bytes = attrs.target.as_slice().try_into().ok().map(NodeId);
    bytes.filter(|_| kind == Kind::Link)
}

/// One commit of the drive's log: apply all of it or nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteCommit {
    pub rev: Rev,
    pub request: RequestId,
    pub nodes: Vec<RemoteNode>,
}

/// A page of a listing; `next` continues it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    pub nodes: Vec<RemoteNode>,
    /// The drive's head when the page was read.
    pub rev: Rev,
    /// Opaque position of the next page; `None` when this was the last.
    pub next: Option<Vec<u8>>,
}

/// Staged content: what a store needs to publish bytes it has already received. Opaque to the core,
/// and safe to keep across a crash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    pub bytes: Vec<u8>,
    /// Length of the content in bytes.
    pub size: u64,
}

/// Where the bytes that are not dirty come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageBase {
    pub content: ContentRef,
    /// Only bytes below this offset are the base's.
    pub len: u64,
}

/// One file to stage: `dirty` is read from the device, the rest below `base.len` is the base's,
/// everything else is a hole (zeros).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageItem {
    /// Whose backing file holds the dirty bytes.
    pub ino: Ino,
    /// The node that the content will belong to (content is sealed to its place).
    pub id: NodeId,
    pub size: u64,
    pub mtime: Timestamp,
    pub base: Option<StageBase>,
    pub dirty: Ranges,
    /// Clean bytes that are here too: the store may read them to cut a fragmented file anew.
    pub valid: Ranges,
}

/// An operation with its precondition. The store refuses it when the revs have moved on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    Create {
        id: NodeId,
        parent: NodeId,
        name: Name,
        kind: Kind,
        attrs: Attrs,
        content: Option<Draft>,
    },
    SetContent {
        id: NodeId,
        base: Rev,
        content: Draft,
    },
    /// Move and rename; carries the attributes so that one op does both.
    Move {
        id: NodeId,
        base: Rev,
        parent: NodeId,
        name: Name,
        attrs: Attrs,
        for_content: Rev,
    },
    /// `for_content`: the content rev that `attrs.mtime` speaks of.
    SetAttrs {
        id: NodeId,
        base: Rev,
        attrs: Attrs,
        for_content: Rev,
    },
    Trash {
        id: NodeId,
        meta: Rev,
        content: Rev,
    },
    /// Out of the trash, to this place. `base` is the meta rev of the trashing.
    Restore {
        id: NodeId,
        base: Rev,
        parent: NodeId,
        name: Name,
        attrs: Attrs,
        for_content: Rev,
    },
}

impl Op {
    /// The node that the operation speaks of.
    #[must_use]
    pub fn id(&self) -> NodeId {
        match self {
            Op::Create { id, .. }
            | Op::SetContent { id, .. }
            | Op::Move { id, .. }
            | Op::SetAttrs { id, .. }
            | Op::Trash { id, .. }
            | Op::Restore { id, .. } => *id,
        }
    }
}

/// An atomic unit: all of its ops or none. Checked as a whole, so the order inside is free:
/// a swap of two names is one group of two moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    pub ops: Vec<Op>,
}

/// What became of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupOutcome {
    /// Accepted: every node it touched has this rev on the facets it changed.
    Done(Rev),
    /// A precondition failed. The current states of the nodes concerned (the op's own node, a
    /// sibling that has the name, the parent) as far as the store has them.
    Conflict(Vec<RemoteNode>),
    /// It needs a group of the same commit that was refused.
    Dependent,
    /// Staged content is no longer there: stage again.
    Unstaged,
    /// The store will never accept it; the text says why.
    Invalid(String),
}

/// A version as `versions` lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    pub rev: Rev,
    pub size: u64,
    pub mtime: Timestamp,
    /// When the store accepted it.
    pub stored: Timestamp,
    /// Name of the device that wrote it.
    pub device: String,
}

/// What the caller must do about it decides the kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloudErrorKind {
    /// Not reachable: try again when it is.
    Offline,
    /// Try again later, not before `retry_after`.
    Retry,
    /// This device is not (or no longer) welcome: sign in again.
    Denied,
    /// It is not there any more: the feed position or the version.
    Gone,
    /// The request itself is wrong: never send it again.
    Invalid,
    /// What came back is not what was stored.
    Corrupt,
    /// The drive's quota is used up.
    Quota,
    /// Reading the device's own bytes failed while staging.
    Local,
}

#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{message}")]
pub struct CloudError {
    pub kind: CloudErrorKind,
    /// Says what, where and what to do next.
    pub message: Box<str>,
    /// How long the store asks to wait, as a length of time.
    pub retry_after: Option<Mono>,
}

impl CloudError {
    pub fn new(kind: CloudErrorKind, message: impl Into<Box<str>>) -> CloudError {
        CloudError { kind, message: message.into(), retry_after: None }
    }
}
