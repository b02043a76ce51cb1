//! The past, and looking after the store.

use crate::{has, level};
use meshdrive_tests::{World, content, tool, tree, wait_until};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    time::{Duration, SystemTime},
};

/// The time now as it is written in a path, in UTC with milliseconds.
fn now() -> String {
    let answer = tool(std::path::Path::new("/"), "date -u +%Y-%m-%dT%H:%M:%S.%3NZ");
    answer.out.trim().to_string()
}

/// A moment later than everything that was committed so far, and earlier than all that follows.
fn moment() -> String {
    let pause = || std::thread::sleep(Duration::from_millis(20));
    pause();
    let now = now();
    pause();
    now
}

#[test]
fn claim_the_past_can_be_read() {
    let Some((world, b)) = World::pair("semantics::claim_the_past_can_be_read") else { return };
    let a = &world.a;
    let before = moment();
    fs::create_dir_all(a.path("d/e")).unwrap();
    for n in 0..20 {
        fs::write(a.path(format!("d/f{n}")), content(n, 3_000 * n as usize)).unwrap();
    }
    fs::write(a.path("d/e/large"), content(77, 3 << 20)).unwrap();
    fs::write(a.path("d/mode"), b"mode").unwrap();
    fs::set_permissions(a.path("d/mode"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("f1", a.path("d/link")).unwrap();
    fs::hard_link(a.path("d/f2"), a.path("d/second name")).unwrap();
    a.sync();
    let then = moment();
    let expected = tree(&a.path("d"));
    fs::write(a.path("d/f1"), b"changed").unwrap();
    fs::remove_file(a.path("d/f3")).unwrap();
    fs::rename(a.path("d/e"), a.path("moved")).unwrap();
    fs::write(a.path("moved/large"), b"small now").unwrap();
    fs::remove_file(a.path("d/mode")).unwrap();
    level(a, &b);

    for device in [a, &b] {
        let past = device.path(format!(".meshdrive/at/{then}"));
        assert_eq!(fs::read(past.join("d/f1")).unwrap(), content(1, 3_000));
        assert_eq!(fs::read(past.join("d/f3")).unwrap(), content(3, 9_000));
        // Whole trees, by programs that know nothing of it.
        let copy = device.home().join("copy");
        let script = format!(
            "cp -a '{0}/d' '{1}' && diff -r --no-dereference '{0}/d' '{1}' && ls -lR '{0}' && rm -rf '{1}.2'",
            past.display(),
            copy.display()
        );
        tool(device.home(), &script).expect(0, &["large"]);
        // All but the number of names, which nobody knows of the past.
        let found = tree(&copy);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert_eq!(fs::read(copy.join("e/large")).unwrap(), content(77, 3 << 20));
        assert_eq!(fs::read(copy.join("second name")).unwrap(), content(2, 6_000));
        let mode = fs::metadata(copy.join("mode")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        // And back into the present.
        let back = device.path(format!("back-{}", device.name()));
        tool(device.home(), &format!("cp -a '{}/d' '{}'", past.display(), back.display()));
        assert_eq!(fs::read(back.join("e/large")).unwrap(), content(77, 3 << 20));
        // Before all that there was nothing.
        let empty = device.path(format!(".meshdrive/at/{before}"));
        assert_eq!(fs::read_dir(empty).unwrap().count(), 0);
        // What is a time and what is not.
        assert!(device.path(".meshdrive/at/-0s/moved").is_dir());
        let fault = |name: &str| {
            fs::metadata(device.path(format!(".meshdrive/at/{name}"))).unwrap_err().kind()
        };
        assert_eq!(fault("yesterday"), ErrorKind::NotFound);
        assert_eq!(fault("2199-01-01"), ErrorKind::InvalidInput);
        // Local times, down to the day: then there was no drive yet.
        for early in ["2001-02-03", "2001-02-03T04:05", "-9000d"] {
            let root = device.path(format!(".meshdrive/at/{early}"));
            assert_eq!(fs::read_dir(root).unwrap().count(), 0, "{early}");
        }
        // Hidden: in no listing.
        let names = fs::read_dir(device.root()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.into_iter().any(|name| name == ".meshdrive"));
    }
}

#[test]
fn claim_the_past_cannot_be_changed() {
    let Some(world) = World::mounted("semantics::claim_the_past_cannot_be_changed") else {
        return;
    };
    let a = &world.a;
    fs::write(a.path("f"), b"as it was").unwrap();
    a.sync();
    let past = a.path(format!(".meshdrive/at/{}", moment()));
    fs::write(a.path("f"), b"as it is").unwrap();
    a.sync();
    let refused = |what: &str, result: std::io::Result<()>| {
        let error = result.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{what}: {error}");
    };
    let file = past.join("f");
    refused("write", fs::write(&file, b"x"));
    refused("append", fs::OpenOptions::new().append(true).open(&file).map(drop));
    refused("create", fs::write(past.join("new"), b"x"));
    refused("mkdir", fs::create_dir(past.join("new")));
    refused("unlink", fs::remove_file(&file));
    refused("rename in", fs::rename(a.path("f"), past.join("g")));
    refused("rename out", fs::rename(&file, a.path("g")));
    refused("link", fs::hard_link(&file, a.path("g")));
    refused("chmod", fs::set_permissions(&file, fs::Permissions::from_mode(0o600)));
    refused("rmdir", fs::remove_dir(a.path(".meshdrive")));
    refused("mkdir of a time", fs::create_dir(a.path(".meshdrive/at/mine")));
    let times = fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    refused("utimens", fs::File::open(&file).unwrap().set_times(times));
    assert_eq!(fs::read(&file).unwrap(), b"as it was");
    assert_eq!(fs::read(a.path("f")).unwrap(), b"as it is");
    assert_eq!(a.status()["all_in_cloud"], true);
}

#[test]
fn claim_the_log_says_who_did_what() {
    let Some((world, b)) = World::pair("semantics::claim_the_log_says_who_did_what") else {
        return;
    };
    let a = &world.a;
    fs::write(a.path("f"), b"one").unwrap();
    level(a, &b);
    has(&b, "f", b"one");
    fs::write(b.path("f"), b"from b").unwrap();
    level(a, &b);
    fs::rename(a.path("f"), a.path("g")).unwrap();
    level(a, &b);
    let log = b.at(&["log", "--json"], "g").json();
    let found: Vec<(String, String)> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["device"].as_str().unwrap().into(), entry["what"].to_string()))
        .collect();
    assert_eq!(found.len(), 3, "{log}");
    assert!(found[0].0 == "a" && found[0].1.contains("renamed from f to g"), "{log}");
    assert!(found[1].0 == "b" && found[1].1.contains("content changed"), "{log}");
    assert!(found[2].0 == "a" && found[2].1.contains("created"), "{log}");
    // Also of what was removed.
    fs::remove_file(b.path("g")).unwrap();
    level(a, &b);
    a.at(&["log"], "g").expect(0, &["removed", "renamed", "created"]);
}

#[test]
fn claim_a_device_can_be_sent_away() {
    let Some((world, b)) = World::pair("semantics::claim_a_device_can_be_sent_away") else {
        return;
    };
    let a = &world.a;
    fs::write(a.path("f"), b"one").unwrap();
    level(a, &b);
    a.run(&["devices", "work"]).expect(0, &["a", "b", "this device"]);
    a.run(&["devices", "work", "--revoke", "b"]).expect(0, &["b has no access"]);
    fs::write(a.path("secret"), b"after").unwrap();
    a.sync();
    fs::write(b.path("mine"), b"kept").unwrap();
    wait_until("b hears that it was sent away", || {
        b.run(&["status", "work"]).all().contains("was removed from the drive")
    });
    assert!(!b.path("secret").exists());
    assert_eq!(fs::read(b.path("mine")).unwrap(), b"kept");
    assert!(!a.path("mine").exists());
    let list = a.run(&["devices", "work", "--json"]).json();
    assert!(list[1]["revoked_ns"].is_i64(), "{list}");
    // Taken in again, it sends what it has written meanwhile.
    let join = |more: &[&str]| {
        let code = a.run(&["drive", "invite", "work", "--json"]).json()["code"].clone();
        let (url, code) = (world.server.url(), code.as_str().unwrap().to_owned());
        let ask = ["drive", "join", "work", "--server", &url, "--device", "b", "--code", &code];
        b.run(&[&ask[..], more].concat())
    };
    join(&["--again"]).expect(6, &["--keep-pending"]);
    b.run(&["unmount", "work", "--keep-pending"]).expect(0, &[]);
    join(&[]).expect(2, &["there is a drive work on this device already"]);
    join(&["--again"]).expect(0, &["Joined work"]);
    b.mount();
    b.sync();
    has(a, "mine", b"kept");
    has(&b, "secret", b"after");
}

#[test]
fn claim_the_trash_is_emptied_only_when_asked() {
    let Some(world) = World::mounted("semantics::claim_the_trash_is_emptied_only_when_asked")
    else {
        return;
    };
    let a = &world.a;
    fs::write(a.path("f"), content(1, 100_000)).unwrap();
    a.sync();
    let then = moment();
    fs::remove_file(a.path("f")).unwrap();
    a.sync();
    a.run(&["trash", "list"]).expect(0, &["f"]);
    a.run(&["trash", "empty"]).expect(2, &["--yes"]);
    a.run(&["trash", "restore", "f"]).expect(0, &["f"]);
    has(a, "f", &content(1, 100_000));
    fs::remove_file(a.path("f")).unwrap();
    a.sync();
    a.run(&["trash", "empty", "--yes"]).expect(0, &["Removed 1 file or folder for good"]);
    a.run(&["trash", "list"]).expect(0, &["empty"]);
    assert!(!a.path(format!(".meshdrive/at/{then}/f")).exists());
}

/// Harms every pack of the store: bytes all over, and one is gone.
fn harm(data: &str) {
    let find = tool(std::path::Path::new("/"), &format!("find '{data}/packs' -type f"));
    let packs: Vec<&str> = find.out.lines().collect();
    assert!(packs.len() > 1, "{packs:?}");
    fs::remove_file(packs[0]).unwrap();
    for pack in &packs[1..] {
        let mut bytes = fs::read(pack).unwrap();
        bytes.iter_mut().step_by(4_096).for_each(|byte| *byte ^= 1);
        fs::write(pack, bytes).unwrap();
    }
}

#[test]
fn claim_damage_is_healed_by_a_device_that_has_the_bytes() {
    let Some((world, b)) =
        World::pair("semantics::claim_damage_is_healed_by_a_device_that_has_the_bytes")
    else {
        return;
    };
    let a = &world.a;
    let (large, small) = (content(1, 9 << 20), content(2, 300_000));
    fs::write(a.path("large"), &large).unwrap();
    fs::write(a.path("small"), &small).unwrap();
    fs::write(a.path("nowhere"), content(3, 333_000)).unwrap();
    level(a, &b);
    for name in ["large", "small"] {
        b.at(&["pin"], name).expect(0, &[]);
    }
    wait_until("b has what it has pinned", || b.figure("pin_missing_bytes") == 0);
    // A small change of a large file: its version is made of parts of two others.
    let edit = fs::File::options().write(true).open(b.path("large")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&edit, b"changed", 4 << 20).unwrap();
    drop(edit);
    let mut large = large;
    large[4 << 20..][..7].copy_from_slice(b"changed");
    level(a, &b);
    a.run(&["evict", "work"]).expect(0, &[]);

    let data = world.server.data();
    let data = data.to_str().unwrap();
    harm(data);
    let scrub = |code| a.run(&["store", "scrub", "--data", data]).expect(code, &[]).all();
    scrub(1);
    let c = world.join("c");
    c.mount();
    c.knows_the_tree();
    for name in ["large", "small", "nowhere"] {
        let read = fs::read(c.path(name)).map(|bytes| bytes.len());
        assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EIO), "{name}");
    }
    // Whoever has nothing of it heals nothing.
    a.sync();
    c.sync();
    b.sync();
    wait_until("another device reads what b had", || {
        fs::read(c.path("small")).is_ok_and(|bytes| bytes == small)
            && fs::read(c.path("large")).is_ok_and(|bytes| bytes == large)
    });
    // What nobody has stays lost, and is said to be.
    assert_eq!(fs::read(c.path("nowhere")).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert!(scrub(1).contains("damaged"));
    let report = a.run(&["store", "scrub", "--data", data, "--json"]).json();
    let files = report["drives"][0]["files"].as_array().unwrap();
    let current: Vec<_> = files.iter().filter(|file| file["current"] == true).collect();
    assert_eq!(current.len(), 1, "{report}");
    let id = current[0]["node"].as_str().unwrap();
    a.run(&["log", "--id", id]).expect(0, &["created, 333 kB"]);
}

#[test]
fn claim_damage_in_the_store_is_found() {
    let Some(mut world) = World::mounted("semantics::claim_damage_in_the_store_is_found") else {
        return;
    };
    fs::write(world.a.path("f"), content(1, 300_000)).unwrap();
    fs::write(world.a.path("g"), content(2, 300_000)).unwrap();
    world.a.sync();
    let data = world.server.data();
    let data = data.to_str().unwrap();
    let a = &world.a;
    a.run(&["store", "scrub", "--data", data]).expect(0, &["Read"]);
    a.run(&["store", "gc", "--dry-run", "--data", data]).expect(0, &["Nothing was changed"]);
    a.run(&["store", "gc", "--data", data]).expect(0, &["Done"]);
    let find = tool(world.dir(), &format!("find '{data}/packs' -type f | head -1"));
    let pack = find.out.trim().to_string();
    let mut bytes = fs::read(&pack).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let found = a.run(&["store", "scrub", "--data", data, "--json"]);
    assert_eq!(found.code, 1, "{}", found.all());
    let report: serde_json::Value = serde_json::from_str(found.out.trim()).unwrap();
    let id = report["drives"][0]["files"][0]["node"].as_str().unwrap_or_else(|| panic!("{report}"));
    a.run(&["log", "--id", id]).expect(0, &["created"]);
    // A store that does not run is looked after just the same.
    world.server.stop();
    world.a.run(&["store", "scrub", "--data", data]).expect(1, &["damaged"]);
    world.a.run(&["store", "gc", "--data", data]).expect(0, &["Done"]);
}
