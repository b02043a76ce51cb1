//! Windows. Where NTFS has no counterpart, the safe side is taken and said.

use super::copy_through;
use fs_core::{Measure, Timestamp};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use windows::Win32::Foundation::{ERROR_INVALID_PARAMETER, ERROR_TOO_MANY_OPEN_FILES, HANDLE};
use windows::Win32::Storage::FileSystem::{
    FILE_ALLOCATION_INFO, FILE_FLAG_NO_BUFFERING, FileAllocationInfo, GetDiskFreeSpaceExW,
    SetFileInformationByHandle,
};
use windows::Win32::System::IO::DeviceIoControl;
use windows::Win32::System::Ioctl::{
    FILE_ZERO_DATA_INFORMATION, FSCTL_SET_SPARSE, FSCTL_SET_ZERO_DATA,
};
use windows::core::HSTRING;

/// Nanoseconds in a tick of FILETIME, and ticks from 1601 to 1970 ("FILETIME structure", Microsoft).
const TICK_NANOS: i64 = 100;
const TICKS_TO_UNIX: i64 = 116_444_736_000_000_000;

/// One read at a position. Beyond the end there is nothing, which Windows calls an error.
pub(super) fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(buffer, offset)
}

/// Reads into the spare room of `buffer` until it is full or the file ends.
pub(crate) fn append_at(file: &File, buffer: &mut Vec<u8>, offset: u64) -> io::Result<()> {
    let start = buffer.len();
    buffer.resize(buffer.capacity(), 0);
    let read = super::read_at(file, &mut buffer[start..], offset);
    buffer.truncate(start + read.as_ref().map_or(0, |&read| read));
    read.map(drop)
}

pub(crate) fn write_at(file: &File, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        match file.seek_write(data, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                data = &data[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Copies a part of `source` to `offset` of `target`. Returns how many bytes there were.
pub(crate) fn copy_range(
    source: &File,
    part: fs_core::Range,
    target: &File,
    offset: u64,
) -> io::Result<u64> {
    copy_through(source, part, target, offset)
}

/// Makes a range read as zeros, within the length of the file, and frees its blocks.
pub(crate) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let end = offset.saturating_add(len);
    let range = FILE_ZERO_DATA_INFORMATION {
        FileOffset: i64::try_from(offset).map_err(io::Error::other)?,
        BeyondFinalZero: i64::try_from(end).map_err(io::Error::other)?,
    };
    let size = size_of::<FILE_ZERO_DATA_INFORMATION>() as u32;
    let input = Some(std::ptr::from_ref(&range).cast());
    // SAFETY: the handle is open for as long as `file` is borrowed; the input lives across the call
    // and has the size that is given; there is no output.
    let done = unsafe {
        DeviceIoControl(handle(file), FSCTL_SET_ZERO_DATA, input, size, None, 0, None, None)
    };
    done.map_err(|_| io::ErrorKind::Unsupported.into())
}

/// Lets a new file have holes: without it NTFS fills every gap with written zeros. A file system that
/// has no such thing keeps its files whole.
pub(crate) fn allow_holes(file: &File) -> io::Result<()> {
    // SAFETY: the handle is open for as long as `file` is borrowed; no buffers.
    let set =
        unsafe { DeviceIoControl(handle(file), FSCTL_SET_SPARSE, None, 0, None, 0, None, None) };
    if let Err(error) = set {
        tracing::debug!(%error, "this file system has no sparse files");
    }
    Ok(())
}

/// Gives the first `len` bytes of a file their blocks.
pub(crate) fn reserve(file: &File, len: u64) -> io::Result<()> {
    let wanted =
        FILE_ALLOCATION_INFO { AllocationSize: i64::try_from(len).map_err(io::Error::other)? };
    let size = size_of::<FILE_ALLOCATION_INFO>() as u32;
    let from = std::ptr::from_ref(&wanted).cast();
    // SAFETY: the handle is open for as long as `file` is borrowed; the struct is the one that the
    // class names, lives across the call and has the size that is given.
    let set = unsafe { SetFileInformationByHandle(handle(file), FileAllocationInfo, from, size) };
    set.map_err(io::Error::from)?;
    file.set_len(len)
}

/// Bytes that this process may still write to the file system of `path`.
pub(crate) fn disk_free(path: &Path) -> io::Result<u64> {
    let mut free = 0;
    // SAFETY: the text ends with a NUL, and `free` is a number that lives across the call.
    unsafe { GetDiskFreeSpaceExW(&HSTRING::from(path), Some(&raw mut free), None, None) }?;
    Ok(free)
}

/// Bytes that a file may occupy on the disk. Windows tells what it does occupy only of an open file;
/// its length is never less, so that a limit is kept too early rather than too late.
pub(crate) fn allocated(metadata: &Metadata) -> u64 {
    metadata.len()
}

/// A file as it is now. There is no passthrough here, so nobody writes behind the store's back.
pub(crate) fn measure(metadata: &Metadata, writers: bool) -> Measure {
    let ticks = i64::try_from(metadata.last_write_time()).unwrap_or(i64::MAX);
    let time = Timestamp(ticks.saturating_sub(TICKS_TO_UNIX).saturating_mul(TICK_NANOS));
    Measure { size: metadata.len(), mtime: time, ctime: time, writers }
}

/// Whether anybody has the file open for writing: not known here, so yes.
pub(crate) fn has_writers(_file: &File) -> io::Result<bool> {
    Ok(true)
}

/// Makes the entries of a directory survive power loss: NTFS journals its directories by itself.
pub(crate) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes every file below `dir` survive power loss. Flushing a whole volume needs an administrator.
pub(crate) fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            match OpenOptions::new().write(true).open(entry.path()) {
                Ok(file) => file.sync_data()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Makes a directory with its parents. Below a user's profile only that user may enter it, by the
/// access list that it inherits.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

/// NTFS keeps files in one table: there is nothing to spread.
pub(crate) fn spread_entries(_dir: &Path) {}

/// Options for files of this store; who may read them is inherited from their directory.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

/// Options for a file that is written past the cache of the system.
pub(crate) fn direct_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(FILE_FLAG_NO_BUFFERING.0);
    options
}

/// Whether the file system has no writes past the cache.
pub(crate) fn is_direct_refused(error: &io::Error) -> bool {
    is(error, ERROR_INVALID_PARAMETER.0)
}

/// Windows has no name for one start of it: every unclean stop counts as one of the whole system.
pub(crate) fn boot_id() -> Option<String> {
    None
}

/// Whether the process ran out of handles.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    is(error, ERROR_TOO_MANY_OPEN_FILES.0)
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error().is_some_and(|raw| raw.cast_unsigned() == code)
}

fn handle(file: &File) -> HANDLE {
    HANDLE(file.as_raw_handle())
}
