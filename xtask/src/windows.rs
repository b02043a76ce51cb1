//! `cargo xtask windows`: everything of Windows that this machine can check. The target is prepared once,
//! then every crate that has a Windows side is linted and its tests run under Wine, and the driver is
//! driven through a model of ProjFS, with the store's server outside Wine.

mod prepare;
mod store;

use crate::{
    report::{self, Report},
    test::cargo,
};
use anyhow::Result;
use prepare::Target;
use std::{path::Path, process::Command};

const TRIPLE: &str = "x86_64-pc-windows-gnu";

/// Crates that are compiled for Windows. The program and the tests of mounts are not among them yet.
const CHECKED: &[&str] = &[
    "fs-core",
    "protocol",
    "cache",
    "cloud",
    "engine",
    "server",
    "projfs-windows",
    "projectedfslib",
];
/// Crates whose own tests run under Wine.
const TESTED: &[&str] = &["fs-core", "protocol", "cache", "cloud", "engine", "projfs-windows"];

/// # Errors
/// When any step failed; all of them are named in the summary before.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut report = Report::default();
    steps(root, &mut report);
    report.finish()
}

/// Where the target cannot be had, all of it is noted as skipped.
pub(crate) fn steps(root: &Path, report: &mut Report) {
    let mut target = None;
    let prepared = prepare::prepare();
    match prepared {
        Ok(ready) => target = Some(ready),
        Err(error) => report.skip(format!("everything of Windows: {error:#}")),
    }
    let Some(target) = target else { return };
    report.step("windows clippy", || {
        let mut command = cargo_for(root, &target);
        command.arg("clippy").args(packages(CHECKED)).args(["--target", TRIPLE, "--all-targets"]);
        report::run(command.args(["--", "-D", "warnings"]))
    });
    report.step("windows tests", || {
        let mut command = cargo_for(root, &target);
        command.arg("test").args(packages(TESTED)).args(["--target", TRIPLE, "--lib"]);
        report::run(command.arg("--no-fail-fast"))
    });
    report.step("windows driver", || {
        let store = store::Store::start(root)?;
        let mut command = cargo_for(root, &target);
        command.args(["test", "-p", "projectedfslib", "--target", TRIPLE, "--tests"]);
        command.env("MESHDRIVE_STORE", &store.url).env("MESHDRIVE_SETUP_CODE", store.setup_code());
        report::run(command.args(["--no-fail-fast", "--", "--test-threads", "1"]))
    });
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
