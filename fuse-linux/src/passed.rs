//! The record of which handles the kernel serves by itself, and under which number it knows their
//! files: in the state folder, since the kernel goes on doing so when this process has died. A
//! successor must use the same numbers.
//!
//! Slots of 24 bytes: inode number, handle number, number of the backing file, 1 for "in use"; all in
//! this machine's byte order. Written before the kernel is answered, so at worst a slot names a handle
//! that the kernel never got.

use fs_core::{HandleId, Ino};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SLOT: usize = 24;
const IN_USE: u32 = 1;

/// A handle that the kernel serves by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Passed {
    pub(crate) ino: Ino,
    pub(crate) handle: HandleId,
    /// The kernel's number for the backing file.
    pub(crate) id: u32,
}

#[derive(Debug)]
pub(crate) struct Record {
    file: File,
    free: Vec<u32>,
    len: u32,
}

impl Record {
    /// Opens the record of a mount that goes on, or begins one for a fresh mount.
    pub(crate) fn open(path: &Path, fresh: bool) -> io::Result<(Record, Vec<(u32, Passed)>)> {
        let file =
            File::options().read(true).write(true).create(true).truncate(fresh).open(path)?;
        let bytes = std::fs::read(path)?;
        let mut record = Record { file, free: Vec::new(), len: 0 };
        let mut found = Vec::new();
        for slot in bytes.chunks_exact(SLOT) {
            let number = record.len;
            record.len += 1;
            match decode(slot) {
                Some(passed) => found.push((number, passed)),
                None => record.free.push(number),
            }
        }
        Ok((record, found))
    }

    /// Writes down a handle; returns its slot.
    pub(crate) fn add(&mut self, passed: Passed) -> io::Result<u32> {
        let slot = self.free.last().copied().unwrap_or(self.len);
        self.file.write_all_at(&encode(passed), place(slot))?;
        if self.free.pop().is_none() {
            self.len += 1;
        }
        Ok(slot)
    }

    /// The handle of a slot is closed.
    pub(crate) fn remove(&mut self, slot: u32) {
        match self.file.write_all_at(&[0; SLOT], place(slot)) {
            Ok(()) => self.free.push(slot),
            Err(error) => {
                tracing::warn!(%error, "a closed file stays in the record of passed ones")
            }
        }
    }
}

fn place(slot: u32) -> u64 {
    u64::from(slot) * SLOT as u64
}

fn encode(passed: Passed) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&passed.ino.0.to_ne_bytes());
    slot[8..16].copy_from_slice(&passed.handle.0.to_ne_bytes());
    slot[16..20].copy_from_slice(&passed.id.to_ne_bytes());
    slot[20..].copy_from_slice(&IN_USE.to_ne_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<Passed> {
    let word = |at: usize| slot.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let long = |at: usize| slot.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    let passed = Passed { ino: Ino(long(0)?), handle: HandleId(long(8)?), id: word(16)? };
    (word(20)? == IN_USE).then_some(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_found_again() {
        let dir = std::env::temp_dir().join(format!("meshdrive-passed-{}", std::process::id()));
        let passed = |n: u64| Passed { ino: Ino(n), handle: HandleId(n << 40 | 7), id: n as u32 };
        let (mut record, found) = Record::open(&dir, true).unwrap();
        assert!(found.is_empty());
        let slots: Vec<u32> = (1..4).map(|n| record.add(passed(n)).unwrap()).collect();
        record.remove(slots[1]);
        assert_eq!(record.add(passed(9)).unwrap(), slots[1], "slots are used again");
        record.remove(slots[0]);
        drop(record);
        let (mut record, found) = Record::open(&dir, false).unwrap();
        assert_eq!(found, [(1, passed(9)), (2, passed(3))]);
        assert_eq!(record.add(passed(5)).unwrap(), 0);
        assert!(Record::open(&dir, true).unwrap().1.is_empty());
        std::fs::remove_file(dir).unwrap();
    }
}
