use super::*;
use fs_core::{Attrs, ContentRow, Kind, Name, NodeRow, Pending, Rev, Timestamp, Xattrs};
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
