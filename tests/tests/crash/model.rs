//! What a folder must hold: random steps, performed on the drive and applied to a map.

use meshdrive_tests::{Random, content};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Permissions},
    io::{self, Write},
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const FOLDERS: [&str; 3] = ["", "x", "y"];
const WRITE_MAX: u64 = 40_000;
const SIZE_MAX: u64 = 100_000;
const NOTE: &str = "user.note";

#[derive(Clone, PartialEq, Debug)]
enum Node {
    File { bytes: Arc<Vec<u8>>, mode: u32, note: Option<u8>, mtime: Option<i64> },
    Folder,
    Link(String),
}

/// One call, or an open, a call and a close.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create { path: String, seed: u64, len: usize },
    Write { path: String, at: u64, seed: u64, len: usize },
    Append { path: String, seed: u64, len: usize },
    Truncate { path: String, len: u64 },
    Rename { from: String, to: String },
    Remove { path: String },
    Folder { path: String },
    Link { path: String, target: String },
    Mode { path: String, mode: u32 },
    Note { path: String, value: u8 },
    Time { path: String, mtime: i64 },
    Sync { path: String },
}

/// A worker's folder as it must be, and the step that was cut off.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    name: &'static str,
    nodes: BTreeMap<String, Node>,
    cut_off: Option<Step>,
}

fn place(random: &mut Random) -> String {
    let (folder, name) = (random.pick(&FOLDERS), random.pick(&NAMES));
    if folder.is_empty() { (*name).into() } else { format!("{folder}/{name}") }
}

impl Step {
    pub(crate) fn random(model: &Model, random: &mut Random) -> Step {
        loop {
            if let Some(step) = Step::guess(model, random) {
                return step;
            }
        }
    }

    /// `None`: that would not be possible now.
    fn guess(model: &Model, random: &mut Random) -> Option<Step> {
        let (path, seed) = (place(random), random.number());
        let len = usize::try_from(random.below(WRITE_MAX)).unwrap();
        let is_free = !model.nodes.contains_key(&path);
        let size = model.size(&path);
        let kind = random.below(20);
        if !model.has_parent(&path) {
            let folder = path.split('/').next().unwrap().to_string();
            return (!model.nodes.contains_key(&folder)).then_some(Step::Folder { path: folder });
        }
        let step = match (kind, size) {
            (0..=4, _) if is_free => Step::Create { path, seed, len },
            (5, _) if is_free => Step::Link { path, target: format!("t{seed}") },
            (0..=3, Some(size)) => Step::Write { path, at: random.below(size + 5_000), seed, len },
            (4 | 5, Some(size)) if size < SIZE_MAX => Step::Append { path, seed, len },
            (6, Some(_)) => Step::Truncate { path, len: random.below(SIZE_MAX) },
            (7, Some(_)) => Step::Mode { path, mode: 0o600 | random.below(0o200) as u32 },
            (8, Some(_)) => Step::Note { path, value: seed as u8 },
            (9, Some(_)) => Step::Time { path, mtime: seed as i64 % 4_000_000_000 },
            (10, Some(_)) => Step::Sync { path },
            (11..14, _) if !is_free => Step::Remove { path },
            (14..18, _) if !is_free => {
                let to = place(random);
                let fits = to != path && model.has_parent(&to);
                return fits.then_some(Step::Rename { from: path, to });
            }
            (18, _) => {
                let folder = random.pick(&FOLDERS[1..]).to_string();
                if !model.nodes.contains_key(&folder) {
                    return None;
                }
                match model.is_empty(&folder) {
                    true => Step::Remove { path: folder },
                    false => {
                        let to = FOLDERS[1..].iter().find(|other| **other != folder)?;
                        let is_free = !model.nodes.contains_key(*to);
                        return is_free.then(|| Step::Rename { from: folder, to: (*to).into() });
                    }
                }
            }
            _ => return None,
        };
        Some(step)
    }

    /// Makes the calls below `root`.
    pub(crate) fn perform(&self, root: &Path) -> io::Result<()> {
        let at = |path: &str| root.join(path);
        match self {
            Step::Create { path, seed, len } => {
                File::create_new(at(path))?.write_all(&content(*seed, *len))
            }
            Step::Write { path, at: offset, seed, len } => {
                let file = File::options().write(true).open(at(path))?;
                file.write_all_at(&content(*seed, *len), *offset)
            }
            Step::Append { path, seed, len } => {
                File::options().append(true).open(at(path))?.write_all(&content(*seed, *len))
            }
            Step::Truncate { path, len } => {
                File::options().write(true).open(at(path))?.set_len(*len)
            }
            Step::Rename { from, to } => fs::rename(at(from), at(to)),
            Step::Remove { path } if at(path).is_dir() => fs::remove_dir(at(path)),
            Step::Remove { path } => fs::remove_file(at(path)),
            Step::Folder { path } => fs::create_dir(at(path)),
            Step::Link { path, target } => symlink(target, at(path)),
            Step::Mode { path, mode } => {
                fs::set_permissions(at(path), Permissions::from_mode(*mode))
            }
            Step::Note { path, value } => {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(at(path), NOTE, &[*value], flags).map_err(io::Error::from)
            }
            Step::Time { path, mtime } => set_mtime(&at(path), *mtime),
            Step::Sync { path } => File::open(at(path))?.sync_all(),
        }
    }
}

impl Step {
    /// Where it writes the file, if the file is this one, in bytes.
    pub(crate) fn touches(&self, name: &str, before: &Model) -> Option<Range<usize>> {
        let size = before.bytes(name).map_or(0, |bytes| bytes.len());
        let (path, range) = match self {
            Step::Create { path, .. } => (path, 0..usize::MAX),
            Step::Write { path, at, len, .. } => {
                let at = usize::try_from(*at).unwrap();
                (path, size.min(at)..at + len)
            }
            Step::Append { path, .. } => (path, size..usize::MAX),
            Step::Truncate { path, len } => {
                (path, size.min(usize::try_from(*len).unwrap())..usize::MAX)
            }
            _ => return None,
        };
        (path == name).then_some(range)
    }
}

fn set_mtime(path: &Path, seconds: i64) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: seconds, tv_nsec: 7 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

impl Model {
    pub(crate) fn new(name: &'static str) -> Model {
        Model { name, nodes: BTreeMap::new(), cut_off: None }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    fn has_parent(&self, path: &str) -> bool {
        path.split_once('/').is_none_or(|(folder, _)| self.nodes.contains_key(folder))
    }

    fn size(&self, path: &str) -> Option<u64> {
        match self.nodes.get(path) {
            Some(Node::File { bytes, .. }) => Some(bytes.len() as u64),
            _ => None,
        }
    }

    fn is_empty(&self, folder: &str) -> bool {
        !self.nodes.keys().any(|path| path.starts_with(&format!("{folder}/")))
    }

    pub(crate) fn cut_off(&mut self, step: Step) {
        self.cut_off = Some(step);
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Create { path, seed, len } => {
                let file = Node::File {
                    bytes: Arc::new(content(*seed, *len)),
                    mode: 0o644,
                    note: None,
                    mtime: None,
                };
                self.nodes.insert(path.clone(), file);
            }
            Step::Write { path, at, seed, len } => self.write(path, *at, &content(*seed, *len)),
            Step::Append { path, seed, len } => {
                let end = self.size(path).unwrap();
                self.write(path, end, &content(*seed, *len));
            }
            Step::Truncate { path, len } => self.change(path, |bytes, _, _, mtime| {
                bytes.resize(usize::try_from(*len).unwrap(), 0);
                *mtime = None;
            }),
            Step::Rename { from, to } => self.rename(from, to),
            Step::Remove { path } => drop(self.nodes.remove(path)),
            Step::Folder { path } => drop(self.nodes.insert(path.clone(), Node::Folder)),
            Step::Link { path, target } => {
                self.nodes.insert(path.clone(), Node::Link(target.clone()));
            }
            Step::Mode { path, mode } => self.change(path, |_, found, _, _| *found = *mode),
            Step::Note { path, value } => self.change(path, |_, _, note, _| *note = Some(*value)),
            Step::Time { path, mtime } => self.change(path, |_, _, _, found| *found = Some(*mtime)),
            Step::Sync { .. } => {}
        }
    }

    fn write(&mut self, path: &str, at: u64, new: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.change(path, |bytes, _, _, mtime| {
            if !new.is_empty() {
                bytes.resize(bytes.len().max(at + new.len()), 0);
                bytes[at..at + new.len()].copy_from_slice(new);
                *mtime = None;
            }
        });
    }

    fn change(
        &mut self,
        path: &str,
        change: impl FnOnce(&mut Vec<u8>, &mut u32, &mut Option<u8>, &mut Option<i64>),
    ) {
        let Some(Node::File { bytes, mode, note, mtime }) = self.nodes.get_mut(path) else {
            panic!("{path} is no file of the model");
        };
        change(Arc::make_mut(bytes), mode, note, mtime);
    }

    fn rename(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let children: Vec<String> =
            self.nodes.keys().filter(|path| path.starts_with(&below)).cloned().collect();
        for path in children {
            let node = self.nodes.remove(&path).unwrap();
            self.nodes.insert(format!("{to}/{}", &path[below.len()..]), node);
        }
        let node = self.nodes.remove(from).unwrap();
        self.nodes.insert(to.into(), node);
    }

    /// What is below `root` now.
    pub(crate) fn found(name: &'static str, root: &Path) -> io::Result<Model> {
        let mut model = Model::new(name);
        look(&root.join(name), Path::new(""), &mut model.nodes)?;
        Ok(model)
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &Arc<Vec<u8>>)> {
        self.nodes.iter().filter_map(|(path, node)| match node {
            Node::File { bytes, .. } => Some((path.as_str(), bytes)),
            _ => None,
        })
    }

    pub(crate) fn bytes(&self, path: &str) -> Option<&Arc<Vec<u8>>> {
        match self.nodes.get(path) {
            Some(Node::File { bytes, .. }) => Some(bytes),
            _ => None,
        }
    }

    /// All differences apart from what stands in files.
    pub(crate) fn differences_outside(&self, found: &Model) -> Vec<String> {
        let paths: BTreeSet<&String> = self.nodes.keys().chain(found.nodes.keys()).collect();
        let differs = |path: &String| match (self.nodes.get(path), found.nodes.get(path)) {
            (Some(wanted), Some(there)) => wanted.differs_outside(there),
            (wanted, _) => Some(if wanted.is_some() { "is missing" } else { "is there" }.into()),
        };
        let what = |path| differs(path).map(|what| format!("{path}: {what}"));
        paths.into_iter().filter_map(what).collect()
    }

    /// Judges what is below `root` after a crash, and takes it as what must be there from now on.
    pub(crate) fn adopt(&mut self, root: &Path) -> Result<(), String> {
        let root = root.join(self.name);
        let without = self.compare(&root);
        let Some(step) = self.cut_off.take() else { return without };
        let Err(why) = without else { return Ok(()) };
        for variant in self.variants(&step) {
            if variant.compare(&root).is_ok() {
                *self = variant;
                return Ok(());
            }
        }
        Err(format!("{why}\ncut off: {step:?}"))
    }

    /// What the step that was cut off may have left: the kernel hands a write over in pieces of whole
    /// pages, and creates a file before it writes it.
    pub(crate) fn variants(&self, step: &Step) -> Vec<Model> {
        let mut variants = Vec::new();
        let mut add = |step: &Step| {
            let mut variant = self.clone();
            variant.apply(step);
            variants.push(variant);
        };
        add(step);
        let (path, at, seed, len) = match step {
            Step::Create { path, seed, len } => {
                add(&Step::Create { path: path.clone(), seed: *seed, len: 0 });
                (path, 0, *seed, *len)
            }
            Step::Write { path, at, seed, len } => (path, *at, *seed, *len),
            Step::Append { path, seed, len } => (path, self.size(path).unwrap(), *seed, *len),
            _ => return variants,
        };
        let first_page = 4096 - usize::try_from(at % 4096).unwrap();
        for part in (first_page..len).step_by(4096) {
            let mut variant = self.clone();
            if matches!(step, Step::Create { .. }) {
                variant.apply(&Step::Create { path: path.clone(), seed, len: 0 });
            }
            variant.write(path, at, &content(seed, len)[..part]);
            variants.push(variant);
        }
        // The bytes inside the old size are replaced in place, before the new size is recorded.
        if let Some(size) = self.size(path)
            && let Some(inside @ 1..) = size.checked_sub(at)
        {
            let inside = usize::try_from(inside).unwrap().min(len);
            for part in (first_page..inside).step_by(4096).chain([inside]) {
                let mut variant = self.clone();
                variant.write(path, at, &content(seed, len)[..part]);
                variants.push(variant);
            }
        }
        variants
    }

    /// # Errors
    /// The first difference.
    pub(crate) fn compare(&self, root: &Path) -> Result<(), String> {
        let mut found = BTreeMap::new();
        look(root, Path::new(""), &mut found).map_err(|error| error.to_string())?;
        for path in self.nodes.keys().chain(found.keys()) {
            match (self.nodes.get(path), found.get(path)) {
                (Some(wanted), Some(there)) => {
                    wanted.differs(there).map_or(Ok(()), |what| Err(format!("{path}: {what}")))?
                }
                (wanted, there) => {
                    return Err(format!(
                        "{path}: wanted {}, found {}",
                        wanted.is_some(),
                        there.is_some()
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Node {
    fn differs(&self, found: &Node) -> Option<String> {
        if let (Node::File { bytes, .. }, Node::File { bytes: bytes2, .. }) = (self, found)
            && bytes != bytes2
        {
            let same =
                bytes.iter().zip(&**bytes2).take_while(|(left, right)| left == right).count();
            let zeros = bytes2[same..].iter().take_while(|byte| **byte == 0).count();
            return Some(format!(
                "wanted {} bytes, found {}, the same up to {same}, then {zeros} zeros",
                bytes.len(),
                bytes2.len()
            ));
        }
        self.differs_outside(found)
    }

    /// Apart from what stands in a file; its length counts.
    fn differs_outside(&self, found: &Node) -> Option<String> {
        let (
            Node::File { bytes, mode, note, mtime },
            Node::File { bytes: bytes2, mode: mode2, note: note2, mtime: mtime2 },
        ) = (self, found)
        else {
            return (self != found).then(|| format!("wanted {self:?}, found {found:?}"));
        };
        if bytes.len() != bytes2.len() {
            return Some(format!("wanted {} bytes, found {}", bytes.len(), bytes2.len()));
        }
        let wrong_time = mtime.is_some() && mtime != mtime2;
        (mode != mode2 || note != note2 || wrong_time).then(|| {
            format!("wanted {mode:o} {note:?} {mtime:?}, found {mode2:o} {note2:?} {mtime2:?}")
        })
    }
}

fn look(root: &Path, below: &Path, into: &mut BTreeMap<String, Node>) -> io::Result<()> {
    let folder = root.join(below);
    let with_path =
        |path: &Path, error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    for entry in fs::read_dir(&folder).map_err(|error| with_path(&folder, error))? {
        let name: PathBuf = below.join(entry?.file_name());
        let path = root.join(&name);
        let meta = fs::symlink_metadata(&path).map_err(|error| with_path(&path, error))?;
        let node = if meta.is_dir() {
            look(root, &name, into)?;
            Node::Folder
        } else if meta.is_symlink() {
            Node::Link(fs::read_link(&path)?.to_string_lossy().into_owned())
        } else {
            let mut room = [0_u8; 8];
            let note = rustix::fs::getxattr(&path, NOTE, &mut room[..]).ok();
            Node::File {
                bytes: Arc::new(fs::read(&path).map_err(|error| with_path(&path, error))?),
                mode: meta.mode() & 0o7777,
                note: note.map(|_| room[0]),
                mtime: Some(meta.mtime()),
            }
        };
        into.insert(name.to_string_lossy().into_owned(), node);
    }
    Ok(())
}
