//! Bounds that both sides enforce on what the other sends.

/// Operations in one commit.
pub const OPS_PER_COMMIT: usize = 1_000;
/// Bytes of a commit's body, after decompression.
pub const COMMIT_BYTES: usize = 8 << 20;
/// Bytes of a pack.
pub const PACK_BYTES: usize = 16 << 20;
/// Plain bytes of a chunk, and of one of its sealed segments.
pub const CHUNK_PLAIN_BYTES: usize = 1 << 20;
pub const SEGMENT_PLAIN_BYTES: usize = 64 << 10;
/// Segments in a chunk: 16 of 64 KiB.
pub const SEGMENTS_PER_CHUNK: usize = CHUNK_PLAIN_BYTES / SEGMENT_PLAIN_BYTES;
/// Sealed bytes of a name: 255 plain, padded to 16, a 24-byte nonce and a 16-byte tag.
pub const SEALED_NAME_BYTES: usize = 320;
/// Sealed bytes of a node's attributes, and of the head of a version.
pub const SEALED_META_BYTES: usize = 72 << 10;
pub const SEALED_HEAD_BYTES: usize = 256;
/// Sealed bytes of a version's body: an inline file or the root of a manifest.
pub const SEALED_BODY_BYTES: usize = 2 << 20;
/// Largest file that rides inside its version, in plain bytes.
pub const INLINE_BYTES: usize = 2 << 10;
/// Chunk ids that one version's body or one manifest page refers to directly.
pub const REFS_PER_BODY: usize = 65_536;
/// Ids in one chunk query, nodes in one content request, pieces in one chunk read.
pub const QUERY_IDS: usize = 10_000;
pub const CONTENT_ITEMS: usize = 500;
pub const READ_PIECES: usize = 512;
/// Sealed bytes that one chunk read or one content answer carries at most (at least one piece is
/// always served).
pub const READ_BYTES: usize = 8 << 20;
/// Nodes on one page of a listing, snapshot or trash; commits on one page of the log.
pub const PAGE_NODES: usize = 5_000;
pub const PAGE_COMMITS: usize = 500;
/// Nodes that all commits on one page of the log may add up to, except that one commit always fits.
pub const PAGE_COMMIT_NODES: usize = 5_000;
/// Nodes in one answer of the trash, versions in one answer of a file's versions.
pub const TRASH_NODES: usize = 1_000;
pub const VERSIONS_LISTED: usize = 1_000;
/// Devices of one drive, also those that were revoked.
pub const DEVICES_LISTED: usize = 1_000;
/// Depth of a tree in directories.
pub const TREE_DEPTH: usize = 256;
/// Nesting of a CBOR body.
pub const CBOR_DEPTH: usize = 16;
/// Bytes of any other request or answer body that is not a pack or a chunk read.
pub const BODY_BYTES: usize = 16 << 20;
/// Bytes of a device or drive label.
pub const LABEL_BYTES: usize = 128;
/// Seconds that `feed?wait=` may be held, and between heartbeats of the event stream.
pub const FEED_WAIT_SECS: u64 = 55;
pub const FEED_HEARTBEAT_SECS: u64 = 20;
