//! Cold sequential read of 64 MiB of noise over a line with round trips of 40 ms and 200 Mbit/s, on a
//! second device that has no content yet; each slice reads another file. The baseline is what the line
//! takes for their bytes at its rate, and one round trip. The first byte is there when the first read
//! of 4 KiB has returned, counted from before the open.

use crate::bench::{
    Bench,
    device::Device,
    measure::{percentile, secs, show, time},
    proxy::{self, Proxy},
    server::Server,
    table::Line,
    trees,
};
use anyhow::Result;
use std::{
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

const BYTES: u64 = 64 << 20;
const ONE_WAY: Duration = Duration::from_millis(20);
const RATE: u64 = 200_000_000;
const REACH: f64 = 1.1;

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let bytes = bench.scaled(BYTES);
    let slices = bench.slices(5);
    let server = Server::start(bench, "slow")?;
    let first = Device::create(bench, "slow/a", &server)?;
    first.mount()?;
    for slice in 0..slices {
        trees::large(&first.path(format!("large-{slice}")), bytes, 300 + slice as u64)?;
    }
    first.sync()?;
    let line = proxy::Line { one_way: ONE_WAY, rate: Some(RATE) };
    let proxy = Proxy::start(&server.address, line)?;
    let second = first.invite("slow/b", &proxy.url)?;
    second.mount_whole()?;
    let (mut first_bytes, mut times) = (Vec::new(), Vec::new());
    for slice in 0..slices {
        let path = second.path(format!("large-{slice}"));
        times.push(time(|| {
            let start = Instant::now();
            let mut file = File::open(&path)?;
            file.read_exact(&mut [0; 4 << 10])?;
            first_bytes.push(start.elapsed());
            std::io::copy(&mut file, &mut std::io::sink())?;
            Ok(())
        })?);
    }
    let alone = Duration::from_secs_f64(bytes as f64 * 8.0 / RATE as f64) + 2 * ONE_WAY;
    let ratio = secs(&times) / alone.as_secs_f64();
    let first_byte = percentile(&first_bytes, 50);
    let whole = format!("cold sequential read, {} MiB, 40 ms round trips, 200 Mbit/s", bytes >> 20);
    let whole = Line::of(whole)
        .base(format!("the line alone {}", show(alone)))
        .ours(show(percentile(&times, 50)))
        .ratio(ratio)
        .target(format!("<= {REACH}x"), ratio <= REACH);
    let first = Line::of("… its first byte")
        .base("others 139-2558 ms")
        .ours(show(first_byte))
        .target("<= 3 round trips", first_byte <= 6 * ONE_WAY);
    Ok(vec![whole, first])
}
