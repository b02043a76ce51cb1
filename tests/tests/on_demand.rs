//! Names and sizes are there at once; bytes come when they are read, and no more than needed.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{Device, Line, Proxy, World, content, have, tool, wait_until};
use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::FileExt,
};

const LARGE: u64 = 1 << 30;
const REAL: u64 = 64 << 20;

/// The byte blocks of the large file: 64 MiB that nothing compresses, again and again.
fn block(at: u64) -> Vec<u8> {
    content(at % REAL, 1 << 20)
}

fn write_large(device: &Device) {
    let mut file = File::create(device.path("large")).unwrap();
    for at in (0..LARGE).step_by(1 << 20) {
        file.write_all(&block(at)).unwrap();
    }
}

#[test]
fn a_listing_fetches_nothing_and_a_read_little() {
    let test = "on_demand::a_listing_fetches_nothing_and_a_read_little";
    if !have(test, &["ls", "bash"]) {
        return;
    }
    let Some(world) = World::mounted(test) else { return };
    for folder in 0..20 {
        fs::create_dir(world.a.path(format!("d{folder}"))).unwrap();
        for file in 0..50 {
            let bytes = content(folder * 100 + file, 40_000);
            fs::write(world.a.path(format!("d{folder}/f{file}")), bytes).unwrap();
        }
    }
    write_large(&world.a);
    world.a.sync();
    let proxy = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &proxy.url());
    b.mount();
    let listing = tool(&b.root(), "ls -lR");
    assert_eq!(listing.out.matches(" 40000 ").count(), 1_000);
    assert!(listing.out.contains(&format!(" {LARGE} ")));
    b.knows_the_tree();
    assert_eq!(b.figure("cached_bytes"), 0);
    // 1,021 names with their attributes, sealed; the content would be 1 GiB.
    let down = proxy.traffic().down;
    assert!(down < 1 << 20, "{down} bytes for a listing");

    // Again from memory: not a byte.
    let before = proxy.traffic();
    tool(&b.root(), "ls -lR > /dev/null");
    assert!(proxy.traffic().since(before).requests <= 1, "{:?}", proxy.traffic().since(before));

    let file = File::open(b.path("large")).unwrap();
    let before = proxy.traffic();
    let mut bytes = [0; 4096];
    let at = LARGE / 2 + 123 * 4096;
    file.read_exact_at(&mut bytes, at).unwrap();
    let whole = block(at & !((1 << 20) - 1));
    let start = (at % (1 << 20)) as usize;
    assert!(bytes == whole[start..start + 4096], "wrong bytes");
    wait_until("nothing is being fetched", || b.figure("fetching") == 0);
    let moved = proxy.traffic().since(before);
    assert!(moved.down <= 256 << 10, "{moved:?} for 4 KiB in the middle");
    assert!(b.figure("cached_bytes") <= 256 << 10);
}

/// Like a film: the first bytes come long before the last.
#[test]
fn reading_starts_before_the_file_is_whole() {
    let Some(world) = World::mounted("on_demand::reading_starts_before_the_file_is_whole") else {
        return;
    };
    write_large(&world.a);
    world.a.sync();
    let proxy = Proxy::start(world.server.address(), Line::new(40, 200));
    let b = world.join_at("b", &proxy.url());
    b.mount();
    b.knows_the_tree();
    let mut file = File::open(b.path("large")).unwrap();
    let mut piece = vec![0; 1 << 20];
    for at in (0..16_u64 << 20).step_by(1 << 20) {
        file.read_exact(&mut piece).unwrap();
        assert!(piece == block(at), "wrong bytes at {at}");
    }
    // Readers are answered from memory; the bytes reach the cache behind them.
    wait_until("what was read is here", || b.figure("cached_bytes") >= 16 << 20);
    let here = b.figure("cached_bytes");
    assert!(here < LARGE / 4, "{here} bytes are here");
    // A jump, as with a film's slider, does not wait for what lies between.
    let before = proxy.traffic().down;
    let at = LARGE - (8 << 20);
    file.read_exact_at(&mut piece, at).unwrap();
    assert!(piece == block(at));
    let moved = proxy.traffic().down - before;
    assert!(moved < LARGE / 4, "{moved} bytes for a jump");
    drop(file);
}

/// Small files that are read one after another come in batches, not one by one.
#[test]
fn small_neighbours_come_together() {
    let Some(world) = World::mounted("on_demand::small_neighbours_come_together") else { return };
    fs::create_dir(world.a.path("d")).unwrap();
    for file in 0..300 {
        fs::write(world.a.path(format!("d/f{file:03}")), content(file, 6_000)).unwrap();
    }
    world.a.sync();
    let proxy = Proxy::start(world.server.address(), Line::new(20, 1_000));
    let b = world.join_at("b", &proxy.url());
    b.mount();
    b.knows_the_tree();
    let before = proxy.traffic();
    for file in 0..300 {
        let bytes = fs::read(b.path(format!("d/f{file:03}"))).unwrap();
        assert!(bytes == content(file, 6_000), "f{file:03}");
    }
    let moved = proxy.traffic().since(before);
    assert!(moved.requests <= 60, "{moved:?} for 300 small files");
}
