//! What `.meshignore` keeps on one device.

use crate::has;
use meshdrive_tests::{Device, World, content, tree, wait_until};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn keeps(device: &Device, nodes: u64) {
    wait_until(&format!("{nodes} files and folders stay on {}", device.name()), || {
        let status = device.status();
        status["local_only_nodes"] == nodes && status["all_in_cloud"] == true
    });
}

fn paths(device: &Device) -> BTreeSet<PathBuf> {
    tree(&device.root()).into_keys().collect()
}

fn set(paths: &[&str]) -> BTreeSet<PathBuf> {
    paths.iter().map(PathBuf::from).collect()
}

fn state_of(path: &Path) -> String {
    let mut value = [0; 64];
    let len = rustix::fs::getxattr(path, "user.meshdrive.status", &mut value[..]).unwrap();
    String::from_utf8_lossy(&value[..len]).into_owned()
}

#[test]
fn claim_ignored_files_stay_here() {
    let Some(world) = World::mounted("semantics::claim_ignored_files_stay_here") else { return };
    let a = &world.a;
    fs::write(a.path(".meshignore"), "# builds\ntarget/\n*.o\n!keep.o\n").unwrap();
    fs::create_dir_all(a.path("project/target/debug")).unwrap();
    fs::write(a.path("project/target/debug/small"), content(1, 1_000)).unwrap();
    fs::write(a.path("project/target/debug/large"), content(2, 3 << 20)).unwrap();
    fs::write(a.path("project/main.o"), content(3, 1_000)).unwrap();
    fs::write(a.path("project/keep.o"), content(4, 1_000)).unwrap();
    fs::write(a.path("project/main.c"), content(5, 1_000)).unwrap();
    a.sync();
    keeps(a, 5);
    a.run(&["status", "work"]).expect(0, &["5 files and folders", "stay on this device only"]);
    a.at(&["status"], "project/target").expect(0, &["local only"]);
    assert_eq!(state_of(&a.path("project/main.o")), "local-only");

    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    let sent = [".meshignore", "project", "project/keep.o", "project/main.c"];
    assert_eq!(paths(&b), set(&sent));
    // The rules came along.
    fs::create_dir(b.path("project/target")).unwrap();
    fs::write(b.path("project/target/other"), b"of b").unwrap();
    b.sync();
    keeps(&b, 2);

    // They are kept like all that is unsent: evicted by nothing, there after a remount.
    let before = tree(&a.root());
    a.at(&["evict"], "").expect(0, &[]);
    a.unmount();
    world.a.mount();
    assert_eq!(tree(&world.a.root()), before);
    keeps(&world.a, 5);
}

#[test]
fn claim_what_was_sent_stays_sent() {
    let Some(world) = World::mounted("semantics::claim_what_was_sent_stays_sent") else { return };
    let a = &world.a;
    fs::write(a.path("early.log"), b"sent before there were rules").unwrap();
    a.sync();
    fs::write(a.path(".meshignore"), "*.log\nbuild/\n").unwrap();
    a.sync();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    // Known to the store: edits and moves go on being sent, also into an ignored folder.
    fs::write(a.path("early.log"), b"edited").unwrap();
    has(&b, "early.log", b"edited");
    fs::create_dir(a.path("build")).unwrap();
    fs::write(a.path("build/out"), b"stays here").unwrap();
    fs::rename(a.path("early.log"), a.path("build/early.log")).unwrap();
    has(&b, "build/early.log", b"edited");
    keeps(a, 1);
    assert!(!b.path("build/out").exists());
    // What gets another name, or other rules, is sent.
    fs::write(a.path("new.log"), b"new").unwrap();
    a.sync();
    keeps(a, 2);
    fs::rename(a.path("new.log"), a.path("new.txt")).unwrap();
    has(&b, "new.txt", b"new");
    fs::write(a.path(".meshignore"), "*.log\n").unwrap();
    has(&b, "build/out", b"stays here");
}

#[test]
fn claim_rules_that_cannot_be_read_are_told() {
    let Some(world) = World::mounted("semantics::claim_rules_that_cannot_be_read_are_told") else {
        return;
    };
    let a = &world.a;
    fs::write(a.path(".meshignore"), "*.o\n[z-a]\n").unwrap();
    fs::write(a.path("f.o"), b"stays").unwrap();
    wait_until("the bad line is told", || {
        let sentence = a.status()["sentence"].to_string();
        sentence.contains("line 2 of .meshignore")
    });
    a.sync();
    keeps(a, 1);
    // So large that nobody wrote it: nothing is sent until somebody has looked.
    fs::write(a.path(".meshignore"), vec![b'#'; 2 << 20]).unwrap();
    wait_until("it is told", || {
        a.status()["sentence"].to_string().contains("nothing is sent until it is made smaller")
    });
    fs::write(a.path("g"), b"waits").unwrap();
    assert_eq!(a.status()["all_in_cloud"], false);
    fs::remove_file(a.path(".meshignore")).unwrap();
    a.sync();
    keeps(a, 0);
}
