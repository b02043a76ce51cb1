//! What other devices see.

use crate::{has, level, names};
use meshdrive_tests::{World, content, wait_until};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::{
    fs::{self, File, FileTimes, Permissions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime},
};

#[test]
fn claim_closed_file_reaches_other_devices() {
    let Some((world, b)) = World::pair("semantics::claim_closed_file_reaches_other_devices") else {
        return;
    };
    let c = world.join("c");
    c.mount();
    for (n, size) in [0, 11, 70_000, 3 << 20].into_iter().enumerate() {
        let (name, bytes) = (format!("f{n}"), content(n as u64, size));
        fs::write(world.a.path(&name), &bytes).unwrap();
        for other in [&b, &c] {
            // Whole from the first moment: never a name with other bytes.
            wait_until("the name is there", || other.path(&name).exists());
            assert!(fs::read(other.path(&name)).unwrap() == bytes, "{name} on {}", other.name());
        }
    }
    let mut file = File::options().append(true).open(c.path("f1")).unwrap();
    file.write_all(b" and more").unwrap();
    drop(file);
    let longer = [content(1, 11).as_slice(), b" and more"].concat();
    has(&world.a, "f1", &longer);
    has(&b, "f1", &longer);
}

#[test]
fn claim_attributes_reach_other_devices() {
    let Some((world, b)) = World::pair("semantics::claim_attributes_reach_other_devices") else {
        return;
    };
    let a = &world.a;
    fs::write(a.path("f"), b"bytes").unwrap();
    fs::create_dir(a.path("d")).unwrap();
    symlink("../somewhere/else \u{e4}", a.path("link")).unwrap();
    for (name, mode, nanos) in [("f", 0o4751, 123_456_789), ("d", 0o1730, 999_999_999)] {
        // Only root may give files away.
        if rustix::process::geteuid().is_root() {
            chown(a.path(name), Some(1_234), Some(56_789)).unwrap();
        }
        fs::set_permissions(a.path(name), Permissions::from_mode(mode)).unwrap();
        setxattr(a.path(name), "user.mark", b"\0\xffvalue", XattrFlags::empty()).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, nanos);
        let times = FileTimes::new().set_modified(time).set_accessed(time);
        File::open(a.path(name)).unwrap().set_times(times).unwrap();
    }
    level(a, &b);
    for name in ["f", "d"] {
        let of = |root: &Path| {
            let meta = fs::metadata(root.join(name)).unwrap();
            let mut value = [0; 32];
            let len = getxattr(root.join(name), "user.mark", &mut value).unwrap();
            let times = (meta.mtime(), meta.mtime_nsec());
            (meta.mode(), meta.uid(), meta.gid(), times, value[..len].to_vec())
        };
        assert_eq!(of(&a.root()), of(&b.root()), "{name}");
        assert_eq!(of(&b.root()).3.0, 1_000_000_000);
        assert_eq!(of(&b.root()).4, b"\0\xffvalue");
    }
    assert_eq!(fs::metadata(b.path("f")).unwrap().mtime_nsec(), 123_456_789);
    assert_eq!(fs::metadata(b.path("f")).unwrap().mode() & 0o7777, 0o4751);
    let target = fs::read_link(b.path("link")).unwrap();
    assert_eq!(target.to_str(), Some("../somewhere/else \u{e4}"));
}

#[test]
fn claim_a_handle_reads_one_version() {
    let Some(world) = World::mounted("semantics::claim_a_handle_reads_one_version") else { return };
    let (old, new) = (content(1, 3 << 20), content(2, 3 << 20));
    for name in ["local", "absent"] {
        fs::write(world.a.path(name), &old).unwrap();
    }
    world.a.sync();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    assert!(fs::read(b.path("local")).unwrap() == old);
    let held = ["local", "absent"].map(|name| File::open(b.path(name)).unwrap());
    let mut part = vec![0; 4096];
    held[1].read_exact_at(&mut part, 0).unwrap();
    for name in ["local", "absent"] {
        // Changed in place, byte for byte, not replaced.
        let mut file = File::options().write(true).open(world.a.path(name)).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&new).unwrap();
        drop(file);
        has(&b, name, &new);
    }
    for (file, is_local) in held.iter().zip([true, false]) {
        for at in (0..old.len()).step_by(256 << 10) {
            match file.read_exact_at(&mut part, at as u64) {
                Ok(()) => assert!(part == old[at..at + 4096], "other bytes at {at}"),
                // Bytes of the old version that never were here, and cannot be had any more.
                Err(error) => {
                    assert_eq!((error.raw_os_error(), is_local), (Some(libc::ESTALE), false));
                }
            }
        }
    }
}

#[test]
fn claim_remote_rename_is_atomic() {
    let Some((world, b)) = World::pair("semantics::claim_remote_rename_is_atomic") else { return };
    fs::create_dir(world.a.path("d")).unwrap();
    fs::write(world.a.path("d/one"), content(1, 50_000)).unwrap();
    has(&b, "d/one", &content(1, 50_000));
    let ended = AtomicBool::new(false);
    let looks = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut looks = 0;
            while !ended.load(Ordering::Relaxed) {
                let seen = names(b.path("d"));
                if seen != ["one"] && seen != ["two"] {
                    return Err(seen);
                }
                looks += 1;
            }
            Ok(looks)
        });
        for turn in 0..15 {
            let (from, to) = if turn % 2 == 0 { ("d/one", "d/two") } else { ("d/two", "d/one") };
            fs::rename(world.a.path(from), world.a.path(to)).unwrap();
            wait_until("the rename has come", || watch.is_finished() || b.path(to).exists());
        }
        ended.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    });
    assert!(looks.as_ref().is_ok_and(|looks| *looks > 15), "seen at one time: {looks:?}");
    has(&b, "d/two", &content(1, 50_000));
}

#[test]
fn claim_sync_is_a_barrier() {
    let Some(mut world) = World::new("semantics::claim_sync_is_a_barrier") else { return };
    // Without the command, nothing would be sent.
    world.a.mount_with(&["--settle", "600s"]);
    fs::create_dir_all(world.a.path("d/e")).unwrap();
    fs::write(world.a.path("d/old"), b"renamed later").unwrap();
    for n in 0..30 {
        fs::write(world.a.path(format!("d/e/f{n}")), content(n, 20_000)).unwrap();
    }
    fs::rename(world.a.path("d/old"), world.a.path("d/e/new")).unwrap();
    world.a.at(&["sync"], "d").expect(0, &[]);
    // Both ends die at once; the device loses everything it had.
    world.server.kill();
    world.a.kill();
    world.server.start_again();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    assert_eq!(names(b.path("d")), ["e"]);
    assert_eq!(fs::read(b.path("d/e/new")).unwrap(), b"renamed later");
    for n in 0..30 {
        assert!(fs::read(b.path(format!("d/e/f{n}"))).unwrap() == content(n, 20_000), "f{n}");
    }
}

#[test]
fn claim_save_by_rename_keeps_versions() {
    let Some((world, b)) = World::pair("semantics::claim_save_by_rename_keeps_versions") else {
        return;
    };
    let a = &world.a;
    for number in 1..=3 {
        fs::write(a.path("f.tmp"), format!("version {number}")).unwrap();
        fs::rename(a.path("f.tmp"), a.path("f")).unwrap();
        a.sync();
        has(&b, "f", format!("version {number}").as_bytes());
    }
    for device in [a, &b] {
        let versions = device.at(&["versions", "--json"], "f").json();
        assert_eq!(versions.as_array().unwrap().len(), 3, "{versions}");
    }
    level(a, &b);
    assert_eq!(names(b.root()), ["f"]);
}
