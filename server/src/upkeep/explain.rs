//! The report of a collection as it grows.

use protocol::operator::{DriveCollection, ITEMS, Item, Sum};

#[derive(Debug)]
pub(super) struct Report {
    pub(super) done: DriveCollection,
}

impl Report {
    pub(super) fn new(drive: String, label: String) -> Report {
        Report { done: DriveCollection { drive, label, ..DriveCollection::default() } }
    }

    /// Notes one thing that goes.
    pub(super) fn item(&mut self, what: impl FnOnce() -> String, why: &str, bytes: u64) {
        if self.done.items.len() < ITEMS {
            self.done.items.push(Item { what: what(), why: why.to_owned(), bytes });
        }
    }

    pub(super) fn held_back(&mut self, why: String) {
        tracing::warn!(drive = self.done.drive, why, "a collection was held back");
        self.done.held_back.push(why);
    }

    pub(super) fn finish(self) -> DriveCollection {
        self.done
    }
}

/// Adds many at once.
pub(super) fn add(sum: &mut Sum, bytes: impl IntoIterator<Item = u64>) {
    for bytes in bytes {
        sum.add(bytes);
    }
}
