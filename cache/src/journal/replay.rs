//! Reading the journal after an unclean stop.

use super::{HAS_SMALL, HEADER, MAGIC, MARK, RECORD_HEADER, SMALL, SYNCED, checksum};
use crate::small::Part;
use crate::{Error, codec};
use bytes::Bytes;
use fs_core::{Change, Ino};
use std::collections::{BTreeSet, HashMap};
use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};

/// Batches that a search for the next good record may skip.
const SKIP_MAX: u64 = 1 << 24;
/// The highest number that such a search believes when it is not known where the index stands.
const UNKNOWN_MAX: u64 = 1 << 40;

/// What the journal held.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// The last batch that was applied, now or before.
    pub(crate) last: u64,
    pub(crate) damage: Option<Damage>,
    /// All segments that were found.
    pub(crate) segments: Vec<PathBuf>,
    /// Small writes that may not be in their backing files, in order.
    pub(crate) parts: Vec<Part>,
}

/// Acknowledged batches that cannot be read any more, followed by some that can.
#[derive(Debug)]
pub(crate) struct Damage {
    /// Says what, where and what was done.
    pub(crate) text: String,
    /// Files that the batches after the gap speak of.
    pub(crate) touched: BTreeSet<Ino>,
}

/// A record that is whole.
struct Record<'a> {
    seq: u64,
    /// A small write or a mark, and no batch.
    small: bool,
    payload: &'a [u8],
    end: usize,
}

type Apply<'a> = dyn FnMut(u64, Vec<Change>) -> Result<(), Error> + 'a;

/// Applies every batch after `applied`, in order. With `applied` `None` it is not known what the
/// index had, and the first batch found may have any number.
///
/// After a loss of power, bytes that were not synced may be missing in the midst of others. There the
/// journal ends, and that is no damage.
pub(crate) fn replay(
    dir: &Path,
    applied: Option<u64>,
    power_loss: bool,
    apply: &mut Apply<'_>,
) -> Result<Replay, Error> {
    let segments = list(dir)?;
    let mut state = State {
        synced: if power_loss { Some(synced(&segments)?) } else { None },
        torn: false,
        ended: false,
        sure: 0,
        last: applied,
        apply,
        gap: None,
        touched: BTreeSet::new(),
        parts: Vec::new(),
        marks: HashMap::new(),
        hole: None,
    };
    for path in &segments {
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
        if bytes.get(..8).is_some_and(|magic| magic == MAGIC) {
            check_version(path, &bytes)?;
        }
        state.segment(path, &bytes)?;
        if state.ended {
            break;
        }
    }
    let State { last, gap, touched, mut parts, marks, hole, torn, sure, .. } = state;
    if torn {
        parts.truncate(sure);
    }
    parts.retain(|part| marks.get(&part.ino).is_none_or(|upto| part.number > *upto));
    let damage = gap.map(|(text, real)| (text, real, touched));
    let damage = match damage {
        Some((text, true, touched)) => Some(Damage { text, touched }),
        Some((text, false, _)) => {
            tracing::warn!("{text}: a record that was being written was cut off");
            None
        }
        None => None,
    };
    let damage = damage.or(hole.map(|text| Damage { text, touched: BTreeSet::new() }));
    Ok(Replay { last: last.unwrap_or(0), damage, segments, parts })
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = || {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "log") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    };
    read().map_err(|error| Error::io(dir, error))
}

fn check_version(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let version = bytes.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    if version.is_none_or(|version| version == 0 || version & !HAS_SMALL == codec::VERSION) {
        return Ok(());
    }
    let text = "written by another version of the program; start that version, or update this one";
    Err(Error::io(path, IoError::new(ErrorKind::InvalidData, text)))
}

/// The last batch that the segments say was synced.
fn synced(segments: &[PathBuf]) -> Result<u64, Error> {
    let mut synced = 0;
    for path in segments {
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
        let mut at = 0;
        while let Some(found) = (at..bytes.len()).find_map(|at| record(&bytes, at, u64::MAX)) {
            let said = marks(&found).filter(|(ino, _)| *ino == SYNCED).map(|(_, upto)| upto);
            synced = said.max().unwrap_or(0).max(synced);
            at = found.end;
        }
    }
    Ok(synced)
}

/// Inodes and numbers of a mark; nothing of another record.
fn marks(record: &Record<'_>) -> impl Iterator<Item = (u64, u64)> {
    let pairs = if record.small && record.seq == MARK { record.payload } else { &[] };
    pairs.chunks_exact(16).map(|pair| (number(pair, 0), number(pair, 8)))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

struct State<'a> {
    /// After a loss of power: the last batch that was synced, as far as the journal says.
    synced: Option<u64>,
    /// Some of what was not synced is missing: nothing counts that follows, but what the index has.
    torn: bool,
    ended: bool,
    /// Small writes ahead of the last batch that counts.
    sure: usize,
    /// The last batch applied.
    last: Option<u64>,
    apply: &'a mut Apply<'a>,
    /// Where reading had to stop, and whether good records follow: then it is more than the torn
    /// end of the journal.
    gap: Option<(String, bool)>,
    touched: BTreeSet<Ino>,
    parts: Vec<Part>,
    /// By inode: the highest number in a mark.
    marks: HashMap<u64, u64>,
    /// Bad bytes between good records that miss no batch: small writes were there.
    hole: Option<String>,
}

impl State<'_> {
    fn segment(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let mut at = if bytes.get(..8).is_some_and(|magic| magic == MAGIC) { HEADER } else { 0 };
        while at < bytes.len() {
            let limit = self.last.map_or(UNKNOWN_MAX, |last| last.saturating_add(SKIP_MAX));
            let found = match record(bytes, at, u64::MAX) {
                Some(record) => record,
                // Room that was made ahead.
                None if bytes[at..].iter().all(|byte| *byte == 0) => return Ok(()),
                None => {
                    self.stop(path, at);
                    let next = (at + 1..bytes.len()).find_map(|at| record(bytes, at, limit));
                    let Some(found) = next else { return Ok(()) };
                    if self.torn {
                        // Told already.
                    } else if found.small || self.last.is_some_and(|last| found.seq == last + 1) {
                        self.hole(path, at);
                    }
                    found
                }
            };
            at = found.end;
            if found.small {
                self.small(&found);
            } else {
                self.record(path, &found)?;
            }
            if self.ended {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether what comes after the last batch was never promised to survive.
    fn is_unpromised(&self) -> bool {
        self.synced.is_some_and(|synced| self.last.is_some_and(|last| last >= synced))
    }

    fn tear(&mut self, path: &Path) {
        if !std::mem::replace(&mut self.torn, true) {
            let last = self.last.unwrap_or(0);
            tracing::warn!("{}: what was not synced after batch {last} is lost", path.display());
        }
    }

    /// Notes where the first bad bytes are.
    fn stop(&mut self, path: &Path, at: usize) {
        if self.is_unpromised() {
            self.tear(path);
            return;
        }
        let text = || format!("{} at byte {at}", path.display());
        self.gap.get_or_insert_with(|| (text(), false));
    }

    fn hole(&mut self, path: &Path, at: usize) {
        self.hole.get_or_insert_with(|| {
            format!(
                "{} at byte {at}: the journal is damaged; bytes of small writes may be lost. The \
                 segment is kept in lost+found",
                path.display()
            )
        });
    }

    fn small(&mut self, record: &Record<'_>) {
        if record.seq == MARK {
            for (ino, number) in marks(record) {
                let upto = self.marks.entry(ino).or_default();
                *upto = number.max(*upto);
            }
        } else if let Some(data) = record.payload.get(16..) {
            let (ino, offset) = (number(record.payload, 0), number(record.payload, 8));
            let data = Bytes::copy_from_slice(data);
            self.parts.push(Part { number: record.seq, ino, offset, data });
        }
    }

    fn record(&mut self, path: &Path, record: &Record<'_>) -> Result<(), Error> {
        if self.last.is_some_and(|last| record.seq <= last) {
            // The index has it. What was bad before it is in the index too.
            if self.gap.as_ref().is_some_and(|(_, real)| !real) {
                self.gap = None;
            }
            self.sure = self.parts.len();
            return Ok(());
        }
        let real = self.gap.as_ref().is_some_and(|(_, real)| *real);
        let next = self.last.is_none_or(|last| record.seq == last + 1);
        let first = self.last.is_none() && self.gap.is_none();
        if !next && self.is_unpromised() {
            self.tear(path); // the end of the segment before did not make it
        }
        if self.torn {
            self.ended = true;
            return Ok(());
        }
        match codec::decode_batch(record.payload) {
            Ok(batch) if !real && next && (first || self.last.is_some()) => {
                self.gap = None;
                (self.apply)(record.seq, batch)?;
                self.last = Some(record.seq);
                self.sure = self.parts.len();
            }
            Ok(batch) => {
                self.lose(path, record.seq);
                self.touched.extend(batch.iter().filter_map(ino_of));
            }
            Err(error) => {
                self.lose(path, record.seq);
                tracing::error!(batch = record.seq, %error, "unreadable batch in the journal");
            }
        }
        Ok(())
    }

    fn lose(&mut self, path: &Path, seq: u64) {
        let last = self.last.unwrap_or(0);
        match &mut self.gap {
            Some((_, true)) => {}
            gap => {
                let place = gap.take().map_or_else(|| path.display().to_string(), |(text, _)| text);
                let text = format!(
                    "{place}: the journal is damaged; changes after batch {last} (up to at least \
                     {seq}) were not applied. The segment is kept in lost+found, and so is a copy \
                     of the bytes of every file they speak of"
                );
                *gap = Some((text, true));
            }
        }
    }
}

/// The whole record at `at`, if there is one; a batch only with a number of at most `limit`.
fn record(bytes: &[u8], at: usize, limit: u64) -> Option<Record<'_>> {
    let head = bytes.get(at..at.checked_add(RECORD_HEADER)?)?;
    let len = u32::from_le_bytes(head[..4].try_into().ok()?);
    let seq = u64::from_le_bytes(head[4..12].try_into().ok()?);
    let small = len & SMALL != 0;
    let start = at + RECORD_HEADER;
    let end = start.checked_add(usize::try_from(len & !SMALL).ok()?)?;
    let payload = bytes.get(start..end)?;
    // A number of 0 is never given: a run of zeros is not a record.
    let good = seq != 0 && (small || seq <= limit) && checksum(len, seq, payload) == head[12..];
    good.then_some(Record { seq, small, payload, end })
}

fn ino_of(change: &Change) -> Option<Ino> {
    match change {
        Change::PutNode(row) => Some(row.ino),
        Change::PutContent(row) => Some(row.ino),
        Change::DropNode(ino)
        | Change::DropContent(ino)
        | Change::Wrote { ino, .. }
        | Change::Filled { ino, .. } => Some(*ino),
        Change::Cursor { .. }
        | Change::Complete
        | Change::PutFlight(_)
        | Change::DropFlight(_)
        | Change::Held(_) => None,
    }
}
