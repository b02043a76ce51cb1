//! Many programs at once, and programs that leave.

use crate::{
    basics::noise,
    world::{World, wait_until},
};
use std::thread;

const THREADS: usize = 8;
const FILES: usize = 12;
const COMERS: usize = 60;
const NOT_FOUND: i32 = 0x8007_0002_u32.cast_signed();

#[test]
fn eight_programs_at_once() {
    let world = World::new();
    for number in 0..FILES {
        world.remote.write(&format!("r{number}"), &noise(40_000 + number));
    }
    wait_until("all lengths are known", || {
        let listed = world.app.list(&world.root(), "", projectedfslib::Scan::default()).unwrap();
        listed.len() == FILES && listed.iter().all(|entry| entry.size >= 40_000)
    });
    thread::scope(|scope| {
        for program in 0..THREADS {
            let world = &world;
            let (app, root) = (world.app, world.root());
            scope.spawn(move || {
                for number in 0..FILES {
                    let expected = noise(40_000 + number);
                    let read = app.read(&root, &format!("r{number}"), 0, usize::MAX).unwrap();
                    assert!(read == expected, "r{number}");
                    let own = format!("w{program}-{number}");
                    app.write(&root, &own, 0, own.as_bytes(), true).unwrap();
                    assert!(app.list(&root, "", projectedfslib::Scan::default()).is_ok());
                    if number % 3 == 0 {
                        app.delete(&root, &own).unwrap();
                    }
                }
            });
        }
    });
    world.quiet();
    let left = THREADS * (FILES - FILES.div_ceil(3));
    wait_until("all that was written is elsewhere", || {
        world.remote.names("").len() == FILES + left
    });
    world.remote.sees("w7-11", b"w7-11");
    world.keeps_the_contract();
}

/// The driver looks at what has just come while a program makes a placeholder of it.
#[test]
fn what_is_removed_as_soon_as_it_shows_is_removed_elsewhere() {
    let world = World::new();
    for number in 0..COMERS {
        let name = format!("d{number}");
        world.remote.make_dir(&name);
        wait_until("it is removed", || match world.app.delete(&world.root(), &name) {
            Ok(()) => true,
            Err(NOT_FOUND) => false,
            Err(code) => panic!("{code:#x}"),
        });
    }
    wait_until("nothing is left elsewhere", || world.remote.names("").is_empty());
    world.quiet();
    world.keeps_the_contract();
}

#[test]
fn programs_that_leave_race_with_the_answer() {
    let world = World::new();
    let data = noise(600_000);
    world.remote.write("a", &data);
    wait_until("its size is known", || {
        let listed = world.app.list(&world.root(), "", projectedfslib::Scan::default()).unwrap();
        listed.iter().any(|entry| entry.size == data.len() as u64)
    });
    for _ in 0..200 {
        world.app.read_and_leave(&world.root(), "a").unwrap();
    }
    assert!(world.read("a").unwrap() == data);
    world.keeps_the_contract();
}

#[test]
fn stopping_answers_those_who_wait() {
    let mut world = World::new();
    world.remote.write("a", &noise(3_000_000));
    wait_until("it is listed", || world.list("").unwrap().len() == 1);
    let (app, root) = (world.app, world.root());
    let readers: Vec<_> = (0..THREADS)
        .map(|_| {
            let root = root.clone();
            thread::spawn(move || app.read(&root, "a", 0, usize::MAX).map(|it| it.len()))
        })
        .collect();
    world.stop();
    for reader in readers {
        // Served or refused; never left waiting.
        let read = reader.join().unwrap();
        assert!(read.is_err() || read == Ok(3_000_000) || read == Ok(0), "{read:?}");
    }
    world.keeps_the_contract();
}
