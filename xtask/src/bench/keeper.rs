//! Cleans up whatever way the benchmark ends: a process of its own that is told what was started and
//! sees the end of its input when the benchmark is over, has failed, was interrupted or was killed.

use anyhow::{Context, Result};
use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};
use std::{
    io::{BufRead, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

/// The hidden subcommand that runs [`keep`].
const SUBCOMMAND: &str = "bench-keeper";
/// How long the end of a process is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The keeper, as the benchmark sees it.
#[derive(Debug)]
pub(super) struct Keeper {
    child: Mutex<Child>,
    input: Mutex<Option<ChildStdin>>,
}

impl Keeper {
    /// Starts it; `folder` will be removed at the end, and processes are ended only if an argument
    /// of theirs, or their environment, lies below it.
    pub(super) fn start(folder: &Path) -> Result<Keeper> {
        let own = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(own)
            .args([SUBCOMMAND.as_ref(), folder.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C in this terminal is not meant for it.
            .process_group(0)
            .spawn()
            .context("starting the keeper")?;
        let input = child.stdin.take();
        Ok(Keeper { child: Mutex::new(child), input: Mutex::new(input) })
    }

    pub(super) fn mount(&self, path: &Path) -> Result<()> {
        self.tell(&format!("mount {}", path.display()))
    }

    pub(super) fn process(&self, pid: u32) -> Result<()> {
        self.tell(&format!("process {pid}"))
    }

    fn tell(&self, line: &str) -> Result<()> {
        let mut input = self.input.lock().ok().context("the keeper's lock")?;
        let input = input.as_mut().context("the keeper has ended")?;
        writeln!(input, "{line}").context("telling the keeper")
    }

    /// Has everything cleaned up, and waits for it.
    pub(super) fn finish(&self) {
        if let (Ok(mut input), Ok(mut child)) = (self.input.lock(), self.child.lock()) {
            drop(input.take());
            let _ = child.wait();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Notes what it is told until its input ends, then cleans up.
pub(crate) fn keep(folder: &Path) {
    let (mut mounts, mut processes): (Vec<PathBuf>, Vec<i32>) = Default::default();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("mount", path)) => mounts.push(path.into()),
            Some(("process", pid)) => processes.extend(pid.parse::<i32>()),
            _ => {}
        }
    }
    for pid in &processes {
        end(*pid, folder, Signal::TERM);
    }
    let start = Instant::now();
    while processes.iter().any(|pid| is_ours(*pid, folder)) && start.elapsed() < PATIENCE {
        std::thread::sleep(LOOK_EVERY);
    }
    for pid in &processes {
        end(*pid, folder, Signal::KILL);
    }
    for mount in mounts.iter().filter(|mount| is_mounted(mount)) {
        let _ = unmount(mount.as_path(), UnmountFlags::DETACH);
        let _ = Command::new("fusermount3").args(["-u", "-z", "-q"]).arg(mount).status();
    }
    // Never walk into something that is still mounted.
    if !mounts.iter().any(|mount| is_mounted(mount)) {
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn end(pid: i32, folder: &Path, signal: Signal) {
    if is_ours(pid, folder)
        && let Some(pid) = Pid::from_raw(pid)
    {
        let _ = kill_process(pid, signal);
    }
}

/// A pid may have been given to another program since: only one that speaks of our folder counts.
fn is_ours(pid: i32, folder: &Path) -> bool {
    let folder = folder.as_os_str().as_encoded_bytes();
    ["cmdline", "environ"].iter().any(|file| {
        let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        text.windows(folder.len()).any(|part| part == folder)
    })
}

/// The names here have no character that the kernel's list escapes.
fn is_mounted(path: &Path) -> bool {
    let list = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    list.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!is_ours(own, folder.path()));
        let mut child =
            Command::new("cat").env("PLACE", folder.path()).stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start = Instant::now();
        while !is_ours(pid, folder.path()) {
            assert!(start.elapsed() < PATIENCE, "our process is not recognised");
            std::thread::sleep(LOOK_EVERY);
        }
        end(pid, folder.path(), Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
