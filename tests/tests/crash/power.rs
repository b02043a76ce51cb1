//! Power loss in the middle of random work, on a disk that keeps only what was synced, and of the rest
//! whatever chance has it.

use crate::{
    disk::Disk,
    filesystem,
    history::History,
    is_death,
    model::{Model, Step},
};
use fuser::BackgroundSession;
use meshdrive_tests::{Device, Random, World, tree};
use rustix::mount::{UnmountFlags, unmount};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// `MESHDRIVE_POWER_CUTS` sets another number.
const CUTS: u64 = 40;
const SEED: u64 = 0xDA4C;
/// Milliseconds from the start of the work to the cut, at most.
const LIFE_MS: u64 = 200;
const STEPS: usize = 150;
const FLAGS: &[&str] = &["--settle", "600s", "--cache-floor", "1MiB"];
const FOLDER: &str = "one";

/// The disk that has a device's state.
struct Machine {
    device: Device,
    disk: Arc<Mutex<Disk>>,
    session: Option<BackgroundSession>,
}

impl Machine {
    fn new(dir: &Path) -> Machine {
        let device = Device::new(dir, "x");
        fs::create_dir(device.home().join("state")).unwrap();
        let disk = Arc::new(Mutex::new(Disk::new()));
        let mut machine = Machine { device, disk, session: None };
        machine.show();
        machine
    }

    fn show(&mut self) {
        let session = filesystem::show(&self.disk, &self.device.home().join("state")).unwrap();
        self.session = Some(session);
    }

    /// After the power went: starts in another boot.
    fn start_again(&mut self, random: &mut Random) {
        // Whoever is still being killed, and the kernel for files that were handed to it, may hold the old
        // file system for a while. It has an empty disk from here on.
        let mut disk = std::mem::replace(&mut *self.disk.lock().unwrap(), Disk::off());
        unmount(self.device.home().join("state"), UnmountFlags::DETACH).unwrap();
        drop(self.session.take());
        disk.lose_power(random);
        self.disk = Arc::new(Mutex::new(disk));
        self.show();
        let mark = self.device.state().join("running");
        assert!(mark.exists(), "nothing says that the drive was open");
        fs::write(mark, "another boot").unwrap();
        self.device.mount_with(FLAGS);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = unmount(self.device.home().join("state"), UnmountFlags::DETACH);
    }
}

fn cuts() -> u64 {
    let set = std::env::var("MESHDRIVE_POWER_CUTS").ok();
    set.map_or(CUTS, |count| count.parse().unwrap())
}

#[test]
fn power_loss_takes_only_what_was_not_synced() {
    let test = "crash::power_loss_takes_only_what_was_not_synced";
    let Some(world) = World::new(test) else { return };
    let mut machine = Machine::new(world.dir());
    machine.device.join(&world.a, &world.server.url());
    machine.device.mount_with(FLAGS);
    machine.device.knows_the_tree();
    fs::create_dir(machine.device.path(FOLDER)).unwrap();
    fs::File::open(machine.device.path(FOLDER)).unwrap().sync_all().unwrap();
    let mut base = Model::new(FOLDER);
    for round in 0..cuts() {
        let seed = SEED + round;
        let mut random = Random::new(seed);
        let (history, cut_off) = work(&machine, base, &mut random);
        machine.start_again(&mut random);
        base = Model::found(FOLDER, &machine.device.root()).unwrap();
        if let Err(why) = history.judge(&base, cut_off) {
            panic!("round {round}, seed {seed}: {why}\nthe log: {}", machine.device.log());
        }
        assert_eq!(crate::names(&machine.device), [FOLDER], "round {round}: alien names");
    }
    machine.device.sync();
    world.a.mount();
    world.a.knows_the_tree();
    assert_eq!(tree(&machine.device.root()), tree(&world.a.root()));
}

/// Works until the power goes; gives what was done, and the step that was cut off.
fn work(machine: &Machine, base: Model, random: &mut Random) -> (History, Option<Step>) {
    let life = Duration::from_micros(random.below(LIFE_MS * 1_000));
    let mut history = History::new(base);
    let root = machine.device.path(FOLDER);
    let mut cut_off = None;
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(life);
            machine.disk.lock().unwrap().is_off = true;
            // At once: a call that waits for the disk would wait for long.
            machine.device.kill();
        });
        for _ in 0..STEPS {
            let step = Step::random(history.now(), random);
            match step.perform(&root) {
                Ok(()) => history.add(step),
                Err(error) if is_death(&error) => {
                    cut_off = Some(step);
                    return;
                }
                Err(error) => panic!("{step:?}: {error}"),
            }
        }
    });
    (history, cut_off)
}
