//! Contents that leave this device while they are worked on, and come back from the store.

use meshdrive_tests::Device;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

/// Runs `work` while another thread sends and evicts everything, again and again. Fails when less than
/// `least` bytes were freed meanwhile: then it proved nothing. `work` can see how many were.
#[track_caller]
pub(crate) fn while_evicting<T>(
    device: &Device,
    least: u64,
    work: impl FnOnce(&AtomicU64) -> T,
) -> T {
    let (ended, freed) = (AtomicBool::new(false), AtomicU64::new(0));
    let (result, rounds) = thread::scope(|scope| {
        let evicting = scope.spawn(|| {
            let mut rounds = 0;
            while !ended.load(Ordering::Relaxed) {
                // What is written to all the time may not be sent in time: the next round sends it.
                device.run(&["sync", "work", "--timeout", "1s"]);
                let answer = device.run(&["evict", "work", "--json"]);
                freed.fetch_add(answer.json()["freed_bytes"].as_u64().unwrap(), Ordering::Relaxed);
                rounds += 1;
            }
            rounds
        });
        let ending = EndOnDrop(&ended);
        let result = work(&freed);
        drop(ending);
        (result, evicting.join().unwrap())
    });
    let freed = freed.into_inner();
    println!("{rounds} times sent and evicted, {freed} bytes freed");
    assert!(freed >= least, "only {freed} bytes were evicted in {rounds} rounds");
    result
}

/// Ends the thread also when the work panics.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
