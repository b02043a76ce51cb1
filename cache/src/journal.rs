//! The journal: batches of changes in the order of their numbers, appended with one write(2).
//!
//! A segment is a file named by the first number it may hold. It starts with [`MAGIC`] and the
//! version of the codec; each record is
//! `length u32 | number u64 | checksum u64 | payload`, little-endian, where `length` is that of the
//! payload and the checksum is the first 8 bytes of BLAKE3 over length, number and payload.
//! Segments are removed when the index has them durably.
//!
//! Between the batches stand small writes and marks (`small.rs`): records with [`SMALL`] in their
//! length. A write has its own number and the payload `inode u64 | offset u64 | bytes`; a mark has
//! [`MARK`] as its number and for a payload pairs of `inode u64 | number u64`: the writes of that
//! inode up to that number are in its backing file, or void. The pair of inode 0 says instead up to
//! which batch the journal survives power loss.
//!
//! Where a journal is synced, zeros stand ahead of its end: a later sync then has no new length and no
//! new blocks to make durable, for which the file system would need a commit of its own. Zeros are no
//! record.

mod replay;
#[cfg(test)]
mod tests;

pub(crate) use replay::{Damage, Replay, replay};

use crate::queue::{Batch, Queue};
use crate::reserve::{Reserve, is_full};
use crate::small::{Part, Small, Unwritten};
use crate::{Error, codec, locked, platform};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// First bytes of every segment.
const MAGIC: [u8; 8] = *b"MESHJRNL";
/// Magic, codec version u32, four bytes of zero.
const HEADER: usize = 16;
/// Length, number, checksum.
const RECORD_HEADER: usize = 20;
/// In the length of a record: no batch.
const SMALL: u32 = 1 << 31;
/// The number of a mark.
const MARK: u64 = u64::MAX;
/// In the version of a segment: small writes may stand in it.
const HAS_SMALL: u32 = 1 << 8;
/// The inode of a mark that says what was synced.
const SYNCED: u64 = 0;
/// Zeros that are put ahead of the records when they are synced, and how many must be left of them for
/// that to wait for a later sync, in bytes.
const AHEAD: u64 = 256 << 10;
const AHEAD_LEFT: u64 = 16 << 10;
/// Bytes of the write buffer that are kept between writes.
const BUFFER_KEEP: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    segment_bytes: u64,
    tail: Mutex<Tail>,
    /// The last batch in the journal.
    written: AtomicU64,
    /// The last batch that survives power loss; locked while a sync is under way.
    synced: Mutex<u64>,
    /// The same, for those who do not wait for a sync.
    safe: AtomicU64,
    /// A sync failed once: the kernel forgets what it could not write, so no later sync can be
    /// believed.
    sync_failed: AtomicBool,
    pub(crate) small: Small,
}

/// The segment being written, and those before it.
#[derive(Debug)]
struct Tail {
    file: Arc<File>,
    path: PathBuf,
    len: u64,
    /// Up to here the segment has its blocks, with zeros beyond `len`.
    ahead: u64,
    /// What the segment says was synced.
    noted: u64,
    buffer: Vec<u8>,
    closed: Vec<Closed>,
    /// Closed segments that were not synced since they were written.
    unsynced: Vec<Arc<File>>,
    /// A segment's name is not yet durable.
    unlisted: bool,
}

#[derive(Debug)]
struct Closed {
    path: PathBuf,
    last: u64,
}

impl Journal {
    /// Starts a new segment after batch `last`.
    pub(crate) fn create(dir: PathBuf, last: u64, segment_bytes: u64) -> io::Result<Journal> {
        let path = segment_path(&dir, last + 1);
        let file = Arc::new(new_segment(&path)?);
        let tail = Tail {
            file,
            path,
            len: HEADER as u64,
            ahead: 0,
            noted: 0,
            buffer: Vec::new(),
            closed: Vec::new(),
            unsynced: Vec::new(),
            unlisted: true,
        };
        Ok(Journal {
            dir,
            segment_bytes,
            tail: Mutex::new(tail),
            written: AtomicU64::new(last),
            synced: Mutex::new(last),
            safe: AtomicU64::new(last),
            sync_failed: AtomicBool::new(false),
            small: Small::default(),
        })
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Writes every queued batch if that of `seq` is not in the journal yet.
    pub(crate) fn write(&self, seq: u64, queue: &Queue, reserve: &Reserve) -> Result<(), Error> {
        if self.written() >= seq {
            return Ok(());
        }
        let mut tail = locked(&self.tail);
        if self.written() >= seq {
            return Ok(());
        }
        queue.check(seq)?;
        let batches = queue.take_unwritten();
        let Some(last) = batches.back().map(|batch| batch.seq) else { return Ok(()) };
        // After the batches, so that it has every write that they speak of.
        let small = self.small.take_unwritten();
        match self.append(&mut tail, (&small, &batches), reserve) {
            Ok(bytes) => {
                self.written.store(last, Ordering::Release);
                queue.grew(bytes);
                Ok(())
            }
            Err(error) => {
                queue.put_back(batches);
                self.small.put_back(small);
                Err(error)
            }
        }
    }

    /// Appends marks at once: files, and the numbers up to which their writes are in their backing
    /// files.
    pub(crate) fn mark(&self, marks: &[(u64, u64)]) -> Result<(), Error> {
        let mut tail = locked(&self.tail);
        tail.buffer.clear();
        put_marks(marks, &mut tail.buffer);
        tail.flush(platform::write_at).map(drop)
    }

    /// Appends small writes and batches and returns the length of the batches; on an error the
    /// segment is as before.
    fn append(
        &self,
        tail: &mut Tail,
        (small, batches): (&Unwritten, &VecDeque<Arc<Batch>>),
        reserve: &Reserve,
    ) -> Result<u64, Error> {
        if tail.len > HEADER as u64
            && tail.len >= self.segment_bytes
            && let Some(first) = batches.front()
            && let Err(error) = tail.rotate(&self.dir, first.seq)
        {
            // The old segment only grows a little longer.
            tracing::debug!(%error, "no new journal segment");
        }
        tail.buffer.clear();
        let safe = self.safe.load(Ordering::Acquire);
        if safe > tail.noted {
            put_marks(&[(SYNCED, safe)], &mut tail.buffer);
        }
        if !small.marks.is_empty() {
            put_marks(&small.marks, &mut tail.buffer);
        }
        small.parts.iter().for_each(|part| put_part(part, &mut tail.buffer));
        let start = tail.buffer.len();
        for batch in batches {
            let before = tail.buffer.len();
            put_record(batch, &mut tail.buffer).map_err(|text| {
                Error::Corrupt(format!("{}: batch {}: {text}", tail.path.display(), batch.seq))
            })?;
            batch.bytes.store((tail.buffer.len() - before) as u64, Ordering::Release);
        }
        let bytes = (tail.buffer.len() - start) as u64;
        tail.flush(|file, data, at| reserve.spend(is_full, || platform::write_at(file, data, at)))?;
        tail.noted = safe;
        Ok(bytes)
    }

    /// Makes every batch up to `upto`, which is in the journal, survive power loss. Callers that
    /// come while another syncs share the next sync.
    pub(crate) fn sync(&self, upto: u64) -> Result<(), Error> {
        let mut synced = locked(&self.synced);
        if *synced >= upto {
            return Ok(());
        }
        if self.sync_failed.load(Ordering::Acquire) {
            let text = "an earlier sync failed, so no later one can be trusted; restart the drive";
            return Err(Error::io(&self.dir, io::Error::other(text)));
        }
        let (target, files, unlisted) = {
            let mut tail = locked(&self.tail);
            tail.prepare();
            let mut files = std::mem::take(&mut tail.unsynced);
            files.push(Arc::clone(&tail.file));
            (self.written(), files, std::mem::take(&mut tail.unlisted))
        };
        let result = files.iter().try_for_each(|file| file.sync_data());
        let result =
            result.and_then(|()| if unlisted { platform::sync_dir(&self.dir) } else { Ok(()) });
        if let Err(error) = result {
            self.sync_failed.store(true, Ordering::Release);
            return Err(Error::io(&self.dir, error));
        }
        *synced = target;
        self.safe.store(target, Ordering::Release);
        Ok(())
    }

    /// Whether there are closed segments that the index has wholly, up to `applied`.
    pub(crate) fn can_retire(&self, applied: u64) -> bool {
        locked(&self.tail).closed.iter().any(|segment| segment.last <= applied)
    }

    /// Removes the closed segments that the index has durably.
    pub(crate) fn retire(&self, applied: u64) {
        let mut tail = locked(&self.tail);
        let before = tail.closed.len();
        tail.closed.retain(|segment| segment.last > applied || !removed(&segment.path));
        // One that came back after power loss would be replayed over later bytes: the next sync makes
        // the removal durable first.
        tail.unlisted |= tail.closed.len() < before;
        if tail.closed.is_empty() {
            tail.unsynced.clear();
        }
    }

    /// Removes everything: the index has all of it durably, and nothing comes any more.
    pub(crate) fn remove(&self) {
        self.retire(u64::MAX);
        removed(&locked(&self.tail).path);
    }
}

fn removed(path: &Path) -> bool {
    match std::fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "could not remove a journal segment");
            false
        }
    }
}

impl Tail {
    /// Writes the buffer at the end of the segment.
    fn flush(
        &mut self,
        write: impl FnOnce(&File, &[u8], u64) -> io::Result<()>,
    ) -> Result<(), Error> {
        if let Err(error) = write(&self.file, &self.buffer, self.len) {
            // The next record overwrites a half one in any case; this only tidies up.
            if let Err(error) = self.file.set_len(self.len) {
                tracing::debug!(%error, "could not cut off a half-written record");
            }
            self.ahead = self.len;
            return Err(Error::io(&self.path, error));
        }
        self.len += self.buffer.len() as u64;
        self.buffer.shrink_to(BUFFER_KEEP);
        Ok(())
    }

    /// Puts zeros ahead of the records, for the next syncs. That it cannot be done costs only time.
    fn prepare(&mut self) {
        let start = self.len.max(self.ahead);
        if start - self.len >= AHEAD_LEFT {
            return;
        }
        let zeros = vec![0; (self.len + AHEAD - start) as usize];
        match platform::write_at(&self.file, &zeros, start) {
            Ok(()) => self.ahead = self.len + AHEAD,
            Err(error) => tracing::debug!(%error, "no room ahead in the journal"),
        }
    }

    fn rotate(&mut self, dir: &Path, first: u64) -> io::Result<()> {
        let path = segment_path(dir, first);
        let file = Arc::new(new_segment(&path)?);
        let old = std::mem::replace(&mut self.file, file);
        let path = std::mem::replace(&mut self.path, path);
        self.unsynced.push(old);
        self.closed.push(Closed { path, last: first - 1 });
        (self.len, self.ahead, self.noted) = (HEADER as u64, 0, 0);
        self.unlisted = true;
        Ok(())
    }
}

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

fn new_segment(path: &Path) -> io::Result<File> {
    let file = platform::private_file().create(true).truncate(true).open(path)?;
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&(codec::VERSION | HAS_SMALL).to_le_bytes());
    if let Err(error) = platform::write_at(&file, &header, 0) {
        removed(path);
        return Err(error);
    }
    Ok(file)
}

fn put_record(batch: &Batch, buffer: &mut Vec<u8>) -> Result<(), String> {
    let start = buffer.len();
    buffer.resize(start + RECORD_HEADER, 0);
    codec::encode_batch(&batch.changes, buffer).map_err(|error| error.to_string())?;
    let payload = buffer.len() - start - RECORD_HEADER;
    let len = u32::try_from(payload).ok().filter(|len| len & SMALL == 0);
    let len = len.ok_or_else(|| format!("{payload} bytes are too many"))?;
    put_head(len, batch.seq, &mut buffer[start..]);
    Ok(())
}

fn put_part(part: &Part, buffer: &mut Vec<u8>) {
    put_small(part.number, buffer, |buffer| {
        buffer.extend_from_slice(&part.ino.to_le_bytes());
        buffer.extend_from_slice(&part.offset.to_le_bytes());
        buffer.extend_from_slice(&part.data);
    });
}

fn put_marks(marks: &[(u64, u64)], buffer: &mut Vec<u8>) {
    put_small(MARK, buffer, |buffer| {
        for (ino, upto) in marks {
            buffer.extend_from_slice(&ino.to_le_bytes());
            buffer.extend_from_slice(&upto.to_le_bytes());
        }
    });
}

fn put_small(number: u64, buffer: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.resize(start + RECORD_HEADER, 0);
    put(buffer);
    // At most 64 KiB and a little, or some thousand marks.
    let len = (buffer.len() - start - RECORD_HEADER) as u32 | SMALL;
    put_head(len, number, &mut buffer[start..]);
}

fn put_head(len: u32, number: u64, record: &mut [u8]) {
    let check = checksum(len, number, &record[RECORD_HEADER..]);
    record[..4].copy_from_slice(&len.to_le_bytes());
    record[4..12].copy_from_slice(&number.to_le_bytes());
    record[12..RECORD_HEADER].copy_from_slice(&check);
}

fn checksum(len: u32, seq: u64, payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&len.to_le_bytes()).update(&seq.to_le_bytes()).update(payload);
    let mut check = [0; 8];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    check
}
