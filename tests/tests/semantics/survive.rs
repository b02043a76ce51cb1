//! What survives.

use crate::{disk::Disk, has, level, names};
use meshdrive_tests::{Device, Line, Proxy, Random, World, content, tool, tree, wait_until};
use rustix::fs::{FlockOperation, XattrFlags, flock, getxattr, setxattr};
use std::{
    fs::{self, File, FileTimes, Permissions},
    io::Write,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime},
};

/// Nothing is sent in the time of a test.
const NOT_SENT: &[&str] = &["--settle", "600s"];

#[test]
fn claim_write_survives_kill() {
    let Some(world) = World::new("semantics::claim_write_survives_kill") else { return };
    let a = &world.a;
    a.mount_with(NOT_SENT);
    let expected = content(1, 300_000);
    fs::write(a.path("changed"), content(2, 300_000)).unwrap();
    // Handles that are open when the daemon dies: nothing is flushed by a close.
    let mut new = File::create(a.path("new")).unwrap();
    for part in expected.chunks(7_001) {
        new.write_all(part).unwrap();
    }
    let changed = File::options().write(true).open(a.path("changed")).unwrap();
    changed.write_all_at(b"in the middle", 123_457).unwrap();
    a.kill();
    drop((new, changed));
    a.mount_with(NOT_SENT);
    assert!(fs::read(a.path("new")).unwrap() == expected);
    let mut second = content(2, 300_000);
    second[123_457..][..13].copy_from_slice(b"in the middle");
    assert!(fs::read(a.path("changed")).unwrap() == second);
}

#[test]
fn claim_metadata_survives_kill() {
    let Some(mut world) = World::new("semantics::claim_metadata_survives_kill") else { return };
    world.a.mount_with(NOT_SENT);
    for name in ["moves", "goes", "mode", "times", "marked"] {
        fs::write(world.a.path(name), name).unwrap();
    }
    world.a.knows_the_tree();
    // Whatever is there afterwards can only come from this device.
    world.server.kill();
    let a = &world.a;
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    File::create_new(a.path("made")).unwrap();
    fs::create_dir(a.path("folder")).unwrap();
    fs::rename(a.path("moves"), a.path("folder/moved")).unwrap();
    fs::remove_file(a.path("goes")).unwrap();
    fs::set_permissions(a.path("mode"), Permissions::from_mode(0o640)).unwrap();
    let times = FileTimes::new().set_modified(time);
    File::options().write(true).open(a.path("times")).unwrap().set_times(times).unwrap();
    setxattr(a.path("marked"), "user.mark", b"one", XattrFlags::empty()).unwrap();
    a.kill();
    a.mount_with(NOT_SENT);
    assert_eq!(names(a.root()), ["folder", "made", "marked", "mode", "times"]);
    assert_eq!(fs::read(a.path("folder/moved")).unwrap(), b"moves");
    assert_eq!(fs::metadata(a.path("mode")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::metadata(a.path("times")).unwrap().modified().unwrap(), time);
    let mut value = [0; 16];
    let len = getxattr(a.path("marked"), "user.mark", &mut value).unwrap();
    assert_eq!(&value[..len], b"one");
}

#[test]
fn claim_fsync_survives_power_loss() {
    let test = "semantics::claim_fsync_survives_power_loss";
    let Some(mut world) = World::new(test) else { return };
    let Some(disk) = Disk::new(test, world.dir()) else { return };
    let device = Device::new(&disk.root, "x");
    device.join(&world.a, &world.server.url());
    let flags = [NOT_SENT, &["--cache-floor", "1MiB"]].concat();
    device.mount_with(&flags);
    device.knows_the_tree();
    world.server.kill();
    for n in 0..20 {
        let file = File::create(device.path(format!("f{n}"))).unwrap();
        file.write_all_at(&content(n, 50_000), 0).unwrap();
        file.sync_all().unwrap();
        file.write_all_at(b"again", 40_000).unwrap();
        file.sync_data().unwrap();
        if n % 2 == 0 {
            fs::rename(device.path(format!("f{n}")), device.path("renamed")).unwrap();
            File::open(device.path("renamed")).unwrap().sync_all().unwrap();
        }
    }
    // Never synced: shows that the disk really loses what was not.
    fs::write(disk.root.join("unsynced"), b"lost").unwrap();
    disk.cut_off();
    device.kill();
    tool(world.dir(), "umount -l d/x/m");
    disk.come_back();
    let lost = fs::read(disk.root.join("unsynced"));
    assert!(lost.is_err() || lost.is_ok_and(|bytes| bytes != b"lost"), "the disk has lost nothing");
    device.mount_with(&flags);
    for n in 0..20 {
        let mut expected = content(n, 50_000);
        expected[40_000..][..5].copy_from_slice(b"again");
        let path = device.path(format!("f{n}"));
        match n % 2 {
            1 => assert!(fs::read(path).unwrap() == expected, "f{n}"),
            _ if n < 18 => assert!(!path.exists(), "f{n}"),
            _ => assert!(fs::read(device.path("renamed")).unwrap() == expected),
        }
    }
    drop(device);
    drop(disk);
}

/// A version of the file of the next test: its number, then bytes that only this version has.
fn version(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend(content(number, 60_000 + (number % 7) as usize * 1_000));
    bytes
}

#[test]
fn claim_rename_over_is_whole_after_kill() {
    let Some(world) = World::new("semantics::claim_rename_over_is_whole_after_kill") else {
        return;
    };
    let a = &world.a;
    let mut random = Random::new(7);
    let done = AtomicU64::new(0);
    a.mount_with(&["--settle", "10ms"]);
    fs::write(a.path("target"), version(0)).unwrap();
    for round in 0..10 {
        let (root, done) = (a.root(), &done);
        thread::scope(|scope| {
            scope.spawn(move || {
                for number in done.load(Ordering::Relaxed) + 1.. {
                    let saved = fs::write(root.join("new"), version(number))
                        .and_then(|()| fs::rename(root.join("new"), root.join("target")));
                    if saved.is_err() {
                        return;
                    }
                    done.store(number, Ordering::Relaxed);
                }
            });
            thread::sleep(Duration::from_micros(2_000 + random.below(60_000)));
            a.kill();
        });
        a.mount_with(&["--settle", "10ms"]);
        let found = fs::read(a.path("target")).unwrap();
        let number = u64::from_le_bytes(found[..8].try_into().unwrap());
        assert!(found == version(number), "round {round}: not one version");
        let last = done.load(Ordering::Relaxed);
        assert!((last..=last + 1).contains(&number), "round {round}: {number}, saved was {last}");
        done.store(number, Ordering::Relaxed);
    }
    assert!(done.load(Ordering::Relaxed) > 10, "too little was saved to mean anything");
    a.sync();
    let b = world.join("b");
    b.mount();
    has(&b, "target", &version(done.load(Ordering::Relaxed)));
}

#[test]
fn claim_recovery_keeps_unknown_files() {
    let Some(world) = World::new("semantics::claim_recovery_keeps_unknown_files") else { return };
    let a = &world.a;
    a.mount_with(NOT_SENT);
    fs::write(a.path("known"), content(1, 10_000)).unwrap();
    a.kill();
    let state = a.state().join("content");
    fs::create_dir_all(state.join("42")).unwrap();
    let alien = ["42/66", "42/strange", "strange"];
    for name in alien {
        fs::write(state.join(name), format!("bytes of {name}")).unwrap();
    }
    a.mount_with(NOT_SENT);
    assert!(fs::read(a.path("known")).unwrap() == content(1, 10_000));
    let kept: Vec<Vec<u8>> = names(a.state().join("lost+found"))
        .iter()
        .map(|name| fs::read(a.state().join("lost+found").join(name)).unwrap())
        .collect();
    for name in alien {
        assert!(kept.contains(&format!("bytes of {name}").into_bytes()), "{name} is lost");
    }
}

#[test]
fn claim_pending_is_sent_once_after_kill() {
    let Some(world) = World::new("semantics::claim_pending_is_sent_once_after_kill") else {
        return;
    };
    let proxy = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &proxy.url());
    b.mount_with(&["--settle", "10ms"]);
    let mut random = Random::new(3);
    let mut expected = Vec::new();
    for round in 0..6 {
        // The line breaks somewhere in the answers, also when the store has taken the changes and
        // the device does not know it.
        proxy.cut_after(random.below(3_000));
        fs::create_dir(b.path(format!("d{round}"))).unwrap();
        for n in 0..8 {
            let name = format!("d{round}/f{n}");
            fs::write(b.path(&name), content(round * 100 + n, 20_000)).unwrap();
            expected.push((name, content(round * 100 + n, 20_000)));
        }
        wait_until("the line breaks, or all is sent", || {
            proxy.is_cut() || b.status()["all_in_cloud"] == true
        });
        b.kill();
        proxy.mend();
        b.mount_with(&["--settle", "10ms"]);
        b.sync();
    }
    world.a.mount();
    level(&world.a, &b);
    assert_eq!(tree(&world.a.root()).len(), expected.len() + 6, "nothing is there twice");
    for (name, bytes) in &expected {
        has(&world.a, name, bytes);
        let versions = b.at(&["versions", "--json"], name).json();
        assert_eq!(versions.as_array().unwrap().len(), 1, "{name}: {versions}");
    }
    assert_eq!(world.a.figure("conflicts") + b.figure("conflicts"), 0);
}

#[test]
fn claim_end_of_the_daemon_is_a_pause() {
    let world = World::mounted("semantics::claim_end_of_the_daemon_is_a_pause");
    let Some(world) = world else { return };
    let a = &world.a;
    let bytes = content(7, 100_000);
    for end in ["crash", "restart"] {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let open = options.open(a.path("removed")).unwrap();
        open.write_all_at(&bytes, 0).unwrap();
        flock(&open, FlockOperation::NonBlockingLockExclusive).unwrap();
        fs::remove_file(a.path("removed")).unwrap();
        let held = options.open(a.path(end)).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        match end {
            "crash" => a.crash(),
            _ => drop(a.run(&["restart", "work"]).expect(0, &["has a new daemon"])),
        }
        let mut found = vec![0; bytes.len()];
        open.read_exact_at(&mut found, 0).unwrap();
        assert!(found == bytes, "{end}: a removed file has other bytes");
        held.write_all_at(&bytes, 0).unwrap();
        let other = File::open(a.path(end)).unwrap();
        let locked = flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert!(locked.is_err(), "{end}: the lock is lost");
        fs::create_dir(a.path(format!("made after {end}"))).unwrap();
    }
    a.sync();
    let b = world.join("b");
    b.mount();
    level(a, &b);
    has(&b, "crash", &bytes);
    has(&b, "restart", &bytes);
}
