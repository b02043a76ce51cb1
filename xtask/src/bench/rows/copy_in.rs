//! `cp -r` of 10,000 text files of 1 to 16 KiB in 100 folders, from ext4 into the drive, against the
//! same into another folder on ext4. Then how many requests the store got for them, from the start
//! of the copy until all are durable there, and how long after the copy that is. Every slice has
//! other contents, so that nothing is saved by being known already.

use super::{copy, settle_disk};
use crate::bench::{
    Bench,
    device::Device,
    measure::{Pair, median, percentile, show, time},
    server::Server,
    table::Line,
    trees,
};
use anyhow::Result;
use std::time::Duration;

const FILES: u64 = 10_000;
const REQUESTS: u64 = 60;
const DURABLE: Duration = Duration::from_secs(15);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let files = bench.scaled(FILES);
    let place = bench.place("copy-in")?;
    let server = Server::start(bench, "copy-in")?;
    let device = Device::create(bench, "copy-in/a", &server)?;
    device.mount()?;
    let (mut pair, mut requests, mut durable) = (Pair::default(), Vec::new(), Vec::new());
    for slice in 0..bench.slices(5) {
        let name = format!("tree-{slice}");
        let tree = place.join(&name);
        trees::small(&tree, files, 100 + slice as u64)?;
        settle_disk()?;
        pair.base.push(time(|| copy(&tree, &place.join(format!("copy-{slice}"))))?);
        settle_disk()?;
        let before = server.requests()?;
        pair.ours.push(time(|| copy(&tree, &device.path(&name)))?);
        durable.push(time(|| device.sync())?);
        requests.push(server.requests()? - before);
    }
    requests.sort_unstable();
    let (count, wait) = (requests[requests.len() / 2], percentile(&durable, 50));
    let what = format!("{files} files of 1-16 KiB copied in");
    let copied = Line::of(&what)
        .base(format!("ext4 {}", median(&pair.base)))
        .ours(median(&pair.ours))
        .ratio(pair.ratio())
        .target("<= 6x its time", pair.ratio() <= 6.0);
    let asked = Line::of("… requests to the store")
        .ours(count.to_string())
        .target(format!("<= {REQUESTS}"), count <= REQUESTS);
    let durable = Line::of("… all durable in the cloud after the copy's end")
        .ours(show(wait))
        .target("<= 15 s", wait <= DURABLE);
    Ok(vec![copied, asked, durable])
}
