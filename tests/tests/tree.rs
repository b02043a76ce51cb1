//! A real tree and an odd one go in on one device and come out equal on another with an empty cache.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{Device, Random, World, content, have, tool, wait_until};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

const FILES: usize = 20_000;
const BYTES: u64 = 500_000_000;
/// Real bytes of the large file; they repeat from there on.
const REAL: u64 = 256 << 20;
const LARGE: u64 = 2 << 30;

#[test]
fn a_real_tree_comes_back_equal() {
    let test = "tree::a_real_tree_comes_back_equal";
    if !have(test, &["rsync", "diff", "cp", "bash"]) {
        return;
    }
    let Some(folders) = real_tree() else {
        let what = "no tree of 20,000 files and 500 MB is on this machine (rustup component add rust-docs)";
        return meshdrive_tests::skip(test, what);
    };
    let Some(world) = World::mounted(test) else { return };
    write_large(&world);
    goes_in_and_comes_out(&world, &folders);
}

#[test]
fn an_odd_tree_comes_back_equal() {
    let test = "tree::an_odd_tree_comes_back_equal";
    if !have(test, &["rsync", "diff", "cp", "bash", "touch"]) {
        return;
    }
    let Some(world) = World::mounted(test) else { return };
    let source = world.path("source");
    fs::create_dir(&source).unwrap();
    for build in [every_byte, long_names, depth, links, modes_and_owners, empty, times] {
        build(&source);
    }
    goes_in_and_comes_out(&world, &[source]);
}

#[track_caller]
fn goes_in_and_comes_out(world: &World, folders: &[PathBuf]) {
    for folder in folders {
        tool(&world.a.root(), &format!("cp -a {} .", folder.display()));
    }
    world.a.sync();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    wait_until("everything is applied", || {
        b.figure("applied_rev") == world.a.figure("applied_rev")
    });
    assert_eq!(b.figure("cached_bytes"), 0, "nothing was fetched yet");
    for folder in folders {
        is_copy(folder, &b, "-ncaX");
        is_copy(folder, &world.a, "-naX");
        let copy = b.path(folder.file_name().unwrap());
        tool(
            world.dir(),
            &format!("diff -r --no-dereference {} {}", folder.display(), copy.display()),
        );
    }
    is_large(&b);
    assert_eq!(world.a.figure("conflicts") + b.figure("conflicts"), 0);
    b.unmount();
}

/// rsync would change nothing: whatever it itemizes is wrong, times of folders too.
#[track_caller]
fn is_copy(folder: &Path, device: &Device, flags: &str) {
    let copy = device.path(folder.file_name().unwrap());
    let (folder, copy) = (folder.display(), copy.display());
    let compare = format!("rsync {flags} --delete --itemize-changes {folder}/ {copy}/");
    let changes = tool(device.home(), &compare);
    let first: Vec<&str> = changes.out.lines().take(20).collect();
    assert!(first.is_empty(), "on device {}:\n{}", device.name(), first.join("\n"));
}

/// Folders that have enough files and bytes together: of Rust's documentation, else of the system.
fn real_tree() -> Option<Vec<PathBuf>> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().ok();
    let sysroot = sysroot.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    let docs = sysroot.map(|root| Path::new(&root).join("share/doc/rust/html"));
    docs.and_then(|docs| enough(&docs))
        .or_else(|| enough(Path::new("/usr/share")))
        .or_else(|| enough(Path::new("/usr")))
}

/// The largest folders directly in `root`, until they are enough.
fn enough(root: &Path) -> Option<Vec<PathBuf>> {
    let mut folders: Vec<(usize, u64, PathBuf)> = fs::read_dir(root)
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| {
            let (files, bytes) = measure(&entry.path());
            (files, bytes, entry.path())
        })
        .collect();
    folders.sort();
    let mut chosen = Vec::new();
    let (mut files, mut bytes) = (0, 0);
    while files < FILES || bytes < BYTES {
        let (more_files, more_bytes, path) = folders.pop()?;
        files += more_files;
        bytes += more_bytes;
        chosen.push(path);
    }
    Some(chosen)
}

fn measure(folder: &Path) -> (usize, u64) {
    let Ok(entries) = fs::read_dir(folder) else { return (0, 0) };
    let mut sum = (0, 0);
    for entry in entries.filter_map(Result::ok) {
        let Ok(meta) = entry.metadata() else { continue };
        let (files, bytes) = match meta.is_dir() {
            true => measure(&entry.path()),
            false => (1, meta.len()),
        };
        sum = (sum.0 + files, sum.1 + bytes);
    }
    sum
}

fn write_large(world: &World) {
    let mut file = File::create(world.a.path("large")).unwrap();
    for at in (0..LARGE).step_by(1 << 20) {
        file.write_all(&content(at % REAL, 1 << 20)).unwrap();
    }
}

/// The large file is right, if there is one.
#[track_caller]
fn is_large(device: &Device) {
    let Ok(mut file) = File::open(device.path("large")) else { return };
    assert_eq!(file.metadata().unwrap().len(), LARGE);
    let mut found = vec![0; 1 << 20];
    for at in (0..LARGE).step_by(1 << 20) {
        file.read_exact(&mut found).unwrap();
        assert!(found == content(at % REAL, 1 << 20), "other bytes in the MiB at {at}");
    }
}

/// Every byte that a name may have: alone, in the middle, and all in one name.
fn every_byte(root: &Path) {
    let folder = root.join("every byte");
    fs::create_dir(&folder).unwrap();
    let legal = (1..=255).filter(|byte| *byte != b'/');
    for byte in legal.clone() {
        if byte != b'.' {
            fs::write(folder.join(OsStr::from_bytes(&[byte])), [byte]).unwrap();
        }
        fs::create_dir(folder.join(OsStr::from_bytes(&[b'a', byte, b'z']))).unwrap();
    }
    let all: Vec<u8> = legal.collect();
    fs::write(folder.join(OsStr::from_bytes(&all)), b"all").unwrap();
    // One letter in two forms, and two cases, are different names.
    for name in ["\u{e9}", "e\u{301}", "Case", "case", " ", "...", "con", "nul.txt", "a:b", "-rf"] {
        fs::write(folder.join("ASCII").with_file_name(format!("{name}x")), name).unwrap();
    }
}

fn long_names(root: &Path) {
    let folder = root.join("long");
    fs::create_dir(&folder).unwrap();
    let mut random = Random::new(7);
    for seed in 0..20 {
        let mut name: Vec<u8> = (0..255).map(|_| b'a' + random.below(26) as u8).collect();
        name[0] = b'A' + seed;
        fs::write(folder.join(OsStr::from_bytes(&name)), &name).unwrap();
    }
    let dirs: PathBuf =
        (0..10).map(|level| char::from(b'a' + level).to_string().repeat(255)).collect();
    fs::create_dir_all(folder.join(&dirs)).unwrap();
    fs::write(folder.join(dirs).join("f"), b"2,560 bytes down").unwrap();
}

fn depth(root: &Path) {
    let mut path = root.join("deep");
    for level in 0..200 {
        path.push(format!("{level}"));
    }
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("bottom"), content(200, 10_000)).unwrap();
}

fn links(root: &Path) {
    let folder = root.join("links");
    fs::create_dir(&folder).unwrap();
    let long = "x/".repeat(2_000);
    let targets = ["../empty", "nowhere", "/", "self", "..", "a\n b", &long];
    for (at, target) in targets.iter().enumerate() {
        std::os::unix::fs::symlink(target, folder.join(format!("l{at}"))).unwrap();
    }
    std::os::unix::fs::symlink("self", folder.join("self")).unwrap();
}

fn modes_and_owners(root: &Path) {
    let folder = root.join("modes");
    fs::create_dir(&folder).unwrap();
    for mode in [0o000, 0o400, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o1777, 0o6711, 0o7777] {
        for (at, owner) in [None, Some(12_345)].into_iter().enumerate() {
            let (file, dir) =
                (folder.join(format!("f{mode:o}{at}")), folder.join(format!("d{mode:o}{at}")));
            fs::write(&file, format!("{mode:o}")).unwrap();
            fs::create_dir(&dir).unwrap();
            for path in [file, dir] {
                if rustix::process::geteuid().is_root() {
                    std::os::unix::fs::chown(&path, owner, owner.map(|id| id + 1)).unwrap();
                } else if mode & 0o400 == 0 {
                    continue; // not even its owner could compare it
                }
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

fn empty(root: &Path) {
    let folder = root.join("empty");
    fs::create_dir_all(folder.join("d/e/f")).unwrap();
    for at in 0..50 {
        fs::write(folder.join(format!("f{at}")), b"").unwrap();
        fs::create_dir(folder.join(format!("d{at}"))).unwrap();
    }
    // Sizes around every boundary that we know of.
    for size in
        [1, 2_047, 2_048, 2_049, 4_095, 4_096, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073]
    {
        fs::write(folder.join(format!("s{size}")), content(size as u64, size)).unwrap();
    }
    let sparse = File::create(folder.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    let marks = [0, 7 << 20, (50 << 20) - 4];
    for at in marks {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"mark", at).unwrap();
    }
}

/// To the nanosecond, before 1970, after 2038, of files, folders and links.
fn times(root: &Path) {
    let folder = root.join("times");
    fs::create_dir(&folder).unwrap();
    let seconds = [-2_000_000_000, -1, 0, 1, 1_700_000_000, 4_000_000_000];
    for (at, second) in seconds.iter().enumerate() {
        for nanos in [0, 1, 999_999_999] {
            let name = format!("t{at}_{nanos}");
            fs::write(folder.join(&name), b"").unwrap();
            fs::create_dir(folder.join(format!("d{name}"))).unwrap();
            std::os::unix::fs::symlink(&name, folder.join(format!("l{name}"))).unwrap();
            for prefix in ["", "d", "l"] {
                set_time(&folder.join(format!("{prefix}{name}")), *second, nanos);
            }
        }
    }
    set_time(&folder, -86_400, 123_456_789);
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
