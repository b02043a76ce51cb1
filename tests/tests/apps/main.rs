//! Programs that people use, on a real mount; what they left is right after a remount and on a second
//! device.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

mod archives;
mod build;
mod database;
mod desktop;
mod files;
mod git;
mod links;
mod office;
mod packages;
mod postgres;
mod saves;
mod search;
mod seeking;

use meshdrive_tests::{Device, Tree, World, tree, wait_for};

/// Everything in the drive is the same after a remount with an empty cache, and on another device,
/// which is returned.
#[track_caller]
fn comes_back_everywhere(world: &World) -> Device {
    let before = tree(&world.a.root());
    world.a.unmount();
    world.a.mount();
    assert_same(&before, &tree(&world.a.root()), "after a remount");
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    assert_same(&before, &tree(&b.root()), "on the other device");
    b
}

#[track_caller]
fn assert_same(left: &Tree, right: &Tree, when: &str) {
    let differences: Vec<_> = left
        .keys()
        .chain(right.keys())
        .filter(|path| left.get(*path) != right.get(*path))
        .map(|path| format!("{}: {:?} / {:?}", path.display(), left.get(path), right.get(path)))
        .take(10)
        .collect();
    assert!(differences.is_empty(), "{when}:\n{}", differences.join("\n"));
}

/// `kill -9` of the daemon while a program works, and a mount after it.
#[track_caller]
fn crash_and_remount(device: &Device) {
    device.kill();
    device.mount();
    wait_for("the drive answers", || std::fs::read_dir(device.root()).ok());
}
