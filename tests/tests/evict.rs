//! The cache's limit, and what unmounting leaves on the disk.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{Device, World, content, wait_until};
use std::{
    fs::{self, File},
    io::Read,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const QUOTA: u64 = 32 << 20;
/// Blocks on the disk above the bytes that count: the last, partly used block of each file, and the
/// file system's own blocks for sparse files.
const DISK_SLACK: u64 = 4 << 20;

#[test]
fn the_quota_holds_while_ten_times_as_much_is_read() {
    let Some(world) = World::mounted("evict::the_quota_holds_while_ten_times_as_much_is_read")
    else {
        return;
    };
    // 320 MiB: small ones, middling ones, and one that alone is larger than the cache.
    let mut files: Vec<(String, usize)> = (0..200).map(|n| (format!("s{n}"), 100_000)).collect();
    files.extend((0..44).map(|n| (format!("m{n}"), 5 << 20)));
    files.push(("large".into(), 80 << 20));
    for (seed, (name, size)) in files.iter().enumerate() {
        fs::write(world.a.path(name), content(seed as u64, *size)).unwrap();
    }
    world.a.sync();
    let b = world.join("b");
    b.mount_with(&["--cache-size", "32MiB"]);
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
            for (seed, (name, size)) in files.iter().enumerate() {
                let mut bytes = Vec::new();
                File::open(b.path(name)).unwrap().read_to_end(&mut bytes).unwrap();
                assert!(bytes == content(seed as u64, *size), "{name} has other bytes");
            }
        });
        let read = read.join();
        ended.store(true, Ordering::Relaxed);
        read.unwrap();
        watch.join().unwrap()
    });
    assert!(counted <= QUOTA, "{counted} bytes counted");
    assert!(on_disk <= QUOTA + DISK_SLACK, "{on_disk} bytes on the disk");
    assert!(counted > QUOTA / 2, "the cache was used: {counted}");
    b.unmount();
    assert!(b.content_use() < 64 << 10, "{} bytes stay", b.content_use());
}

#[test]
fn writing_more_than_the_quota_loses_nothing() {
    let Some(world) = World::new("evict::writing_more_than_the_quota_loses_nothing") else {
        return;
    };
    world.a.mount_with(&["--cache-size", "32MiB"]);
    for n in 0..40 {
        fs::write(world.a.path(format!("f{n}")), content(n, 4 << 20)).unwrap();
    }
    world.a.sync();
    wait_until("what was sent makes room", || world.a.figure("cached_bytes") <= QUOTA);
    for n in 0..40 {
        let bytes = fs::read(world.a.path(format!("f{n}"))).unwrap();
        assert!(bytes == content(n, 4 << 20), "f{n} has other bytes");
    }
}

#[test]
fn unmounting_frees_what_is_clean_and_not_pinned() {
    let Some(world) = World::mounted("evict::unmounting_frees_what_is_clean_and_not_pinned") else {
        return;
    };
    let a = &world.a;
    fill(a);
    a.sync();
    a.at(&["pin"], "keep").expect(0, &[]);
    wait_until("the pinned folder is here", || a.figure("pin_missing_bytes") == 0);
    a.unmount_with(&["--keep-cache"]);
    assert!(a.content_use() >= 6 << 20, "--keep-cache keeps it: {}", a.content_use());
    a.mount();
    assert!(a.figure("cached_bytes") >= 6 << 20);
    a.unmount();
    let left = a.content_use();
    assert!((2 << 20..(2 << 20) + (128 << 10)).contains(&left), "{left} bytes: the pinned ones");
    a.mount();
    a.at(&["unpin"], "keep").expect(0, &[]);
    a.unmount();
    assert!(a.content_use() < 64 << 10, "{} bytes stay", a.content_use());
    a.mount();
    assert!(fs::read(a.path("keep/f")).unwrap() == content(1, 2 << 20));
    assert!(fs::read(a.path("go/f")).unwrap() == content(2, 4 << 20));
    a.at(&["evict"], "go").expect(0, &["Freed"]);
    assert_eq!(a.at(&["status", "--json"], "go/f").json()["state"], "cloud");
    assert!(fs::read(a.path("go/f")).unwrap() == content(2, 4 << 20));
}

#[test]
fn unsent_changes_stay_and_are_sent_by_the_next_mount() {
    let Some(mut world) =
        World::mounted("evict::unsent_changes_stay_and_are_sent_by_the_next_mount")
    else {
        return;
    };
    fill(&world.a);
    world.a.sync();
    world.server.stop();
    wait_until("the store is away", || world.a.status()["online"] == false);
    fs::write(world.a.path("unsent"), content(3, 3 << 20)).unwrap();
    fs::rename(world.a.path("go/f"), world.a.path("go/renamed")).unwrap();
    // Asking for space frees nothing that is unsent.
    world.a.run(&["evict", "work"]);
    assert!(fs::read(world.a.path("unsent")).unwrap() == content(3, 3 << 20));
    world.a.run(&["unmount", "work"]).expect(4, &["stays mounted"]);
    world.a.unmount_with(&["--keep-pending"]);
    assert!(world.a.content_use() >= 3 << 20, "the unsent bytes stay");
    world.server.start_again();
    world.a.mount();
    world.a.sync();
    let b = world.join("b");
    b.mount();
    assert!(fs::read(b.path("unsent")).unwrap() == content(3, 3 << 20));
    assert!(fs::read(b.path("go/renamed")).unwrap() == content(2, 4 << 20));
    assert!(!b.path("go/f").exists());
}

fn fill(device: &Device) {
    for (folder, seed, size) in [("keep", 1, 2 << 20), ("go", 2, 4 << 20)] {
        fs::create_dir(device.path(folder)).unwrap();
        fs::write(device.path(folder).join("f"), content(seed, size)).unwrap();
    }
}
