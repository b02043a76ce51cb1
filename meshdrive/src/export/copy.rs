//! Contents.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Bytes read at once; a block of zeros this large becomes a hole.
const BLOCK: usize = 1 << 20;

/// Copies the bytes of a file into `part`; returns how many.
///
/// # Errors
/// Also when the file is not `size` bytes long: it changed meanwhile, or was cut short.
pub(super) fn file(source: &Path, part: &Path, size: u64) -> io::Result<u64> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut from = File::open(source)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
    let mut block = vec![0; BLOCK];
    let mut copied = 0_u64;
    loop {
        let length = fill(&mut from, &mut block)?;
        if length == 0 {
            break;
        }
        let bytes = &block[..length];
        if bytes.iter().all(|&byte| byte == 0) {
            to.seek(SeekFrom::Current(length as i64))?;
        } else {
            to.write_all(bytes)?;
        }
        copied += length as u64;
    }
    if copied != size {
        return Err(io::Error::other(format!(
            "it has {copied} bytes where {size} were expected: it changed while it was copied"
        )));
    }
    to.set_len(size)?;
    to.sync_all()?;
    Ok(copied)
}

/// Reads until `block` is full or the file ends.
fn fill(from: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match from.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Makes a symlink, fifo, socket or device like `source`.
pub(super) fn special(source: &Path, target: &Path, meta: &Metadata) -> io::Result<()> {
    use rustix::fs::FileType;
    let kind = meta.file_type();
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(source)?, target);
    }
    let kind = if kind.is_fifo() {
        FileType::Fifo
    } else if kind.is_socket() {
        FileType::Socket
    } else if kind.is_char_device() {
        FileType::CharacterDevice
    } else if kind.is_block_device() {
        FileType::BlockDevice
    } else {
        return Err(io::Error::other("it is of a kind that cannot be copied"));
    };
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, target, kind, mode, meta.rdev())?;
    Ok(())
}
