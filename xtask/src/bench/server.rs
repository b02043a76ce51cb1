//! The store of a row: `meshdrive serve` in a folder of its own.

use super::{Bench, http::Http};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Kept so that the store can go on writing to it.
    _said: BufReader<ChildStdout>,
    pub(super) address: String,
    pub(super) data: PathBuf,
}

impl Server {
    pub(super) fn start(bench: &Bench, place: &str) -> Result<Server> {
        let data = bench.place(place)?.join("store");
        let mut child = Command::new(&bench.program)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .env("MESHDRIVE_HOME", data.with_file_name("server-home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the store")?;
        bench.keeper.process(child.id())?;
        let mut said = BufReader::new(child.stdout.take().context("the store's output")?);
        let mut line = String::new();
        said.read_line(&mut line).context("reading the store's address")?;
        let opened: serde_json::Value = serde_json::from_str(&line).context("the store's JSON")?;
        let url = opened["url"].as_str().context("the store's address")?;
        let address = url.trim_start_matches("http://").to_owned();
        Ok(Server { child, _said: said, address, data })
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The code for the next drive.
    pub(super) fn setup_code(&self) -> Result<PathBuf> {
        let file = self.data.join("setup-code");
        let start = Instant::now();
        while !file.exists() {
            if start.elapsed() > PATIENCE {
                bail!("the store makes no setup code");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(file)
    }

    /// The sum of a counter over all its labels, except what monitoring asks.
    pub(super) fn counter(&self, name: &str) -> Result<u64> {
        let text = Http::connect(&self.address)?.text("/metrics")?;
        let watching = ["\"/metrics\"", "\"/healthz\"", "\"/readyz\""];
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines
            .filter(|line| !watching.iter().any(|path| line.contains(path)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum::<f64>() as u64)
    }

    pub(super) fn requests(&self) -> Result<u64> {
        self.counter("meshdrive_requests_total")
    }

    pub(super) fn commits(&self) -> Result<u64> {
        self.counter("meshdrive_commits_total")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
