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
    /// Not installed unasked: with what it depends on it takes tens to hundreds of megabytes.
    is_large: bool,
    /// The tests that are skipped without it.
    tests: &'static str,
}

impl Need {
    const fn of(
        programs: &'static [&'static str],
        package: &'static str,
        tests: &'static str,
    ) -> Need {
        Need { programs, package, is_large: false, tests }
    }

    const fn large(self) -> Need {
        Need { is_large: true, ..self }
    }
}

/// Only `cargo xtask conformance` runs it.
const STRESS: Need =
    Need::of(&["stress-ng"], "stress-ng", "the file system stressors of stress-ng").large();

const NEEDS: &[Need] = &[
    Need::of(&["fusermount3"], "fuse3", "every test on a real mount"),
    Need::of(&["git"], "git", "git on the mount"),
    Need::of(&["rsync"], "rsync", "rsync on the mount"),
    Need::of(&["sqlite3"], "sqlite3", "SQLite on the mount"),
    Need::of(&["make"], "make", "a build on the mount"),
    Need::of(&["gcc"], "gcc", "a build on the mount"),
    Need::of(&["python3"], "python3", "Python programs on the mount"),
    Need::of(&["vim", "vim.tiny"], "vim-tiny", "vim on the mount"),
    Need::of(&["getfattr"], "attr", "extended attributes by hand"),
    Need::of(&["getfacl"], "acl", "access control lists by hand"),
    Need::of(&["flock", "findmnt"], "util-linux", "locks between programs"),
    Need::of(&["zip"], "zip", "zip archives on the mount"),
    Need::of(&["unzip"], "unzip", "zip archives on the mount"),
    Need::of(&["rg"], "ripgrep", "ripgrep on the mount"),
    Need::of(&["inotifywait"], "inotify-tools", "watching a folder of the mount"),
    Need::of(&["gio"], "libglib2.0-bin", "the bin of file managers on the mount"),
    Need::of(&["identify", "mogrify"], "imagemagick", "pictures on the mount"),
    Need::of(&["fio"], "fio", "fio's jobs that check what they wrote"),
    STRESS,
    Need::of(&["npm"], "npm", "npm on the mount").large(),
    Need::of(&["pg_ctlcluster"], "postgresql", "PostgreSQL on the mount").large(),
    Need::of(&["ffmpeg"], "ffmpeg", "films on the mount").large(),
    Need::of(&["feh"], "feh", "an image viewer on the mount").large(),
    Need::of(&["soffice"], "libreoffice-writer-nogui", "LibreOffice on the mount").large(),
];

/// Without it the kernel offers no FUSE.
const DEVICE: &str = "/dev/fuse";
const DEVICE_REMEDY: &str =
    "/dev/fuse is missing (as root: modprobe fuse; in a container: pass the device in)";

/// Installs what is missing when it may (root on Debian); otherwise names the command and notes
/// the tests that will be skipped. Large packages are installed only when asked for.
pub(crate) fn check(report: &mut Report, with_large: bool) {
    let mut wanted = missing();
    wanted.retain(|need| with_large || !need.is_large);
    provide(&wanted);
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

/// What the suites of `cargo xtask conformance` need beside themselves.
#[cfg(target_os = "linux")]
pub(crate) fn check_suites(report: &mut Report) {
    let named = ["fio", "stress-ng", "acl", "attr"];
    let wanted: Vec<&Need> =
        missing().into_iter().filter(|need| named.contains(&need.package)).collect();
    provide(&wanted);
    for need in missing().into_iter().filter(|need| named.contains(&need.package)) {
        report.skip(format!("{}: apt-get install {}", need.tests, need.package));
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

/// Whether packages may be installed here unasked.
pub(crate) fn may_install() -> bool {
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

/// # Errors
/// When apt-get fails.
pub(crate) fn install(names: &str) -> anyhow::Result<()> {
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
