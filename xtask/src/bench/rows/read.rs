//! Cold sequential read of 1 GiB of noise in steps of 1 MiB, on a drive mounted anew before each slice
//! (which leaves nothing local, also not in the kernel's page cache), against the HTTP download of all
//! packs of that file from the same store over one connection: once dropped as it comes, once written
//! to a file on the same disk, as `curl -o` does and as a drive with a cache must. Before each slice
//! the disk is settled.
//!
//! Then 4 KiB at 200 random places of the same file, cold again: how long one takes, and how many
//! bytes the store sent for each that was asked for.

use super::settle_disk;
use crate::bench::{
    Bench,
    device::Device,
    http::Http,
    measure::{Pair, median, percentile, secs, show, time},
    server::Server,
    table::Line,
    trees,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The store lets a device ask 1,000 times at once and 200 times a second: after this long the next
/// slice (about 800 requests) finds the whole allowance.
const REST: Duration = Duration::from_secs(5);
const BYTES: u64 = 1 << 30;
const STEP: usize = 1 << 20;
const RANDOM_READS: u64 = 200;
const PAGE: u64 = 4 << 10;
const AMPLIFICATION: f64 = 20.0;

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let bytes = bench.scaled(BYTES);
    let server = Server::start(bench, "read")?;
    let device = Device::create(bench, "read/a", &server)?;
    device.mount()?;
    let file = device.path("large");
    trees::large(&file, bytes, 1)?;
    device.sync()?;
    let packs = Packs::of(&device, &server)?;
    let stored = bench.place("read")?.join("downloaded");
    let (mut dropped, mut kept) = (Pair::default(), Pair::default());
    for _ in 0..bench.slices(5) {
        settle_disk()?;
        std::thread::sleep(REST);
        dropped.base.push(time(|| packs.download())?);
        kept.base.push(time(|| packs.download_to(&stored))?);
        fs::remove_file(&stored)?;
        cold(&device)?;
        settle_disk()?;
        let took = time(|| read_all(&file, bytes))?;
        dropped.ours.push(took);
        kept.ours.push(took);
    }
    let memory = device.memory()?.1;
    let speed = |times| format!("{:.0} MB/s", bytes as f64 / 1e6 / secs(times));
    let ratio = 1.0 / dropped.ratio();
    let name = format!("cold sequential read, {} MiB, loopback store", bytes >> 20);
    let ours = format!("{}, {}", median(&dropped.ours), speed(&dropped.ours));
    let to_nowhere = Line::of(name)
        .base(format!("HTTP download, dropped {}, {}", median(&dropped.base), speed(&dropped.base)))
        .ours(&ours)
        .ratio(ratio)
        .target(">= 0.6x its speed", ratio >= 0.6);
    let to_file = Line::of("… against a download that is kept")
        .base(format!("HTTP download to a file {}, {}", median(&kept.base), speed(&kept.base)))
        .ours(ours)
        .ratio(kept.ratio())
        .target("<= 1.25x its time", kept.ratio() <= 1.25);
    let peak = Line::of("… memory of the daemon at most")
        .ours(format!("{memory} MiB"))
        .target("<= 150 MiB", memory <= 150);
    cold(&device)?;
    Ok(vec![to_nowhere, to_file, peak, random(&file, bytes, &server)?])
}

fn cold(device: &Device<'_>) -> Result<()> {
    device.unmount()?;
    device.mount_whole()?;
    device.expect_nothing_local()
}

fn random(file: &Path, bytes: u64, server: &Server) -> Result<Line> {
    let mut noise = trees::Noise::new(77);
    let file = File::open(file)?;
    let before = server.counter("meshdrive_sent_bytes_total")?;
    let mut page = [0; PAGE as usize];
    let mut times = Vec::new();
    for _ in 0..RANDOM_READS {
        let number = noise.bytes(8).into_iter().fold(0, |sum, byte| sum << 8 | u64::from(byte));
        let at = number % (bytes / PAGE) * PAGE;
        times.push(time(|| Ok(file.read_exact_at(&mut page, at)?))?);
    }
    let sent = server.counter("meshdrive_sent_bytes_total")? - before;
    let amplification = sent as f64 / (RANDOM_READS * PAGE) as f64;
    Ok(Line::of("… 4 KiB at random places, bytes sent for each asked")
        .base("39-3489x in others")
        .ours(format!(
            "{amplification:.0}x; p50 {}, p99 {}",
            show(percentile(&times, 50)),
            show(percentile(&times, 99))
        ))
        .target(format!("<= {AMPLIFICATION:.0}x"), amplification <= AMPLIFICATION))
}

pub(super) fn read_all(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; STEP];
    let mut total = 0;
    while let read @ 1.. = file.read(&mut buffer)? {
        total += read as u64;
    }
    ensure!(total == bytes, "read {total} of {bytes} bytes");
    Ok(())
}

/// The stored packs of a drive.
struct Packs {
    address: String,
    token: String,
    paths: Vec<String>,
    bytes: u64,
}

impl Packs {
    fn of(device: &Device<'_>, server: &Server) -> Result<Packs> {
        let drive = device.credential("drive")?;
        let token = device.credential("token")?;
        let mut packs = Packs { address: server.address.clone(), token, paths: vec![], bytes: 0 };
        let folder = server.data.join("packs").join(&drive);
        for shard in fs::read_dir(&folder).context("the store's packs")? {
            for pack in fs::read_dir(shard?.path())? {
                let pack = pack?;
                packs.bytes += pack.metadata()?.len();
                let name = pack.file_name();
                packs.paths.push(format!("/v1/drives/{drive}/packs/{}", name.display()));
            }
        }
        Ok(packs)
    }

    fn download(&self) -> Result<()> {
        let mut http = Http::connect(&self.address)?;
        let mut total = 0;
        for path in &self.paths {
            total += http.download(path, &self.token)?;
        }
        ensure!(total == self.bytes, "downloaded {total} of {} bytes", self.bytes);
        Ok(())
    }

    fn download_to(&self, file: &PathBuf) -> Result<()> {
        let mut file = File::create(file)?;
        let mut http = Http::connect(&self.address)?;
        let mut total = 0;
        for path in &self.paths {
            total += http.download_to(path, &self.token, &mut file)?;
        }
        ensure!(total == self.bytes, "downloaded {total} of {} bytes", self.bytes);
        Ok(())
    }
}
