//! What is refused: tried again for a while, then shown to a person.

use crate::drive::Drive;
use crate::{
    CloudError, CloudErrorKind, FsError, GroupOutcome, Ino, Op, Pending, RemoteNode, Ticket,
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Refusals after which a node is reported as needing attention, and how often it is tried then.
const REFUSALS: u32 = 8;
/// Refusals after which a node is sent under another name.
const RENAME_AFTER: u32 = 4;
const ATTENTION_RETRY_MS: u64 = 600_000;

impl Drive {
    /// The store cannot be connected to. Once it has said that it does not know this device, that holds
    /// until it says something else.
    pub(crate) fn turned_away(&mut self, error: &CloudError) {
        let inbox = &mut self.inbox;
        if inbox.refused && matches!(error.kind, CloudErrorKind::Offline | CloudErrorKind::Retry) {
            return; // that says nothing
        }
        inbox.refused = matches!(error.kind, CloudErrorKind::Denied | CloudErrorKind::Gone);
        inbox.trouble = error.message.to_string();
    }

    /// Returns the error if it concerns the whole round.
    pub(crate) fn stage_failed(&mut self, ino: Ino, error: CloudError) -> Option<CloudError> {
        match error.kind {
            CloudErrorKind::Local
            | CloudErrorKind::Corrupt
            | CloudErrorKind::Gone
            | CloudErrorKind::Invalid => {
                self.needs_attention(ino, &error.message);
                None
            }
            _ => Some(error),
        }
    }

    pub(crate) fn needs_attention(&mut self, ino: Ino, why: &str) {
        let path = String::from_utf8_lossy(&self.tree.path(ino)).to_string();
        self.note(format!("{path}: not sent: {why}"));
        self.uploads.attention.insert(ino, why.to_string());
        self.uploads.defer(ino, self.now.mono.plus_millis(ATTENTION_RETRY_MS));
        // A barrier must not hang on what needs a person.
        let stuck = self.uploads.barriers.iter().filter(|barrier| barrier.waiting.contains(&ino));
        let tickets: Vec<Ticket> = stuck.map(|barrier| barrier.ticket).collect();
        self.uploads.barriers.retain(|barrier| !barrier.waiting.contains(&ino));
        for ticket in tickets {
            self.reply(ticket, Err(FsError::Io));
        }
    }

    /// A group was refused: try again when the feed has told why, and not for ever.
    pub(crate) fn refused(&mut self, ino: Ino, why: &str) {
        let count = self.uploads.refusals.entry(ino).or_default();
        *count += 1;
        let count = *count;
        if count >= REFUSALS {
            self.needs_attention(ino, why);
            return;
        }
        if count == RENAME_AFTER {
            self.rename_refused(ino);
        }
        let wait = self.limits.settle_ms.max(50) << count;
        self.uploads.defer(ino, self.now.mono.plus_millis(wait));
    }

    /// The store has in its trash, by another commit than is known here, what should be made or come
    /// out of it. The feed need not tell of that: it may be older than its position.
    pub(crate) fn restore_instead(&mut self, ino: Ino, known: &RemoteNode) {
        let Some(mut row) = self.tree.get(ino).map(|inode| inode.row.clone()) else { return };
        row.pending = row.pending.without(Pending::CREATE).with(Pending::RESTORE);
        row.meta_rev = known.meta_rev;
        row.content_rev = known.content_rev;
        row.origin = Some(Box::new(crate::merge::origin_of(known)));
        self.put(row);
        self.refused(ino, "the store has it in its trash");
    }
}

/// What the store has in its trash of the node that `op` should bring to life.
pub(crate) fn trashed<'a>(op: &Op, outcome: &'a GroupOutcome) -> Option<&'a RemoteNode> {
    let GroupOutcome::Conflict(known) = outcome else { return None };
    let node = known.iter().find(|node| node.id == op.id() && !node.live)?;
    match op {
        Op::Create { .. } => Some(node),
        Op::Restore { base, .. } => (node.meta_rev != *base).then_some(node),
        _ => None,
    }
}
