use crate::client::*;
use protocol::{codec, wire::*};
use std::collections::{HashMap, HashSet};

fn by_id(nodes: &[Node]) -> HashMap<Raw, Node> {
    nodes.iter().map(|node| (*node.id, node.clone())).collect()
}

fn check_order(nodes: &[Node]) {
    let mut seen = HashSet::from([ROOT]);
    for node in nodes {
        assert!(seen.contains(&*node.parent), "a child came before its parent");
        assert!(seen.insert(*node.id), "a node came twice");
    }
}

/// `dirs` directories in each directory, `files` files, `depth` levels.
fn tree(dirs: usize, files: usize, depth: usize) -> Vec<Op> {
    let (mut ops, mut level) = (Vec::new(), vec![ROOT]);
    for _ in 0..depth {
        let mut below = Vec::new();
        for parent in level {
            for index in 0..files {
                ops.push(file(fresh(), parent, &format!("f{index}")));
            }
            for index in 0..dirs {
                let id = fresh();
                ops.push(dir(id, parent, &format!("d{index}")));
                below.push(id);
            }
        }
        level = below;
    }
    ops
}

#[tokio::test]
async fn a_snapshot_is_whole_at_any_page_size() {
    let store = Store::new().await;
    let device = store.device().await;
    let ops = tree(3, 4, 4);
    let count = ops.len();
    device.done(ops).await;
    let (whole, rev) = device.snapshot(5_000).await;
    assert_eq!((whole.len(), rev), (count, 1));
    check_order(&whole);
    for limit in [1, 2, 3, 7, 100] {
        let (nodes, _) = device.snapshot(limit).await;
        assert_eq!(nodes, whole, "pages of {limit}");
    }
}

#[tokio::test]
async fn a_snapshot_shows_one_rev_whatever_happens_meanwhile() {
    let store = Store::new().await;
    let device = store.device().await;
    device.done(tree(3, 3, 4)).await;
    let (before, _) = device.snapshot(5_000).await;
    let dirs: Vec<Raw> = before.iter().filter(|n| n.kind == 1).map(|n| *n.id).collect();
    let files: Vec<Raw> = before.iter().filter(|n| n.kind == 0).map(|n| *n.id).collect();
    let mut nodes = Vec::new();
    let (mut after, mut step) = (String::new(), 0);
    let rev = loop {
        let page: Page = device.get(&format!("/snapshot?limit=5{after}")).await.ok();
        nodes.extend(page.nodes);
        let Some(next) = page.next else { break page.rev };
        after = format!("&after={}", codec::hex(&next));
        // Move trees across the walk in both directions, edit, remove and create.
        let current: HashMap<Raw, Node> = by_id(&device.snapshot(5_000).await.0);
        let (from, to) = (dirs[(step * 7) % dirs.len()], dirs[(step * 11 + 3) % dirs.len()]);
        let gone = files[step % files.len()];
        let name = format!("moved{step}");
        let groups = vec![
            vec![move_to(from, current[&from].meta_rev, to, &name)],
            vec![trash(gone, current.get(&gone).map_or(0, |n| n.meta_rev), 1)],
            vec![file(fresh(), dirs[step % dirs.len()], &format!("new{step}"))],
        ];
        device.commit(groups).await;
        step += 1;
    };
    assert!(step > 10);
    assert_eq!(rev, 1);
    check_order(&nodes);
    assert_eq!(nodes, before);
    // The log leads from there to the tree as it is now.
    let mut replica = by_id(&nodes);
    let mut at = rev;
    loop {
        let changes = device.changes(at).await;
        for commit in &changes.commits {
            at = commit.rev;
            for node in &commit.nodes {
                replica.insert(*node.id, node.clone());
            }
        }
        if at == changes.head {
            break;
        }
    }
    replica.retain(|_, node| node.live);
    assert_eq!(replica, by_id(&device.snapshot(5_000).await.0));
}

#[tokio::test]
async fn children_come_in_pages() {
    let store = Store::new().await;
    let device = store.device().await;
    let d = fresh();
    let mut ops = vec![dir(d, ROOT, "d")];
    ops.extend((0..25).map(|index| file(fresh(), d, &format!("f{index}"))));
    ops.extend((0..5).map(|index| dir(fresh(), d, &format!("d{index}"))));
    device.done(ops).await;
    let path = format!("/nodes/{}/children", codec::hex(&d));
    let whole: Page = device.get(&path).await.ok();
    assert_eq!((whole.nodes.len(), whole.rev, whole.next), (30, 1, None));
    let (mut nodes, mut after) = (Vec::new(), String::new());
    loop {
        let page: Page = device.get(&format!("{path}?limit=4{after}")).await.ok();
        nodes.extend(page.nodes);
        let Some(next) = page.next else { break };
        after = format!("&after={}", codec::hex(&next));
    }
    assert_eq!(nodes, whole.nodes);
    let root: Page = device.get(&format!("/nodes/{}/children", codec::hex(&ROOT))).await.ok();
    assert_eq!(root.nodes.len(), 1);
    let none: Page = device.get(&format!("/nodes/{}/children", codec::hex(&[9; 16]))).await.ok();
    assert_eq!(none.nodes.len(), 0);
}

#[tokio::test]
async fn the_log_tells_every_state() {
    let store = Store::new().await;
    let device = store.device().await;
    let (d, f) = (fresh(), fresh());
    device.done(vec![dir(d, ROOT, "d"), file(f, d, "f")]).await;
    device.done(vec![move_to(f, 1, ROOT, "g")]).await;
    device.done(vec![trash(d, 1, 0)]).await;
    let changes = device.changes(0).await;
    assert_eq!(changes.head, 3);
    assert_eq!(changes.commits.iter().map(|entry| entry.rev).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(changes.commits.iter().all(|entry| *entry.device == device.id));
    let moved = &changes.commits[1].nodes;
    assert_eq!(moved.len(), 1);
    assert_eq!((&moved[0].name[..], *moved[0].parent), (&b"g"[..], ROOT));
    assert!(!changes.commits[2].nodes[0].live);
    assert_eq!(device.changes(3).await, Changes { commits: vec![], head: 3 });
    assert_eq!(device.changes(u64::MAX).await.head, 3);
}

#[tokio::test]
async fn a_long_log_comes_in_pages() {
    let store = Store::new().await;
    let device = store.device().await;
    let d = fresh();
    device.done(vec![dir(d, ROOT, "d")]).await;
    // Nine commits of 1,000 nodes: no page holds more than 5,000 of them.
    for round in 0..9 {
        let group = (0..1_000).map(|index| file(fresh(), d, &format!("{round}-{index}")));
        device.commit(group.map(|op| vec![op]).collect()).await;
    }
    let first = device.changes(0).await;
    let nodes: usize = first.commits.iter().map(|entry| entry.nodes.len()).sum();
    assert!((1..=5_000).contains(&nodes), "{nodes}");
    assert_eq!(first.head, 10);
    let mut at = 0;
    let mut seen = 0;
    while at < 10 {
        let page = device.changes(at).await;
        seen += page.commits.iter().map(|entry| entry.nodes.len()).sum::<usize>();
        at = page.commits.last().unwrap().rev;
    }
    assert_eq!(seen, 9_001);
}

#[tokio::test]
async fn a_log_that_was_cut_is_gone() {
    let store = Store::with(|config| {
        config.bounds.log_commits = 3;
        config.bounds.log_time = std::time::Duration::ZERO;
    })
    .await;
    let device = store.device().await;
    device.done(tree(2, 2, 3)).await;
    let page: Page = device.get("/snapshot?limit=2").await.ok();
    let next = codec::hex(&page.next.unwrap());
    let file = page.nodes.iter().find(|node| node.kind == 0).unwrap().clone();
    let mut rev = file.meta_rev;
    for _ in 0..8 {
        rev = device.done(vec![set_meta(*file.id, rev)]).await;
    }
    assert_eq!(device.get("/changes?since=0").await.problem(), (410, "gone".to_owned()));
    let answer = device.get(&format!("/snapshot?after={next}")).await;
    assert_eq!(answer.problem(), (410, "gone".to_owned()));
    let changes = device.changes(rev - 3).await;
    assert_eq!(changes.commits.len(), 3);
}

#[tokio::test]
async fn versions_and_trash() {
    let store = Store::new().await;
    let device = store.device().await;
    let (f, g) = (fresh(), fresh());
    device.done(vec![file(f, ROOT, "f"), file(g, ROOT, "g")]).await;
    device.done(vec![set_content(f, 1, "two")]).await;
    device.done(vec![trash(f, 1, 2)]).await;
    device.done(vec![trash(g, 1, 1)]).await;
    let path = format!("/nodes/{}/versions", codec::hex(&f));
    let versions: Versions = device.get(&path).await.ok();
    let revs: Vec<u64> = versions.versions.iter().map(|version| version.rev).collect();
    assert_eq!(revs, [2, 1]);
    assert_eq!(versions.versions[0].device, "laptop");
    assert!(versions.versions[0].stored_ms > 1_700_000_000_000);
    let path = format!("/nodes/{}/versions", codec::hex(&fresh()));
    assert_eq!(device.get(&path).await.problem(), (404, "not_found".to_owned()));
    let page: Page = device.get("/trash").await.ok();
    let ids: Vec<Raw> = page.nodes.iter().map(|node| *node.id).collect();
    assert_eq!(ids, [g, f]);
    assert!(page.nodes.iter().all(|node| !node.live));
    assert_eq!(&page.nodes[1].name[..], b"f");
    device.done(vec![restore(f, 3, ROOT, "f")]).await;
    let page: Page = device.get("/trash").await.ok();
    assert_eq!(page.nodes.len(), 1);
}
