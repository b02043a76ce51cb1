//! Several names for one file, and copies inside the drive.

use crate::{has, level};
use meshdrive_tests::{Device, Line, Proxy, World, content, wait_until};
use rustix::fs::copy_file_range;
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Inode and number of names.
#[track_caller]
fn names_of(device: &Device, path: &str) -> (u64, u64) {
    let found = fs::metadata(device.path(path)).unwrap();
    (found.ino(), found.nlink())
}

#[track_caller]
fn is_gone(device: &Device, path: &str) {
    wait_until("the name is gone", || !device.path(path).exists());
}

#[test]
fn claim_hard_links_are_one_file_everywhere() {
    let name = "semantics::claim_hard_links_are_one_file_everywhere";
    let Some((world, b)) = World::pair(name) else { return };
    let a = &world.a;
    fs::write(a.path("first"), b"one").unwrap();
    fs::create_dir(a.path("d")).unwrap();
    fs::hard_link(a.path("first"), a.path("d/second")).unwrap();
    fs::hard_link(a.path("d/second"), a.path("third")).unwrap();
    level(a, &b);
    for device in [a, &b] {
        let seen = ["first", "d/second", "third"].map(|path| names_of(device, path));
        assert!(seen.iter().all(|one| *one == seen[0]) && seen[0].1 == 3, "{seen:?}");
    }

    // Written under one name there, read under another here.
    let mut file = File::options().append(true).open(b.path("d/second")).unwrap();
    file.write_all(b" and two").unwrap();
    drop(file);
    has(a, "first", b"one and two");

    // The name that it was made under goes; the others stay, with the inode.
    let inode = names_of(a, "third").0;
    fs::remove_file(a.path("first")).unwrap();
    assert_eq!(names_of(a, "third"), (inode, 2));
    level(a, &b);
    is_gone(&b, "first");
    assert_eq!(names_of(&b, "d/second").1, 2);
    has(&b, "third", b"one and two");

    // A rename onto another name of the same file leaves both (POSIX rename).
    fs::rename(b.path("third"), b.path("d/second")).unwrap();
    assert_eq!(names_of(&b, "third").1, 2);

    // Over one name: the other keeps the old file.
    fs::write(a.path("new"), b"new").unwrap();
    fs::rename(a.path("new"), a.path("d/second")).unwrap();
    level(a, &b);
    has(&b, "d/second", b"new");
    has(&b, "third", b"one and two");
    wait_until("one name is left", || names_of(&b, "third").1 == 1);

    // And across a remount.
    fs::hard_link(a.path("third"), a.path("d/fourth")).unwrap();
    a.sync();
    a.unmount();
    a.mount();
    assert_eq!(names_of(a, "third"), (names_of(a, "d/fourth").0, 2));
    assert_eq!(names_of(a, "third").0, inode);
}

#[test]
fn claim_a_linked_file_outlives_its_removal_elsewhere() {
    let name = "semantics::claim_a_linked_file_outlives_its_removal_elsewhere";
    let Some(world) = World::mounted(name) else { return };
    let line = Proxy::start(&world.server.url(), Line::FAST);
    let b = world.join_at("beta", &line.url());
    b.mount();
    let a = &world.a;
    fs::write(a.path("f"), b"kept").unwrap();
    level(a, &b);
    assert_eq!(fs::read(b.path("f")).unwrap(), b"kept");

    line.cut();
    crate::is_away(&b);
    fs::hard_link(b.path("f"), b.path("mine")).unwrap();
    fs::remove_file(a.path("f")).unwrap();
    a.sync();
    line.mend();
    level(a, &b);
    for device in [a, &b] {
        is_gone(device, "f");
        has(device, "mine", b"kept");
        wait_until("it has one name", || names_of(device, "mine").1 == 1);
    }
}

/// Copies a whole file with `copy_file_range(2)`.
fn copy(from: &Path, to: &Path) -> u64 {
    let (source, target) = (File::open(from).unwrap(), File::create(to).unwrap());
    let mut copied = 0;
    loop {
        match copy_file_range(&source, None, &target, None, 1 << 30).unwrap() {
            0 => return copied,
            count => copied += count as u64,
        }
    }
}

#[test]
fn claim_copies_move_nothing() {
    let Some(world) = World::mounted("semantics::claim_copies_move_nothing") else { return };
    let line = Proxy::start(&world.server.url(), Line::FAST);
    let b = world.join_at("beta", &line.url());
    b.mount();
    let a = &world.a;
    let bytes = content(7, 20_000_000);
    fs::write(a.path("big"), &bytes).unwrap();
    level(a, &b);

    // Nothing of it is on this device, and nothing has to be.
    let before = line.traffic();
    assert_eq!(copy(&b.path("big"), &b.path("copy")), bytes.len() as u64);
    b.sync();
    let moved = line.traffic().since(before);
    let (up, down) = (moved.up, moved.down);
    assert!(up < 200_000 && down < 200_000, "{up} bytes sent, {down} fetched");
    has(a, "copy", &bytes);
    has(&b, "copy", &bytes);

    // What is here is copied here, and its chunks are in the store already.
    let before = line.traffic();
    assert_eq!(copy(&b.path("copy"), &b.path("again")), bytes.len() as u64);
    assert_eq!(fs::read(b.path("again")).unwrap(), bytes);
    b.sync();
    let up = line.traffic().since(before).up;
    assert!(up < 400_000, "{up} bytes sent");
    has(a, "again", &bytes);
}
