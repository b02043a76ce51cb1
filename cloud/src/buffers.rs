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
    /// Where in a page of the file it was begun.
    in_page: usize,
    home: Buffers,
}

impl Buffers {
    /// An empty buffer for bytes that begin at `offset` of a file.
    pub(crate) fn begin(&self, offset: u64) -> Buffer {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = idle.unwrap_or_else(|| Vec::with_capacity(2 * PAGE_BYTES + BUFFER_BYTES));
        let in_page = (offset % PAGE_BYTES as u64) as usize;
        let start = lead_in(&mut bytes, in_page);
        Buffer { bytes, start, in_page, home: self.clone() }
    }
}

/// Puts so many bytes into an empty vector that the next one lies at `in_page` in a page.
fn lead_in(bytes: &mut Vec<u8>, in_page: usize) -> usize {
    let start = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES) + in_page;
    bytes.resize(start, 0);
    start
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

    /// What is much shorter than a buffer does not keep one.
    pub(crate) fn finish(self) -> Bytes {
        if self.len() > BUFFER_BYTES / 2 {
            return Bytes::from_owner(self);
        }
        let mut exact = Vec::with_capacity(2 * PAGE_BYTES + self.len());
        let start = lead_in(&mut exact, self.in_page);
        exact.extend_from_slice(self.as_ref());
        Bytes::from(exact).slice(start..)
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
            buffer.vec().extend_from_slice(&[7; 901_000]);
            assert_eq!(buffer.cut(1_000), [7; 1_000]);
            let bytes = buffer.finish();
            assert!(bytes.len() == 900_000 && bytes.iter().all(|byte| *byte == 7));
            assert_eq!(bytes.as_ptr() as u64 % 4096, offset % 4096);
            let part = bytes.slice(10..20);
            drop(bytes);
            assert!(buffers.0.lock().unwrap().is_empty(), "still read");
            drop(part);
            assert_eq!(buffers.0.lock().unwrap().len(), 1);
        }
        let mut buffer = buffers.begin(4_095);
        buffer.vec().extend_from_slice(&[7; 5_000]);
        let bytes = buffer.finish();
        assert_eq!((bytes.len(), bytes.as_ptr() as usize % 4096), (5_000, 4_095));
        assert_eq!(buffers.0.lock().unwrap().len(), 1, "a short part keeps no buffer");
        let many: Vec<Buffer> = (0..40).map(|_| buffers.begin(0)).collect();
        drop(many);
        assert_eq!(buffers.0.lock().unwrap().len(), BUFFERS_IDLE);
    }
}
