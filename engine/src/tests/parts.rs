//! The parts on their own.

use super::*;
use crate::driver::StaleQueue;
use crate::fence::Fence;
use crate::jobs::{Jobs, Phase};
use std::sync::mpsc;
use std::thread;

#[test]
fn equal_invalidations_that_wait_are_one() {
    let queue = StaleQueue::default();
    let entry = |text| Stale::Entry { parent: Ino(1), name: name(text) };
    for stale in [Stale::Data(Ino(2)), entry("a"), Stale::Data(Ino(2)), entry("a"), entry("b")] {
        queue.push(stale);
    }
    let told: Arc<dyn Driver> = Arc::new(Told::default());
    queue.attach(told);
    let (batch, _) = queue.next().unwrap();
    assert_eq!(batch, [Stale::Data(Ino(2)), entry("a"), entry("b")]);
    queue.push(Stale::Data(Ino(2)));
    assert_eq!(queue.next().unwrap().0, [Stale::Data(Ino(2))]);
    queue.stop();
    queue.push(Stale::Data(Ino(3)));
    assert!(queue.next().is_none());
}

#[test]
fn the_fence_waits_for_replies_begun_before_it_and_for_no_others() {
    let fence = Arc::new(Fence::default());
    let before = fence.begin();
    let (sender, receiver) = mpsc::channel();
    let passing = {
        let fence = Arc::clone(&fence);
        thread::spawn(move || {
            fence.pass();
            sender.send(()).unwrap();
        })
    };
    eventually("the fence to turn", || fence.turned());
    let after = fence.begin();
    assert!(receiver.try_recv().is_err());
    drop(before);
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
    passing.join().unwrap();
    drop(after);
    fence.pass();
}

#[test]
fn stopping_lets_local_work_begin_and_nothing_for_the_cloud() {
    let jobs = Jobs::new();
    let running = jobs.begin_cloud();
    assert!(running.is_some());
    jobs.enter(Phase::Stopping);
    assert!(jobs.begin_cloud().is_none());
    let local = jobs.begin();
    assert!(!jobs.wait_idle(Duration::ZERO));
    drop((running, local));
    assert!(jobs.wait_idle(Duration::ZERO));
    jobs.enter(Phase::Cancelled);
    jobs.enter(Phase::Stopping);
    assert_eq!(jobs.phase(), Phase::Cancelled);
}

#[test]
fn waits_after_a_loss_are_random_bounded_and_grow() {
    let mut backoff = crate::feed::Backoff::new(3);
    let waits: Vec<Duration> = (0..200).map(|_| backoff.next()).collect();
    assert!(waits[0] <= Duration::from_millis(500));
    assert!(waits.iter().all(|wait| *wait >= Duration::from_millis(50)));
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(30)));
    assert!(waits.iter().any(|wait| *wait > Duration::from_secs(15)));
    backoff.reset();
    assert!(backoff.next() <= Duration::from_millis(500));
}
