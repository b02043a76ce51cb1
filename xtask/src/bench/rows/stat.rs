//! stat of 100,000 files that the device knows, and `ls -lR` of them, against the same tree on ext4.
//! Both trees are walked once before, so that both are in memory; that first walk of the drive is
//! told too.

use crate::bench::{
    Bench,
    device::Device,
    measure::{Pair, median, secs, show, time},
    output,
    server::Server,
    table::Line,
    trees,
};
use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const FOLDERS: u64 = 100;
const FILES: u64 = 1_000;

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let folders = bench.scaled(FOLDERS);
    let server = Server::start(bench, "stat")?;
    let device = Device::create(bench, "stat/a", &server)?;
    device.load(folders, FILES)?;
    device.mount_whole()?;
    let ext4 = bench.place("stat/ext4")?;
    trees::loaded(&ext4, folders, FILES)?;
    let first_list = time(|| list(&device.mountpoint))?;
    let paths = |root: &Path| -> Vec<PathBuf> {
        let file = |n| root.join(format!("d{:04}/f{:04}", n / FILES, n % FILES));
        (0..folders * FILES).map(file).collect()
    };
    let (ours, base) = (paths(&device.mountpoint), paths(&ext4));
    let first_stat = time(|| stat(&ours))?;
    stat(&base)?;
    list(&ext4)?;
    let (mut stats, mut lists) = (Pair::default(), Pair::default());
    for _ in 0..bench.slices(7) {
        stats.base.push(time(|| stat(&base))?);
        stats.ours.push(time(|| stat(&ours))?);
        lists.base.push(time(|| list(&ext4))?);
        lists.ours.push(time(|| list(&device.mountpoint))?);
    }
    let count = folders * FILES;
    let first_ratio = first_list.as_secs_f64() / secs(&lists.base);
    let line = |what: String, pair: &Pair, first, reach: f64| {
        Line::of(what)
            .base(format!("ext4 {}", median(&pair.base)))
            .ours(format!("{} (first time {})", median(&pair.ours), show(first)))
            .ratio(pair.ratio())
            .target(format!("<= {reach}x its time"), pair.ratio() <= reach)
    };
    Ok(vec![
        line(format!("stat of {count} known files"), &stats, first_stat, 1.2),
        Line::of(format!("ls -lR of {count} known files, first time"))
            .base(format!("ext4 {}", median(&lists.base)))
            .ours(show(first_list))
            .ratio(first_ratio)
            .target("<= 2x its time", first_ratio <= 2.0),
        line("… again".into(), &lists, first_list, 1.3),
    ])
}

fn stat(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        fs::symlink_metadata(path)?;
    }
    Ok(())
}

fn list(path: &Path) -> Result<()> {
    output(Command::new("ls").arg("-lR").arg(path).stdout(Stdio::null())).map(drop)
}
