mod damage;
mod forget;
mod full;
mod model;
mod small;
mod threads;

use super::*;
use fs_core::{Attrs, Kind, Name, NodeRow, Pending, Rev, Timestamp, Xattrs};
use tempfile::TempDir;

pub(super) fn options() -> Options {
    Options { reserve_bytes: 0, boot_id: Some("boot 1".into()), ..Options::default() }
}

pub(super) fn open(dir: &Path) -> DiskStore {
    DiskStore::open(dir, options()).unwrap()
}

pub(super) fn node(ino: u64, parent: u64, name: &str) -> NodeRow {
    let time = Timestamp(1_700_000_000_000_000_000);
    NodeRow {
        ino: Ino(ino),
        id: NodeId([ino as u8; 16]),
        parent: Ino(parent),
        name: Name::new(name.as_bytes()).unwrap_or_else(|_| Name::none()),
        kind: if name.ends_with(".d") || ino == 1 { Kind::Dir } else { Kind::File },
        attrs: Attrs {
            mode: 0o644,
            uid: 0,
            gid: 0,
            rdev: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            target: Vec::new(),
            xattrs: Xattrs::new(),
        },
        size: 0,
        meta_rev: Rev(1),
        content_rev: Rev(1),
        pending: Pending::NONE,
        origin: None,
        listed: false,
        pinned: false,
        gone: false,
    }
}

pub(super) fn put(row: NodeRow) -> Change {
    Change::PutNode(Box::new(row))
}

#[test]
fn a_new_store_is_empty_and_remembers() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    assert_eq!(store.recover().unwrap(), Recovered::default());
    assert!(store.recover().is_err(), "recovering twice");
    let file = NodeRow { pending: Pending::CREATE, ..node(3, 2, "a") };
    store.queue(Seq(1), vec![put(node(1, 0, "")), put(node(2, 1, "x.d"))]);
    store.queue(Seq(2), vec![put(file.clone())]);
    let rows = store.load_dir(Ino(2)).unwrap();
    let inos: Vec<u64> = rows.iter().map(|row| row.node.ino.0).collect();
    assert_eq!(inos, [2, 1, 3]);
    store.journal(Seq(2)).unwrap();
    drop(store);
    let store = open(dir.path());
    let recovered = store.recover().unwrap();
    assert_eq!(recovered.last_seq, Seq(2));
    assert_eq!(recovered.last_ino, Ino(3));
    assert!(recovered.rows.contains(&Loaded { node: file, content: None }));
    assert_eq!(recovered.rows.len(), 3);
    store.shutdown().unwrap();
    assert_eq!(store.load_node(Ino(3)).unwrap().len(), 3);
    assert_eq!(store.load_ids(&[NodeId([3; 16]), NodeId([9; 16])]).unwrap().len(), 3);
    assert!(store.write(Ino(3), 0, b"late").is_err());
}

#[test]
fn bytes_are_where_they_were_written_and_zeros_elsewhere() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let ino = Ino(0x1ff);
    assert_eq!(store.read(ino, Range::new(5, 9)).unwrap(), [0; 4][..]);
    store.zero(ino, Range::new(0, 10)).unwrap();
    store.truncate(ino, 0).unwrap();
    assert!(!dir.path().join("content/ff/511").exists(), "nothing was written yet");
    store.write(ino, 100_000, b"hello").unwrap();
    assert_eq!(store.read(ino, Range::new(99_998, 100_008)).unwrap(), b"\0\0hello\0\0\0"[..]);
    assert!(store.disk_used().unwrap() >= 4096);
    assert!(store.disk_used().unwrap() < 100_000, "the file is sparse");
    store.zero(ino, Range::new(100_001, u64::MAX)).unwrap();
    let mut buffer = [7; 5];
    store.read_into(ino, 100_000, &mut buffer).unwrap();
    assert_eq!(&buffer, b"h\0\0\0\0");
    assert_eq!(std::fs::metadata(dir.path().join("content/ff/511")).unwrap().len(), 100_005);
    store.truncate(ino, 200_000).unwrap();
    store.sync(Some(ino), Seq(0)).unwrap();
    store.evict(ino).unwrap();
    store.evict(ino).unwrap();
    assert_eq!(store.read(ino, Range::new(100_000, 100_001)).unwrap(), [0][..]);
    assert_eq!(store.disk_used().unwrap(), 0);
}

#[test]
fn more_files_than_may_be_open_are_all_there() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    for ino in 1..=1_200 {
        store.write(Ino(ino), 0, &ino.to_le_bytes()).unwrap();
    }
    for ino in 1..=1_200 {
        assert_eq!(store.read(Ino(ino), Range::new(0, 8)).unwrap(), ino.to_le_bytes()[..]);
    }
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let error = DiskStore::open(dir.path(), options()).err().unwrap().to_string();
    assert!(error.contains("another process"), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    drop(store);
    open(dir.path());
}

#[cfg(unix)]
#[test]
fn the_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("a/b");
    let store = open(&state);
    store.write(Ino(1), 0, b"x").unwrap();
    store.shared.content.move_all().unwrap();
    let mode = |path: &str| std::fs::metadata(state.join(path)).unwrap().permissions().mode();
    assert_eq!(mode("") & 0o777, 0o700);
    assert_eq!(mode("content/01/1") & 0o077, 0);
}

#[test]
fn segments_are_closed_and_removed_and_everything_is_still_there() {
    let dir = TempDir::new().unwrap();
    let options = Options { segment_bytes: 2_000, backlog_bytes: 10_000, ..options() };
    let store = DiskStore::open(dir.path(), options.clone()).unwrap();
    for seq in 1..=500 {
        store.queue(Seq(seq), vec![put(node(seq, 0, &format!("file {seq}")))]);
        store.journal(Seq(seq)).unwrap();
    }
    store.sync(None, Seq(500)).unwrap();
    drop(store);
    let segments = std::fs::read_dir(dir.path().join("journal")).unwrap().count();
    assert!(segments < 50, "{segments} segments are left");
    let store = DiskStore::open(dir.path(), options).unwrap();
    let recovered = store.recover().unwrap();
    assert_eq!((recovered.rows.len(), recovered.last_seq), (500, Seq(500)));
}

#[test]
fn a_dropped_node_takes_its_bytes_along() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    store.write(Ino(5), 0, b"temporary").unwrap();
    let wrote =
        Change::Wrote { ino: Ino(5), range: Range::new(0, 9), size: 9, mtime: Timestamp(1) };
    store.queue(Seq(1), vec![put(node(1, 0, "")), put(node(5, 1, "t")), wrote]);
    store.queue(Seq(2), vec![Change::DropNode(Ino(5))]);
    store.journal(Seq(2)).unwrap();
    assert!(store.load_node(Ino(5)).unwrap().is_empty());
    drop(store);
    // Killed before the file was removed: the index remembers that it was dropped on purpose.
    let store = open(dir.path());
    assert!(!dir.path().join("content/05/5").exists());
    assert!(store.notices().is_empty(), "{:?}", store.notices());
    // And in a running store it goes by itself.
    store.write(Ino(6), 0, b"temporary").unwrap();
    store.queue(Seq(3), vec![put(node(6, 1, "t"))]);
    store.queue(Seq(4), vec![Change::DropNode(Ino(6))]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while dir.path().join("content/06/6").exists() {
        assert!(std::time::Instant::now() < deadline, "the file stays");
        std::thread::yield_now();
    }
    store.shutdown().unwrap();
}
