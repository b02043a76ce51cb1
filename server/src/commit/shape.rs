//! What can be said of a group without looking at the drive.

use crate::{
    db::nodes::{FILE, LAST_KIND},
    ids::{Id, ROOT},
};
use protocol::{
    limits,
    wire::{Content, Op},
};
use std::collections::HashMap;

/// The node that an operation speaks of.
pub(super) fn id_of(op: &Op) -> Id {
    match op {
        Op::Create { id, .. }
        | Op::SetContent { id, .. }
        | Op::Move { id, .. }
        | Op::SetMeta { id, .. }
        | Op::Trash { id, .. }
        | Op::Restore { id, .. } => **id,
    }
}

/// Where an operation puts its node: the parent and the key of the name.
pub(super) fn place_of(op: &Op) -> Option<(Id, Id)> {
    match op {
        Op::Create { parent, name_key, .. }
        | Op::Move { parent, name_key, .. }
        | Op::Restore { parent, name_key, .. } => Some((**parent, **name_key)),
        Op::SetContent { .. } | Op::SetMeta { .. } | Op::Trash { .. } => None,
    }
}

pub(super) fn content_of(op: &Op) -> Option<&Content> {
    match op {
        Op::Create { content, .. } => content.as_ref(),
        Op::SetContent { content, .. } => Some(content),
        _ => None,
    }
}

/// Why no store would ever take this group; `None`: it depends on the drive.
pub(super) fn fault(group: &[Op]) -> Option<String> {
    if group.is_empty() {
        return Some("a group must have an operation".to_owned());
    }
    let mut seen: HashMap<Id, Facets> = HashMap::new();
    for op in group {
        if let Some(fault) = fault_of(op) {
            return Some(fault);
        }
        if !seen.entry(id_of(op)).or_default().add(op) {
            return Some("two operations of one group speak of the same side of a node".to_owned());
        }
    }
    None
}

/// The sides of a node that one group changes; each at most once.
#[derive(Default)]
struct Facets {
    meta: bool,
    content: bool,
    gone: bool,
}

impl Facets {
    fn add(&mut self, op: &Op) -> bool {
        let again = match op {
            Op::SetContent { .. } => std::mem::replace(&mut self.content, true),
            _ => std::mem::replace(&mut self.meta, true),
        };
        self.gone |= matches!(op, Op::Trash { .. });
        let lost = self.gone && self.content;
        !again && !lost
    }
}

fn fault_of(op: &Op) -> Option<String> {
    let id = id_of(op);
    if id == ROOT {
        return Some("the root directory is never named by an operation".to_owned());
    }
    if place_of(op).is_some_and(|(parent, _)| parent == id) {
        return Some("a node cannot lie in itself".to_owned());
    }
    if let Op::Create { kind, content, .. } = op {
        if *kind > LAST_KIND {
            return Some(format!("there is no kind {kind}"));
        }
        if *kind != FILE && content.is_some() {
            return Some("only files have content".to_owned());
        }
    }
    let (name, meta) = match op {
        Op::Create { name, meta, .. }
        | Op::Move { name, meta, .. }
        | Op::Restore { name, meta, .. } => (name.len(), meta.len()),
        Op::SetMeta { meta, .. } => (0, meta.len()),
        Op::SetContent { .. } | Op::Trash { .. } => (0, 0),
    };
    let content = content_of(op);
    let head = content.map_or(0, |content| content.head.len());
    let body = content.map_or(0, |content| content.body.len());
    let refs = content.map_or(0, |content| content.refs.len());
    [
        ("name", name, limits::SEALED_NAME_BYTES),
        ("attributes", meta, limits::SEALED_META_BYTES),
        ("head of the content", head, limits::SEALED_HEAD_BYTES),
        ("body of the content", body, limits::SEALED_BODY_BYTES),
        ("list of chunks", refs, limits::REFS_PER_BODY),
    ]
    .into_iter()
    .find(|(_, len, max)| len > max)
    .map(|(what, len, max)| format!("the {what} has {len}, at most {max} are allowed"))
}
