//! The pack: sealed chunks back to back, and a trailer that lists them, so that an index can be
//! rebuilt from packs alone. And the frames in which pieces of chunks travel. All integers are
//! little-endian.
//!
//! ```text
//! pack    = "MDPK" version:u8 0 0 0  chunk*  trailer  trailer_len:u32 "KPDM"
//! chunk   = head segment*
//! head    = suite:u8 segments:u8 plain_len:u32 salt:[16] (stored_len:u32)*     bit 31 of stored_len = zstd
//! trailer = count:u32 (id:[32] offset:u32 len:u32 refs:u32 (id:[32])*)*
//! frame   = status:u8 head_len:u32 body_len:u32 head body
//! ```

use crate::limits::{
    CHUNK_PLAIN_BYTES, PACK_BYTES, REFS_PER_BODY, SEGMENT_PLAIN_BYTES, SEGMENTS_PER_CHUNK,
};

const MAGIC: &[u8; 4] = b"MDPK";
const MAGIC_END: &[u8; 4] = b"KPDM";
/// Version of the pack format.
pub const PACK_VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
const HEAD_FIXED_BYTES: usize = 22;
const COMPRESSED: u32 = 1 << 31;
/// What sealing adds to a segment at most (a 16-byte tag; nothing else is stored).
const SEAL_BYTES: usize = 16;

/// A pack, chunk head or frame that is not well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {why}")]
pub struct FormatError {
    pub what: &'static str,
    pub why: &'static str,
}

const fn bad(what: &'static str, why: &'static str) -> FormatError {
    FormatError { what, why }
}

/// The plain head of a stored chunk: what is needed to find and open its segments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkHead {
    /// 1 = XChaCha20-Poly1305, 2 = AES-256-GCM-SIV, 3 = AES-256-GCM.
    pub suite: u8,
    pub plain_len: u32,
    pub salt: [u8; 16],
    pub segments: Vec<Segment>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    pub stored_len: u32,
    pub compressed: bool,
}

impl ChunkHead {
    /// Length of the encoded head in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        HEAD_FIXED_BYTES + 4 * self.segments.len()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.suite);
        out.push(self.segments.len() as u8);
        out.extend_from_slice(&self.plain_len.to_le_bytes());
        out.extend_from_slice(&self.salt);
        for segment in &self.segments {
            let flag = if segment.compressed { COMPRESSED } else { 0 };
            out.extend_from_slice(&(segment.stored_len | flag).to_le_bytes());
        }
    }

    /// Decodes the head at the start of `bytes`.
    ///
    /// # Errors
    /// When it is cut off, or its counts and lengths contradict each other or the limits.
    pub fn decode(bytes: &[u8]) -> Result<ChunkHead, FormatError> {
        let what = "chunk head";
        let fixed = bytes.get(..HEAD_FIXED_BYTES).ok_or(bad(what, "cut off"))?;
        let count = fixed[1] as usize;
        let plain_len = u32_at(fixed, 2).ok_or(bad(what, "cut off"))?;
        let plain = plain_len as usize;
        if plain > CHUNK_PLAIN_BYTES || count > SEGMENTS_PER_CHUNK {
            return Err(bad(what, "over the limit"));
        }
        if count != plain.div_ceil(SEGMENT_PLAIN_BYTES).max(1) {
            return Err(bad(what, "wrong number of segments"));
        }
        let mut salt = [0; 16];
        salt.copy_from_slice(&fixed[6..HEAD_FIXED_BYTES]);
        let mut segments = Vec::with_capacity(count);
        for index in 0..count {
            let raw = u32_at(bytes, HEAD_FIXED_BYTES + 4 * index).ok_or(bad(what, "cut off"))?;
            let stored_len = raw & !COMPRESSED;
            if stored_len as usize > SEGMENT_PLAIN_BYTES + SEAL_BYTES {
                return Err(bad(what, "segment over the limit"));
            }
            segments.push(Segment { stored_len, compressed: raw & COMPRESSED != 0 });
        }
        Ok(ChunkHead { suite: fixed[0], plain_len, salt, segments })
    }

    /// Where segments `first..first + count` (0 = to the end) lie, counted from the start of the chunk.
    ///
    /// # Errors
    /// When there are no such segments.
    pub fn locate(&self, first: u16, count: u16) -> Result<std::ops::Range<u64>, FormatError> {
        let first = first as usize;
        let end = if count == 0 { self.segments.len() } else { first + count as usize };
        if first >= end || end > self.segments.len() {
            return Err(bad("piece", "no such segments"));
        }
        let sum = |part: &[Segment]| part.iter().map(|s| u64::from(s.stored_len)).sum::<u64>();
        let start = self.encoded_len() as u64 + sum(&self.segments[..first]);
        Ok(start..start + sum(&self.segments[first..end]))
    }
}

/// A line of the trailer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackEntry {
    pub id: [u8; 32],
    pub offset: u32,
    pub len: u32,
    /// Chunks that this one names (pages of manifests).
    pub refs: Vec<[u8; 32]>,
}

/// Collects chunks into a pack.
#[derive(Debug)]
pub struct PackWriter {
    bytes: Vec<u8>,
    entries: Vec<PackEntry>,
    trailer_len: usize,
}

impl Default for PackWriter {
    fn default() -> PackWriter {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[PACK_VERSION, 0, 0, 0]);
        PackWriter { bytes, entries: Vec::new(), trailer_len: 4 }
    }
}

impl PackWriter {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a chunk of `len` stored bytes with `refs` references still fits.
    #[must_use]
    pub fn fits(&self, len: usize, refs: usize) -> bool {
        self.bytes.len() + len + self.trailer_len + 44 + 32 * refs + 8 <= PACK_BYTES
    }

    /// Length of the finished pack in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.trailer_len + 8
    }

    /// Adds a stored chunk (head and segments). The caller asked [`PackWriter::fits`] first.
    pub fn push(&mut self, id: [u8; 32], chunk: &[u8], refs: Vec<[u8; 32]>) {
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(chunk);
        self.trailer_len += 44 + 32 * refs.len();
        self.entries.push(PackEntry { id, offset, len: chunk.len() as u32, refs });
    }

    /// The bytes of the pack.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            self.bytes.extend_from_slice(&entry.id);
            self.bytes.extend_from_slice(&entry.offset.to_le_bytes());
            self.bytes.extend_from_slice(&entry.len.to_le_bytes());
            self.bytes.extend_from_slice(&(entry.refs.len() as u32).to_le_bytes());
            entry.refs.iter().for_each(|id| self.bytes.extend_from_slice(id));
        }
        let trailer_len = (self.bytes.len() - start) as u32;
        self.bytes.extend_from_slice(&trailer_len.to_le_bytes());
        self.bytes.extend_from_slice(MAGIC_END);
        self.bytes
    }
}

/// Reads the trailer of a whole pack and checks every entry against the bytes: chunks lie one after
/// the other between header and trailer, and each has a well-formed head of matching length.
///
/// # Errors
/// Anything that is not exactly a pack of this version.
pub fn read_trailer(pack: &[u8]) -> Result<Vec<PackEntry>, FormatError> {
    let what = "pack";
    if pack.len() > PACK_BYTES || pack.len() < HEADER_BYTES + 12 {
        return Err(bad(what, "size out of bounds"));
    }
    if &pack[..4] != MAGIC || &pack[pack.len() - 4..] != MAGIC_END {
        return Err(bad(what, "not a pack"));
    }
    if pack[4] != PACK_VERSION {
        return Err(bad(what, "unknown version"));
    }
    let trailer_len = u32_at(pack, pack.len() - 8).ok_or(bad(what, "cut off"))? as usize;
    let start = (pack.len() - 8).checked_sub(trailer_len).ok_or(bad(what, "trailer too long"))?;
    if start < HEADER_BYTES {
        return Err(bad(what, "trailer too long"));
    }
    let entries = parse_trailer(&pack[start..pack.len() - 8])?;
    let mut at = HEADER_BYTES;
    for entry in &entries {
        let end = at.checked_add(entry.len as usize).ok_or(bad(what, "chunk too long"))?;
        if entry.offset as usize != at || end > start {
            return Err(bad(what, "chunks do not follow each other"));
        }
        let head = ChunkHead::decode(&pack[at..end])?;
        if head.locate(0, 0)?.end != u64::from(entry.len) {
            return Err(bad(what, "chunk length contradicts its head"));
        }
        at = end;
    }
    if at == start { Ok(entries) } else { Err(bad(what, "bytes between chunks and trailer")) }
}

fn parse_trailer(trailer: &[u8]) -> Result<Vec<PackEntry>, FormatError> {
    let cut = bad("pack trailer", "cut off");
    let count = u32_at(trailer, 0).ok_or(cut)? as usize;
    if count > trailer.len() / 44 {
        return Err(bad("pack trailer", "count contradicts length"));
    }
    let mut at = 4;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let id = id_at(trailer, at).ok_or(cut)?;
        let offset = u32_at(trailer, at + 32).ok_or(cut)?;
        let len = u32_at(trailer, at + 36).ok_or(cut)?;
        let refs_len = u32_at(trailer, at + 40).ok_or(cut)? as usize;
        if refs_len > REFS_PER_BODY {
            return Err(bad("pack trailer", "too many references"));
        }
        at += 44;
        let mut refs = Vec::new();
        for index in 0..refs_len {
            refs.push(id_at(trailer, at + 32 * index).ok_or(cut)?);
        }
        at += 32 * refs_len;
        entries.push(PackEntry { id, offset, len, refs });
    }
    if at == trailer.len() { Ok(entries) } else { Err(bad("pack trailer", "bytes left over")) }
}

/// The answer to one piece of a chunk read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameStatus {
    Ok = 0,
    /// No such chunk in this drive.
    Missing = 1,
    /// The answer was full: ask again for this piece and those after it.
    Later = 2,
    /// Stored, but cannot be read back.
    Damaged = 3,
}

/// The fixed part of a frame: status, then head, then body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    pub status: FrameStatus,
    pub head_len: u32,
    pub body_len: u32,
}

/// Bytes of an encoded [`FrameHeader`].
pub const FRAME_HEADER_BYTES: usize = 9;

impl FrameHeader {
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        out[0] = self.status as u8;
        out[1..5].copy_from_slice(&self.head_len.to_le_bytes());
        out[5..9].copy_from_slice(&self.body_len.to_le_bytes());
        out
    }

    /// # Errors
    /// Unknown status, or lengths beyond what a chunk can have.
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<FrameHeader, FormatError> {
        let status = match bytes[0] {
            0 => FrameStatus::Ok,
            1 => FrameStatus::Missing,
            2 => FrameStatus::Later,
            3 => FrameStatus::Damaged,
            _ => return Err(bad("frame", "unknown status")),
        };
        let head_len = u32_at(bytes, 1).unwrap_or(u32::MAX);
        let body_len = u32_at(bytes, 5).unwrap_or(u32::MAX);
        let head_max = HEAD_FIXED_BYTES + 4 * SEGMENTS_PER_CHUNK;
        let body_max = CHUNK_PLAIN_BYTES + SEAL_BYTES * SEGMENTS_PER_CHUNK;
        if head_len as usize > head_max || body_len as usize > body_max {
            return Err(bad("frame", "over the limit"));
        }
        Ok(FrameHeader { status, head_len, body_len })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let raw = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]))
}

fn id_at(bytes: &[u8], at: usize) -> Option<[u8; 32]> {
    bytes.get(at..at + 32)?.try_into().ok()
}
