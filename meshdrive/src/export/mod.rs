//! Copies a tree with everything that the drive keeps: contents with their holes, modes, owners,
//! times, extended attributes, symlinks, hard links and special files.

mod attributes;
mod copy;

use crate::{
    failure::{Attempt, Failure, Outcome},
    render::{progress::Line, text},
};
use std::{
    collections::HashMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Where a file is written before it is whole; in the target's root, so that a rename moves it.
const PART_NAME: &str = ".meshdrive-export.part";

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) copied: u64,
    pub(crate) bytes: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
}

pub(crate) struct Export<'a> {
    source: &'a Path,
    target: &'a Path,
    line: &'a Line,
    tally: Tally,
    /// Where the first name of a file with several names went.
    links: HashMap<u64, PathBuf>,
}

/// Paths relative to the root, so that both sides can be named.
enum Step {
    Enter(PathBuf),
    /// All children are done: attributes last, since adding children changes the times.
    Leave(PathBuf, Box<Metadata>),
}

impl<'a> Export<'a> {
    pub(crate) fn new(source: &'a Path, target: &'a Path, line: &'a Line) -> Export<'a> {
        Export { source, target, line, tally: Tally::default(), links: HashMap::new() }
    }

    /// Goes through the whole tree. One entry that fails does not stop the others.
    ///
    /// # Errors
    /// Only what makes going on senseless: the target's disk is full, or the drive went away.
    pub(crate) fn run(mut self) -> Outcome<Tally> {
        let root = self.source.symlink_metadata();
        let root = root.attempt(|| format!("cannot read {}", self.source.display()))?;
        let mut steps = vec![Step::Leave(PathBuf::new(), Box::new(root))];
        self.list(Path::new(""), &mut steps)
            .attempt(|| format!("cannot list {}", self.source.display()))?;
        while let Some(step) = steps.pop() {
            let (path, done) = match step {
                Step::Enter(path) => {
                    let done = self.enter(&path, &mut steps);
                    (path, done)
                }
                Step::Leave(path, meta) => {
                    let done =
                        attributes::copy(&self.source.join(&path), &self.target.join(&path), &meta);
                    (path, done)
                }
            };
            if let Err(error) = done {
                self.note(&path, error)?;
            }
            self.line.say(format!(
                "{} copied, {}",
                text::count(self.tally.copied, "entry", "entries"),
                text::size(self.tally.bytes)
            ));
        }
        Ok(self.tally)
    }

    /// Counts a failure, or ends the export.
    fn note(&mut self, path: &Path, error: io::Error) -> Outcome {
        use io::ErrorKind::{NotConnected, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem) {
            let failed: Result<(), io::Error> = Err(error);
            return failed.attempt(|| format!("cannot write {}", self.target.join(path).display()));
        }
        if error.kind() == NotConnected {
            return Err(Failure::general(format!(
                "the drive at {} went away",
                self.source.display()
            ))
            .hint("mount it again, then run the export again; what is done is skipped"));
        }
        self.tally.failed += 1;
        self.line.talk(&format!("cannot copy {}: {error}", path.display()));
        Ok(())
    }

    fn list(&self, path: &Path, steps: &mut Vec<Step>) -> io::Result<()> {
        for entry in fs::read_dir(self.source.join(path))? {
            steps.push(Step::Enter(path.join(entry?.file_name())));
        }
        Ok(())
    }

    fn enter(&mut self, path: &Path, steps: &mut Vec<Step>) -> io::Result<()> {
        let source = self.source.join(path);
        let target = self.target.join(path);
        let meta = source.symlink_metadata()?;
        let kind = meta.file_type();
        if kind.is_dir() {
            match fs::DirBuilder::new().mode(0o700).create(&target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && target.is_dir() => {
                    self.tally.skipped += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => self.tally.copied += 1,
            }
            steps.push(Step::Leave(path.into(), Box::new(meta)));
            return self.list(path, steps);
        }
        if meta.nlink() > 1 {
            if let Some(first) = self.links.get(&meta.ino()) {
                self.tally.copied += 1;
                replace(&target, |target| fs::hard_link(first, target))?;
                return Ok(());
            }
            self.links.insert(meta.ino(), target.clone());
        }
        if is_same(&meta, &target) {
            self.tally.skipped += 1;
            return Ok(());
        }
        if kind.is_file() {
            let part = self.target.join(PART_NAME);
            self.tally.bytes += copy::file(&source, &part, meta.len())?;
            attributes::copy(&source, &part, &meta)?;
            fs::rename(&part, &target)?;
        } else {
            replace(&target, |target| copy::special(&source, target, &meta))?;
            attributes::copy(&source, &target, &meta)?;
        }
        self.tally.copied += 1;
        Ok(())
    }
}

/// Whether an earlier run has done this: same kind, size and time of last change.
fn is_same(meta: &Metadata, target: &Path) -> bool {
    target.symlink_metadata().is_ok_and(|there| {
        let kind = meta.file_type();
        there.file_type() == kind
            && there.len() == meta.len()
            && (there.mtime(), there.mtime_nsec()) == (meta.mtime(), meta.mtime_nsec())
            && !(kind.is_char_device() || kind.is_block_device())
    })
}

/// Makes something that cannot be written over.
fn replace(target: &Path, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    match make(target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(target)?;
            make(target)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
