//! What is mounted, after the kernel's own list.

use anyhow::{Context, Result};
use std::{os::unix::ffi::OsStrExt, path::Path};

/// The kernel's list of this process' mounts (proc(5)).
const LIST: &str = "/proc/self/mountinfo";

/// Whether something is mounted exactly at `path`, which must be absolute without symlinks. Asks
/// the list and not the path, because a path whose daemon is dead answers with errors.
pub(super) fn is_mounted(path: &Path) -> Result<bool> {
    let list = std::fs::read(LIST).context(LIST)?;
    Ok(is_listed(&list, path.as_os_str().as_bytes()))
}

/// Whether a mount is there whose daemon is gone. Listing asks the daemon; the attributes of the
/// root may come from the kernel's memory.
pub(super) fn is_dead(path: &Path) -> bool {
    std::fs::read_dir(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotConnected)
}

/// The mountpoint is the fifth field of a line; space, tab, line feed and backslash are octal.
fn is_listed(list: &[u8], path: &[u8]) -> bool {
    let lines = list.split(|&byte| byte == b'\n');
    let mut points = lines.filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    points.any(|point| unescape(point) == path)
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| first == b'\\');
        match code.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_mountpoints_are_found_with_their_escapes() {
        let list = b"36 35 98:0 / /mnt rw - ext4 /dev/a rw\n\
                     37 36 0:42 / /a\\040b/Mesh\\134drive rw,nosuid shared:1 - fuse x rw\n";
        assert!(is_listed(list, b"/mnt"));
        assert!(is_listed(list, b"/a b/Mesh\\drive"));
        assert!(!is_listed(list, b"/a"));
        assert!(!is_listed(list, b"/a\\040b/Mesh\\134drive"));
        assert!(!is_listed(b"", b""));
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(is_mounted(Path::new("/proc")).unwrap());
        assert!(!is_mounted(Path::new("/no/such/place")).unwrap());
    }
}
