//! Sealed chunks: zstd where it pays, then one AEAD seal a segment, so that any 64 KiB of a chunk
//! can be fetched and verified alone. The plain head is `protocol::pack::ChunkHead`.

use crate::keys::{ChunkId, Cipher, Keys, Refused, Suite, TAG_BYTES};
use protocol::limits::{CHUNK_PLAIN_BYTES, SEGMENT_PLAIN_BYTES};
use protocol::pack::{ChunkHead, Segment};
use std::cell::RefCell;

const CHUNK_VERSION: u8 = 1;
/// Level 1 compresses at about 0.46 GB/s a core; level 3 gains little more at less speed.
const ZSTD_LEVEL: i32 = 1;
/// Compression must save at least one part in this many (5 %) to be kept.
const ZSTD_MIN_GAIN: usize = 20;
/// Below this many bytes compression cannot gain anything worth having.
const ZSTD_MIN_BYTES: usize = 64;

thread_local! {
    // A context costs some hundred KiB to make, more than a segment costs to compress.
    static ZSTD: RefCell<Option<zstd::bulk::Compressor<'static>>> =
        RefCell::new(zstd::bulk::Compressor::new(ZSTD_LEVEL).ok());
    static UNZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        RefCell::new(zstd::bulk::Decompressor::new().ok());
}

/// Seals `plain` (1 byte to 1 MiB) as the stored form of chunk `id`: head and segments. The salt
/// must be fresh: it makes the key, and with it every nonce, new for each upload.
pub(crate) fn seal(
    keys: &Keys,
    suite: Suite,
    id: &ChunkId,
    plain: &[u8],
    salt: [u8; 16],
) -> Result<Vec<u8>, Refused> {
    if plain.is_empty() || plain.len() > CHUNK_PLAIN_BYTES {
        return Err(Refused("a chunk has 1 byte to 1 MiB"));
    }
    let count = plain.len().div_ceil(SEGMENT_PLAIN_BYTES);
    let mut head = ChunkHead {
        suite: suite as u8,
        plain_len: plain.len() as u32,
        salt,
        segments: vec![Segment { stored_len: 0, compressed: false }; count],
    };
    let cipher = suite.cipher(&keys.chunk_key(suite, id, &salt))?;
    let mut out = Vec::with_capacity(head.encoded_len() + plain.len() + TAG_BYTES * count);
    out.resize(head.encoded_len(), 0);
    let mut try_zstd = true;
    for (index, part) in plain.chunks(SEGMENT_PLAIN_BYTES).enumerate() {
        let start = out.len();
        let packed = if try_zstd { compress(part) } else { None };
        // A chunk whose first segment does not shrink is taken for incompressible.
        try_zstd &= index > 0 || packed.is_some();
        out.extend_from_slice(packed.as_deref().unwrap_or(part));
        let aad = aad(&head, id, index as u16, packed.is_some());
        let tag = cipher.seal(index as u16, &aad, &mut out[start..])?;
        out.extend_from_slice(&tag);
        let stored_len = (out.len() - start) as u32;
        head.segments[index] = Segment { stored_len, compressed: packed.is_some() };
    }
    let mut encoded = Vec::with_capacity(head.encoded_len());
    head.encode(&mut encoded);
    out[..encoded.len()].copy_from_slice(&encoded);
    Ok(out)
}

/// Opens segments `first..first + count` (0 = to the end) of chunk `id` from `body`, which holds
/// exactly their stored bytes.
pub(crate) fn open(
    keys: &Keys,
    id: &ChunkId,
    head: ChunkHead,
    (first, count): (u16, u16),
    body: &[u8],
) -> Result<Vec<u8>, Refused> {
    let mut opener = Opener::new(keys, id, head, (first, count), body.len())?;
    let mut plain = Vec::with_capacity(opener.left() * (SEGMENT_PLAIN_BYTES + TAG_BYTES));
    let mut rest = body;
    while let Some(len) = opener.next_len() {
        let (stored, tail) = rest.split_at_checked(len).ok_or(Refused("cut off"))?;
        rest = tail;
        let start = plain.len();
        plain.extend_from_slice(stored);
        opener.open(&mut plain, start)?;
    }
    Ok(plain)
}

/// Opens a whole stored chunk: head and all segments.
pub(crate) fn open_whole(keys: &Keys, id: &ChunkId, stored: &[u8]) -> Result<Vec<u8>, Refused> {
    let head = ChunkHead::decode(stored)?;
    let body = stored.get(head.encoded_len()..).ok_or(Refused("cut off"))?;
    open(keys, id, head, (0, 0), body)
}

/// Opens segments of one chunk in order, each where its stored bytes were put.
pub(crate) struct Opener {
    cipher: Cipher,
    head: ChunkHead,
    id: ChunkId,
    next: usize,
    end: usize,
}

impl Opener {
    /// For segments `first..first + count` (0 = to the end), whose stored bytes are `stored_len`.
    pub(crate) fn new(
        keys: &Keys,
        id: &ChunkId,
        head: ChunkHead,
        (first, count): (u16, u16),
        stored_len: usize,
    ) -> Result<Opener, Refused> {
        let stored = head.locate(first, count)?;
        if stored.end - stored.start != stored_len as u64 {
            return Err(Refused("length contradicts the head"));
        }
        let suite = Suite::from_byte(head.suite)?;
        let cipher = suite.cipher(&keys.chunk_key(suite, id, &head.salt))?;
        let end = if count == 0 { head.segments.len() } else { usize::from(first + count) };
        Ok(Opener { cipher, head, id: *id, next: usize::from(first), end })
    }

    /// Segments that are still to be opened.
    pub(crate) fn left(&self) -> usize {
        self.end - self.next
    }

    /// Stored bytes of the next segment.
    pub(crate) fn next_len(&self) -> Option<usize> {
        (self.next < self.end).then(|| self.head.segments[self.next].stored_len as usize)
    }

    /// Plain bytes of the next segment.
    pub(crate) fn plain_len(&self) -> usize {
        (self.head.plain_len as usize)
            .saturating_sub(self.next * SEGMENT_PLAIN_BYTES)
            .min(SEGMENT_PLAIN_BYTES)
    }

    /// Opens the next segment, whose stored bytes are all of `out` from `start` on: its plain bytes
    /// take their place. When it is refused, nothing of it is left there.
    pub(crate) fn open(&mut self, out: &mut Vec<u8>, start: usize) -> Result<(), Refused> {
        let opened = self.open_in_place(out, start);
        if opened.is_err() {
            out.truncate(start);
        }
        self.next += 1;
        opened
    }

    fn open_in_place(&self, out: &mut Vec<u8>, start: usize) -> Result<(), Refused> {
        let index = self.next;
        let compressed = self.head.segments[index].compressed;
        let expected = self.plain_len();
        let (body, tag) = out
            .get_mut(start..)
            .and_then(<[u8]>::split_last_chunk_mut::<TAG_BYTES>)
            .ok_or(Refused("cut off"))?;
        if !compressed && body.len() != expected {
            return Err(Refused("length contradicts the head"));
        }
        let aad = aad(&self.head, &self.id, index as u16, compressed);
        self.cipher.open(index as u16, &aad, body, tag)?;
        let packed = if compressed { body.to_vec() } else { Vec::new() };
        out.truncate(out.len() - TAG_BYTES);
        if compressed {
            out.truncate(start);
            decompress(&packed, expected, out)?;
        }
        Ok(())
    }
}

/// Binds a segment to its chunk, its place in it and the shape of the whole.
fn aad(head: &ChunkHead, id: &ChunkId, index: u16, compressed: bool) -> [u8; 43] {
    let mut aad = [0; 43];
    aad[0] = CHUNK_VERSION;
    aad[1] = head.suite;
    aad[2..34].copy_from_slice(id);
    aad[34..36].copy_from_slice(&index.to_le_bytes());
    aad[36..38].copy_from_slice(&(head.segments.len() as u16).to_le_bytes());
    aad[38..42].copy_from_slice(&head.plain_len.to_le_bytes());
    aad[42] = u8::from(compressed);
    aad
}

fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < ZSTD_MIN_BYTES {
        return None;
    }
    let packed = ZSTD.with_borrow_mut(|zstd| zstd.as_mut()?.compress(plain).ok())?;
    (packed.len() <= plain.len() - plain.len() / ZSTD_MIN_GAIN).then_some(packed)
}

/// Appends exactly `expected` bytes to `plain`, or fails: never more, whatever `packed` claims.
fn decompress(packed: &[u8], expected: usize, plain: &mut Vec<u8>) -> Result<(), Refused> {
    let start = plain.len();
    plain.resize(start + expected, 0);
    let len = UNZSTD.with_borrow_mut(|zstd| {
        let zstd = zstd.as_mut().ok_or(Refused("no memory to decompress"))?;
        zstd.decompress_to_buffer(packed, &mut plain[start..])
            .map_err(|_| Refused("does not decompress to its known length"))
    })?;
    if len == expected { Ok(()) } else { Err(Refused("decompresses to another length")) }
}
