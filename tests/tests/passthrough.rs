//! Files that the kernel reads and writes by itself: which opens get it, and that nothing is lost,
//! mixed up or forgotten though nobody is told of a write.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{Device, World, content, skip, wait_until};
use rustix::{
    fs::{Timespec, Timestamps, futimens},
    mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap},
    process::{Pid, Signal, kill_process},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

/// Larger than the size from which on files are read by passthrough (128 KiB).
const LARGE: usize = 1 << 20;
/// How long a call may take that needs no daemon.
const BY_ITSELF: Duration = Duration::from_secs(5);

/// A world whose mounts can do it; `None` (and a word about it) where they cannot.
fn world(test: &str) -> Option<World> {
    let world = World::new(test)?;
    world.a.mount();
    // It may turn out only at the first try; and a new file is tried after a large one only.
    fs::write(world.a.path("first"), content(1, LARGE)).unwrap();
    fs::write(world.a.path("second"), content(1, LARGE)).unwrap();
    let status = world.a.status();
    if status["passthrough"] == true {
        return Some(world);
    }
    skip(test, status["passthrough_off"].as_str().unwrap_or("no passthrough"));
    None
}

/// A file that is in the cloud and wholly here.
fn clean(device: &Device, name: &str, seed: u64) -> Vec<u8> {
    let bytes = content(seed, LARGE);
    fs::write(device.path(name), &bytes).unwrap();
    device.sync();
    bytes
}

fn read_only(path: &Path) -> File {
    File::open(path).unwrap()
}

fn write_only(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

fn read_write(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn new_file(path: &Path) -> File {
    OpenOptions::new().write(true).create_new(true).open(path).unwrap()
}

/// Whether `work` gets through while the daemon is stopped.
fn goes_past(device: &Device, work: impl FnOnce() + Send + 'static) -> bool {
    let daemon = Pid::from_raw(device.pid()).unwrap();
    kill_process(daemon, Signal::STOP).unwrap();
    wait_until("every thread stands still", || is_stopped(daemon));
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        let _ = sender.send(());
    });
    let done = receiver.recv_timeout(BY_ITSELF / 10).is_ok();
    kill_process(daemon, Signal::CONT).unwrap();
    worker.join().unwrap();
    done
}

/// A signal to stop is sent at once, and reaches a thread when that is next run.
fn is_stopped(process: Pid) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).unwrap();
    tasks.flatten().all(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

fn reads_past(device: &Device, file: &File, at: u64) -> bool {
    let file = file.try_clone().unwrap();
    goes_past(device, move || {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
    })
}

/// For showing that it does not: the kernel asks for `security.capability` before each write, whatever
/// the way that the bytes take.
fn writes_past(device: &Device, file: &File, at: u64, byte: u8) -> bool {
    // The first write asks for the attribute that says what a program may do.
    file.write_all_at(&[byte], at).unwrap();
    let file = file.try_clone().unwrap();
    goes_past(device, move || file.write_all_at(&[byte], at).unwrap())
}

/// One file is open one way only: what the first open chose, the second has to take.
#[test]
fn the_second_open_goes_the_way_of_the_first() {
    let Some(world) = world("passthrough::the_second_open_goes_the_way_of_the_first") else {
        return;
    };
    let a = &world.a;
    let path = a.path("f");
    let mut bytes = clean(a, "f", 1);
    // Read only first: past the daemon, and so are all that join.
    let first = read_only(&path);
    assert!(reads_past(a, &first, 700_000));
    let second = read_only(&path);
    assert!(reads_past(a, &second, 600_000));
    let writer = write_only(&path);
    writer.write_all_at(b"w", 10).unwrap();
    let both = read_write(&path);
    both.write_all_at(b"b", 11).unwrap();
    bytes[10] = b'w';
    bytes[11] = b'b';
    assert!(fs::read(&path).unwrap() == bytes, "all see each other's bytes");
    drop((first, second, writer, both));
    a.sync();
    // The kernel tells of closes in its own time.
    wait_until("closed", || a.figure("open_handles") == 0);
    // Reading and writing first: through the daemon, and so are all that join.
    let first = read_write(&path);
    let second = read_only(&path);
    assert!(!reads_past(a, &second, 800_000));
    let writer = write_only(&path);
    assert!(!writes_past(a, &writer, 12, b'c'));
    bytes[12] = b'c';
    assert!(fs::read(&path).unwrap() == bytes);
    drop((first, second, writer));
    // And back.
    wait_until("the last close is known", || reads_past(a, &read_only(&path), 900_000));
    assert!(fs::read(&path).unwrap() == bytes);
    // A new file that is only written: past the daemon.
    let new = new_file(&a.path("n"));
    new.write_all_at(b"n", 0).unwrap();
    let reader = read_only(&a.path("n"));
    assert!(reads_past(a, &reader, 0));
    let both = read_write(&a.path("n"));
    both.write_all_at(b"ew", 1).unwrap();
    assert_eq!(fs::read(a.path("n")).unwrap(), b"new");
    // Small files are not worth it.
    fs::write(a.path("small"), "small").unwrap();
    wait_until("closed", || a.figure("open_handles") == 3);
    assert_eq!(fs::read(a.path("small")).unwrap(), b"small");
    // A write into a clean file that nobody reads: offsets are known, and little is sent.
    let clean_path = a.path("clean");
    clean(a, "clean", 2);
    wait_until("closed", || a.figure("open_handles") == 3);
    assert!(!writes_past(a, &write_only(&clean_path), 5, b'x'));
}

#[test]
fn what_was_written_past_the_daemon_reaches_other_devices() {
    let Some(world) = world("passthrough::what_was_written_past_the_daemon_reaches_other_devices")
    else {
        return;
    };
    let a = &world.a;
    let b = world.join("b");
    b.mount();
    let bytes = content(7, 3 << 20);
    fs::write(a.path("f"), &bytes).unwrap();
    a.sync();
    wait_until("the file", || fs::read(b.path("f")).is_ok_and(|there| there == bytes));
    let meta = (fs::metadata(a.path("f")).unwrap(), fs::metadata(b.path("f")).unwrap());
    assert_eq!(meta.0.mtime_nsec(), meta.1.mtime_nsec());
    // Times that are set by hand before the close stay, though bytes were written before.
    let mut file = new_file(&a.path("t"));
    file.write_all(&bytes).unwrap();
    let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 123_456_789 };
    futimens(&file, &Timestamps { last_access: time, last_modification: time }).unwrap();
    drop(file);
    assert_eq!(fs::metadata(a.path("t")).unwrap().mtime(), 1_000_000_000);
    a.sync();
    assert_eq!(fs::metadata(a.path("t")).unwrap().mtime_nsec(), 123_456_789);
    wait_until("with its time", || {
        fs::metadata(b.path("t")).is_ok_and(|meta| meta.mtime() == 1_000_000_000)
    });
    assert!(fs::read(b.path("t")).unwrap() == bytes);
}

#[test]
fn size_and_times_are_those_of_the_last_write() {
    let Some(world) = world("passthrough::size_and_times_are_those_of_the_last_write") else {
        return;
    };
    let path = world.a.path("f");
    let mut file = new_file(&path);
    let mut before = fs::metadata(&path).unwrap();
    for round in 1..20_u64 {
        file.write_all(&content(round, 10_000)).unwrap();
        let now = fs::metadata(&path).unwrap();
        assert_eq!(now.len(), round * 10_000);
        assert_eq!(now.len(), file.metadata().unwrap().len());
        let time = |meta: &fs::Metadata| (meta.mtime(), meta.mtime_nsec());
        assert!(time(&now) >= time(&before));
        before = now;
        let listed = fs::read_dir(world.a.root()).unwrap().map(|entry| entry.unwrap());
        let entry = listed.into_iter().find(|entry| entry.file_name() == "f").unwrap();
        assert_eq!(entry.metadata().unwrap().len(), round * 10_000);
    }
    file.seek(SeekFrom::End(0)).unwrap();
    assert_eq!(file.stream_position().unwrap(), 190_000);
}

/// A write that returned survives, though the daemon never heard of it.
#[test]
fn a_killed_daemon_loses_no_byte() {
    let Some(world) = world("passthrough::a_killed_daemon_loses_no_byte") else { return };
    let a = &world.a;
    let bytes = content(3, 2 << 20);
    let mut file = new_file(&a.path("f"));
    file.write_all(&bytes[..LARGE]).unwrap();
    a.kill();
    // Nobody serves the mount any more; the kernel still knows the file.
    file.write_all(&bytes[LARGE..]).unwrap();
    a.mount();
    assert!(fs::read(a.path("f")).unwrap() == bytes, "all of it is there");
    // The program lives on and writes on.
    file.write_all(b"more").unwrap();
    drop(file);
    let whole = [bytes.as_slice(), b"more"].concat();
    wait_until("what came after that, too", || fs::read(a.path("f")).unwrap() == whole);
    a.sync();
    let b = world.join("b");
    b.mount();
    wait_until("elsewhere", || fs::read(b.path("f")).is_ok_and(|there| there == whole));
}

#[test]
fn what_is_open_is_not_dropped() {
    let Some(world) = world("passthrough::what_is_open_is_not_dropped") else { return };
    let a = &world.a;
    let bytes = clean(a, "f", 4);
    let mut file = read_only(&a.path("f"));
    assert!(reads_past(a, &file, 0));
    a.at(&["evict"], "").expect(0, &["Freed"]);
    let mut there = Vec::new();
    file.read_to_end(&mut there).unwrap();
    assert!(there == bytes, "no hole is read");
    drop(file);
    wait_until("then it can go", || {
        a.at(&["evict"], "").expect(0, &[]);
        a.at(&["status", "--json"], "f").json()["state"] == "cloud"
    });
    assert!(fs::read(a.path("f")).unwrap() == bytes);
}

#[test]
fn a_file_that_is_partly_here_is_read_through_the_daemon() {
    let Some(world) = world("passthrough::a_file_that_is_partly_here_is_read_through_the_daemon")
    else {
        return;
    };
    let bytes = content(5, 40 << 20);
    fs::write(world.a.path("f"), &bytes).unwrap();
    world.a.sync();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    let mut some = vec![0; 4096];
    read_only(&b.path("f")).read_exact_at(&mut some, 0).unwrap();
    assert_eq!(b.at(&["status", "--json"], "f").json()["state"], "partial");
    let again = read_only(&b.path("f"));
    let end = bytes.len() - 4096;
    again.read_exact_at(&mut some, end as u64).unwrap();
    assert!(some == bytes[end..], "no hole is read");
    assert!(fs::read(b.path("f")).unwrap() == bytes);
}

#[test]
fn a_file_can_be_cut_moved_and_removed_while_it_is_open() {
    let Some(world) = world("passthrough::a_file_can_be_cut_moved_and_removed_while_it_is_open")
    else {
        return;
    };
    let a = &world.a;
    let bytes = content(6, LARGE);
    let mut file = new_file(&a.path("f"));
    file.write_all(&bytes).unwrap();
    // Cut by its path.
    write_only(&a.path("f")).set_len(1_000).unwrap();
    assert_eq!(fs::metadata(a.path("f")).unwrap().len(), 1_000);
    assert!(fs::read(a.path("f")).unwrap() == bytes[..1_000]);
    file.write_all_at(b"end", 2_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 2_003);
    let there = fs::read(a.path("f")).unwrap();
    assert!(there[..1_000] == bytes[..1_000] && there[1_000..2_000] == [0; 1_000]);
    // Moved.
    fs::rename(a.path("f"), a.path("g")).unwrap();
    file.write_all_at(b"END", 2_000).unwrap();
    file.sync_all().unwrap();
    assert_eq!(&fs::read(a.path("g")).unwrap()[2_000..], b"END");
    // Removed: it lives until it is closed.
    fs::remove_file(a.path("g")).unwrap();
    file.write_all_at(b"gone", 2_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 2_004);
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    drop(file);
    a.sync();
    assert!(!a.path("g").exists());
    // The length set from within, up and down.
    let file = new_file(&a.path("h"));
    file.set_len(300_000).unwrap();
    file.write_all_at(b"x", 299_999).unwrap();
    file.set_len(299_999).unwrap();
    drop(file);
    assert!(fs::read(a.path("h")).unwrap() == vec![0; 299_999]);
}

/// A mapping outlives its descriptors, and what is written to it then is told to nobody.
#[test]
fn a_write_to_a_mapping_after_the_last_close_is_not_lost() {
    let Some(world) = world("passthrough::a_write_to_a_mapping_after_the_last_close_is_not_lost")
    else {
        return;
    };
    let a = &world.a;
    let mut bytes = clean(a, "f", 8);
    // A reader that goes past the daemon makes the writer go past it too.
    let reader = read_only(&a.path("f"));
    let writer = read_write(&a.path("f"));
    let map = unsafe {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        mmap(std::ptr::null_mut(), LARGE, prot, MapFlags::SHARED, &writer, 0).unwrap()
    };
    drop((reader, writer));
    wait_until("closed", || a.figure("open_handles") == 0);
    a.at(&["evict"], "").expect(0, &[]);
    unsafe { map.cast::<u8>().add(500_000).write(b'm') };
    bytes[500_000] = b'm';
    assert!(fs::read(a.path("f")).unwrap() == bytes, "it can be read");
    unsafe { map.cast::<u8>().add(500_001).write(b'M') };
    bytes[500_001] = b'M';
    unsafe {
        msync(map, LARGE, MsyncFlags::SYNC).unwrap();
        munmap(map, LARGE).unwrap();
    }
    let b = world.join("b");
    b.mount();
    wait_until("it is sent", || fs::read(b.path("f")).is_ok_and(|there| there == bytes));
    a.sync();
    wait_until("and can be dropped then", || {
        a.at(&["evict"], "").expect(0, &[]);
        a.at(&["status", "--json"], "f").json()["state"] == "cloud"
    });
    assert!(fs::read(a.path("f")).unwrap() == bytes);
}

/// A log that stays open is sent whenever it rests.
#[test]
fn a_file_that_stays_open_is_sent_when_it_rests() {
    let Some(world) = world("passthrough::a_file_that_stays_open_is_sent_when_it_rests") else {
        return;
    };
    let a = &world.a;
    let b = world.join("b");
    b.mount();
    let mut log = new_file(&a.path("log"));
    log.write_all(b"one\n").unwrap();
    wait_until("the first line", || fs::read(b.path("log")).is_ok_and(|there| there == b"one\n"));
    log.write_all(b"two\n").unwrap();
    a.sync();
    wait_until("the second line", || fs::read(b.path("log")).is_ok_and(|there| there.len() == 8));
    log.write_all(b"three\n").unwrap();
    wait_until("the last line", || {
        fs::read(b.path("log")).is_ok_and(|there| there == b"one\ntwo\nthree\n")
    });
    drop(log);
    a.sync();
    assert_eq!(fs::read(a.path("log")).unwrap(), b"one\ntwo\nthree\n");
}

/// A reader keeps the version that it has opened.
#[test]
fn news_from_elsewhere_does_not_mix_into_what_is_open() {
    let Some(world) = world("passthrough::news_from_elsewhere_does_not_mix_into_what_is_open")
    else {
        return;
    };
    let a = &world.a;
    let old = clean(a, "f", 9);
    let b = world.join("b");
    b.mount();
    let mut reader = read_only(&a.path("f"));
    let new = content(10, LARGE / 2);
    wait_until("there", || fs::read(b.path("f")).is_ok_and(|there| there == old));
    fs::write(b.path("f"), &new).unwrap();
    b.sync();
    wait_until("the new one", || fs::read(a.path("f")).is_ok_and(|there| there == new));
    let mut there = Vec::new();
    reader.read_to_end(&mut there).unwrap();
    assert!(there == old, "the old one, whole");
}

#[test]
fn it_can_be_switched_off() {
    let Some(world) = World::new("passthrough::it_can_be_switched_off") else { return };
    world.a.mount_with(&["--no-passthrough"]);
    let bytes = content(1, LARGE);
    fs::write(world.a.path("f"), &bytes).unwrap();
    let status = world.a.status();
    assert_eq!(status["passthrough"], false);
    assert_eq!(status["passthrough_off"], "switched off");
    assert!(fs::read(world.a.path("f")).unwrap() == bytes);
    assert!(!writes_past(&world.a, &new_file(&world.a.path("n")), 0, b'n'));
}

#[test]
fn a_successor_goes_on() {
    let Some(world) = world("passthrough::a_successor_goes_on") else { return };
    let a = &world.a;
    let bytes = clean(a, "read", 11);
    let reader = read_only(&a.path("read"));
    let mut writer = write_new(&a.path("written"));
    writer.write_all(&bytes).unwrap();
    a.crash();
    // The kernel goes on by itself; a new handle needs the number that the old daemon had.
    let mut part = vec![0; LARGE];
    reader.read_exact_at(&mut part, 0).unwrap();
    assert!(part == bytes);
    assert!(fs::read(a.path("read")).unwrap() == bytes, "opened again while the old one is open");
    writer.write_all(b"more").unwrap();
    assert_eq!(fs::metadata(a.path("written")).unwrap().len(), LARGE as u64 + 4);
    assert_eq!(fs::read(a.path("written")).unwrap().len(), LARGE + 4);
    drop(writer);
    drop(reader);
    // Nothing is left of the old way: opened for reading and writing at once, it goes through requests.
    wait_until("closed", || a.figure("open_handles") == 0);
    let both = read_write(&a.path("read"));
    both.write_all_at(b"!", 0).unwrap();
    drop(both);
    let b = world.join("b");
    b.mount();
    let whole = [&bytes[..], b"more"].concat();
    wait_until("it is sent", || fs::read(b.path("written")).is_ok_and(|there| there == whole));
    wait_until("the edit is sent", || fs::read(b.path("read")).is_ok_and(|there| there[0] == b'!'));
    a.unmount();
}

fn write_new(path: &Path) -> File {
    OpenOptions::new().write(true).create_new(true).open(path).unwrap()
}
