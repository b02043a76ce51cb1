//! `fsx`: random reads, writes, truncates and mappings of one file, every byte checked, while its
//! content leaves this device and comes back.

use crate::{evicting::while_evicting, is_long, suite};
use meshdrive_tests::{Answer, World};
use std::{fs, process::Command, sync::atomic::Ordering};

const LONG_OPERATIONS: u64 = 100_000;
const SHORT_OPERATIONS: u64 = 5_000;
const MOST_RUNS: u64 = 50;
const SHORT_RUNS: u64 = 3;
/// Bytes that must have left the device for a run to count.
const LEAST_EVICTED: u64 = 64 << 10;

#[test]
fn one_file_with_maps() {
    run("conformance::one_file_with_maps", 1, true);
}

#[test]
fn one_file_without_maps() {
    run("conformance::one_file_without_maps", 2, false);
}

#[test]
fn one_large_file_with_maps() {
    if is_long() {
        run("conformance::one_large_file_with_maps", 3, true);
    }
}

#[test]
fn one_large_file_without_maps() {
    if is_long() {
        run("conformance::one_large_file_without_maps", 4, false);
    }
}

fn run(test: &str, seed: u64, maps: bool) {
    let Some(program) = suite(test, "fsx") else { return };
    let Some(world) = World::new(test) else { return };
    world.a.mount_with(&["--cache-size", "32MiB"]);
    let operations = if is_long() { LONG_OPERATIONS } else { SHORT_OPERATIONS };
    let length = if seed > 2 { 8 << 20 } else { 256 << 10 };
    let weight = if maps { 10 } else { 0 };
    let settings = format!(
        "flen = {length}
        [weights]
        close_open = 2
        read = 10
        write = 10
        mapread = {weight}
        mapwrite = {weight}
        invalidate = {}
        truncate = 2
        fsync = 0.2
        fdatasync = 0.2
        posix_fallocate = 0
        ",
        u8::from(maps)
    );
    fs::write(world.path("settings"), settings).unwrap();
    // A short run on a fast machine may end before anything is sent and can be evicted.
    let (least, runs) = if is_long() { (LEAST_EVICTED, MOST_RUNS) } else { (0, SHORT_RUNS) };
    while_evicting(&world.a, least, |evicted| {
        // A short run may end before anything left the device: then there is another.
        for seed in seed..seed + runs {
            println!("{test}: fsx -N {operations} -S {seed}");
            let output = Command::new(&program)
                .arg("-f")
                .arg(world.path("settings"))
                .args(["-N", &operations.to_string(), "-S", &seed.to_string(), "-P"])
                .arg(world.dir())
                .arg(world.a.path("file"))
                .output()
                .unwrap();
            let said = Answer::of(&output);
            assert!(output.status.success(), "{}\n{}", output.status, said.all());
            if evicted.load(Ordering::Relaxed) >= LEAST_EVICTED {
                break;
            }
        }
    });
    world.a.sync();
}
