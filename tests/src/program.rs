//! The program under test.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// Crates that end up in the program.
const CRATES: &[&str] =
    &["fs-core", "cache", "cloud", "protocol", "engine", "fuse-linux", "server", "meshdrive"];

/// `meshdrive` from the profile that this test was built with, built first when it is missing or
/// older than its sources; or what `MESHDRIVE_PROGRAM` names.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("MESHDRIVE_PROGRAM") {
        Some(program) => program.into(),
        None => built(),
    })
}

/// Copies a program that is to be run, by another process: a descriptor of ours that is open for
/// writing would be inherited by whatever another test's thread starts meanwhile, and a program that
/// anybody has open for writing cannot be run (ETXTBSY).
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let copied = Command::new("cp").arg(from.as_ref()).arg(to.as_ref()).status().unwrap();
    assert!(copied.success(), "cp: {copied}");
}

/// A folder on the disk that holds the build, as large test data would not fit everywhere else.
/// Sockets must have short paths, so a deep checkout uses the system's temporary folder.
pub(crate) fn scratch() -> PathBuf {
    const PATH_MAX: usize = 50;
    let near = profile_folder().parent().map(|target| target.join("tmp"));
    match near {
        Some(near)
            if near.as_os_str().len() <= PATH_MAX && std::fs::create_dir_all(&near).is_ok() =>
        {
            near
        }
        _ => std::env::temp_dir(),
    }
}

/// `target/debug` or `target/release`.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    if folder.ends_with("deps") { folder.parent().unwrap().into() } else { folder.into() }
}

fn built() -> PathBuf {
    let folder = profile_folder();
    let program = folder.join("meshdrive");
    if is_fresh(&program) {
        return program;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "-p", "meshdrive"]).current_dir(root());
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().unwrap();
    assert!(status.success() && program.exists(), "`cargo build -p meshdrive` has failed");
    program
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn is_fresh(program: &Path) -> bool {
    let Ok(built) = std::fs::metadata(program).and_then(|meta| meta.modified()) else {
        return false;
    };
    CRATES.iter().all(|name| !has_newer(&root().join(name).join("src"), built))
}

fn has_newer(folder: &Path, than: SystemTime) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return has_newer(&path, than);
        }
        entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|time| time > than)
    })
}
