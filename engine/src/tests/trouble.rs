//! What happens when the disk, the cloud or the core fail.

use super::*;
use crate::feed;
use crate::jobs::Phase;
use fs_core::Event;
use std::sync::atomic::Ordering;

#[test]
fn a_drive_works_offline_and_sends_when_the_cloud_is_back() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    // The first listing of a folder needs the cloud, once.
    assert_eq!(lookup(&port, "a"), Err(FsError::NotFound));
    world.cloud.online.send_replace(false);
    let ino = save(&port, "a", b"made offline");
    assert_eq!(read(&port, ino, 99), Ok(b"made offline".to_vec()));
    assert_eq!(world.cloud.content("a"), None);
    world.cloud.online.send_replace(true);
    eventually("upload", || world.cloud.content("a").is_some());
}

#[test]
fn a_lost_feed_is_found_again() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    save(&port, "a", b"one");
    eventually("first upload", || world.cloud.content("a").is_some());
    world.cloud.online.send_replace(false);
    world.cloud.overwrite("a", b"two");
    world.cloud.online.send_replace(true);
    eventually("new content", || {
        lookup(&port, "a").and_then(|ino| read(&port, ino, 9)) == Ok(b"two".to_vec())
    });
}

#[test]
fn whoever_needs_the_store_does_not_wait_for_the_next_look() {
    let world = World::new();
    world.cloud.online.send_replace(false);
    // Without the thread that looks, which would hear it.
    let hall = world.hall();
    let hour = Duration::from_secs(3_600);
    hall.look.notify_one();
    assert_eq!(feed::rest(&hall, hour), Some(true));
    // A call that fails as the store is away rings too.
    let (answers, answer) = std::sync::mpsc::channel();
    let request = Request::Lookup { parent: Ino::ROOT, name: name("a") };
    hall.submit(request, Box::new(move |result| answers.send(result).unwrap()));
    let mut refused = None;
    eventually("a refusal", || {
        hall.deliver(Event::Tick);
        refused = answer.try_recv().ok();
        refused.is_some()
    });
    assert_eq!(refused.unwrap().err(), Some(FsError::Offline));
    assert_eq!(feed::rest(&hall, hour), Some(true));
    assert_eq!(feed::rest(&hall, Duration::from_millis(1)), Some(false));
    hall.jobs.enter(Phase::Stopping);
    assert_eq!(feed::rest(&hall, hour), None);
}

#[test]
fn a_read_that_gets_nothing_ends_at_its_deadline() {
    let mut world = World::new();
    world.limits.read_deadline_ms = 100;
    world.limits.offline_deadline_ms = 100;
    let engine = world.start();
    let port = engine.port();
    save(&port, "a", b"one");
    eventually("upload", || world.cloud.content("a").is_some());
    world.cloud.stuck.store(true, Ordering::SeqCst);
    world.cloud.overwrite("a", &vec![1; 200_000]);
    eventually("the deadline", || {
        let ended = lookup(&port, "a").and_then(|ino| read(&port, ino, 9));
        matches!(ended, Err(FsError::TimedOut | FsError::Offline))
    });
    // A fetch that hangs must not hold up the end either.
    engine.shutdown().unwrap();
    assert!(world.local.shut.load(Ordering::SeqCst));
}

#[test]
fn a_full_journal_refuses_changes_until_there_is_room() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    let ino = save(&port, "a", b"one");
    world.local.full.store(true, Ordering::SeqCst);
    assert_eq!(port.call(create_request("b")), Err(FsError::NoSpace));
    assert_eq!(port.call(create_request("c")), Err(FsError::NoSpace));
    assert_eq!(read(&port, ino, 9), Ok(b"one".to_vec()));
    world.local.full.store(false, Ordering::SeqCst);
    save(&port, "d", b"again");
    assert!(!engine.failed());
}

#[test]
fn a_broken_journal_makes_the_drive_read_only() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    let ino = save(&port, "a", b"one");
    world.local.broken.store(true, Ordering::SeqCst);
    assert_eq!(port.call(create_request("b")), Err(FsError::Io));
    world.local.broken.store(false, Ordering::SeqCst);
    assert_eq!(port.call(create_request("c")), Err(FsError::Io));
    assert_eq!(read(&port, ino, 9), Ok(b"one".to_vec()));
}

#[test]
fn nothing_is_sent_that_the_journal_does_not_have() {
    let world = World::new();
    let engine = world.start();
    assert_eq!(lookup(&engine.port(), "a"), Err(FsError::NotFound));
    world.cloud.online.send_replace(false);
    save(&engine.port(), "a", b"one");
    world.local.broken.store(true, Ordering::SeqCst);
    world.cloud.online.send_replace(true);
    // The failed record of the flight seals the journal; that is the sign that a commit was tried.
    eventually("a refusal", || engine.port().call(create_request("b")) == Err(FsError::Io));
    assert_eq!(world.cloud.content("a"), None);
}

#[test]
fn a_panic_under_the_lock_fails_the_drive_and_answers_everybody() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    let ino = save(&port, "a", b"one");
    world.local.bomb.store(true, Ordering::SeqCst);
    assert_eq!(port.call(create_request("b")), Err(FsError::Io));
    assert!(engine.failed());
    assert_eq!(port.call(Request::Getattr { ino }), Err(FsError::Io));
    assert_eq!(world.runtime.block_on(port.ask(Request::Statfs)), Err(FsError::Io));
}
