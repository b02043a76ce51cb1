//! What every contender can do.

use crate::bench::{
    Bench, output,
    proxy::{self, Proxy},
};
use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Round trips of 40 ms, 200 Mbit/s each way.
const ONE_WAY: Duration = Duration::from_millis(20);
const RATE: u64 = 200_000_000;
/// How long something may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a contender reaches its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Direct,
    /// Through a proxy that only counts.
    Counted,
    /// Through one with delay and a rate.
    Slow,
}

/// A way of keeping files.
pub(super) trait Contender {
    fn name(&self) -> &str;
    /// The folder that shows them.
    fn root(&self) -> PathBuf;
    /// Shows them with nothing local, over that way. What it showed before is taken down.
    fn mount(&mut self, way: Way) -> Result<()>;
    /// Returns when everything is in the store, or fails after `patience`.
    fn settle(&mut self, patience: Duration) -> Result<()>;
    /// Bytes sent to the store and fetched from it over the way in use.
    fn traffic(&self) -> (u64, u64);
    /// Takes everything down, whatever state it is in.
    fn end(&mut self);
    /// Whether there is a store behind it.
    fn is_remote(&self) -> bool {
        true
    }
}

/// The counting and the slow way to one address.
#[derive(Debug)]
pub(super) struct Ways {
    direct: String,
    counted: Proxy,
    slow: Proxy,
}

impl Ways {
    /// To `address`, a host and a port.
    pub(super) fn to(address: &str) -> Result<Ways> {
        let free = proxy::Line { one_way: Duration::ZERO, rate: None };
        let narrow = proxy::Line { one_way: ONE_WAY, rate: Some(RATE) };
        Ok(Ways {
            direct: format!("http://{address}"),
            counted: Proxy::start(address, free)?,
            slow: Proxy::start(address, narrow)?,
        })
    }

    pub(super) fn url(&self, way: Way) -> &str {
        match way {
            Way::Direct => &self.direct,
            Way::Counted => &self.counted.url,
            Way::Slow => &self.slow.url,
        }
    }

    /// The same without the scheme.
    pub(super) fn address(&self, way: Way) -> &str {
        self.url(way).trim_start_matches("http://")
    }

    pub(super) fn traffic(&self, way: Way) -> (u64, u64) {
        match way {
            Way::Direct => (0, 0),
            Way::Counted => self.counted.bytes(),
            Way::Slow => self.slow.bytes(),
        }
    }
}

/// A program that runs in the background until it is told to end.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(bench: &Bench, command: &mut Command, log: &Path) -> Result<Running> {
        let log = fs::File::create(log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| command.get_program().display().to_string())?;
        bench.keeper.process(child.id())?;
        Ok(Running(child))
    }

    /// Waits for its end, and ends it if that takes too long.
    pub(super) fn reap(&mut self) {
        let start = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if start.elapsed() > PATIENCE {
                let _ = self.0.kill();
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens at now.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

pub(super) fn wait(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > PATIENCE {
            bail!("waited in vain until {what}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

pub(super) fn is_mounted(path: &Path) -> bool {
    let list = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    list.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

/// Unmounts, by force if it has to be.
pub(super) fn take_down(mountpoint: &Path) {
    if is_mounted(mountpoint) && unmount(mountpoint, UnmountFlags::empty()).is_err() {
        let _ = Command::new("fusermount3").args(["-u", "-z", "-q"]).arg(mountpoint).status();
        if is_mounted(mountpoint) {
            let _ = unmount(mountpoint, UnmountFlags::DETACH);
        }
    }
}

/// A folder on the disk, without any store.
pub(super) struct Ext4 {
    folder: PathBuf,
}

impl Ext4 {
    pub(super) fn new(bench: &Bench) -> Result<Ext4> {
        Ok(Ext4 { folder: bench.place("ext4")? })
    }
}

impl Contender for Ext4 {
    fn name(&self) -> &str {
        "ext4"
    }

    fn root(&self) -> PathBuf {
        self.folder.clone()
    }

    /// Puts all contents out of the page cache; names and attributes stay in memory.
    fn mount(&mut self, _: Way) -> Result<()> {
        output(&mut Command::new("sync"))?;
        super::work::forget(&self.folder)
    }

    fn settle(&mut self, _: Duration) -> Result<()> {
        output(&mut Command::new("sync")).map(drop)
    }

    fn traffic(&self) -> (u64, u64) {
        (0, 0)
    }

    fn end(&mut self) {}

    fn is_remote(&self) -> bool {
        false
    }
}
