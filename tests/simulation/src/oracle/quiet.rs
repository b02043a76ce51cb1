//! A world at rest asks the store for nothing.

use crate::device::Device;
use crate::random::Random;
use crate::store::Store;

/// Ticks, and virtual time, that a device at rest is watched for.
const TICKS: usize = 50;
const WATCHED_NANOS: u64 = 3_600_000_000_000;

/// Lets time pass for a device that has come to rest: after what is still fetched for it (pinned files,
/// files that are about to be opened) it must not ask the store for anything.
pub(crate) fn is_quiet(
    device: &mut Device,
    store: &mut Store,
    random: &mut Random,
) -> Result<(), String> {
    watch(device, store, random);
    let asked = device.asked;
    watch(device, store, random);
    let more = device.asked - asked;
    if more > 0 {
        return Err(format!("device {}: at rest, and asked the store {more} times", device.number));
    }
    Ok(())
}

fn watch(device: &mut Device, store: &mut Store, random: &mut Random) {
    let started = device.mono;
    for _ in 0..TICKS {
        while !device.flights.is_empty() {
            device.complete(0, store, random, true);
        }
        let passed = |deadline: u64| deadline.saturating_sub(started);
        if device.drive.deadline().is_none_or(|at| passed(at.0) >= WATCHED_NANOS) {
            break;
        }
        device.tick();
    }
}
