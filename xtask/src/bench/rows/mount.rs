//! A drive of 1,000,000 nodes in 1,000 folders: from `mount` to the end of the first `ls` of its root,
//! on a device that has just joined and again after an unmount; and the daemon's memory.

use crate::bench::{
    Bench,
    device::Device,
    measure::{median, show, time},
    output,
    server::Server,
    table::Line,
};
use anyhow::Result;
use std::{
    process::Command,
    time::{Duration, Instant},
};

const FOLDERS: u64 = 1_000;
const FILES: u64 = 999;
const MEMORY_MIB: u64 = 200;

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let folders = bench.scaled(FOLDERS);
    let server = Server::start(bench, "mount")?;
    let device = Device::create(bench, "mount/a", &server)?;
    device.load(folders, FILES)?;
    let fresh = time(|| first_list(&device))?;
    let start = Instant::now();
    device.wait("the whole tree is known", |status| status["complete"] == true)?;
    let streamed = start.elapsed();
    let (now, most) = device.memory()?;
    let mut again = Vec::new();
    for _ in 0..bench.slices(5) {
        device.unmount()?;
        again.push(time(|| first_list(&device))?);
    }
    let (after, _) = device.memory()?;
    device.unmount()?;
    let within = |time: Duration| time <= Duration::from_secs(1);
    let nodes = folders * (FILES + 1);
    Ok(vec![
        Line::of(format!("mount to first ls, {nodes} nodes, just joined"))
            .ours(format!("{} (whole tree known after {})", show(fresh), show(streamed)))
            .target("<= 1 s", within(fresh)),
        Line::of("… mounted again")
            .ours(median(&again))
            .target("<= 1 s", again.iter().all(|time| within(*time))),
        Line::of("… memory of the daemon")
            .ours(format!(
                "{now} MiB when the tree is known, {most} MiB at most; {after} MiB mounted again"
            ))
            .target(format!("<= {MEMORY_MIB} MiB"), most.max(after) <= MEMORY_MIB),
    ])
}

fn first_list(device: &Device<'_>) -> Result<()> {
    device.mount()?;
    output(Command::new("ls").arg(&device.mountpoint)).map(drop)
}
