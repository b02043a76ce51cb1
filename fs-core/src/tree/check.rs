//! The invariants of the nodes in memory.

use super::{Tree, Weight};
use crate::{Ino, Pending};

impl Tree {
    /// All invariants of memory; for the simulator and debug builds.
    ///
    /// # Errors
    /// The first one that does not hold, in words.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let mut weight = Weight::default();
        for (ino, inode) in &self.inodes {
            let row = &inode.row;
            let own = inode.weigh();
            weight.clean += own.clean;
            weight.dirty += own.dirty;
            if *ino != Ino::ROOT && row.parent != Ino::NONE {
                let dir = self.inodes.get(&row.parent).ok_or("a node without its parent")?;
                if dir.children.get(&row.name) != Some(ino) {
                    return Err("a node that its parent does not list");
                }
                if !dir.is_dir() {
                    return Err("a child of something that is no directory");
                }
                if self.is_endless(*ino) {
                    return Err("a cycle");
                }
            }
            if inode.links != self.links.count(row.id) && self.ids.get(&row.id) == Some(ino) {
                return Err("names are miscounted");
            }
            if self.pending.contains(ino) == row.pending.is_none() {
                return Err("the pending index is wrong");
            }
            if let Some(content) = &inode.content
                && content.dirty.iter().any(|range| content.valid.overlaps(range))
            {
                return Err("bytes both clean and dirty");
            }
            let facets = Pending::PLACE.with(Pending::ATTRS).with(Pending::TRASH);
            if row.origin.is_none() && row.pending.has(facets) && !row.pending.has(Pending::CREATE)
            {
                return Err("pending without its merge ancestor");
            }
        }
        if weight == self.weight { Ok(()) } else { Err("local bytes are miscounted") }
    }
}
