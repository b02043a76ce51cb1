//! The folder of packs: `packs/<drive>/<first two digits>/<pack>`, and `incoming/` for what has not
//! been checked yet.

use crate::ids::{Hash, Id};
use protocol::{
    codec::{hex, unhex},
    limits::PACK_BYTES,
};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

#[derive(Debug)]
pub(crate) struct Packs {
    packs: PathBuf,
    incoming: PathBuf,
    next: AtomicU64,
}

impl Packs {
    /// Makes the folders and forgets what was on its way when the store last stopped.
    pub(crate) fn open(dir: &Path) -> io::Result<Packs> {
        let (packs, incoming) = (dir.join("packs"), dir.join("incoming"));
        fs::create_dir_all(&packs)?;
        fs::create_dir_all(&incoming)?;
        for entry in fs::read_dir(&incoming)? {
            fs::remove_file(entry?.path())?;
        }
        sync_dir(dir)?;
        Ok(Packs { packs, incoming, next: AtomicU64::new(0) })
    }

    fn path(&self, drive: &Id, pack: &Hash) -> PathBuf {
        let name = hex(pack);
        self.packs.join(hex(drive)).join(&name[..2]).join(name)
    }

    /// Whether there is a file for the pack.
    pub(crate) fn has(&self, drive: &Id, pack: &Hash) -> bool {
        self.path(drive, pack).exists()
    }

    /// Removes the file of a pack; it is no error if there is none. Only for jobs of the writer, so
    /// that no pack is entered meanwhile.
    pub(crate) fn remove(&self, drive: &Id, pack: &Hash) -> io::Result<()> {
        match fs::remove_file(self.path(drive, pack)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The whole of a stored pack, if it is what its name says.
    ///
    /// # Errors
    /// `InvalidData` when it is not.
    pub(crate) fn whole(&self, drive: &Id, pack: &Hash) -> io::Result<Vec<u8>> {
        let mut file = self.read(drive, pack)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(PACK_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if blake3::hash(&bytes).as_bytes() != pack {
            let text = "the bytes are not those that were stored";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(bytes)
    }

    /// Stores a pack that was made here, and gives its id. It survives a power cut.
    pub(crate) fn store(&self, drive: &Id, bytes: &[u8]) -> io::Result<Hash> {
        let mut incoming = self.incoming()?;
        incoming.write(bytes)?;
        let id = incoming.hash();
        self.keep(&incoming, drive, &id)?;
        Ok(id)
    }

    /// The packs of a drive that have files: the name of each, and its size in bytes.
    pub(crate) fn list(&self, drive: &Id) -> io::Result<Vec<(Hash, u64)>> {
        let mut found = Vec::new();
        let folders = match fs::read_dir(self.packs.join(hex(drive))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            folders => folders?,
        };
        for folder in folders {
            for entry in fs::read_dir(folder?.path())? {
                let entry = entry?;
                if let Some(id) = entry.file_name().to_str().and_then(unhex) {
                    found.push((id, entry.metadata()?.len()));
                }
            }
        }
        Ok(found)
    }

    /// Opens a stored pack.
    pub(crate) fn read(&self, drive: &Id, pack: &Hash) -> io::Result<File> {
        File::open(self.path(drive, pack))
    }

    /// A new file for a pack that is arriving.
    pub(crate) fn incoming(&self) -> io::Result<Incoming> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.incoming.join(number.to_string());
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Incoming { file, path, hasher: blake3::Hasher::new(), len: 0 })
    }

    /// Gives a checked pack its place. When this returns it survives a power cut.
    pub(crate) fn keep(&self, incoming: &Incoming, drive: &Id, pack: &Hash) -> io::Result<()> {
        incoming.file.sync_all()?;
        let path = self.path(drive, pack);
        let parents: Vec<&Path> = path.ancestors().skip(1).take(3).collect();
        if let [folder, drive_folder, packs] = parents[..]
            && !folder.exists()
        {
            fs::create_dir_all(folder)?;
            sync_dir(packs)?;
            sync_dir(drive_folder)?;
        }
        fs::rename(&incoming.path, &path)?;
        sync_dir(path.parent().unwrap_or(&self.packs))
    }
}

/// A pack that is arriving; its file goes with it, unless it was kept.
#[derive(Debug)]
pub(crate) struct Incoming {
    file: File,
    path: PathBuf,
    hasher: blake3::Hasher,
    len: u64,
}

impl Incoming {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    pub(crate) fn hash(&self) -> Hash {
        *self.hasher.finalize().as_bytes()
    }

    /// The whole pack, read back.
    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        read_at(&self.file, &mut bytes, 0)?;
        Ok(bytes)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Not there any more if it was kept.
        let _ = fs::remove_file(&self.path);
    }
}

/// Appends at least `count` bytes from `offset` to `out`, which has room for them: not zeros first, where
/// the system can do without. More than that come if it has more room.
#[cfg(unix)]
pub(crate) fn append_at(
    file: &File,
    out: &mut Vec<u8>,
    offset: u64,
    count: usize,
) -> io::Result<()> {
    out.reserve(count);
    let start = out.len();
    while out.len() - start < count {
        let at = offset + (out.len() - start) as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(out), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Appends `count` bytes from `offset` to `out`.
#[cfg(windows)]
pub(crate) fn append_at(
    file: &File,
    out: &mut Vec<u8>,
    offset: u64,
    count: usize,
) -> io::Result<()> {
    let start = out.len();
    out.resize(start + count, 0);
    read_at(file, &mut out[start..], offset)
}

/// Fills `buffer` from `offset`, leaving the file's own position alone where the system can.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills `buffer` from `offset`.
#[cfg(windows)]
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    let mut done = 0;
    while done < buffer.len() {
        match file.seek_read(&mut buffer[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(())
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Windows keeps directory entries by itself and cannot flush them.
#[cfg(windows)]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}
