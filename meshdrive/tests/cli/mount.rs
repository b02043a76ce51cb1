//! A drive on a real mount, through the program alone.

use super::{Answer, Home, store::Store};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store, and a device with the drive `work` on it. Unmounted when dropped.
struct Device {
    home: Home,
    store: Option<Store>,
    url: String,
}

impl Device {
    /// `None`, said aloud, where nothing can be mounted.
    fn new() -> Option<Device> {
        if let Err(error) = fs::File::options().read(true).write(true).open("/dev/fuse") {
            eprintln!("SKIPPED: /dev/fuse cannot be opened: {error}");
            return None;
        }
        let home = Home::new();
        let store = Store::start(&home);
        let url = store.url.clone();
        let create = ["drive", "create", "work", "--server", &url, "--setup-code", &store.code];
        home.run(&create).expect(0, &["Created work"]);
        fs::create_dir(home.join("m")).unwrap();
        Some(Device { home, store: Some(store), url })
    }

    fn run(&self, args: &[&str]) -> Answer {
        self.home.run(args)
    }

    fn file(&self, path: &str) -> PathBuf {
        self.home.join("m").join(path)
    }

    #[track_caller]
    fn mount(&self) {
        self.run(&["mount", "work", "m"]).expect(0, &["Mounted work at"]);
    }

    /// Mounts and waits until the whole tree is known, so that the store can go.
    #[track_caller]
    fn mount_whole(&self) {
        self.mount();
        wait_until("the tree is here", || self.status()["complete"] == true);
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.run(&["status", "work", "--json"]).out).unwrap()
    }

    fn pid(&self) -> Pid {
        let pid = self.status()["pid"].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    fn stop_store(&mut self) {
        assert_eq!(self.store.take().unwrap().signal(Signal::TERM), 0);
    }

    fn start_store(&mut self) {
        let address = self.url.strip_prefix("http://").unwrap();
        self.store = Some(Store::start_at(&self.home, address));
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let pid = self.run(&["status", "work", "--json"]);
        let pid: Option<serde_json::Value> = serde_json::from_str(&pid.out).ok();
        let _ = self.run(&["unmount", "work", "--keep-pending"]);
        let place = self.home.join("m");
        if is_mounted(&place) {
            let _ = rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH);
            // The supervisor first: it would start another daemon.
            for name in ["supervisor", "pid"] {
                let pid =
                    pid.as_ref().and_then(|status| i32::try_from(status[name].as_i64()?).ok());
                if let Some(pid) = pid.and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
    }
}

fn is_mounted(place: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == place.to_str())
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_drive_from_mount_to_unmount() {
    let Some(device) = Device::new() else { return };
    device.mount();
    fs::create_dir(device.file("d")).unwrap();
    fs::write(device.file("d/f"), b"hello").unwrap();
    device.run(&["sync", "m/d"]).expect(0, &["is in the cloud."]);
    device.run(&["status"]).expect(0, &["work (", "Everything is in the cloud."]);
    device.run(&["status", "m/d/f"]).expect(0, &["d/f: local"]);
    let path: serde_json::Value =
        serde_json::from_str(&device.run(&["status", "m/d", "--json"]).out).unwrap();
    assert_eq!((path["path"].as_str(), path["dir"].as_bool()), (Some("d"), Some(true)));
    device.run(&["status", "m/none"]).expect(1, &["none: no such file"]);

    device.run(&["mount", "work", "m"]).expect(6, &["mounted already at", "unmount it first"]);
    let held = fs::File::open(device.file("d/f")).unwrap();
    device.run(&["unmount"]).expect(6, &["is in use by cli", "hint:"]);
    drop(held);

    device.run(&["pin", "m/d"]).expect(0, &["stays on this device"]);
    device.run(&["pins", "--json"]).expect(0, &[r#""path":"d""#]);
    device.run(&["unmount", "work"]).expect(0, &["everything is in the cloud"]);
    assert!(!is_mounted(&device.home.join("m")));
    assert!(!device.home.join("run/work.sock").exists());
    device.run(&["status", "work"]).expect(5, &["not mounted"]);
    device.mount();
    assert_eq!(fs::read(device.file("d/f")).unwrap(), b"hello");
    device.run(&["status", "m/d/f"]).expect(0, &["d/f: pinned"]);
    device.run(&["unmount", "m", "--keep-cache"]).expect(0, &["local contents stay"]);
}

#[test]
fn without_the_store_nothing_is_lost_and_the_choice_is_said() {
    let Some(mut device) = Device::new() else { return };
    device.mount_whole();
    device.stop_store();
    fs::write(device.file("f"), b"offline").unwrap();
    wait_until("offline", || device.status()["online"] == false);
    device.run(&["status"]).expect(4, &["Offline", "1 file, 7 B not yet in the cloud"]);
    device.run(&["status", "--pending", "--json"]).expect(4, &[r#""path":"f""#]);
    device.run(&["sync"]).expect(4, &["Offline"]);
    device.run(&["unmount"]).expect(4, &["stays mounted", "--keep-pending"]);
    assert!(is_mounted(&device.home.join("m")));
    let kept = device.run(&["unmount", "--keep-pending"]);
    kept.expect(0, &["1 change is on this device only"]);

    device.mount();
    assert_eq!(fs::read(device.file("f")).unwrap(), b"offline");
    device.start_store();
    wait_until("everything is sent", || device.status()["all_in_cloud"] == true);
    device.run(&["unmount"]).expect(0, &["everything is in the cloud"]);
}

#[test]
fn a_crash_is_recovered_by_the_next_mount() {
    let Some(device) = Device::new() else { return };
    device.run(&["mount", "work", "m", "--no-supervisor"]).expect(0, &["Mounted work at"]);
    let refused = device.run(&["restart", "work"]);
    refused.expect(1, &["has no supervisor", "hint: unmount it and mount it again"]);
    fs::write(device.file("f"), b"before the crash").unwrap();
    let pid = device.pid();
    kill_process(pid, Signal::KILL).unwrap();
    wait_until("the daemon is gone", || kill_process(pid, Signal::CONT).is_err());
    device.run(&["status"]).expect(5, &["is dead", "recovers it"]);
    device.run(&["drive", "list"]).expect(0, &["(dead)"]);
    device.run(&["doctor"]).expect(1, &["is dead: its daemon is gone"]);
    device.mount();
    assert_eq!(fs::read(device.file("f")).unwrap(), b"before the crash");
    device.run(&["unmount"]).expect(0, &["everything is in the cloud"]);
}

#[test]
fn signals_and_umount_by_hand_end_the_daemon() {
    let Some(device) = Device::new() else { return };
    let place = device.home.join("m");
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = device
            .home
            .command()
            .args(["mount", "work", "m", "--foreground"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("mounted", || is_mounted(&place) && device.run(&["status"]).code == 0);
        fs::write(device.file(&format!("{signal:?}")), b"x").unwrap();
        kill_process(Pid::from_child(&daemon), signal).unwrap();
        assert_eq!(daemon.wait().unwrap().code(), Some(0));
        assert!(!is_mounted(&place));
    }
    device.mount();
    assert_eq!(fs::read_dir(&place).unwrap().count(), 2, "what was written before the signals");
    rustix::mount::unmount(&place, rustix::mount::UnmountFlags::empty()).unwrap();
    wait_until("the daemon has noticed", || !device.home.join("run/work.sock").exists());
    device.mount();
}

#[test]
fn history_comes_back() {
    let Some(device) = Device::new() else { return };
    device.mount();
    for content in ["one", "two"] {
        fs::write(device.file("f"), content).unwrap();
        device.run(&["sync"]).expect(0, &[]);
    }
    let versions = device.run(&["versions", "m/f", "--json"]);
    let versions: serde_json::Value = serde_json::from_str(&versions.out).unwrap();
    let oldest = versions.as_array().unwrap().last().unwrap();
    assert_eq!((oldest["size"].as_u64(), oldest["current"].as_bool()), (Some(3), Some(false)));
    let rev = oldest["rev"].to_string();
    device.run(&["restore", "m/f", "--version", &rev]).expect(0, &["has the content of version"]);
    assert_eq!(fs::read(device.file("f")).unwrap(), b"one");
    device.run(&["restore", "m/f", "--version", "999"]).expect(1, &["has no version 999"]);

    fs::create_dir_all(device.file("d/e")).unwrap();
    fs::write(device.file("d/e/g"), b"kept").unwrap();
    device.run(&["sync"]).expect(0, &[]);
    fs::remove_dir_all(device.file("d")).unwrap();
    device.run(&["sync"]).expect(0, &[]);
    device.run(&["restore", "--trash"]).expect(0, &["d/e/g"]);
    device.run(&["restore", "--trash", "d/e/g"]).expect(2, &["d/e is in the trash too"]);
    device.run(&["restore", "--trash", "d"]).expect(0, &["Restored 3 files and folders"]);
    wait_until("it is back", || fs::read(device.file("d/e/g")).is_ok_and(|b| b == b"kept"));

    fs::remove_file(device.file("f")).unwrap();
    device.run(&["sync"]).expect(0, &[]);
    device.run(&["restore", "--trash", "f", "--to", "m/d/new"]).expect(0, &["d/new"]);
    wait_until("it is at its new place", || device.file("d/new").exists());

    device.run(&["export", "work", "m/x"]).expect(2, &["lies in the drive itself"]);
    fs::remove_dir(device.file("x")).unwrap();
    device.run(&["export", "work", "out"]).expect(0, &["Exported"]);
    assert_eq!(fs::read(device.home.join("out/d/e/g")).unwrap(), b"kept");
    device.run(&["evict", "m"]).expect(0, &["Freed"]);
}
