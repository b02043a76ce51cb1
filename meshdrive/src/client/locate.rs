//! Which drive, and where in it: from a drive's name, a mountpoint, or a path below one.

use crate::{
    dirs::{Dirs, Label},
    drives,
    failure::{Failure, Kind, Outcome},
    mounts, system,
};
use protocol::control::PathText;
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// A drive, and a place in it (empty: its root).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) label: Label,
    pub(crate) path: PathText,
}

impl Place {
    fn root(label: Label) -> Place {
        Place { label, path: super::root() }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.path.as_bytes().is_empty()
    }
}

/// What `text` means: a path if it looks like one or lies in a mounted drive, else a drive's name.
pub(crate) fn place(dirs: &Dirs, text: &OsStr) -> Outcome<Place> {
    if let Some(label) = as_label(dirs, text) {
        return Ok(Place::root(label));
    }
    path(dirs, Path::new(text))
}

/// Like [`place`]; without a text, the only mounted drive.
pub(crate) fn place_or_only(dirs: &Dirs, text: Option<&OsString>) -> Outcome<Place> {
    text.map_or_else(|| only(dirs).map(Place::root), |text| place(dirs, text))
}

/// A path below the mountpoint of a drive. It need not exist, but its parent must.
pub(crate) fn path(dirs: &Dirs, path: &Path) -> Outcome<Place> {
    let real = resolve(dirs, path)?;
    let Some(found) = mounts::containing(dirs, &real)? else {
        return Err(Failure::new(
            Kind::NotMounted,
            format!("{} is not in a mounted drive", real.display()),
        )
        .hint("name a path below the directory where a drive is mounted; `meshdrive drive list` shows them"));
    };
    Ok(Place { label: found.label, path: system::below(found.below.as_os_str()) })
}

/// The drive of a name or mountpoint, for `unmount`. The mountpoint may be dead.
pub(crate) fn drive(dirs: &Dirs, text: &OsStr) -> Outcome<Label> {
    if let Some(label) = as_label(dirs, text) {
        return Ok(label);
    }
    let absolute = std::path::absolute(Path::new(text)).unwrap_or_else(|_| PathBuf::from(text));
    let at = mounts::ours(dirs)?.into_iter().rev().find(|(_, at)| *at == absolute);
    match at {
        Some((label, _)) => Ok(label),
        None => {
            let place = path(dirs, Path::new(text))?;
            if place.is_root() {
                return Ok(place.label);
            }
            Err(Failure::usage(format!("{} is not a mountpoint", absolute.display()))
                .hint(format!("it lies in the drive {}; unmount that by its name", place.label)))
        }
    }
}

/// The only mounted drive.
pub(crate) fn only(dirs: &Dirs) -> Outcome<Label> {
    let mut mounted = drives::mounted(dirs)?;
    match (mounted.pop(), mounted.is_empty()) {
        (Some(label), true) => Ok(label),
        (Some(_), false) => Err(Failure::usage("several drives are mounted")
            .hint("name the one you mean; `meshdrive drive list` shows them")),
        (None, _) => Err(Failure::new(Kind::NotMounted, "no drive is mounted")
            .hint("mount one with `meshdrive mount NAME DIRECTORY`; `meshdrive drive list` shows their names")),
    }
}

fn as_label(dirs: &Dirs, text: &OsStr) -> Option<Label> {
    let label: Label = text.to_str()?.parse().ok()?;
    drives::is_known(dirs, &label).then_some(label)
}

/// Absolute. Letters and links are not followed: Windows would open what is there, and so fetch it.
#[cfg(windows)]
fn resolve(_: &Dirs, path: &Path) -> Outcome<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Failure::general(format!("cannot resolve {}: {error}", path.display())))
}

/// Absolute and without symlinks above the last component: the object meant is the link itself.
#[cfg(unix)]
fn resolve(dirs: &Dirs, path: &Path) -> Outcome<PathBuf> {
    let real = |path: &Path| {
        std::fs::canonicalize(path).map_err(|error| {
            let dead = error.raw_os_error() == Some(libc::ENOTCONN);
            let failure = Failure::general(format!("cannot reach {}: {error}", path.display()));
            if dead {
                failure.hint("its daemon has died; mount the drive again to recover it")
            } else {
                failure
            }
        })
    };
    match (path.file_name(), path.parent()) {
        (Some(name), Some(parent)) if !path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let place = real(parent)?.join(name);
            // The mountpoint itself may have been reached through a symlink.
            let link = std::fs::symlink_metadata(&place).is_ok_and(|meta| meta.is_symlink());
            let inside = mounts::ours(dirs)?.iter().any(|(_, mount)| place.starts_with(mount));
            if link && !inside { real(&place) } else { Ok(place) }
        }
        _ => real(path),
    }
}
