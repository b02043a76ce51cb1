//! The drive in memory as the groups of one commit change it, filled from the database on demand.

use super::shape;
use crate::{
    db::{
        chunks::{Presence, Survey},
        log,
        nodes::{self, DIR, Node},
    },
    ids::{Id, ROOT},
    problem::Problem,
};
use protocol::wire::{Content, Op};
use rusqlite::Connection;
use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    rc::Rc,
};

/// Directories that one commit may visit to measure how deep moved trees are.
const MEASURED_DIRS: usize = 400_000;

/// A name's place: parent and name key.
pub(super) type Place = (Id, Id);

pub(super) struct View<'a> {
    pub(super) conn: &'a Connection,
    pub(super) drive: i64,
    /// The rev that this commit makes.
    pub(super) rev: u64,
    /// Now, on the age clock.
    pub(super) age: i64,
    /// No directory lies deeper than this, at least as far as accepted groups go.
    pub(super) depth_bound: usize,
    /// The same, if the group in work is accepted.
    pub(super) depth_bound_staged: usize,
    pub(super) presence: Presence,
    /// Nodes as they were before the group in work. `None`: no such node.
    before: HashMap<Id, Option<Rc<Node>>>,
    /// Who had a name before the group in work.
    names: HashMap<Place, Option<Id>>,
    /// Nodes as the group in work leaves them.
    staged: HashMap<Id, Rc<Node>>,
    /// Nodes that refused groups would have brought to life.
    refused: HashSet<Id>,
    /// Nodes that accepted groups have changed, in order, each with its row in the database.
    pub(super) changed: Vec<(Id, Option<Rc<Node>>)>,
    changed_ids: HashSet<Id>,
    /// Contents that accepted groups have published.
    pub(super) published: Vec<(Id, &'a Content)>,
    measured: usize,
}

impl<'a> View<'a> {
    pub(super) fn load(
        conn: &'a Connection,
        drive: i64,
        survey: Survey,
        age: i64,
    ) -> Result<View<'a>, Problem> {
        let (head, _) = log::bounds(conn, drive)?;
        let depth_bound: u32 = conn
            .prepare_cached("SELECT depth_bound FROM drive WHERE num = ?")?
            .query_row([drive], |row| row.get(0))?;
        Ok(View {
            conn,
            drive,
            rev: head + 1,
            age,
            depth_bound: depth_bound as usize,
            depth_bound_staged: depth_bound as usize,
            presence: Presence::new(survey),
            before: HashMap::new(),
            names: HashMap::new(),
            staged: HashMap::new(),
            refused: HashSet::new(),
            changed: Vec::new(),
            changed_ids: HashSet::new(),
            published: Vec::new(),
            measured: 0,
        })
    }

    /// The node before the group in work.
    pub(super) fn before(&mut self, id: &Id) -> Result<Option<Rc<Node>>, Problem> {
        match self.before.entry(*id) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => {
                let node = nodes::get(self.conn, self.drive, id)?.map(Rc::new);
                Ok(entry.insert(node).clone())
            }
        }
    }

    /// The node as the group in work leaves it.
    pub(super) fn after(&mut self, id: &Id) -> Result<Option<Rc<Node>>, Problem> {
        match self.staged.get(id) {
            Some(node) => Ok(Some(node.clone())),
            None => self.before(id),
        }
    }

    /// Who had the name before the group in work.
    pub(super) fn holder(&mut self, place: &Place) -> Result<Option<Id>, Problem> {
        if let Some(known) = self.names.get(place) {
            return Ok(*known);
        }
        let holder = nodes::holder(self.conn, self.drive, &place.0, &place.1)?;
        self.names.insert(*place, holder);
        Ok(holder)
    }

    pub(super) fn stage(&mut self, id: Id, node: Node) {
        self.staged.insert(id, Rc::new(node));
    }

    pub(super) fn staged(&self) -> impl Iterator<Item = (&Id, &Rc<Node>)> {
        self.staged.iter()
    }

    pub(super) fn is_staged(&self, id: &Id) -> bool {
        self.staged.contains_key(id)
    }

    pub(super) fn was_refused(&self, id: &Id) -> bool {
        self.refused.contains(id)
    }

    /// Takes over what the group in work has staged.
    pub(super) fn accept(&mut self, group: &'a [Op]) -> Result<(), Problem> {
        for op in group {
            let id = shape::id_of(op);
            let row = self.before(&id)?;
            if self.changed_ids.insert(id) {
                self.changed.push((id, row));
            }
            if let Some(content) = shape::content_of(op) {
                self.published.push((id, content));
            }
        }
        let staged = std::mem::take(&mut self.staged);
        for id in staged.keys() {
            if let Some(old) = self.before(id)?
                && old.live
            {
                self.names.insert((old.parent, old.name_key), None);
            }
        }
        for (id, node) in staged {
            if node.live {
                self.names.insert((node.parent, node.name_key), Some(id));
            }
            self.before.insert(id, Some(node));
        }
        self.depth_bound = self.depth_bound_staged;
        Ok(())
    }

    /// Forgets what the group in work has staged.
    pub(super) fn refuse(&mut self, group: &[Op]) {
        self.staged.clear();
        self.depth_bound_staged = self.depth_bound;
        for op in group {
            if matches!(op, Op::Create { .. } | Op::Restore { .. }) {
                self.refused.insert(shape::id_of(op));
            }
        }
    }

    /// The changed nodes as the accepted groups leave them, in the order of `changed`.
    pub(super) fn results(&self) -> Result<Vec<(Id, Rc<Node>)>, Problem> {
        let result = |id: &Id| self.before.get(id).cloned().flatten().map(|node| (*id, node));
        let all: Option<Vec<_>> = self.changed.iter().map(|(id, _)| result(id)).collect();
        all.ok_or_else(|| Problem::internal("commit", &"a changed node is not in the view"))
    }

    /// A live child of `dir` after the group in work, if there is one.
    pub(super) fn live_child(&mut self, dir: &Id) -> Result<Option<Id>, Problem> {
        if let Some((child, _)) = self.changed_live().find(|(_, node)| node.parent == *dir) {
            return Ok(Some(*child));
        }
        let sql = "SELECT id FROM node WHERE drive = ? AND parent = ? AND live = 1";
        let mut query = self.conn.prepare_cached(sql)?;
        let mut rows = query.query((self.drive, dir))?;
        while let Some(row) = rows.next()? {
            let id: Id = row.get(0)?;
            if !self.overridden(&id) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Whether memory knows better than the database about the node.
    fn overridden(&self, id: &Id) -> bool {
        self.staged.contains_key(id) || self.changed_ids.contains(id)
    }

    /// Live nodes among those that this commit has changed.
    fn changed_live(&self) -> impl Iterator<Item = (&Id, &Rc<Node>)> {
        let accepted = self.changed_ids.iter().filter(|id| !self.staged.contains_key(*id));
        let accepted = accepted.filter_map(|id| Some((id, self.before.get(id)?.as_ref()?)));
        self.staged.iter().chain(accepted).filter(|(_, node)| node.live)
    }

    /// Directories that this commit has changed, by where they lie now.
    fn changed_dirs(&self) -> HashMap<Id, Vec<Id>> {
        let mut by_parent: HashMap<Id, Vec<Id>> = HashMap::new();
        for (id, node) in self.changed_live().filter(|(_, node)| node.is_dir()) {
            by_parent.entry(node.parent).or_default().push(*id);
        }
        by_parent
    }

    fn child_dirs(&self, dir: &Id, changed: &HashMap<Id, Vec<Id>>) -> Result<Vec<Id>, Problem> {
        let mut found = changed.get(dir).cloned().unwrap_or_default();
        let sql = "SELECT id FROM node WHERE drive = ? AND parent = ? AND live = 1 AND kind = ?";
        let mut query = self.conn.prepare_cached(sql)?;
        let mut rows = query.query((self.drive, dir, DIR))?;
        while let Some(row) = rows.next()? {
            let id: Id = row.get(0)?;
            if !self.overridden(&id) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Levels of directories below `dir` after the group in work, but at most `enough`. `None`: this
    /// commit has measured too much already.
    pub(super) fn height(&mut self, dir: Id, enough: usize) -> Result<Option<usize>, Problem> {
        let changed = self.changed_dirs();
        let (mut level, mut height) = (vec![dir], 0);
        loop {
            let mut below = Vec::new();
            for dir in &level {
                self.measured += 1;
                if self.measured > MEASURED_DIRS {
                    return Ok(None);
                }
                below.extend(self.child_dirs(dir, &changed)?);
            }
            if below.is_empty() || height == enough {
                return Ok(Some(height));
            }
            height += 1;
            level = below;
        }
    }

    /// The directories from `dir` up to the root, `dir` first, the root not among them: after the
    /// group in work, or before it. Ends early where a node is missing, and after `most` steps.
    pub(super) fn ancestors(
        &mut self,
        dir: Id,
        after: bool,
        most: usize,
    ) -> Result<Vec<Id>, Problem> {
        let mut path = Vec::new();
        let mut at = dir;
        while at != ROOT && path.len() < most {
            path.push(at);
            let node = if after { self.after(&at)? } else { self.before(&at)? };
            let Some(node) = node else { break };
            at = node.parent;
        }
        Ok(path)
    }
}
