//! What is measured.

use crate::world::{World, place};
use fs_core::{CreateSpec, Ino, Kind, Name, Owner, Request};
use projectedfslib::Scan;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};
use windows::Win32::System::{
    ProcessStatus::{GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS},
    Threading::GetCurrentProcess,
};

/// `host:port/path` of something that a plain GET downloads, and how many bytes it is.
const PLAIN: &str = "MESHDRIVE_PLAIN";
/// Set for a tenth of the work.
const QUICK: &str = "MESHDRIVE_QUICK";

const ENTRIES: usize = 100_000;
const LOOKUPS: usize = 10_000;
/// Each file that is made and written is two notifications.
const WRITTEN: usize = 5_000;
const LARGE: u64 = 1 << 30;
const MEMORY_MAX: u64 = 200;
/// Entries that fit into a buffer of 64 KiB, about.
const ROOM: usize = 500;
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn all() {
    let scale = if std::env::var_os(QUICK).is_some() { 10 } else { 1 };
    listing(ENTRIES / scale, LOOKUPS / scale);
    queue(WRITTEN / scale);
    // Whole numbers of the source of bytes.
    hydration(LARGE / scale as u64 / 8 * 8);
    let peak = peak_mib();
    row(
        "memory at most, with a second device and the model in the same process",
        "",
        &format!("{peak} MiB"),
        &format!("<= {MEMORY_MAX} MiB"),
        Some(peak <= MEMORY_MAX),
    );
}

fn row(work: &str, base: &str, figure: &str, target: &str, met: Option<bool>) {
    let met = met.map_or("", |met| if met { "yes" } else { "**no**" });
    println!("{work} | {base} | {figure} | {target} | {met}");
}

fn rate(count: usize, time: Duration) -> String {
    let secs = time.as_secs_f64().max(1e-9);
    format!("{:.2} s, {:.0} a second", secs, count as f64 / secs)
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn listing(entries: usize, lookups: usize) {
    let world = World::new();
    let name = |number: usize| format!("file-{number:06}");
    for number in 0..entries {
        let spec = CreateSpec {
            kind: Kind::File,
            mode: 0o644,
            rdev: 0,
            owner: Owner::default(),
            target: Vec::new(),
        };
        let name = Name::new(name(number).as_bytes()).unwrap();
        let request = Request::Make { parent: Ino::ROOT, name, spec };
        world.remote.tree.port().call(request).unwrap();
    }
    let scan = Scan { room: ROOM, ..Scan::default() };
    let list = || world.app.list(&world.root(), "", scan).unwrap().len();
    wait("all of it is listed", || list() == entries);
    // The driver's own listing may be used for a second.
    std::thread::sleep(Duration::from_secs(2));
    let start = Instant::now();
    assert_eq!(list(), entries);
    row(
        &format!("enumeration of {entries} entries"),
        "",
        &rate(entries, start.elapsed()),
        "",
        None,
    );
    let start = Instant::now();
    let step = entries / lookups;
    for number in 0..lookups {
        world.app.open(&world.root(), &name(number * step)).unwrap();
    }
    let figure = rate(lookups, start.elapsed());
    row(&format!("{lookups} lookups that make placeholders"), "", &figure, "", None);
    world.keeps_the_contract();
}

fn queue(files: usize) {
    let world = World::new();
    let start = Instant::now();
    for number in 0..files {
        world.write(&format!("file-{number:06}"), b"written");
    }
    let written = start.elapsed();
    assert!(world.mount().settle(PATIENCE));
    let figure = rate(2 * files, start.elapsed());
    let base = format!("written in {:.2} s", written.as_secs_f64());
    row(&format!("queue of {} notifications drained", 2 * files), &base, &figure, "", None);
    world.keeps_the_contract();
}

fn hydration(bytes: u64) {
    let world = World::new();
    let ino = world.remote.tree.make(&place("large"), Kind::File).unwrap();
    let mut noise = io::Read::take(Noise(1), bytes);
    world.remote.tree.push(ino, &mut noise, fs_core::Timestamp(1)).unwrap();
    world.remote.tree.port().call(Request::Control(fs_core::Command::Sync(Vec::new()))).unwrap();
    let length = |listed: &projectedfslib::Listed| listed.size == bytes;
    wait("its length is known", || {
        let listed = world.app.list(&world.root(), "", Scan::default()).unwrap();
        listed.first().is_some_and(length)
    });
    let dropped = download(bytes, &mut io::sink());
    let kept = download(bytes, &mut tempfile::tempfile().unwrap());
    let start = Instant::now();
    // One byte: Windows fetches whole files.
    assert_eq!(world.app.read(&world.root(), "large", 0, 1).unwrap().len(), 1);
    let ours = start.elapsed();
    assert_eq!(world.state("large"), "hydrated");
    let speed = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    let ratio = kept.as_secs_f64() / ours.as_secs_f64();
    row(
        &format!("hydration of {} MiB", bytes >> 20),
        &format!(
            "plain HTTP download {:.0} MB/s into a file, {:.0} MB/s dropped",
            speed(kept),
            speed(dropped)
        ),
        &format!("{:.2} s, {:.0} MB/s, {ratio:.2}x", ours.as_secs_f64(), speed(ours)),
        ">= 0.5x its speed into a file",
        Some(ratio >= 0.5),
    );
    assert!(same(&world, bytes), "another content is on the disk");
    world.keeps_the_contract();
}

fn same(world: &World, bytes: u64) -> bool {
    let mut file =
        BufReader::with_capacity(1 << 20, File::open(world.root().join("large")).unwrap());
    let mut wanted = BufReader::with_capacity(1 << 20, io::Read::take(Noise(1), bytes));
    loop {
        let (ours, theirs) = (file.fill_buf().unwrap(), wanted.fill_buf().unwrap());
        let count = ours.len().min(theirs.len());
        if count == 0 {
            return ours.is_empty() && theirs.is_empty();
        }
        if ours[..count] != theirs[..count] {
            return false;
        }
        file.consume(count);
        wanted.consume(count);
    }
}

/// Bytes that do not compress, from a seed (xorshift64).
struct Noise(u64);

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let whole = buffer.len() / 8 * 8;
        for part in buffer[..whole].chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            part.copy_from_slice(&self.0.to_le_bytes());
        }
        Ok(whole)
    }
}

/// How long a plain GET of so many bytes takes.
fn download(bytes: u64, to: &mut dyn Write) -> Duration {
    let address = std::env::var(PLAIN).expect("run `cargo xtask bench --windows`");
    let start = Instant::now();
    let mut stream = TcpStream::connect(&address).unwrap();
    let request = format!("GET /{bytes} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut stream = BufReader::with_capacity(256 << 10, stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the answer ended early");
    }
    let mut left = bytes;
    while left > 0 {
        let part = stream.fill_buf().unwrap();
        assert!(!part.is_empty(), "the answer ended early");
        to.write_all(part).unwrap();
        let count = part.len();
        stream.consume(count);
        left = left.saturating_sub(count as u64);
    }
    to.flush().unwrap();
    start.elapsed()
}

fn peak_mib() -> u64 {
    let mut counters = PROCESS_MEMORY_COUNTERS::default();
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: the process is this one; the struct has the size that is given and lives across the call.
    unsafe { GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) }.unwrap();
    (counters.PeakWorkingSetSize as u64) >> 20
}
