//! A version that the store has lost parts of is sent as a new one by who has all of it.

use crate::pair::{LOCAL, Pair, REMOTE};
use fs_core::{Answer, Command, Name, NodeId, Rev};

fn identity(pair: &mut Pair, number: usize) -> (NodeId, Rev) {
    let path = vec![Name::new(b"f").expect("legal")];
    match pair.command(number, Command::Identify(path)) {
        Ok(Answer::Identity { id, content: Some(content) }) => (id, content.rev),
        other => panic!("{other:?}"),
    }
}

fn send_again(pair: &mut Pair, number: usize, (id, rev): (NodeId, Rev)) -> u64 {
    match pair.command(number, Command::SendAgain(id, rev)) {
        Ok(Answer::Counted(count)) => count,
        other => panic!("{other:?}"),
    }
}

/// A file that both have wholly.
fn both() -> (Pair, (NodeId, Rev)) {
    let mut pair = Pair::new();
    pair.save(REMOTE, "f", b"content");
    pair.meet();
    let ino = pair.find(LOCAL, "f").expect("there");
    assert_eq!(pair.read(LOCAL, ino), b"content");
    pair.rest(LOCAL);
    let version = identity(&mut pair, LOCAL);
    (pair, version)
}

#[test]
fn the_same_bytes_become_a_new_version() {
    let (mut pair, version) = both();
    let before = pair.agreed();
    assert_eq!(send_again(&mut pair, LOCAL, version), 1);
    pair.meet();
    let now = identity(&mut pair, REMOTE);
    assert!(now.0 == version.0 && now.1 > version.1, "{version:?} {now:?}");
    assert_eq!(pair.agreed(), before);
    assert_eq!(
        send_again(&mut pair, LOCAL, version),
        0,
        "that one is no longer what the file holds"
    );
}

#[test]
fn two_devices_that_do_it_at_once_have_no_conflict() {
    let (mut pair, version) = both();
    let before = pair.agreed();
    pair.part();
    for number in [REMOTE, LOCAL] {
        assert_eq!(send_again(&mut pair, number, version), 1);
    }
    pair.meet();
    assert_eq!(pair.agreed(), before, "{}", pair.notes());
}

#[test]
fn only_what_is_clean_and_whole_is_sent() {
    let mut pair = Pair::new();
    pair.save(REMOTE, "f", b"content");
    pair.meet();
    let version = identity(&mut pair, LOCAL);
    assert_eq!(send_again(&mut pair, LOCAL, version), 0, "its bytes are not here");
    pair.part();
    pair.save(REMOTE, "f", b"changed");
    assert_eq!(send_again(&mut pair, REMOTE, version), 0, "it is something else by now");
    pair.meet();
    assert_eq!(pair.agreed()["f"], Some(b"changed".to_vec()));
}
