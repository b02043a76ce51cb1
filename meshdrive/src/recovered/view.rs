//! What of a drive is not in the cloud, by the rows that its local state has.

use super::notes::{self, Note};
use crate::render::text;
use cache::LocalStore;
use fs_core::{ContentRow, Ino, Kind, Loaded, NodeId, NodeRow, Pending};
use protocol::control::PathText;
use std::collections::BTreeMap;

/// The deepest chain of folders that is followed; the drive's own limit is 256.
const DEPTH_MAX: usize = 4_096;

#[derive(Default)]
pub(super) struct View {
    nodes: BTreeMap<Ino, Loaded>,
    inos: BTreeMap<NodeId, Ino>,
}

/// One change that is not in the cloud.
pub(super) enum Change<'a> {
    /// A new node, or a file with new content. `place`: the names of its path; `None`: it has none.
    Node {
        node: &'a NodeRow,
        content: Option<&'a ContentRow>,
        place: Option<Vec<&'a [u8]>>,
    },
    /// One more name of a node.
    Name {
        node: &'a NodeRow,
        target: Option<Ino>,
    },
    Note(Note),
}

impl View {
    pub(super) fn read(local: &dyn LocalStore) -> Result<View, cache::Error> {
        let mut view = View::default();
        view.add(local.recover()?.rows);
        // Where things were, and what further names name.
        let lacking: Vec<NodeId> = view
            .pending()
            .flat_map(|node| {
                let origin = node.origin.as_ref().map(|origin| origin.parent);
                [origin, node.link_target()].into_iter().flatten()
            })
            .filter(|id| !view.inos.contains_key(id))
            .collect();
        if !lacking.is_empty() {
            view.add(local.load_ids(&lacking)?);
        }
        Ok(view)
    }

    fn add(&mut self, rows: Vec<Loaded>) {
        for loaded in rows {
            self.inos.insert(loaded.node.id, loaded.node.ino);
            self.nodes.insert(loaded.node.ino, loaded);
        }
    }

    fn pending(&self) -> impl Iterator<Item = &NodeRow> {
        let rows = self.nodes.values().map(|loaded| &loaded.node);
        rows.filter(|node| !node.pending.is_none() && !node.gone)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending().next().is_none()
    }

    /// All changes; further names after what they name.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        let (names, nodes): (Vec<&NodeRow>, Vec<&NodeRow>) =
            self.pending().partition(|node| node.kind == Kind::Link);
        nodes.into_iter().chain(names).flat_map(|node| self.of(node))
    }

    fn of<'a>(&'a self, node: &'a NodeRow) -> Vec<Change<'a>> {
        let pending = node.pending;
        let shown = || self.shown_path(node);
        if pending.has(Pending::TRASH) {
            return vec![Change::Note(Note::Removed(self.origin_path(node)))];
        }
        let is_new = pending.has(Pending::CREATE);
        if is_new && node.kind == Kind::Link {
            let target = node.link_target().and_then(|id| self.inos.get(&id).copied());
            return vec![Change::Name { node, target }];
        }
        let mut changes = Vec::new();
        if is_new || node.kind == Kind::File && pending.has(Pending::CONTENT) {
            let content = self.nodes.get(&node.ino).and_then(|loaded| loaded.content.as_ref());
            changes.push(Change::Node { node, content, place: self.place(node) });
        }
        if is_new {
            return changes;
        }
        if pending.has(Pending::RESTORE) {
            changes.push(Change::Note(Note::Revived(shown())));
        }
        if pending.has(Pending::PLACE) {
            changes.push(Change::Note(Note::Moved(self.origin_path(node), shown())));
        }
        if pending.has(Pending::ATTRS)
            && let Some(origin) = &node.origin
        {
            let what = notes::differences(&origin.attrs, &node.attrs);
            changes.push(Change::Note(Note::Attributes(shown(), what)));
        }
        changes
    }

    /// The names from the root down to a node; `None` when it has no place in the tree.
    pub(super) fn place<'a>(&'a self, node: &'a NodeRow) -> Option<Vec<&'a [u8]>> {
        let mut names = Vec::new();
        let mut at = node;
        while at.ino != Ino::ROOT {
            if names.len() >= DEPTH_MAX {
                return None;
            }
            names.push(at.name.as_bytes());
            at = &self.nodes.get(&at.parent)?.node;
        }
        names.reverse();
        Some(names)
    }

    /// The path of a node as the drive shows it, for people.
    pub(super) fn shown_path(&self, node: &NodeRow) -> String {
        let path =
            self.place(node).map_or_else(|| node.name.as_bytes().to_vec(), |at| at.join(&b'/'));
        text::path(&PathText::from_bytes(path))
    }

    pub(super) fn node(&self, ino: Ino) -> Option<&NodeRow> {
        self.nodes.get(&ino).map(|loaded| &loaded.node)
    }

    /// Where the cloud has a node, for people.
    fn origin_path(&self, node: &NodeRow) -> String {
        let mut names = Vec::new();
        let mut at = node;
        while at.ino != Ino::ROOT && names.len() < DEPTH_MAX {
            let above = match &at.origin {
                Some(origin) => {
                    names.push(origin.name.as_bytes());
                    self.inos.get(&origin.parent)
                }
                None => {
                    names.push(at.name.as_bytes());
                    Some(&at.parent)
                }
            };
            match above.and_then(|ino| self.nodes.get(ino)) {
                Some(above) => at = &above.node,
                None => break, // as far as is known
            }
        }
        names.reverse();
        text::path(&PathText::from_bytes(names.join(&b'/')))
    }
}
