//! A device that knows a small drive is away while 1,000,000 nodes come into it. From `mount` until
//! the first `ls` of the root has ended; until a folder made meanwhile is listed; until everything is
//! known. Behind the slow line.

use super::slow_line;
use crate::bench::{Bench, device::Device, measure::show, output, server::Server, table::Line};
use anyhow::{Result, bail};
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

const FOLDERS: u64 = 1_000;
const FILES: u64 = 999;
const REACH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "sync-catch-up")?;
    let proxy = slow_line(&server)?;
    let first = Device::create(bench, "sync-catch-up/a", &server)?;
    let second = first.invite("sync-catch-up/b", &proxy.url)?;
    second.mount_whole()?;
    fs::write(second.path("known"), "here before")?;
    second.sync()?;
    second.unmount_keeping()?;
    let folders = bench.scaled(FOLDERS);
    first.load(folders, FILES)?;
    let before = server.requests()?;
    let start = Instant::now();
    second.mount()?;
    output(Command::new("ls").arg(&second.mountpoint))?;
    let listed = start.elapsed();
    while !second.path("d0000").exists() {
        if start.elapsed() > PATIENCE {
            bail!("the new folders do not come");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let new = start.elapsed();
    second.wait("everything is known", |status| {
        status["complete"] == true && status["applied_rev"] == status["head_rev"]
    })?;
    let known = start.elapsed();
    let requests = server.requests()? - before;
    let count = fs::read_dir(second.path(format!("d{:04}", folders - 1)))?.count() as u64;
    anyhow::ensure!(count == FILES, "the last folder has {count} of {FILES} files");
    let nodes = folders * (FILES + 1);
    let line = Line::of(format!("catch-up after {nodes} remote changes, 50 ms"))
        .ours(format!(
            "first ls {}, a new folder listed {}, all known {} with {requests} requests",
            show(listed),
            show(new),
            show(known)
        ))
        .target("listing usable <= 1 s", listed.max(new) <= REACH);
    Ok(vec![line])
}
