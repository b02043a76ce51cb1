//! rclone: `rclone mount` with its full cache, over S3 as `rclone serve s3` gives it.

use super::{
    contender::{Contender, Running, Way, Ways, free_port, is_mounted, take_down, wait},
    programs::Programs,
};
use crate::bench::{Bench, output};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Keys of a store that only this run can reach.
pub(super) const KEY: &str = "bench";
pub(super) const SECRET: &str = "bench-secret";
pub(super) const BUCKET: &str = "bucket";
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// After a close(2), until rclone has heard of it: the kernel does not wait for the answer. It waits
/// longer than that itself before it sends.
const HEARD: Duration = Duration::from_millis(300);

/// `rclone serve s3` over a folder of the disk.
pub(super) struct Store {
    _process: Running,
    pub(super) ways: Ways,
}

impl Store {
    pub(super) fn start(bench: &Bench, program: &Path, place: &Path) -> Result<Store> {
        let data = place.join("store");
        fs::create_dir_all(data.join(BUCKET))?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = quiet(program, place);
        command
            .args(["serve", "s3", "--auth-key", &format!("{KEY},{SECRET}"), "--addr", &address])
            .arg(&data);
        let process = Running::start(bench, &mut command, &place.join("store.log"))?;
        wait("the S3 store answers", || TcpStream::connect(&address).is_ok())?;
        Ok(Store { _process: process, ways: Ways::to(&address)? })
    }
}

/// rclone with no settings of this machine.
fn quiet(program: &Path, place: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("RCLONE_CONFIG", place.join("no.conf")).env("HOME", place);
    command
}

pub(super) struct Rclone<'a> {
    bench: &'a Bench,
    program: PathBuf,
    place: PathBuf,
    mountpoint: PathBuf,
    store: Store,
    mounted: Option<Running>,
    now: Way,
}

impl<'a> Rclone<'a> {
    pub(super) fn new(bench: &'a Bench, programs: &Programs) -> Result<Rclone<'a>> {
        let place = bench.place("rclone")?;
        let mountpoint = place.join("mnt");
        fs::create_dir_all(&mountpoint)?;
        let store = Store::start(bench, &programs.rclone, &place)?;
        let program = programs.rclone.clone();
        Ok(Rclone { bench, program, place, mountpoint, store, mounted: None, now: Way::Direct })
    }

    fn socket(&self) -> PathBuf {
        self.place.join("rc")
    }

    /// Changes that have not reached the store yet.
    fn unsent(&self) -> Result<u64> {
        let mut ask = quiet(&self.program, &self.place);
        let said = output(ask.args(["rc", "--unix-socket"]).arg(self.socket()).arg("vfs/stats"))?;
        let stats: serde_json::Value = serde_json::from_str(&said)?;
        let count = |name: &str| stats["diskCache"][name].as_u64().context("rclone's figures");
        Ok(count("uploadsInProgress")? + count("uploadsQueued")?)
    }
}

impl Contender for Rclone<'_> {
    fn name(&self) -> &str {
        "rclone"
    }

    fn root(&self) -> PathBuf {
        self.mountpoint.clone()
    }

    fn mount(&mut self, way: Way) -> Result<()> {
        self.end();
        let cache = self.place.join("cache");
        if cache.exists() {
            fs::remove_dir_all(&cache)?;
        }
        let _ = fs::remove_file(self.socket());
        self.now = way;
        self.bench.keeper.mount(&self.mountpoint)?;
        let remote = format!(
            ":s3,provider=Rclone,endpoint=\"{}\",access_key_id={KEY},secret_access_key={SECRET}:{BUCKET}",
            self.store.ways.url(way)
        );
        let mut command = quiet(&self.program, &self.place);
        command
            .args(["mount", &remote])
            .arg(&self.mountpoint)
            .args(["--vfs-cache-mode", "full", "--vfs-write-back", "1s", "--use-server-modtime"])
            .args(["--dir-cache-time", "1h", "--attr-timeout", "60s", "--links", "--cache-dir"])
            .arg(&cache)
            .args(["--rc", "--rc-no-auth", "--rc-addr"])
            .arg(format!("unix://{}", self.socket().display()));
        let log = self.place.join("mount.log");
        self.mounted = Some(Running::start(self.bench, &mut command, &log)?);
        wait("rclone has mounted", || is_mounted(&self.mountpoint))?;
        wait("rclone answers", || self.unsent().is_ok())
    }

    fn settle(&mut self, patience: Duration) -> Result<()> {
        let start = Instant::now();
        std::thread::sleep(HEARD);
        while self.unsent()? > 0 {
            if start.elapsed() > patience {
                bail!("> {} s", patience.as_secs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn traffic(&self) -> (u64, u64) {
        self.store.ways.traffic(self.now)
    }

    fn end(&mut self) {
        take_down(&self.mountpoint);
        if let Some(mut mounted) = self.mounted.take() {
            mounted.reap();
        }
    }
}
