//! `kill -9` of the daemon in the middle of random work. Whatever a call has acknowledged is there
//! after the next mount; of the one call that was cut off, all, nothing, or the beginning of a write.
//! And power loss (`power.rs`).

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

mod disk;
mod filesystem;
mod history;
mod model;
mod power;

use meshdrive_tests::{Device, Random, World, tree, wait_until};
use model::{Model, Step};
use std::{
    fs,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Rounds of all tests here together; `MESHDRIVE_CRASHES` sets another number.
const ROUNDS: u64 = 200;
const SEED: u64 = 0x5EED;
/// Steps of a worker in one round, at most.
const STEPS: usize = 400;
/// Milliseconds from the start of the work to the end of the daemon, at most.
const LIFE_MS: u64 = 250;

fn rounds() -> u64 {
    let set = std::env::var("MESHDRIVE_CRASHES").ok();
    set.map_or(ROUNDS, |count| count.parse().unwrap())
}

#[test]
fn acknowledged_work_survives_while_it_is_sent() {
    run("crash::acknowledged_work_survives_while_it_is_sent", 0, "10ms");
}

/// Nothing is sent during the work: what survives does so on this device alone.
#[test]
fn acknowledged_work_survives_unsent() {
    run("crash::acknowledged_work_survives_unsent", 1, "60s");
}

fn run(test: &str, part: u64, settle: &str) {
    let Some(mut world) = World::new(test) else { return };
    let mut workers = [Model::new("one"), Model::new("two")];
    world.a.mount_with(&["--settle", settle]);
    for worker in &workers {
        fs::create_dir(world.a.path(worker.name())).unwrap();
    }
    for round in (part..rounds()).step_by(2) {
        let seed = SEED + round;
        let mut random = Random::new(seed);
        crash(&mut world, &mut workers, &mut random);
        if random.below(4) == 0 {
            // Dies again while it recovers.
            let mut mounting = world.a.command();
            mounting.args(["mount", "work", "m", "--foreground"]).stderr(Stdio::null());
            let mut mounting = mounting.spawn().unwrap();
            thread::sleep(Duration::from_micros(random.below(60_000)));
            mounting.kill().unwrap();
            mounting.wait().unwrap();
        }
        world.a.mount_with(&["--settle", settle]);
        for worker in &mut workers {
            let found = worker.adopt(&world.a.root());
            if let Err(why) = found {
                panic!("round {round}, seed {seed}: {why}\nthe log: {}", world.a.log());
            }
        }
        assert_eq!(names(&world.a), ["one", "two"], "round {round}: alien names");
    }
    ends_equal(&world, &workers);
}

/// Two workers go on until the daemon is killed at a random moment.
fn crash(world: &mut World, workers: &mut [Model; 2], random: &mut Random) {
    let seeds = [random.number(), random.number()];
    let life = Duration::from_micros(random.below(LIFE_MS * 1_000));
    let kills_store = random.below(8) == 0;
    let dead = AtomicBool::new(false);
    let root = world.a.root();
    thread::scope(|scope| {
        for (worker, seed) in workers.iter_mut().zip(seeds) {
            let (root, dead) = (&root, &dead);
            scope.spawn(move || work(worker, root, seed, dead));
        }
        thread::sleep(life);
        if kills_store {
            world.server.kill();
        }
        world.a.kill();
        dead.store(true, Ordering::Relaxed);
    });
    if kills_store {
        world.server.start_again();
    }
}

fn work(model: &mut Model, root: &Path, seed: u64, dead: &AtomicBool) {
    let mut random = Random::new(seed);
    for _ in 0..STEPS {
        if dead.load(Ordering::Relaxed) {
            return;
        }
        let step = Step::random(model, &mut random);
        match step.perform(&root.join(model.name())) {
            Ok(()) => model.apply(&step),
            Err(error) if is_death(&error) => return model.cut_off(step),
            Err(error) => panic!("{step:?}: {error}"),
        }
    }
}

fn is_death(error: &std::io::Error) -> bool {
    let codes = [libc::ENOTCONN, libc::ECONNABORTED, libc::ENODEV, libc::EIO, libc::EINTR];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

fn names(device: &Device) -> Vec<String> {
    let entries = fs::read_dir(device.root()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// When all is sent, another device with an empty cache has the same, and nothing came twice.
fn ends_equal(world: &World, workers: &[Model; 2]) {
    world.a.unmount();
    world.a.mount();
    world.a.sync();
    let b = world.join("b");
    b.mount();
    b.knows_the_tree();
    wait_until("b has applied everything", || {
        b.figure("applied_rev") == world.a.figure("applied_rev")
    });
    for worker in workers {
        for device in [&world.a, &b] {
            let found = worker.compare(&device.root().join(worker.name()));
            assert_eq!(found, Ok(()), "on device {}", device.name());
        }
    }
    assert_eq!(tree(&world.a.root()), tree(&b.root()));
    assert_eq!(world.a.figure("conflicts") + b.figure("conflicts"), 0);
}
