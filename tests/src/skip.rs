//! What cannot run on this machine is said aloud and written down.

use std::{fs::File, io::Write, path::Path};

/// Names a file to which each skipped test appends one line, `test: reason`.
const SKIPS_VARIABLE: &str = "MESHDRIVE_SKIPS";

/// Says that `test` does not run here, and why.
pub fn skip(test: &str, reason: &str) {
    // Both at once, past the capture of the test harness, which hides the words of tests that pass.
    let line = format!("{test}: {reason}\n");
    let _ = std::io::stderr().write_all(format!("SKIPPED {line}").as_bytes());
    if let Some(file) = std::env::var_os(SKIPS_VARIABLE) {
        let file = File::options().append(true).create(true).open(file);
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// Whether a drive can be mounted here; if not, `test` is noted as skipped.
pub fn can_mount(test: &str) -> bool {
    match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => true,
        Err(error) => {
            skip(test, &format!("/dev/fuse cannot be opened: {error}"));
            false
        }
    }
}

/// Whether all these programs are there; if not, `test` is noted as skipped.
pub fn have(test: &str, programs: &[&str]) -> bool {
    programs.iter().all(|program| have_any(test, &[program]))
}

/// Whether one of these programs is there; if not, `test` is noted as skipped.
pub fn have_any(test: &str, programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&str| {
        std::env::split_paths(&path)
            .chain([Path::new("/usr/sbin").into(), Path::new("/sbin").into()])
            .any(|folder| folder.join(name).exists())
    };
    let found = programs.iter().any(is_there);
    if !found {
        skip(test, &format!("`{}` is missing", programs.join("` or `")));
    }
    found
}
