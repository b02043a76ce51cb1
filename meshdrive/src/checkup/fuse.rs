//! FUSE, and the limits of this user.

use super::Finding;
use std::{
    fs::{self, File},
    io::ErrorKind,
    path::PathBuf,
};

const DEVICE: &str = "/dev/fuse";
const FUSE_CONF: &str = "/etc/fuse.conf";
/// Open files that a busy drive may need.
const FILES_WANTED: u64 = 4_096;

pub(super) fn all() -> Vec<Finding> {
    vec![device(), helper(), allow_other(), descriptors()]
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
