//! `cargo xtask windows`: everything of Windows that this machine can check. The target is prepared once,
//! then every crate that has a Windows side is linted and its tests run under Wine, and the driver is
//! driven through a model of ProjFS, with the store's server outside Wine.

mod figures;
mod plain;
mod prepare;
mod store;

use crate::{
    report::{self, Report},
    test::cargo,
};
use anyhow::Result;
pub(crate) use figures::figures;
use prepare::Target;
use std::{path::Path, process::Command};

const TRIPLE: &str = "x86_64-pc-windows-gnu";

/// Crates that are compiled for Windows. The tests of mounts are for Linux.
const CHECKED: &[&str] = &[
    "fs-core",
    "protocol",
    "cache",
    "cloud",
    "engine",
    "server",
    "meshdrive",
    "projfs-windows",
    "projectedfslib",
];
/// Crates whose own tests run under Wine.
const TESTED: &[&str] =
    &["fs-core", "protocol", "cache", "cloud", "engine", "projfs-windows", "meshdrive"];

/// # Errors
/// When any step failed; all of them are named in the summary before.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut report = Report::default();
    if let Some(target) = target(&mut report) {
        report.step("windows clippy", || {
            let mut command = cargo_for(root, &target);
            command.arg("clippy").args(packages(CHECKED));
            command.args(["--target", TRIPLE, "--all-targets", "--", "-D", "warnings"]);
            report::run(&mut command)
        });
        report.step("windows tests", || {
            let mut command = cargo_for(root, &target);
            command.arg("test").args(packages(TESTED));
            command.args(["--target", TRIPLE, "--lib", "--bins", "--no-fail-fast"]);
            report::run(&mut command)
        });
        report.step("windows driver", || {
            store::build(root, store::Profile::Debug)?;
            contract(root, &target, &["contract", "broken"])
        });
        report.step("windows program", || {
            let mut build = cargo_for(root, &target);
            report::run(build.args(["build", "-p", "meshdrive", "--target", TRIPLE]))?;
            contract(root, &target, &["program"])
        });
    }
    report.finish()
}

/// The driver's part of it, for `test`: the rest takes as long as everything of Linux.
pub(crate) fn driver(root: &Path, report: &mut Report) {
    report.skip("the program and the other crates on Windows: cargo xtask windows");
    if let Some(target) = target(report) {
        report.step("windows driver", || contract(root, &target, &["contract", "broken"]));
    }
}

/// Where the target cannot be had, all of it is noted as skipped.
fn target(report: &mut Report) -> Option<Target> {
    match prepare::prepare() {
        Ok(target) => Some(target),
        Err(error) => {
            report.skip(format!("everything of Windows: {error:#}"));
            None
        }
    }
}

/// Tests of the driver and the program with the model of ProjFS, and a store outside of Wine.
fn contract(root: &Path, target: &Target, tests: &[&str]) -> Result<()> {
    let store = store::Store::start(root, store::Profile::Debug)?;
    let mut command = cargo_for(root, target);
    command.args(["test", "-p", "projectedfslib", "--target", TRIPLE]);
    for test in tests {
        command.args(["--test", test]);
    }
    let program = root.join("target").join(TRIPLE).join("debug/meshdrive.exe");
    command.env("MESHDRIVE_STORE", &store.url).env("MESHDRIVE_SETUP_CODE", store.setup_code());
    command.env("MESHDRIVE_PROGRAM", store::seen_by_wine(&program));
    report::run(command.args(["--no-fail-fast", "--", "--test-threads", "1"]))
}

fn packages(names: &[&str]) -> Vec<String> {
    names.iter().flat_map(|name| ["-p".to_owned(), (*name).to_owned()]).collect()
}

/// Cargo with the prepared standard library, and Wine as what runs programs.
fn cargo_for(root: &Path, target: &Target) -> Command {
    let mut command = cargo(root);
    command
        // They would go before the target's own.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("DISPLAY")
        .env(
            "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS",
            format!("--sysroot={}", target.sysroot.display()),
        )
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", prepare::WINE);
    prepare::wine_env(&mut command, &target.prefix);
    command
}
