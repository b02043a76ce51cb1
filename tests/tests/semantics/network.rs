//! What waits for the network.

use crate::{freeze, has, is_away, names, thaw};
use meshdrive_tests::{Line, Proxy, World, content, have, tool, tree, wait_until};
use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// Far above what local work takes on a slow machine, and below any wait for a store.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn claim_metadata_never_waits_for_the_store() {
    let test = "semantics::claim_metadata_never_waits_for_the_store";
    if !have(test, &["stat"]) {
        return;
    }
    let Some((world, b)) = World::pair(test) else { return };
    fs::create_dir_all(world.a.path("d/e")).unwrap();
    for n in 0..20 {
        fs::write(world.a.path(format!("d/f{n}")), content(n, 5_000)).unwrap();
    }
    world.a.sync();
    wait_until("b has it", || b.path("d/f19").exists());
    b.knows_the_tree();
    freeze(&world.server);
    let start = Instant::now();
    assert_eq!(names(b.path("d")).len(), 21);
    for n in 0..20 {
        assert_eq!(fs::metadata(b.path(format!("d/f{n}"))).unwrap().len(), 5_000);
    }
    let missing = fs::metadata(b.path("d/missing")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    tool(&b.root(), "stat -f .");
    File::create_new(b.path("d/new")).unwrap();
    fs::create_dir(b.path("d/folder")).unwrap();
    fs::rename(b.path("d/f0"), b.path("d/folder/f0")).unwrap();
    fs::rename(b.path("d/folder"), b.path("folder")).unwrap();
    fs::rename(b.path("d/f1"), b.path("d/f2")).unwrap();
    fs::remove_file(b.path("d/f3")).unwrap();
    fs::remove_dir(b.path("d/e")).unwrap();
    assert_eq!(names(b.path("d")).len(), 18);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    thaw(&world.server);
    b.sync();
    has(&world.a, "folder/f0", &content(0, 5_000));
    has(&world.a, "d/f2", &content(1, 5_000));
}

#[test]
fn claim_offline_work_is_sent_later() {
    let Some(mut world) = World::mounted("semantics::claim_offline_work_is_sent_later") else {
        return;
    };
    fs::create_dir(world.a.path("d")).unwrap();
    for n in 0..6 {
        fs::write(world.a.path(format!("d/f{n}")), content(n, 30_000)).unwrap();
    }
    world.a.sync();
    world.server.stop();
    is_away(&world.a);
    let a = &world.a;
    assert!(fs::read(a.path("d/f0")).unwrap() == content(0, 30_000));
    let file = File::options().write(true).open(a.path("d/f0")).unwrap();
    file.write_all_at(b"offline", 10_000).unwrap();
    drop(file);
    fs::rename(a.path("d/f1"), a.path("renamed")).unwrap();
    fs::remove_file(a.path("d/f2")).unwrap();
    fs::rename(a.path("d/f3"), a.path("d/f4")).unwrap();
    fs::create_dir(a.path("new")).unwrap();
    fs::write(a.path("new/f"), content(9, 100_000)).unwrap();
    fs::rename(a.path("d"), a.path("moved")).unwrap();
    let mut changed = content(0, 30_000);
    changed[10_000..][..7].copy_from_slice(b"offline");
    assert!(fs::read(a.path("moved/f0")).unwrap() == changed);
    let expected = tree(&a.root());
    world.server.start_again();
    wait_until("the store is reached again", || world.a.status()["online"] == true);
    world.a.sync();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    assert_eq!(tree(&b.root()), expected);
    has(&b, "moved/f0", &changed);
}

#[test]
fn claim_absent_bytes_fail_in_time_offline() {
    let Some(mut world) = World::mounted("semantics::claim_absent_bytes_fail_in_time_offline")
    else {
        return;
    };
    fs::write(world.a.path("f"), content(1, 3 << 20)).unwrap();
    world.a.sync();
    let b = world.join("b");
    b.mount_with(&["--read-deadline", "2s", "--offline-deadline", "1s"]);
    b.knows_the_tree();
    let fails = || {
        let start = Instant::now();
        let mut bytes = [7; 4096];
        let error = File::open(b.path("f")).unwrap().read_at(&mut bytes, 1 << 20).unwrap_err();
        let codes = [Some(libc::EHOSTUNREACH), Some(libc::ETIMEDOUT)];
        assert!(codes.contains(&error.raw_os_error()), "{error}");
        assert_eq!(bytes, [7; 4096], "the buffer was touched");
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    };
    // A store that never answers, then one that is not there.
    freeze(&world.server);
    fails();
    world.server.kill();
    fails();
    is_away(&b);
    fails();
    world.server.start_again();
    wait_until("the store is reached again", || b.status()["online"] == true);
    assert!(fs::read(b.path("f")).unwrap() == content(1, 3 << 20));
}

#[test]
fn claim_close_never_waits() {
    let test = "semantics::claim_close_never_waits";
    if !have(test, &["bash", "dd"]) {
        return;
    }
    let Some(mut world) = World::new(test) else { return };
    world.a.mount_with(&["--settle", "1ms"]);
    world.a.knows_the_tree();
    // `dd` ends with an error when close does.
    let write = "for n in $(seq 20); do dd if=/dev/zero of=f$n bs=20k count=1 status=none; done";
    freeze(&world.server);
    let start = Instant::now();
    tool(&world.a.root(), write);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    world.server.kill();
    is_away(&world.a);
    // Their uploads have failed by now: closing them again says nothing of it.
    let start = Instant::now();
    tool(&world.a.root(), write);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    world.server.start_again();
    wait_until("all is sent", || world.a.status()["all_in_cloud"] == true);
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    assert_eq!(names(b.root()).len(), 20);
    has(&b, "f20", &[0; 20 << 10]);
}

#[test]
fn claim_write_needs_no_fetch() {
    let Some(world) = World::mounted("semantics::claim_write_needs_no_fetch") else { return };
    fs::write(world.a.path("f"), content(1, 4 << 20)).unwrap();
    world.a.sync();
    let proxy = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &proxy.url());
    b.mount_with(&["--settle", "600s"]);
    b.knows_the_tree();
    let before = proxy.traffic().down;
    let file = File::options().write(true).open(b.path("f")).unwrap();
    for at in [100, 1_000_001, 3_000_000] {
        file.write_all_at(b"blind", at).unwrap();
    }
    let moved = proxy.traffic().down - before;
    assert!(moved < 16 << 10, "{moved} bytes came for three small writes");
    let here = b.figure("cached_bytes");
    assert!(here <= 64 << 10, "{here} bytes are here, 15 were written");
    // And without any store.
    proxy.cut();
    is_away(&b);
    file.write_all_at(b"blind", 2_000_000).unwrap();
    drop(file);
    proxy.mend();
    wait_until("the store is reached again", || b.status()["online"] == true);
    b.sync();
    let mut expected = content(1, 4 << 20);
    for at in [100, 1_000_001, 2_000_000, 3_000_000] {
        expected[at..][..5].copy_from_slice(b"blind");
    }
    has(&world.a, "f", &expected);
    has(&b, "f", &expected);
}
