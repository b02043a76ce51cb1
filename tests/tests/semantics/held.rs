//! Much at once waits for a person, and what a device did can be taken back.

use crate::{has, level, names};
use meshdrive_tests::{Device, World, wait_until};
use std::fs;

const FILES: usize = 60;

/// Two devices, of which `a` is held at 20 changes or half of the drive; 60 files of which both know.
fn drive(test: &str) -> Option<(World, Device)> {
    let world = World::new(test)?;
    let config = world.a.home().join("brake.toml");
    fs::write(&config, "[brake]\nshare = 50\nleast = 20\nwindow = \"10m\"\n").unwrap();
    world.a.mount_with(&["--config", config.to_str().unwrap()]);
    let b = world.join("b");
    b.mount();
    fs::create_dir(world.a.path("d")).unwrap();
    for number in 0..FILES {
        fs::write(world.a.path(format!("d/f{number}")), format!("before {number}")).unwrap();
    }
    level(&world.a, &b);
    has(&b, "d/f59", b"before 59");
    Some((world, b))
}

#[test]
fn claim_mass_removals_wait_for_a_person() {
    let Some((world, b)) = drive("semantics::claim_mass_removals_wait_for_a_person") else {
        return;
    };
    let a = &world.a;
    fs::remove_dir_all(a.path("d")).unwrap();
    wait_until("it is held", || a.figure("held_removals") == FILES as u64 + 1);
    fs::write(a.path("other"), b"goes on").unwrap();
    has(&b, "other", b"goes on");
    assert_eq!(names(b.path("d")).len(), FILES, "nothing was removed there");
    a.run(&["status", "work"]).expect(3, &["61 removals held", "meshdrive approve"]);
    a.run(&["sync", "work", "--timeout", "30s"]).expect(3, &["held", "approve it or undo it"]);
    a.run(&["unmount", "work"]).expect(3, &["held"]);
    a.run(&["undo"]).expect(0, &["61 changes taken back"]);
    a.sync();
    level(a, &b);
    assert_eq!(names(a.path("d")), names(b.path("d")));
    has(a, "d/f7", b"before 7");
    // Once more, and this time it is meant.
    fs::remove_dir_all(a.path("d")).unwrap();
    wait_until("it is held again", || a.figure("held_removals") == FILES as u64 + 1);
    a.run(&["approve"]).expect(0, &["61 changes will be sent"]);
    a.sync();
    wait_until("it is gone there", || !b.path("d").exists());
}

#[test]
fn claim_mass_rewrites_wait_for_a_person() {
    let Some((world, b)) = drive("semantics::claim_mass_rewrites_wait_for_a_person") else {
        return;
    };
    let a = &world.a;
    for number in 0..FILES {
        fs::write(a.path(format!("d/f{number}")), b"scrambled").unwrap();
    }
    wait_until("it is held", || a.figure("held_rewrites") > 0);
    a.run(&["undo"]).expect(0, &["taken back"]);
    a.sync();
    level(a, &b);
    let restored = |device: &Device| {
        (0..FILES).all(|number| {
            let wanted = format!("before {number}").into_bytes();
            fs::read(device.path(format!("d/f{number}"))).is_ok_and(|found| found == wanted)
        })
    };
    let sent = |device: &Device| !restored(device);
    // The first few may have left before the device was held: those are versions, and can be undone.
    if sent(&b) {
        a.run(&["undo", "--device", "a", "--since", "10m", "--dry-run"]).expect(0, &["Would take"]);
    }
    let aside =
        names(a.root()).into_iter().find(|name| name.to_str().unwrap().starts_with("Undone"));
    let aside = a.path(aside.expect("what was written is kept"));
    let kept = names(aside.clone());
    assert!(!kept.is_empty());
    assert!(kept.iter().all(|name| fs::read(aside.join(name)).unwrap() == b"scrambled"));
    assert!(fs::read(b.path("d/f59")).unwrap() == b"before 59");
}

#[test]
fn claim_a_device_can_be_undone() {
    let test = "semantics::claim_a_device_can_be_undone";
    let Some((world, b)) = World::pair(test) else { return };
    let a = &world.a;
    fs::create_dir_all(a.path("d/deep")).unwrap();
    for (name, bytes) in [("edited", "old"), ("removed", "old"), ("moved", "old"), ("both", "old")]
    {
        fs::write(a.path("d").join(name), bytes).unwrap();
    }
    fs::write(a.path("d/deep/in"), "old").unwrap();
    level(a, &b);
    let before = tree_of(a);
    // The store's clock counts; a second is far longer than what it may differ from ours here.
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    fs::write(b.path("d/edited"), "by b").unwrap();
    fs::remove_file(b.path("d/removed")).unwrap();
    fs::rename(b.path("d/moved"), b.path("d/elsewhere")).unwrap();
    fs::remove_dir_all(b.path("d/deep")).unwrap();
    fs::create_dir(b.path("made")).unwrap();
    fs::write(b.path("made/new"), "by b").unwrap();
    fs::write(b.path("d/both"), "by b").unwrap();
    level(a, &b);
    fs::write(a.path("d/both"), "by a, later").unwrap();
    level(a, &b);
    let undo = ["undo", "--device", "b", "--since", "1s", "--json"];
    let undo = |since: &str, more: &[&str]| {
        let mut args: Vec<&str> = undo.to_vec();
        args[4] = since;
        args.extend(more);
        a.run(&args)
    };
    let dry = undo("1m", &["--dry-run"]).expect(0, &[]).json();
    assert_eq!(dry["dry_run"], true);
    assert!(fs::read(a.path("d/edited")).unwrap() == b"by b", "nothing was done yet");
    undo("1m", &[]).expect(0, &[]);
    level(a, &b);
    let mut wanted = before;
    wanted.insert("d/both".into(), Some(b"by a, later".to_vec()));
    for device in [a, &b] {
        wait_until("it is as it was", || tree_of(device) == wanted);
    }
    // Nothing was destroyed: what b made is in the trash, what it wrote is a version.
    let trash = a.run(&["restore", "--trash", "--json"]).json().to_string();
    assert!(trash.contains("made/new") || trash.contains("new"), "{trash}");
    let versions = a.at(&["versions", "--json"], "d/edited").json();
    assert_eq!(versions.as_array().unwrap().len(), 3, "{versions}");
    a.run(&["undo", "--device", "nobody", "--since", "1h"]).expect(1, &["no device"]);
}

fn tree_of(device: &Device) -> std::collections::BTreeMap<String, Option<Vec<u8>>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for name in names(device.path(&folder)) {
            let path = format!("{folder}/{}", name.to_str().unwrap());
            let path = path.trim_start_matches('/').to_string();
            if device.path(&path).is_dir() {
                folders.push(path.clone());
                found.insert(path, None);
            } else {
                found.insert(path.clone(), fs::read(device.path(&path)).ok());
            }
        }
    }
    found
}
