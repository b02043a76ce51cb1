//! `stress-ng`: all of its file system stressors, one after another; neither the kernel nor the daemon
//! may have anything to complain about.

use crate::is_long;
use meshdrive_tests::{World, gone, have, tool};
use std::fs;

/// Seconds of each stressor; there are about 40.
const SECONDS_EACH: u32 = 3;
/// What the kernel's log has when something is wrong with it.
const KERNEL_COMPLAINTS: &[&str] = &[
    "BUG:",
    "WARNING:",
    "Oops",
    "hung_task",
    "blocked for more than",
    "fuse:",
    "general protection",
];
const DAEMON_COMPLAINTS: &[&str] = &[" ERROR ", "panicked"];

#[test]
fn nobody_complains_under_stress() {
    let test = "conformance::nobody_complains_under_stress";
    if !is_long() || !have(test, &["stress-ng", "dmesg"]) {
        return;
    }
    let Some(world) = World::mounted(test) else { return };
    fs::create_dir(world.a.path("stress")).unwrap();
    let kernel = |said: &str| complaints(said, KERNEL_COMPLAINTS);
    let before = kernel(&tool(world.dir(), "dmesg").out);
    // A stressor that meets something that is not supported says so and goes on.
    let answer = tool(
        world.a.home(),
        &format!(
            "stress-ng --class filesystem --sequential 1 --timeout {SECONDS_EACH} --verify \
             --temp-path m/stress --metrics-brief 2>&1 || echo status $?"
        ),
    );
    println!("{}", answer.out);
    let after = kernel(&tool(world.dir(), "dmesg").out);
    assert!(after.len() <= before.len(), "{:#?}", &after[before.len()..]);
    let log = complaints(&world.a.log(), DAEMON_COMPLAINTS);
    assert!(log.is_empty(), "{log:#?}");
    assert!(!gone(world.a.pid()), "the daemon has ended");
    let failed = complaints(&answer.out, &["stress-ng: fail:"]);
    assert!(failed.is_empty(), "{failed:#?}");
    world.a.sync();
}

fn complaints(said: &str, words: &[&str]) -> Vec<String> {
    let bad = |line: &&str| words.iter().any(|word| line.contains(word));
    said.lines().filter(bad).map(String::from).collect()
}
