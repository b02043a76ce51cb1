//! Small writes: read back, moved out, replayed, and safe once they are synced.

use super::*;

const SIZE: u64 = 5_000;

/// Writes `data` at `offset` of inode `ino` and records it as batch `seq`, as the engine does.
fn write(store: &DiskStore, seq: u64, ino: u64, (offset, data): (u64, &[u8])) {
    store.write(Ino(ino), offset, data).unwrap();
    let range = Range::at(offset, data.len() as u64);
    let file = NodeRow { pending: Pending::CREATE, size: SIZE, ..node(ino, 1, "f") };
    let wrote = Change::Wrote { ino: Ino(ino), range, size: SIZE, mtime: Timestamp(1) };
    store.queue(Seq(seq), vec![put(node(1, 0, "")), put(file), wrote]);
    store.journal(Seq(seq)).unwrap();
}

/// The bytes of a file as runs of equal ones: shorter to read when a test fails.
fn read(store: &DiskStore, ino: u64) -> Vec<(u8, usize)> {
    runs(&store.read(Ino(ino), Range::new(0, SIZE)).unwrap())
}

fn runs(bytes: &[u8]) -> Vec<(u8, usize)> {
    bytes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

/// As if the power had gone before the kernel wrote anything that was not synced: the files that were
/// not synced are gone.
fn lose_contents(dir: &Path) {
    let content = dir.join("content");
    std::fs::remove_dir_all(&content).unwrap();
    std::fs::create_dir(&content).unwrap();
}

fn expected(parts: &[(u64, &[u8])]) -> Vec<(u8, usize)> {
    let mut bytes = vec![0; SIZE as usize];
    for (offset, data) in parts {
        bytes[*offset as usize..][..data.len()].copy_from_slice(data);
    }
    runs(&bytes)
}

#[test]
fn small_writes_survive_a_kill_in_their_order() {
    let dir = TempDir::new().unwrap();
    let parts: [(u64, &[u8]); 3] = [(0, &[1; 4_000]), (3_000, &[2; 2_000]), (3_500, &[3; 10])];
    let store = open(dir.path());
    for (seq, part) in (1..).zip(parts) {
        write(&store, seq, 7, part);
    }
    assert!(!store.shared.content.path(Ino(7)).exists(), "no backing file was made for it");
    assert_eq!(read(&store, 7), expected(&parts));
    drop(store);
    let store = open(dir.path());
    assert_eq!(read(&store, 7), expected(&parts));
    assert!(store.notices().is_empty(), "{:?}", store.notices());
}

#[test]
fn a_synced_small_write_survives_power_loss_in_the_journal() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    write(&store, 1, 7, (0, b"promised"));
    store.sync(Some(Ino(7)), Seq(1)).unwrap();
    drop(store);
    lose_contents(dir.path());
    let options = Options { boot_id: Some("boot 2".into()), ..options() };
    let store = DiskStore::open(dir.path(), options).unwrap();
    assert_eq!(read(&store, 7), expected(&[(0, b"promised")]));
    assert!(store.notices().is_empty(), "{:?}", store.notices());
}

#[test]
fn what_was_promised_leaves_the_journal_for_a_synced_file_only() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    write(&store, 1, 7, (0, b"promised"));
    write(&store, 2, 8, (0, b"not promised"));
    store.sync(Some(Ino(7)), Seq(2)).unwrap();
    store.shared.content.move_all().unwrap();
    assert!(store.shared.content.is_synced(Ino(7)));
    assert!(!store.shared.content.is_synced(Ino(8)), "nobody asked for it");
    assert!(store.shared.content.path(Ino(8)).exists());
}

#[test]
fn old_small_writes_are_not_replayed_over_what_came_later() {
    let dir = TempDir::new().unwrap();
    let large = vec![9; SIZE as usize];
    let store = open(dir.path());
    write(&store, 1, 7, (10, b"old"));
    // More than is held of one file between two syncs: goes to the file directly.
    let rest = vec![8; crate::small::WRITE_MAX + 1];
    store.write(Ino(7), SIZE, &rest).unwrap();
    store.write(Ino(7), 0, &large).unwrap();
    // Dropped, and there again with other bytes.
    write(&store, 2, 8, (10, b"old"));
    store.evict(Ino(8)).unwrap();
    store.fill(Ino(8), 0, &large).unwrap();
    let range = Range::new(0, SIZE);
    let again = Change::Wrote { ino: Ino(8), range, size: SIZE, mtime: Timestamp(1) };
    store.queue(Seq(3), vec![again]);
    store.journal(Seq(3)).unwrap();
    // Cut off, and longer again.
    write(&store, 4, 9, (10, b"old"));
    store.truncate(Ino(9), 0).unwrap();
    store.truncate(Ino(9), SIZE).unwrap();
    let check = |store: &DiskStore| {
        assert_eq!(read(store, 7), runs(&large));
        assert_eq!(read(store, 8), runs(&large));
        assert_eq!(read(store, 9), expected(&[]));
    };
    check(&store);
    drop(store);
    check(&open(dir.path()));
}

#[test]
fn a_dropped_file_does_not_come_back() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    write(&store, 1, 7, (0, b"gone"));
    store.queue(Seq(2), vec![Change::DropNode(Ino(7))]);
    store.journal(Seq(2)).unwrap();
    drop(store);
    let store = open(dir.path());
    assert!(!store.shared.content.exists(Ino(7)));
    assert!(store.notices().is_empty(), "{:?}", store.notices());
}

#[test]
fn a_clean_stop_needs_no_journal() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    write(&store, 1, 7, (0, b"kept"));
    store.shutdown().unwrap();
    drop(store);
    assert_eq!(std::fs::read_dir(dir.path().join("journal")).unwrap().count(), 0);
    assert_eq!(read(&open(dir.path()), 7), expected(&[(0, b"kept")]));
}

#[test]
fn segments_go_when_their_small_writes_are_out() {
    let dir = TempDir::new().unwrap();
    let small = Options { segment_bytes: 10_000, ..options() };
    let store = DiskStore::open(dir.path(), small.clone()).unwrap();
    for seq in 1..=60 {
        write(&store, seq, 100 + seq, (0, &[seq as u8; 4_000]));
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let segments = || std::fs::read_dir(dir.path().join("journal")).unwrap().count();
    while segments() > 2 {
        assert!(std::time::Instant::now() < end, "{} segments stay", segments());
        std::thread::yield_now();
    }
    drop(store);
    let store = DiskStore::open(dir.path(), small).unwrap();
    for seq in 1..=60 {
        assert_eq!(read(&store, 100 + seq), expected(&[(0, &[seq as u8; 4_000])]));
    }
}
