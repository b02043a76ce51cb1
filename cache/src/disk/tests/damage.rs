//! Damage of every kind: said, and nothing is lost that need not be.

use super::*;
use fs_core::{ContentRow, Ranges};
use std::fs;
use std::path::PathBuf;

fn wrote(ino: u64, start: u64, end: u64) -> Change {
    Change::Wrote { ino: Ino(ino), range: Range::new(start, end), size: end, mtime: Timestamp(5) }
}

fn filled(ino: u64, start: u64, end: u64) -> Change {
    Change::Filled { ino: Ino(ino), range: Range::new(start, end) }
}

fn created(ino: u64, parent: u64, name: &str) -> NodeRow {
    NodeRow { pending: Pending::CREATE.with(Pending::CONTENT), ..node(ino, parent, name) }
}

/// A root, a folder, a clean file 3 and a file 4 with unsent bytes, both in the folder.
fn small_tree(dir: &Path) -> DiskStore {
    let store = open(dir);
    store.write(Ino(3), 0, &[3; 5_000]).unwrap();
    store.write(Ino(4), 0, b"only copy").unwrap();
    let cursor = Change::Cursor { rev: Rev(9), epoch: 4 };
    store.queue(
        Seq(1),
        vec![put(node(1, 0, "")), put(node(2, 1, "f.d")), put(node(3, 2, "clean")), cursor],
    );
    store.queue(Seq(2), vec![filled(3, 0, 5_000), Change::Complete]);
    store.queue(Seq(3), vec![put(created(4, 2, "new")), wrote(4, 0, 9)]);
    store.journal(Seq(3)).unwrap();
    // What follows looks at backing files.
    store.shared.content.move_all().unwrap();
    store
}

fn row(recovered: &Recovered, ino: u64) -> Option<&Loaded> {
    recovered.rows.iter().find(|row| row.node.ino == Ino(ino))
}

fn content(recovered: &Recovered, ino: u64) -> &ContentRow {
    row(recovered, ino).unwrap().content.as_ref().unwrap()
}

/// Whether some file in lost+found has these bytes.
fn is_kept(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir.join("lost+found"))
        .unwrap()
        .any(|entry| fs::read(entry.unwrap().path()).is_ok_and(|found| found == bytes))
}

fn remove_index(dir: &Path) {
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = fs::remove_file(dir.join(name));
    }
}

fn garble(path: PathBuf, from: u64, to: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    crate::platform::write_at(&file, &vec![0xa5; (to - from) as usize], from).unwrap();
}

/// The unsent file is where it was, with its bytes, and the tree will be read again.
fn assert_carried_over(store: &DiskStore) {
    let recovered = store.recover().unwrap();
    assert_eq!((recovered.cursor, recovered.complete), (Rev(0), false));
    assert_eq!(row(&recovered, 4).unwrap().node.name.as_bytes(), b"new");
    assert_eq!(row(&recovered, 2).unwrap().node.name.as_bytes(), b"f.d");
    assert!(!row(&recovered, 2).unwrap().node.listed);
    assert!(row(&recovered, 3).is_none(), "clean nodes are read again");
    let dirty = [Range::new(0, 9)].into_iter().collect::<Ranges>();
    assert_eq!(content(&recovered, 4).dirty, dirty);
    assert_eq!(store.read(Ino(4), Range::new(0, 9)).unwrap(), b"only copy"[..]);
    assert!(recovered.last_ino >= Ino(4));
    assert!(!store.notices().is_empty());
}

#[test]
fn a_missing_index_is_made_anew_from_the_journal() {
    let dir = TempDir::new().unwrap();
    drop(small_tree(dir.path()));
    remove_index(dir.path());
    assert_carried_over(&open(dir.path()));
    assert!(is_kept(dir.path(), &[3; 5_000]));
    drop(open(dir.path()));
}

#[test]
fn a_garbled_index_is_kept_and_made_anew_from_the_journal() {
    let dir = TempDir::new().unwrap();
    drop(small_tree(dir.path()));
    remove_index(dir.path());
    fs::write(dir.path().join("index.sqlite"), vec![0x77; 20_000]).unwrap();
    assert_carried_over(&open(dir.path()));
    assert!(is_kept(dir.path(), &[0x77; 20_000]));
}

#[test]
fn an_empty_index_is_as_a_missing_one() {
    let dir = TempDir::new().unwrap();
    drop(small_tree(dir.path()));
    remove_index(dir.path());
    fs::write(dir.path().join("index.sqlite"), b"").unwrap();
    assert_carried_over(&open(dir.path()));
}

#[test]
fn without_index_and_journal_the_bytes_are_in_lost_and_found() {
    let dir = TempDir::new().unwrap();
    small_tree(dir.path()).shutdown().unwrap();
    remove_index(dir.path());
    let store = open(dir.path());
    let recovered = store.recover().unwrap();
    assert!(recovered.rows.is_empty());
    assert_eq!(recovered.last_ino, Ino(4), "a number is never given twice");
    assert!(is_kept(dir.path(), b"only copy"));
    let index = fs::read_to_string(dir.path().join("lost+found/INDEX.txt")).unwrap();
    assert!(index.contains("4: inode 4: no row knows it"), "{index}");
    assert!(store.notices().iter().any(|text| text.contains("missing")));
}

/// Unsent rows at both ends of a large table, damage in the middle.
#[test]
fn unsent_changes_are_saved_from_a_damaged_index() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut batch = vec![put(node(1, 0, "")), put(node(2, 1, "f.d"))];
    batch.extend((10..9_000).map(|ino| put(node(ino, 2, &format!("some file {ino}")))));
    for ino in [5, 9_500] {
        store.write(Ino(ino), 0, b"unsent").unwrap();
        batch.extend([put(created(ino, 2, &format!("new {ino}"))), wrote(ino, 0, 6)]);
    }
    store.queue(Seq(1), batch);
    store.shutdown().unwrap();
    drop(store);
    let index = dir.path().join("index.sqlite");
    let len = fs::metadata(&index).unwrap().len();
    garble(index, len / 2 / 4096 * 4096, len / 2 / 4096 * 4096 + 3 * 4096);
    // Only after an unclean stop is the whole file looked through.
    fs::write(dir.path().join("running"), "boot 1").unwrap();
    let store = open(dir.path());
    assert!(!store.notices().is_empty());
    let recovered = store.recover().unwrap();
    for ino in [5, 9_500] {
        let name = format!("new {ino}");
        assert_eq!(row(&recovered, ino).unwrap().node.name.as_bytes(), name.as_bytes());
        assert_eq!(content(&recovered, ino).dirty.bytes(), 6);
        assert_eq!(store.read(Ino(ino), Range::new(0, 6)).unwrap(), b"unsent"[..]);
    }
    assert_eq!(row(&recovered, 2).unwrap().node.name.as_bytes(), b"f.d");
    assert_eq!(recovered.rows.len(), 4);
    assert_eq!(recovered.last_ino, Ino(9_500));
}

#[test]
fn a_missing_backing_file_is_fetched_again_or_said_aloud() {
    let dir = TempDir::new().unwrap();
    drop(small_tree(dir.path()));
    fs::remove_file(dir.path().join("content/03/3")).unwrap();
    fs::remove_file(dir.path().join("content/04/4")).unwrap();
    let store = open(dir.path());
    let recovered = store.recover().unwrap();
    assert!(row(&recovered, 3).is_none_or(|row| row.content.is_none()));
    assert_eq!(content(&recovered, 4).dirty.bytes(), 9, "the row stays");
    assert_eq!(recovered.repairs, [Change::DropContent(Ino(3))]);
    assert!(store.notices()[0].contains("\"new\" is missing"), "{:?}", store.notices());
    assert_eq!(recovered.cursor, Rev(9));
}

#[test]
fn a_short_backing_file_has_only_what_it_has() {
    let dir = TempDir::new().unwrap();
    drop(small_tree(dir.path()));
    fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("content/03/3"))
        .unwrap()
        .set_len(1_000)
        .unwrap();
    let store = open(dir.path());
    let valid = [Range::new(0, 1_000)].into_iter().collect::<Ranges>();
    assert_eq!(content(&store.recover().unwrap(), 3).valid, valid);
}

#[test]
fn strangers_among_the_backing_files_are_kept() {
    let dir = TempDir::new().unwrap();
    small_tree(dir.path()).shutdown().unwrap();
    let content = dir.path().join("content");
    fs::write(content.join("03/259"), b"no row").unwrap();
    fs::write(content.join("03/4"), b"wrong place").unwrap();
    fs::write(content.join("03/+3"), b"not a number").unwrap();
    fs::write(content.join("stray"), b"not a directory").unwrap();
    let store = open(dir.path());
    for bytes in [&b"no row"[..], b"wrong place", b"not a number", b"not a directory"] {
        assert!(is_kept(dir.path(), bytes));
    }
    assert_eq!(store.read(Ino(4), Range::new(0, 9)).unwrap(), b"only copy"[..]);
    assert!(store.notices()[0].starts_with("4 files"), "{:?}", store.notices());
    assert!(store.recover().unwrap().last_ino >= Ino(259));
}

#[test]
fn after_power_loss_clean_bytes_are_not_trusted() {
    let dir = TempDir::new().unwrap();
    let store = small_tree(dir.path());
    store.write(Ino(5), 0, &[5; 100]).unwrap();
    let mixed = NodeRow { pending: Pending::CONTENT, ..node(5, 2, "mixed") };
    store.queue(Seq(4), vec![put(mixed), filled(5, 0, 100), wrote(5, 10, 20)]);
    store.journal(Seq(4)).unwrap();
    drop(store);
    let options = Options { boot_id: Some("boot 2".into()), ..options() };
    let store = DiskStore::open(dir.path(), options.clone()).unwrap();
    let recovered = store.recover().unwrap();
    assert!(row(&recovered, 3).is_none_or(|row| row.content.is_none()));
    assert!(!dir.path().join("content/03/3").exists(), "what is not trusted takes no room");
    assert_eq!(content(&recovered, 4).dirty.bytes(), 9);
    assert_eq!(content(&recovered, 5).dirty.bytes(), 10);
    assert!(content(&recovered, 5).valid.is_empty());
    assert!(store.notices().is_empty(), "{:?}", store.notices());
    store.shutdown().unwrap();
    drop(store);
    // A clean stop, then another boot: everything is trusted.
    let store = DiskStore::open(dir.path(), Options { boot_id: Some("boot 3".into()), ..options });
    let store = store.unwrap();
    assert_eq!(store.recover().unwrap().repairs, []);
}

#[test]
fn a_damaged_journal_stops_there_and_keeps_all_bytes() {
    let dir = TempDir::new().unwrap();
    // An index that has nothing yet, as if the writer had been slow.
    let before = TempDir::new().unwrap();
    open(before.path()).shutdown().unwrap();
    let store = small_tree(dir.path());
    store.queue(Seq(4), vec![put(created(6, 2, "more")), wrote(6, 0, 4), wrote(3, 0, 5)]);
    store.write(Ino(6), 0, b"more").unwrap();
    store.journal(Seq(4)).unwrap();
    drop(store);
    remove_index(dir.path());
    fs::copy(before.path().join("index.sqlite"), dir.path().join("index.sqlite")).unwrap();
    let segment = dir.path().join("journal/00000000000000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(3).position(|found| found == b"new").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let store = open(dir.path());
    let recovered = store.recover().unwrap();
    assert_eq!(recovered.last_seq, Seq(2));
    assert!(store.notices()[0].contains("the journal is damaged"), "{:?}", store.notices());
    assert!(is_kept(dir.path(), b"only copy"));
    assert!(is_kept(dir.path(), b"more"));
    assert!(is_kept(dir.path(), &[3; 5_000]), "it may have been overwritten: kept as it is");
    assert!(is_kept(dir.path(), &bytes), "the segment too");
    assert!(row(&recovered, 3).is_none_or(|row| row.content.is_none()));
    // The store goes on from there.
    store.queue(Seq(3), vec![put(node(7, 2, "later"))]);
    store.sync(None, Seq(3)).unwrap();
    drop(store);
    assert_eq!(open(dir.path()).recover().unwrap().last_seq, Seq(3));
}

#[test]
fn an_index_of_a_newer_program_is_left_alone() {
    let dir = TempDir::new().unwrap();
    small_tree(dir.path()).shutdown().unwrap();
    let path = dir.path().join("index.sqlite");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let error = DiskStore::open(dir.path(), options()).err().unwrap().to_string();
    assert!(error.contains("newer version"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// Pages that are sound, with rows that are not: no check of the file finds them.
#[test]
fn rows_that_make_no_sense_lead_to_a_new_index() {
    for (row, at_start) in [(3, false), (4, true)] {
        let dir = TempDir::new().unwrap();
        let store = small_tree(dir.path());
        store.queue(Seq(4), vec![Change::DropContent(Ino(3))]);
        store.evict(Ino(3)).unwrap();
        store.shutdown().unwrap();
        drop(store);
        let conn = rusqlite::Connection::open(dir.path().join("index.sqlite")).unwrap();
        conn.execute("UPDATE node SET id = x'00' WHERE ino = ?1", [row]).unwrap();
        drop(conn);
        let mut store = open(dir.path());
        if !at_start {
            assert!(store.notices().is_empty());
            assert!(matches!(store.load_dir(Ino(2)), Err(Error::Corrupt(_))));
            drop(store);
            store = open(dir.path());
        }
        assert!(!store.notices().is_empty());
        let recovered = store.recover().unwrap();
        assert_eq!(recovered.cursor, Rev(0));
        if row == 3 {
            assert_eq!(content(&recovered, 4).dirty.bytes(), 9);
        } else {
            assert!(is_kept(dir.path(), b"only copy"));
        }
        drop(store);
        assert!(open(dir.path()).notices().is_empty(), "once is enough");
    }
}

#[test]
fn a_backing_file_longer_than_its_row_is_cut() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    store.queue(Seq(1), vec![put(node(1, 0, "")), put(created(2, 1, "new")), wrote(2, 0, 5)]);
    store.journal(Seq(1)).unwrap();
    store.write(Ino(2), 0, b"known and never recorded").unwrap();
    store.shared.content.move_all().unwrap();
    drop(store);
    let store = open(dir.path());
    store.recover().unwrap();
    let read = store.read(Ino(2), Range::new(0, 12)).unwrap();
    assert_eq!(&read[..], b"known\0\0\0\0\0\0\0");
}
