use super::{attrs::of_folder, tree::*};
use fs_core::{
    FsError, HandleId, Ino, Kind, Name, NodeId, OpenFlags, RemoteNode, Request, Response, Rev,
    Timestamp,
};

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn node(id: u8, parent: NodeId, text: &str, kind: Kind) -> RemoteNode {
    RemoteNode {
        id: NodeId([id; 16]),
        parent,
        name: name(text),
        kind,
        attrs: of_folder(Timestamp(5)),
        size: 10,
        meta_rev: Rev(1),
        content_rev: Rev(2),
        live: true,
    }
}

fn lookup(tree: &mut Tree, parent: Ino, text: &str) -> Result<Ino, Halt> {
    match tree.answer(&Request::Lookup { parent, name: name(text) })? {
        Response::Entry(attr) => Ok(attr.ino),
        other => panic!("{other:?}"),
    }
}

fn list(tree: &mut Tree, ino: Ino, cookie: u64, room: usize, plus: bool) -> Vec<(String, u64)> {
    let handle = HandleId(1);
    let ask = Request::Readdir { ino, handle, cookie, room, cost: |_| 10, plus };
    match tree.answer(&ask) {
        Ok(Response::Entries(entries)) => entries
            .into_iter()
            .map(|entry| (String::from_utf8(entry.name).unwrap(), entry.cookie))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn forget(tree: &mut Tree, ino: Ino) {
    tree.answer(&Request::Forget { ino, count: 1 }).unwrap();
}

/// A tree with one folder of two files at rev 7.
fn known() -> (Tree, Ino) {
    let mut tree = Tree::new(Timestamp(1));
    assert_eq!(lookup(&mut tree, Ino::ROOT, ".meshdrive").unwrap(), HOME);
    assert_eq!(lookup(&mut tree, HOME, "at").unwrap(), AT);
    let lacking = lookup(&mut tree, AT, "-2h").unwrap_err();
    assert_eq!(lacking, Halt::Want(Want::Moment(name("-2h"))));
    tree.learn_moment(name("-2h"), Rev(7));
    let root = lookup(&mut tree, AT, "-2h").unwrap();
    let lacking = lookup(&mut tree, root, "a").unwrap_err();
    let want = Want::Listing { ino: root, dir: NodeId::ROOT, rev: Rev(7) };
    assert_eq!(lacking, Halt::Want(want));
    let nodes = [node(2, NodeId::ROOT, "b", Kind::File), node(1, NodeId::ROOT, "a", Kind::Dir)];
    tree.learn_listing(root, nodes.to_vec());
    (tree, root)
}

#[test]
fn the_tree_is_found_step_by_step_and_listed_in_pages() {
    let (mut tree, root) = known();
    let a = lookup(&mut tree, root, "a").unwrap();
    assert_eq!(lookup(&mut tree, root, "c").unwrap_err(), Halt::Error(FsError::NotFound));
    let all = list(&mut tree, root, 0, 1_000, false);
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [".", "..", "a", "b"]);
    let mut paged = list(&mut tree, root, 0, 25, false);
    while let Some((_, cookie)) = paged.last().cloned() {
        let more = list(&mut tree, root, cookie, 25, false);
        if more.is_empty() {
            break;
        }
        paged.extend(more);
    }
    assert_eq!(paged, all);
    assert_eq!(list(&mut tree, HOME, 2, 100, false), [("at".to_owned(), 3)]);
    assert!(list(&mut tree, AT, 2, 100, false).is_empty());
    let ask = Request::Opendir { ino: a };
    assert!(matches!(tree.answer(&ask), Ok(Response::Opened { keep_cache: true, .. })));
}

#[test]
fn what_nobody_refers_to_goes() {
    let (mut tree, root) = known();
    let a = lookup(&mut tree, root, "a").unwrap();
    list(&mut tree, root, 0, 1_000, true);
    assert_eq!(tree.len(), 3);
    // Looked up once, and listed with attributes once.
    forget(&mut tree, a);
    forget(&mut tree, root);
    assert_eq!(tree.len(), 2, "the two files are still referred to");
    let b = Ino(a.0.max(root.0 + 1));
    forget(&mut tree, a);
    for ino in [b, Ino(b.0 - 1), Ino(b.0 + 1)] {
        forget(&mut tree, ino);
    }
    assert_eq!(tree.len(), 0);
    assert_eq!(lookup(&mut tree, root, "a").unwrap_err(), Halt::Error(FsError::Stale));
}

#[test]
fn nothing_can_be_changed() {
    let (mut tree, root) = known();
    let b = lookup(&mut tree, root, "b").unwrap();
    let write = OpenFlags { read: true, write: true, ..OpenFlags::default() };
    let asks = [
        Request::Open { ino: b, flags: write },
        Request::Unlink { parent: root, name: name("b") },
        Request::Rmdir { parent: Ino::ROOT, name: name(".meshdrive") },
        Request::Rename {
            from: (root, name("b")),
            to: (Ino::ROOT, name("b")),
            flags: Default::default(),
        },
        Request::Rename {
            from: (Ino::ROOT, name("x")),
            to: (AT, name("x")),
            flags: Default::default(),
        },
        Request::Link { ino: b, parent: Ino::ROOT, name: name("b") },
        Request::Setattr { ino: b, set: Default::default(), handle: None },
        Request::Removexattr { ino: b, name: b"user.a".to_vec() },
    ];
    for ask in asks {
        assert!(claims(&ask), "{ask:?}");
        let answer = tree.answer(&ask);
        assert!(matches!(answer, Err(Halt::Error(FsError::ReadOnly))), "{ask:?}: {answer:?}");
    }
    for ask in [
        Request::Lookup { parent: Ino::ROOT, name: name("b") },
        Request::Getattr { ino: Ino(77) },
        Request::Statfs,
    ] {
        assert!(!claims(&ask), "{ask:?}");
    }
}
