//! The cache.

use crate::{has, is_away, names, signal};
use meshdrive_tests::{Device, World, content, gone, have, is_mounted, tool, wait_until};
use rustix::process::Signal;
use std::{
    fs::{self, File},
    io::Read,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const MIB: u64 = 1 << 20;

#[track_caller]
fn pinned_is_here(device: &Device) {
    wait_until("everything pinned is here", || device.figure("pin_missing_bytes") == 0);
}

#[test]
fn claim_dirty_and_pinned_stay() {
    let Some(mut world) = World::mounted("semantics::claim_dirty_and_pinned_stay") else { return };
    fs::create_dir(world.a.path("pinned")).unwrap();
    fs::write(world.a.path("pinned/f"), content(1, 3 << 20)).unwrap();
    for n in 0..10 {
        fs::write(world.a.path(format!("f{n}")), content(10 + n, 4 << 20)).unwrap();
    }
    world.a.sync();
    let b = world.join("b");
    b.mount_with(&["--cache-size", "16MiB", "--settle", "600s", "--offline-deadline", "1s"]);
    b.knows_the_tree();
    b.at(&["pin"], "pinned").expect(0, &[]);
    pinned_is_here(&b);
    fs::write(b.path("dirty"), content(2, 3 << 20)).unwrap();
    // More than the cache holds, twice; then every way of asking for space.
    for n in (0..10).chain(0..10) {
        let bytes = fs::read(b.path(format!("f{n}"))).unwrap();
        assert!(bytes == content(10 + n, 4 << 20), "f{n}");
    }
    b.run(&["evict", "work"]);
    b.at(&["evict"], "dirty");
    b.at(&["evict"], "pinned");
    b.at(&["evict"], "pinned/f");
    world.server.stop();
    is_away(&b);
    // Past the kernel's memory: a new daemon reads what the disk has.
    b.unmount_with(&["--keep-pending"]);
    b.mount_with(&["--settle", "600s", "--offline-deadline", "1s"]);
    assert!(fs::read(b.path("dirty")).unwrap() == content(2, 3 << 20));
    assert!(fs::read(b.path("pinned/f")).unwrap() == content(1, 3 << 20));
    assert_eq!(fs::read(b.path("f0")).unwrap_err().raw_os_error(), Some(libc::EHOSTUNREACH));
}

#[test]
fn claim_cache_limit_is_hard() {
    let Some(world) = World::mounted("semantics::claim_cache_limit_is_hard") else { return };
    fs::write(world.a.path("large"), content(1, 40 << 20)).unwrap();
    for n in 0..60 {
        fs::write(world.a.path(format!("f{n}")), content(n, 300_000)).unwrap();
    }
    world.a.sync();
    let b = world.join("b");
    b.mount_with(&["--cache-size", "16MiB"]);
    b.knows_the_tree();
    let ended = AtomicBool::new(false);
    let (counted, on_disk) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                most = (b.figure("cached_bytes").max(most.0), b.content_use().max(most.1));
            }
            most
        });
        let read = scope.spawn(|| {
            let mut bytes = Vec::new();
            File::open(b.path("large")).unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes == content(1, 40 << 20), "other bytes");
            for n in 0..60 {
                assert!(fs::read(b.path(format!("f{n}"))).unwrap() == content(n, 300_000));
            }
        });
        let read = read.join();
        ended.store(true, Ordering::Relaxed);
        read.unwrap();
        watch.join().unwrap()
    });
    assert!(counted <= 16 * MIB && counted > 4 * MIB, "{counted} bytes counted");
    // Each file's last block is not full, and the file system has blocks of its own for holes.
    assert!(on_disk <= 18 * MIB, "{on_disk} bytes on the disk");
}

#[test]
fn claim_pinned_is_there_offline() {
    let Some((mut world, b)) = World::pair("semantics::claim_pinned_is_there_offline") else {
        return;
    };
    fs::create_dir_all(world.a.path("d/e")).unwrap();
    fs::write(world.a.path("d/e/early"), content(1, 300_000)).unwrap();
    fs::write(world.a.path("file"), content(2, 100_000)).unwrap();
    world.a.sync();
    wait_until("b has it", || b.path("d/e/early").exists() && b.path("file").exists());
    b.at(&["pin"], "d").expect(0, &[]);
    b.at(&["pin"], "file").expect(0, &[]);
    fs::write(world.a.path("d/e/late"), content(3, 300_000)).unwrap();
    fs::create_dir(world.a.path("d/new")).unwrap();
    fs::write(world.a.path("d/new/later"), content(4, 50_000)).unwrap();
    world.a.sync();
    for name in ["d/e/early", "d/e/late", "d/new/later", "file"] {
        wait_until("it is here, though nobody reads it", || {
            let status = b.at(&["status", "--json"], name);
            status.code == 0 && status.json()["state"] == "pinned"
        });
    }
    pinned_is_here(&b);
    world.server.stop();
    is_away(&b);
    for (seed, size, name) in
        [(1, 300_000, "d/e/early"), (3, 300_000, "d/e/late"), (4, 50_000, "d/new/later")]
    {
        assert!(fs::read(b.path(name)).unwrap() == content(seed, size), "{name}");
    }
    assert!(fs::read(b.path("file")).unwrap() == content(2, 100_000));
}

#[test]
fn claim_unmount_drains_then_evicts() {
    let Some((world, b)) = World::pair("semantics::claim_unmount_drains_then_evicts") else {
        return;
    };
    let a = &world.a;
    a.unmount();
    a.mount_with(&["--settle", "600s"]);
    fs::write(a.path("clean"), content(1, 2 << 20)).unwrap();
    fs::write(a.path("pinned"), content(2, 2 << 20)).unwrap();
    a.sync();
    a.at(&["pin"], "pinned").expect(0, &[]);
    fs::write(a.path("unsent"), content(3, 1 << 20)).unwrap();
    a.unmount_with(&["--keep-cache"]);
    has(&b, "unsent", &content(3, 1 << 20));
    assert!(a.content_use() >= 5 * MIB, "--keep-cache keeps it: {}", a.content_use());
    a.mount_with(&["--settle", "600s"]);
    fs::write(a.path("again"), content(4, 1 << 20)).unwrap();
    a.unmount();
    has(&b, "again", &content(4, 1 << 20));
    let left = a.content_use();
    assert!((2 * MIB..2 * MIB + MIB / 8).contains(&left), "{left} bytes: only the pinned ones");
}

#[test]
fn claim_pending_outlives_unmount() {
    let test = "semantics::claim_pending_outlives_unmount";
    if !have(test, &["umount"]) {
        return;
    }
    let Some(mut world) = World::mounted(test) else { return };
    world.a.knows_the_tree();
    world.server.stop();
    is_away(&world.a);
    let a = &world.a;
    for way in ["keep-pending", "umount", "lazy", "signal", "kill"] {
        fs::write(a.path(way), way).unwrap();
        let pid = a.pid();
        match way {
            "keep-pending" => a.unmount_with(&["--keep-pending"]),
            "umount" => drop(tool(a.home(), "umount m")),
            "lazy" => drop(tool(a.home(), "umount -l m")),
            "signal" => signal(pid, Signal::TERM),
            _ => a.kill(),
        }
        wait_until("the daemon has ended", || gone(pid));
        assert!(way == "kill" || !is_mounted(&a.root()), "{way}: still mounted");
        a.mount();
        assert_eq!(fs::read_to_string(a.path(way)).unwrap(), way);
    }
    world.server.start_again();
    wait_until("the store is reached again", || world.a.status()["online"] == true);
    world.a.sync();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    assert_eq!(names(b.root()), ["keep-pending", "kill", "lazy", "signal", "umount"]);
    has(&b, "umount", b"umount");
}
