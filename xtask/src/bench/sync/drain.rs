//! 50,000 changes made while the line is cut, on a drive with 20,000 nodes: 30,000 new files of 1 KiB,
//! 10,000 renames, 5,000 changes of mode, 5,000 removals. From the moment the line is back until
//! nothing is pending, and the longest time in which `status` showed no progress.

use super::slow_line;
use crate::bench::{
    Bench, device::Device, measure::show, server::Server, table::Line, trees::Noise,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

const FOLDERS: u64 = 20;
/// Files in each folder at first: half of them are renamed, a quarter each changed and removed.
const KNOWN: u64 = 1_000;
/// New files in each folder.
const NEW: u64 = 1_500;
const BYTES: usize = 1 << 10;
const REACH: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "sync-drain")?;
    let proxy = slow_line(&server)?;
    let device = Device::create_at(bench, "sync-drain/a", &server, &proxy.url)?;
    let (known, new) = (bench.scaled(KNOWN), bench.scaled(NEW));
    device.load(FOLDERS, known)?;
    device.mount_whole()?;
    proxy.cut(true);
    device.wait("the cut is noticed", |status| status["online"] == false)?;
    let changes = change(&device, known, new)?;
    let pending = device.status()?["pending_nodes"].as_u64().context("pending_nodes")?;
    // What is gone or lies in the same place twice counts once: all of these are separate nodes.
    ensure!(pending >= changes, "{pending} of {changes} changes are pending");
    let before = server.requests()?;
    proxy.cut(false);
    let start = Instant::now();
    let stall = watch(&device)?;
    let whole = start.elapsed();
    let requests = server.requests()? - before;
    let line = Line::of(format!("{changes} offline changes drained, 50 ms"))
        .ours(format!(
            "{}, {requests} requests; longest time without progress {}",
            show(whole),
            show(stall)
        ))
        .target("<= 60 s", whole <= REACH);
    Ok(vec![line])
}

fn change(device: &Device<'_>, known: u64, new: u64) -> Result<u64> {
    let mut noise = Noise::new(43);
    let mut changes = 0;
    for folder in 0..FOLDERS {
        let path = |name: &str, number: u64| device.path(format!("d{folder:04}/{name}{number:04}"));
        for number in 0..new {
            fs::write(path("new", number), noise.bytes(BYTES))?;
        }
        for number in 0..known {
            match number % 4 {
                0 | 1 => fs::rename(path("f", number), path("moved", number))?,
                2 => fs::set_permissions(path("f", number), fs::Permissions::from_mode(0o600))?,
                _ => fs::remove_file(path("f", number))?,
            }
        }
        changes += new + known;
    }
    Ok(changes)
}

/// Waits until nothing is pending; gives the longest time in which the number did not fall.
fn watch(device: &Device<'_>) -> Result<Duration> {
    let start = Instant::now();
    let (mut least, mut fell, mut longest) = (u64::MAX, start, Duration::ZERO);
    loop {
        let pending = device.status()?["pending_nodes"].as_u64().context("pending_nodes")?;
        if pending < least {
            (least, fell) = (pending, Instant::now());
        }
        longest = longest.max(fell.elapsed());
        if pending == 0 {
            return Ok(longest);
        }
        if start.elapsed() > PATIENCE {
            bail!("{pending} are still pending after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
