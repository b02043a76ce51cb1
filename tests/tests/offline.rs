//! Pinned folders, and work without the store.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{Device, World, content, tree, wait_until};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// How the daemon comes back while the store is away.
#[derive(Clone, Copy, PartialEq)]
enum Restart {
    None,
    Clean,
    Kill,
}

#[test]
fn work_goes_on() {
    scenario("offline::work_goes_on", Restart::None);
}

#[test]
fn work_goes_on_after_a_clean_restart() {
    scenario("offline::work_goes_on_after_a_clean_restart", Restart::Clean);
}

#[test]
fn work_goes_on_after_a_crash() {
    scenario("offline::work_goes_on_after_a_crash", Restart::Kill);
}

const DEADLINE: &str = "2s";
/// What a read may take with that deadline, on a slow machine.
const DEADLINE_MAX: Duration = Duration::from_secs(20);

fn mount(device: &Device) {
    device.mount_with(&["--read-deadline", DEADLINE, "--offline-deadline", DEADLINE]);
}

fn scenario(test: &str, restart: Restart) {
    let Some(mut world) = World::new(test) else { return };
    mount(&world.a);
    let pinned = fill(&world.a);
    let b = world.join("b");
    mount(&b);
    b.at(&["pin"], "pinned").expect(0, &["stays on this device"]);
    b.knows_the_tree();
    wait_until("everything pinned is here", || b.figure("pin_missing_bytes") == 0);
    // A file that is added elsewhere to a pinned folder comes too.
    fs::write(world.a.path("pinned/late"), content(99, 100_000)).unwrap();
    world.a.sync();
    world.a.unmount();
    wait_until("the late file is here", || {
        let status = b.at(&["status", "--json"], "pinned/late");
        status.code == 0 && status.json()["state"] == "pinned"
    });

    world.server.stop();
    restart_daemon(&b, restart);
    let read = tree(&b.path("pinned"));
    assert_eq!(read.len(), pinned.len() + 1);
    assert!(pinned.iter().all(|(path, entry)| read.get(path) == Some(entry)));
    absent_bytes_fail_in_time(&b);
    work(&b);
    restart_daemon(&b, restart);
    wait_until("it is known that the store is away", || b.status()["online"] == false);
    assert!(b.figure("pending_nodes") > 0);
    let expected = expected_after_work(&b);

    world.server.start_again();
    wait_until("the store is reached again", || b.status()["online"] == true);
    b.sync();
    mount(&world.a);
    world.a.knows_the_tree();
    wait_until("device a has it all", || world.a.figure("applied_rev") == b.figure("applied_rev"));
    let found = tree(&world.a.root());
    for (path, bytes) in &expected {
        let bytes = bytes.as_ref();
        match (found.get(std::path::Path::new(path)), bytes) {
            (Some(meshdrive_tests::Entry::File { bytes: found, .. }), Some(bytes)) => {
                assert!(found == bytes, "{path} has other bytes");
            }
            (None, None) => {}
            (found, _) => panic!("{path}: {found:?}"),
        }
    }
    assert_eq!(found, tree(&b.root()));
}

/// Folders `pinned` and `other`; the tree of the first.
fn fill(a: &Device) -> meshdrive_tests::Tree {
    fs::create_dir_all(a.path("pinned/below/deep")).unwrap();
    fs::create_dir(a.path("other")).unwrap();
    for at in 0..30 {
        let folder = ["pinned", "pinned/below", "pinned/below/deep"][at % 3];
        let size = [0, 100, 5_000, 400_000][at % 4];
        fs::write(a.path(format!("{folder}/f{at}")), content(at as u64, size)).unwrap();
        fs::write(a.path(format!("other/f{at}")), content(1_000 + at as u64, 10_000)).unwrap();
    }
    fs::write(a.path("pinned/large"), content(77, 4 << 20)).unwrap();
    fs::write(a.path("other/large"), content(78, 2 << 20)).unwrap();
    a.sync();
    tree(&a.path("pinned"))
}

fn restart_daemon(device: &Device, restart: Restart) {
    match restart {
        Restart::None => return,
        Restart::Clean => device.unmount_with(&["--keep-pending"]),
        Restart::Kill => device.kill(),
    }
    mount(device);
}

/// A read of bytes that are not here ends with an error that says why, never with zeros.
fn absent_bytes_fail_in_time(device: &Device) {
    for (path, at) in [("other/f3", 0), ("other/large", 1 << 20)] {
        let start = Instant::now();
        let file = File::open(device.path(path)).unwrap();
        let error = file.read_at(&mut [0; 100], at).unwrap_err();
        let codes = [Some(libc::EHOSTUNREACH), Some(libc::ETIMEDOUT)];
        assert!(codes.contains(&error.raw_os_error()), "{path}: {error}");
        assert!(start.elapsed() < DEADLINE_MAX, "{path}: {:?}", start.elapsed());
    }
    // Once it is known, the code is the clear one.
    wait_until("it is known that the store is away", || device.status()["online"] == false);
    let error = fs::read(device.path("other/f4")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH), "{error}");
}

fn work(b: &Device) {
    fs::write(b.path("new"), content(5, 300_000)).unwrap();
    fs::create_dir_all(b.path("newer/d")).unwrap();
    fs::write(b.path("newer/d/f"), b"made offline").unwrap();
    fs::write(b.path("pinned/f0"), b"changed offline").unwrap();
    let large = File::options().write(true).open(b.path("pinned/large")).unwrap();
    large.write_all_at(b"in the middle", 1 << 20).unwrap();
    // A write into a file that is not here needs no fetch.
    let absent = File::options().write(true).open(b.path("other/large")).unwrap();
    absent.write_all_at(b"blind", 1 << 20).unwrap();
    fs::rename(b.path("other/f1"), b.path("newer/renamed")).unwrap();
    fs::rename(b.path("pinned/below"), b.path("pinned/moved")).unwrap();
    fs::remove_file(b.path("other/f2")).unwrap();
    fs::rename(b.path("pinned/f3"), b.path("pinned/f6")).unwrap();
    std::os::unix::fs::symlink("new", b.path("link")).unwrap();
}

/// What must be there in the end; `None`: gone.
fn expected_after_work(b: &Device) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let mut pinned_large = content(77, 4 << 20);
    pinned_large[1 << 20..][..13].copy_from_slice(b"in the middle");
    let mut other_large = content(78, 2 << 20);
    other_large[1 << 20..][..5].copy_from_slice(b"blind");
    let expected = vec![
        ("new", Some(content(5, 300_000))),
        ("newer/d/f", Some(b"made offline".to_vec())),
        ("pinned/f0", Some(b"changed offline".to_vec())),
        ("pinned/large", Some(pinned_large)),
        ("newer/renamed", Some(content(1_001, 10_000))),
        ("other/f1", None),
        ("other/f2", None),
        ("pinned/f3", None),
        ("pinned/below", None),
        ("pinned/moved/f1", Some(content(1, 100))),
        ("pinned/f6", Some(content(3, 400_000))),
        ("pinned/late", Some(content(99, 100_000))),
        ("other/large", Some(other_large)),
    ];
    // What is local is right here already.
    for (path, bytes) in &expected {
        let is_absent = path.starts_with("other/large") || path.starts_with("newer/renamed");
        if !is_absent {
            assert!(fs::read(b.path(path)).ok() == *bytes, "{path} before the store is back");
        }
    }
    expected
}
