//! A model of the cloud store: one tree, one log, and the rules of `commit` written plainly.

use crate::oracle::{self, Oracle};
use bytes::Bytes;
use fs_core::{
    CloudError, CloudErrorKind, ContentRef, Draft, Flight, Group, GroupOutcome, Kind, Name, NodeId,
    Op, Page, RemoteCommit, RemoteNode, RequestId, Rev,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) state: RemoteNode,
    /// The content rev that `state.attrs.mtime` speaks of; the version's mtime counts otherwise.
    for_content: Rev,
}

#[derive(Clone)]
pub(crate) struct StoredVersion {
    pub(crate) bytes: Vec<u8>,
    mtime: fs_core::Timestamp,
}

#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) versions: BTreeMap<ContentRef, StoredVersion>,
    pub(crate) log: Vec<RemoteCommit>,
    /// The tree at each rev, for snapshots that are under way.
    trees: Vec<BTreeMap<NodeId, Node>>,
    outcomes: BTreeMap<RequestId, Vec<GroupOutcome>>,
    broken: Option<String>,
    /// Why nothing is taken at present.
    pub(crate) refuse: Option<CloudErrorKind>,
    pub(crate) epoch: u64,
    /// Its lives before this one and where the next one began; `None`: it tells nobody.
    pub(crate) lives: Option<Vec<(u64, Rev)>>,
    log_from: Rev,
    /// Files that some device gave out for unseen writes, or that had a further name there.
    pub(crate) wanted: BTreeSet<NodeId>,
    /// Nodes that listings leave out.
    hidden: BTreeSet<NodeId>,
}

const PAGE: usize = 3;
/// A device must never send this, so it is a failure and not a refusal.
const MISPLACED: &str = "content of another node";

impl Store {
    pub(crate) fn new() -> Store {
        Store {
            nodes: BTreeMap::new(),
            versions: BTreeMap::new(),
            log: Vec::new(),
            trees: vec![BTreeMap::new()],
            outcomes: BTreeMap::new(),
            broken: None,
            refuse: None,
            epoch: 7,
            lives: None,
            log_from: Rev(0),
            wanted: BTreeSet::new(),
            hidden: BTreeSet::new(),
        }
    }

    pub(crate) fn head(&self) -> Rev {
        Rev(self.log.len() as u64)
    }

    /// A new life begins, as it does when this is what a backup had.
    #[cfg(test)]
    pub(crate) fn come_back(&mut self, epoch: u64) {
        let head = self.head();
        self.lives.get_or_insert_default().push((self.epoch, head));
        self.epoch = epoch;
    }

    /// Up to where it is the store that a device of another epoch knows.
    pub(crate) fn common(&self, epoch: u64) -> Option<Rev> {
        let lives = self.lives.as_ref()?;
        let known = lives.iter().position(|(life, _)| *life == epoch);
        let ends = known.map(|known| lives[known..].iter().map(|(_, end)| *end));
        (epoch != self.epoch).then(|| ends.and_then(Iterator::min).unwrap_or(Rev(0)))
    }

    /// The node as a device sees it: with the mtime that counts.
    fn shown(&self, node: &Node) -> RemoteNode {
        let mut state = node.state.clone();
        if state.content_rev != Rev(0) && node.for_content != state.content_rev {
            let key = ContentRef { id: state.id, rev: state.content_rev };
            if let Some(version) = self.versions.get(&key) {
                state.attrs.mtime = version.mtime;
            }
        }
        state
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = RemoteNode> + '_ {
        self.nodes.values().filter(|node| node.state.live).map(|node| self.shown(node))
    }

    /// Leaves nodes out of listings from now on; says how many.
    #[cfg(test)]
    pub(crate) fn hide(&mut self, which: impl Fn(&RemoteNode) -> bool) -> usize {
        self.hidden = self.live().filter(which).map(|node| node.id).collect();
        self.hidden.len()
    }

    #[cfg(test)]
    pub(crate) fn show(&mut self) {
        self.hidden.clear();
    }

    /// Gives nodes of one name what a device shows when it cannot open a record; says how many.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self, name: &[u8], shown: Name) -> usize {
        let spoilt = self.nodes.values_mut().filter(|node| node.state.name.as_bytes() == name);
        spoilt.map(|node| node.state.name = shown.clone()).count()
    }

    /// Forgets what is in the trash for good.
    #[cfg(test)]
    pub(crate) fn purge(&mut self) {
        self.nodes.retain(|_, node| node.state.live);
    }

    /// The log has nothing up to `rev` any more.
    #[cfg(test)]
    pub(crate) fn forget_log(&mut self, rev: Rev) {
        self.log_from = rev;
    }

    pub(crate) fn changes(
        &self,
        since: Rev,
        limit: usize,
    ) -> Result<(Vec<RemoteCommit>, Rev), CloudError> {
        if since < self.log_from {
            return Err(CloudError::new(CloudErrorKind::Gone, "the log does not go back so far"));
        }
        let page = self.log.iter().skip(since.0 as usize).take(limit).cloned().collect();
        Ok((page, self.head()))
    }

    pub(crate) fn children(&self, dir: NodeId, after: Option<&[u8]>) -> Page {
        let shown = |node: &RemoteNode| node.parent == dir && !self.hidden.contains(&node.id);
        let nodes = self.live().filter(shown);
        self.page(nodes.map(|node| (0, node)).collect(), after)
    }

    /// Parents before children. All pages show the tree of the first one: its rev leads the cursor.
    pub(crate) fn snapshot(&self, after: Option<&[u8]>) -> Page {
        let rev = after.map_or(self.head().0, |cursor| u64::from(cursor[0]));
        let past = Store { nodes: self.trees[rev as usize].clone(), ..self.clone_tree() };
        let shown = past.live().filter(|node| !self.hidden.contains(&node.id));
        let nodes = shown.map(|node| (past.depth(node.id), node)).collect();
        let mut page = self.page(nodes, after.map(|cursor| &cursor[1..]));
        page.rev = Rev(rev);
        page.next = page.next.map(|key| [&[rev as u8], key.as_slice()].concat());
        page
    }

    /// The position of a page is a key, not a count: the tree changes between pages.
    fn page(&self, nodes: Vec<(usize, RemoteNode)>, after: Option<&[u8]>) -> Page {
        let keyed = nodes.into_iter().map(|(depth, node)| {
            let mut key = vec![depth as u8];
            key.extend_from_slice(&node.id.0);
            (key, node)
        });
        let mut keyed: Vec<_> =
            keyed.filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after)).collect();
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        let more = keyed.len() > PAGE;
        keyed.truncate(PAGE);
        let next = keyed.last().filter(|_| more).map(|(key, _)| key.clone());
        let nodes = keyed.into_iter().map(|(_, node)| node).collect();
        Page { nodes, rev: self.head(), next }
    }

    fn depth(&self, id: NodeId) -> usize {
        let mut depth = 0;
        let mut at = id;
        while at != NodeId::ROOT && depth < 1_000 {
            depth += 1;
            at = self.nodes.get(&at).map_or(NodeId::ROOT, |node| node.state.parent);
        }
        depth
    }

    pub(crate) fn fetch(&self, content: ContentRef) -> Result<Bytes, CloudError> {
        let found = self.versions.get(&content);
        found
            .map(|version| Bytes::from(version.bytes.clone()))
            .ok_or_else(|| CloudError::new(CloudErrorKind::Gone, format!("no version {content:?}")))
    }

    /// Exactly once: a known request gets its first outcome.
    pub(crate) fn commit(&mut self, flight: &Flight) -> Vec<GroupOutcome> {
        if let Some(known) = self.outcomes.get(&flight.request) {
            return known.clone();
        }
        self.watch(flight);
        let rev = Rev(self.head().0 + 1);
        let mut touched: BTreeMap<NodeId, ()> = BTreeMap::new();
        let mut outcomes = Vec::new();
        for group in &flight.groups {
            let mut trial = self.clone_tree();
            let result = trial.try_group(group, rev).and_then(|()| trial.valid_after(group));
            match result {
                Ok(()) => {
                    self.nodes = trial.nodes;
                    self.versions = trial.versions;
                    touched.extend(group.ops.iter().map(|op| (op.id(), ())));
                    outcomes.push(GroupOutcome::Done(rev));
                }
                Err(why) => {
                    if why.starts_with(MISPLACED) {
                        self.broken = Some(why);
                    }
                    let known = group.ops.iter().filter_map(|op| self.nodes.get(&op.id()));
                    let known = known.map(|node| self.shown(node)).collect();
                    outcomes.push(GroupOutcome::Conflict(known));
                }
            }
        }
        if !touched.is_empty() {
            let nodes = touched.keys().map(|id| self.shown(&self.nodes[id])).collect();
            self.log.push(RemoteCommit { rev, request: flight.request, nodes });
            self.trees.push(self.nodes.clone());
        }
        self.outcomes.insert(flight.request, outcomes.clone());
        outcomes
    }

    /// Looks at what a device sends, before it is judged.
    fn watch(&mut self, flight: &Flight) {
        if self.lives.is_some() {
            return; // what it lost is sent by every device that has it
        }
        let ops = flight.groups.iter().flat_map(|group| &group.ops);
        for (op, item) in ops.zip(&flight.items) {
            let row = &item.sent.node;
            let broken = match oracle::sent_once(op, self) {
                Err(what) => Oracle::ExactlyOnce.broken(what),
                Ok(()) if !oracle::has_cause(op, row, self) => {
                    Oracle::NoResurrection.broken(format!("nothing asks for {op:?}: {row:?}"))
                }
                Ok(()) => continue,
            };
            self.broken = self.broken.take().or(Some(broken));
        }
    }

    fn clone_tree(&self) -> Store {
        Store {
            nodes: self.nodes.clone(),
            versions: self.versions.clone(),
            log: Vec::new(),
            trees: Vec::new(),
            outcomes: BTreeMap::new(),
            broken: None,
            refuse: None,
            epoch: self.epoch,
            lives: self.lives.clone(),
            log_from: self.log_from,
            wanted: BTreeSet::new(),
            hidden: BTreeSet::new(),
        }
    }

    fn try_group(&mut self, group: &Group, rev: Rev) -> Result<(), String> {
        let before = self.nodes.clone();
        group.ops.iter().try_for_each(|op| self.try_op(op, before.get(&op.id()), rev))
    }

    /// Applies an op whose precondition holds of `known`, the node as it was before the group.
    fn try_op(&mut self, op: &Op, known: Option<&Node>, rev: Rev) -> Result<(), String> {
        match op {
            Op::Create { .. } => self.create(op, known, rev)?,
            Op::SetContent { id, base, content } => {
                let node = alive(known)?;
                if node.state.content_rev != *base {
                    return Err(format!("content rev {:?}", node.state.content_rev));
                }
                self.store(*id, rev, content)?;
                self.change(*id, |state| {
                    state.content_rev = rev;
                    state.size = content.size;
                });
            }
            Op::Move { id, base, parent, name, attrs, for_content } => {
                unmoved(alive(known)?, *base)?;
                self.place(*id, (*parent, name), rev);
                self.attrs(*id, attrs, *for_content);
            }
            Op::SetAttrs { id, base, attrs, for_content } => {
                unmoved(alive(known)?, *base)?;
                self.change(*id, |state| state.meta_rev = rev);
                self.attrs(*id, attrs, *for_content);
            }
            Op::Trash { id, meta, content } => {
                let node = alive(known)?;
                if node.state.meta_rev != *meta || node.state.content_rev != *content {
                    return Err("revs have moved on".to_string());
                }
                self.change(*id, |state| {
                    state.live = false;
                    state.meta_rev = rev;
                });
            }
            Op::Restore { id, base, parent, name, attrs, for_content } => {
                let node = known.ok_or("unknown")?;
                if node.state.live {
                    return Err("not in the trash".to_string());
                }
                unmoved(node, *base)?;
                self.change(*id, |state| state.live = true);
                self.place(*id, (*parent, name), rev);
                self.attrs(*id, attrs, *for_content);
            }
        }
        Ok(())
    }

    fn create(&mut self, op: &Op, known: Option<&Node>, rev: Rev) -> Result<(), String> {
        let Op::Create { id, parent, name, kind, attrs, content } = op else {
            return Err("not a create".to_string());
        };
        if known.is_some() {
            return Err(format!("{id:?} exists"));
        }
        let state = RemoteNode {
            id: *id,
            parent: *parent,
            name: name.clone(),
            kind: *kind,
            attrs: attrs.clone(),
            size: match kind {
                Kind::Symlink => attrs.target.len() as u64,
                _ => content.as_ref().map_or(0, |draft| draft.size),
            },
            meta_rev: rev,
            content_rev: if content.is_some() { rev } else { Rev(0) },
            live: true,
        };
        self.nodes.insert(*id, Node { state, for_content: Rev(0) });
        if let Some(draft) = content {
            self.store(*id, rev, draft)?;
        }
        Ok(())
    }

    fn change(&mut self, id: NodeId, change: impl FnOnce(&mut RemoteNode)) {
        if let Some(node) = self.nodes.get_mut(&id) {
            change(&mut node.state);
        }
    }

    fn place(&mut self, id: NodeId, (parent, name): (NodeId, &Name), rev: Rev) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.state.parent = parent;
            node.state.name = name.clone();
            node.state.meta_rev = rev;
        }
    }

    fn attrs(&mut self, id: NodeId, attrs: &fs_core::Attrs, for_content: Rev) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.state.attrs = attrs.clone();
            node.for_content = for_content;
        }
    }

    /// Content is bound to its node, as sealed content is.
    fn store(&mut self, id: NodeId, rev: Rev, draft: &Draft) -> Result<(), String> {
        if draft.bytes[..16] != id.0 {
            return Err(format!("{MISPLACED} under {id:?}"));
        }
        let mtime = draft.bytes[16..24].try_into().unwrap_or_default();
        let mtime = fs_core::Timestamp(i64::from_le_bytes(mtime));
        let bytes = draft.bytes[24..].to_vec();
        self.versions.insert(ContentRef { id, rev }, StoredVersion { bytes, mtime });
        Ok(())
    }

    /// What must hold of the tree around the nodes of a group.
    fn valid_after(&self, group: &Group) -> Result<(), String> {
        for op in &group.ops {
            let node = &self.nodes[&op.id()].state;
            let id = node.id;
            if !node.live {
                if self.live().any(|child| child.parent == id) {
                    return Err("a removed directory with live children".to_string());
                }
                continue;
            }
            self.valid_place(node)?;
        }
        Ok(())
    }

    fn valid_place(&self, node: &RemoteNode) -> Result<(), String> {
        if node.parent != NodeId::ROOT {
            let parent = alive(self.nodes.get(&node.parent))?;
            if parent.state.kind != Kind::Dir {
                return Err("the parent is no directory".to_string());
            }
        }
        let twin = self.live().find(|other| {
            other.id != node.id && other.parent == node.parent && other.name == node.name
        });
        if twin.is_some() {
            return Err(format!("name {:?} is taken", node.name));
        }
        let mut at = node.parent;
        while at != NodeId::ROOT {
            if at == node.id {
                return Err("a cycle".to_string());
            }
            at = self.nodes.get(&at).map_or(NodeId::ROOT, |node| node.state.parent);
        }
        Ok(())
    }

    /// Every rule, for every live node.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        self.live().try_for_each(|node| self.valid_place(&node))
    }
}

fn unmoved(node: &Node, base: Rev) -> Result<(), String> {
    if node.state.meta_rev == base {
        Ok(())
    } else {
        Err(format!("meta rev {:?}", node.state.meta_rev))
    }
}

fn alive(node: Option<&Node>) -> Result<&Node, String> {
    node.filter(|node| node.state.live).ok_or_else(|| "not alive".to_string())
}
