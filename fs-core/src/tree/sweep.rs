//! Forgetting nodes that nobody needs: their rows are in the local store.

use super::Tree;
use crate::Ino;
use alloc::vec::Vec;

/// Nodes that may be looked at to find idle ones, for each that came into memory or was let go.
pub(super) const CREDIT: usize = 2;
/// Nodes that one call looks at, at most.
const STEPS: usize = 4_096;

impl Tree {
    /// Forgets nodes that nobody needs, so that about `keep` idle ones stay in memory. Their rows
    /// stay in the local store. The work is paid for by what has come into memory or become idle
    /// since: [`CREDIT`] looks each.
    pub(crate) fn sweep(&mut self, keep: usize) {
        if self.inodes.len() <= keep || self.loads > 0 {
            return;
        }
        let steps = self.sweep_credit.min(STEPS);
        self.sweep_credit -= steps;
        let start = self.sweep_at;
        let batch: Vec<Ino> = self.inodes.range(start..).take(steps).map(|(ino, _)| *ino).collect();
        let wrapped = batch.len() < steps;
        let next = batch.last().map_or(Ino::NONE, |last| Ino(last.0 + 1));
        self.sweep_at = if wrapped { Ino::NONE } else { next };
        for ino in batch {
            if self.is_idle(ino) {
                let parent = self.inodes.get(&ino).map_or(Ino::NONE, |inode| inode.row.parent);
                self.unlink(ino);
                self.inodes.remove(&ino);
                if let Some(dir) = self.inodes.get_mut(&parent) {
                    dir.loaded = false;
                }
            }
        }
    }

    /// A node lost its last reference: it may be worth another look.
    pub(crate) fn may_be_idle(&mut self) {
        self.sweep_credit += CREDIT;
    }

    fn is_idle(&self, ino: Ino) -> bool {
        let Some(inode) = self.inodes.get(&ino) else { return false };
        // Whoever reads a directory goes on to its entries.
        let listed = self.inodes.get(&inode.row.parent).is_some_and(|dir| dir.opens > 0);
        ino != Ino::ROOT
            && !listed
            && inode.lookups == 0
            && inode.opens == 0
            && inode.children.is_empty()
            && inode.content.is_none()
            && inode.busy.is_empty()
            && inode.row.pending.is_none()
            && inode.row.parent != Ino::NONE
            && !inode.row.pinned
            && !inode.row.gone
            && !self.marked.contains(&ino)
            && !inode.loading
    }
}
