//! Random groups against a model of the tree that is as simple as can be.

use crate::client::*;
use protocol::wire::*;
use std::collections::{BTreeMap, HashSet};

#[derive(Clone, PartialEq, Debug)]
struct Row {
    parent: Raw,
    name: String,
    kind: u8,
    meta_rev: u64,
    content_rev: u64,
    live: bool,
}

type Tree = BTreeMap<Raw, Row>;

/// Splitmix64: small, and good enough to choose with.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

/// One step as the model and the store both understand it.
#[derive(Clone, Debug)]
enum Step {
    Create { id: Raw, parent: Raw, name: String, kind: u8 },
    Content { id: Raw, base: u64 },
    Move { id: Raw, base: u64, parent: Raw, name: String },
    Meta { id: Raw, base: u64 },
    Trash { id: Raw, meta: u64, content: u64 },
    Restore { id: Raw, base: u64, parent: Raw, name: String },
}

impl Step {
    fn op(&self) -> Op {
        match self {
            Step::Create { id, parent, name, kind } => create(*id, *parent, name, *kind, None),
            Step::Content { id, base } => set_content(*id, *base, "text"),
            Step::Move { id, base, parent, name } => move_to(*id, *base, *parent, name),
            Step::Meta { id, base } => set_meta(*id, *base),
            Step::Trash { id, meta, content } => trash(*id, *meta, *content),
            Step::Restore { id, base, parent, name } => restore(*id, *base, *parent, name),
        }
    }
}

/// The tree after the group, or `None` if it must be refused.
fn apply(tree: &Tree, group: &[Step], rev: u64) -> Option<Tree> {
    let mut after = tree.clone();
    let (mut metas, mut contents) = (HashSet::new(), HashSet::new());
    for step in group {
        let (id, is_content) = match step {
            Step::Content { id, .. } => (*id, true),
            Step::Create { id, .. }
            | Step::Move { id, .. }
            | Step::Meta { id, .. }
            | Step::Trash { id, .. }
            | Step::Restore { id, .. } => (*id, false),
        };
        if !(if is_content { &mut contents } else { &mut metas }).insert(id) {
            return None;
        }
        let before = tree.get(&id);
        let live = before.is_some_and(|row| row.live);
        let meta = before.map_or(0, |row| row.meta_rev);
        let content = before.map_or(0, |row| row.content_rev);
        let holds = match step {
            Step::Create { .. } => before.is_none(),
            Step::Content { base, .. } => {
                before.is_some_and(|row| row.kind == 0 && row.content_rev != rev)
                    && *base == content
            }
            Step::Move { base, .. } | Step::Meta { base, .. } => live && *base == meta,
            Step::Trash { meta: m, content: c, .. } => live && (*m, *c) == (meta, content),
            Step::Restore { base, .. } => before.is_some() && !live && *base == meta,
        };
        if !holds {
            return None;
        }
        let row = after.entry(id).or_insert_with(|| Row {
            parent: ROOT,
            name: String::new(),
            kind: 0,
            meta_rev: 0,
            content_rev: 0,
            live: true,
        });
        match step {
            Step::Create { parent, name, kind, .. } => {
                (row.parent, row.name, row.kind) = (*parent, name.clone(), *kind);
            }
            Step::Move { parent, name, .. } | Step::Restore { parent, name, .. } => {
                (row.parent, row.name, row.live) = (*parent, name.clone(), true);
            }
            Step::Trash { .. } => row.live = false,
            Step::Content { .. } | Step::Meta { .. } => {}
        }
        if is_content {
            row.content_rev = rev;
        } else {
            row.meta_rev = rev;
        }
    }
    let written_live = contents.iter().all(|id| after[id].live);
    (written_live && valid(&after)).then_some(after)
}

/// All rules of the tree, checked on the whole of it.
fn valid(tree: &Tree) -> bool {
    let mut names = HashSet::new();
    for (id, row) in tree.iter().filter(|(_, row)| row.live) {
        if !names.insert((row.parent, row.name.clone())) {
            return false;
        }
        let (mut at, mut steps) = (row.parent, 0);
        while at != ROOT {
            steps += 1;
            match tree.get(&at) {
                Some(above) if above.live && above.kind == 1 && at != *id && steps < 300 => {
                    at = above.parent;
                }
                _ => return false,
            }
        }
    }
    true
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn random_step(random: &mut Random, tree: &Tree, made: &mut Vec<Raw>) -> Step {
    let is_live_dir = |(_, row): &(&Raw, &Row)| row.live && row.kind == 1;
    let mut parents: Vec<Raw> = tree.iter().filter(is_live_dir).map(|(id, _)| *id).collect();
    parents.extend([ROOT; 2]);
    if random.below(8) == 0 {
        // Files, the trash, and what this commit makes or was refused.
        parents.extend(made.iter().copied());
    }
    let parent = random.of(&parents);
    let name = random.of(&NAMES).to_owned();
    if tree.is_empty() || random.below(3) == 0 {
        let id = if random.below(20) == 0 && !made.is_empty() { random.of(made) } else { fresh() };
        made.push(id);
        return Step::Create { id, parent, name, kind: u8::from(random.below(3) > 0) };
    }
    let in_trash = random.below(4) == 0;
    let mut ids: Vec<Raw> =
        tree.iter().filter(|(_, row)| row.live != in_trash).map(|(id, _)| *id).collect();
    if ids.is_empty() {
        ids.extend(tree.keys().copied());
    }
    let id = if random.below(15) == 0 { random.of(made) } else { random.of(&ids) };
    let (meta, content, live) =
        tree.get(&id).map_or((1, 0, true), |row| (row.meta_rev, row.content_rev, row.live));
    let stale = u64::from(random.below(12) == 0);
    let base = meta - stale.min(meta);
    if !live && random.below(4) > 0 {
        return Step::Restore { id, base, parent, name };
    }
    match random.below(6) {
        0 => Step::Content { id, base: content },
        1 => Step::Meta { id, base },
        2 | 3 => Step::Move { id, base, parent, name },
        4 => Step::Trash { id, meta: base, content },
        _ => Step::Restore { id, base, parent, name },
    }
}

async fn check_equal(device: &Device, tree: &Tree, seed: u64) {
    let (nodes, _) = device.snapshot(7).await;
    let mut got = Tree::new();
    for node in nodes {
        let row = Row {
            parent: *node.parent,
            name: String::from_utf8(node.name.to_vec()).unwrap(),
            kind: node.kind,
            meta_rev: node.meta_rev,
            content_rev: node.content_rev,
            live: node.live,
        };
        assert!(got.insert(*node.id, row).is_none());
    }
    let mut expected = tree.clone();
    expected.retain(|_, row| row.live);
    assert_eq!(got, expected, "seed {seed}");
}

async fn run(store: &Store, seed: u64, commits: usize) -> (usize, usize) {
    let device = store.device().await;
    let mut random = Random(seed);
    let (mut tree, mut made, mut head) = (Tree::new(), Vec::new(), 0);
    let mut replica: BTreeMap<Raw, Node> = BTreeMap::new();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..commits {
        let groups: Vec<Vec<Step>> = (0..1 + random.below(4))
            .map(|_| {
                let len = 1 + random.below(3) * random.below(2);
                (0..len).map(|_| random_step(&mut random, &tree, &mut made)).collect()
            })
            .collect();
        let ops = groups.iter().map(|group| group.iter().map(Step::op).collect()).collect();
        let reply = device.commit(ops).await;
        let mut any = false;
        for (group, outcome) in groups.iter().zip(&reply.outcomes) {
            let after = apply(&tree, group, head + 1);
            let done = matches!(outcome, Outcome::Done { .. });
            assert_eq!(done, after.is_some(), "seed {seed}: {group:?} gave {outcome:?}");
            if let Some(after) = after {
                tree = after;
                any = true;
                taken += 1;
            } else {
                refused += 1;
            }
        }
        head += u64::from(any);
        assert_eq!(reply.rev, head, "seed {seed}");
        // Every entry of the log leads from a valid tree to a valid tree.
        for entry in device.changes(head - u64::from(any)).await.commits {
            for node in entry.nodes {
                replica.insert(*node.id, node);
            }
        }
        let live = |node: &&Node| node.live;
        assert_eq!(
            replica.values().filter(live).count(),
            tree.values().filter(|row| row.live).count()
        );
    }
    check_equal(&device, &tree, seed).await;
    (taken, refused)
}

#[tokio::test]
async fn random_groups_agree_with_the_model() {
    let store = Store::new().await;
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..20 {
        let (more_taken, more_refused) = run(&store, seed, 60).await;
        taken += more_taken;
        refused += more_refused;
    }
    // The test is about both.
    assert!(taken > 1_000 && refused > 1_000, "{taken} taken, {refused} refused");
}
