//! Who waits for news of a drive hears of a new head at once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch;

/// One channel a drive that somebody listens to. Holds the newest head only: slow listeners skip.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    drives: Mutex<HashMap<i64, watch::Sender<u64>>>,
}

impl Hints {
    /// A listener to `drive`. It has heard nothing yet: read the head after this call, not before.
    pub(crate) fn listen(&self, drive: i64) -> watch::Receiver<u64> {
        let mut drives = self.drives.lock().unwrap_or_else(PoisonError::into_inner);
        drives.entry(drive).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Tells all listeners of `drive` that its head is `rev` now.
    pub(crate) fn announce(&self, drive: i64, rev: u64) {
        let mut drives = self.drives.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = drives.get(&drive) else { return };
        sender.send_if_modified(|head| {
            let newer = rev > *head;
            *head = rev.max(*head);
            newer
        });
        if sender.receiver_count() == 0 {
            drives.remove(&drive);
        }
    }
}
