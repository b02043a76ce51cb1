//! Reading and writing what is here, on the drive and on ext4 in turn, hot: everything is in the page
//! cache. Nothing is sent meanwhile (the quiet time before a file is sent is an hour), so that what is
//! measured is the way to the disk alone.
//!
//! - A file of 1 GiB: read from start to end in steps of 1 MiB; 4 KiB at 50,000 random places.
//! - 256 MiB in steps of 1 MiB: a file is made, opened for writing only as `cp` and `dd` do, written and
//!   closed (then removed, and the disk settled);
//!   and the start of the large file is written over in place, which goes through the daemon.
//! - 2,000 small files in one folder: made, written with 4 KiB and closed; opened, read and closed.

use super::{read::read_all, settle_disk};
use crate::bench::{
    Bench,
    device::Device,
    measure::{Pair, secs, show, time},
    server::Server,
    table::Line,
    trees::{self, Noise},
};
use anyhow::Result;
use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Duration,
};

const BYTES: u64 = 1 << 30;
/// Written at a time: less than what makes the kernel slow writers down.
const WRITTEN: u64 = 256 << 20;
/// How long a removed file may take to be gone, with its pages.
const PAUSE: Duration = Duration::from_millis(500);
const STEP: usize = 1 << 20;
const PAGE: usize = 4 << 10;
const PLACES: u64 = 50_000;
const FILES: u64 = 2_000;
/// Nothing is sent during the row.
const SETTLE: &str = "1h";

/// Where one side does its work.
struct Side {
    folder: PathBuf,
}

type Work = fn(&Side, &Bench, u64) -> Result<Duration>;

/// Name, target, what is timed.
const WORKS: [(&str, f64, Work); 6] = [
    ("sequential read of a local file of 1 GiB, hot", 1.1, Side::read),
    ("… 4 KiB at random places of it", 1.1, Side::read_places),
    ("sequential write of a new file of 256 MiB, with close", 1.2, Side::write_new),
    ("… over the start of a file, through requests", 3.5, Side::write_over),
    ("create, write 4 KiB, close", 7.0, Side::create_small),
    ("open, read 4 KiB, close", 7.0, Side::read_small),
];

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let place = bench.place("local/base")?;
    let server = Server::start(bench, "local")?;
    let device = Device::create(bench, "local/a", &server)?;
    device.mount()?;
    let (base, ours) = (Side { folder: place }, Side { folder: device.path("work") });
    for side in [&base, &ours] {
        side.prepare(bench)?;
    }
    device.sync()?;
    device.unmount_keeping()?;
    device.mount_with(&["--settle", SETTLE])?;
    let mut lines = Vec::new();
    for (name, reach, work) in WORKS {
        lines.push(compare(bench, (&base, &ours), (name, reach), work)?);
    }
    let passthrough = device.status()?["passthrough"] == true;
    lines.push(Line::of("… by passthrough").ours(if passthrough { "yes" } else { "no" }));
    Ok(lines)
}

fn compare(
    bench: &Bench,
    (base, ours): (&Side, &Side),
    (name, reach): (&str, f64),
    work: Work,
) -> Result<Line> {
    // Into the page cache, and whatever is done only once.
    for side in [base, ours] {
        work(side, bench, u64::MAX)?;
    }
    let mut pair = Pair::default();
    for slice in 0..bench.slices(7) as u64 {
        pair.base.push(work(base, bench, slice)?);
        pair.ours.push(work(ours, bench, slice)?);
    }
    Ok(Line::of(name)
        .base(format!("ext4 {}", show(Duration::from_secs_f64(secs(&pair.base)))))
        .ours(show(Duration::from_secs_f64(secs(&pair.ours))))
        .ratio(pair.ratio())
        .target(format!("<= {reach}x its time"), pair.ratio() <= reach))
}

impl Side {
    fn large(&self) -> PathBuf {
        self.folder.join("large")
    }

    fn small(&self, slice: u64) -> PathBuf {
        self.folder.join(format!("small-{slice}"))
    }

    fn prepare(&self, bench: &Bench) -> Result<()> {
        fs::create_dir_all(self.folder.join("known"))?;
        trees::large(&self.large(), bench.scaled(BYTES), 31)?;
        for number in 0..FILES {
            let bytes = Noise::new(number).bytes(PAGE);
            fs::write(self.folder.join("known").join(number.to_string()), bytes)?;
        }
        Ok(())
    }

    fn read(&self, bench: &Bench, _: u64) -> Result<Duration> {
        time(|| read_all(&self.large(), bench.scaled(BYTES)))
    }

    fn read_places(&self, bench: &Bench, slice: u64) -> Result<Duration> {
        let (file, pages) = (File::open(self.large())?, bench.scaled(BYTES) / PAGE as u64);
        let mut noise = Noise::new(slice);
        let places = noise.bytes(8 * bench.scaled(PLACES) as usize);
        let mut page = [0; PAGE];
        time(|| {
            for place in places.chunks_exact(8) {
                let number = place.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                file.read_exact_at(&mut page, number % pages * PAGE as u64)?;
            }
            Ok(())
        })
    }

    fn write_new(&self, bench: &Bench, _: u64) -> Result<Duration> {
        let path = self.folder.join("new");
        settle_disk()?;
        let file = || File::options().write(true).create_new(true).open(&path);
        let took = time(|| write_all(file()?, bench.scaled(WRITTEN)));
        fs::remove_file(&path)?;
        std::thread::sleep(PAUSE);
        took
    }

    fn write_over(&self, bench: &Bench, _: u64) -> Result<Duration> {
        settle_disk()?;
        let file = File::options().write(true).open(self.large())?;
        time(|| write_all(file, bench.scaled(WRITTEN)))
    }

    fn create_small(&self, _: &Bench, slice: u64) -> Result<Duration> {
        let (folder, bytes) = (self.small(slice), Noise::new(slice).bytes(PAGE));
        settle_disk()?;
        fs::create_dir(&folder)?;
        let took = time(|| {
            for number in 0..FILES {
                File::create_new(folder.join(number.to_string()))?.write_all(&bytes)?;
            }
            Ok(())
        });
        fs::remove_dir_all(&folder)?;
        took
    }

    fn read_small(&self, _: &Bench, _: u64) -> Result<Duration> {
        let folder = self.folder.join("known");
        let mut page = [0; PAGE];
        time(|| {
            for number in 0..FILES {
                File::open(folder.join(number.to_string()))?.read_exact(&mut page)?;
            }
            Ok(())
        })
    }
}

fn write_all(mut file: File, bytes: u64) -> Result<()> {
    let block = Noise::new(5).bytes(STEP);
    for _ in 0..bytes / STEP as u64 {
        file.write_all(&block)?;
    }
    Ok(())
}
