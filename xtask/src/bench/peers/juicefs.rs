//! JuiceFS: names in Redis (in an SQLite file where Redis is not installed), contents in S3 as
//! `rclone serve s3` gives it.

use super::{
    contender::{Contender, Running, Way, Ways, free_port, is_mounted, take_down, wait},
    programs::Programs,
    rclone::{BUCKET, KEY, SECRET, Store},
};
use crate::{
    bench::{Bench, output},
    packages,
};
use anyhow::Result;
use std::{fs, net::TcpStream, path::PathBuf, process::Command, time::Duration};

pub(super) struct JuiceFs<'a> {
    bench: &'a Bench,
    program: PathBuf,
    place: PathBuf,
    mountpoint: PathBuf,
    store: Store,
    names: Names,
    mounted: Option<Running>,
    now: Way,
}

/// Where it keeps names.
enum Names {
    Redis { _process: Running, ways: Ways },
    File(PathBuf),
}

impl Names {
    fn start(bench: &Bench, place: &std::path::Path) -> Result<Names> {
        if !packages::on_path("redis-server") {
            eprintln!("redis-server is not installed: JuiceFS keeps its names in a local file");
            return Ok(Names::File(place.join("names.db")));
        }
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "60 10000"])
            // Its own title would hide the folder, by which it is known as ours when all is ended.
            .args(["--appendonly", "yes", "--set-proc-title", "no", "--dir"])
            .arg(place);
        let process = Running::start(bench, &mut command, &place.join("redis.log"))?;
        let address = format!("127.0.0.1:{port}");
        wait("Redis answers", || TcpStream::connect(&address).is_ok())?;
        Ok(Names::Redis { _process: process, ways: Ways::to(&address)? })
    }

    fn url(&self, way: Way) -> String {
        match self {
            Names::Redis { ways, .. } => format!("redis://{}/1", ways.address(way)),
            Names::File(path) => format!("sqlite3://{}", path.display()),
        }
    }

    fn traffic(&self, way: Way) -> (u64, u64) {
        match self {
            Names::Redis { ways, .. } => ways.traffic(way),
            Names::File(_) => (0, 0),
        }
    }
}

impl<'a> JuiceFs<'a> {
    pub(super) fn new(bench: &'a Bench, programs: &Programs) -> Result<JuiceFs<'a>> {
        let place = bench.place("juicefs")?;
        let mountpoint = place.join("mnt");
        fs::create_dir_all(&mountpoint)?;
        let store = Store::start(bench, &programs.rclone, &place)?;
        let names = Names::start(bench, &place)?;
        let program = programs.juicefs.clone();
        let now = Way::Direct;
        let bucket = format!("{}/{BUCKET}", store.ways.url(now));
        let mut format = Command::new(&program);
        format
            .env("HOME", &place)
            .args(["format", "--storage", "s3", "--bucket", &bucket, "--trash-days", "0"])
            .args(["--access-key", KEY, "--secret-key", SECRET, &names.url(now), "bench"]);
        output(&mut format)?;
        Ok(JuiceFs { bench, program, place, mountpoint, store, names, mounted: None, now })
    }
}

impl Contender for JuiceFs<'_> {
    fn name(&self) -> &str {
        "JuiceFS"
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
        self.now = way;
        self.bench.keeper.mount(&self.mountpoint)?;
        let mut command = Command::new(&self.program);
        command
            .env("HOME", &self.place)
            .args(["mount", "--no-usage-report", "--no-syslog", "--bucket"])
            .arg(format!("{}/{BUCKET}", self.store.ways.url(way)))
            .arg("--cache-dir")
            .arg(&cache)
            .arg(self.names.url(way))
            .arg(&self.mountpoint);
        let log = self.place.join("mount.log");
        self.mounted = Some(Running::start(self.bench, &mut command, &log)?);
        wait("JuiceFS has mounted", || is_mounted(&self.mountpoint))
    }

    /// A close has waited for the store already.
    fn settle(&mut self, _: Duration) -> Result<()> {
        Ok(())
    }

    fn traffic(&self) -> (u64, u64) {
        let (store, names) = (self.store.ways.traffic(self.now), self.names.traffic(self.now));
        (store.0 + names.0, store.1 + names.1)
    }

    fn end(&mut self) {
        take_down(&self.mountpoint);
        if let Some(mut mounted) = self.mounted.take() {
            mounted.reap();
        }
    }
}
