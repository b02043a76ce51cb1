//! What survives a crash on this device: the rows and bytes of one drive.
//!
//! [`DiskStore`] implements [`LocalStore`] in one directory:
//! - `journal/`: batches of changes, appended before anything that needs them is answered, and
//!   small writes until their bytes are in their backing files;
//! - `index.sqlite`: the same changes as rows, written behind the journal by one thread;
//! - `content/`: one sparse backing file per file with local bytes;
//! - `lost+found/`: what recovery could not place. It never deletes what it does not know.
mod codec;
mod content;
mod disk;
mod fill;
mod index;
mod journal;
mod layout;
mod platform;
mod queue;
mod recover;
mod reserve;
mod small;
mod store;
mod writer;

pub use disk::{DiskStore, Options};
pub use store::{Error, LocalStore};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. Everything under a lock here is whole after each statement, so a panic elsewhere
/// does not make it unusable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
