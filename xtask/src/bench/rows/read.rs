//! Cold sequential read of 1 GiB of noise in steps of 1 MiB, on a drive mounted anew before each slice
//! (which leaves nothing local, also not in the kernel's page cache), against the HTTP download of all packs of that file from the same store over one connection.

use crate::bench::{
    Bench,
    device::Device,
    http::Http,
    measure::{Pair, median, secs, time},
    server::Server,
    table::Line,
    trees,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

const BYTES: u64 = 1 << 30;
const STEP: usize = 1 << 20;

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let bytes = bench.scaled(BYTES);
    let server = Server::start(bench, "read")?;
    let device = Device::create(bench, "read/a", &server)?;
    device.mount()?;
    let file = device.path("large");
    trees::large(&file, bytes, 1)?;
    device.sync()?;
    let packs = Packs::of(&device, &server)?;
    let mut pair = Pair::default();
    for _ in 0..bench.slices(5) {
        pair.base.push(time(|| packs.download())?);
        device.unmount()?;
        device.mount_whole()?;
        device.expect_nothing_local()?;
        pair.ours.push(time(|| read_all(&file, bytes))?);
    }
    let speed = |times| format!("{:.0} MB/s", bytes as f64 / 1e6 / secs(times));
    let ratio = 1.0 / pair.ratio();
    let name = format!("cold sequential read, {} MiB, loopback store", bytes >> 20);
    let line = Line::of(name)
        .base(format!("HTTP download {}, {}", median(&pair.base), speed(&pair.base)))
        .ours(format!("{}, {}", median(&pair.ours), speed(&pair.ours)))
        .ratio(ratio)
        .target(">= 0.6x its speed", ratio >= 0.6);
    Ok(vec![line])
}

fn read_all(path: &Path, bytes: u64) -> Result<()> {
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
}
