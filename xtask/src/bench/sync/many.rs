//! 1,000 files of 1-16 KiB written and closed on one device, read to their last byte on another, both
//! behind the slow line. Counted from the last close, and from before the first one is made.

use super::slow_line;
use crate::bench::{
    Bench, device::Device, measure::show, server::Server, table::Line, trees::Noise,
};
use anyhow::{Result, bail};
use std::{
    fs,
    time::{Duration, Instant},
};

const FILES: u64 = 1_000;
const REACH: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "sync-many")?;
    let proxy = slow_line(&server)?;
    let first = Device::create_at(bench, "sync-many/a", &server, &proxy.url)?;
    first.mount()?;
    let second = first.invite("sync-many/b", &proxy.url)?;
    second.mount_whole()?;
    let mut noise = Noise::new(42);
    let files: Vec<(String, Vec<u8>)> = (0..bench.scaled(FILES))
        .map(|number| (format!("many/f{number:04}"), noise.bytes(1 << (10 + number % 5))))
        .collect();
    let start = Instant::now();
    fs::create_dir(first.path("many"))?;
    for (name, bytes) in &files {
        fs::write(first.path(name), bytes)?;
    }
    let closed = Instant::now();
    for (name, bytes) in &files {
        while fs::read(second.path(name)).ok().as_deref() != Some(bytes) {
            if closed.elapsed() > PATIENCE {
                bail!("{name} is not there after {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    let (whole, after) = (start.elapsed(), closed.elapsed());
    let line =
        Line::of(format!("{} files of 1-16 KiB closed, all read elsewhere, 50 ms", files.len()))
            .ours(format!(
                "{} after the last close, {} after the first open",
                show(after),
                show(whole)
            ))
            .target("<= 3 s", after <= REACH);
    Ok(vec![line])
}
