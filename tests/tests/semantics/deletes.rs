//! What deletes.

use crate::{has, level, names};
use meshdrive_tests::{World, content, tree, wait_until};
use std::fs;

#[test]
fn claim_absence_is_never_a_delete() {
    let Some((world, b)) = World::pair("semantics::claim_absence_is_never_a_delete") else {
        return;
    };
    fs::create_dir(world.a.path("d")).unwrap();
    for n in 0..20 {
        fs::write(world.a.path(format!("d/f{n}")), content(n, 10_000)).unwrap();
    }
    level(&world.a, &b);
    let expected = tree(&b.root());
    assert_eq!(expected.len(), 21);
    // The contents, the index, then everything; after a crash and after a clean stop.
    for (round, lost) in ["content", "index.sqlite", "index.sqlite", ""].iter().enumerate() {
        if round % 2 == 0 {
            b.kill();
        } else {
            b.unmount_with(&["--keep-cache"]);
        }
        let place = b.state().join(lost);
        if place.is_dir() {
            fs::remove_dir_all(place).unwrap();
        } else {
            for end in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(b.state().join(format!("{lost}{end}")));
            }
        }
        b.mount();
        b.knows_the_tree();
        level(&world.a, &b);
        assert_eq!(tree(&b.root()), expected, "round {round}: {lost:?} was lost");
    }
    assert_eq!(tree(&world.a.root()), expected);
    let trash = world.a.run(&["restore", "--trash", "--json"]).json();
    assert_eq!(trash.as_array().unwrap().len(), 0, "{trash}");
}

#[test]
fn claim_trash_brings_back() {
    let Some((world, b)) = World::pair("semantics::claim_trash_brings_back") else { return };
    let a = &world.a;
    fs::create_dir_all(a.path("d/e")).unwrap();
    fs::write(a.path("d/e/f"), content(1, 200_000)).unwrap();
    fs::write(a.path("alone"), b"alone").unwrap();
    level(a, &b);
    fs::remove_file(a.path("alone")).unwrap();
    fs::remove_dir_all(a.path("d")).unwrap();
    level(a, &b);
    assert_eq!(names(b.root()).len(), 0);
    let trash = b.run(&["restore", "--trash"]);
    trash.expect(0, &["alone", "d/"]);
    // On the device that did not remove it, and on the one that did.
    b.run(&["restore", "--trash", "alone"]).expect(0, &["alone"]);
    a.run(&["restore", "--trash", "d"]).expect(0, &["d/e/f"]);
    for device in [a, &b] {
        has(device, "alone", b"alone");
        has(device, "d/e/f", &content(1, 200_000));
    }
}

#[test]
fn claim_versions_can_be_restored() {
    let Some((world, b)) = World::pair("semantics::claim_versions_can_be_restored") else { return };
    let a = &world.a;
    let versions = [content(1, 100_000), content(2, 150_000), content(3, 50_000)];
    for bytes in &versions {
        fs::write(a.path("f"), bytes).unwrap();
        a.sync();
    }
    let list = |count: usize| {
        let mut last = serde_json::Value::Null;
        wait_until("all versions are listed", || {
            last = b.at(&["versions", "--json"], "f").json();
            last.as_array().is_some_and(|list| list.len() == count)
        });
        last.as_array().unwrap().clone()
    };
    level(a, &b);
    for size in [100_000, 150_000, 50_000] {
        let is_first = size == 100_000;
        let before = list(if is_first { 3 } else { 2 + size_rank(size) });
        let wanted = before.iter().find(|version| version["size"] == size).unwrap();
        let rev = wanted["rev"].to_string();
        b.at(&["restore", "--version", &rev], "f").expect(0, &["has the content of version"]);
        let expected = versions.iter().find(|bytes| bytes.len() == size).unwrap();
        has(a, "f", expected);
        has(&b, "f", expected);
        level(a, &b);
        // What was replaced is still there.
        let after = list(before.len() + 1);
        for version in &before {
            assert!(after.iter().any(|found| found["rev"] == version["rev"]), "{version}");
        }
    }
}

/// How many restores came before, plus one.
fn size_rank(size: usize) -> usize {
    if size == 150_000 { 2 } else { 3 }
}
