//! From close(2) of a new 4 KiB file on one device until its bytes can be read by its path on another,
//! which asks for it all the time. Settings are the defaults.

use crate::bench::{
    Bench,
    device::Device,
    measure::{percentile, show},
    server::Server,
    table::Line,
    trees::Noise,
};
use anyhow::{Result, bail};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const FILES: u64 = 200;
const BYTES: usize = 4 << 10;
const REACH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "close")?;
    let first = Device::create(bench, "close/a", &server)?;
    first.mount()?;
    let second = first.invite("close/b", &server.url())?;
    second.mount_whole()?;
    let mut noise = Noise::new(8);
    let mut times = Vec::new();
    for number in 0..bench.scaled(FILES) {
        let (name, bytes) = (format!("f{number:03}"), noise.bytes(BYTES));
        fs::write(first.path(&name), &bytes)?;
        let closed = Instant::now();
        wait_readable(&second.path(&name), &bytes)?;
        times.push(closed.elapsed());
    }
    let last = percentile(&times, 99);
    let (half, most) = (percentile(&times, 50), percentile(&times, 100));
    let line = Line::of("close on one device to readable on another, 4 KiB")
        .ours(format!("p50 {}, p99 {}, most {}", show(half), show(last), show(most)))
        .target("p99 <= 1 s", last <= REACH);
    Ok(vec![line])
}

fn wait_readable(path: &Path, bytes: &[u8]) -> Result<()> {
    let start = Instant::now();
    while fs::read(path).ok().as_deref() != Some(bytes) {
        if start.elapsed() > PATIENCE {
            bail!("{} is not there after {} s", path.display(), PATIENCE.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
