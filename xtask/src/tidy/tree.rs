//! The files of the work tree: those that git knows or would add, read once.

use anyhow::{Context, Result};
use std::{path::Path, process::Command};

/// Above this many bytes a file is judged by its size alone.
const TEXT_BYTES: u64 = 4 << 20;

/// One file.
#[derive(Debug)]
pub(super) struct File {
    /// Path from the root, with `/`.
    pub(super) path: String,
    pub(super) size: u64,
    /// `None`: not UTF-8 text, or larger than 4 MiB.
    pub(super) text: Option<String>,
}

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

impl Tree {
    pub(super) fn load(root: &Path) -> Result<Tree> {
        let mut files = Vec::new();
        for path in list(root)? {
            let full = root.join(&path);
            // Deleted but not yet committed, or a symlink: no content of its own.
            let Ok(meta) = full.symlink_metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            let text = (meta.len() <= TEXT_BYTES)
                .then(|| std::fs::read(&full))
                .transpose()
                .with_context(|| path.clone())?
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .filter(|text| !text.contains('\0'));
            files.push(File { path, size: meta.len(), text });
        }
        Ok(Tree { files })
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path)?.text.as_deref()
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    /// Rust source files with their text.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|file| file.path.ends_with(".rs"))
            .filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
    }
}

/// Asks git for tracked and new files; without git (an unpacked archive) walks the folders.
fn list(root: &Path) -> Result<Vec<String>> {
    let git = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(root)
        .output();
    let mut paths = match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect(),
        _ => {
            let mut paths = Vec::new();
            walk(root, "", &mut paths)?;
            paths
        }
    };
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// What `.gitignore` names, for trees without git.
const IGNORED: [&str; 4] = [".git", "target", "Meshdrive", ".meshdrive-dev"];

fn walk(root: &Path, below: &str, paths: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(root.join(below)).with_context(|| below.to_owned())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if below.is_empty() && IGNORED.contains(&name.as_str()) {
            continue;
        }
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.file_type()?.is_dir() {
            walk(root, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
    let file = |&(path, text): &(&str, &str)| File {
        path: path.into(),
        size: text.len() as u64,
        text: Some(text.into()),
    };
    Tree { files: files.iter().map(file).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_git_the_folders_are_walked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/src")).unwrap();
        std::fs::create_dir_all(dir.path().join("target/x")).unwrap();
        std::fs::write(dir.path().join("a/src/lib.rs"), "//! x\n").unwrap();
        std::fs::write(dir.path().join("target/x/y"), "").unwrap();
        std::fs::write(dir.path().join("b.bin"), [0, 159, 146]).unwrap();
        let tree = Tree::load(dir.path()).unwrap();
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a/src/lib.rs", "b.bin"]);
        assert_eq!(tree.text("a/src/lib.rs"), Some("//! x\n"));
        assert_eq!(tree.text("b.bin"), None);
    }
}
