//! `fio`: jobs that check what they wrote, also after it left this device and came back.

use crate::{evicting::while_evicting, is_long};
use meshdrive_tests::{World, have, tool};

/// Engine, pattern, block size, direct.
const JOBS: &[(&str, &str, &str, u8)] = &[
    ("psync", "randwrite", "4k", 0),
    ("psync", "write", "1m", 0),
    ("psync", "randrw", "1k-64k", 0),
    ("mmap", "randwrite", "4k", 0),
    ("libaio", "randwrite", "4k", 1),
    ("libaio", "write", "128k", 1),
    ("pvsync2", "randwrite", "512-32k", 0),
];

#[test]
fn what_was_written_is_read() {
    let test = "conformance::what_was_written_is_read";
    if !have(test, &["fio"]) {
        return;
    }
    let Some(world) = World::new(test) else { return };
    world.a.mount_with(&["--cache-size", "64MiB"]);
    let size = if is_long() { "64m" } else { "4m" };
    for (engine, pattern, block, direct) in JOBS {
        let unit = if block.contains('-') { "bsrange" } else { "bs" };
        let job = format!(
            "fio --name=job-{engine}-{pattern}-{direct} --directory=m --size={size} --rw={pattern} \
             --{unit}={block} --ioengine={engine} --direct={direct} --iodepth=8 --verify=crc32c \
             --verify_fatal=1 --fallocate=none --randseed=7 --minimal"
        );
        println!("{job}");
        while_evicting(&world.a, 0, |_| tool(world.a.home(), &format!("{job} --do_verify=1")));
        if *pattern == "randrw" {
            continue; // what it reads between its writes is checked above
        }
        world.a.sync();
        world.a.run(&["evict", "work"]).expect(0, &["Freed"]);
        tool(world.a.home(), &format!("{job} --verify_only=1"));
    }
}
