//! Browse, read, write, rename, delete.

use crate::world::{World, wait_until};
use projectedfslib::Scan;
use std::{fs::File, os::windows::fs::OpenOptionsExt};

/// Bytes that differ at every place.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn what_is_in_the_store_is_listed_and_read() {
    let world = World::new();
    world.remote.make_dir("docs");
    let large = noise(3_000_001);
    world.remote.write("docs\\large.bin", &large);
    world.remote.write("docs\\a.txt", b"hello");
    world.remote.write("empty", b"");
    world.lists("docs", &[("a.txt", 5), ("large.bin", large.len())]);
    assert_eq!(world.list("").unwrap(), ["docs", "empty"]);
    // Listing makes no placeholders; looking at a file does, and fetches nothing.
    assert_eq!(world.state("docs\\a.txt"), "virtual");
    world.app.open(&world.root(), "DOCS\\LARGE.BIN").unwrap();
    assert_eq!(world.state("docs\\large.bin"), "placeholder");
    assert!(world.read("docs\\large.bin").unwrap() == large);
    assert_eq!(world.state("docs\\large.bin"), "hydrated");
    assert_eq!(world.read("docs\\a.txt").unwrap(), b"hello");
    assert_eq!(world.read("empty").unwrap(), b"");
    assert!(world.app.exists(&world.root(), "docs\\a.txt").unwrap());
    assert!(!world.app.exists(&world.root(), "docs\\b.txt").unwrap());
    assert!(world.read("docs\\b.txt").is_err());
    world.keeps_the_contract();
}

#[test]
fn a_listing_resumes_restarts_and_filters() {
    let world = World::new();
    for name in ["b.txt", "A.txt", "_x", "c.log", "Z", "10", "9"] {
        world.remote.write(name, name.as_bytes());
    }
    wait_until("all of it is listed", || world.list("").unwrap().len() == 7);
    let all = ["10", "9", "A.txt", "b.txt", "c.log", "Z", "_x"];
    let list = |scan| {
        let listed = world.app.list(&world.root(), "", scan).unwrap();
        listed.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
    };
    for room in [1, 2, 3, 100] {
        assert_eq!(list(Scan { room, ..Scan::default() }), all, "room for {room}");
        assert_eq!(list(Scan { room, restart: true, ..Scan::default() }), all, "room for {room}");
    }
    assert_eq!(list(Scan { pattern: Some("*.TXT"), ..Scan::default() }), ["A.txt", "b.txt"]);
    assert_eq!(list(Scan { pattern: Some("?"), room: 1, ..Scan::default() }), ["9", "Z"]);
    let none = world.app.list(&world.root(), "", Scan { room: 0, ..Scan::default() });
    assert_eq!(none.unwrap_err().cast_unsigned(), 0x8007_007a);
    world.keeps_the_contract();
}

#[test]
fn what_is_written_here_is_seen_elsewhere() {
    let world = World::new();
    world.write("new.txt", b"first");
    world.remote.sees("new.txt", b"first");
    // Changed in place, then replaced by something shorter.
    world.app.write(&world.root(), "new.txt", 3, b"ST and more", false).unwrap();
    world.remote.sees("new.txt", b"firST and more");
    world.write("new.txt", b"2");
    world.remote.sees("new.txt", b"2");
    world.quiet();
    assert_eq!(world.read("new.txt").unwrap(), b"2");
    // A file of the store that is changed here, without having been read before.
    world.remote.write("old.txt", b"from elsewhere");
    wait_until("it is listed", || world.list("").unwrap().len() == 2);
    wait_until("its bytes are read", || {
        world.read("old.txt").is_ok_and(|bytes| bytes == b"from elsewhere")
    });
    world.app.write(&world.root(), "old.txt", 0, b"FROM", false).unwrap();
    assert_eq!(world.state("old.txt"), "full");
    world.remote.sees("old.txt", b"FROM elsewhere");
    world.keeps_the_contract();
}

#[test]
fn folders_are_made_with_what_is_in_them() {
    let world = World::new();
    world.app.make_dir(&world.root(), "a").unwrap();
    world.app.make_dir(&world.root(), "a\\b").unwrap();
    world.write("a\\b\\c.txt", b"deep");
    world.remote.sees("a\\b\\c.txt", b"deep");
    // What others put there shows too.
    world.remote.write("a\\b\\d.txt", b"theirs");
    wait_until("it is listed", || world.list("a\\b").unwrap() == ["c.txt", "d.txt"]);
    wait_until("its bytes are read", || {
        world.read("a\\b\\d.txt").is_ok_and(|bytes| bytes == b"theirs")
    });
    world.keeps_the_contract();
}

#[test]
fn files_are_renamed_and_moved() {
    let world = World::new();
    world.remote.make_dir("to");
    world.remote.write("one", b"1");
    world.remote.write("two", b"2");
    wait_until("all of it is listed", || world.list("").unwrap().len() == 3);
    wait_until("its size is known", || world.read("one").is_ok_and(|bytes| bytes == b"1"));
    world.app.rename(&world.root(), "one", "to\\uno").unwrap();
    world.remote.sees("to\\uno", b"1");
    wait_until("it is not in the old place", || world.remote.read("one").is_none());
    // In place of another, and again before anybody has looked.
    world.app.rename(&world.root(), "two", "to\\dos").unwrap();
    world.app.rename(&world.root(), "to\\dos", "to\\uno").unwrap();
    world.remote.sees("to\\uno", b"2");
    world.quiet();
    assert_eq!(world.list("").unwrap(), ["to"]);
    assert_eq!(world.list("to").unwrap(), ["uno"]);
    assert_eq!(world.read("to\\uno").unwrap(), b"2");
    // Windows renames no projected folder.
    let refused = world.app.rename(&world.root(), "to", "elsewhere").unwrap_err();
    assert_eq!(refused.cast_unsigned(), 0x8007_0032);
    world.keeps_the_contract();
}

#[test]
fn what_is_deleted_here_goes_to_the_bin_of_the_store() {
    let world = World::new();
    world.remote.make_dir("dir");
    world.remote.write("dir\\a", b"a");
    world.remote.write("b", b"b");
    wait_until("all of it is listed", || {
        world.list("").unwrap().len() == 2 && world.list("dir").is_ok_and(|names| names.len() == 1)
    });
    assert!(world.app.delete(&world.root(), "dir").is_err());
    world.app.delete(&world.root(), "dir\\a").unwrap();
    world.app.delete(&world.root(), "dir").unwrap();
    world.app.delete(&world.root(), "b").unwrap();
    wait_until("nothing is left elsewhere", || world.remote.names("").is_empty());
    world.quiet();
    assert_eq!(world.list("").unwrap(), Vec::<String>::new());
    // The marks are gone: what comes again shows.
    assert_eq!((world.state("b"), world.state("dir")), ("virtual", "virtual"));
    world.remote.write("b", b"again");
    wait_until("it is there again", || world.read("b").is_ok_and(|bytes| bytes == b"again"));
    world.keeps_the_contract();
}

#[test]
fn what_is_deleted_while_the_driver_reads_it_is_deleted_elsewhere() {
    let world = World::new();
    world.write("large", &vec![7; 48 << 20]);
    wait_until("it is being read", || {
        let alone = File::options().read(true).share_mode(0).open(world.root().join("large"));
        alone.is_err_and(|error| error.raw_os_error() == Some(32))
    });
    world.app.delete(&world.root(), "large").unwrap();
    world.quiet();
    assert_eq!(world.state("large"), "virtual");
    wait_until("nothing is left elsewhere", || world.remote.names("").is_empty());
    world.keeps_the_contract();
}

#[test]
fn a_save_by_replacing_is_a_new_version() {
    let world = World::new();
    world.remote.write("report.docx", b"old");
    wait_until("its bytes are read", || world.read("report.docx").is_ok_and(|it| it == b"old"));
    // As office programs save: a new file, the old one aside, the new one in its place.
    world.write("~tmp1", b"new content");
    world.app.rename(&world.root(), "report.docx", "~old1").unwrap();
    world.app.rename(&world.root(), "~tmp1", "report.docx").unwrap();
    world.app.delete(&world.root(), "~old1").unwrap();
    world.remote.sees("report.docx", b"new content");
    wait_until("nothing else is left", || world.remote.names("") == ["report.docx"]);
    world.quiet();
    assert_eq!(world.read("report.docx").unwrap(), b"new content");
    world.keeps_the_contract();
}

#[test]
fn hard_links_are_refused() {
    let world = World::new();
    world.write("a", b"a");
    assert_eq!(world.app.link(&world.root(), "a").unwrap_err().cast_unsigned(), 0x8007_0005);
    world.keeps_the_contract();
}
