//! 128 MiB of noise, written and then sent over a line with round trips of 40 ms and 200 Mbit/s, against
//! what the line takes for so many bytes at its rate. And what the upload of 1 GiB to the store next door
//! does to an application: 4 KiB written to a new file and read back, before and while it runs.

use crate::bench::{
    Bench,
    device::Device,
    measure::{percentile, secs, show, time},
    proxy::{self, Proxy},
    server::Server,
    table::Line,
    trees::{self, Noise},
};
use anyhow::Result;
use std::{
    fs,
    time::{Duration, Instant},
};

const BYTES: u64 = 128 << 20;
const ONE_WAY: Duration = Duration::from_millis(20);
const RATE: u64 = 200_000_000;
const REACH: f64 = 1.25;
const LARGE: u64 = 1 << 30;
const SAMPLES: usize = 500;
/// Between two saves.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    Ok(vec![width(bench)?, beside(bench)?])
}

fn width(bench: &Bench) -> Result<Line> {
    let bytes = bench.scaled(BYTES);
    let server = Server::start(bench, "upload")?;
    let first = Device::create(bench, "upload/a", &server)?;
    let line = proxy::Line { one_way: ONE_WAY, rate: Some(RATE) };
    let proxy = Proxy::start(&server.address, line)?;
    let device = first.invite("upload/b", &proxy.url)?;
    device.mount_whole()?;
    let mut times = Vec::new();
    for slice in 0..bench.slices(3) as u64 {
        times.push(time(|| {
            trees::large(&device.path(format!("large-{slice}")), bytes, 400 + slice)?;
            device.sync()
        })?);
    }
    let alone = Duration::from_secs_f64(bytes as f64 * 8.0 / RATE as f64) + 2 * ONE_WAY;
    let ratio = secs(&times) / alone.as_secs_f64();
    let what = format!("{} MiB written and sent, 40 ms round trips, 200 Mbit/s", bytes >> 20);
    Ok(Line::of(what)
        .base(format!("the line alone {}", show(alone)))
        .ours(show(percentile(&times, 50)))
        .ratio(ratio)
        .target(format!("<= {REACH}x"), ratio <= REACH))
}

fn beside(bench: &Bench) -> Result<Line> {
    let server = Server::start(bench, "beside")?;
    let device = Device::create(bench, "beside/a", &server)?;
    device.mount()?;
    let quiet = saves(&device, "quiet", SAMPLES, || Ok(true))?;
    trees::large(&device.path("large"), bench.scaled(LARGE), 71)?;
    let sending = || Ok(device.status()?["pending_bytes"].as_u64() > Some(0));
    let busy = saves(&device, "busy", SAMPLES, sending)?;
    let ratio = secs(&busy) / secs(&quiet).max(1e-9);
    let both = |times: &[Duration]| {
        format!("p50 {}, p99 {}", show(percentile(times, 50)), show(percentile(times, 99)))
    };
    Ok(Line::of("4 KiB saved and read back while 1 GiB is sent")
        .base(format!("without {}", both(&quiet)))
        .ours(both(&busy))
        .ratio(ratio))
}

/// Times of a save and a read, until there are enough or `go` says that it is over.
fn saves(
    device: &Device<'_>,
    name: &str,
    most: usize,
    go: impl Fn() -> Result<bool>,
) -> Result<Vec<Duration>> {
    let block = Noise::new(5).bytes(4 << 10);
    let mut times = Vec::new();
    while times.len() < most && (times.len() % 50 != 0 || go()?) {
        let path = device.path(format!("{name}-{}", times.len()));
        let start = Instant::now();
        fs::write(&path, &block)?;
        fs::read(&path)?;
        times.push(start.elapsed());
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}
