//! Every claim of `SEMANTICS.md`, each on real mounts with the real store.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

mod conflicts;
mod decide;
mod deletes;
mod devices;
mod disk;
mod held;
mod ignored;
mod left;
mod links;
mod local;
mod network;
mod past;
mod secrets;
mod space;
mod status;
mod survive;
mod taken_out;

use meshdrive_tests::{Device, Proxy, Server, World, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// Waits until the file is there with these bytes.
#[track_caller]
fn has(device: &Device, path: impl AsRef<Path>, bytes: &[u8]) {
    let path = path.as_ref();
    let what = format!("{} has {} with {} bytes", device.name(), path.display(), bytes.len());
    wait_until(&what, || fs::read(device.path(path)).is_ok_and(|found| found == bytes));
}

/// Sends what both have changed and waits until both have applied everything.
#[track_caller]
fn level(one: &Device, two: &Device) {
    wait_until("both reach the store", || {
        one.status()["online"] == true && two.status()["online"] == true
    });
    wait_until("both have sent and applied everything", || {
        let (first, second) = (one.status(), two.status());
        let done = first["all_in_cloud"] == true && second["all_in_cloud"] == true;
        done && first["applied_rev"] == second["applied_rev"]
            && first["head_rev"] == second["head_rev"]
            && first["applied_rev"] == first["head_rev"]
    });
}

/// Names in a folder of the device, sorted.
#[track_caller]
fn names(folder: PathBuf) -> Vec<OsString> {
    let mut names: Vec<OsString> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[track_caller]
fn is_away(device: &Device) {
    wait_until("it is known that the store is away", || device.status()["online"] == false);
}

/// Stops the store's process in its tracks: it takes connections and never answers.
fn freeze(server: &Server) {
    signal(i32::try_from(server.pid().unwrap()).unwrap(), Signal::STOP);
}

fn thaw(server: &Server) {
    signal(i32::try_from(server.pid().unwrap()).unwrap(), Signal::CONT);
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Two mounted devices that can each be cut off. `left` is the one that comes back first.
struct Apart {
    left: Device,
    right: Device,
    left_line: Proxy,
    right_line: Proxy,
    // Last, as the store and the folder go with it.
    _world: World,
}

impl Apart {
    fn new(test: &str) -> Option<Apart> {
        let world = World::new(test)?;
        let line = || Proxy::start(world.server.address(), meshdrive_tests::Line::FAST);
        let (left_line, right_line) = (line(), line());
        let left = world.join_at("left", &left_line.url());
        let right = world.join_at("right", &right_line.url());
        Some(Apart { left, right, left_line, right_line, _world: world })
    }

    fn mounted(test: &str) -> Option<Apart> {
        let apart = Apart::new(test)?;
        apart.left.mount();
        apart.right.mount();
        Some(apart)
    }

    /// Both know everything, then both are cut off.
    #[track_caller]
    fn part(&self) {
        level(&self.left, &self.right);
        self.left_line.cut();
        self.right_line.cut();
        is_away(&self.left);
        is_away(&self.right);
    }

    /// `left` is back and has sent its changes before `right` is back.
    #[track_caller]
    fn meet(&self) {
        self.left_line.mend();
        wait_until("the first has sent everything", || {
            let status = self.left.status();
            status["online"] == true && status["all_in_cloud"] == true
        });
        self.right_line.mend();
        level(&self.left, &self.right);
    }
}
