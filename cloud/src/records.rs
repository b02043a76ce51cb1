//! Attributes and heads of versions as numbered records, and nodes of the wire as the core knows them.

use crate::keys::Refused;
use crate::manifest::{check_version, encode};
use crate::record::{Field, Sealer};
use fs_core::{Attrs, CloudError, Kind, Name, NodeId, RemoteNode, Rev, Timestamp, Xattrs};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::wire;

const ATTRS_VERSION: u8 = 1;
const HEAD_VERSION: u8 = 1;
/// Attributes and heads are padded to a multiple of this: their lengths tell little.
const PAD_BYTES: usize = 32;
/// Longest target of a symlink in bytes (Linux PATH_MAX less its NUL).
const TARGET_BYTES: usize = 4095;

#[derive(Encode, Decode)]
#[cbor(map)]
struct AttrsRecord {
    #[n(0)]
    version: u8,
    #[n(1)]
    mode: u32,
    #[n(2)]
    uid: u32,
    #[n(3)]
    gid: u32,
    #[n(4)]
    rdev: u32,
    #[n(5)]
    atime: i64,
    #[n(6)]
    mtime: i64,
    #[n(7)]
    ctime: i64,
    #[n(8)]
    btime: i64,
    #[cbor(n(9), with = "minicbor::bytes")]
    target: Vec<u8>,
    #[n(10)]
    xattrs: Vec<(ByteVec, ByteVec)>,
    /// The content rev that `mtime` speaks of; 0 = none.
    #[n(11)]
    for_content: u64,
}

/// Length and time of a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Head {
    #[n(0)]
    version: u8,
    #[n(1)]
    pub(crate) size: u64,
    #[n(2)]
    pub(crate) mtime: i64,
}

impl Head {
    pub(crate) fn new(size: u64, mtime: Timestamp) -> Head {
        Head { version: HEAD_VERSION, size, mtime: mtime.0 }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        padded(encode(self))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, Refused> {
        check_version(bytes, HEAD_VERSION)?;
        minicbor::decode(bytes).map_err(|_| Refused("malformed head"))
    }
}

pub(crate) fn encode_attrs(attrs: &Attrs, for_content: Rev) -> Vec<u8> {
    let pair = |(name, value): (&Vec<u8>, &Vec<u8>)| (name.clone().into(), value.clone().into());
    padded(encode(AttrsRecord {
        version: ATTRS_VERSION,
        mode: attrs.mode,
        uid: attrs.uid,
        gid: attrs.gid,
        rdev: attrs.rdev,
        atime: attrs.atime.0,
        mtime: attrs.mtime.0,
        ctime: attrs.ctime.0,
        btime: attrs.btime.0,
        target: attrs.target.clone(),
        xattrs: attrs.xattrs.iter().map(pair).collect(),
        for_content: for_content.0,
    }))
}

pub(crate) fn decode_attrs(bytes: &[u8]) -> Result<(Attrs, Rev), Refused> {
    check_version(bytes, ATTRS_VERSION)?;
    let record: AttrsRecord =
        minicbor::decode(bytes).map_err(|_| Refused("malformed attributes"))?;
    if record.target.len() > TARGET_BYTES {
        return Err(Refused("impossible target"));
    }
    let pair = |(name, value): (ByteVec, ByteVec)| (name.into(), value.into());
    let xattrs: Xattrs = record.xattrs.into_iter().map(pair).collect();
    let attrs = Attrs {
        mode: record.mode & 0o7777,
        uid: record.uid,
        gid: record.gid,
        rdev: record.rdev,
        atime: Timestamp(record.atime),
        mtime: Timestamp(record.mtime),
        ctime: Timestamp(record.ctime),
        btime: Timestamp(record.btime),
        target: record.target,
        xattrs,
    };
    Ok((attrs, Rev(record.for_content)))
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(PAD_BYTES), 0);
    bytes
}

/// A symlink leads to a path; a hard link names a node by its identity, which is any bytes.
fn check_target(kind: Kind, target: &[u8]) -> Result<(), Refused> {
    let possible = match kind {
        Kind::Symlink => !target.contains(&0),
        Kind::Link => target.len() == size_of::<NodeId>(),
        _ => true,
    };
    if possible { Ok(()) } else { Err(Refused("impossible target of a link")) }
}

/// The number of a kind on the wire.
pub(crate) fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Dir => 1,
        Kind::Symlink => 2,
        Kind::Fifo => 3,
        Kind::Socket => 4,
        Kind::CharDevice => 5,
        Kind::BlockDevice => 6,
        Kind::Link => 7,
    }
}

fn kind_of(number: u8) -> Option<Kind> {
    Some(match number {
        0 => Kind::File,
        1 => Kind::Dir,
        2 => Kind::Symlink,
        3 => Kind::Fifo,
        4 => Kind::Socket,
        5 => Kind::CharDevice,
        6 => Kind::BlockDevice,
        7 => Kind::Link,
        _ => return None,
    })
}

impl Sealer {
    pub(crate) fn seal_attrs(
        &self,
        node: NodeId,
        attrs: &Attrs,
        for_content: Rev,
    ) -> Result<Vec<u8>, CloudError> {
        self.seal(node, Field::Attrs, &encode_attrs(attrs, for_content))
    }

    pub(crate) fn open_head(&self, node: NodeId, sealed: &[u8]) -> Result<Head, Refused> {
        Head::decode(&self.open(node, Field::Head, sealed)?)
    }

    /// A node of the wire, opened. One that cannot be opened is shown under a name that says so,
    /// without attributes: a single bad record must not hide a folder.
    pub(crate) fn open_node(&self, node: &wire::Node) -> RemoteNode {
        self.try_open_node(node).unwrap_or_else(|refused| {
            let id = NodeId(*node.id);
            tracing::warn!(node = ?id, "a record of this node cannot be opened: {refused}");
            self.invalid_node(node)
        })
    }

    fn try_open_node(&self, node: &wire::Node) -> Result<RemoteNode, Refused> {
        let (id, parent) = (NodeId(*node.id), NodeId(*node.parent));
        let kind = kind_of(node.kind).ok_or(Refused("unknown kind"))?;
        let name = self.open_name(id, parent, &node.name)?;
        let (mut attrs, for_content) = decode_attrs(&self.open(id, Field::Attrs, &node.meta)?)?;
        check_target(kind, &attrs.target)?;
        let content_rev = Rev(node.content_rev);
        let size = match (kind, &node.head) {
            (Kind::File, Some(sealed)) => {
                let head = self.open_head(id, sealed)?;
                if for_content != content_rev {
                    attrs.mtime = Timestamp(head.mtime);
                }
                head.size
            }
            (Kind::Symlink, _) => attrs.target.len() as u64,
            _ => 0,
        };
        let (meta_rev, live) = (Rev(node.meta_rev), node.live);
        Ok(RemoteNode { id, parent, name, kind, attrs, size, meta_rev, content_rev, live })
    }

    fn invalid_node(&self, node: &wire::Node) -> RemoteNode {
        let text = format!("invalid-{}", protocol::codec::hex(&*node.id));
        RemoteNode {
            id: NodeId(*node.id),
            parent: NodeId(*node.parent),
            name: Name::new(text.as_bytes()).unwrap_or_else(|_| Name::none()),
            // Only a folder stays what it is: it may hold nodes that are whole.
            kind: if node.kind == 1 { Kind::Dir } else { Kind::File },
            attrs: no_attrs(),
            size: 0,
            meta_rev: Rev(node.meta_rev),
            content_rev: Rev(node.content_rev),
            live: node.live,
        }
    }
}

fn no_attrs() -> Attrs {
    let zero = Timestamp(0);
    Attrs {
        mode: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        atime: zero,
        mtime: zero,
        ctime: zero,
        btime: zero,
        target: Vec::new(),
        xattrs: Xattrs::new(),
    }
}
