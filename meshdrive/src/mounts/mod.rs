//! What is mounted where. Asking never touches a mount, so a dead or slow one cannot hold us up.

#[cfg(unix)]
mod kernel;
#[cfg(windows)]
mod projected;

use crate::{
    dirs::{Dirs, Label},
    failure::Outcome,
    system,
};
#[cfg(unix)]
pub(crate) use kernel::{containing, holders, is_dead, ours, source};
#[cfg(windows)]
pub(crate) use projected::{containing, holders, is_dead, ours};
#[cfg(unix)]
use std::path::Path;
use std::{fs, path::PathBuf};

/// A path in a mounted drive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inside {
    pub(crate) label: Label,
    /// Below the mountpoint; empty for that itself.
    pub(crate) below: PathBuf,
}

/// Where a drive of this home is mounted.
pub(crate) fn of(dirs: &Dirs, label: &Label) -> Outcome<Option<PathBuf>> {
    Ok(ours(dirs)?.into_iter().rev().find(|(of, _)| of == label).map(|(_, at)| at))
}

/// Whether this home's daemon of `label` has mounted it at `mountpoint`.
#[cfg(unix)]
fn is_recorded(dirs: &Dirs, label: &Label, mountpoint: &Path) -> bool {
    recorded(dirs, label).is_some_and(|record| record == mountpoint)
}

/// Where this home's daemon of `label` has mounted it, or had before it crashed.
pub(crate) fn recorded(dirs: &Dirs, label: &Label) -> Option<PathBuf> {
    Some(system::path_of_bytes(fs::read(dirs.mount_record(label)).ok()?))
}
