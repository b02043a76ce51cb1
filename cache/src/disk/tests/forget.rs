//! Taking a store back to what the cloud has.

use super::*;
use fs_core::{ContentRow, Flight, Hold, Origin, Ranges, RequestId};

fn origin(parent: u64, name: &str) -> Option<Box<Origin>> {
    let attrs = Attrs { mode: 0o640, ..node(9, 1, name).attrs };
    let name = Name::new(name.as_bytes()).unwrap();
    let parent = if parent == 1 { NodeId::ROOT } else { NodeId([parent as u8; 16]) };
    Some(Box::new(Origin { parent, name, attrs }))
}

fn root() -> NodeRow {
    NodeRow { id: NodeId::ROOT, ..node(1, 0, "") }
}

fn ranges(start: u64, end: u64) -> Ranges {
    [Range::new(start, end)].into_iter().collect()
}

/// A folder of the cloud with a clean, pinned file in it, renamed here; a written file of the cloud; a new
/// folder with a new file and with a folder of the cloud moved into it; a removed file; a removal that the
/// cloud has.
fn fill(store: &DiskStore) {
    let clean = |ino| ContentRow { ino: Ino(ino), valid: ranges(0, 4), ..ContentRow::default() };
    let dirty = |ino| ContentRow { ino: Ino(ino), dirty: ranges(0, 4), ..ContentRow::default() };
    let place = Pending::PLACE.with(Pending::ATTRS);
    let rows = [
        root(),
        NodeRow { pending: place, origin: origin(1, "old.d"), ..node(2, 1, "new.d") },
        NodeRow { pinned: true, size: 4, listed: true, ..node(3, 2, "clean") },
        NodeRow { pending: Pending::CONTENT, size: 4, ..node(4, 1, "written") },
        NodeRow { pending: Pending::CREATE, ..node(5, 1, "made.d") },
        NodeRow { pending: Pending::CREATE, size: 4, ..node(6, 5, "made") },
        NodeRow { pending: Pending::PLACE, origin: origin(1, "in.d"), ..node(7, 5, "moved.d") },
        NodeRow { size: 4, ..node(8, 7, "inside") },
        NodeRow { pending: Pending::TRASH, origin: origin(1, "away"), ..node(9, 0, "") },
        NodeRow { gone: true, ..node(10, 0, "") },
        NodeRow { origin: origin(1, "limbo"), ..node(11, 0, "") },
    ];
    let mut changes: Vec<Change> = rows.into_iter().map(put).collect();
    changes.extend(
        [clean(3), dirty(4), dirty(6), clean(8)].map(|row| Change::PutContent(Box::new(row))),
    );
    changes.push(Change::Cursor { rev: Rev(7), epoch: 5 });
    changes.push(Change::Complete);
    changes.push(Change::Held(Hold { removals: true, rewrites: false }));
    let request = RequestId([1; 16]);
    changes.push(Change::PutFlight(Box::new(Flight { request, groups: vec![], items: vec![] })));
    store.queue(Seq(1), changes);
    store.journal(Seq(1)).unwrap();
    for ino in [3, 4, 6, 8] {
        store.write(Ino(ino), 0, b"four").unwrap();
    }
}

fn names(store: &DiskStore, dir: u64) -> Vec<(u64, String)> {
    let rows = store.load_dir(Ino(dir)).unwrap().into_iter().map(|row| row.node);
    let inside = rows.filter(|row| row.parent == Ino(dir));
    inside.map(|row| (row.ino.0, String::from_utf8_lossy(row.name.as_bytes()).into())).collect()
}

#[test]
fn only_what_the_cloud_has_is_left() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store);
    assert!(store.forget_pending().is_err(), "the store is open");
    store.shutdown().unwrap();
    let replica = store.replica().unwrap();
    store.forget_pending().unwrap();
    drop(store);
    let store = open(dir.path());
    let recovered = store.recover().unwrap();
    assert!(store.notices().is_empty(), "{:?}", store.notices());
    assert!(recovered.flights.is_empty());
    assert_eq!(recovered.held, Hold::default());
    assert_eq!((recovered.cursor, recovered.epoch, recovered.complete), (Rev(0), 5, true));
    assert_eq!(recovered.last_ino, Ino(11), "a number is never given out again");
    assert_eq!(store.replica().unwrap(), replica);
    let here = [(2, "old.d".to_string()), (7, "in.d".to_string())];
    assert_eq!(names(&store, 1), here);
    assert_eq!(names(&store, 2), [(3, "clean".into())]);
    assert_eq!(names(&store, 7), [(8, "inside".into())]);
    let rows = store.load_node(Ino(3)).unwrap();
    assert!(rows[0].node.pinned && rows[0].node.listed);
    assert!(rows.iter().all(|row| row.node.pending.is_none() && row.node.origin.is_none()));
    assert_eq!(rows[1].node.attrs.mode, 0o640, "the cloud's attributes");
    assert_eq!(store.read(Ino(3), Range::new(0, 4)).unwrap(), b"four"[..]);
    assert!(store.load_node(Ino(10)).unwrap()[0].node.gone);
    for ino in [4, 5, 6, 9, 11] {
        assert!(store.load_node(Ino(ino)).unwrap().is_empty(), "{ino}");
        assert!(!store.shared.content.exists(Ino(ino)), "{ino}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("lost+found")).unwrap().count(), 0);
}

/// A place that another node has by now is left to it: the feed tells where the other one is.
#[test]
fn a_place_is_never_given_twice() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let moved = NodeRow { pending: Pending::PLACE, origin: origin(1, "a"), ..node(2, 1, "b") };
    store.queue(Seq(1), [root(), moved, node(3, 1, "a")].map(put).into());
    store.journal(Seq(1)).unwrap();
    store.shutdown().unwrap();
    store.forget_pending().unwrap();
    assert_eq!(names(&store, 1), [(3, "a".into())]);
}
