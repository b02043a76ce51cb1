//! `cargo xtask conformance`: public suites for file systems and long comparisons with a local disk, on
//! real mounts. The suites are built from the registry once; later runs need no network.

use crate::{
    packages,
    report::{self, Report},
    test::{SKIPS_VARIABLE, Skips, cargo},
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A suite from the registry. It runs beside our programs and is no part of them.
struct Suite {
    name: &'static str,
    version: &'static str,
}

const SUITES: &[Suite] =
    &[Suite { name: "pjdfstest", version: "0.2.2" }, Suite { name: "fsx", version: "0.3.2" }];
/// Below the root.
const FOLDER: &str = "target/conformance";
/// Tells the tests where the suites are.
const SUITES_VARIABLE: &str = "MESHDRIVE_SUITES";
/// Makes the tests run in full length.
const LONG_VARIABLE: &str = "MESHDRIVE_LONG";
const OPERATIONS_VARIABLE: &str = "MESHDRIVE_OPERATIONS";
/// Operations of one run of the comparison with a local disk.
const OPERATIONS: u64 = 50_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these: pjdfstest, fsx, fio, stress, reference
    #[arg(long, value_name = "SUITE")]
    only: Vec<String>,
}

/// # Errors
/// When any suite failed; all of them are named in the summary before.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    packages::need_mounts()?;
    let mut report = Report::default();
    packages::check_suites(&mut report);
    for suite in SUITES {
        report.step(suite.name, || fetch(root, suite));
    }
    let skips = Skips::new(root)?;
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|one| one == name);
    for name in ["pjdfstest", "fsx", "fio", "stress"] {
        if wanted(name) {
            let filter = format!("{name}::");
            report.step(name, || tests(root, &skips, &["conformance", "--", &filter]));
        }
    }
    if wanted("reference") {
        report.step("reference", || tests(root, &skips, &["reference", "--"]));
    }
    for line in skips.lines() {
        report.skip(line);
    }
    report.finish()
}

/// Fetches and builds what is missing of the suites, for the shorter runs of `cargo xtask test`; what
/// cannot be had is skipped there.
pub(crate) fn provide(root: &Path) {
    for suite in SUITES {
        if let Err(error) = fetch(root, suite) {
            eprintln!("{}: {error:#}", suite.name);
        }
    }
}

fn fetch(root: &Path, suite: &Suite) -> Result<()> {
    let folder = root.join(FOLDER);
    let mark = folder.join(format!("{}-{}", suite.name, suite.version));
    if mark.is_file() && program(&folder, suite).is_file() {
        return Ok(());
    }
    let mut install = cargo(root);
    // Its lock file is its own, and so is its build folder.
    install.args(["install", suite.name, "--version", suite.version, "--locked", "--root"]);
    install.arg(&folder).env("CARGO_TARGET_DIR", folder.join("build"));
    report::run(&mut install)?;
    std::fs::write(&mark, "").with_context(|| mark.display().to_string())
}

fn program(folder: &Path, suite: &Suite) -> PathBuf {
    folder.join("bin").join(suite.name)
}

fn tests(root: &Path, skips: &Skips, what: &[&str]) -> Result<()> {
    let mut tests: Command = cargo(root);
    tests.args(["test", "--package", "meshdrive-tests", "--test"]).args(what);
    // One after another: they measure nothing, but each wants the machine.
    tests.args(["--nocapture", "--test-threads", "1"]);
    tests.env(SKIPS_VARIABLE, skips.path()).env(LONG_VARIABLE, "1");
    tests.env(SUITES_VARIABLE, root.join(FOLDER));
    tests.env(OPERATIONS_VARIABLE, OPERATIONS.to_string());
    report::run(&mut tests)
}
