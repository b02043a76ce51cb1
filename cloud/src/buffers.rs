//! Buffers for opened bytes. Each lies in memory as its bytes lie in their file, so that a cache may
//! write them without a copy, and is used again when the last one who reads it has let go: a gigabyte
//! on its way through would otherwise cost a quarter of a million page faults.

use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Alignment of a buffer: what direct writes ask for on every common disk and file system.
pub(crate) const PAGE_BYTES: usize = 4 << 10;
/// Bytes that a buffer holds at most.
const BUFFER_BYTES: usize = (1 << 20) + (64 << 10) + PAGE_BYTES;
/// Buffers that are kept while nobody uses them (17 MiB).
const BUFFERS_IDLE: usize = 16;

#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes that go on in a file from the place where the buffer was begun.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    home: Buffers,
}

impl Buffers {
    /// An empty buffer for bytes that begin at `offset` of a file.
    pub(crate) fn begin(&self, offset: u64) -> Buffer {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = idle.unwrap_or_else(|| Vec::with_capacity(2 * PAGE_BYTES + BUFFER_BYTES));
        let page = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        let start = page + (offset % PAGE_BYTES as u64) as usize;
        bytes.resize(start, 0);
        Buffer { bytes, start, home: self.clone() }
    }
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The vector, whose first `start` bytes are not content. It may grow by what the buffer has
    /// room for; more moves it, which only costs time.
    pub(crate) fn vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The last `count` bytes, taken off.
    pub(crate) fn cut(&mut self, count: usize) -> Vec<u8> {
        self.bytes.split_off(self.bytes.len() - count.min(self.len()))
    }

    pub(crate) fn finish(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut idle = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < BUFFERS_IDLE {
            bytes.clear();
            idle.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_lie_as_in_their_file_and_buffers_come_back() {
        let buffers = Buffers::default();
        for offset in [0, 1, 4095, 4096, 123_456_789] {
            let mut buffer = buffers.begin(offset);
            buffer.vec().extend_from_slice(&[7; 5_000]);
            assert_eq!(buffer.cut(1_000), [7; 1_000]);
            let bytes = buffer.finish();
            assert_eq!(bytes, [7; 4_000][..]);
            assert_eq!(bytes.as_ptr() as u64 % 4096, offset % 4096);
            let part = bytes.slice(10..20);
            drop(bytes);
            assert!(buffers.0.lock().unwrap().is_empty(), "still read");
            drop(part);
            assert_eq!(buffers.0.lock().unwrap().len(), 1);
        }
        let many: Vec<Buffer> = (0..40).map(|_| buffers.begin(0)).collect();
        drop(many);
        assert_eq!(buffers.0.lock().unwrap().len(), BUFFERS_IDLE);
    }
}
