//! A version that the store cannot give back whole, although all of it is here.

use crate::drive::Drive;
use crate::tree::Inode;
use crate::{ContentRef, Ino, NodeId, Pending, Range, Rev};

impl Drive {
    /// Makes version `rev` of a file, all of whose bytes are clean and here, a change that is to be sent: as
    /// a new version with the same bytes. Says whether it is.
    pub(crate) fn send_again(&mut self, id: NodeId, rev: Rev) -> bool {
        let version = ContentRef { id, rev };
        let Some(inode) = self.tree.by_id(id).filter(|inode| is_whole(inode, version)) else {
            return false;
        };
        let ino = inode.row.ino;
        let row = self.pend(inode, Pending::CONTENT);
        if self.inbox.is_in_doubt() || !self.make_dirty(ino) {
            return false;
        }
        self.put(row);
        true
    }
}

/// Nothing of it is pending or under way, and nobody writes to it past us.
fn is_whole(inode: &Inode, version: ContentRef) -> bool {
    let row = &inode.row;
    let content = inode.content.as_deref();
    let is_quiet =
        inode.busy.is_empty() && inode.passed == 0 && row.parent != Ino::NONE && !row.gone;
    is_quiet
        && inode.is_file()
        && row.pending.is_none()
        && content.is_some_and(|content| !content.blind && content.dirty.is_empty())
        && (row.content_rev, row.base(content)) == (version.rev, version)
        && inode.absent(Range::new(0, row.size)).is_empty()
}
