//! Wrong codes, damaged and foreign answers, full and read-only disks, bad places: each has a clear
//! error, and nothing is lost.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{
    Answer, Device, Line, Passing, Proxy, Relay, Server, World, content, have, is_mounted, program,
    skip, tool, tree, wait_until,
};
use protocol::{codec, wire};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

/// An error that says what to do, and nothing else was done.
#[track_caller]
fn refused(answer: &Answer, words: &[&str]) {
    assert!(answer.code != 0 && answer.err.starts_with("error: "), "{}", answer.all());
    for word in words {
        assert!(answer.err.contains(word), "`{word}` is missing in: {}", answer.err);
    }
    assert!(!answer.err.contains("panicked"), "{}", answer.err);
}

#[test]
fn wrong_codes() {
    let world = World::unmounted();
    let (b, url) = (Device::new(world.dir(), "b"), world.server.url());
    let join = |code: &str| b.run(&["drive", "join", "work", "--server", &url, "--code", code]);
    let mut key = world.recovery_key.clone();
    let other = if key.pop() == Some('0') { '1' } else { '0' };
    key.push(other);
    refused(&join(&key), &["code"]);
    refused(&join("not a code at all"), &["code"]);
    // Well formed, of another drive: what a person types who has two.
    let elsewhere = World::unmounted();
    refused(&join(&elsewhere.recovery_key), &["cannot join", "ask for a new one"]);
    let create =
        |code: &str| b.run(&["drive", "create", "work", "--server", &url, "--setup-code", code]);
    refused(&create("AAAAA-AAAAA-AAAAA-AAAAA-AAAAA"), &["cannot create"]);
    assert_eq!(b.run(&["drive", "list", "--json"]).out.trim(), "[]");

    let code = world.a.run(&["drive", "invite", "work", "--json"]).json()["code"].clone();
    let code = code.as_str().unwrap();
    let late = Device::new(world.dir(), "late");
    join(code).expect(0, &["Joined work"]);
    let again = late.run(&["drive", "join", "work", "--server", &url, "--code", code]);
    refused(&again, &["cannot join", "codes work once"]);
    // The recovery key is for ever.
    let joined =
        late.run(&["drive", "join", "work", "--server", &url, "--code", &world.recovery_key]);
    joined.expect(0, &["Joined work"]);
}

fn packs(server: &Server) -> Vec<PathBuf> {
    let found = tool(&server.data(), "find packs -type f").out;
    found.lines().map(|line| server.data().join(line)).collect()
}

#[test]
fn a_corrupt_pack() {
    let Some(world) = World::mounted("bad_input::a_corrupt_pack") else { return };
    for name in ["before", "bad", "after"] {
        let known = packs(&world.server);
        fs::write(world.a.path(name), content(name.len() as u64, 700_000)).unwrap();
        world.a.sync();
        let mut newest = packs(&world.server);
        newest.retain(|pack| !known.contains(pack));
        assert!(!newest.is_empty(), "{name} is in no pack of its own");
        if name == "bad" {
            for pack in &newest {
                flip(pack);
            }
        }
    }
    let b = world.join("b");
    b.mount();
    let good = |name: &str| {
        fs::read(b.path(name)).is_ok_and(|bytes| bytes == content(name.len() as u64, 700_000))
    };
    assert!(good("before") && good("after"));
    let error = fs::read(b.path("bad")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    // Wherever it is read: an error or the right bytes.
    let file = File::open(b.path("bad")).unwrap();
    let right = content(3, 700_000);
    for at in (0..700_000).step_by(50_000) {
        let mut part = [0; 100];
        if file.read_at(&mut part, at).is_ok() {
            assert!(part == right[at as usize..][..100], "wrong bytes at {at}");
        }
    }
    assert!(good("before") && good("after"), "the others go on");
    assert!(b.log().contains("not what was stored"), "the log says nothing:\n{}", b.log());
}

/// Changes bytes all over it, but not its length.
fn flip(pack: &Path) {
    let file = File::options().read(true).write(true).open(pack).unwrap();
    let length = file.metadata().unwrap().len();
    for at in (100..length - 100).step_by(5_000) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
    }
}

#[test]
fn a_server_of_another_version() {
    let Some(world) = World::mounted("bad_input::a_server_of_another_version") else { return };
    fs::write(world.a.path("f"), b"hello").unwrap();
    world.a.sync();
    // The real store refuses devices of another version; these claim one.
    let relay = Relay::start(world.server.address(), Some("9.0"), |_| {});
    let b = Device::new(world.dir(), "b");
    let code = world.recovery_key.as_str();
    let joined = b.run(&["drive", "join", "work", "--server", &relay.url(), "--code", code]);
    refused(&joined, &["speaks protocol 1.0, the request 9.0", "update Meshdrive"]);

    // A device that has joined before, and whose store is then another one.
    let c = world.join("c");
    let file = c.home().join("config/drives/work.credentials");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&world.server.url(), &relay.url())).unwrap();
    c.mount();
    wait_until("it says what is wrong", || {
        let status = c.status();
        status["sentence"].as_str().unwrap().contains("update Meshdrive")
            || status["trouble"].as_str().unwrap().contains("update Meshdrive")
    });
}

#[test]
fn not_a_store_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::new(dir.path(), "a");
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<html>hi</html>",
        "garbage\r\n\r\n",
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut room = [0; 4096];
                let _ = std::io::Read::read(&mut stream, &mut room);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let created = device.run(&[
            "drive",
            "create",
            "work",
            "--server",
            &url,
            "--setup-code",
            "AAAAA-AAAAA-AAAAA-AAAAA-AAAAA",
        ]);
        refused(&created, &[&url]);
    }
}

/// What the store is made to answer to one kind of request.
type Harm = fn(&mut Passing);

const HARMS: &[(&str, &str, Harm)] = &[
    ("half of the tree", "/snapshot", |answer| {
        answer.body.truncate(answer.body.len() / 2);
    }),
    ("half of a folder", "/children", |answer| {
        answer.body.truncate(answer.body.len() / 2);
    }),
    ("a connection that breaks", "/snapshot", |answer| {
        answer.break_after = Some(answer.body.len() / 2);
    }),
    ("too many nodes", "/snapshot", too_many_nodes),
    ("too many nodes in a folder", "/children", too_many_nodes),
    ("far too many bytes", "/snapshot", |answer| answer.body = vec![0; 40 << 20]),
    ("half of the content", "/content", |answer| {
        answer.body.truncate(answer.body.len() / 2);
    }),
    ("half of the bytes", "/chunks/read", |answer| {
        answer.body.truncate(answer.body.len() / 2);
    }),
    ("other bytes", "/chunks/read", |answer| {
        for byte in answer.body.iter_mut().skip(50).step_by(1_000) {
            *byte ^= 1;
        }
    }),
    ("far too many bytes of content", "/chunks/read", |answer| answer.body = vec![7; 60 << 20]),
    ("nothing", "/chunks/read", |answer| answer.body.clear()),
];

fn too_many_nodes(answer: &mut Passing) {
    let mut page: wire::Page = codec::decode(&answer.body).unwrap();
    let node = page.nodes[0].clone();
    page.nodes = vec![node; protocol::limits::PAGE_NODES + 1];
    answer.body = codec::encode(&page);
}

/// While the store answers wrongly there are errors and nothing wrong is shown; when it answers
/// rightly again everything is there, without a restart.
#[test]
fn truncated_and_oversized_answers() {
    let Some(world) = World::mounted("bad_input::truncated_and_oversized_answers") else { return };
    fs::create_dir(world.a.path("d")).unwrap();
    for n in 0..20 {
        fs::write(world.a.path(format!("d/f{n}")), content(n, 40_000)).unwrap();
    }
    fs::write(world.a.path("large"), content(99, 3_000_000)).unwrap();
    world.a.sync();
    let expected = tree(&world.a.root());
    for (number, (what, path, harm)) in HARMS.iter().enumerate() {
        let (harmed, healed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, is_healed) = (harmed.clone(), healed.clone());
        let relay = Relay::start(world.server.address(), None, move |answer| {
            let is_meant = answer.request.ends_with(path) && answer.status.contains("200");
            if is_meant && !is_healed.load(Relaxed) {
                count.fetch_add(1, Relaxed);
                harm(answer);
            }
        });
        let b = world.join_at(&format!("b{number}"), &relay.url());
        b.mount_with(&["--read-deadline", "2s", "--offline-deadline", "1s"]);
        // Whatever can be seen now is right, or an error.
        if let Ok(found) = meshdrive_tests::tree_of(&b.root()) {
            for (path, entry) in &found {
                assert_eq!(expected.get(path), Some(entry), "{what}: {}", path.display());
            }
        }
        if let Ok(bytes) = fs::read(b.path("large")) {
            assert!(bytes == content(99, 3_000_000), "{what}: wrong bytes");
        }
        let harmed = harmed.load(Relaxed);
        healed.store(true, Relaxed);
        wait_until(&format!("{what} ({harmed} answers): all is well again"), || {
            meshdrive_tests::tree_of(&b.root()).is_ok_and(|found| found == expected)
        });
        assert!(!b.log().contains("panicked"), "{what}: {}", b.log());
        assert!(harmed > 0 || path.ends_with("children"), "{what}: no such request was made");
    }
}

/// The line breaks in the middle of an upload and of a download, again and again.
#[test]
fn a_line_that_breaks() {
    let Some(world) = World::new("bad_input::a_line_that_breaks") else { return };
    let proxy = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &proxy.url());
    world.a.mount();
    b.mount_with(&["--read-deadline", "60s", "--offline-deadline", "60s"]);
    fs::write(world.a.path("down"), content(1, 6 << 20)).unwrap();
    world.a.sync();
    wait_until("the name is there", || b.path("down").exists());
    proxy.cut_after(1_000_000);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| fs::read(b.path("down")));
        for _ in 0..3 {
            wait_until("the line breaks or the file is read", || {
                proxy.is_cut() || read.is_finished()
            });
            proxy.mend();
            proxy.cut_after(1_000_000);
        }
        proxy.mend();
        assert!(read.join().unwrap().unwrap() == content(1, 6 << 20));
    });
    fs::write(b.path("up"), content(2, 6 << 20)).unwrap();
    for _ in 0..5 {
        proxy.cut();
        proxy.mend();
    }
    wait_until("the line is up", || b.status()["online"] == true);
    b.sync();
    wait_until("a has it", || {
        fs::read(world.a.path("up")).is_ok_and(|bytes| bytes == content(2, 6 << 20))
    });
}

/// A file system that goes when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(at: &Path, options: &str) -> Disk {
        fs::create_dir_all(at).unwrap();
        tool(
            Path::new("/"),
            &format!("mount -t tmpfs -o mode=700,{options} tmpfs {}", at.display()),
        );
        Disk(at.into())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "only root can mount a small disk");
    }
    root && have(test, &["mount", "bash"])
}

#[test]
fn a_full_disk() {
    let test = "bad_input::a_full_disk";
    if !is_root(test) {
        return;
    }
    let Some(mut world) = World::new(test) else { return };
    let _disk = Disk::new(&world.a.home().join("state"), "size=250m");
    let flags = ["--cache-floor", "1MiB", "--cache-size", "1GiB"];
    world.a.mount_with(&flags);
    fs::write(world.a.path("first"), content(1_000, 100_000)).unwrap();
    world.a.sync();
    world.a.knows_the_tree();
    world.server.stop();
    wait_until("the store is away", || world.a.status()["online"] == false);
    let mut written = vec![("first".to_string(), 1_000, 100_000)];
    let refused = (0..100).find_map(|n| {
        let name = format!("f{n}");
        let made = fs::write(world.a.path(&name), content(n, 4_000_000));
        match made {
            Ok(()) => written.push((name, n, 4_000_000)),
            Err(error) => return Some(error),
        }
        None
    });
    let refused = refused.expect("250 MiB hold 400 MB?");
    let codes = [Some(libc::ENOSPC), Some(libc::EDQUOT)];
    assert!(codes.contains(&refused.raw_os_error()), "{refused}");
    assert!(written.len() > 40, "full after {} files of 4 MB", written.len());
    let intact = |device: &Device, when: &str| {
        for (name, seed, size) in &written {
            let bytes = fs::read(device.path(name))
                .unwrap_or_else(|error| panic!("{when}: {name}: {error}"));
            assert!(bytes == content(*seed, *size), "{when}: {name} has other bytes");
        }
    };
    intact(&world.a, "when it is full");
    world.a.run(&["status", "work"]).expect(4, &["not yet in the cloud"]);
    world.a.kill();
    world.a.mount_with(&flags);
    intact(&world.a, "after a crash on the full disk");
    // Removing works, and makes room.
    fs::remove_file(world.a.path(&written.pop().unwrap().0)).unwrap();
    world.server.start_again();
    wait_until("the store is back", || world.a.status()["online"] == true);
    world.a.sync();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    for (name, seed, size) in &written {
        assert!(fs::read(b.path(name)).unwrap() == content(*seed, *size), "{name} on device b");
    }
    b.unmount();
    wait_until("there is room again", || {
        fs::write(world.a.path("again"), content(5, 500_000)).is_ok()
    });
    // And it can all be read here, although it does not all fit beside what is written.
    for (name, seed, size) in &written {
        assert!(
            fs::read(world.a.path(name)).unwrap() == content(*seed, *size),
            "{name} in the end"
        );
    }
}

#[test]
fn a_read_only_state_directory() {
    let test = "bad_input::a_read_only_state_directory";
    if !is_root(test) {
        return;
    }
    let Some(world) = World::mounted(test) else { return };
    fs::write(world.a.path("f"), b"kept").unwrap();
    world.a.unmount();
    let state = world.a.home().join("state");
    let at = state.display();
    tool(Path::new("/"), &format!("mount --bind {at} {at} && mount -o remount,ro,bind {at}"));
    let disk = Disk(state);
    let answer = world.a.run(&["mount", "work", "m"]);
    refused(&answer, &["state"]);
    assert!(!is_mounted(&world.a.root()));
    drop(disk);
    world.a.mount();
    assert_eq!(fs::read(world.a.path("f")).unwrap(), b"kept");
}

#[test]
fn bad_mountpoints() {
    let Some(world) = World::new("bad_input::bad_mountpoints") else { return };
    let a = &world.a;
    refused(&a.run(&["mount", "work", "missing"]), &["missing"]);
    fs::write(a.home().join("file"), b"").unwrap();
    refused(&a.run(&["mount", "work", "file"]), &["file"]);
    fs::create_dir(a.home().join("full")).unwrap();
    fs::write(a.home().join("full/own"), b"mine").unwrap();
    refused(&a.run(&["mount", "work", "full"]), &["full", "empty"]);
    assert_eq!(fs::read(a.home().join("full/own")).unwrap(), b"mine");
    a.mount();
    fs::create_dir(a.path("d")).unwrap();
    refused(&a.run(&["mount", "work", "m/d"]), &["mounted already"]);
}

#[test]
fn no_device() {
    let test = "bad_input::no_device";
    if !is_root(test) || !have(test, &["unshare"]) {
        return;
    }
    let world = World::unmounted();
    let dev = world.path("dev");
    fs::create_dir(&dev).unwrap();
    let hide = format!(
        "mount -t tmpfs tmpfs {0} && mknod {0}/null c 1 3 && mount --bind {0} /dev",
        dev.display()
    );
    let script = format!("{hide}; exec {} mount work m", program().display());
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-euc", &script])
        .env("MESHDRIVE_HOME", world.a.home())
        .current_dir(world.a.home())
        .output()
        .unwrap();
    refused(&Answer::of(&output), &["/dev/fuse"]);
}
