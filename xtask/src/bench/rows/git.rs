//! `git clone` of a repository of 5,000 files in 200 folders (through `file://`, so that nothing is
//! linked) into the drive and into ext4, and `git status` in both clones.

use super::settle_disk;
use crate::bench::{
    Bench,
    device::Device,
    measure::{Pair, median, show, time},
    output,
    server::Server,
    table::Line,
    trees,
};
use anyhow::{Result, ensure};
use std::{path::Path, process::Command};

const FILES: u64 = 5_000;
const CLONE: f64 = 2.5;
const STATUS: f64 = 1.5;

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let files = bench.scaled(FILES);
    let place = bench.place("git")?;
    let server = Server::start(bench, "git")?;
    let device = Device::create(bench, "git/a", &server)?;
    device.mount()?;
    let repository = place.join("repository");
    trees::repository(&repository, files, 51)?;
    let (mut clones, mut status) = (Pair::default(), Pair::default());
    let mut durable = Vec::new();
    for slice in 0..bench.slices(5) {
        let name = format!("clone-{slice}");
        let (base, ours) = (place.join(&name), device.path(&name));
        settle_disk()?;
        clones.base.push(time(|| clone(&repository, &base))?);
        settle_disk()?;
        clones.ours.push(time(|| clone(&repository, &ours))?);
        durable.push(time(|| device.sync())?);
        // The first one writes the index anew.
        is_clean(&base)?;
        is_clean(&ours)?;
        for _ in 0..3 {
            status.base.push(time(|| is_clean(&base))?);
            status.ours.push(time(|| is_clean(&ours))?);
        }
    }
    let name = format!("clone-{}", bench.slices(5) - 1);
    device.unmount()?;
    device.mount_whole()?;
    let anew = time(|| is_clean(&device.path(&name)))?;
    let cloned = Line::of(format!("git clone of {files} files"))
        .base(format!("ext4 {}", median(&clones.base)))
        .ours(format!("{} (all durable {} later)", median(&clones.ours), median(&durable)))
        .ratio(clones.ratio())
        .target(format!("<= {CLONE}x its time"), clones.ratio() <= CLONE);
    let asked = Line::of("… git status")
        .base(format!("ext4 {}", median(&status.base)))
        .ours(format!("{} (mounted anew {})", median(&status.ours), show(anew)))
        .ratio(status.ratio())
        .target(format!("<= {STATUS}x its time"), status.ratio() <= STATUS);
    Ok(vec![cloned, asked])
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    git
}

fn clone(from: &Path, to: &Path) -> Result<()> {
    let url = format!("file://{}", from.display());
    output(git().args(["clone", "--quiet", &url]).arg(to)).map(drop)
}

fn is_clean(folder: &Path) -> Result<()> {
    let said = output(git().arg("-C").arg(folder).args(["status", "--porcelain"]))?;
    ensure!(said.is_empty(), "not clean: {said}");
    Ok(())
}
