//! What devices send: nothing twice, and nothing out of the trash without a cause.

use crate::store::Store;
use fs_core::{Kind, NodeRow, Op, Pending};

/// A node comes out of the trash only because of what was done here: it was written to, moved, given
/// another name, or something is to be in it.
pub(crate) fn has_cause(op: &Op, row: &NodeRow, store: &Store) -> bool {
    let Op::Restore { id, base, parent, .. } = op else { return true };
    let Some(trashed) = store.nodes.get(id).map(|node| &node.state) else { return true };
    let refused = trashed.live || trashed.meta_rev != *base;
    refused
        // A move that is pending now came after it was kept.
        || row.pending.has(Pending::CONTENT.with(Pending::PLACE))
        // Programs could write to it without anybody seeing that, so it counts as written to; or it
        // lives on under a further name, which nobody else may ever have heard of.
        || store.wanted.contains(id)
        || *parent != trashed.parent
        // Alone, for what was put into it.
        || trashed.kind == Kind::Dir
}

/// Whether a device makes a node that it has made before, under another request.
pub(crate) fn sent_once(op: &Op, store: &Store) -> Result<(), String> {
    match op {
        Op::Create { id, .. } if store.nodes.contains_key(id) => {
            Err(format!("{id:?} is made a second time, by another request"))
        }
        _ => Ok(()),
    }
}
