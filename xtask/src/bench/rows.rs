//! The rows: each a kind of work, its baseline and what it should reach.

mod build;
mod close;
mod copy_in;
mod copy_out;
mod edit;
mod fsync;
mod git;
mod grep;
mod local;
mod memory;
mod mount;
mod read;
mod rename;
mod slow;
mod stat;
mod upload;

use super::{Bench, output, table::Line};
use anyhow::Result;
use std::{path::Path, process::Command};

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Row {
    Read,
    Slow,
    Grep,
    CopyIn,
    CopyOut,
    Edit,
    Stat,
    Mount,
    Rename,
    Close,
    Git,
    Build,
    Memory,
    Fsync,
    Upload,
    Local,
}

impl Row {
    pub(super) const ALL: &[Row] = &[
        Row::Read,
        Row::Slow,
        Row::Grep,
        Row::CopyIn,
        Row::CopyOut,
        Row::Edit,
        Row::Stat,
        Row::Mount,
        Row::Rename,
        Row::Close,
        Row::Git,
        Row::Build,
        Row::Memory,
        Row::Fsync,
        Row::Upload,
        Row::Local,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Row::Read => "read",
            Row::Slow => "slow",
            Row::Grep => "grep",
            Row::CopyIn => "copy-in",
            Row::CopyOut => "copy-out",
            Row::Edit => "edit",
            Row::Stat => "stat",
            Row::Mount => "mount",
            Row::Rename => "rename",
            Row::Close => "close",
            Row::Git => "git",
            Row::Build => "build",
            Row::Memory => "memory",
            Row::Fsync => "fsync",
            Row::Upload => "upload",
            Row::Local => "local",
        }
    }

    pub(super) fn run(self, bench: &Bench) -> Result<Vec<Line>> {
        match self {
            Row::Read => read::run(bench),
            Row::Slow => slow::run(bench),
            Row::Grep => grep::run(bench),
            Row::CopyIn => copy_in::run(bench),
            Row::CopyOut => copy_out::run(bench),
            Row::Edit => edit::run(bench),
            Row::Stat => stat::run(bench),
            Row::Mount => mount::run(bench),
            Row::Rename => rename::run(bench),
            Row::Close => close::run(bench),
            Row::Git => git::run(bench),
            Row::Build => build::run(bench),
            Row::Memory => memory::run(bench),
            Row::Fsync => fsync::run(bench),
            Row::Upload => upload::run(bench),
            Row::Local => local::run(bench),
        }
    }
}

/// `cp -r`, as people do it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    output(Command::new("cp").arg("-r").arg(from).arg(to)).map(drop)
}

/// Makes the next slice start without the last one's write-back.
fn settle_disk() -> Result<()> {
    output(&mut Command::new("sync")).map(drop)
}
