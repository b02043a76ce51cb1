//! Listings, the log, operations and their outcomes.

use crate::world::{World, attrs, create, fetch_all, flight, name, new_node, whole};
use cloud::CloudStore;
use fs_core::{
    CloudErrorKind, ContentRef, GroupOutcome, Kind, NodeId, Op, RemoteNode, Rev, Timestamp,
};
use std::time::Duration;

async fn children(world: &World, dir: NodeId) -> Vec<RemoteNode> {
    let mut nodes = Vec::new();
    let mut after = None;
    loop {
        let page = world.store.children(dir, after).await.unwrap();
        nodes.extend(page.nodes);
        after = page.next;
        if after.is_none() {
            return nodes;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_created_is_listed_as_it_was() {
    let world = World::new().await;
    let info = world.store.connect().await.unwrap();
    assert_eq!(info.head, Rev(0));
    let dir = world.mkdir(NodeId::ROOT, "Ünïcode / not".replace('/', "-").as_str()).await;
    let file = new_node();
    let draft = world.stage_whole(file, b"hello").await;
    let link = new_node();
    let mut target = attrs(0o777);
    target.target = b"../else/where".to_vec();
    target.xattrs.insert(b"user.tag".to_vec(), vec![0, 255]);
    let raw = fs_core::Name::new(&[0xff, 0xfe, b'x']).unwrap();
    let symlink = Op::Create {
        id: link,
        parent: dir,
        name: raw.clone(),
        kind: Kind::Symlink,
        attrs: target.clone(),
        content: None,
    };
    let rev = world.done(vec![create(file, dir, "a.txt", Kind::File, Some(draft)), symlink]).await;
    let mut nodes = children(&world, dir).await;
    nodes.sort_by_key(|node| node.id);
    let [a, b] = nodes.as_slice() else { panic!("two nodes: {nodes:?}") };
    assert_eq!((a.id, a.parent, a.kind, a.size), (file, dir, Kind::File, 5));
    assert_eq!((a.meta_rev, a.content_rev, a.live), (rev, rev, true));
    // The content's time counts: 42 is what was staged.
    assert_eq!(a.attrs.mtime, Timestamp(42));
    assert_eq!((&b.name, b.kind, &b.attrs, b.size), (&raw, Kind::Symlink, &target, 13));
    let page = world.store.snapshot(None).await.unwrap();
    assert_eq!((page.nodes.len(), page.rev), (3, rev));
    assert_eq!(page.nodes[0].id, dir, "parents come before children");
    let (commits, head) = world.store.changes(Rev(0)).await.unwrap();
    assert_eq!((commits.len(), head), (2, rev));
    assert_eq!(commits[1].nodes.len(), 2);
    let (commits, _) = world.store.changes(rev).await.unwrap();
    assert!(commits.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_change_what_they_say() {
    let world = World::new().await;
    let (x, y) = (world.mkdir(NodeId::ROOT, "x").await, world.mkdir(NodeId::ROOT, "y").await);
    let id = new_node();
    let draft = world.stage_whole(id, b"one").await;
    let first = world.done(vec![create(id, x, "f", Kind::File, Some(draft))]).await;
    let (parent, base) = (y, first);
    let moved =
        Op::Move { id, base, parent, name: name("g"), attrs: attrs(0o600), for_content: first };
    let second = world.done(vec![moved]).await;
    let nodes = children(&world, y).await;
    assert_eq!((nodes[0].name.clone(), nodes[0].meta_rev), (name("g"), second));
    // These attributes speak of the content that is there: their time counts.
    assert_eq!(nodes[0].attrs, attrs(0o600));
    assert_eq!(nodes[0].content_rev, first, "a move leaves the content alone");
    let content = world.stage_whole(id, b"second").await;
    let third = world.done(vec![Op::SetContent { id, base: first, content }]).await;
    let node = &children(&world, y).await[0];
    assert_eq!((node.size, node.content_rev, node.meta_rev), (6, third, second));
    assert_eq!(node.attrs.mtime, Timestamp(42), "the newer content's time counts");
    let versions = world.store.versions(id).await.unwrap();
    let listed: Vec<_> = versions.iter().map(|v| (v.rev, v.size, v.device.as_str())).collect();
    assert_eq!(listed, [(third, 6, "laptop"), (first, 3, "laptop")]);
    assert!(versions[0].stored.0 > 1_700_000_000_000_000_000);
    let old = ContentRef { id, rev: first };
    assert_eq!(fetch_all(world.store.as_ref(), old).await, b"one");
    world.done(vec![Op::Trash { id, meta: second, content: third }]).await;
    assert!(children(&world, y).await.is_empty());
    let trash = world.store.trash().await.unwrap();
    assert_eq!((trash.len(), trash[0].id, trash[0].live), (1, id, false));
    assert_eq!(trash[0].name, name("g"));
    let restore = Op::Restore {
        id,
        base: trash[0].meta_rev,
        parent: x,
        name: name("back"),
        attrs: attrs(0o644),
        for_content: third,
    };
    world.done(vec![restore]).await;
    assert_eq!(children(&world, x).await[0].name, name("back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_carry_what_is_there_instead() {
    let world = World::new().await;
    let id = world.mkdir(NodeId::ROOT, "taken").await;
    let other = new_node();
    let ops = vec![
        vec![create(other, NodeId::ROOT, "taken", Kind::Dir, None)],
        vec![create(new_node(), other, "below", Kind::Dir, None)],
        vec![create(new_node(), NodeId::ROOT, "free", Kind::Dir, None)],
    ];
    let outcomes = world.commit(ops).await;
    let GroupOutcome::Conflict(nodes) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(nodes.iter().any(|node| node.id == id && node.name == name("taken")), "{nodes:?}");
    assert!(matches!(outcomes[1], GroupOutcome::Dependent | GroupOutcome::Conflict(_)));
    assert!(matches!(outcomes[2], GroupOutcome::Done(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_has_the_first_outcome() {
    let world = World::new().await;
    let flight = flight(vec![vec![create(new_node(), NodeId::ROOT, "once", Kind::Dir, None)]]);
    let first = world.store.commit(&flight).await.unwrap();
    let again = world.stranger().commit(&flight).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(children(&world, NodeId::ROOT).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_over_the_limit_are_invalid_alone() {
    let world = World::new().await;
    let mut big = attrs(0o644);
    big.xattrs.insert(b"user.big".to_vec(), vec![1; 80 << 10]);
    let (id, parent, kind) = (new_node(), NodeId::ROOT, Kind::File);
    let large = Op::Create { id, parent, name: name("big"), kind, attrs: big, content: None };
    let small = create(new_node(), NodeId::ROOT, "small", Kind::Dir, None);
    let outcomes = world.commit(vec![vec![large], vec![small]]).await;
    assert!(matches!(&outcomes[0], GroupOutcome::Invalid(why) if why.contains("attributes")));
    assert!(matches!(outcomes[1], GroupOutcome::Done(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_of_another_node_or_of_nothing_is_not_published() {
    let world = World::new().await;
    let id = new_node();
    let garbage = fs_core::Draft { bytes: vec![1, 2, 3], size: 3 };
    let ops = vec![create(id, NodeId::ROOT, "g", Kind::File, Some(garbage))];
    assert_eq!(world.commit(vec![ops]).await, [GroupOutcome::Unstaged]);
    // Sealed for one node, nobody could read it as another's: it has to be made again.
    let draft = world.stage_whole(new_node(), b"somebody else's").await;
    let ops = vec![create(id, NodeId::ROOT, "g", Kind::File, Some(draft))];
    assert_eq!(world.commit(vec![ops]).await, [GroupOutcome::Unstaged]);
    let draft = world.stage_whole(id, b"its own").await;
    let rev = world.done(vec![create(id, NodeId::ROOT, "g", Kind::File, Some(draft))]).await;
    let all = fs_core::Range::new(0, 100);
    let content = ContentRef { id, rev };
    let read = crate::world::fetch(world.store.as_ref(), content, all).await;
    assert!(read.is_ok(), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_come_in_pages() {
    let world = World::new().await;
    let mut made = Vec::new();
    for part in 0..12 {
        let groups = (0..500).map(|n| {
            let id = new_node();
            made.push(id);
            vec![create(id, NodeId::ROOT, &format!("{part}-{n}"), Kind::Dir, None)]
        });
        let outcomes = world.commit(groups.collect()).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, GroupOutcome::Done(_))));
    }
    let mut listed: Vec<NodeId> =
        children(&world, NodeId::ROOT).await.iter().map(|node| node.id).collect();
    listed.sort();
    made.sort();
    assert_eq!(listed, made);
    let (mut after, mut pages, mut seen) = (None, 0, Vec::new());
    loop {
        let page = world.store.snapshot(after).await.unwrap();
        pages += 1;
        seen.extend(page.nodes.iter().map(|node| node.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    seen.sort();
    assert!(pages > 1);
    assert_eq!(seen, made);
    let (mut since, mut count) = (Rev(0), 0);
    loop {
        let (commits, head) = world.store.changes(since).await.unwrap();
        count += commits.iter().map(|commit| commit.nodes.len()).sum::<usize>();
        since = commits.last().map_or(since, |commit| commit.rev);
        if since == head {
            break;
        }
    }
    assert_eq!(count, made.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_heard_of_as_soon_as_it_moves() {
    let world = World::new().await;
    let seen = world.store.connect().await.unwrap().head;
    let store = world.stranger();
    let waiting = tokio::spawn(async move { store.wait_head(seen).await });
    let rev = world.done(vec![create(new_node(), NodeId::ROOT, "news", Kind::Dir, None)]).await;
    let heard = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert_eq!(heard.unwrap().unwrap().unwrap(), rev);
    assert_eq!(world.store.wait_head(seen).await.unwrap(), rev, "at once when it has moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_the_head_costs_one_request_however_much_there_is() {
    let mut world = World::new().await;
    let store = world.stranger();
    let mut seen = Rev(0);
    for number in 0..5 {
        let name = format!("d{number}");
        let rev = world.done(vec![create(new_node(), NodeId::ROOT, &name, Kind::Dir, None)]).await;
        while seen < rev {
            seen = store.wait_head(seen).await.unwrap();
        }
        assert_eq!(seen, rev);
    }
    assert_eq!(store.traffic().requests, 1);
    // A head that is known to be further on than the store's, as after a restored backup.
    assert_eq!(world.stranger().wait_head(Rev(seen.0 + 9)).await.unwrap(), seen);

    world.server.take().unwrap().stop().await;
    let error = store.wait_head(seen).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Offline, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_offline() {
    let mut world = World::new().await;
    let store = world.stranger();
    world.server.take().unwrap().stop().await;
    let error = store.connect().await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Offline, "{error}");
    assert!(error.message.contains(&world.url()), "{error}");
    let item = whole(new_node(), 5_000);
    let source = crate::world::Memory::of(&item, vec![7; 5_000]);
    let staged = crate::world::one(store.stage(&[item], source).await);
    assert_eq!(staged.unwrap_err().kind, CloudErrorKind::Offline);
}
