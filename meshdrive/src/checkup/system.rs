//! The machine: FUSE, limits, directories, configuration, leftovers.

use super::Finding;
use crate::{
    config::Config,
    dirs::{Dirs, Label, private_dir},
    failure::{Attempt, Outcome},
    mounts,
    render::text,
};
use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

const DEVICE: &str = "/dev/fuse";
const FUSE_CONF: &str = "/etc/fuse.conf";
/// Open files that a busy drive may need.
const FILES_WANTED: u64 = 4_096;

/// `floor`: bytes that stay free on the disk (`cache.floor`); below it nothing new is taken.
pub(crate) fn all(dirs: &Dirs, floor: u64) -> Vec<Finding> {
    let mut findings = vec![device(), helper(), allow_other(), descriptors()];
    findings.extend(state(dirs, floor));
    findings.extend(mounts(dirs));
    findings
}

fn device() -> Finding {
    match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Finding::ok(DEVICE, "can be opened"),
        Err(error) if error.kind() == ErrorKind::NotFound => Finding::fail(
            DEVICE,
            "is missing",
            "load the kernel module with `modprobe fuse`; in a container, start it with `--device /dev/fuse`",
        ),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Finding::fail(
            DEVICE,
            "permission denied",
            "run as root, or let the administrator set its mode to 0666 as distributions do",
        ),
        Err(error) => Finding::fail(DEVICE, error.to_string(), "is the kernel module fuse loaded?"),
    }
}

fn helper() -> Finding {
    let root = rustix::process::geteuid().is_root();
    match in_path("fusermount3") {
        Some(path) => Finding::ok("fusermount3", path.display().to_string()),
        None if root => Finding::ok("fusermount3", "is missing, but root does not need it"),
        None => Finding::fail(
            "fusermount3",
            "is missing",
            "install the package fuse3: users other than root mount with its help",
        ),
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn allow_other() -> Finding {
    let what = "user_allow_other";
    let text = fs::read_to_string(FUSE_CONF).unwrap_or_default();
    if text.lines().any(|line| line.trim() == what) {
        Finding::ok(what, format!("is set in {FUSE_CONF}"))
    } else if rustix::process::geteuid().is_root() {
        Finding::ok(what, "is not set, but root does not need it")
    } else {
        Finding::ok(what, format!("is not set in {FUSE_CONF}; only `--allow-other` needs it"))
    }
}

fn descriptors() -> Finding {
    let what = "open files";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    match limit {
        Some(limit) if limit < FILES_WANTED => Finding::warn(
            what,
            format!("at most {limit}"),
            format!("raise the hard limit to {FILES_WANTED} or more (`ulimit -Hn`)"),
        ),
        Some(limit) => Finding::ok(what, format!("at most {limit}")),
        None => Finding::ok(what, "no limit"),
    }
}

fn state(dirs: &Dirs, floor: u64) -> Vec<Finding> {
    let root = dirs.state_root();
    let what = format!("state directory {}", root.display());
    if let Err(failure) = private_dir(root).and_then(|()| probe(root)) {
        let advice =
            failure.hint.unwrap_or_else(|| "make it writable, or set MESHDRIVE_HOME".into());
        return vec![Finding::fail(what, failure.error.to_string(), advice)];
    }
    let free = match disk_free(root) {
        Ok(free) => free,
        Err(failure) => {
            return vec![Finding::warn(what, failure.error.to_string(), "look at the disk")];
        }
    };
    let found = format!("writable, {} free", text::size(free));
    vec![match too_full(free, floor) {
        Some(advice) => Finding::fail(what, found, advice),
        None => Finding::ok(what, found),
    }]
}

/// Free bytes of the disk under `path`.
pub(crate) fn disk_free(path: &Path) -> Outcome<u64> {
    let stat = rustix::fs::statvfs(path)
        .attempt(|| format!("cannot ask for the free space of {}", path.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What to do when a drive finds no room on its disk.
pub(crate) fn too_full(free: u64, floor: u64) -> Option<String> {
    (free < floor).then(|| {
        format!(
            "less than {} are free (cache.floor), so nothing new is kept here and writes fail: free \
             some space, or lower --cache-floor",
            text::size(floor)
        )
    })
}

/// Writes and removes a file.
fn probe(dir: &Path) -> Outcome {
    let file = dir.join(".doctor");
    crate::dirs::write_private(&file, b"can this be written?")?;
    let _ = fs::remove_file(file);
    Ok(())
}

/// Mounts whose daemon has died.
fn mounts(dirs: &Dirs) -> Vec<Finding> {
    let mounts = match mounts::ours(dirs) {
        Ok(mounts) => mounts,
        Err(failure) => {
            return vec![Finding::warn("mounts", failure.error.to_string(), "is /proc mounted?")];
        }
    };
    mounts.iter().map(|(label, path)| mount(label, path)).collect()
}

fn mount(label: &Label, path: &Path) -> Finding {
    let what = format!("mount of {label} at {}", path.display());
    if mounts::is_dead(path) {
        let advice = format!(
            "`meshdrive mount {label} {0}` recovers it; `fusermount3 -uz {0}` removes it",
            path.display()
        );
        return Finding::fail(what, "is dead: its daemon is gone", advice);
    }
    match fs::symlink_metadata(path) {
        Err(error) => Finding::warn(what, error.to_string(), "is it a mount of another user?"),
        Ok(_) => Finding::ok(what, "answers"),
    }
}

/// The configuration, or the defaults and what is wrong.
pub(crate) fn config(loaded: Outcome<Config>) -> (Config, Finding) {
    match loaded {
        Ok(config) => (config, Finding::ok("configuration", "is valid")),
        Err(failure) => {
            let advice = failure.hint.clone().unwrap_or_else(|| "correct it".into());
            let finding = Finding::fail("configuration", failure.error.to_string(), advice);
            (Config::default(), finding)
        }
    }
}
