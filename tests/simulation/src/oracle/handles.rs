//! What is read through one handle is of one version.

use crate::store::Store;
use bytes::Bytes;
use fs_core::Ino;

/// Reads of one handle while nothing was written to its file here.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) ino: Ino,
    /// Offset, length asked for, and what came.
    pub(crate) reads: Vec<(u64, u64, Bytes)>,
    /// Written to on this device: what it reads is no version of the store's.
    pub(crate) mixed: bool,
}

/// All reads of each handle fit one version that the store has, or had.
pub(crate) fn one_version<'a>(
    histories: impl Iterator<Item = &'a History>,
    store: &Store,
) -> Result<(), String> {
    for history in histories.filter(|history| !history.mixed && !history.reads.is_empty()) {
        let fits = |version: &[u8]| {
            history.reads.iter().all(|(offset, len, bytes)| {
                let start = (*offset as usize).min(version.len());
                let end = (start + *len as usize).min(version.len());
                version[start..end] == bytes[..]
            })
        };
        if !store.versions.values().any(|version| fits(&version.bytes)) {
            return Err(format!(
                "{} reads through one handle of inode {} are of no one version: {:?}",
                history.reads.len(),
                history.ino.0,
                history.reads
            ));
        }
    }
    Ok(())
}
