//! A device: a home of its own with the drive `work`, mounted at `m` in it.

use crate::{
    answer::Answer,
    process, program,
    wait::{wait_for, wait_until},
};
use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicI32, Ordering},
};

/// The mount and its daemon are taken down when it is dropped, whatever state they are in.
#[derive(Debug)]
pub struct Device {
    name: String,
    home: PathBuf,
    /// Of the daemon that was last seen; 0: none.
    pid: AtomicI32,
    /// Of the process that starts it again; 0: none.
    supervisor: AtomicI32,
}

impl Device {
    /// A home that has no drive yet.
    pub fn new(dir: &Path, name: &str) -> Device {
        let home = dir.join(name);
        fs::create_dir_all(home.join("m")).unwrap();
        Device { name: name.into(), home, pid: AtomicI32::new(0), supervisor: AtomicI32::new(0) }
    }

    /// Joins the drive of another device, reaching the store at `url`.
    #[track_caller]
    pub fn join(&self, of: &Device, url: &str) {
        let invited = of.run(&["drive", "invite", "work", "--json"]);
        let code = invited.expect(0, &[]).json()["code"].as_str().unwrap().to_string();
        self.run(&[
            "drive", "join", "work", "--server", url, "--device", &self.name, "--code", &code,
        ])
        .expect(0, &["Joined work"]);
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where the drive is mounted.
    pub fn root(&self) -> PathBuf {
        self.home.join("m")
    }

    /// A path in the drive.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root().join(below)
    }

    /// Index, contents and log of the drive.
    pub fn state(&self) -> PathBuf {
        self.home.join("state/work")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.state().join("meshdrive.log")).unwrap_or_default()
    }

    /// `meshdrive` in this home, with nothing else from the environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("MESHDRIVE_HOME", &self.home)
            .env("RUST_BACKTRACE", "1")
            .current_dir(&self.home)
            .stdin(Stdio::null());
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Answer {
        Answer::of(&self.command().args(args).output().unwrap())
    }

    /// `meshdrive VERB PATH`, with a path of the drive.
    pub fn at(&self, verb: &[&str], below: impl AsRef<Path>) -> Answer {
        let mut command = self.command();
        Answer::of(&command.args(verb).arg(self.path(below)).output().unwrap())
    }

    #[track_caller]
    pub fn mount(&self) {
        self.mount_with(&[]);
    }

    #[track_caller]
    pub fn mount_with(&self, flags: &[&str]) {
        self.mount_by(self.command(), flags);
    }

    /// With these variables in the environment of the daemon.
    #[track_caller]
    pub fn mount_in(&self, variables: &[(&str, &OsStr)]) {
        let mut command = self.command();
        command.envs(variables.iter().copied());
        self.mount_by(command, &[]);
    }

    #[track_caller]
    fn mount_by(&self, mut command: Command, flags: &[&str]) {
        let output = command.args(["mount", "work", "m"]).args(flags).output().unwrap();
        Answer::of(&output).expect(0, &["Mounted work at"]);
        self.adopt();
    }

    /// Takes over the drive that was mounted by other means.
    #[track_caller]
    pub fn adopt(&self) {
        let status = self.status();
        let number = |name: &str| i32::try_from(status[name].as_i64().unwrap_or(0)).unwrap();
        self.pid.store(number("pid"), Ordering::Relaxed);
        self.supervisor.store(number("supervisor"), Ordering::Relaxed);
    }

    /// Waits until the whole tree is known, so that the store can go.
    #[track_caller]
    pub fn knows_the_tree(&self) {
        wait_until("the whole tree is known", || self.status()["complete"] == true);
    }

    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        self.run(&["status", "work", "--json"]).json()
    }

    /// A number of the status.
    #[track_caller]
    pub fn figure(&self, name: &str) -> u64 {
        let status = self.status();
        status[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {status}"))
    }

    /// Returns when everything that was changed here is in the store.
    #[track_caller]
    pub fn sync(&self) {
        let answer = self.run(&["sync", "work", "--timeout", "120s"]);
        assert_eq!(answer.code, 0, "{}\n{}\n{}", answer.all(), self.status(), self.log());
    }

    #[track_caller]
    pub fn unmount(&self) {
        self.unmount_with(&[]);
    }

    #[track_caller]
    pub fn unmount_with(&self, flags: &[&str]) {
        let all: Vec<&str> = ["unmount", "work"].iter().chain(flags).copied().collect();
        let answer = self.run(&all);
        assert_eq!(answer.code, 0, "{}\n{}", answer.all(), self.log());
        self.pid.store(0, Ordering::Relaxed);
        self.supervisor.store(0, Ordering::Relaxed);
    }

    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Of the supervisor; 0: none.
    pub fn supervisor(&self) -> i32 {
        self.supervisor.load(Ordering::Relaxed)
    }

    /// `kill -9` of the supervisor and the daemon, as a crash of the machine would. The dead mount stays;
    /// the next `mount` recovers it.
    #[track_caller]
    pub fn kill(&self) {
        let pid = self.pid.swap(0, Ordering::Relaxed);
        assert!(pid > 0, "no daemon runs");
        for pid in self.end_supervisor().into_iter().chain([pid]) {
            process::kill(pid);
        }
    }

    /// `kill -9` of the daemon alone: its supervisor starts another one. Returns when the dead one is gone.
    #[track_caller]
    pub fn crash(&self) {
        let supervisor = self.supervisor();
        assert!(supervisor > 0, "nobody would start a new daemon");
        let pid = wait_for("a daemon runs", || process::children(supervisor).first().copied());
        process::kill(pid);
    }

    /// Ends the supervisor, if there is one; gives the daemons it had.
    fn end_supervisor(&self) -> Vec<i32> {
        let supervisor = self.supervisor.swap(0, Ordering::Relaxed);
        if supervisor == 0 {
            return Vec::new();
        }
        let daemons = process::children(supervisor);
        process::kill(supervisor);
        daemons
    }

    /// Bytes that the drive's state takes on the disk: blocks, not lengths.
    pub fn disk_use(&self) -> u64 {
        blocks_below(&self.state())
    }

    /// Bytes on the disk of local contents alone.
    pub fn content_use(&self) -> u64 {
        blocks_below(&self.state().join("content"))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let pid = self.pid.load(Ordering::Relaxed);
        for pid in self.end_supervisor().into_iter().chain([pid]) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        while is_mounted(&self.root()) {
            if unmount(self.root(), UnmountFlags::DETACH).is_err() {
                break;
            }
        }
        if std::thread::panicking() {
            eprintln!("--- log of device {}:\n{}", self.name, last_lines(&self.log(), 40));
        } else if pid > 0 {
            wait_until("the daemon is gone", || process::gone(pid));
        }
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Whether something is mounted at exactly this place.
pub fn is_mounted(place: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4) == place.to_str())
}

fn blocks_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => blocks_below(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}
