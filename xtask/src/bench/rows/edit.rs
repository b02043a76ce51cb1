//! 4 KiB written in the middle of a 256 MiB file of noise of which a second device has no byte, then
//! 1 MiB of noise appended: all bytes that cross the line in each direction until the store has
//! them, counted by a proxy, so with every head of HTTP and all else the device has to say.

use crate::bench::{
    Bench,
    device::Device,
    proxy::{self, Proxy},
    server::Server,
    table::Line,
    trees::{self, Noise},
};
use anyhow::Result;
use std::{fs::File, os::unix::fs::FileExt, path::Path, time::Duration};

const FILE: u64 = 256 << 20;
const EDIT: usize = 4 << 10;
const APPEND: usize = 1 << 20;
/// What may be sent, in bytes.
const EDIT_REACH: u64 = 16 << 10;
const APPEND_REACH: u64 = 11 * (APPEND as u64) / 10;
/// What may be fetched: a few answers, and no content.
const FETCH_REACH: u64 = 16 << 10;

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let bytes = bench.scaled(FILE);
    let server = Server::start(bench, "edit")?;
    let first = Device::create(bench, "edit/a", &server)?;
    first.mount()?;
    trees::large(&first.path("large"), bytes, 3)?;
    first.sync()?;
    let free = proxy::Line { one_way: Duration::ZERO, rate: None };
    let proxy = Proxy::start(&server.address, free)?;
    let second = first.invite("edit/b", &proxy.url)?;
    second.mount_whole()?;
    let file = second.path("large");
    let mut noise = Noise::new(4);
    let edit = traffic(&proxy, || write(&second, &file, &noise.bytes(EDIT), bytes / 2))?;
    let append = traffic(&proxy, || write(&second, &file, &noise.bytes(APPEND), bytes))?;
    let what = format!("4 KiB changed inside a {} MiB file that is not local", bytes >> 20);
    Ok(vec![
        line(what, "JuiceFS 10 KB, ZeroFS 45 KB", edit, EDIT_REACH),
        line("1 MiB appended to it".into(), "", append, APPEND_REACH),
    ])
}

fn line(what: String, base: &str, (up, down): (u64, u64), reach: u64) -> Line {
    Line::of(what)
        .base(base)
        .ours(format!("{:.1} KB sent, {:.1} KB fetched", up as f64 / 1e3, down as f64 / 1e3))
        .target(
            format!("<= {} KiB sent, no content fetched", reach >> 10),
            up <= reach && down <= FETCH_REACH,
        )
}

/// The bytes that cross the line because of `work`: up and down.
fn traffic(proxy: &Proxy, work: impl FnOnce() -> Result<()>) -> Result<(u64, u64)> {
    let before = proxy.bytes();
    work()?;
    let after = proxy.bytes();
    Ok((after.0 - before.0, after.1 - before.1))
}

fn write(device: &Device<'_>, path: &Path, bytes: &[u8], offset: u64) -> Result<()> {
    let file = File::options().write(true).open(path)?;
    file.write_all_at(bytes, offset)?;
    drop(file);
    device.sync()
}
