//! Reading what is not here: from memory before the disk, once for all who wait, over a break in the
//! middle, and from folder to folder.

use super::*;
use bytes::Bytes;
use fs_core::{CreateSpec, Kind};
use std::sync::atomic::Ordering;
use std::sync::mpsc;

/// A cloud with one file of noise, and a device that has nothing of it.
fn cold_file(len: usize) -> (World, Engine, Ino, Vec<u8>) {
    let noise: Vec<u8> = (0..len).map(|at| (at * at / 7 + at / 251) as u8).collect();
    let made = World::new();
    let maker = made.start();
    save(&maker.port(), "large", b"old");
    eventually("upload", || made.cloud.content("large").is_some());
    maker.shutdown().unwrap();
    made.cloud.overwrite("large", &noise);
    let world = World { cloud: Arc::clone(&made.cloud), ..World::new() };
    let engine = world.start();
    eventually("the file to show", || lookup(&engine.port(), "large").is_ok());
    let ino = lookup(&engine.port(), "large").unwrap();
    world.cloud.fetches.store(0, Ordering::SeqCst);
    (world, engine, ino, noise)
}

fn open(port: &Port, ino: Ino) -> HandleId {
    let flags = OpenFlags { read: true, ..OpenFlags::default() };
    match port.call(Request::Open { ino, flags }) {
        Ok(Response::Opened { handle, .. }) => handle,
        other => panic!("open: {other:?}"),
    }
}

fn read_at(port: &Port, (ino, handle): (Ino, HandleId), offset: usize, len: usize) -> Bytes {
    let answer = port.call(Request::Read { ino, handle, offset: offset as u64, len: len as u32 });
    match answer {
        Ok(Response::Data(bytes)) => bytes,
        other => panic!("read at {offset}: {other:?}"),
    }
}

fn make_dir(port: &Port, text: &str) -> Ino {
    let owner = Owner::default();
    let spec = CreateSpec { kind: Kind::Dir, mode: 0o755, rdev: 0, owner, target: Vec::new() };
    match port.call(Request::Make { parent: Ino::ROOT, name: name(text), spec }) {
        Ok(Response::Entry(attr)) => attr.ino,
        other => panic!("mkdir: {other:?}"),
    }
}

#[test]
fn readers_do_not_wait_for_the_disk() {
    let (world, engine, ino, noise) = cold_file(3 << 20);
    let port = engine.port();
    let held = world.local.hold_fills();
    let file = (ino, open(&port, ino));
    for (step, expected) in noise.chunks(1 << 20).enumerate() {
        assert!(read_at(&port, file, step << 20, 1 << 20) == expected, "MiB {step}");
    }
    assert_eq!(world.local.stored(ino), 0, "nothing is on the disk yet");
    drop(held);
    eventually("the disk to have it", || world.local.stored(ino) == noise.len());
    close(&port, file);
    // From the disk now, and without the cloud.
    eventually("the fills to be recorded", || {
        world.cloud.fetches.store(0, Ordering::SeqCst);
        let again = read(&port, ino, noise.len() as u32).unwrap() == noise;
        again && world.cloud.fetches.load(Ordering::SeqCst) == 0
    });
}

#[test]
fn one_fetch_serves_all_who_wait() {
    let (world, engine, ino, noise) = cold_file(1 << 20);
    let port = engine.port();
    let file = (ino, open(&port, ino));
    let held = world.local.hold_fills();
    let (sender, answers) = mpsc::channel();
    for _ in 0..8 {
        let sender = sender.clone();
        let request = Request::Read { ino, handle: file.1, offset: 4096, len: 100_000 };
        port.submit(request, move |answer| sender.send(answer).unwrap());
    }
    for _ in 0..8 {
        match answers.recv_timeout(PATIENCE) {
            Ok(Ok(Response::Data(bytes))) => assert!(bytes == noise[4096..104_096]),
            other => panic!("read: {other:?}"),
        }
    }
    // The read itself and what is read ahead behind it.
    assert!(world.cloud.fetches.load(Ordering::SeqCst) <= 3);
    drop(held);
}

#[test]
fn a_break_in_the_middle_costs_the_rest_only() {
    let (world, engine, ino, noise) = cold_file(2 << 20);
    let port = engine.port();
    world.cloud.breaks.store(2, Ordering::SeqCst);
    let file = (ino, open(&port, ino));
    for (step, expected) in noise.chunks(1 << 19).enumerate() {
        assert!(read_at(&port, file, step << 19, 1 << 19) == expected, "part {step}");
    }
    assert_eq!(world.cloud.breaks.load(Ordering::SeqCst), 0, "it broke twice");
}

#[test]
fn a_write_is_never_overwritten_by_what_was_fetched() {
    let (world, engine, ino, noise) = cold_file(1 << 20);
    let port = engine.port();
    let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
    let handle = match port.call(Request::Open { ino, flags }) {
        Ok(Response::Opened { handle, .. }) => handle,
        other => panic!("open: {other:?}"),
    };
    let file = (ino, handle);
    let held = world.local.hold_fills();
    assert!(read_at(&port, file, 0, 65_536) == noise[..65_536]);
    let (sender, written) = mpsc::channel();
    let data = Bytes::from_static(b"mine");
    port.submit(Request::Write { ino, handle, offset: 100, data, strip: false }, move |answer| {
        sender.send(answer).unwrap();
    });
    drop(held);
    assert_eq!(written.recv_timeout(PATIENCE), Ok(Ok(Response::Written(4))));
    let mut expected = noise[..65_536].to_vec();
    expected[100..104].copy_from_slice(b"mine");
    assert!(read_at(&port, file, 0, 65_536) == expected);
}

#[test]
fn a_walk_costs_a_round_trip_a_batch_and_not_one_a_folder() {
    const FOLDERS: usize = 8;
    const FILES: usize = 10;
    let made = World::new();
    let maker = made.start();
    for folder in 0..FOLDERS {
        let dir = make_dir(&maker.port(), &format!("d{folder}"));
        for file in 0..FILES {
            save_in(&maker.port(), dir, &format!("f{file}"), format!("{folder}/{file}").as_bytes());
        }
    }
    eventually("uploads", || made.cloud.sky().contents.len() == FOLDERS * FILES);
    maker.shutdown().unwrap();
    let world = World { cloud: Arc::clone(&made.cloud), ..World::new() };
    let engine = world.start();
    let port = engine.port();
    let last = format!("d{}", FOLDERS - 1);
    eventually("the tree to be known", || lookup(&port, &last).is_ok());
    world.cloud.fetches.store(0, Ordering::SeqCst);
    for folder in 0..FOLDERS {
        let dir = lookup(&port, &format!("d{folder}")).unwrap();
        for file in 0..FILES {
            let ino = lookup_in(&port, dir, &format!("f{file}")).unwrap();
            let expected = format!("{folder}/{file}").into_bytes();
            assert_eq!(read(&port, ino, 100), Ok(expected));
        }
    }
    // Two single files, the rest of their folder, the first of the next one, and the batches behind.
    let fetches = world.cloud.fetches.load(Ordering::SeqCst);
    assert!(fetches <= 6, "{fetches} fetches for {FOLDERS} folders");
}
