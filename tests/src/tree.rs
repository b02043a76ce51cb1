//! What a folder holds, to be compared with another.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// One file, folder or symlink.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    File { mode: u32, bytes: Vec<u8> },
    Folder { mode: u32 },
    Link { target: PathBuf },
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Entry::File { mode, bytes } => {
                let head = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
                write!(f, "file {mode:o}, {} bytes: {head:?}", bytes.len())
            }
            Entry::Folder { mode } => write!(f, "folder {mode:o}"),
            Entry::Link { target } => write!(f, "link to {}", target.display()),
        }
    }
}

pub type Tree = BTreeMap<PathBuf, Entry>;

/// Everything below `root`, by path from there.
#[track_caller]
pub fn tree(root: &Path) -> Tree {
    tree_of(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()))
}

/// # Errors
/// When something below `root` cannot be read.
pub fn tree_of(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    add(root, Path::new(""), &mut tree)?;
    Ok(tree)
}

fn add(root: &Path, below: &Path, tree: &mut Tree) -> io::Result<()> {
    let folder = root.join(below);
    for entry in fs::read_dir(&folder).map_err(|error| at(&folder, &error))? {
        let name = below.join(entry.map_err(|error| at(&folder, &error))?.file_name());
        let path = root.join(&name);
        let meta = fs::symlink_metadata(&path).map_err(|error| at(&path, &error))?;
        let mode = meta.mode() & 0o7777;
        let entry = if meta.is_dir() {
            add(root, &name, tree)?;
            Entry::Folder { mode }
        } else if meta.is_symlink() {
            Entry::Link { target: fs::read_link(&path).map_err(|error| at(&path, &error))? }
        } else {
            Entry::File { mode, bytes: fs::read(&path).map_err(|error| at(&path, &error))? }
        };
        tree.insert(name, entry);
    }
    Ok(())
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
