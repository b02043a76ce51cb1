//! Files that stay in memory only because the kernel refers to them: it keeps every name that was ever
//! looked at for as long as it has memory itself. Above a number it is asked to let the oldest go.

use crate::drive::Drive;
use crate::tree::Tree;
use crate::{Ino, Stale};
use alloc::collections::{BTreeSet, VecDeque};

/// Files that are looked at to find some to let go, for each event.
const STEPS: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Held {
    /// In the order in which the kernel took them. What it has let go meanwhile is skipped.
    order: VecDeque<Ino>,
    /// Files that the kernel refers to.
    count: usize,
    /// Those of them that it was asked to let go. One that is in use stays here.
    asked: BTreeSet<Ino>,
}

impl Held {
    /// The kernel refers to a file for the first time.
    pub(crate) fn take(&mut self, ino: Ino) {
        self.order.push_back(ino);
        self.count += 1;
    }

    /// It no longer does.
    pub(crate) fn release(&mut self, ino: Ino) {
        self.count = self.count.saturating_sub(1);
        self.asked.remove(&ino);
    }

    fn excess(&self, keep: usize) -> bool {
        self.count.saturating_sub(self.asked.len()) > keep
    }

    /// The order holds what was let go, and what came back twice: not more of that than of the rest.
    fn tidy(&mut self, tree: &Tree, keep: usize) {
        if self.order.len() <= 2 * (self.count + keep) {
            return;
        }
        let mut seen = BTreeSet::new();
        let is_held = |ino: &Ino| tree.get(*ino).is_some_and(|inode| inode.lookups > 0);
        self.order.retain(|ino| is_held(ino) && seen.insert(*ino));
    }
}

impl Drive {
    /// Asks the kernel to let go of files beyond those that may stay.
    pub(crate) fn let_go(&mut self) {
        let keep = self.limits.held_nodes;
        self.held.tidy(&self.tree, keep);
        for _ in 0..STEPS {
            if !self.held.excess(keep) {
                return;
            }
            let Some(ino) = self.held.order.pop_front() else { return };
            let Some(inode) = self.tree.get(ino) else { continue };
            if inode.lookups == 0 || self.held.asked.contains(&ino) {
                continue;
            }
            // What has content here, or something to send, would stay in memory all the same.
            let is_used = inode.opens > 0
                || inode.content.is_some()
                || !inode.busy.is_empty()
                || !inode.row.pending.is_none()
                || inode.row.parent == Ino::NONE;
            if is_used {
                self.held.order.push_back(ino);
                continue;
            }
            let (parent, name) = (inode.row.parent, inode.row.name.clone());
            self.held.asked.insert(ino);
            self.invalidate(Stale::Entry { parent, name });
        }
    }
}
