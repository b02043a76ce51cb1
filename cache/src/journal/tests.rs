use super::*;
use fs_core::{Change, Ino, Rev};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use tempfile::TempDir;

const BATCHES: u64 = 6;

fn batch(seq: u64) -> Vec<Change> {
    vec![
        Change::Cursor { rev: Rev(seq), epoch: 1 },
        Change::Filled { ino: Ino(seq), range: fs_core::Range::new(0, seq * 1000) },
    ]
}

fn journal(dir: &Path, segment_bytes: u64, batches: u64) -> Journal {
    let journal = Journal::create(dir.to_owned(), 0, segment_bytes).unwrap();
    let queue = Queue::new(0, u64::MAX);
    let reserve = Reserve::new(dir.join("reserve"), 0);
    for seq in 1..=batches {
        queue.push(seq, batch(seq));
        journal.write(seq, &queue, &reserve).unwrap();
    }
    journal
}

/// The journal of [`BATCHES`] batches in one segment, and where each record ends.
fn image() -> (Vec<u8>, Vec<usize>) {
    let dir = TempDir::new().unwrap();
    journal(dir.path(), u64::MAX, BATCHES);
    let bytes = std::fs::read(segment_path(dir.path(), 1)).unwrap();
    let mut ends = vec![HEADER];
    for _ in 0..BATCHES {
        let at = *ends.last().unwrap();
        let len = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        ends.push(at + RECORD_HEADER + len as usize);
    }
    assert_eq!(*ends.last().unwrap(), bytes.len());
    (bytes, ends)
}

/// Replays `bytes` as the only segment; checks that what comes out is what went in, in order.
fn replayed(dir: &Path, bytes: &[u8], applied: Option<u64>) -> Replay {
    std::fs::write(segment_path(dir, 1), bytes).unwrap();
    let mut next = applied.map(|applied| applied + 1);
    replay(dir, applied, false, &mut |seq, changes| {
        assert_eq!(seq, next.unwrap_or(seq));
        assert_eq!(changes, batch(seq));
        next = Some(seq + 1);
        Ok(())
    })
    .unwrap()
}

#[test]
fn a_cut_at_any_byte_leaves_the_whole_records_before_it() {
    let dir = TempDir::new().unwrap();
    let (bytes, ends) = image();
    for cut in 0..=bytes.len() {
        let whole = ends.iter().skip(1).filter(|&&end| end <= cut).count() as u64;
        for applied in [Some(0), None] {
            let replay = replayed(dir.path(), &bytes[..cut], applied);
            assert_eq!(replay.last, whole, "cut at {cut}");
            assert!(replay.damage.is_none(), "cut at {cut}: a torn end is no damage");
        }
    }
}

#[test]
fn a_changed_bit_stops_the_replay_and_is_damage_unless_it_is_in_the_last_record() {
    let dir = TempDir::new().unwrap();
    let (bytes, ends) = image();
    for at in HEADER..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let record = ends.iter().skip(1).filter(|&&end| end <= at).count() as u64;
        let replay = replayed(dir.path(), &changed, Some(0));
        assert_eq!(replay.last, record, "byte {at}");
        let touched: BTreeSet<Ino> = (record + 2..=BATCHES).map(Ino).collect();
        match replay.damage {
            Some(damage) => assert_eq!(damage.touched, touched, "byte {at}"),
            None => assert_eq!(record, BATCHES - 1, "byte {at}"),
        }
    }
}

#[test]
fn damage_before_what_the_index_has_is_none() {
    let dir = TempDir::new().unwrap();
    let (mut bytes, ends) = image();
    bytes[ends[1] + 3] ^= 0x40;
    let replay = replayed(dir.path(), &bytes, Some(3));
    assert_eq!(replay.last, BATCHES);
    assert!(replay.damage.is_none());
}

#[test]
fn zeros_at_the_end_are_a_torn_end() {
    let dir = TempDir::new().unwrap();
    let (mut bytes, _) = image();
    bytes.extend([0; 5_000]);
    let replay = replayed(dir.path(), &bytes, Some(0));
    assert_eq!(replay.last, BATCHES);
    assert!(replay.damage.is_none());
}

#[test]
fn a_missing_segment_is_damage() {
    let dir = TempDir::new().unwrap();
    drop(journal(dir.path(), 1, 4));
    std::fs::remove_file(segment_path(dir.path(), 2)).unwrap();
    let replay = replay(dir.path(), Some(0), false, &mut |_, _| Ok(())).unwrap();
    assert_eq!(replay.last, 1);
    assert_eq!(replay.damage.unwrap().touched, BTreeSet::from([Ino(3), Ino(4)]));
}

#[test]
fn another_version_is_refused() {
    let dir = TempDir::new().unwrap();
    let (mut bytes, _) = image();
    bytes[8] = 9;
    std::fs::write(segment_path(dir.path(), 1), bytes).unwrap();
    let refused = replay(dir.path(), Some(0), false, &mut |_, _| Ok(()));
    assert!(refused.unwrap_err().to_string().contains("version"));
}

#[test]
fn segments_go_when_the_index_has_them() {
    let dir = TempDir::new().unwrap();
    let journal = journal(dir.path(), 1, 4);
    assert!(!journal.can_retire(0));
    journal.sync(4).unwrap();
    assert!(journal.can_retire(2));
    journal.retire(2);
    let replay = replay(dir.path(), Some(2), false, &mut |_, _| Ok(())).unwrap();
    assert_eq!((replay.last, replay.segments.len()), (4, 2));
    journal.remove();
    // Windows may keep the name of an open file until it is closed.
    drop(journal);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_batch_is_written_once_whoever_asks() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::create(dir.path().to_owned(), 0, u64::MAX).unwrap();
    let queue = Queue::new(0, u64::MAX);
    let reserve = Reserve::new(dir.path().join("reserve"), 0);
    let queued = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    // As the engine does: numbers are given and queued under one lock.
                    let seq = {
                        let _order = locked(&journal.synced);
                        let seq = queued.load(Relaxed) + 1;
                        queue.push(seq, batch(seq));
                        queued.store(seq, Relaxed);
                        seq
                    };
                    journal.write(seq, &queue, &reserve).unwrap();
                    assert!(journal.written() >= seq);
                }
            });
        }
    });
    let mut count = 0;
    let replay = replay(dir.path(), Some(0), false, &mut |_, _| {
        count += 1;
        Ok(())
    });
    assert_eq!((replay.unwrap().last, count), (800, 800));
}

#[test]
fn a_batch_out_of_order_is_an_error_for_all() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::create(dir.path().to_owned(), 0, u64::MAX).unwrap();
    let queue = Queue::new(0, u64::MAX);
    let reserve = Reserve::new(dir.path().join("reserve"), 0);
    queue.push(2, batch(2));
    assert!(journal.write(2, &queue, &reserve).is_err());
}

fn part(number: u64, ino: u64, offset: u64, data: &[u8]) -> Part {
    Part { number, ino, offset, data: bytes::Bytes::copy_from_slice(data) }
}

/// A journal of two batches with a small write in front of each, and marks of `marks`.
fn with_small(dir: &Path, marks: &[(u64, u64)]) -> PathBuf {
    let journal = Journal::create(dir.to_owned(), 0, u64::MAX).unwrap();
    let queue = Queue::new(0, u64::MAX);
    let reserve = Reserve::new(dir.join("reserve"), 0);
    for seq in 1..=2_u64 {
        assert!(journal.small.take(9, seq * 10, &[seq as u8; 5], || true));
        queue.push(seq, batch(seq));
        journal.write(seq, &queue, &reserve).unwrap();
    }
    if !marks.is_empty() {
        journal.mark(marks).unwrap();
    }
    segment_path(dir, 1)
}

fn replay_all(dir: &Path) -> Replay {
    replay(dir, Some(0), false, &mut |_, _| Ok(())).unwrap()
}

#[test]
fn small_writes_come_back_unless_a_mark_covers_them() {
    let both = [part(1, 9, 10, &[1; 5]), part(2, 9, 20, &[2; 5])];
    for (mark, left) in [(0, &both[..]), (1, &both[1..]), (2, &[])] {
        let dir = TempDir::new().unwrap();
        with_small(dir.path(), &[(9, mark), (8, 7)]);
        let replay = replay_all(dir.path());
        assert_eq!((replay.parts.as_slice(), replay.last), (left, 2), "mark {mark}");
        assert!(replay.damage.is_none());
    }
}

#[test]
fn a_batch_never_comes_back_without_its_small_write() {
    let dir = TempDir::new().unwrap();
    let path = with_small(dir.path(), &[]);
    let bytes = std::fs::read(&path).unwrap();
    for cut in HEADER..=bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let replay = replay_all(dir.path());
        assert!(replay.parts.len() as u64 >= replay.last, "cut at {cut}");
        assert!(replay.damage.is_none(), "cut at {cut}: a torn end is no damage");
    }
}

#[test]
fn a_damaged_small_write_is_said() {
    let dir = TempDir::new().unwrap();
    let path = with_small(dir.path(), &[]);
    let mut bytes = std::fs::read(&path).unwrap();
    // In the bytes of the first write.
    bytes[HEADER + RECORD_HEADER + 17] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let replay = replay_all(dir.path());
    assert_eq!(replay.parts, [part(2, 9, 20, &[2; 5])]);
    assert_eq!(replay.last, 2);
    assert!(replay.damage.unwrap().text.contains("small writes"));
}

/// A journal with two batches that were synced and four that were not, with a small write ahead of
/// each, and where each of the unsynced batches begins.
fn half_synced(dir: &Path) -> (Vec<u8>, Vec<usize>) {
    let journal = Journal::create(dir.to_owned(), 0, u64::MAX).unwrap();
    let (queue, reserve) = (Queue::new(0, u64::MAX), Reserve::new(dir.join("reserve"), 0));
    let mut starts = Vec::new();
    for seq in 1..=BATCHES {
        if seq > 2 {
            starts.push(locked(&journal.tail).len as usize);
        }
        assert!(journal.small.take(9, seq * 10, &[seq as u8; 5], || true));
        queue.push(seq, batch(seq));
        journal.write(seq, &queue, &reserve).unwrap();
        if seq == 2 {
            journal.sync(2).unwrap();
        }
    }
    (std::fs::read(segment_path(dir, 1)).unwrap(), starts)
}

fn replay_after_power_loss(dir: &Path, bytes: &[u8], applied: u64) -> Replay {
    std::fs::write(segment_path(dir, 1), bytes).unwrap();
    replay(dir, Some(applied), true, &mut |_, _| Ok(())).unwrap()
}

#[test]
fn after_power_loss_the_journal_ends_where_unsynced_bytes_are_missing() {
    let dir = TempDir::new().unwrap();
    let (bytes, starts) = half_synced(dir.path());
    for (at, lost) in starts.iter().enumerate() {
        // Only this one's blocks did not reach the disk.
        let end = starts.get(at + 1).copied().unwrap_or(bytes.len());
        let mut torn = bytes.clone();
        torn[*lost..end].fill(0);
        let replay = replay_after_power_loss(dir.path(), &torn, 0);
        assert_eq!((replay.last, replay.parts.len()), (2 + at as u64, 2 + at));
        assert!(replay.damage.is_none(), "batch {}", 3 + at);
    }
}

#[test]
fn after_power_loss_a_small_write_of_what_the_index_has_counts() {
    let dir = TempDir::new().unwrap();
    let (mut bytes, starts) = half_synced(dir.path());
    bytes[starts[0]..starts[1]].fill(0);
    let replay = replay_after_power_loss(dir.path(), &bytes, 5);
    let numbers: Vec<u64> = replay.parts.iter().map(|part| part.number).collect();
    assert_eq!((replay.last, numbers), (5, vec![1, 2, 4, 5]));
}

#[test]
fn after_power_loss_missing_bytes_that_were_synced_are_damage() {
    let dir = TempDir::new().unwrap();
    let (mut bytes, _) = half_synced(dir.path());
    bytes[HEADER + RECORD_HEADER + 17] ^= 1;
    assert!(replay_after_power_loss(dir.path(), &bytes, 0).damage.is_some());
}

#[test]
fn a_second_sync_finds_room_ahead() {
    let dir = TempDir::new().unwrap();
    let journal = journal(dir.path(), u64::MAX, 2);
    let len = || std::fs::metadata(segment_path(dir.path(), 1)).unwrap().len();
    assert!(len() < AHEAD);
    journal.sync(1).unwrap();
    let ahead = len();
    assert!(ahead >= AHEAD);
    let (queue, reserve) = (Queue::new(2, u64::MAX), Reserve::new(dir.path().join("reserve"), 0));
    // Far more than the room, so that it is made several times, and never only in part.
    for seq in 3..=40 {
        let part = vec![seq as u8; crate::small::WRITE_MAX];
        assert!(journal.small.take(seq, 0, &part, || true));
        queue.push(seq, batch(seq));
        journal.write(seq, &queue, &reserve).unwrap();
        let before = len();
        journal.sync(seq).unwrap();
        let end = locked(&journal.tail).len;
        let left = len() - end;
        assert!(len() == before || left == AHEAD, "{before} {end}");
        assert!(left >= AHEAD_LEFT);
    }
    let replay = replay_all(dir.path());
    assert_eq!((replay.last, replay.parts.len()), (40, 38));
    assert!(replay.damage.is_none());
}

/// The form on disk (golden): it must not change without another version in the header.
#[test]
fn small_records_have_this_form() {
    let mut buffer = Vec::new();
    put_part(&part(3, 0x0102, 0x0a, b"xyz"), &mut buffer);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&buffer[..12]), "130000800300000000000000");
    assert_eq!(hex(&buffer[RECORD_HEADER..]), "02010000000000000a0000000000000078797a");
    let check = checksum(0x8000_0013, 3, &buffer[RECORD_HEADER..]);
    assert_eq!(buffer[12..RECORD_HEADER], check);
    buffer.clear();
    put_marks(&[(5, 6)], &mut buffer);
    assert_eq!(hex(&buffer[..12]), "10000080ffffffffffffffff");
    assert_eq!(hex(&buffer[RECORD_HEADER..]), "05000000000000000600000000000000");
}
