//! Linux.

use super::copy_through;
use fs_core::{Measure, Timestamp};
use rustix::fs::{FallocateFlags, IFlags, OFlags, fallocate, ioctl_getflags, ioctl_setflags};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// stat(2) counts blocks of 512 bytes, whatever the file system's own are.
const STAT_BLOCK: u64 = 512;
/// `FUSE_SUPER_MAGIC` of linux/magic.h.
const FUSE_MAGIC: rustix::fs::FsWord = 0x6573_5546;

/// One read at a position.
pub(super) fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

/// Reads into the spare room of `buffer` until it is full or the file ends. Large reads are the most
/// of all work here: the room is not filled with zeros first.
pub(crate) fn append_at(file: &File, buffer: &mut Vec<u8>, offset: u64) -> io::Result<()> {
    let start = buffer.len();
    while buffer.len() < buffer.capacity() {
        let at = offset.saturating_add((buffer.len() - start) as u64);
        match rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

pub(crate) fn write_at(file: &File, data: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(data, offset)
}

/// Copies a part of `source` to `offset` of `target` inside the kernel, which shares the blocks where
/// it can. Returns how many bytes there were.
pub(crate) fn copy_range(
    source: &File,
    part: fs_core::Range,
    target: &File,
    offset: u64,
) -> io::Result<u64> {
    let (mut from, mut to) = (part.start, offset);
    while from < part.end {
        let len = usize::try_from(part.end - from).unwrap_or(usize::MAX);
        let copied =
            rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), len);
        match copied {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                use rustix::io::Errno;
                let cannot = [Errno::XDEV, Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL];
                if !cannot.contains(&error) {
                    return Err(error.into());
                }
                return copy_through(source, fs_core::Range::new(from, part.end), target, to)
                    .map(|more| from - part.start + more);
            }
        }
    }
    Ok(from - part.start)
}

/// Makes a range read as zeros, within the length of the file, and frees its blocks.
pub(crate) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, how, offset, len).map_err(io::Error::from)
}

/// Gives the first `len` bytes of a file their blocks.
pub(crate) fn reserve(file: &File, len: u64) -> io::Result<()> {
    fallocate(file, FallocateFlags::empty(), 0, len).map_err(io::Error::from)
}

/// Bytes that this process may still write to the file system of `path`.
pub(crate) fn disk_free(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes that a file occupies on the disk.
pub(crate) fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(STAT_BLOCK)
}

/// A file as it is now.
pub(crate) fn measure(metadata: &Metadata, writers: bool) -> Measure {
    let time = |secs: i64, nanos: i64| Timestamp(secs.saturating_mul(1_000_000_000) + nanos);
    Measure {
        size: metadata.len(),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        writers,
    }
}

/// Whether anybody has the file open for writing, or mapped so that it can be written. A lease for
/// reading is only granted when nobody has (fcntl(2), `F_SETLEASE`); it is given back at once. `file`
/// must be open for reading only. True where there are no leases.
pub(crate) fn has_writers(file: &File) -> io::Result<bool> {
    let lease = |kind: libc::c_int| {
        // SAFETY: the descriptor is open for as long as `file` is borrowed; F_SETLEASE takes a number.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    match lease(libc::F_RDLCK) {
        Ok(()) => lease(libc::F_UNLCK).map(|()| false),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
        Err(error) => {
            if error.raw_os_error() != Some(libc::EAGAIN) {
                tracing::debug!(%error, "no lease: the file counts as open for writing");
            }
            Ok(true)
        }
    }
}

/// Makes the entries of a directory survive power loss.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes everything below `dir` survive power loss, and whatever else is on its file system.
pub(crate) fn sync_all(dir: &Path) -> io::Result<()> {
    let opened = File::open(dir)?;
    // The kernel does not tell a file system in user space of it, and says that all went well
    // (`fuse_sync_fs` in its fs/fuse/inode.c).
    if rustix::fs::fstatfs(&opened)?.f_type == FUSE_MAGIC {
        return sync_each(dir);
    }
    rustix::fs::syncfs(opened).map_err(io::Error::from)
}

/// One file after the other, and the directories.
fn sync_each(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let synced = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => sync_each(&path),
            Ok(found) if found.is_file() => File::open(&path).and_then(|file| file.sync_data()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match synced {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_dir(dir)
}

/// Makes a directory that only this user can enter, with its parents.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Asks ext4 to put the directories in `dir` far apart (`T` of chattr(1)). It puts files near their
/// directory, and walks past every inode there that was freed in the last minutes: with all
/// directories in one place a new file after many evicted ones took a millisecond instead of 40 us.
/// Other file systems have no such thing and no such need.
pub(crate) fn spread_entries(dir: &Path) {
    let set = || {
        let dir = File::open(dir)?;
        let flags = ioctl_getflags(&dir)?;
        ioctl_setflags(&dir, flags | IFlags::TOPDIR)?;
        io::Result::Ok(())
    };
    if let Err(error) = set() {
        tracing::debug!(dir = %dir.display(), %error, "its entries are not spread");
    }
}

/// Options for files that only this user can read.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Options for a file that is written past the page cache.
pub(crate) fn direct_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(OFlags::DIRECT.bits().cast_signed());
    options
}

/// Names this start of the operating system (`Documentation/admin-guide/sysctl/kernel.rst`,
/// `random/boot_id`). `None` where there is no such name: then every unclean stop counts as one of
/// the whole system.
pub(crate) fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// Whether the file system has no writes past the page cache.
pub(crate) fn is_direct_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
}

/// Lets a new file have holes; here every file may.
pub(crate) fn allow_holes(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Whether the process ran out of file descriptors.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_spread_where_the_file_system_can() {
        let dir = tempfile::tempdir().unwrap();
        let opened = File::open(dir.path()).unwrap();
        spread_entries(dir.path());
        // EF53: ext2, 3 and 4 (statfs(2)).
        if rustix::fs::fstatfs(&opened).unwrap().f_type == 0xef53 {
            assert!(ioctl_getflags(&opened).unwrap().contains(IFlags::TOPDIR));
        }
        spread_entries(Path::new("/proc/self"));
    }
}
