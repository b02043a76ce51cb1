//! Memory of the daemon: with 100,000 files listed while 1 GiB goes to the store and another comes from
//! it; and after a walk over 1,000,000 nodes. The most it ever was is the kernel's own figure.

use crate::bench::{Bench, device::Device, output, server::Server, table::Line, trees};
use anyhow::Result;
use std::{
    fs::File,
    io,
    process::{Command, Stdio},
    time::Duration,
};

const LISTED: (u64, u64) = (100, 1_000);
const TRANSFER: u64 = 1 << 30;
const LISTED_MIB: u64 = 150;
const WALKED: (u64, u64) = (1_000, 999);
const WALKED_MIB: u64 = 250;
/// After the walk, before memory is looked at again.
const REST: Duration = Duration::from_secs(10);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    Ok(vec![transfer(bench)?, walk(bench)?])
}

fn transfer(bench: &Bench) -> Result<Line> {
    let (folders, files) = (bench.scaled(LISTED.0), LISTED.1);
    let server = Server::start(bench, "memory")?;
    let device = Device::create(bench, "memory/a", &server)?;
    device.load(folders, files)?;
    device.mount_whole()?;
    let list = || {
        let mut ls = Command::new("ls");
        output(ls.arg("-lR").arg(&device.mountpoint).stdout(Stdio::null())).map(drop)
    };
    list()?;
    let file = device.path("large");
    trees::large(&file, bench.scaled(TRANSFER), 61)?;
    device.sync()?;
    let (_, sent) = device.memory()?;
    device.unmount()?;
    device.mount_whole()?;
    list()?;
    io::copy(&mut File::open(&file)?, &mut io::sink())?;
    let (_, fetched) = device.memory()?;
    Ok(Line::of(format!("memory of the daemon, {} files listed and 1 GiB moved", folders * files))
        .ours(format!("{sent} MiB at most while sent, {fetched} MiB while fetched"))
        .target(format!("<= {LISTED_MIB} MiB"), sent.max(fetched) <= LISTED_MIB))
}

fn walk(bench: &Bench) -> Result<Line> {
    let (folders, files) = (bench.scaled(WALKED.0), WALKED.1);
    let server = Server::start(bench, "walk")?;
    let device = Device::create(bench, "walk/a", &server)?;
    device.load(folders, files)?;
    device.mount_whole()?;
    let (before, _) = device.memory()?;
    output(Command::new("find").arg(&device.mountpoint).args(["-size", "+1M"]))?;
    let (walked, most) = device.memory()?;
    std::thread::sleep(REST);
    let (after, _) = device.memory()?;
    Ok(Line::of(format!("… after a walk over {} entries", folders * (files + 1)))
        .ours(format!(
            "{before} MiB before, {walked} after, {most} at most, {after} after {} s",
            REST.as_secs()
        ))
        .target(format!("<= {WALKED_MIB} MiB"), most <= WALKED_MIB))
}
