use crate::listing::*;
use fs_core::{Attr, DirEntry, Ino, Kind, Timestamp};

#[test]
fn costs_are_those_of_the_kernels_structs() {
    assert_eq!(cost(1), 32);
    assert_eq!(cost(8), 32);
    assert_eq!(cost(9), 40);
    assert_eq!(cost_plus(1), 160);
    assert_eq!(cost_plus(8), 160);
    assert_eq!(cost_plus(255), 408);
}

#[test]
fn the_guess_follows_what_fitted_and_starts_anew_with_a_listing() {
    let room = Room::default();
    assert_eq!(room.guess(0), FIRST_ROOM);
    room.overflowed(4000);
    assert_eq!(room.guess(5), 4096);
    room.overflowed(8192);
    assert_eq!(room.guess(9), 8192);
    room.overflowed(0);
    assert_eq!(room.guess(9), 4096);
    assert_eq!(room.guess(0), FIRST_ROOM);
}

fn entry(name: &str, with_attr: bool) -> DirEntry {
    let zero = Timestamp(0);
    let attr = Attr {
        ino: Ino(2),
        kind: Kind::File,
        mode: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        size: 0,
        blocks: 0,
        atime: zero,
        mtime: zero,
        ctime: zero,
        btime: zero,
    };
    let attr = with_attr.then_some(attr);
    DirEntry { ino: Ino(2), kind: Kind::File, name: name.into(), cookie: 1, attr }
}

#[test]
fn only_lookups_are_given_back() {
    assert!(counted(&entry("a", true)));
    assert!(!counted(&entry("a", false)));
    assert!(!counted(&entry(".", true)));
    assert!(!counted(&entry("..", true)));
}
