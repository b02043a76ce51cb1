//! `cp -r` of 1,000 text files of 1 to 16 KiB, in 10 folders, out of the drive on a second device
//! that has no content yet, over a line with round trips of 40 ms and 200 Mbit/s. Each slice copies
//! other files. The baseline is what the line alone takes: their bytes at its rate and one round
//! trip.

use super::copy;
use crate::bench::{
    Bench,
    device::Device,
    measure::{percentile, show, time},
    proxy::{self, Proxy},
    server::Server,
    table::Line,
    trees,
};
use anyhow::Result;
use std::time::Duration;

const FILES: u64 = 1_000;
const ONE_WAY: Duration = Duration::from_millis(20);
const RATE: u64 = 200_000_000;
const REACH: Duration = Duration::from_millis(1_500);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let files = bench.scaled(FILES);
    let slices = bench.slices(5);
    let place = bench.place("copy-out")?;
    let server = Server::start(bench, "copy-out")?;
    let first = Device::create(bench, "copy-out/a", &server)?;
    first.mount()?;
    for slice in 0..slices {
        trees::small(&first.path(format!("tree-{slice}")), files, 200 + slice as u64)?;
    }
    first.sync()?;
    let line = proxy::Line { one_way: ONE_WAY, rate: Some(RATE) };
    let proxy = Proxy::start(&server.address, line)?;
    let second = first.invite("copy-out/b", &proxy.url)?;
    second.mount_whole()?;
    let (mut times, mut bytes) = (Vec::new(), 0);
    for slice in 0..slices {
        let name = format!("tree-{slice}");
        let before = proxy.bytes().1;
        times.push(time(|| copy(&second.path(&name), &place.join(&name)))?);
        bytes = proxy.bytes().1 - before;
    }
    let alone = Duration::from_secs_f64(bytes as f64 * 8.0 / RATE as f64) + 2 * ONE_WAY;
    let took = percentile(&times, 50);
    let out = Line::of(format!("{files} of them copied out cold, 40 ms round trips, 200 Mbit/s"))
        .base(format!("the line alone {}; ZeroFS 2.8 s, others 98-284 s", show(alone)))
        .ours(show(took))
        .ratio(took.as_secs_f64() / alone.as_secs_f64())
        .target("<= 1.5 s", took <= REACH);
    Ok(vec![out])
}
