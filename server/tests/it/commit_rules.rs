//! Each rule of the commit, one by one.

use crate::client::*;
use protocol::wire::*;
use serde_bytes::ByteArray;

/// A drive with `d/` holding `f`, an empty `e/`, a file `g`, and `t` in the trash.
struct Scene {
    _store: Store,
    device: Device,
    d: Raw,
    f: Raw,
    e: Raw,
    g: Raw,
    t: Raw,
}

/// Revs of the scene: all was made at 1, `t` was trashed at 2.
const MADE: u64 = 1;
const TRASHED: u64 = 2;

async fn scene() -> Scene {
    let store = Store::new().await;
    let device = store.device().await;
    let [d, f, e, g, t] = std::array::from_fn(|_| fresh());
    device
        .done(vec![
            dir(d, ROOT, "d"),
            file(f, d, "f"),
            dir(e, ROOT, "e"),
            file(g, ROOT, "g"),
            file(t, ROOT, "t"),
        ])
        .await;
    device.done(vec![trash(t, MADE, MADE)]).await;
    Scene { _store: store, device, d, f, e, g, t }
}

enum Expect {
    Done,
    /// With exactly these nodes.
    Conflict(Vec<Raw>),
    Invalid(&'static str),
    Missing,
}
use Expect::{Conflict, Done, Invalid, Missing};

/// The one outcome of each group, each on a scene of its own.
#[tokio::test]
#[allow(clippy::too_many_lines)]
async fn table() {
    type Case = (&'static str, fn(&Scene) -> Vec<Op>, fn(&Scene) -> Expect);
    let cases: Vec<Case> = vec![
        ("create", |s| vec![file(fresh(), s.d, "x")], |_| Done),
        ("create: id in use", |s| vec![file(s.g, s.d, "x")], |s| Conflict(vec![s.g, s.d])),
        ("create: id in the trash", |s| vec![file(s.t, ROOT, "x")], |s| Conflict(vec![s.t])),
        ("create: name taken", |s| vec![file(fresh(), s.d, "f")], |s| Conflict(vec![s.d, s.f])),
        ("create: the name is in the trash", |_| vec![file(fresh(), ROOT, "t")], |_| Done),
        ("create: no such parent", |_| vec![file(fresh(), [9; 16], "x")], |_| Conflict(vec![])),
        ("create: parent is a file", |s| vec![file(fresh(), s.g, "x")], |s| Conflict(vec![s.g])),
        ("create: parent in the trash", |s| vec![file(fresh(), s.t, "x")], |s| Conflict(vec![s.t])),
        ("create: root", |_| vec![dir(ROOT, ROOT, "x")], |_| Invalid("root")),
        ("create: in itself", |_| vec![dir([9; 16], [9; 16], "x")], |_| Invalid("itself")),
        ("create: kind", |_| vec![create(fresh(), ROOT, "x", 8, None)], |_| Invalid("kind")),
        (
            "create: a directory with content",
            |_| vec![create(fresh(), ROOT, "x", 1, Some(content("x")))],
            |_| Invalid("content"),
        ),
        ("create: an empty file", |_| vec![create(fresh(), ROOT, "x", 0, None)], |_| Done),
        ("create: a device", |_| vec![create(fresh(), ROOT, "x", 6, None)], |_| Done),
        (
            "create: child before parent in one group",
            |_| {
                let parent = fresh();
                vec![file(fresh(), parent, "y"), dir(parent, ROOT, "x")]
            },
            |_| Done,
        ),
        (
            "create: one name twice in a group",
            |_| vec![file(fresh(), ROOT, "x"), file(fresh(), ROOT, "x")],
            |_| Invalid("same name"),
        ),
        ("content", |s| vec![set_content(s.f, MADE, "new")], |_| Done),
        ("content: old base", |s| vec![set_content(s.f, 0, "new")], |s| Conflict(vec![s.f])),
        ("content: base to come", |s| vec![set_content(s.f, 9, "new")], |s| Conflict(vec![s.f])),
        ("content: no such node", |_| vec![set_content([9; 16], 1, "")], |_| Conflict(vec![])),
        ("content: trash", |s| vec![set_content(s.t, MADE, "")], |s| Conflict(vec![s.t])),
        ("content: directory", |s| vec![set_content(s.d, 0, "")], |_| Invalid("content")),
        (
            "content: unknown chunk",
            |s| {
                let refs = vec![ByteArray::new([1; 32])];
                let content = Content { refs, ..content("x") };
                vec![Op::SetContent { id: ByteArray::new(s.f), base: MADE, content }]
            },
            |_| Missing,
        ),
        ("meta", |s| vec![set_meta(s.d, MADE)], |_| Done),
        ("meta: old base", |s| vec![set_meta(s.d, 0)], |s| Conflict(vec![s.d])),
        ("meta: trash", |s| vec![set_meta(s.t, TRASHED)], |s| Conflict(vec![s.t])),
        ("meta: root", |_| vec![set_meta(ROOT, 0)], |_| Invalid("root")),
        ("move", |s| vec![move_to(s.g, MADE, s.d, "g")], |_| Done),
        ("move: rename", |s| vec![move_to(s.g, MADE, ROOT, "h")], |_| Done),
        ("move: onto itself", |s| vec![move_to(s.g, MADE, ROOT, "g")], |_| Done),
        ("move: old base", |s| vec![move_to(s.g, 0, s.d, "g")], |s| Conflict(vec![s.g, s.d])),
        ("move: taken", |s| vec![move_to(s.g, MADE, s.d, "f")], |s| Conflict(vec![s.g, s.d, s.f])),
        ("move: into a file", |s| vec![move_to(s.f, MADE, s.g, "f")], |s| Conflict(vec![s.f, s.g])),
        ("move: nowhere", |s| vec![move_to(s.f, MADE, [9; 16], "f")], |s| Conflict(vec![s.f])),
        ("move: trash", |s| vec![move_to(s.t, TRASHED, ROOT, "x")], |s| Conflict(vec![s.t])),
        ("move: into itself", |s| vec![move_to(s.d, MADE, s.d, "d")], |_| Invalid("itself")),
        (
            "move: into a directory of its own that is new",
            |s| {
                let inner = fresh();
                vec![dir(inner, s.d, "i"), move_to(s.d, MADE, inner, "d")]
            },
            |s| Conflict(vec![s.d]),
        ),
        (
            "move: round in a circle",
            |s| vec![move_to(s.d, MADE, s.e, "d"), move_to(s.e, MADE, s.d, "e")],
            |s| Conflict(vec![s.d, s.e]),
        ),
        (
            "move: two names swapped",
            |s| vec![move_to(s.d, MADE, ROOT, "e"), move_to(s.e, MADE, ROOT, "d")],
            |_| Done,
        ),
        ("trash", |s| vec![trash(s.g, MADE, MADE)], |_| Done),
        ("trash: empty directory", |s| vec![trash(s.e, MADE, 0)], |_| Done),
        ("trash: not empty", |s| vec![trash(s.d, MADE, 0)], |s| Conflict(vec![s.d, s.f])),
        ("trash: old meta", |s| vec![trash(s.g, 0, MADE)], |s| Conflict(vec![s.g])),
        ("trash: old content", |s| vec![trash(s.g, MADE, 0)], |s| Conflict(vec![s.g])),
        ("trash: twice", |s| vec![trash(s.t, TRASHED, MADE)], |s| Conflict(vec![s.t])),
        (
            "trash: directory with its child, in this order",
            |s| vec![trash(s.d, MADE, 0), trash(s.f, MADE, MADE)],
            |_| Done,
        ),
        (
            "trash: directory whose child moves out",
            |s| vec![trash(s.d, MADE, 0), move_to(s.f, MADE, ROOT, "f")],
            |_| Done,
        ),
        (
            "trash: directory into which a file moves",
            |s| vec![trash(s.e, MADE, 0), move_to(s.g, MADE, s.e, "g")],
            |s| Conflict(vec![s.e, s.g]),
        ),
        (
            "replace: trash one, move another to its name",
            |s| vec![move_to(s.f, MADE, ROOT, "g"), trash(s.g, MADE, MADE)],
            |_| Done,
        ),
        ("restore", |s| vec![restore(s.t, TRASHED, s.d, "t")], |_| Done),
        ("restore: old base", |s| vec![restore(s.t, MADE, ROOT, "t")], |s| Conflict(vec![s.t])),
        ("restore: live", |s| vec![restore(s.g, MADE, ROOT, "x")], |s| Conflict(vec![s.g])),
        (
            "restore: name taken",
            |s| vec![restore(s.t, TRASHED, ROOT, "g")],
            |s| Conflict(vec![s.t, s.g]),
        ),
        (
            "restore and new content",
            |s| vec![restore(s.t, TRASHED, ROOT, "t"), set_content(s.t, MADE, "new")],
            |_| Done,
        ),
        (
            "move and new content",
            |s| vec![set_content(s.f, MADE, "new"), move_to(s.f, MADE, ROOT, "f")],
            |_| Done,
        ),
        (
            "meta twice",
            |s| vec![set_meta(s.f, MADE), move_to(s.f, MADE, ROOT, "f")],
            |_| Invalid("same side"),
        ),
        (
            "trash and new content",
            |s| vec![trash(s.f, MADE, MADE), set_content(s.f, MADE, "")],
            |_| Invalid("same side"),
        ),
        ("nothing", |_| vec![], |_| Invalid("operation")),
        (
            "one bad op spoils its group",
            |s| vec![file(fresh(), ROOT, "x"), set_meta(s.d, 0)],
            |s| Conflict(vec![s.d]),
        ),
    ];
    for (name, ops, expect) in cases {
        let scene = scene().await;
        let before = scene.device.snapshot(100).await;
        let ops = ops(&scene);
        let named: Vec<Raw> = ops.iter().map(op_id).collect();
        let reply = scene.device.commit(vec![ops]).await;
        let [outcome] = &reply.outcomes[..] else { panic!("{name}: {reply:?}") };
        match (expect(&scene), outcome) {
            (Done, Outcome::Done { rev: 3 }) => {
                let log = scene.device.changes(2).await;
                let touched: Vec<Raw> = log.commits[0].nodes.iter().map(|node| *node.id).collect();
                assert!(named.iter().all(|id| touched.contains(id)), "{name}");
            }
            (Conflict(mut ids), Outcome::Conflict { nodes }) => {
                let mut got: Vec<Raw> = nodes.iter().map(|node| *node.id).collect();
                got.sort_unstable();
                ids.sort_unstable();
                assert_eq!(got, ids, "{name}");
            }
            (Invalid(word), Outcome::Invalid { why }) => {
                assert!(why.contains(word), "{name}: {why}");
            }
            (Missing, Outcome::ChunksMissing { chunks }) => assert_eq!(chunks.len(), 1),
            (_, got) => panic!("{name}: {got:?}"),
        }
        if !matches!(outcome, Outcome::Done { .. }) {
            assert_eq!(reply.rev, 2, "{name}");
            assert_eq!(scene.device.snapshot(100).await, before, "{name}");
        }
    }
}

fn op_id(op: &Op) -> Raw {
    match op {
        Op::Create { id, .. }
        | Op::SetContent { id, .. }
        | Op::Move { id, .. }
        | Op::SetMeta { id, .. }
        | Op::Trash { id, .. }
        | Op::Restore { id, .. } => **id,
    }
}

#[tokio::test]
async fn revs_of_facets() {
    let scene = scene().await;
    let device = &scene.device;
    let state = async |id: Raw| {
        let changes = device.changes(device.head().await - 1).await;
        let node = changes.commits[0].nodes.iter().find(|node| *node.id == id).unwrap().clone();
        (node.meta_rev, node.content_rev, node.live)
    };
    device.done(vec![set_content(scene.f, 1, "new")]).await;
    assert_eq!(state(scene.f).await, (1, 3, true));
    device.done(vec![set_meta(scene.f, 1)]).await;
    assert_eq!(state(scene.f).await, (4, 3, true));
    device.done(vec![move_to(scene.f, 4, ROOT, "f2")]).await;
    assert_eq!(state(scene.f).await, (5, 3, true));
    device.done(vec![trash(scene.f, 5, 3)]).await;
    assert_eq!(state(scene.f).await, (6, 3, false));
    device.done(vec![restore(scene.f, 6, scene.d, "f")]).await;
    assert_eq!(state(scene.f).await, (7, 3, true));
    device.done(vec![create(fresh(), ROOT, "empty", 0, None)]).await;
}

#[tokio::test]
async fn groups_see_the_groups_before_them() {
    let scene = scene().await;
    let (x, y) = (fresh(), fresh());
    let reply = scene
        .device
        .commit(vec![
            vec![dir(x, ROOT, "x")],
            vec![file(y, x, "y")],
            // Taken by the group before.
            vec![file(fresh(), x, "y")],
            vec![trash(scene.g, MADE, MADE)],
            // Free since the group before.
            vec![file(fresh(), ROOT, "g")],
        ])
        .await;
    let taken: Vec<bool> =
        reply.outcomes.iter().map(|outcome| matches!(outcome, Outcome::Done { rev: 3 })).collect();
    assert_eq!(taken, [true, true, false, true, true]);
    assert_eq!(reply.rev, 3);
    // The state that the conflict carries is that of this commit.
    let Outcome::Conflict { nodes } = &reply.outcomes[2] else { panic!() };
    assert!(nodes.iter().any(|node| *node.id == y && node.meta_rev == 3));
}

#[tokio::test]
async fn what_needs_a_refused_group_is_dependent() {
    let scene = scene().await;
    let (x, y) = (fresh(), fresh());
    let reply = scene
        .device
        .commit(vec![
            // The name is taken.
            vec![dir(x, ROOT, "d")],
            vec![dir(y, x, "y")],
            vec![file(fresh(), y, "z")],
            vec![set_meta(x, 3)],
            // Two faults, one of them its own.
            vec![file(fresh(), x, "q"), set_meta(scene.g, 0)],
            vec![restore(scene.t, MADE, ROOT, "t")],
            vec![set_content(scene.t, MADE, "new")],
            vec![file(fresh(), ROOT, "fine")],
        ])
        .await;
    let kinds: Vec<&str> = reply
        .outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Done { .. } => "done",
            Outcome::Conflict { .. } => "conflict",
            Outcome::Dependent => "dependent",
            Outcome::ChunksMissing { .. } => "missing",
            Outcome::Invalid { .. } => "invalid",
        })
        .collect();
    let expected = [
        "conflict",
        "dependent",
        "dependent",
        "dependent",
        "conflict",
        "conflict",
        "dependent",
        "done",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn the_same_request_is_answered_the_same() {
    let scene = scene().await;
    let commit = Commit {
        request: ByteArray::new(fresh()),
        groups: vec![vec![file(fresh(), ROOT, "x")], vec![set_meta(scene.d, 0)]],
    };
    let first = scene.device.post("/commit", &commit).await;
    scene.device.done(vec![file(fresh(), ROOT, "y")]).await;
    let again = scene.device.post("/commit", &commit).await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(scene.device.head().await, 4);
    // A refusal stays a refusal, even when it would be taken now.
    let x = fresh();
    let early =
        Commit { request: ByteArray::new(fresh()), groups: vec![vec![set_content(x, 5, "new")]] };
    let first = scene.device.post("/commit", &early).await;
    scene.device.done(vec![file(x, ROOT, "late")]).await;
    let again = scene.device.post("/commit", &early).await;
    assert_eq!(first.body, again.body);
    assert_eq!(scene.device.head().await, 5);
}

#[tokio::test]
async fn depth_is_bounded_also_by_moves() {
    let store = Store::new().await;
    let device = store.device().await;
    let chain = |name: &str, len: usize, mut parent: Raw| {
        let mut ids = Vec::new();
        let mut ops = Vec::new();
        for _ in 0..len {
            let id = fresh();
            ops.push(dir(id, parent, name));
            ids.push(id);
            parent = id;
        }
        (ids, ops)
    };
    let (long, ops) = chain("a", 256, ROOT);
    let rev = device.done(ops).await;
    // A file in the deepest directory is fine, another directory is not.
    device.done(vec![file(fresh(), long[255], "f")]).await;
    let reply = device.commit(vec![vec![dir(fresh(), long[255], "x")]]).await;
    assert!(matches!(&reply.outcomes[0], Outcome::Invalid { why } if why.contains("256")));
    let (short, ops) = chain("b", 3, ROOT);
    let short_rev = device.done(ops).await;
    let reply = device.commit(vec![vec![move_to(short[0], short_rev, long[253], "b")]]).await;
    assert!(matches!(&reply.outcomes[0], Outcome::Invalid { .. }), "{reply:?}");
    let moved = device.done(vec![move_to(short[0], short_rev, long[252], "b")]).await;
    // Its tree shrinks in the same group, so it fits one level deeper.
    device
        .done(vec![
            move_to(short[0], moved, long[253], "b"),
            move_to(short[2], short_rev, ROOT, "c"),
        ])
        .await;
    // The long chain cannot go deeper, but its tail can go anywhere.
    let reply = device.commit(vec![vec![move_to(long[0], rev, short[2], "a")]]).await;
    assert!(matches!(&reply.outcomes[0], Outcome::Invalid { .. }), "{reply:?}");
    device.done(vec![move_to(long[200], rev, ROOT, "tail")]).await;
}

#[tokio::test]
async fn a_circle_made_by_two_devices_is_a_conflict() {
    let scene = scene().await;
    scene.device.done(vec![move_to(scene.d, MADE, scene.e, "d")]).await;
    let reply = scene.device.commit(vec![vec![move_to(scene.e, MADE, scene.d, "e")]]).await;
    let Outcome::Conflict { nodes } = &reply.outcomes[0] else { panic!("{reply:?}") };
    assert_eq!(nodes.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_at_once_have_one_order() {
    let store = Store::new().await;
    let device = store.device().await;
    // All lanes want the same names, so of each name exactly one is taken.
    let lanes: Vec<_> = (0..4)
        .map(|_| {
            let device = device.clone();
            tokio::spawn(async move {
                let mut revs = Vec::new();
                for round in 0..25 {
                    let group = vec![file(fresh(), ROOT, &format!("shared{round}"))];
                    let reply = device.commit(vec![group]).await;
                    if let [Outcome::Done { rev }] = reply.outcomes[..] {
                        revs.push(rev);
                    }
                }
                revs
            })
        })
        .collect();
    let mut revs = Vec::new();
    for lane in lanes {
        revs.extend(lane.await.unwrap());
    }
    revs.sort_unstable();
    assert_eq!(revs, (1..=25).collect::<Vec<_>>());
    let log = device.changes(0).await;
    assert_eq!(log.commits.iter().map(|entry| entry.rev).collect::<Vec<_>>(), revs);
    assert_eq!(device.snapshot(100).await.0.len(), 25);
}
