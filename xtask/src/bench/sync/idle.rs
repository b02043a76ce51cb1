//! A device with 1,000,000 nodes that nobody uses, for a minute: time on the processor of its daemon
//! and its supervisor, and requests to the store. The stream of the feed stays open; its heartbeats are
//! no requests.

use crate::bench::{Bench, device::Device, server::Server, table::Line};
use anyhow::Result;
use std::time::{Duration, Instant};

const FOLDERS: u64 = 1_000;
const FILES: u64 = 999;
const IDLE: Duration = Duration::from_secs(60);
/// What a start has left to do is done by then.
const REST: Duration = Duration::from_secs(15);
const REACH_PERCENT: f64 = 0.2;

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "sync-idle")?;
    let device = Device::create(bench, "sync-idle/a", &server)?;
    let folders = bench.scaled(FOLDERS);
    device.load(folders, FILES)?;
    device.mount_whole()?;
    std::thread::sleep(REST);
    let (requests, used, start) = (server.requests()?, device.processor()?, Instant::now());
    std::thread::sleep(IDLE);
    let used = device.processor()? - used;
    let percent = used.as_secs_f64() * 100.0 / start.elapsed().as_secs_f64();
    let requests = server.requests()? - requests;
    let nodes = folders * (FILES + 1);
    let line = Line::of(format!("idle device, {nodes} nodes, {} s", IDLE.as_secs()))
        .ours(format!("{percent:.2} % of a processor, {requests} requests"))
        .target("<= 0.2 %, no request", percent <= REACH_PERCENT && requests == 0);
    Ok(vec![line])
}
