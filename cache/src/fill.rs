//! Fetched bytes on their way into backing files. Large parts go past the page cache (`O_DIRECT`,
//! open(2)): whoever reads them has them from memory, and a gigabyte that runs through the page cache
//! costs more time of the processor than all the rest of its way here, and holds up others who write.

use crate::content::Content;
use crate::{Error, platform};
use fs_core::Ino;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Parts from this size on are written directly.
const DIRECT_BYTES: usize = 256 << 10;
/// What direct writes are aligned to, in the file and in memory: enough for every common disk.
const PAGE_BYTES: usize = 4 << 10;

/// Writes fetched bytes.
#[derive(Debug, Default)]
pub(crate) struct Fill {
    /// This file system has no direct writes.
    refused: AtomicBool,
}

impl Fill {
    pub(crate) fn write(
        &self,
        content: &Content,
        ino: Ino,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Error> {
        let aligned = data.as_ptr().align_offset(PAGE_BYTES) == head_len(offset);
        if data.len() < DIRECT_BYTES || !aligned || self.refused.load(Ordering::Relaxed) {
            return content.write(ino, offset, data, false);
        }
        let (head, rest) = data.split_at(head_len(offset));
        let (pages, tail) = rest.split_at(rest.len() - rest.len() % PAGE_BYTES);
        let at = offset + head.len() as u64;
        // Makes the file, if there is none yet.
        content.write(ino, offset, head, false)?;
        if let Err(error) = write_direct(&content.path(ino), pages, at) {
            if platform::is_direct_refused(&error) {
                self.refused.store(true, Ordering::Relaxed);
                tracing::debug!("the cache's file system has no direct writes");
            }
            // What the reason was shows here, if it is one for this way too.
            content.write(ino, at, pages, false)?;
        }
        // Also takes note of what the file occupies now.
        content.write(ino, at + pages.len() as u64, tail, false)
    }
}

/// Bytes up to the next page of the file.
fn head_len(offset: u64) -> usize {
    (offset.next_multiple_of(PAGE_BYTES as u64) - offset) as usize
}

fn write_direct(path: &Path, pages: &[u8], offset: u64) -> io::Result<()> {
    let file: File = platform::direct_file().open(path)?;
    platform::write_at(&file, pages, offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_core::Range;

    /// `len` bytes that lie in memory as they do at `offset` of a file.
    fn aligned(offset: u64, len: usize) -> (Vec<u8>, usize) {
        let mut bytes: Vec<u8> = Vec::with_capacity(len + 2 * PAGE_BYTES);
        let start = bytes.as_ptr().align_offset(PAGE_BYTES) + offset as usize % PAGE_BYTES;
        bytes.resize(start, 0);
        bytes.extend((offset..offset + len as u64).map(|at| (at % 249) as u8));
        (bytes, start)
    }

    #[test]
    fn parts_of_any_shape_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (content, _) = Content::survey(dir.path().to_owned(), true).unwrap();
        let fill = Fill::default();
        // Neighbours that share pages, the second one first.
        let steps =
            [(300_000, 700_001), (1_000, 299_000), (1_000_001, 4_096), (1_004_097, 300_000)];
        for (offset, len) in steps {
            let (bytes, start) = aligned(offset, len);
            fill.write(&content, Ino(9), offset, &bytes[start..]).unwrap();
        }
        let read = content.read(Ino(9), Range::new(0, 1_304_097)).unwrap();
        assert!(read[..1_000].iter().all(|byte| *byte == 0));
        let wrong =
            read.iter().zip(0_u64..).skip(1_000).find(|(byte, at)| **byte != (at % 249) as u8);
        assert_eq!(wrong, None);
        assert!(content.used() >= 1_300_000);
    }

    #[test]
    fn bytes_that_lie_elsewhere_in_memory_are_written_too() {
        let dir = tempfile::tempdir().unwrap();
        let (content, _) = Content::survey(dir.path().to_owned(), true).unwrap();
        let (bytes, start) = aligned(17, 400_000);
        Fill::default().write(&content, Ino(1), 0, &bytes[start..]).unwrap();
        let read = content.read(Ino(1), Range::new(0, 400_000)).unwrap();
        assert_eq!(read, bytes[start..]);
    }
}
