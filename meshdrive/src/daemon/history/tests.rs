use super::*;
use fs_core::{Attrs, Timestamp, Xattrs};

fn node(id: u8, parent: u8, name: &str) -> RemoteNode {
    let attrs = Attrs {
        mode: 0o644,
        uid: 0,
        gid: 0,
        rdev: 0,
        atime: Timestamp(0),
        mtime: Timestamp(0),
        ctime: Timestamp(0),
        btime: Timestamp(0),
        target: Vec::new(),
        xattrs: Xattrs::new(),
    };
    RemoteNode {
        id: NodeId([id; 16]),
        parent: NodeId([parent; 16]),
        name: Name::new(name.as_bytes()).unwrap(),
        kind: Kind::File,
        attrs,
        size: 0,
        meta_rev: Rev(u64::from(id)),
        content_rev: Rev(0),
        live: false,
    }
}

fn trash(nodes: Vec<RemoteNode>) -> Trash {
    let by_id = nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect();
    let folders = BTreeMap::from([(NodeId([9; 16]), b"live/folder".to_vec())]);
    Trash { nodes, by_id, folders }
}

#[test]
fn paths_go_up_through_the_trash_to_a_live_folder() {
    let trash = trash(vec![node(1, 0, "top"), node(2, 1, "in"), node(3, 9, "x"), node(4, 8, "y")]);
    assert_eq!(trash.path(NodeId([1; 16])), b"top");
    assert_eq!(trash.path(NodeId([2; 16])), b"top/in");
    assert_eq!(trash.path(NodeId([3; 16])), b"live/folder/x");
    assert_eq!(trash.path(NodeId([4; 16])), b"?/y");
}

#[test]
fn a_hostile_cycle_ends() {
    let trash = trash(vec![node(1, 2, "a"), node(2, 1, "b")]);
    assert!(!trash.path(NodeId([1; 16])).is_empty());
    assert_eq!(trash.below(NodeId([1; 16])).len(), 1);
}

#[test]
fn a_folder_brings_back_the_newest_of_each_name() {
    // Newest first, as the store lists them.
    let nodes =
        vec![node(7, 1, "f"), node(6, 1, "f"), node(5, 1, "d"), node(4, 5, "g"), node(1, 0, "top")];
    let trash = trash(nodes);
    let below: Vec<u8> = trash.below(NodeId([1; 16])).iter().map(|node| node.id.0[0]).collect();
    assert_eq!(below, [7, 5, 4]);
}
