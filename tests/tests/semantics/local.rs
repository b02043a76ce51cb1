//! As on a local disk.

use crate::{has, level, names};
use meshdrive_tests::{World, content, have, tool, wait_until};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt},
    },
};

#[test]
fn claim_names_are_bytes() {
    let Some((world, b)) = World::pair("semantics::claim_names_are_bytes") else { return };
    let long = [b'x'; 255];
    let kinds: [&[u8]; 11] = [
        b"case",
        b"Case",
        b"CASE",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        b"\xff\xfe latin \xe9",
        b" space ",
        b"new\nline",
        b"back\\slash:*?\"<>|",
        b"...",
        &long,
    ];
    fs::create_dir(world.a.path("d")).unwrap();
    for name in kinds {
        fs::write(world.a.path("d").join(OsStr::from_bytes(name)), name).unwrap();
    }
    level(&world.a, &b);
    for device in [&world.a, &b] {
        let mut seen = names(device.path("d"));
        seen.sort();
        let mut expected = kinds.map(|name| OsStr::from_bytes(name).to_os_string());
        expected.sort();
        assert_eq!(seen, expected, "on {}", device.name());
        for name in kinds {
            let path = device.path("d").join(OsStr::from_bytes(name));
            assert_eq!(fs::read(&path).unwrap(), name, "{}", path.display());
        }
    }
    let error = fs::write(world.a.path("y".repeat(256)), b"").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
}

#[test]
fn claim_unlinked_open_file_lives() {
    let Some((world, b)) = World::pair("semantics::claim_unlinked_open_file_lives") else { return };
    let a = &world.a;
    for name in ["removed", "replaced"] {
        fs::write(a.path(name), content(1, 200_000)).unwrap();
    }
    level(a, &b);
    let open = |name: &str| File::options().read(true).write(true).open(a.path(name)).unwrap();
    let mut held = [open("removed"), open("replaced")];
    fs::remove_file(a.path("removed")).unwrap();
    fs::write(a.path("new"), b"new").unwrap();
    fs::rename(a.path("new"), a.path("replaced")).unwrap();
    a.sync();
    wait_until("it is removed everywhere", || !b.path("removed").exists());
    for file in &mut held {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == content(1, 200_000));
        file.write_all(b" and more").unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        bytes.clear();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!((bytes.len(), &bytes[..5]), (200_009, &b"start"[..]));
        assert_eq!(file.metadata().unwrap().len(), 200_009);
    }
    drop(held);
    level(a, &b);
    for device in [a, &b] {
        assert_eq!(names(device.root()), ["replaced"]);
        has(device, "replaced", b"new");
    }
}

#[test]
fn claim_holes_read_as_zeros() {
    let Some((world, b)) = World::pair("semantics::claim_holes_read_as_zeros") else { return };
    let size = 12 << 20;
    let file = File::create(world.a.path("sparse")).unwrap();
    file.write_all_at(b"in the middle", 5_000_001).unwrap();
    file.set_len(size).unwrap();
    drop(file);
    // Cut and grown again: what was there before must not come back.
    let cut = File::create(world.a.path("cut")).unwrap();
    cut.write_all_at(&content(1, 100_000), 0).unwrap();
    cut.set_len(1_000).unwrap();
    cut.set_len(100_000).unwrap();
    drop(cut);
    let mut sparse = vec![0; size as usize];
    sparse[5_000_001..][..13].copy_from_slice(b"in the middle");
    let mut grown = content(1, 100_000);
    grown[1_000..].fill(0);
    for device in [&world.a, &b] {
        has(device, "sparse", &sparse);
        has(device, "cut", &grown);
    }
    // Holes take no room here.
    let room = world.a.content_use();
    assert!(room < 1 << 20, "{room} bytes for a few thousand");
    world.a.unmount();
    world.a.mount();
    has(&world.a, "sparse", &sparse);
}

#[test]
fn claim_mmap_is_coherent() {
    let test = "semantics::claim_mmap_is_coherent";
    if !have(test, &["bash", "python3"]) {
        return;
    }
    let Some((world, b)) = World::pair(test) else { return };
    let script = r#"python3 - <<'END'
import mmap, os
size = 64 * 4096
with open("f", "wb") as f:
    f.write(bytes(size))
fd = os.open("f", os.O_RDWR)
m = mmap.mmap(fd, size)
other = os.open("f", os.O_RDWR)
for n in range(64):
    at = n * 4096 + 100 + n
    os.pwrite(fd, b"write%02d" % n, at)
    assert m[at:at + 7] == b"write%02d" % n, "the map does not see a write"
    m[at + 50:at + 57] = b"map__%02d" % n
    assert os.pread(other, 7, at + 50) == b"map__%02d" % n, "a read does not see the map"
    with open("f", "rb") as again:
        again.seek(at)
        assert again.read(57)[50:] == b"map__%02d" % n, "a new handle does not see the map"
m.flush()
m.close()
os.close(fd)
os.close(other)
END"#;
    tool(&world.a.root(), script);
    let mut expected = vec![0; 64 * 4096];
    for n in 0..64 {
        let at = n * 4096 + 100 + n;
        expected[at..at + 7].copy_from_slice(format!("write{n:02}").as_bytes());
        expected[at + 50..at + 57].copy_from_slice(format!("map__{n:02}").as_bytes());
    }
    has(&world.a, "f", &expected);
    world.a.sync();
    has(&b, "f", &expected);
}

#[test]
fn claim_inode_numbers_stay() {
    let Some((world, b)) = World::pair("semantics::claim_inode_numbers_stay") else { return };
    let a = &world.a;
    fs::create_dir_all(a.path("d/e")).unwrap();
    fs::write(a.path("d/f"), b"bytes").unwrap();
    level(a, &b);
    let of = |path: &str, device: &meshdrive_tests::Device| {
        fs::metadata(device.path(path)).unwrap().ino()
    };
    let before = [of("d", a), of("d/e", a), of("d/f", a)];
    let there = of("d/f", &b);
    fs::rename(a.path("d/f"), a.path("d/e/moved")).unwrap();
    fs::rename(a.path("d"), a.path("new")).unwrap();
    let after = |device: &meshdrive_tests::Device| {
        [of("new", device), of("new/e", device), of("new/e/moved", device)]
    };
    assert_eq!(after(a), before);
    level(a, &b);
    assert_eq!(after(a), before, "after it was sent");
    assert_eq!(of("new/e/moved", &b), there, "a rename of another device");
    a.unmount();
    a.mount();
    assert_eq!(after(a), before, "after a new mount");
    a.kill();
    a.mount();
    assert_eq!(after(a), before, "after a crash");
}
