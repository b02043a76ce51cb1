//! The kernel's list of mounts, `/proc/self/mountinfo` (proc(5)).

use super::{Inside, is_recorded};
use crate::{
    dirs::{Dirs, Label},
    failure::{Attempt, Failure, Kind, Outcome},
};
use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

const MOUNTINFO: &str = "/proc/self/mountinfo";
/// The source of our mounts is this and the drive's label.
const SOURCE_PREFIX: &str = "meshdrive:";

#[derive(Clone, PartialEq, Eq, Debug)]
struct MountEntry {
    mountpoint: PathBuf,
    source: String,
}

impl MountEntry {
    /// The drive, when it is one of ours.
    fn label(&self) -> Option<Label> {
        self.source.strip_prefix(SOURCE_PREFIX)?.parse().ok()
    }
}

/// The name under which the kernel shows a drive's mount (first column of `df`).
pub(crate) fn source(label: &Label) -> String {
    format!("{SOURCE_PREFIX}{label}")
}

/// All mounts, later ones last (a later one hides an earlier one at the same place).
fn all() -> Outcome<Vec<MountEntry>> {
    let text = fs::read(MOUNTINFO).attempt(|| format!("cannot read {MOUNTINFO}"))?;
    Ok(parse(&text))
}

/// The mounts of this home's drives, alive or dead. Mounts of other users and homes are not ours, even
/// when a drive has the same name there.
pub(crate) fn ours(dirs: &Dirs) -> Outcome<Vec<(Label, PathBuf)>> {
    let ours = |entry: MountEntry| {
        let label = entry.label()?;
        is_recorded(dirs, &label, &entry.mountpoint).then_some((label, entry.mountpoint))
    };
    Ok(all()?.into_iter().filter_map(ours).collect())
}

/// The drive that a path is in.
///
/// # Errors
/// When the drive there is of another user or home.
pub(crate) fn containing(dirs: &Dirs, path: &Path) -> Outcome<Option<Inside>> {
    let best = all()?
        .into_iter()
        .filter(|entry| path.starts_with(&entry.mountpoint))
        .max_by_key(|entry| entry.mountpoint.components().count());
    let found = best.and_then(|entry| Some((entry.label()?, entry.mountpoint)));
    let Some((label, mountpoint)) = found else { return Ok(None) };
    if !is_recorded(dirs, &label, &mountpoint) {
        return Err(Failure::new(
            Kind::NotMounted,
            format!("the drive at {} belongs to another user or home", mountpoint.display()),
        )
        .hint("run this as the user who mounted it, with the same MESHDRIVE_HOME"));
    }
    let below = path.strip_prefix(&mountpoint).unwrap_or(Path::new("")).to_owned();
    Ok(Some(Inside { label, below }))
}

/// Whether the mount at `path` has lost its daemon. (`stat` would not do: the kernel answers that from
/// its cache.)
pub(crate) fn is_dead(path: &Path) -> bool {
    matches!(rustix::fs::statvfs(path), Err(rustix::io::Errno::NOTCONN))
}

fn parse(text: &[u8]) -> Vec<MountEntry> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mountpoint = unescape(fields.nth(4)?);
    fields.find(|field| *field == b"-")?;
    let source = unescape(fields.nth(1)?);
    Some(MountEntry {
        mountpoint: PathBuf::from(OsString::from_vec(mountpoint)),
        source: String::from_utf8_lossy(&source).into_owned(),
    })
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let octal = |digits: &[u8]| {
        digits.iter().try_fold(0_u8, |value, digit| match digit {
            b'0'..=b'7' => value.checked_mul(8)?.checked_add(digit - b'0'),
            _ => None,
        })
    };
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match tail.get(..3).and_then(octal) {
            Some(byte) if first == b'\\' => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

/// Processes that use something below `mountpoint`, as far as this user may see: at most
/// [`HOLDERS_MAX`], as `name (pid)`.
pub(crate) fn holders(mountpoint: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let me = std::process::id();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != me && holds(pid, mountpoint))
        .take(HOLDERS_MAX)
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} ({pid})", name.trim())
        })
        .collect()
}

/// Processes named in a message.
const HOLDERS_MAX: usize = 5;

fn holds(pid: u32, mountpoint: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let links = ["cwd", "root", "exe"].map(|name| process.join(name));
    let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    links
        .into_iter()
        .chain(open.map(|entry| entry.path()))
        .filter_map(|link| fs::read_link(link).ok())
        .any(|target| target.starts_with(mountpoint))
        || maps(pid, mountpoint)
}

/// Whether a file below `mountpoint` is mapped into memory.
fn maps(pid: u32, mountpoint: &Path) -> bool {
    let needle = mountpoint.as_os_str().as_bytes();
    fs::read(format!("/proc/{pid}/maps"))
        .is_ok_and(|text| text.windows(needle.len()).any(|window| window == needle))
}

#[cfg(test)]
mod tests {
    use super::{super::of, *};

    #[test]
    fn lines_of_mountinfo() {
        let text = b"36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/vda rw\n\
            50 36 0:44 / /mnt/my\\040drive rw,nosuid shared:2 master:1 - fuse meshdrive:work rw\n\
            broken line\n";
        let entries = parse(text);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].label(), None);
        assert_eq!(entries[1].mountpoint, Path::new("/mnt/my drive"));
        assert_eq!(entries[1].label().unwrap().as_str(), "work");
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(b"a\\040b\\134c\\"), b"a b\\c\\");
        assert_eq!(unescape(b"\\999\\777"), b"\\999\\777");
    }

    #[test]
    fn a_mount_of_another_home_is_not_ours() {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(Some(home.path())).unwrap();
        let label: Label = "work".parse().unwrap();
        assert!(!is_recorded(&dirs, &label, Path::new("/m")));
        fs::create_dir_all(dirs.drive_state(&label)).unwrap();
        fs::write(dirs.mount_record(&label), b"/m").unwrap();
        assert!(is_recorded(&dirs, &label, Path::new("/m")));
        assert!(!is_recorded(&dirs, &label, Path::new("/other")));
        assert!(all().unwrap().iter().any(|entry| entry.mountpoint == Path::new("/")));
        assert_eq!(of(&dirs, &label).unwrap(), None, "nothing is mounted there");
    }
}
