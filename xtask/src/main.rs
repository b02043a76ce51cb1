//! The project's own commands: `cargo xtask <command>`. What each does is its help text.

#[cfg(target_os = "linux")]
mod bench;
#[cfg(target_os = "linux")]
mod conformance;
#[cfg(target_os = "linux")]
mod dev;
mod packages;
mod report;
mod soak;
mod test;
mod tidy;
mod windows;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build, start a store, create a drive, mount it at ./Meshdrive
    #[cfg(target_os = "linux")]
    Up,
    /// Unmount what `up` mounted and stop its store
    #[cfg(target_os = "linux")]
    Down,
    /// Run every check and test that this machine can run, and say what was skipped and why
    Test(test::Options),
    /// Measure the release build against baselines and write docs/benchmarks.md
    #[cfg(target_os = "linux")]
    Bench(bench::Options),
    /// Clean up behind `bench`; started by it
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    BenchKeeper { folder: PathBuf },
    /// One piece of work of `bench --peers`; started by it
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    BenchCell { work: String, root: PathBuf, from: PathBuf, name: String },
    /// Run public suites for file systems and long comparisons with a local disk on real mounts
    /// (about 20 minutes)
    #[cfg(target_os = "linux")]
    Conformance(conformance::Options),
    /// Run worlds of the simulation for hours, or other tests that are too long for `test`
    Soak(soak::Options),
    /// Lint and test what is for Windows: cross-compiled with MinGW, run under Wine. Takes half an hour the
    /// first time; `test` does the driver's part of it
    Windows,
    /// Check the rules of the house that no compiler checks
    Tidy,
}

fn main() -> ExitCode {
    match execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute() -> Result<()> {
    let root = root()?;
    match Arguments::parse().command {
        #[cfg(target_os = "linux")]
        Command::Up => dev::up(&root),
        #[cfg(target_os = "linux")]
        Command::Down => dev::down(&root),
        #[cfg(target_os = "linux")]
        Command::Bench(options) => bench::bench(&root, &options),
        #[cfg(target_os = "linux")]
        Command::BenchKeeper { folder } => {
            bench::keep(&folder);
            Ok(())
        }
        #[cfg(target_os = "linux")]
        Command::BenchCell { work, root, from, name } => bench::cell(&work, &root, &from, &name),
        #[cfg(target_os = "linux")]
        Command::Conformance(options) => conformance::run(&root, &options),
        Command::Test(options) => test::run(&root, &options),
        Command::Soak(options) => soak::run(&root, &options),
        Command::Windows => windows::run(&root),
        Command::Tidy => tidy::run(&root),
    }
}

/// The root of the workspace. It is known from the build, and checked because the tree may have
/// been moved since.
fn root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.parent().context("xtask has no parent folder")?;
    let found = root.join("Cargo.toml").is_file();
    anyhow::ensure!(
        found,
        "{} is gone: the tree was moved after xtask was built; run `touch xtask/src/main.rs` \
         and try again",
        root.display()
    );
    Ok(root.to_owned())
}
