//! A store that was restored from a backup, and one whose log no longer reaches back to a device: one
//! scenario each.

use crate::pair::{LOCAL, Pair, REMOTE, Seen, tree};
use crate::store::Store;
use fs_core::{Answer, Command, OpenFlags, Request, Response, Rev};

const DEVICES: [usize; 2] = [REMOTE, LOCAL];

/// Two devices, and the store as it was when the backup was made.
fn drive() -> (Pair, Store) {
    let mut pair = Pair::new();
    pair.mkdir(REMOTE, "d");
    for name in ["edited", "moved", "removed", "same"] {
        pair.save(REMOTE, &format!("d/{name}"), b"in the backup");
    }
    pair.meet();
    pair.agreed();
    let backup = pair.store.clone();
    (pair, backup)
}

/// What is lost with the restore; both devices know it.
fn go_on(pair: &mut Pair) -> Seen {
    pair.save(REMOTE, "d/edited", b"after the backup");
    pair.mv(REMOTE, "d/moved", "elsewhere");
    pair.mkdir(REMOTE, "new");
    pair.save(REMOTE, "new/file", b"made after the backup");
    pair.save(LOCAL, "mine", b"made there after the backup");
    pair.meet();
    pair.agreed()
}

fn restore(pair: &mut Pair, backup: &Store) {
    for number in DEVICES {
        pair.set_online(number, false);
        pair.rest(number);
    }
    pair.store = backup.clone();
    pair.store.come_back(8);
}

#[test]
fn what_a_restored_store_lacks_is_sent_again() {
    let (mut pair, backup) = drive();
    let before = go_on(&mut pair);
    restore(&mut pair, &backup);
    pair.meet();
    assert_eq!(pair.agreed(), before);
    assert!(pair.store.live().any(|node| node.name.as_bytes() == b"elsewhere"));
    assert!(pair.store.live().any(|node| node.parent != fs_core::NodeId::ROOT));
}

#[test]
fn a_device_that_knew_only_the_backup_adds_nothing() {
    let (mut pair, backup) = drive();
    let before = pair.agreed();
    restore(&mut pair, &backup);
    pair.meet();
    assert_eq!(pair.agreed(), before);
    assert_eq!(pair.store.head(), backup.head());
}

/// One device had not heard of anything after the backup, and goes on before the other comes back.
#[test]
fn both_pasts_of_a_restored_store_are_kept() {
    let (mut pair, backup) = drive();
    pair.set_online(LOCAL, false);
    pair.save(REMOTE, "d/edited", b"lost with the restore");
    pair.save(REMOTE, "d/same", b"equal");
    pair.save(REMOTE, "made", b"lost too");
    pair.set_online(REMOTE, true);
    pair.rest(REMOTE);
    restore(&mut pair, &backup);
    pair.save(LOCAL, "d/edited", b"new in the restored store");
    pair.save(LOCAL, "d/same", b"equal");
    pair.save(LOCAL, "made", b"made there");
    pair.set_online(LOCAL, true);
    pair.rest(LOCAL);
    pair.meet();
    let seen = pair.agreed();
    let contents: Vec<&[u8]> = seen.values().flatten().map(Vec::as_slice).collect();
    let kept =
        [&b"lost with the restore"[..], b"new in the restored store", b"lost too", b"made there"];
    for content in kept {
        assert_eq!(contents.iter().filter(|found| **found == content).count(), 1, "{seen:#?}");
    }
    assert_eq!(contents.iter().filter(|found| **found == b"equal").count(), 1, "{seen:#?}");
    assert_eq!(seen["d/edited"].as_deref(), Some(&b"new in the restored store"[..]));
}

/// Work that had not been sent when the store was restored.
#[test]
fn what_was_pending_at_a_restore_is_sent() {
    let (mut pair, backup) = drive();
    go_on(&mut pair);
    for number in DEVICES {
        pair.set_online(number, false);
    }
    pair.save(LOCAL, "d/edited", b"pending");
    pair.save(LOCAL, "new/also", b"pending in a lost folder");
    pair.remove(LOCAL, "d/same");
    let expected = pair.seen(LOCAL);
    restore(&mut pair, &backup);
    pair.meet();
    let seen = pair.agreed();
    // The version that it was an edit of came to the store by another device and another rev first.
    assert!(seen.values().any(|kept| kept.as_deref() == Some(&b"pending"[..])), "{seen:#?}");
    for (path, content) in expected.iter().filter(|(path, _)| *path != "d/edited") {
        assert_eq!(seen.get(path), Some(content), "{path} in {seen:#?}");
    }
    assert!(!seen.contains_key("d/same"));
}

/// A crash at any moment of it: it begins anew.
#[test]
fn a_crash_while_a_restored_store_is_told_what_it_lacks() {
    for steps in 0..60 {
        let (mut pair, backup) = drive();
        let before = go_on(&mut pair);
        restore(&mut pair, &backup);
        pair.set_online(REMOTE, true);
        let Pair { devices, store, random } = &mut pair;
        for _ in 0..steps {
            match devices[REMOTE].flights.is_empty() {
                true => devices[REMOTE].tick(),
                false => devices[REMOTE].complete(0, store, random, true),
            }
        }
        devices[REMOTE].crash(store, random, steps);
        pair.meet();
        assert_eq!(pair.agreed(), before, "crashed after {steps} steps");
    }
}

/// What has no bytes here cannot be sent: it stays in sight until a device that has them comes.
#[test]
fn what_is_not_here_waits_for_a_device_that_has_it() {
    let (mut pair, backup) = drive();
    pair.save(REMOTE, "far", b"only on the other device");
    for number in DEVICES {
        pair.set_online(number, true);
        pair.rest(number);
    }
    restore(&mut pair, &backup);
    pair.set_online(LOCAL, true);
    pair.rest(LOCAL);
    assert!(pair.find(LOCAL, "far").is_some(), "it is still shown");
    assert_eq!(pair.status(LOCAL).attention, 1);
    let head = pair.store.head();
    assert!(pair.command(LOCAL, Command::Sync(Vec::new())).is_err(), "it is not in the store");
    pair.rest(LOCAL);
    assert_eq!(pair.store.head(), head, "nothing was made up in its place");
    let ino = pair.find(LOCAL, "far").expect("is there");
    let flags = OpenFlags { read: true, ..OpenFlags::default() };
    let opened = pair.ask(LOCAL, Request::Open { ino, flags });
    let Ok(Response::Opened { handle, .. }) = opened else { panic!("{opened:?}") };
    let read = pair.ask(LOCAL, Request::Read { ino, handle, offset: 0, len: 4 });
    assert!(read.is_err(), "{read:?}");
    assert_eq!(pair.ask(LOCAL, Request::Release { ino, handle }), Ok(Response::Done));
    pair.meet();
    let whole = tree(&[("far", "only on the other device")]);
    assert_eq!(pair.agreed()["far"], whole["far"]);
    assert_eq!(pair.status(LOCAL).attention, 0);
}

/// Away for longer than the log goes back.
#[test]
fn a_log_that_is_too_short_is_skipped() {
    let (mut pair, _) = drive();
    pair.set_online(LOCAL, false);
    pair.save(LOCAL, "d/edited", b"changed here");
    pair.save(LOCAL, "d/removed", b"changed here, removed there");
    pair.remove(REMOTE, "d/removed");
    pair.remove(REMOTE, "d/same");
    pair.save(REMOTE, "d/more", b"new");
    pair.mv(REMOTE, "d/moved", "moved");
    pair.rest(REMOTE);
    pair.store.forget_log(Rev(pair.store.head().0));
    pair.meet();
    let seen = pair.agreed();
    assert_eq!(seen["d/edited"].as_deref(), Some(&b"changed here"[..]));
    assert_eq!(seen["d/removed"].as_deref(), Some(&b"changed here, removed there"[..]));
    assert_eq!(seen["d/more"].as_deref(), Some(&b"new"[..]));
    assert!(!seen.contains_key("d/same") && !seen.contains_key("d/moved"));
    assert!(seen.contains_key("moved"));
    assert!(pair.notes().contains("whole tree"), "{}", pair.notes());
}

/// What is clean here may be all that is left of it: it stays until the store is known to have it, and
/// nobody is told before that it does.
#[test]
fn nothing_is_let_go_before_it_is_known_what_the_store_lacks() {
    let (mut pair, backup) = drive();
    go_on(&mut pair);
    restore(&mut pair, &backup);
    pair.set_online(LOCAL, true);
    pair.until(LOCAL, |status| status.unsure);
    assert_eq!(pair.command(LOCAL, Command::Evict(Vec::new())), Ok(Answer::Freed(0)));
    assert_eq!(pair.command(LOCAL, Command::Drained), Ok(Answer::Drained(false)));
    assert_eq!(pair.command(LOCAL, Command::Sync(Vec::new())), Ok(Answer::Done));
    assert!(pair.store.live().any(|node| node.name.as_bytes() == b"mine"));
    assert!(!pair.status(LOCAL).unsure);
    assert_ne!(pair.command(LOCAL, Command::Evict(Vec::new())), Ok(Answer::Freed(0)));
}

/// Removed there and kept here, but not sent yet: that no page has it is no news.
#[test]
fn what_was_kept_outlives_a_log_that_is_too_short() {
    let (mut pair, _) = drive();
    pair.set_online(LOCAL, false);
    pair.mv(LOCAL, "d/moved", "kept");
    pair.remove(REMOTE, "d/moved");
    pair.rest(REMOTE);
    assert_eq!(pair.command(LOCAL, Command::Pause(true)), Ok(Answer::Done));
    pair.set_online(LOCAL, true);
    pair.rest(LOCAL);
    pair.set_online(LOCAL, false);
    pair.save(REMOTE, "more", b"new");
    pair.rest(REMOTE);
    pair.store.forget_log(pair.store.head());
    pair.set_online(LOCAL, true);
    pair.rest(LOCAL);
    assert!(pair.find(LOCAL, "more").is_some() && pair.find(LOCAL, "kept").is_some());
    assert_eq!(pair.command(LOCAL, Command::Pause(false)), Ok(Answer::Done));
    pair.meet();
    assert!(pair.agreed().contains_key("kept"));
}
