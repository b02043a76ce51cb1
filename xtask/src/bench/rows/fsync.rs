//! 1,000 writes of 4 KiB at random places of a file of 32 MiB, each followed by `fsync`, on the drive and
//! on ext4 in turn.

use super::settle_disk;
use crate::bench::{
    Bench,
    device::Device,
    measure::{Pair, median, time},
    server::Server,
    table::Line,
    trees::{self, Noise},
};
use anyhow::Result;
use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path};

const FILE: u64 = 32 << 20;
const BLOCK: usize = 4 << 10;
const WRITES: u64 = 1_000;
const REACH: f64 = 1.5;

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let place = bench.place("fsync")?;
    let server = Server::start(bench, "fsync")?;
    let device = Device::create(bench, "fsync/a", &server)?;
    device.mount()?;
    let (base, ours) = (place.join("file"), device.path("file"));
    trees::large(&base, FILE, 81)?;
    trees::large(&ours, FILE, 81)?;
    device.sync()?;
    let writes = bench.scaled(WRITES);
    let mut pair = Pair::default();
    for slice in 0..bench.slices(5) as u64 {
        settle_disk()?;
        pair.base.push(time(|| write(&base, writes, slice))?);
        pair.ours.push(time(|| write(&ours, writes, slice))?);
    }
    let line = Line::of(format!("{writes} random writes of 4 KiB with fsync each"))
        .base(format!("ext4 {}", median(&pair.base)))
        .ours(median(&pair.ours))
        .ratio(pair.ratio())
        .target(format!("<= {REACH}x its time"), pair.ratio() <= REACH);
    Ok(vec![line])
}

fn write(path: &Path, writes: u64, seed: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let mut noise = Noise::new(900 + seed);
    for _ in 0..writes {
        let block = noise.bytes(BLOCK);
        let at = u64::from_le_bytes(noise.bytes(8).try_into().unwrap_or_default());
        file.write_all_at(&block, at % (FILE / BLOCK as u64) * BLOCK as u64)?;
        file.sync_all()?;
    }
    Ok(())
}
