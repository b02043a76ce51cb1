//! Whether a group may take effect: each operation against the state before the group, the tree
//! against the rules at its end.

use super::{
    shape::{content_of, fault, id_of, place_of},
    view::{Place, View},
};
use crate::{
    db::nodes::{self, DIR, FILE, Node},
    ids::{Id, ROOT},
    problem::Problem,
};
use protocol::{
    limits::TREE_DEPTH,
    wire::{Op, Outcome},
};
use serde_bytes::ByteArray;
use std::collections::HashMap;

pub(super) enum Verdict {
    Taken,
    Refused(Outcome),
}

/// What is wrong with one operation.
enum Failure {
    /// It needs a node that a refused group would have brought to life.
    Depends,
    /// The drive has moved on; another node that has to do with it.
    Conflict(Option<Id>),
    Invalid(&'static str),
}

type Checked = Result<Result<(), Failure>, Problem>;

/// Nodes whose states one conflict carries at most.
const CONFLICT_NODES: usize = 1_000;

/// Checks a group and, if it may take effect, leaves its result staged.
pub(super) fn group(view: &mut View<'_>, ops: &[Op]) -> Result<Verdict, Problem> {
    if let Some(why) = fault(ops) {
        return Ok(Verdict::Refused(Outcome::Invalid { why }));
    }
    let mut report = Report::default();
    for op in ops {
        report.note(op, stage(view, op)?);
    }
    if report.failures == 0 {
        let places = places(view);
        for op in ops {
            report.note(op, at_end(view, op, &places)?);
        }
    }
    if report.failures > 0 {
        return report.refuse(view).map(Verdict::Refused);
    }
    let refs = ops.iter().filter_map(content_of).flat_map(|content| &content.refs);
    let missing = view.presence.missing(view.conn, view.drive, refs.map(|id| **id))?;
    if missing.is_empty() {
        return Ok(Verdict::Taken);
    }
    let chunks = missing.into_iter().map(ByteArray::new).collect();
    Ok(Verdict::Refused(Outcome::ChunksMissing { chunks }))
}

/// Failures of a group, gathered into its one outcome.
#[derive(Default)]
struct Report {
    failures: usize,
    depends: usize,
    invalid: Option<&'static str>,
    /// Ids and places whose states the conflict carries.
    ids: Vec<Id>,
    places: Vec<Place>,
}

impl Report {
    fn note(&mut self, op: &Op, checked: Result<(), Failure>) {
        let Err(failure) = checked else { return };
        self.failures += 1;
        match failure {
            Failure::Depends => self.depends += 1,
            Failure::Invalid(why) => self.invalid = self.invalid.or(Some(why)),
            Failure::Conflict(other) => self.ids.extend(other),
        }
        self.ids.push(id_of(op));
        if let Some(place) = place_of(op) {
            self.ids.push(place.0);
            self.places.push(place);
        }
    }

    fn refuse(mut self, view: &mut View<'_>) -> Result<Outcome, Problem> {
        if let Some(why) = self.invalid {
            return Ok(Outcome::Invalid { why: why.to_owned() });
        }
        if self.depends == self.failures {
            return Ok(Outcome::Dependent);
        }
        for place in &self.places {
            self.ids.extend(view.holder(place)?);
        }
        self.ids.sort_unstable();
        self.ids.dedup();
        let mut nodes = Vec::new();
        for id in self.ids.iter().take(CONFLICT_NODES) {
            if let Some(node) = view.before(id)? {
                nodes.push(node.to_wire(*id));
            }
        }
        Ok(Outcome::Conflict { nodes })
    }
}

const CONFLICT: Failure = Failure::Conflict(None);

/// Checks the precondition of one operation against the state before the group, and stages what it
/// makes of its node.
fn stage(view: &mut View<'_>, op: &Op) -> Checked {
    let id = id_of(op);
    let before = view.before(&id)?;
    if let Op::Create { .. } = op {
        if before.is_some() || nodes::is_purged(view.conn, view.drive, &id)? {
            return Ok(Err(CONFLICT));
        }
        view.stage(id, created(op, view.rev));
        return Ok(Ok(()));
    }
    let Some(before) = before else { return Ok(Err(absent(view, &id))) };
    if let Err(failure) = precondition(op, &before, view.rev) {
        let depends = !before.live && view.was_refused(&id);
        return Ok(Err(if depends { Failure::Depends } else { failure }));
    }
    let now = view.after(&id)?.unwrap_or(before);
    let node = changed(op, &now, view.rev);
    view.stage(id, node);
    Ok(Ok(()))
}

fn absent(view: &View<'_>, id: &Id) -> Failure {
    if view.was_refused(id) { Failure::Depends } else { CONFLICT }
}

fn precondition(op: &Op, before: &Node, rev: u64) -> Result<(), Failure> {
    let holds = match op {
        Op::Create { .. } => false,
        Op::SetContent { .. } if before.kind != FILE => {
            return Err(Failure::Invalid("only files have content"));
        }
        Op::SetContent { .. } if before.content_rev == rev => {
            return Err(Failure::Invalid("one commit gives a file one content"));
        }
        // That it is live is asked at the end of the group, which may restore it.
        Op::SetContent { base, .. } => *base == before.content_rev,
        Op::Move { base, .. } | Op::SetMeta { base, .. } => before.live && *base == before.meta_rev,
        Op::Trash { meta, content, .. } => {
            before.live && *meta == before.meta_rev && *content == before.content_rev
        }
        Op::Restore { base, .. } => !before.live && *base == before.meta_rev,
    };
    if holds { Ok(()) } else { Err(CONFLICT) }
}

fn created(op: &Op, rev: u64) -> Node {
    let mut node = Node {
        parent: ROOT,
        name_key: ROOT,
        name: Vec::new(),
        kind: FILE,
        meta: Vec::new(),
        head: None,
        meta_rev: rev,
        content_rev: 0,
        live: true,
    };
    if let Op::Create { parent, name_key, name, kind, meta, content, .. } = op {
        (node.parent, node.name_key, node.kind) = (**parent, **name_key, *kind);
        (node.name, node.meta) = (name.to_vec(), meta.to_vec());
        if let Some(content) = content {
            (node.head, node.content_rev) = (Some(content.head.to_vec()), rev);
        }
    }
    node
}

fn changed(op: &Op, now: &Node, rev: u64) -> Node {
    let mut node = now.clone();
    match op {
        Op::SetContent { content, .. } => {
            (node.head, node.content_rev) = (Some(content.head.to_vec()), rev);
            return node;
        }
        Op::Move { parent, name_key, name, meta, .. }
        | Op::Restore { parent, name_key, name, meta, .. } => {
            (node.parent, node.name_key) = (**parent, **name_key);
            (node.name, node.meta) = (name.to_vec(), meta.to_vec());
            node.live = true;
        }
        Op::SetMeta { meta, .. } => node.meta = meta.to_vec(),
        Op::Trash { .. } => node.live = false,
        Op::Create { .. } => {}
    }
    node.meta_rev = rev;
    node
}

/// Which staged nodes want each place.
fn places(view: &View<'_>) -> HashMap<Place, usize> {
    let mut wanted = HashMap::new();
    for (_, node) in view.staged().filter(|(_, node)| node.live) {
        *wanted.entry((node.parent, node.name_key)).or_insert(0) += 1;
    }
    wanted
}

/// Checks what the rules of the tree ask of one operation at the end of its group.
fn at_end(view: &mut View<'_>, op: &Op, places: &HashMap<Place, usize>) -> Checked {
    let id = id_of(op);
    match op {
        Op::Trash { .. } => {
            let node = view.after(&id)?;
            if !node.is_some_and(|node| node.is_dir()) {
                return Ok(Ok(()));
            }
            let child = view.live_child(&id)?;
            Ok(if child.is_some() { Err(Failure::Conflict(child)) } else { Ok(()) })
        }
        Op::SetContent { .. } | Op::SetMeta { .. } => {
            let live = view.after(&id)?.is_some_and(|node| node.live);
            Ok(if live { Ok(()) } else { Err(absent(view, &id)) })
        }
        Op::Create { .. } | Op::Move { .. } | Op::Restore { .. } => placed(view, op, places),
    }
}

fn placed(view: &mut View<'_>, op: &Op, places: &HashMap<Place, usize>) -> Checked {
    let id = id_of(op);
    let Some(place) = place_of(op) else { return Ok(Ok(())) };
    if place.0 != ROOT {
        match view.after(&place.0)? {
            Some(parent) if parent.live && parent.is_dir() => {}
            Some(parent) if parent.live => return Ok(Err(CONFLICT)),
            _ => return Ok(Err(absent(view, &place.0))),
        }
    }
    if places.get(&place).is_some_and(|wanted| *wanted > 1) {
        return Ok(Err(Failure::Invalid("two nodes of one group want the same name")));
    }
    if let Some(holder) = view.holder(&place)?
        && holder != id
        && !view.is_staged(&holder)
    {
        return Ok(Err(Failure::Conflict(Some(holder))));
    }
    let is_dir = view.after(&id)?.is_some_and(|node| node.kind == DIR);
    if is_dir { depth(view, op, place.0) } else { Ok(Ok(())) }
}

const TOO_DEEP: Failure = Failure::Invalid("directories would lie more than 256 deep");

/// Checks that a directory placed in `parent` makes no circle and nothing too deep.
fn depth(view: &mut View<'_>, op: &Op, parent: Id) -> Checked {
    let id = id_of(op);
    let above = view.ancestors(parent, true, TREE_DEPTH + 1)?;
    if above.contains(&id) {
        return Ok(Err(Failure::Conflict(Some(parent))));
    }
    let new = above.len() + 1;
    if new > TREE_DEPTH {
        // More levels than there can be: too deep, or a circle further up, which conflicts.
        let circle = above.iter().collect::<std::collections::HashSet<_>>().len() < above.len();
        return Ok(Err(if circle { CONFLICT } else { TOO_DEEP }));
    }
    let mut deepest = new;
    if let Op::Move { .. } = op {
        let old = view.ancestors(id, false, TREE_DEPTH + 1)?.len();
        if new > old {
            deepest = match deepest_of_moved(view, id, old, new)? {
                Some(deepest) => deepest,
                None => {
                    return Ok(Err(Failure::Invalid("more is moved at once than can be measured")));
                }
            };
        }
    }
    if deepest > TREE_DEPTH {
        return Ok(Err(TOO_DEEP));
    }
    view.depth_bound_staged = view.depth_bound_staged.max(deepest);
    Ok(Ok(()))
}

/// How deep the deepest directory in a moved tree can lie then. The bound on the whole drive mostly
/// answers that; only if it does not is the tree measured.
fn deepest_of_moved(
    view: &mut View<'_>,
    id: Id,
    old: usize,
    new: usize,
) -> Result<Option<usize>, Problem> {
    let bound = new + view.depth_bound.saturating_sub(old);
    if bound <= TREE_DEPTH {
        return Ok(Some(bound));
    }
    Ok(view.height(id, TREE_DEPTH)?.map(|height| new + height))
}
