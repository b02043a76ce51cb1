//! Status.

use crate::{has, is_away};
use meshdrive_tests::{Device, Line, Proxy, World, content, tree, wait_until};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    process::Command,
};

const ALL: &str = "Everything is in the cloud";

fn sentence(device: &Device) -> String {
    let status = device.status();
    let sentence = status["sentence"].as_str().unwrap().to_string();
    let says_all = sentence.to_lowercase().contains(&ALL.to_lowercase());
    assert_eq!(status["all_in_cloud"], says_all, "{status}");
    sentence
}

#[test]
fn claim_status_is_true() {
    let Some(world) = World::mounted("semantics::claim_status_is_true") else { return };
    let a = &world.a;
    // An open file with bytes that the store does not have.
    let mut open = File::create(a.path("open")).unwrap();
    open.write_all(b"unsent").unwrap();
    assert!(!sentence(a).contains(ALL), "{}", sentence(a));
    drop(open);
    for round in 0..4 {
        fs::create_dir(a.path(format!("d{round}"))).unwrap();
        for n in 0..6 {
            fs::write(a.path(format!("d{round}/f{n}")), content(n, 40_000)).unwrap();
            assert!(!sentence(a).contains(ALL), "just written: {}", sentence(a));
        }
        fs::rename(a.path(format!("d{round}/f0")), a.path(format!("d{round}/renamed"))).unwrap();
        fs::remove_file(a.path(format!("d{round}/f1"))).unwrap();
        wait_until("it says that everything is in the cloud", || sentence(a).contains(ALL));
        // No word to the first device from here on.
        let fresh = world.join(&format!("fresh{round}"));
        fresh.mount();
        fresh.knows_the_tree();
        assert_eq!(tree(&fresh.root()), tree(&a.root()), "round {round}");
        fresh.unmount();
    }
}

#[test]
fn claim_status_says_how_long_it_takes() {
    const BYTES: usize = 24 << 20;
    let test = "semantics::claim_status_says_how_long_it_takes";
    let Some(world) = World::new(test) else { return };
    // 4 MB a second.
    let line = Proxy::start(world.server.address(), Line::new(2, 32));
    let slow = world.join_at("slow", &line.url());
    slow.mount();
    fs::write(slow.path("large"), content(1, BYTES)).unwrap();
    let (mut seen, mut left) = (BTreeSet::new(), BTreeSet::new());
    wait_until("it is sent", || {
        let status = slow.status();
        assert!(status["all_in_cloud"] == true || status["pending_nodes"] == 1, "{status}");
        seen.extend(status["pending_bytes"].as_u64());
        left.extend(status["left_secs"].as_u64());
        status["all_in_cloud"] == true
    });
    assert!(seen.len() > 6, "bytes that were left at a time: {seen:?}");
    assert!(left.iter().any(|secs| (1..20).contains(secs)), "seconds that were left: {left:?}");
}

#[test]
fn claim_status_has_exit_codes() {
    let Some(mut world) = World::mounted("semantics::claim_status_has_exit_codes") else { return };
    fs::write(world.a.path("f"), b"sent").unwrap();
    world.a.sync();
    world.a.run(&["status", "work"]).expect(0, &[ALL]);
    world.a.run(&["pause", "work"]).expect(0, &[]);
    fs::write(world.a.path("f"), b"unsent").unwrap();
    world.a.run(&["status", "work"]).expect(3, &["not yet in the cloud"]);
    world.a.run(&["status"]).expect(3, &["not yet in the cloud"]);
    world.a.at(&["status"], "f").expect(3, &[]);
    world.a.run(&["resume", "work"]).expect(0, &[]);
    world.a.sync();
    world.server.stop();
    is_away(&world.a);
    world.a.run(&["status", "work"]).expect(0, &["everything is in the cloud"]);
    fs::write(world.a.path("g"), b"unsent").unwrap();
    world.a.run(&["status", "work"]).expect(4, &["not yet in the cloud"]);
    world.server.start_again();
    wait_until("all is sent", || world.a.run(&["status", "work"]).code == 0);
    has(&world.a, "g", b"unsent");
    world.a.unmount();
    world.a.run(&["status", "work"]).expect(5, &["not mounted"]);
    // The exit status is that of the program, not of the words that it prints.
    let mut quiet: Command = world.a.command();
    let code = quiet.args(["status", "work", "--json"]).output().unwrap().status.code();
    assert_eq!(code, Some(5));
}
