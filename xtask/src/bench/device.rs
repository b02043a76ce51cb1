//! A device of a row: a home of its own, one drive, one mountpoint.

use super::{Bench, output, processor, server::Server};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Name of the drive.
const DRIVE: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Device<'a> {
    bench: &'a Bench,
    home: PathBuf,
    pub(super) mountpoint: PathBuf,
}

impl<'a> Device<'a> {
    fn new(bench: &'a Bench, place: &str) -> Result<Device<'a>> {
        let place = bench.place(place)?;
        let mountpoint = place.join("mnt");
        fs::create_dir_all(&mountpoint).context("making the mountpoint")?;
        Ok(Device { bench, home: place.join("home"), mountpoint })
    }

    /// The first device of a new drive on `server`.
    pub(super) fn create(bench: &'a Bench, place: &str, server: &Server) -> Result<Device<'a>> {
        Device::create_at(bench, place, server, &server.url())
    }

    /// The same, for a device that sees the store at `url`.
    pub(super) fn create_at(
        bench: &'a Bench,
        place: &str,
        server: &Server,
        url: &str,
    ) -> Result<Device<'a>> {
        let device = Device::new(bench, place)?;
        let code = server.setup_code()?;
        let create = ["drive", "create", DRIVE, "--server", url, "--setup-code-file"];
        output(device.meshdrive().args(create).arg(code))?;
        Ok(device)
    }

    /// One more device of this device's drive, that sees the store at `url`.
    pub(super) fn invite(&self, place: &str, url: &str) -> Result<Device<'a>> {
        let device = Device::new(self.bench, place)?;
        let invited = output(self.meshdrive().args(["drive", "invite", DRIVE, "--json"]))?;
        let invited: serde_json::Value = serde_json::from_str(&invited)?;
        let code = invited["code"].as_str().context("the join code")?;
        let join = ["drive", "join", DRIVE, "--server", url];
        output(device.meshdrive().args(join).env("MESHDRIVE_JOIN_CODE", code))?;
        Ok(device)
    }

    pub(super) fn meshdrive(&self) -> Command {
        let mut command = Command::new(&self.bench.program);
        command.env("MESHDRIVE_HOME", &self.home).current_dir(&self.bench.folder);
        command
    }

    pub(super) fn mount(&self) -> Result<()> {
        self.mount_with(&[])
    }

    pub(super) fn mount_with(&self, flags: &[&str]) -> Result<()> {
        self.bench.keeper.mount(&self.mountpoint)?;
        output(self.meshdrive().args(["mount", DRIVE]).arg(&self.mountpoint).args(flags))?;
        // The supervisor first: it would start another daemon.
        if let Some(supervisor) = self.status()?["supervisor"].as_u64() {
            self.bench.keeper.process(u32::try_from(supervisor)?)?;
        }
        self.bench.keeper.process(u32::try_from(self.pid()?)?)
    }

    /// Mounts and waits until the whole tree is known.
    pub(super) fn mount_whole(&self) -> Result<()> {
        self.mount()?;
        self.wait("the whole tree is known", |status| status["complete"] == true)
    }

    pub(super) fn unmount(&self) -> Result<()> {
        output(self.meshdrive().args(["unmount", DRIVE])).map(drop)
    }

    /// Unmounts, and what is local stays so.
    pub(super) fn unmount_keeping(&self) -> Result<()> {
        output(self.meshdrive().args(["unmount", DRIVE, "--keep-cache"])).map(drop)
    }

    pub(super) fn sync(&self) -> Result<()> {
        output(self.meshdrive().args(["sync", DRIVE])).map(drop)
    }

    /// # Errors
    /// When a byte of content is local.
    pub(super) fn expect_nothing_local(&self) -> Result<()> {
        let cached = self.status()?["cached_bytes"].as_u64();
        ensure!(cached == Some(0), "{cached:?} bytes are local");
        Ok(())
    }

    pub(super) fn status(&self) -> Result<serde_json::Value> {
        // Its exit status says whether something is unsent, which is no failure here.
        let answer = self.meshdrive().args(["status", DRIVE, "--json"]).output()?;
        let said = String::from_utf8_lossy(&answer.stderr);
        serde_json::from_slice(&answer.stdout).with_context(|| format!("status: {said}"))
    }

    pub(super) fn wait(&self, what: &str, done: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let status = self.status()?;
            if done(&status) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("waited in vain until {what}; status: {status}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn pid(&self) -> Result<i32> {
        let pid = self.status()?["pid"].as_i64().context("the daemon's pid")?;
        Ok(i32::try_from(pid)?)
    }

    /// Memory of the daemon in MiB: now, and the most it ever was.
    pub(super) fn memory(&self) -> Result<(u64, u64)> {
        processor::memory(self.pid()?)
    }

    /// Time on the processor of the daemon and its supervisor so far.
    pub(super) fn processor(&self) -> Result<Duration> {
        let status = self.status()?;
        let pids = [status["pid"].as_i64(), status["supervisor"].as_i64()];
        let pids = pids.into_iter().flatten();
        pids.map(|pid| processor::used(i32::try_from(pid)?)).sum()
    }

    pub(super) fn credentials(&self) -> PathBuf {
        self.home.join(format!("config/drives/{DRIVE}.credentials"))
    }

    /// A field of the credentials file.
    pub(super) fn credential(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.credentials())?;
        let value = text.lines().find_map(|line| {
            let (found, value) = line.split_once('=')?;
            (found.trim() == name).then(|| value.trim().to_owned())
        });
        value.with_context(|| format!("no `{name}` in the credentials"))
    }

    /// Fills the drive through the store alone: `folders` folders with `files` files each.
    pub(super) fn load(&self, folders: u64, files: u64) -> Result<()> {
        let counts = [folders.to_string(), files.to_string()];
        output(Command::new(&self.bench.loader).arg(self.credentials()).args(counts)).map(drop)
    }

    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.mountpoint.join(name)
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        // What is left after that the keeper ends.
        let _ = self.meshdrive().args(["unmount", DRIVE, "--keep-pending"]).output();
    }
}
