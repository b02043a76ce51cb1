//! What differs between operating systems: positioned I/O, holes, free space, directories.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;

use std::fs::File;
use std::io;

/// Bytes held while copying between files that the kernel cannot copy between.
const COPY_BUFFER: usize = 256 << 10;

/// Reads until `buffer` is full or the file ends; returns how much it read.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match read_some(file, &mut buffer[done..], offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The same by reading and writing.
fn copy_through(
    source: &File,
    part: fs_core::Range,
    target: &File,
    offset: u64,
) -> io::Result<u64> {
    let mut buffer = vec![0; COPY_BUFFER.min(usize::try_from(part.len()).unwrap_or(usize::MAX))];
    let mut done = 0;
    while done < part.len() {
        let len = buffer.len().min(usize::try_from(part.len() - done).unwrap_or(usize::MAX));
        let read = read_at(source, &mut buffer[..len], part.start + done)?;
        if read == 0 {
            break;
        }
        write_at(target, &buffer[..read], offset + done)?;
        done += read as u64;
    }
    Ok(done)
}

/// Gives a file the time of modification that no unseen write gives it ([`fs_core::Measure::UNWRITTEN`]).
pub(crate) fn unwritten(file: &File) -> io::Result<()> {
    file.set_modified(std::time::UNIX_EPOCH)
}
