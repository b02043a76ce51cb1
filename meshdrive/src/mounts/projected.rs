//! Windows has no list of projected folders: a daemon that runs has noted where its drive is.

use super::{Inside, recorded};
use crate::{
    daemon::projected_root,
    dirs::{Dirs, Label},
    drives,
    failure::Outcome,
};
use projfs_windows::fold;
use std::{
    ffi::OsStr,
    os::windows::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The drives of this home whose daemon runs, and where they are: a letter (`X:\`) or a folder.
pub(crate) fn ours(dirs: &Dirs) -> Outcome<Vec<(Label, PathBuf)>> {
    let running = |label: &Label| drives::is_running(dirs, label);
    let at = |label: Label| Some((label.clone(), recorded(dirs, &label)?));
    Ok(drives::known(dirs)?.into_iter().filter(running).filter_map(at).collect())
}

/// The drive that a path is in. One that has a letter is also found by the folder behind it.
pub(crate) fn containing(dirs: &Dirs, path: &Path) -> Outcome<Option<Inside>> {
    for (label, mountpoint) in ours(dirs)? {
        let root = projected_root(dirs, &label, &mountpoint);
        for prefix in [&mountpoint, &root] {
            if let Some(below) = strip(path, prefix) {
                return Ok(Some(Inside { label, below }));
            }
        }
    }
    Ok(None)
}

/// What follows a prefix, as Windows compares names.
fn strip(path: &Path, prefix: &Path) -> Option<PathBuf> {
    let key = |part: &OsStr| fold::key(&part.encode_wide().collect::<Vec<_>>());
    let mut rest = path.components();
    for part in prefix.components() {
        if key(rest.next()?.as_os_str()) != key(part.as_os_str()) {
            return None;
        }
    }
    Some(rest.as_path().to_owned())
}

/// A drive whose daemon has died is not mounted any more.
pub(crate) fn is_dead(_path: &Path) -> bool {
    false
}

/// Windows does not say which programs have a file open.
pub(crate) fn holders(_mountpoint: &Path) -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_compared_as_windows_does() {
        let strip = |path: &str, prefix: &str| strip(Path::new(path), Path::new(prefix));
        assert_eq!(strip("x:\\A\\b", "X:\\").as_deref(), Some(Path::new("A\\b")));
        assert_eq!(strip("C:\\Users\\É\\r", "c:\\users\\é").as_deref(), Some(Path::new("r")));
        assert_eq!(strip("X:\\", "X:\\").as_deref(), Some(Path::new("")));
        assert_eq!(strip("C:\\ab", "C:\\a"), None);
        assert_eq!(strip("C:\\", "C:\\a"), None);
    }
}
