//! The programs that the tests use, the Debian packages that hold them, and what cannot run
//! without them.

use crate::report::{Report, run};
use std::{path::Path, process::Command};

/// One program that tests start.
#[derive(Debug)]
struct Need {
    /// Any one of these on the PATH will do.
    programs: &'static [&'static str],
    package: &'static str,
    /// The tests that are skipped without it.
    tests: &'static str,
}

const NEEDS: &[Need] = &[
    Need { programs: &["fusermount3"], package: "fuse3", tests: "every test on a real mount" },
    Need { programs: &["git"], package: "git", tests: "git on the mount" },
    Need { programs: &["rsync"], package: "rsync", tests: "rsync on the mount" },
    Need { programs: &["sqlite3"], package: "sqlite3", tests: "SQLite on the mount" },
    Need { programs: &["make"], package: "make", tests: "a build on the mount" },
    Need { programs: &["gcc"], package: "gcc", tests: "a build on the mount" },
    Need { programs: &["python3"], package: "python3", tests: "Python programs on the mount" },
    Need { programs: &["vim", "vim.tiny"], package: "vim-tiny", tests: "vim on the mount" },
    Need { programs: &["getfattr"], package: "attr", tests: "extended attributes by hand" },
    Need { programs: &["getfacl"], package: "acl", tests: "access control lists by hand" },
    Need {
        programs: &["flock", "findmnt"],
        package: "util-linux",
        tests: "locks between programs",
    },
];

/// Without it the kernel offers no FUSE.
const DEVICE: &str = "/dev/fuse";
const DEVICE_REMEDY: &str =
    "/dev/fuse is missing (as root: modprobe fuse; in a container: pass the device in)";

/// Installs what is missing when it may (root on Debian); otherwise names the command and notes
/// the tests that will be skipped.
pub(crate) fn check(report: &mut Report) {
    provide(&missing());
    for need in missing() {
        report.skip(format!(
            "{}: `{}` is missing (apt-get install {})",
            need.tests, need.programs[0], need.package
        ));
    }
    if cfg!(target_os = "linux") && !Path::new(DEVICE).exists() {
        report.skip(format!("every test on a real mount: {DEVICE_REMEDY}"));
    }
}

/// What mounting needs.
///
/// # Errors
/// When it is missing and cannot be installed; names what to do.
#[cfg(target_os = "linux")]
pub(crate) fn need_mounts() -> anyhow::Result<()> {
    let fuse = &NEEDS[0];
    if !on_path(fuse.programs[0]) {
        provide(&[fuse]);
    }
    let found = on_path(fuse.programs[0]);
    anyhow::ensure!(found, "mounting needs fusermount3; on Debian: apt-get install fuse3");
    anyhow::ensure!(Path::new(DEVICE).exists(), DEVICE_REMEDY);
    Ok(())
}

fn provide(needs: &[&Need]) {
    if needs.is_empty() {
        return;
    }
    let names = packages(needs);
    if !may_install() {
        eprintln!("missing packages; on Debian: apt-get install {names}");
        return;
    }
    eprintln!("installing with apt-get: {names}");
    if let Err(error) = install(&names) {
        eprintln!("apt-get failed: {error:#}");
    }
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !need.programs.iter().any(|name| on_path(name))).collect()
}

fn packages(needs: &[&Need]) -> String {
    needs.iter().map(|need| need.package).collect::<Vec<_>>().join(" ")
}

/// Whether `program` is in a folder of PATH, or where Debian keeps programs for root.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root_folders = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(root_folders).any(|folder| folder.join(program).is_file())
}

fn may_install() -> bool {
    Path::new("/etc/debian_version").exists() && on_path("apt-get") && is_root()
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

fn install(names: &str) -> anyhow::Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt().args(["-q", "update"]))?;
    run(apt().args(["-q", "-y", "install", "--no-install-recommends"]).args(names.split(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_on_the_path() {
        assert!(on_path("cargo"));
        assert!(!on_path("no-such-program-anywhere"));
    }

    #[test]
    fn package_names_are_joined_for_one_command() {
        assert_eq!(packages(&[&NEEDS[0], &NEEDS[2]]), "fuse3 rsync");
    }
}
