//! The same random operations on a drive and on the local file system, compared after every step:
//! results, errors, contents, attributes, listings; also after mounting again, and after the contents
//! left this device and came back from the store.
//!
//! A failure prints the operations before it and the line that repeats it. `MESHDRIVE_SEED` sets the
//! seed, `MESHDRIVE_OPERATIONS` how many operations a run has.

#![cfg(target_os = "linux")]
// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

mod choose;
mod compare;
mod op;
mod side;

use choose::{Chooser, Scope};
use compare::{differences, fine_clock, first_difference, moved};
use meshdrive_tests::{World, skip};
use op::{Actor, Op, ROOT};
use rustix::fs::Stat;
use side::{Outcome, SLOTS, Side, Value};
use std::sync::Mutex;

/// Operations of a run, unless the environment says otherwise.
const OPERATIONS: u64 = 10_000;
/// Operations between two comparisons of the whole trees; every other time the drive is mounted
/// again, every time the contents leave this device.
const STAGE: u64 = 1_000;
/// Operations printed before a failure.
const HISTORY: usize = 60;

/// The mask of new files is one for the whole process: one run at a time.
static ONE: Mutex<()> = Mutex::new(());

#[test]
fn a_drive_does_what_a_disk_does() {
    run("reference::a_drive_does_what_a_disk_does", 1, true);
}

#[test]
fn a_drive_does_what_a_disk_does_while_mounted() {
    run("reference::a_drive_does_what_a_disk_does_while_mounted", 2, false);
}

struct Run {
    seed: u64,
    mount: Side,
    local: Side,
    chooser: Chooser,
    history: Vec<String>,
    /// Whether times of the local file system can be compared step by step.
    fine: bool,
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

fn run(test: &str, seed: u64, again: bool) {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root can act as other users");
    }
    // Another run may have ended with another mask.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let Some(world) = World::new(test) else { return };
    let seed = number("MESHDRIVE_SEED", seed);
    let operations = number("MESHDRIVE_OPERATIONS", OPERATIONS);
    println!("{test}: MESHDRIVE_SEED={seed} MESHDRIVE_OPERATIONS={operations}");
    world.a.mount_with(&["--cache-size", "32MiB"]);
    let local = Side::new(world.path("local"));
    let fine = fine_clock(&local.root);
    let scope = Scope { links: true, acls: true };
    let mount = Side::new(world.a.path("t"));
    let chooser = Chooser::new(seed, scope);
    let mut run = Run { seed, mount, local, chooser, history: Vec::new(), fine };
    for count in 1..=operations {
        let step = run.step();
        run.judge(count, step);
        if count % STAGE == 0 {
            if again && count % (2 * STAGE) == 0 {
                run.mount.close_all();
                run.local.close_all();
                (0..SLOTS).for_each(|slot| run.chooser.closed(slot));
                run.history.push("-- mounted again".into());
                world.a.unmount();
                world.a.mount_with(&["--cache-size", "32MiB"]);
            } else {
                run.history.push("-- evicted".into());
                world.a.sync();
                world.a.run(&["evict", "work"]).expect(0, &[]);
            }
            let found = differences(&run.mount, &run.local);
            run.judge(count, found);
        }
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
}

impl Run {
    /// One operation on both sides; what differs.
    fn step(&mut self) -> Vec<String> {
        let (mut actor, op) = (self.chooser.actor(), self.chooser.op());
        if matches!(op, Op::SetAcl { .. }) {
            // FUSE does not say whether the caller may keep set-group-id when the list changes.
            actor = ROOT;
        }
        let before = (self.stats(true, &op), self.stats(false, &op));
        let ours = self.mount.act(actor, &op);
        let theirs = self.local.act(actor, &op);
        let after = (self.stats(true, &op), self.stats(false, &op));
        self.note(actor, &op, &theirs);
        let mut found = Vec::new();
        if let (Ok(Value::Bytes(a)), Ok(Value::Bytes(b))) = (&ours, &theirs)
            && a != b
        {
            found.push(first_difference(a, b));
        } else if ours != theirs {
            found.push(format!("{}, not {}", show(&ours), show(&theirs)));
        }
        if self.fine && found.is_empty() {
            for (at, place) in places(&op).iter().enumerate() {
                let mine = moved(before.0[at].as_ref(), after.0[at].as_ref());
                let other = moved(before.1[at].as_ref(), after.1[at].as_ref());
                if mine != other {
                    found.push(format!("(mtime, ctime) of {place} moved {mine:?}, not {other:?}"));
                }
            }
        }
        found
    }

    fn stats(&self, mount: bool, op: &Op) -> Vec<Option<Stat>> {
        let side = if mount { &self.mount } else { &self.local };
        let open = op.slot().map(|slot| side.stat_open(slot));
        let of_paths = involved(op).into_iter().map(|path| side.stat_of(&path));
        open.into_iter().chain(of_paths).collect()
    }

    fn note(&mut self, actor: Actor, op: &Op, outcome: &Outcome) {
        self.history.push(format!("{:>5} {op:?} -> {}", actor.uid, show(outcome)));
        if outcome.is_ok() {
            self.chooser.learn(op);
        } else if let Op::Open { slot, .. } = op {
            self.chooser.closed(*slot);
        }
    }

    #[track_caller]
    fn judge(&self, count: u64, found: Vec<String>) {
        if found.is_empty() {
            return;
        }
        let first = self.history.len().saturating_sub(HISTORY);
        panic!(
            "{}\nafter {count} operations:\n{}\nrepeat with: MESHDRIVE_SEED={} \
             MESHDRIVE_OPERATIONS={count} cargo test -p meshdrive-tests --test reference",
            self.history[first..].join("\n"),
            found.join("\n"),
            self.seed
        );
    }
}

fn show(outcome: &Outcome) -> String {
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(error) => std::io::Error::from(*error).to_string(),
    }
}

/// The paths of an operation and their folders.
fn involved(op: &Op) -> Vec<String> {
    let mut all = Vec::new();
    for path in op.paths() {
        all.push(path.to_string());
        all.push(path.rsplit_once('/').map_or("", |(folder, _)| folder).to_string());
    }
    all
}

fn places(op: &Op) -> Vec<String> {
    let open = op.slot().map(|slot| format!("the file in slot {slot}"));
    open.into_iter().chain(involved(op).into_iter().map(|path| format!("`{path}`"))).collect()
}
