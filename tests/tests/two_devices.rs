//! What is closed on one device is on the other without any command there, also in the view of the
//! other's kernel.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{Device, World, content, have, tool, wait_until};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::Path,
};

#[track_caller]
fn has(device: &Device, path: &str, bytes: &[u8]) {
    let what = format!("{} has {path} with {} bytes", device.name(), bytes.len());
    wait_until(&what, || fs::read(device.path(path)).is_ok_and(|found| found == bytes));
}

#[test]
fn a_closed_file_is_read_elsewhere() {
    let Some((world, b)) = World::pair("two_devices::a_closed_file_is_read_elsewhere") else {
        return;
    };
    fs::write(world.a.path("small"), b"hello").unwrap();
    has(&b, "small", b"hello");
    let large = content(1, 5 << 20);
    fs::write(world.a.path("large"), &large).unwrap();
    has(&b, "large", &large);
    // And back.
    fs::write(b.path("small"), b"hello to you").unwrap();
    has(&world.a, "small", b"hello to you");
}

/// The other kernel holds the pages, attributes and names of what changes.
#[test]
fn nothing_stays_stale() {
    let Some((world, b)) = World::pair("two_devices::nothing_stays_stale") else { return };
    let a = &world.a;
    let first = content(1, 300_000);
    fs::create_dir(a.path("d")).unwrap();
    for name in ["same_size", "grows", "shrinks", "goes", "moves", "mode"] {
        fs::write(a.path("d").join(name), &first).unwrap();
    }
    for name in ["same_size", "grows", "shrinks", "goes", "moves", "mode"] {
        has(&b, &format!("d/{name}"), &first);
    }
    // Pages, attributes, listing and the absence of names are now known to the kernel of b.
    assert_eq!(fs::read_dir(b.path("d")).unwrap().count(), 6);
    assert!(!b.path("d/comes").exists() && !b.path("d/moved").exists() && !b.path("new").exists());

    let second = content(2, 300_000);
    fs::write(a.path("d/same_size"), &second).unwrap();
    has(&b, "d/same_size", &second);
    let longer = content(3, 500_000);
    fs::write(a.path("d/grows"), &longer).unwrap();
    has(&b, "d/grows", &longer);
    assert_eq!(fs::metadata(b.path("d/grows")).unwrap().len(), 500_000);
    fs::write(a.path("d/shrinks"), b"short").unwrap();
    has(&b, "d/shrinks", b"short");
    fs::remove_file(a.path("d/goes")).unwrap();
    wait_until("the removed file is gone", || !b.path("d/goes").exists());
    fs::rename(a.path("d/moves"), a.path("d/moved")).unwrap();
    wait_until("the renamed file has its name", || b.path("d/moved").exists());
    assert!(!b.path("d/moves").exists(), "a rename is one step");
    has(&b, "d/moved", &first);
    fs::write(a.path("d/comes"), b"came").unwrap();
    has(&b, "d/comes", b"came");
    fs::set_permissions(a.path("d/mode"), fs::Permissions::from_mode(0o400)).unwrap();
    wait_until("the mode has come", || {
        fs::metadata(b.path("d/mode")).unwrap().mode() & 0o7777 == 0o400
    });
    let mut names: Vec<_> =
        fs::read_dir(b.path("d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["comes", "grows", "mode", "moved", "same_size", "shrinks"]);
    fs::rename(a.path("d"), a.path("new")).unwrap();
    wait_until("the renamed folder has its name", || b.path("new/comes").exists());
    assert!(!b.path("d").exists());
}

/// The kernel keeps listings; what another device adds, renames or removes is in the next one, also in
/// that of a directory that was open all the time.
#[test]
fn a_kept_listing_is_never_stale() {
    let Some((world, b)) = World::pair("two_devices::a_kept_listing_is_never_stale") else {
        return;
    };
    for is_held in [false, true] {
        let name = if is_held { "open" } else { "closed" };
        let (there, here) = (world.a.path(name), b.path(name));
        fs::create_dir(&there).unwrap();
        fs::write(there.join("0"), "x").unwrap();
        wait_until("the folder has come", || here.join("0").exists());
        let mut open = is_held.then(|| Dir::open(&here));
        let mut names = vec!["0".to_owned()];
        for round in 1..8 {
            is_listed(&here, open.as_mut(), &names);
            change(&there, &mut names, round);
        }
        is_listed(&here, open.as_mut(), &names);
    }
}

/// Adds, renames or removes a file.
fn change(folder: &Path, names: &mut Vec<String>, round: u32) {
    match round % 3 {
        0 => fs::remove_file(folder.join(names.remove(0))).unwrap(),
        1 => {
            fs::write(folder.join(round.to_string()), "x").unwrap();
            names.push(round.to_string());
        }
        _ => {
            let old = names.pop().unwrap();
            let new = format!("{old}-moved");
            fs::rename(folder.join(old), folder.join(&new)).unwrap();
            names.push(new);
        }
    }
    names.sort();
}

/// Listed again and again, so that the kernel has it.
#[track_caller]
fn is_listed(folder: &Path, open: Option<&mut Dir>, names: &[String]) {
    wait_until(&format!("{names:?} are listed"), || listed(folder) == names);
    assert_eq!(listed(folder), names);
    if let Some(open) = open {
        wait_until(&format!("{names:?} are listed in the open one"), || open.names() == names);
    }
}

fn listed(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// A directory that stays open and is read again and again.
struct Dir(rustix::fs::Dir);

impl Dir {
    fn open(path: &Path) -> Dir {
        Dir(rustix::fs::Dir::new(File::open(path).unwrap()).unwrap())
    }

    fn names(&mut self) -> Vec<String> {
        self.0.rewind();
        let names = self.0.by_ref().map(|entry| entry.unwrap());
        let names = names.map(|entry| entry.file_name().to_str().unwrap().to_owned());
        let mut names: Vec<_> = names.filter(|name| name != "." && name != "..").collect();
        names.sort();
        names
    }
}

/// A handle that was open before a change reads the version that it opened, whole.
#[test]
fn an_open_handle_keeps_its_version() {
    let Some((world, b)) = World::pair("two_devices::an_open_handle_keeps_its_version") else {
        return;
    };
    let (old, new) = (content(1, 3 << 20), content(2, 2 << 20));
    for removed in [false, true] {
        let name = if removed { "removed" } else { "changed" };
        fs::write(world.a.path(name), &old).unwrap();
        has(&b, name, &old);
        let mut held = File::open(b.path(name)).unwrap();
        let mut start = vec![0; 4096];
        held.read_exact(&mut start).unwrap();
        if removed {
            fs::remove_file(world.a.path(name)).unwrap();
            wait_until("it is gone", || !b.path(name).exists());
        } else {
            fs::write(world.a.path(name), &new).unwrap();
            has(&b, name, &new);
        }
        let mut whole = Vec::new();
        held.seek(SeekFrom::Start(0)).unwrap();
        held.read_to_end(&mut whole).unwrap();
        assert!(whole == old, "{name}: {} bytes", whole.len());
        assert_eq!(held.metadata().unwrap().nlink(), 1 - u64::from(removed), "{name}");
    }
}

/// The same with a version that was not wholly here: its bytes come from the store, or the read
/// fails; they are never those of the new version.
#[test]
fn an_open_handle_never_mixes() {
    let Some(world) = World::mounted("two_devices::an_open_handle_never_mixes") else { return };
    let (old, new) = (content(1, 6 << 20), content(2, 6 << 20));
    fs::write(world.a.path("f"), &old).unwrap();
    world.a.sync();
    let b = world.join("b");
    b.mount();
    let held = File::open(b.path("f")).unwrap();
    let mut part = vec![0; 4096];
    held.read_exact_at(&mut part, 0).unwrap();
    assert!(part == old[..4096]);
    fs::write(world.a.path("f"), &new).unwrap();
    has(&b, "f", &new);
    let last = old.len() - 4096;
    for at in (0..old.len()).step_by(512 << 10).chain([last]) {
        match held.read_exact_at(&mut part, at as u64) {
            Ok(()) => assert!(part == old[at..at + 4096], "other bytes at {at}"),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ESTALE), "at {at}"),
        }
    }
}

/// Many changes in a row end in the same tree.
#[test]
fn a_busy_tree_converges() {
    if !have("two_devices::a_busy_tree_converges", &["bash", "rsync"]) {
        return;
    }
    let Some((world, b)) = World::pair("two_devices::a_busy_tree_converges") else { return };
    let script = |who: &str| {
        format!(
            "mkdir -p {who} shared; for i in $(seq 60); do
                mkdir -p {who}/d$((i % 7)); seq $i > {who}/d$((i % 7))/f$i; echo $i >> {who}/log
                if ((i % 5 == 0)); then mv {who}/d$((i % 7)) {who}/moved$i; fi
                if ((i % 9 == 0)); then rm -rf {who}/moved$((i - 4)); fi
                echo {who} $i > shared/{who}$i; ln -s {who}$i shared/l{who}$i
            done"
        )
    };
    std::thread::scope(|scope| {
        scope.spawn(|| tool(&world.a.root(), &script("one")));
        scope.spawn(|| tool(&b.root(), &script("two")));
    });
    world.a.sync();
    b.sync();
    let heads = || (world.a.figure("applied_rev"), b.figure("applied_rev"));
    wait_until("both have applied everything", || heads().0 == heads().1);
    wait_until("both trees are equal", || {
        meshdrive_tests::tree_of(&world.a.root()).ok() == meshdrive_tests::tree_of(&b.root()).ok()
    });
    assert_eq!((world.a.figure("conflicts"), b.figure("conflicts")), (0, 0));
    let shared = fs::read_dir(b.path("shared")).unwrap().count();
    assert_eq!(shared, 240);
}
