//! Secrets.

use crate::{has, level};
use meshdrive_tests::{World, content, wait_until};
use rustix::fs::{XattrFlags, setxattr};
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

/// A line to the store that keeps everything that passes, in both directions.
struct Tap {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// Its threads end with the store and the devices.
    fn new(target: &str) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (target, all) = (target.to_string(), heard.clone());
        thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(&target)) else { continue };
                let ways = [(&near, &far), (&far, &near)];
                for (from, to) in ways.map(|(x, y)| (x.try_clone(), y.try_clone())) {
                    let (from, to, all) = (from.unwrap(), to.unwrap(), all.clone());
                    thread::spawn(move || carry(from, to, &all));
                }
            }
        });
        Tap { address, heard }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, heard: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        heard.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    // First bytes first: `windows` alone is slow on megabytes.
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == word[0]) {
        if rest[at..].starts_with(word) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}

#[test]
fn claim_the_store_sees_ciphertext() {
    let Some(world) = World::new("semantics::claim_the_store_sees_ciphertext") else { return };
    let tap = Tap::new(world.server.address());
    let device = world.join_at("b", &format!("http://{}", tap.address));
    device.mount();
    let word = |n: u32| format!("kanarienvogel{n}qxz");
    fs::create_dir(device.path(word(1))).unwrap();
    let file = device.path(word(1)).join(word(2));
    fs::write(&file, word(3)).unwrap();
    let large = [content(1, 300_000), word(4).into_bytes(), content(2, 300_000)].concat();
    fs::write(device.path("large"), large).unwrap();
    fs::write(device.path("text"), (0..9_000).map(|_| word(5)).collect::<String>()).unwrap();
    let mark = format!("user.{}", word(6));
    setxattr(&file, mark.as_str(), word(7).as_bytes(), XattrFlags::empty()).unwrap();
    symlink(word(8), device.path("link")).unwrap();
    fs::write(device.path("gone"), word(9)).unwrap();
    device.sync();
    fs::remove_file(device.path("gone")).unwrap();
    fs::rename(&file, device.path(word(10))).unwrap();
    device.sync();
    device.run(&["restore", "--trash", "gone"]).expect(0, &[]);
    // What comes back passes the line too.
    device.run(&["evict", "work"]);
    device.unmount();
    device.mount();
    has(&device, "gone", word(9).as_bytes());
    assert!(contains(&fs::read(device.path("large")).unwrap(), word(4).as_bytes()));

    let heard = tap.heard.lock().unwrap().clone();
    assert!(heard.len() > 600_000, "only {} bytes were heard", heard.len());
    assert!(contains(&heard, b"HTTP/"), "the line is not read as it is");
    let mut stored = 0;
    let mut look = |what: &str, bytes: &[u8]| {
        stored += bytes.len();
        for n in 1..=10 {
            assert!(!contains(bytes, word(n).as_bytes()), "{} is in {what}", word(n));
        }
    };
    look("what was sent", &heard);
    for path in files(&world.server.data()) {
        look(&path.display().to_string(), &fs::read(&path).unwrap());
    }
    look("the words of the store", world.server.words().as_bytes());
    assert!(stored > heard.len() + 600_000, "the store has too little");
}

#[test]
fn claim_changed_bytes_are_refused() {
    let Some(mut world) = World::mounted("semantics::claim_changed_bytes_are_refused") else {
        return;
    };
    let sizes = [100, 20_000, 2 << 20];
    for (n, size) in sizes.into_iter().enumerate() {
        fs::write(world.a.path(format!("f{n}")), content(n as u64, size)).unwrap();
    }
    world.a.sync();
    world.a.unmount();
    world.server.stop();
    let packs = files(&world.server.data().join("packs"));
    assert!(!packs.is_empty());
    for pack in packs {
        let mut bytes = fs::read(&pack).unwrap();
        // In every sealed piece, wherever it begins.
        for byte in bytes.iter_mut().step_by(61) {
            *byte ^= 1;
        }
        fs::write(&pack, bytes).unwrap();
    }
    world.server.start_again();
    let b = world.join("b");
    b.mount_with(&["--read-deadline", "5s"]);
    b.knows_the_tree();
    let mut refused = 0;
    for (n, size) in sizes.into_iter().enumerate() {
        match fs::read(b.path(format!("f{n}"))) {
            // Small contents need not lie in a pack.
            Ok(bytes) => assert!(bytes == content(n as u64, size), "f{n} has other bytes"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused >= 2, "only {refused} files were changed in the store");
}

#[test]
fn claim_keys_are_private() {
    let Some(world) = World::new("semantics::claim_keys_are_private") else { return };
    world.a.mount_with(&["--log", "trace"]);
    let b = world.join("b");
    b.mount_with(&["--log", "trace"]);
    fs::write(b.path("f"), content(1, 100_000)).unwrap();
    level(&world.a, &b);
    let mut secrets = vec![world.recovery_key.clone(), world.server.setup_code()];
    for device in [&world.a, &b] {
        let keys = files(&device.home().join("config/drives"));
        assert!(!keys.is_empty());
        for path in keys {
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600, "{}", path.display());
            let text = fs::read_to_string(&path).unwrap();
            for line in text.lines() {
                if let Some((name @ ("token" | "key"), value)) = line.split_once(" = ") {
                    assert!(value.len() >= 64, "{name} is short");
                    secrets.push(value.to_string());
                }
            }
        }
    }
    assert_eq!(secrets.len(), 6, "two keys, two tokens, and the two of the drive");
    let code = world.server.data().join("setup-code");
    assert_eq!(fs::metadata(code).unwrap().mode() & 0o7777, 0o600);
    let store = i32::try_from(world.server.pid().unwrap()).unwrap();
    let mut seen = Vec::new();
    for pid in [store, world.a.pid(), b.pid()] {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        seen.push((format!("the arguments of {pid}"), String::from_utf8(line).unwrap()));
    }
    wait_until("the log has been written", || b.log().len() > 1_000);
    seen.push(("the log of a".into(), world.a.log()));
    seen.push(("the log of b".into(), b.log()));
    // The store tells its setup code to whoever starts it, on its standard output alone.
    let said = fs::read_to_string(world.dir().join("s/serve.log")).unwrap();
    seen.push(("the log of the store".into(), said));
    for (what, text) in &seen {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "a secret is in {what}");
        }
    }
}
