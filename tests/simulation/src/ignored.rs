//! What `.meshignore` keeps on a device: one scenario each. Names that start with `x` stay.

use crate::pair::{LOCAL, Pair, REMOTE, tree};
use fs_core::{Answer, Command, Event, FileState, Name, Path, Request, Response};

fn pair() -> Pair {
    let mut pair = Pair::new();
    for device in &mut pair.devices {
        device.ignore(b"x");
    }
    pair.mkdir(LOCAL, "d");
    pair.save(LOCAL, "d/sent", b"sent");
    pair.mkdir(LOCAL, "d/xbuild");
    pair.save(LOCAL, "d/xbuild/out", b"stays");
    pair.meet();
    pair
}

fn path(text: &str) -> Path {
    text.split('/').map(|name| Name::new(name.as_bytes()).expect("legal")).collect()
}

fn state(pair: &mut Pair, text: &str) -> FileState {
    match pair.command(LOCAL, Command::PathStatus(path(text))) {
        Ok(Answer::Path(status)) => status.file.state,
        other => panic!("{other:?}"),
    }
}

fn remote(pair: &mut Pair) -> Vec<String> {
    pair.seen(REMOTE).into_keys().collect()
}

#[test]
fn what_matches_is_not_sent_and_nobody_waits_for_it() {
    let mut pair = pair();
    assert_eq!(remote(&mut pair), ["d", "d/sent"]);
    let status = pair.status(LOCAL);
    assert_eq!((status.pending_nodes, status.pending_bytes), (0, 0));
    assert_eq!((status.local_only_nodes, status.local_only_bytes), (2, 5));
    assert_eq!(state(&mut pair, "d/xbuild/out"), FileState::LocalOnly);
    assert_eq!(state(&mut pair, "d/sent"), FileState::Local);
    assert_eq!(pair.command(LOCAL, Command::Drained), Ok(Answer::Drained(true)));
    pair.save(LOCAL, "d/xbuild/more", b"new");
    assert_eq!(pair.command(LOCAL, Command::Sync(Vec::new())), Ok(Answer::Done));
    assert_eq!(remote(&mut pair), ["d", "d/sent"]);
}

/// Nothing is sent before the rules are known: neither at the start nor when they have changed.
#[test]
fn nothing_is_sent_while_the_rules_are_not_known() {
    let mut pair = pair();
    let before = pair.devices[LOCAL].rules_asked;
    pair.devices[LOCAL].reads_rules = false;
    pair.save(LOCAL, ".meshignore", b"x*");
    pair.save(LOCAL, "d/other", b"waits");
    pair.meet();
    let asked = pair.devices[LOCAL].rules_asked;
    assert!(asked > before);
    assert_eq!(remote(&mut pair), ["d", "d/sent"], "{}", pair.notes());
    pair.devices[LOCAL].handle(Event::Rules(asked, Err("broken".into())));
    pair.meet();
    assert_eq!(pair.status(LOCAL).ignore_trouble, "broken");
    assert_eq!(remote(&mut pair), ["d", "d/sent"]);
    pair.devices[LOCAL].reads_rules = true;
    pair.devices[LOCAL].ignore(b"x");
    pair.meet();
    assert_eq!(remote(&mut pair), [".meshignore", "d", "d/other", "d/sent"]);
}

#[test]
fn what_matches_no_more_is_sent() {
    let mut pair = pair();
    pair.devices[LOCAL].ignore(b"");
    pair.meet();
    assert!(remote(&mut pair).contains(&"d/xbuild/out".to_string()));
    pair.agreed();
}

#[test]
fn a_rename_out_is_sent_with_all_that_is_in_it() {
    let mut pair = pair();
    pair.mv(LOCAL, "d/xbuild", "d/build");
    pair.meet();
    let expected =
        tree(&[("d/", ""), ("d/sent", "sent"), ("d/build/", ""), ("d/build/out", "stays")]);
    assert_eq!(pair.agreed(), expected);
}

/// The store has it: so it stays there, wherever it goes, and the folders above it go with it.
#[test]
fn what_was_sent_once_is_sent_for_ever() {
    let mut pair = pair();
    pair.mv(LOCAL, "d/sent", "d/xbuild/xsent");
    pair.meet();
    assert_eq!(remote(&mut pair), ["d", "d/xbuild", "d/xbuild/xsent"]);
    pair.save(LOCAL, "d/xbuild/xsent", b"and edits of it");
    pair.meet();
    assert_eq!(pair.seen(REMOTE)["d/xbuild/xsent"].as_deref(), Some(&b"and edits of it"[..]));
    assert_eq!(state(&mut pair, "d/xbuild/out"), FileState::LocalOnly);
}

/// An editor's backup takes the old file's bytes along; the file itself keeps its identity.
#[test]
fn a_save_with_an_ignored_backup_is_one_new_version() {
    let mut pair = pair();
    let seen = pair.find(REMOTE, "d/sent");
    pair.mv(LOCAL, "d/sent", "d/xsent~");
    pair.save(LOCAL, "d/sent", b"new");
    pair.meet();
    assert_eq!(pair.seen(REMOTE)["d/sent"].as_deref(), Some(&b"new"[..]));
    assert_eq!(pair.find(REMOTE, "d/sent"), seen, "it is the same node");
    assert_eq!(pair.seen(LOCAL)["d/xsent~"].as_deref(), Some(&b"sent"[..]));
    assert_eq!(remote(&mut pair), ["d", "d/sent"]);
}

/// A file that a synced name names too is sent under both.
#[test]
fn a_hard_link_elsewhere_takes_it_along() {
    let mut pair = pair();
    let ino = pair.find(LOCAL, "d/xbuild/out").expect("is there");
    let parent = pair.find(LOCAL, "d").expect("is there");
    let name = Name::new(b"released").expect("legal");
    let linked = pair.ask(LOCAL, Request::Link { ino, parent, name });
    assert!(matches!(linked, Ok(Response::Entry(_))), "{linked:?}");
    pair.meet();
    assert_eq!(remote(&mut pair), ["d", "d/released", "d/sent", "d/xbuild", "d/xbuild/out"]);
}

/// Removing a folder elsewhere neither takes away what stays here, nor brings the folder back there.
#[test]
fn a_folder_that_was_removed_elsewhere_stays_for_what_is_only_here() {
    let mut pair = pair();
    pair.remove_all(REMOTE, "d");
    pair.meet();
    assert_eq!(remote(&mut pair), Vec::<String>::new());
    let here = tree(&[("d/", ""), ("d/xbuild/", ""), ("d/xbuild/out", "stays")]);
    assert_eq!(pair.seen(LOCAL), here);
    assert_eq!(pair.status(LOCAL).pending_nodes, 0);
    pair.save(LOCAL, "d/new", b"wanted");
    pair.meet();
    assert_eq!(remote(&mut pair), ["d", "d/new"]);
    // And once more, for good.
    pair.remove_all(REMOTE, "d");
    pair.meet();
    pair.remove_all(LOCAL, "d");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[]));
}

#[test]
fn what_stays_here_survives_a_crash() {
    let mut pair = pair();
    let Pair { devices, store, random } = &mut pair;
    devices[LOCAL].crash(store, random, 5);
    pair.meet();
    assert_eq!(remote(&mut pair), ["d", "d/sent"]);
    assert_eq!(pair.status(LOCAL).local_only_nodes, 2);
    assert_eq!(pair.seen(LOCAL)["d/xbuild/out"].as_deref(), Some(&b"stays"[..]));
}
