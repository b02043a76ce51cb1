//! From close(2) of a new file of 256 KiB on one device until its bytes have been read by its path on
//! another, which asks for it all the time; by loopback, and with both devices behind the slow line.
//! Settings are the defaults.

use super::{ROUND_TRIP, slow_line};
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

const FILES: u64 = 100;
const BYTES: usize = 256 << 10;
const NEAR: Duration = Duration::from_millis(250);
const FAR: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "sync-close")?;
    let near = measure(bench, "sync-close/near", &server, &server.url())?;
    let proxy = slow_line(&server)?;
    let far = measure(bench, "sync-close/far", &server, &proxy.url)?;
    let far_name = format!("… {} ms round trips", ROUND_TRIP.as_millis());
    Ok(vec![
        line("close on one device to read on another, 256 KiB, loopback".into(), &near, NEAR),
        line(far_name, &far, FAR),
    ])
}

fn line(work: String, times: &[Duration], reach: Duration) -> Line {
    let last = percentile(times, 99);
    let (half, most) = (percentile(times, 50), percentile(times, 100));
    Line::of(work)
        .ours(format!("p50 {}, p99 {}, most {}", show(half), show(last), show(most)))
        .target(format!("p99 <= {}", show(reach)), last <= reach)
}

fn measure(bench: &Bench, place: &str, server: &Server, url: &str) -> Result<Vec<Duration>> {
    let first = Device::create_at(bench, &format!("{place}-a"), server, url)?;
    first.mount()?;
    let second = first.invite(&format!("{place}-b"), url)?;
    second.mount_whole()?;
    let mut noise = Noise::new(41);
    let mut times = Vec::new();
    for number in 0..bench.scaled(FILES) {
        let (name, bytes) = (format!("f{number:03}"), noise.bytes(BYTES));
        fs::write(first.path(&name), &bytes)?;
        let closed = Instant::now();
        wait_readable(&second.path(&name), &bytes)?;
        times.push(closed.elapsed());
    }
    Ok(times)
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
