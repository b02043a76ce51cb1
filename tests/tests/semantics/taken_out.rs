//! `unmount --force`: what is not in the cloud leaves the drive as plain files.

use crate::{disk::Disk, has, is_away, level, names};
use meshdrive_tests::{
    Device, Line, Proxy, World, content, have, is_root, skip, tool, tree, wait_until,
};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long requests are counted for.
const WATCHED: Duration = Duration::from_secs(8);
/// Requests meanwhile of a device that the store refuses: two looks, each asked for twice at most, and what
/// a program wants that is not here.
const REQUESTS_MAX: u64 = 24;

/// What was taken out of the drive so far: names of folders and texts.
fn taken(device: &Device) -> Vec<PathBuf> {
    let home = device.home().join("Recovered/work");
    let Ok(entries) = fs::read_dir(home) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// The folder and the text of the only time that something was taken out.
#[track_caller]
fn only(device: &Device) -> (PathBuf, String) {
    let found = taken(device);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1].extension(), Some(OsStr::new("txt")));
    (found[0].clone(), fs::read_to_string(&found[1]).unwrap())
}

#[track_caller]
fn force(device: &Device, words: &[&str]) {
    device.run(&["unmount", "work", "--force"]).expect(0, words);
}

/// Work without the store of every kind there is. Gives the names of new and written things.
fn work_away(a: &Device) -> Vec<&'static OsStr> {
    fs::create_dir_all(a.path("new/deep")).unwrap();
    fs::set_permissions(a.path("new"), Permissions::from_mode(0o750)).unwrap();
    fs::write(a.path("new/deep/file"), content(1, 300_000)).unwrap();
    fs::set_permissions(a.path("new/deep/file"), Permissions::from_mode(0o640)).unwrap();
    setxattr(a.path("new/deep/file"), "user.mark", b"one", XattrFlags::empty()).unwrap();
    fs::hard_link(a.path("new/deep/file"), a.path("new/second name")).unwrap();
    fs::hard_link(a.path("kept/f"), a.path("new/of the cloud")).unwrap();
    symlink("../kept/f", a.path("new/link")).unwrap();
    tool(&a.path("new"), "mkfifo fifo");
    let odd = OsStr::from_bytes(b"odd\n\xff\x1b[31m");
    fs::write(a.path(Path::new("new").join(odd)), b"odd").unwrap();
    File::create(a.path("new/hole")).unwrap().set_len(5 << 30).unwrap();
    fs::write(a.path("new/empty"), b"").unwrap();
    fs::write(a.path("changed"), content(2, 400_000)).unwrap();
    let grown = File::options().append(true).open(a.path("folder/grown")).unwrap();
    grown.write_all_at(b"more", 200_000).unwrap();
    fs::rename(a.path("folder"), a.path("renamed")).unwrap();
    fs::set_permissions(a.path("mode"), Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(a.path("removed")).unwrap();
    vec![OsStr::new("changed"), OsStr::new("new"), OsStr::new("renamed")]
}

#[test]
fn claim_what_is_unsent_can_be_taken_out() {
    let Some((mut world, b)) = World::pair("semantics::claim_what_is_unsent_can_be_taken_out")
    else {
        return;
    };
    for folder in ["kept", "folder"] {
        fs::create_dir(world.a.path(folder)).unwrap();
    }
    for (n, name) in ["kept/f", "folder/grown", "changed", "mode", "removed"].iter().enumerate() {
        fs::write(world.a.path(name), content(10 + n as u64, 200_000)).unwrap();
    }
    world.a.at(&["pin"], "kept/f").expect(0, &[]);
    level(&world.a, &b);
    let store = tree(&b.root());
    let ino = fs::metadata(world.a.path("kept/f")).unwrap().ino();
    world.server.stop();
    is_away(&world.a);

    let made = work_away(&world.a);
    let modified = fs::metadata(world.a.path("changed")).unwrap().modified().unwrap();
    let a = &world.a;
    force(a, &["Unmounted work", "files", "moved to", "The next mount of work starts"]);
    let (folder, text) = only(a);
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    assert_eq!(names(folder.clone()), made);
    assert_eq!(names(folder.join("renamed")), ["grown"]);
    assert_eq!(read("renamed/grown"), [content(11, 200_000), b"more".to_vec()].concat());
    assert_eq!(read("changed"), content(2, 400_000));
    assert_eq!(fs::metadata(folder.join("changed")).unwrap().modified().unwrap(), modified);
    assert_eq!(read("new/deep/file"), content(1, 300_000));
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("new"), mode("new/deep/file")), (0o750, 0o640));
    assert_eq!(fs::metadata(folder.join("new/second name")).unwrap().nlink(), 2);
    let mut mark = [0; 8];
    assert_eq!(getxattr(folder.join("new/deep/file"), "user.mark", &mut mark[..]), Ok(3));
    assert_eq!(fs::read_link(folder.join("new/link")).unwrap(), Path::new("../kept/f"));
    assert!(fs::symlink_metadata(folder.join("new/fifo")).unwrap().file_type().is_fifo());
    let odd = Path::new("new").join(OsStr::from_bytes(b"odd\n\xff\x1b[31m"));
    assert_eq!(fs::read(folder.join(odd)).unwrap(), b"odd");
    let hole = fs::metadata(folder.join("new/hole")).unwrap();
    assert!(hole.len() == 5 << 30 && hole.blocks() < 100, "{hole:?}");
    assert_eq!(read("new/empty"), b"");
    for line in
        ["removed\n", "folder -> renamed\n", "mode: mode 600, was 644", "new/of the cloud = kept/f"]
    {
        assert!(text.contains(&format!("  {line}")), "{line:?} is missing in:\n{text}");
    }
    assert!(!text.contains('\x1b') && !text.contains("grown"), "{text}");

    // The drive is as the store has it, with what was pinned, also before the store is back.
    a.mount_with(&["--offline-deadline", "1s"]);
    assert_eq!(fs::read(a.path("kept/f")).unwrap(), content(10, 200_000));
    assert_eq!(fs::metadata(a.path("kept/f")).unwrap().ino(), ino);
    a.run(&["pins", "work"]).expect(0, &["kept/f"]);
    assert_eq!((a.figure("pending_nodes"), a.figure("dirty_bytes")), (0, 0));
    world.server.start_again();
    level(&world.a, &b);
    wait_until("a has the tree of the store", || tree(&world.a.root()) == store);
    assert_eq!(tree(&b.root()), store, "nothing of it reached the store");
    // Work goes on.
    fs::write(world.a.path("changed"), b"again").unwrap();
    has(&b, "changed", b"again");
}

/// A file of 6 MiB that is not here, changed in two places and made longer.
fn change_parts(b: &Device) {
    let file = File::options().write(true).open(b.path("large")).unwrap();
    file.write_all_at(&content(7, 5_000), 1 << 20).unwrap();
    file.write_all_at(b"end", (6 << 20) + 1_000).unwrap();
}

#[test]
fn claim_parts_are_never_filled_with_zeros() {
    let Some(mut world) = World::mounted("semantics::claim_parts_are_never_filled_with_zeros")
    else {
        return;
    };
    fs::write(world.a.path("large"), content(1, 6 << 20)).unwrap();
    fs::write(world.a.path("other"), content(2, 1 << 20)).unwrap();
    world.a.sync();
    let b = world.join("b");
    b.mount_with(&["--settle", "600s", "--offline-deadline", "1s"]);
    b.knows_the_tree();
    change_parts(&b);
    tool(&b.root(), "cp other copy");
    // With the store, what is not here comes from it.
    b.run(&["unmount", "work", "--force"]).expect(0, &["2 files", "moved to"]);
    let (folder, text) = only(&b);
    let mut whole = content(1, 6 << 20);
    whole[1 << 20..][..5_000].copy_from_slice(&content(7, 5_000));
    whole.extend(vec![0; 1_000]);
    whole.extend(b"end");
    assert!(fs::read(folder.join("large")).unwrap() == whole);
    assert!(fs::read(folder.join("copy")).unwrap() == content(2, 1 << 20));
    assert!(!text.contains(".parts"), "{text}");
    fs::remove_dir_all(b.home().join("Recovered")).unwrap();

    // Without it there is no file at all, but each part.
    b.mount_with(&["--settle", "600s", "--offline-deadline", "1s"]);
    b.knows_the_tree();
    wait_until("b has the file", || b.path("large").metadata().is_ok_and(|m| m.len() == 6 << 20));
    world.server.stop();
    is_away(&b);
    change_parts(&b);
    b.run(&["unmount", "work", "--force"]).expect(0, &["1 file", ".parts"]);
    let (folder, text) = only(&b);
    assert_eq!(names(folder.clone()), ["large.parts"]);
    let parts = names(folder.join("large.parts"));
    let read = |n: usize| fs::read(folder.join("large.parts").join(&parts[n])).unwrap();
    assert_eq!(
        parts,
        ["00000000000001048576-00000000000001053576", "00000000000006291456-00000000000006292459"]
    );
    assert_eq!(read(0), content(7, 5_000));
    assert_eq!(read(1), [vec![0; 1_000], b"end".to_vec()].concat());
    let missing = (6 << 20) - 5_000;
    assert!(text.contains(&format!("large: {missing} bytes are missing")), "{text}");
    world.server.start_again();
    b.mount();
    has(&b, "large", &content(1, 6 << 20));
}

/// Files that were taken out whole, under the names that count.
fn is_whole(folder: &Path, files: u64) -> bool {
    (0..files).all(|n| {
        fs::read(folder.join(format!("d/f{n}"))).is_ok_and(|bytes| bytes == content(n, 200_000))
    })
}

/// Folders with a name that counts.
fn named(device: &Device) -> Vec<PathBuf> {
    let is_named = |path: &PathBuf| path.is_dir() && !path.ends_with(".unfinished");
    taken(device).into_iter().filter(is_named).collect()
}

/// Takes everything out, for so long at most. Says whether that was done.
fn force_for(device: &Device, patience: Duration) -> (Child, bool) {
    let mut command = device.command();
    let command = command.args(["unmount", "work", "--force"]).stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if let Some(status) = run.try_wait().unwrap() {
            return (run, status.success());
        }
        thread::sleep(Duration::from_millis(1));
    }
    (run, false)
}

#[test]
fn claim_what_was_taken_out_survives_power_loss() {
    const FILES: u64 = 40;
    let test = "semantics::claim_what_was_taken_out_survives_power_loss";
    let Some(mut world) = World::new(test) else { return };
    let Some(disk) = Disk::new(test, world.dir()) else { return };
    let device = Device::new(&disk.root, "x");
    device.join(&world.a, &world.server.url());
    let flags = ["--settle", "600s", "--cache-floor", "1MiB", "--offline-deadline", "1s"];
    device.mount_with(&flags);
    device.knows_the_tree();
    world.server.kill();
    fs::create_dir(device.path("d")).unwrap();
    for n in 0..FILES {
        fs::write(device.path(format!("d/f{n}")), content(n, 200_000)).unwrap();
    }
    device.unmount_with(&["--keep-pending"]);
    tool(&disk.root, "sync -f .");
    let mut round = 0;
    loop {
        round += 1;
        let (mut run, is_done) = force_for(&device, Duration::from_millis(round * 60));
        disk.cut_off();
        let _ = run.kill();
        run.wait().unwrap();
        disk.come_back();
        let finished = named(&device);
        for folder in &finished {
            assert!(is_whole(folder, FILES), "{} is not whole", folder.display());
        }
        device.mount_with(&flags);
        if finished.is_empty() {
            assert!(is_whole(&device.root(), FILES), "neither in the drive nor out of it");
        }
        if is_done {
            assert!(!finished.is_empty());
            assert_eq!(device.figure("pending_nodes"), 0);
            break;
        }
        device.unmount_with(&["--keep-pending"]);
        tool(&disk.root, "sync -f .");
        assert!(round < 100);
    }
    println!("the power went {round} times");
    assert!(round > 1, "no run was interrupted");
    device.unmount();
    drop(device);
    drop(disk);
}

#[test]
fn claim_taking_out_can_be_interrupted() {
    const FILES: u64 = 60;
    let test = "semantics::claim_taking_out_can_be_interrupted";
    let Some(mut world) = World::mounted(test) else { return };
    world.a.knows_the_tree();
    world.server.stop();
    is_away(&world.a);
    fs::create_dir(world.a.path("d")).unwrap();
    for n in 0..FILES {
        fs::write(world.a.path(format!("d/f{n}")), content(n, 200_000)).unwrap();
    }
    let a = &world.a;
    // A drive that is not mounted.
    a.unmount_with(&["--keep-pending"]);

    // A full disk: said, and nothing is let go.
    if is_root() && have(test, &["mount"]) {
        let small = a.home().join("Recovered");
        fs::create_dir(&small).unwrap();
        tool(a.home(), "mount -t tmpfs -o mode=700,size=3m tmpfs Recovered");
        let answer = a.run(&["unmount", "work", "--force"]);
        let left = names(small.join("work"));
        tool(a.home(), "umount Recovered");
        answer.expect(1, &["nothing was taken out", "No space left", "free some space"]);
        assert!(left.is_empty(), "{left:?}");
    } else {
        skip(test, "only root can mount a small disk");
    }

    // Killed again and again, a little later each time, until one run gets through.
    let mut round = 0;
    loop {
        round += 1;
        let (mut run, is_done) = force_for(a, Duration::from_millis(round * 15));
        let _ = run.kill();
        run.wait().unwrap();
        let finished = named(a);
        for folder in &finished {
            assert!(is_whole(folder, FILES), "{} is not whole", folder.display());
        }
        if is_done {
            assert!(!finished.is_empty());
            break;
        }
        assert!(round < 1_000);
    }
    println!("killed {} times", round - 1);
    assert!(round > 1, "no run was interrupted");
    assert!(!a.home().join("Recovered").join("work").join(".unfinished").exists());
    a.run(&["unmount", "work", "--force"])
        .expect(0, &["nothing of work on this device is missing"]);
    world.server.start_again();
    world.a.mount();
    world.a.knows_the_tree();
    assert_eq!(names(world.a.root()), [] as [&str; 0]);
    world.a.run(&["status", "work"]).expect(0, &["Everything is in the cloud."]);
}

#[test]
fn claim_a_refused_device_keeps_what_it_has() {
    let Some(world) = World::mounted("semantics::claim_a_refused_device_keeps_what_it_has") else {
        return;
    };
    let a = &world.a;
    fs::write(a.path("clean"), content(1, 300_000)).unwrap();
    fs::write(a.path("absent"), content(2, 300_000)).unwrap();
    a.sync();
    let line = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &line.url());
    b.mount_with(&["--offline-deadline", "1s"]);
    b.knows_the_tree();
    has(&b, "clean", &content(1, 300_000));
    a.run(&["devices", "work", "--revoke", "b"]).expect(0, &["b has no access"]);
    fs::create_dir(b.path("d")).unwrap();
    fs::write(b.path("d/mine"), content(3, 200_000)).unwrap();
    wait_until("b hears that it was sent away", || b.status()["refused"] == true);
    let said =
        ["Refused by the store", "was removed from the drive", "1 file and 1 folder", "--force"];
    b.run(&["status", "work"]).expect(4, &said);

    // It does not storm the store, whatever programs want.
    let (before, start) = (line.traffic().requests, Instant::now());
    while start.elapsed() < WATCHED {
        assert!(fs::read(b.path("absent")).is_err());
        assert_eq!(fs::read(b.path("d/mine")).unwrap(), content(3, 200_000));
    }
    let requests = line.traffic().requests - before;
    println!("{requests} requests in {WATCHED:?}");
    assert!(requests <= REQUESTS_MAX, "{requests} requests in {WATCHED:?}");

    let copied = b.run(&["export", "work", "copy"]);
    copied.expect(1, &["cannot copy absent", "1 entry could not be copied"]);
    assert_eq!(fs::read(b.home().join("copy/clean")).unwrap(), content(1, 300_000));
    assert_eq!(fs::read(b.home().join("copy/d/mine")).unwrap(), content(3, 200_000));

    // Nothing that is here goes: it may be the last there is.
    b.run(&["evict", "work"]).expect(0, &[]);
    assert_eq!(fs::read(b.path("clean")).unwrap(), content(1, 300_000));
    b.run(&["unmount", "work"]).expect(4, &["work stays mounted", "--force"]);
    assert_eq!(fs::read(b.path("d/mine")).unwrap(), content(3, 200_000));
    force(&b, &["1 file", "moved to"]);
    let (folder, _) = only(&b);
    assert_eq!(names(folder.clone()), ["d"]);
    assert_eq!(fs::read(folder.join("d/mine")).unwrap(), content(3, 200_000));
    b.mount_with(&["--offline-deadline", "1s"]);
    assert_eq!(fs::read(b.path("clean")).unwrap(), content(1, 300_000));
    wait_until("b is still refused", || b.status()["refused"] == true);
    b.run(&["status", "work"]).expect(4, &["nothing here is unsent"]);
    assert!(!a.path("d").exists());
    drop(b);
    another_store(world);
}

/// Another store at the same address knows nobody. When the right one is back, all goes on.
fn another_store(mut world: World) {
    fs::write(world.a.path("late"), content(4, 300_000)).unwrap();
    world.a.sync();
    world.server.stop();
    is_away(&world.a);
    fs::write(world.a.path("unsent"), content(5, 200_000)).unwrap();
    let data = world.server.data();
    let aside = data.with_file_name("aside");
    fs::rename(&data, &aside).unwrap();
    world.server.start_again();
    wait_until("a is a stranger there", || world.a.status()["refused"] == true);
    world.a.run(&["status", "work"]).expect(4, &["Refused by the store", "1 file", "--force"]);
    world.a.run(&["evict", "work"]).expect(0, &[]);
    assert_eq!(fs::read(world.a.path("late")).unwrap(), content(4, 300_000));
    world.server.stop();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&aside, &data).unwrap();
    world.server.start_again();
    wait_until("a is known again", || world.a.status()["refused"] == false);
    world.a.sync();
    world.a.run(&["status", "work"]).expect(0, &["Everything is in the cloud."]);
}
