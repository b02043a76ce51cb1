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
    replay(dir, applied, &mut |seq, changes| {
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
    let replay = replay(dir.path(), Some(0), &mut |_, _| Ok(())).unwrap();
    assert_eq!(replay.last, 1);
    assert_eq!(replay.damage.unwrap().touched, BTreeSet::from([Ino(3), Ino(4)]));
}

#[test]
fn another_version_is_refused() {
    let dir = TempDir::new().unwrap();
    let (mut bytes, _) = image();
    bytes[8] = 9;
    std::fs::write(segment_path(dir.path(), 1), bytes).unwrap();
    let refused = replay(dir.path(), Some(0), &mut |_, _| Ok(()));
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
    let replay = replay(dir.path(), Some(2), &mut |_, _| Ok(())).unwrap();
    assert_eq!((replay.last, replay.segments.len()), (4, 2));
    journal.remove();
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
    let replay = replay(dir.path(), Some(0), &mut |_, _| {
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
