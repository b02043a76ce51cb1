//! Windows.

pub(crate) mod autostart;
mod control;
mod rights;
mod signals;

use crate::failure::{Attempt, Failure, Outcome};
pub(crate) use control::{Door, client, is_listening};
use protocol::control::PathText;
pub(crate) use signals::Signals;
use std::{
    ffi::OsStr,
    fs::OpenOptions,
    os::windows::{
        ffi::{OsStrExt, OsStringExt},
        process::CommandExt,
    },
    path::{Component, Path, PathBuf},
    process::Command,
};
use windows::{
    Win32::{
        Foundation::{HANDLE_FLAG_INHERIT, HANDLE_FLAGS, SetHandleInformation},
        Storage::FileSystem::GetDiskFreeSpaceExW,
        System::{
            Console::{GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE},
            Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW},
        },
    },
    core::HSTRING,
};

/// Makes `dir` (and what is above it). Where it is new, only this user and the system may enter it.
pub(crate) fn private_dir(dir: &Path) -> Outcome {
    let what = || format!("cannot create the directory {}", dir.display());
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(above) = dir.parent() {
        std::fs::create_dir_all(above).attempt(what)?;
    }
    match rights::create_dir(dir) {
        // Somebody else was quicker.
        Err(_) if dir.is_dir() => Ok(()),
        made => made.attempt(what),
    }
}

/// Options for a file that only its owner may read: that follows from the folder that it is in.
pub(crate) fn private_file() -> OpenOptions {
    OpenOptions::new()
}

/// What to do when others can read a file; `None` when they cannot.
pub(crate) fn open_to_others(path: &Path) -> Option<String> {
    let opened = rights::is_open_to_others(path).unwrap_or(true);
    opened.then(|| {
        let folder = path.parent().unwrap_or(path);
        format!("icacls \"{}\" /inheritance:r /grant:r \"%USERNAME%\":(OI)(CI)F", folder.display())
    })
}

/// The bytes of a path, to be kept in a file: its code units, little endian.
pub(crate) fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().encode_wide().flat_map(u16::to_le_bytes).collect()
}

/// The inverse of [`path_bytes`].
pub(crate) fn path_of_bytes(bytes: Vec<u8>) -> PathBuf {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    PathBuf::from(std::ffi::OsString::from_wide(&units.collect::<Vec<_>>()))
}

/// A path below a mount, for the daemon, which knows how the drive's names are shown here.
pub(crate) fn below(path: &OsStr) -> PathText {
    let names = Path::new(path).components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    PathText::Text(names.collect::<Vec<_>>().join("/"))
}

/// Where what the daemon calls `path` is below a mount.
pub(crate) fn path_below(path: &PathText) -> PathBuf {
    let parts = path.as_bytes().split(|&byte| byte == b'/').filter(|part| !part.is_empty());
    let shown = parts.filter_map(|part| {
        let name = fs_core::Name::new(part).ok()?;
        Some(std::ffi::OsString::from_wide(&projfs_windows::names::to_windows(&name)))
    });
    shown.collect()
}

pub(crate) fn host_name() -> Outcome<String> {
    std::env::var("COMPUTERNAME").map_err(|_| {
        Failure::general("Windows does not say this computer's name").hint("give one with --device")
    })
}

/// Who owns what somebody without a name makes: Windows has no numbers for that.
pub(crate) fn owner() -> fs_core::Owner {
    fs_core::Owner::default()
}

/// Prepares a command that outlives this program and its console.
pub(crate) fn outlive(command: &mut Command) {
    command.creation_flags(CREATE_NO_WINDOW.0 | CREATE_NEW_PROCESS_GROUP.0);
    // Whoever reads what this program prints must not wait for the daemon too.
    for stream in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: asks for a handle of this process.
        let Ok(handle) = (unsafe { GetStdHandle(stream) }) else { continue };
        if handle.is_invalid() {
            continue;
        }
        // SAFETY: the handle is this process's own, and stays open.
        let _ = unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT.0, HANDLE_FLAGS(0)) };
    }
}

/// It was started without a console of anybody's.
pub(crate) fn leave_terminal() -> Outcome {
    Ok(())
}

/// The pipe may stay: the daemon prints nothing any more, and its reader is gone.
pub(crate) fn let_go_of_stdout() -> Outcome {
    Ok(())
}

/// No folder of the caller's is kept in use.
pub(crate) fn leave_folder() -> Outcome {
    let drive = std::env::var("SystemDrive").unwrap_or_else(|_| "C:".into());
    std::env::set_current_dir(format!("{drive}\\"))
        .attempt(|| format!("cannot change to {drive}\\"))
}

/// Windows has no limit that would matter.
pub(crate) fn raise_descriptor_limit() {}

/// Free bytes of the disk under `path`.
pub(crate) fn disk_free(path: &Path) -> Outcome<u64> {
    let mut free = 0;
    // SAFETY: the path ends with a NUL, and with the number it lives across the call.
    let asked =
        unsafe { GetDiskFreeSpaceExW(&HSTRING::from(path), Some(&raw mut free), None, None) };
    asked.attempt(|| format!("cannot ask for the free space of {}", path.display()))?;
    Ok(free)
}
