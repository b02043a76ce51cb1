//! Rename of a folder with 10,000 files, to and fro, against ext4; and the commits that the store got.

use crate::bench::{
    Bench,
    device::Device,
    measure::{Pair, median, percentile, time},
    server::Server,
    table::Line,
    trees,
};
use anyhow::Result;
use std::{fs, path::Path, time::Duration};

const FILES: u64 = 10_000;
const REACH: Duration = Duration::from_millis(10);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let files = bench.scaled(FILES);
    let server = Server::start(bench, "rename")?;
    let device = Device::create(bench, "rename/a", &server)?;
    device.load(1, files)?;
    device.mount_whole()?;
    let ext4 = bench.place("rename/ext4")?;
    trees::loaded(&ext4, 1, files)?;
    let (mut pair, mut commits) = (Pair::default(), Vec::new());
    for slice in 0..bench.slices(9) {
        let names = if slice % 2 == 0 { ["d0000", "other"] } else { ["other", "d0000"] };
        let turn = |root: &Path| -> Result<()> {
            Ok(fs::rename(root.join(names[0]), root.join(names[1]))?)
        };
        let before = server.commits()?;
        pair.base.push(time(|| turn(&ext4))?);
        pair.ours.push(time(|| turn(&device.mountpoint))?);
        device.sync()?;
        commits.push(server.commits()? - before);
    }
    let most = commits.iter().copied().max().unwrap_or(0);
    let took = percentile(&pair.ours, 50);
    let line = Line::of(format!("rename of a folder with {files} files"))
        .base(format!("ext4 {}", median(&pair.base)))
        .ours(format!("{}, commits: {most}", median(&pair.ours)))
        .ratio(pair.ratio())
        .target("<= 10 ms, one commit", took <= REACH && most == 1);
    Ok(vec![line])
}
