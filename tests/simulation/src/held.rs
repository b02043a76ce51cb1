//! The brake, and that absence deletes nothing: one scenario each.

use crate::pair::{LOCAL, Pair, REMOTE};
use fs_core::{Answer, Command, Event, Limits, Name};

/// A drive of 20 files in a folder, and a brake at 5 changes or half of them.
fn drive() -> Pair {
    let limits = Limits { mass_percent: 50, mass_least: 5, ..Limits::default() };
    let mut pair = Pair::with(limits);
    pair.mkdir(LOCAL, "d");
    for number in 0..20 {
        pair.save(LOCAL, &format!("d/f{number}"), b"before");
    }
    pair.meet();
    pair
}

fn files(pair: &mut Pair, number: usize) -> usize {
    pair.seen(number).keys().filter(|path| path.starts_with("d/f")).count()
}

fn count(pair: &mut Pair, command: Command) -> u64 {
    match pair.command(LOCAL, command) {
        Ok(Answer::Counted(count)) => count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_few_removals_go_at_once() {
    let mut pair = drive();
    for number in 0..9 {
        pair.remove(LOCAL, &format!("d/f{number}"));
    }
    pair.meet();
    assert_eq!(files(&mut pair, REMOTE), 11);
}

#[test]
fn many_removals_wait_until_they_are_approved() {
    let mut pair = drive();
    pair.remove_all(LOCAL, "d");
    pair.save(LOCAL, "other", b"goes on");
    pair.meet();
    assert_eq!(files(&mut pair, REMOTE), 20, "nothing is removed there");
    assert!(pair.seen(REMOTE).contains_key("other"), "everything else is sent");
    let status = pair.status(LOCAL);
    assert_eq!((status.held_removals, status.held_rewrites), (21, 0));
    assert_eq!(status.pending_nodes, 21);
    assert!(pair.notes().contains("held: 21 removals"), "{}", pair.notes());
    assert_eq!(count(&mut pair, Command::Approve), 21);
    pair.meet();
    assert!(!pair.agreed().contains_key("d"));
    assert_eq!(pair.status(LOCAL).held_removals, 0);
}

#[test]
fn held_removals_come_back() {
    let mut pair = drive();
    pair.save(LOCAL, "d/f3", b"newest");
    pair.meet();
    let before = pair.agreed();
    pair.remove_all(LOCAL, "d");
    pair.meet();
    assert_eq!(count(&mut pair, Command::UndoRemovals), 21);
    pair.meet();
    assert_eq!(pair.agreed(), before);
    assert_eq!(pair.status(LOCAL).held_removals, 0);
}

/// Removed one after the other: what is on its way counts too.
#[test]
fn slow_removals_are_held_as_well() {
    let mut pair = drive();
    for number in 0..20 {
        pair.remove(LOCAL, &format!("d/f{number}"));
        pair.set_online(LOCAL, true);
        pair.devices[LOCAL].pass(1_000_000_000);
        pair.devices[LOCAL].handle(Event::Tick);
        pair.rest(LOCAL);
    }
    pair.meet();
    let left = files(&mut pair, REMOTE);
    assert!((9..=11).contains(&left), "{left} are left");
    assert!(pair.status(LOCAL).held_removals > 0);
}

#[test]
fn a_hold_outlives_a_crash() {
    let mut pair = drive();
    pair.remove_all(LOCAL, "d");
    pair.meet();
    let Pair { devices, store, random } = &mut pair;
    devices[LOCAL].crash(store, random, 9);
    pair.meet();
    assert_eq!(pair.status(LOCAL).held_removals, 21);
    assert_eq!(files(&mut pair, REMOTE), 20);
}

#[test]
fn many_rewrites_wait_and_can_be_taken_back() {
    let mut pair = drive();
    for number in 0..20 {
        pair.save(LOCAL, &format!("d/f{number}"), b"scrambled bytes");
    }
    pair.meet();
    assert_eq!(pair.seen(REMOTE)["d/f7"], Some(b"before".to_vec()));
    assert_eq!(pair.status(LOCAL).held_rewrites, 20);
    let Ok(Answer::Held(held)) = pair.command(LOCAL, Command::Held) else { panic!("no list") };
    assert_eq!(held.len(), 20);
    for item in held {
        assert!(item.is_rewrite);
        let content = fs_core::ContentRef { id: item.id, rev: item.rev };
        let size = pair.store.versions[&content].bytes.len() as u64;
        let mtime = fs_core::Timestamp(5);
        let put_back = Command::PutBack { ino: item.ino, rev: item.rev, size, mtime };
        assert_eq!(pair.command(LOCAL, put_back), Ok(Answer::Done));
    }
    pair.meet();
    let seen = pair.agreed();
    assert_eq!(seen["d/f7"], Some(b"before".to_vec()));
    let aside = seen.iter().filter(|(path, _)| path.starts_with("Undone (bob, 20"));
    let kept = aside.filter(|(_, bytes)| **bytes == Some(b"scrambled bytes".to_vec())).count();
    assert_eq!(kept, 20, "{seen:#?}");
}

/// Saves by rename remove the old file only in appearance.
#[test]
fn many_new_files_are_never_held() {
    let mut pair = drive();
    for number in 0..40 {
        pair.save(LOCAL, &format!("d/new{number}"), b"new");
        pair.remove(LOCAL, &format!("d/new{number}"));
        pair.save(LOCAL, &format!("d/more{number}"), b"new");
    }
    pair.meet();
    assert_eq!(pair.agreed().len(), 61);
}

/// A listing that lacks entries, from whatever cause, removes nothing here or there.
#[test]
fn an_incomplete_listing_removes_nothing() {
    let mut pair = drive();
    let before = pair.agreed();
    let hidden = pair.store.hide(|node| node.name.as_bytes().starts_with(b"f1"));
    assert_eq!(hidden, 11);
    // A device that is new reads the whole tree; one that is old lists a folder again.
    let Pair { devices, store, random } = &mut pair;
    devices[LOCAL].crash(store, random, 4);
    pair.meet();
    assert_eq!(pair.seen(LOCAL), before);
    pair.store.show();
    pair.meet();
    assert_eq!(pair.agreed(), before);
    assert_eq!(pair.store.live().count(), 21);
}

/// A device that has lost everything knows nothing, and so removes nothing.
#[test]
fn a_wiped_device_removes_nothing() {
    let mut pair = drive();
    let before = pair.agreed();
    let limits = Limits::default();
    pair.devices[LOCAL] = crate::device::Device::new(LOCAL, limits, 77);
    pair.meet();
    assert!(pair.find(LOCAL, "d/f1").is_some());
    pair.meet();
    assert_eq!(pair.agreed(), before);
}

/// Another store under the same address: nothing is sent to it, nothing is taken from it.
#[test]
fn another_store_gets_and_removes_nothing() {
    let mut pair = drive();
    let before = pair.seen(LOCAL);
    pair.save(LOCAL, "mine", b"unsent");
    let kept = std::mem::replace(&mut pair.store, crate::store::Store::new());
    pair.store.epoch = 8;
    let Pair { devices, store, random } = &mut pair;
    devices[LOCAL].crash(store, random, 5);
    pair.set_online(LOCAL, true);
    pair.until(LOCAL, |status| status.trouble.contains("restored from a backup"));
    pair.rest(LOCAL);
    assert_eq!(pair.store.head().0, 0, "nothing was sent");
    for path in before.keys() {
        assert!(pair.find(LOCAL, path).is_some(), "{path} is still shown");
    }
    pair.store = kept;
    let Pair { devices, store, random } = &mut pair;
    devices[LOCAL].crash(store, random, 6);
    pair.meet();
    assert!(pair.agreed().contains_key("mine"));
}

/// A node whose record cannot be read is shown as such; it is not missing.
#[test]
fn a_node_that_cannot_be_read_is_not_removed() {
    let mut pair = drive();
    pair.part();
    let renamed = pair.store.spoil(b"f5", Name::new(b"invalid-0001").expect("legal"));
    assert_eq!(renamed, 1);
    let Pair { devices, store, random } = &mut pair;
    devices[LOCAL].crash(store, random, 8);
    pair.meet();
    assert_eq!(pair.store.live().count(), 21);
    assert!(pair.find(LOCAL, "d/f4").is_some());
}
