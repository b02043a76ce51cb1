//! Public suites for file systems, run on real mounts: `pjdfstest`, `fsx`, `fio`, `stress-ng`.
//!
//! `cargo xtask conformance` fetches the first two and runs everything in full length;
//! `cargo xtask test` runs shorter forms of what is there.

#![cfg(target_os = "linux")]
// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

mod evicting;
mod fio;
mod fsx;
mod pjdfstest;
mod stress;

use meshdrive_tests::skip;
use std::path::PathBuf;

/// Set to run everything in full length.
const LONG: &str = "MESHDRIVE_LONG";
/// The folder of suites that were built from the registry.
const SUITES: &str = "MESHDRIVE_SUITES";

fn is_long() -> bool {
    std::env::var_os(LONG).is_some()
}

/// A suite by its name; noted as skipped when it is not there.
fn suite(test: &str, name: &str) -> Option<PathBuf> {
    let test_program = std::env::current_exe().unwrap();
    let built = test_program.ancestors().nth(3).map(|target| target.join("conformance"));
    let folder = std::env::var_os(SUITES).map(PathBuf::from).or(built)?;
    let program = folder.join("bin").join(name);
    if !program.is_file() {
        skip(test, &format!("`{name}` is missing (cargo xtask conformance installs it)"));
        return None;
    }
    Some(program)
}
