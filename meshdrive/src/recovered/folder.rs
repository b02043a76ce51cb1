//! Writes what is taken out of a drive as plain files and folders.

use super::{attributes, notes::Note, source::Source, view::View};
use crate::{
    failure::{Attempt, Failure, Outcome},
    render::text,
};
use cache::LocalStore;
use fs_core::{Attrs, ContentRow, Ino, Kind, NodeRow, Range, Ranges};
use protocol::control::PathText;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, FileExt, OpenOptionsExt, symlink},
    },
    path::{Path, PathBuf},
};

/// Bytes read at once; a block of zeros this large becomes a hole.
const BLOCK: u64 = 1 << 20;
/// Bytes of a path on this disk (Linux PATH_MAX, with room for another name at its end).
const PATH_MAX: usize = 4_096 - 512;
/// Bytes of a name on this disk.
const NAME_MAX: usize = 255;
/// Where that goes whose path cannot be had.
const ELSEWHERE: &str = "Without a place";
/// Tries to find a free name.
const NAMES_MAX: u32 = 1_000;

pub(super) struct Folder<'a> {
    root: &'a Path,
    local: &'a dyn LocalStore,
    /// Every folder that something was made in.
    touched: BTreeSet<PathBuf>,
    /// Attributes of folders, which are set last: they may forbid to make something in them.
    dirs: BTreeMap<PathBuf, Attrs>,
    /// Where nodes are.
    places: BTreeMap<Ino, PathBuf>,
}

/// What became of a node.
#[derive(Default)]
pub(super) struct Put {
    pub(super) is_file: bool,
    pub(super) is_part: bool,
    /// Bytes that were written.
    pub(super) bytes: u64,
    pub(super) notes: Vec<Note>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(root: &'a Path, local: &'a dyn LocalStore) -> Folder<'a> {
        Folder {
            root,
            local,
            touched: BTreeSet::from([root.to_path_buf()]),
            dirs: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// Makes a node, with the folders above it. What only the cloud has of a file comes from `source`; if
    /// it gives it not, the parts that are here are written each for itself.
    pub(super) async fn put(
        &mut self,
        node: &NodeRow,
        content: Option<&ContentRow>,
        place: Option<Vec<&[u8]>>,
        source: &mut Source,
    ) -> Outcome<Put> {
        let mut put = Put::default();
        let path = self.room_for(node, place, &mut put)?;
        match node.kind {
            Kind::Dir => {
                self.make_dir(&path).attempt(|| shown(&path))?;
                self.dirs.insert(path, node.attrs.clone());
                return Ok(put);
            }
            Kind::File => self.file(&path, (node, content), source, &mut put).await?,
            _ => {
                if let Err(error) = special(&path, node) {
                    if is_full(&error) {
                        return Err(error).attempt(|| shown(&path));
                    }
                    put.notes.push(Note::Unwritten(self.below(&path), words(node, &error)));
                    return Ok(put);
                }
                self.dress(&path, &node.attrs, &mut put)?;
            }
        }
        if !put.is_part {
            self.places.insert(node.ino, path);
        }
        Ok(put)
    }

    /// Gives a file that was written one more name; of others it is said.
    pub(super) fn link(
        &mut self,
        node: &NodeRow,
        place: Option<Vec<&[u8]>>,
        target: Option<Ino>,
        view: &View,
    ) -> Outcome<Vec<Note>> {
        let target_path = target.and_then(|ino| view.node(ino)).map(|node| view.shown_path(node));
        let name = view.shown_path(node);
        let mut put = Put::default();
        if let Some(first) = target.and_then(|ino| self.places.get(&ino)).cloned() {
            let path = self.room_for(node, place, &mut put)?;
            match fs::hard_link(&first, &path) {
                Ok(()) => return Ok(put.notes),
                Err(error) if is_full(&error) => return Err(error).attempt(|| shown(&path)),
                Err(_) => {} // a disk without hard links
            }
        }
        put.notes.push(Note::Linked(name, target_path.unwrap_or_else(|| "?".into())));
        Ok(put.notes)
    }

    /// Sets the attributes of folders and makes all of it durable.
    pub(super) fn finish(&mut self) -> Outcome {
        for (path, attrs) in self.dirs.iter().rev() {
            // What cannot be set of a folder is not worth a word.
            attributes::set(path, attrs, true).attempt(|| shown(path))?;
        }
        for path in self.touched.iter().chain(self.dirs.keys()) {
            File::open(path).and_then(|dir| dir.sync_all()).attempt(|| shown(path))?;
        }
        Ok(())
    }

    /// A path that nothing has yet (a folder may), in a folder that is there.
    fn room_for(
        &mut self,
        node: &NodeRow,
        place: Option<Vec<&[u8]>>,
        put: &mut Put,
    ) -> Outcome<PathBuf> {
        let mut path = self.root.to_path_buf();
        let wanted = place.as_ref().map(|names| names.join(&b'/'));
        match place {
            Some(names) if self.root.as_os_str().len() + total(&names) <= PATH_MAX => {
                path.extend(names.iter().map(|name| OsStr::from_bytes(name)));
            }
            _ => path.extend([OsStr::new(ELSEWHERE), OsStr::from_bytes(&name_of(node))]),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Failure::general(format!("no name for inode {}", node.ino.0)));
        };
        self.make_dir(parent).attempt(|| shown(parent))?;
        let free = free_name(parent, name, node.kind == Kind::Dir)?;
        let at = free.strip_prefix(self.root).unwrap_or(&free).as_os_str().as_bytes().to_vec();
        if wanted.as_ref() != Some(&at) {
            let wanted = wanted.unwrap_or_else(|| name_of(node));
            put.notes.push(Note::Elsewhere(words_of(wanted), words_of(at)));
        }
        Ok(free)
    }

    fn make_dir(&mut self, path: &Path) -> io::Result<()> {
        if self.touched.contains(path) {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let made = path.ancestors().take_while(|at| *at != self.root).map(Path::to_path_buf);
        self.touched.extend(made);
        Ok(())
    }

    async fn file(
        &mut self,
        path: &Path,
        (node, content): (&NodeRow, Option<&ContentRow>),
        source: &mut Source,
        put: &mut Put,
    ) -> Outcome {
        put.is_file = true;
        let whole = Range::new(0, node.size);
        let missing = node.absent(content, whole);
        if !missing.is_empty() {
            let why = self.fetched(path, (node, content), &missing, source).await?;
            if let Err(why) = why {
                put.is_part = true;
                let count = missing.iter().map(Range::len).sum();
                put.notes.push(Note::Part(self.below(path), count, why));
                return self.parts(path, (node, content), &missing, put);
            }
        }
        let file = open(path).attempt(|| shown(path))?;
        for part in written(content, whole) {
            self.copy(node.ino, part, &file, part.start).attempt(|| shown(path))?;
        }
        file.set_len(node.size).attempt(|| shown(path))?;
        put.bytes = node.size;
        self.dress(path, &node.attrs, put)?;
        file.sync_all().attempt(|| shown(path))
    }

    /// Makes a file with what is missing here; if that cannot be had, there is none.
    async fn fetched(
        &self,
        path: &Path,
        (node, content): (&NodeRow, Option<&ContentRow>),
        missing: &[Range],
        source: &mut Source,
    ) -> Outcome<Result<(), String>> {
        let file = open(path).attempt(|| shown(path))?;
        let got = source.fetch(node.base(content), missing, &file).await;
        let got = got.attempt(|| shown(path))?;
        if got.is_err() {
            fs::remove_file(path).attempt(|| shown(path))?;
        }
        Ok(got)
    }

    /// Each part that is here as a file of its own.
    fn parts(
        &mut self,
        path: &Path,
        (node, content): (&NodeRow, Option<&ContentRow>),
        missing: &[Range],
        put: &mut Put,
    ) -> Outcome {
        let name = with_ending(path.file_name().unwrap_or_default(), ".parts");
        let above = path.parent().unwrap_or(self.root);
        let folder = free_name(above, name.as_os_str(), false)?;
        self.make_dir(&folder).attempt(|| shown(&folder))?;
        let missing: Ranges = missing.iter().copied().collect();
        for part in missing.gaps(Range::new(0, node.size)) {
            let path = folder.join(format!("{:020}-{:020}", part.start, part.end));
            let write = || {
                let file = open(&path)?;
                for piece in written(content, part) {
                    self.copy(node.ino, piece, &file, piece.start - part.start)?;
                }
                file.set_len(part.len())?;
                file.sync_all()
            };
            write().attempt(|| shown(&path))?;
            put.bytes += part.len();
        }
        Ok(())
    }

    /// Copies bytes that are here to `offset` of a file; zeros become holes.
    fn copy(&self, ino: Ino, part: Range, file: &File, offset: u64) -> io::Result<()> {
        let mut buffer = vec![0; BLOCK.min(part.len()) as usize];
        let mut at = part.start;
        while at < part.end {
            let length = BLOCK.min(part.end - at) as usize;
            let bytes = &mut buffer[..length];
            bytes.fill(0);
            self.local.read_into(ino, at, bytes).map_err(io::Error::other)?;
            if bytes.iter().any(|&byte| byte != 0) {
                file.write_all_at(bytes, offset + (at - part.start))?;
            }
            at += length as u64;
        }
        Ok(())
    }

    fn dress(&self, path: &Path, attrs: &Attrs, put: &mut Put) -> Outcome {
        let unset = attributes::set(path, attrs, false).attempt(|| shown(path))?;
        let note = |what| Note::Unwritten(self.below(path), what);
        put.notes.extend(unset.into_iter().map(note));
        Ok(())
    }

    fn below(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.root).unwrap_or(path);
        words_of(path.as_os_str().as_bytes().to_vec())
    }
}

/// Makes a file, or takes one that was just made.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// What of `range` is in the file's local bytes; what is neither there nor missing is zeros.
fn written(content: Option<&ContentRow>, range: Range) -> Vec<Range> {
    let sets = content.into_iter().flat_map(|content| [&content.valid, &content.dirty]);
    sets.flat_map(|set| set.within(range)).collect()
}

/// A path that nothing has; with `or_dir` a folder may have it.
fn free_name(parent: &Path, name: &OsStr, or_dir: bool) -> Outcome<PathBuf> {
    let is_free = |path: &PathBuf| match fs::symlink_metadata(path) {
        Ok(meta) => or_dir && meta.is_dir(),
        Err(_) => true,
    };
    let numbered = (2..NAMES_MAX).map(|number| with_ending(name, &format!(" ({number})")));
    let mut names = std::iter::once(PathBuf::from(name)).chain(numbered);
    let path = names.by_ref().map(|name| parent.join(name)).find(is_free);
    path.ok_or_else(|| {
        Failure::general(format!("no free name for {}", parent.join(name).display()))
    })
}

/// The name of a node that may have none any more.
fn name_of(node: &NodeRow) -> Vec<u8> {
    match node.name.as_bytes() {
        [] => format!("inode {}", node.ino.0).into_bytes(),
        name => name.to_vec(),
    }
}

/// Makes a symlink, fifo, socket or device.
fn special(path: &Path, node: &NodeRow) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode};
    let kind = match node.kind {
        Kind::Symlink => return symlink(OsStr::from_bytes(&node.attrs.target), path),
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::File | Kind::Dir | Kind::Link => return Err(ErrorKind::InvalidInput.into()),
    };
    let device = u64::from(node.attrs.rdev);
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device)?;
    Ok(())
}

fn words(node: &NodeRow, error: &io::Error) -> String {
    match node.kind {
        Kind::Symlink => format!("a symlink to {}: {error}", words_of(node.attrs.target.clone())),
        kind => format!("{kind:?} {}: {error}", node.attrs.rdev),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Bytes of the path of these names.
fn total(names: &[&[u8]]) -> usize {
    names.iter().map(|name| name.len() + 1).sum()
}

/// A name with an ending; the name is cut where there is no room for both.
fn with_ending(name: &OsStr, ending: &str) -> PathBuf {
    let bytes = name.as_bytes();
    let cut = &bytes[..bytes.len().min(NAME_MAX - ending.len())];
    OsStr::from_bytes(&[cut, ending.as_bytes()].concat()).into()
}

fn words_of(bytes: Vec<u8>) -> String {
    text::path(&PathText::from_bytes(bytes))
}

fn shown(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
