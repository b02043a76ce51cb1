//! Conflicts after they were found: who sees them, and how they are decided. `left` reaches the store
//! first in every test.

use crate::{Apart, has, level, names};
use meshdrive_tests::{Device, content, wait_until};
use serde_json::Value;
use std::{fs, path::PathBuf};

fn conflicts(device: &Device) -> Vec<Value> {
    let answer = device.run(&["conflicts", "work", "--json"]);
    answer.expect(0, &[]).json().as_array().unwrap().clone()
}

/// Both devices edit `f.txt` of which they have `base`; then both know of the conflict.
fn conflict(apart: &Apart, base: &[u8], left: &[u8], right: &[u8]) -> PathBuf {
    fs::write(apart.left.path("f.txt"), base).unwrap();
    has(&apart.right, "f.txt", base);
    apart.part();
    fs::write(apart.left.path("f.txt"), left).unwrap();
    fs::write(apart.right.path("f.txt"), right).unwrap();
    apart.meet();
    level(&apart.left, &apart.right);
    for device in [&apart.left, &apart.right] {
        wait_until("the conflict is known", || conflicts(device).len() == 1);
    }
    conflicts(&apart.left)[0]["copy"]["path"].as_str().unwrap().into()
}

#[track_caller]
fn are_none(apart: &Apart) {
    for device in [&apart.left, &apart.right] {
        wait_until("no conflict is left", || conflicts(device).is_empty());
        device.run(&["conflicts", "work"]).expect(0, &["no conflicts"]);
    }
}

#[test]
fn claim_equal_contents_are_no_conflict() {
    let Some(apart) = Apart::mounted("semantics::claim_equal_contents_are_no_conflict") else {
        return;
    };
    let (left, right) = (&apart.left, &apart.right);
    let (before, after) = (content(1, 3 << 20), content(2, 3 << 20));
    for name in ["small", "saved"] {
        fs::write(left.path(name), b"before").unwrap();
        has(right, name, b"before");
    }
    fs::write(left.path("large"), &before).unwrap();
    has(right, "large", &before);
    apart.part();
    for device in [left, right] {
        fs::write(device.path("small"), b"the same").unwrap();
        fs::write(device.path("large"), &after).unwrap();
        fs::write(device.path("new"), b"made alike").unwrap();
        fs::write(device.path("saved.new"), b"saved alike").unwrap();
        fs::rename(device.path("saved.new"), device.path("saved")).unwrap();
    }
    apart.meet();
    level(left, right);
    for device in [left, right] {
        assert_eq!(names(device.root()), ["large", "new", "saved", "small"]);
        has(device, "small", b"the same");
        has(device, "large", &after);
        has(device, "new", b"made alike");
        has(device, "saved", b"saved alike");
    }
    are_none(&apart);
}

#[test]
fn claim_conflicts_are_listed_everywhere() {
    let Some(apart) = Apart::mounted("semantics::claim_conflicts_are_listed_everywhere") else {
        return;
    };
    let copy = conflict(&apart, b"before", b"of the left", b"of the right side");
    for (device, copy_is_mine) in [(&apart.left, false), (&apart.right, true)] {
        let seen = conflicts(device).remove(0);
        assert_eq!(seen["copy"]["path"], copy.to_str().unwrap());
        assert_eq!(seen["file"]["path"], "f.txt");
        assert_eq!(seen["copy_is_mine"], copy_is_mine, "{seen}");
        assert_eq!((&seen["copy"]["size"], &seen["file"]["size"]), (&17.into(), &11.into()));
        let devices = (&seen["copy"]["device"], &seen["file"]["device"], &seen["base"]["device"]);
        assert_eq!(devices, (&"right".into(), &"left".into(), &"left".into()), "{seen}");
        assert_eq!(seen["base"]["size"], 6, "{seen}");
        assert_eq!(device.figure("conflicts"), 1);
        let found = seen["found_ns"].as_i64().unwrap();
        assert!(found > seen["base"]["stored_ns"].as_i64().unwrap(), "{seen}");
        device.run(&["conflicts"]).expect(0, &["mine:", "theirs:", "base:", "f.txt"]);
    }
    // It outlives the daemon, and a move of the copy; who copies the file gets no record of it.
    apart.right.unmount();
    apart.right.mount();
    fs::create_dir(apart.right.path("d")).unwrap();
    fs::rename(apart.right.path(&copy), apart.right.path("d/moved.txt")).unwrap();
    fs::copy(apart.right.path("d/moved.txt"), apart.right.path("d/copied.txt")).unwrap();
    level(&apart.left, &apart.right);
    for device in [&apart.left, &apart.right] {
        wait_until("it is found at its new place", || {
            let open = conflicts(device);
            open.len() == 1 && open[0]["copy"]["path"] == "d/moved.txt"
        });
    }
    // Whoever removes the copy has decided.
    fs::remove_file(apart.left.path("d/moved.txt")).unwrap();
    are_none(&apart);
}

#[test]
fn claim_deciding_a_conflict_destroys_nothing() {
    let test = "semantics::claim_deciding_a_conflict_destroys_nothing";
    let Some(apart) = Apart::mounted(test) else { return };
    let (left, right) = (&apart.left, &apart.right);
    // The copy is the right one's: its `mine` is the left one's `theirs`.
    for (device, keep) in [(right, "mine"), (left, "theirs"), (right, "theirs"), (left, "mine")] {
        conflict(&apart, b"before", b"of the left", b"of the right");
        device.run(&["resolve", "m/f.txt", "--keep", keep]).expect(0, &[]);
        level(left, right);
        are_none(&apart);
        let copy_wins = (device.name() == "right") == (keep == "mine");
        let wanted: &[u8] = if copy_wins { b"of the right" } else { b"of the left" };
        for device in [left, right] {
            has(device, "f.txt", wanted);
            assert_eq!(names(device.root()), ["f.txt"], "{keep} on {}", device.name());
        }
        if copy_wins {
            // The file's own content is a version of it.
            let versions = left.at(&["versions", "--json"], "f.txt").json();
            let sizes: Vec<u64> =
                versions.as_array().unwrap().iter().map(|v| v["size"].as_u64().unwrap()).collect();
            assert_eq!(sizes[..2], [12, 11], "{versions}");
        }
        let trash = left.run(&["restore", "--trash", "--json"]).json();
        let newest = trash[0]["path"].as_str().unwrap().to_string();
        assert!(newest.starts_with("f (conflict, right, "), "{trash}");
        fs::remove_file(left.path("f.txt")).unwrap();
        level(left, right);
    }
    let copy = conflict(&apart, b"before", b"of the left", b"of the right");
    left.at(&["resolve", "--keep", "both"], &copy).expect(0, &["both stay"]);
    level(left, right);
    are_none(&apart);
    for device in [left, right] {
        has(device, "f.txt", b"of the left");
        has(device, &copy, b"of the right");
    }
    left.at(&["resolve", "--keep", "both"], &copy).expect(1, &["no conflict to decide"]);
}

#[test]
fn claim_texts_are_merged_when_asked() {
    let Some(apart) = Apart::mounted("semantics::claim_texts_are_merged_when_asked") else {
        return;
    };
    let (left, right) = (&apart.left, &apart.right);
    let (base, ours, theirs) =
        ("1\n2\n3\n4\n5\n6\n", "one\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\n5\nsix\n");
    conflict(&apart, base.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    right.at(&["resolve", "--merge"], "f.txt").expect(0, &["the changes of both"]);
    level(left, right);
    are_none(&apart);
    for device in [left, right] {
        has(device, "f.txt", b"one\n2\n3\n4\n5\nsix\n");
        assert_eq!(names(device.root()), ["f.txt"]);
    }
    // Where both changed the same line, and where it is no text, nothing is touched.
    for (ours, theirs) in [(&b"uno\n"[..], &b"eins\n"[..]), (b"\xff\xfe1", b"\xff\xfe22")] {
        fs::remove_file(left.path("f.txt")).unwrap();
        let copy = conflict(&apart, b"one\n", ours, theirs);
        right.at(&["resolve", "--merge"], "f.txt").expect(1, &["nothing was changed"]);
        has(right, "f.txt", ours);
        has(right, &copy, theirs);
        right.at(&["resolve", "--keep", "theirs"], &copy).expect(0, &[]);
        level(left, right);
    }
}
