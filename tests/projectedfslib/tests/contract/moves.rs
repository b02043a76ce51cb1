//! Moves that ProjFS refuses, and that the drive makes itself.

use crate::world::{World, place, wait_until};
use projfs_windows::windows::RenameError;

/// A folder with a file that was read, one that was written here, and one that is only projected.
fn full_folder(world: &World) {
    world.remote.make_dir("dir");
    world.remote.make_dir("dir\\sub");
    world.remote.write("dir\\sub\\read", b"read");
    world.remote.write("dir\\projected", b"projected");
    wait_until("its bytes are read", || {
        world.read("dir\\sub\\read").is_ok_and(|bytes| bytes == b"read")
    });
    world.write("dir\\written", b"written");
    world.remote.sees("dir\\written", b"written");
    world.quiet();
}

#[test]
fn a_projected_folder_is_renamed_by_the_drive() {
    let world = World::new();
    full_folder(&world);
    world.remote.make_dir("other");
    wait_until("it is listed", || world.list("").unwrap() == ["dir", "other"]);
    let refused = world.app.rename(&world.root(), "dir", "other\\new").unwrap_err();
    assert_eq!(refused.cast_unsigned(), 0x8007_0032);
    world.mount().rename(&place("dir"), &place("other\\new")).unwrap();
    assert_eq!(world.list("").unwrap(), ["other"]);
    assert_eq!(world.list("other\\new").unwrap(), ["projected", "sub", "written"]);
    let files = [("sub\\read", &b"read"[..]), ("projected", b"projected"), ("written", b"written")];
    for (name, data) in files {
        assert_eq!(world.read(&format!("other\\new\\{name}")).unwrap(), data, "{name}");
        world.remote.sees(&format!("other\\new\\{name}"), data);
    }
    assert!(world.read("dir\\written").is_err());
    assert!(world.remote.read("dir\\written").is_none());
    world.quiet();
    // In its case only.
    world.mount().rename(&place("other\\new"), &place("other\\NEW")).unwrap();
    wait_until("it has the new case", || world.list("other").unwrap() == ["NEW"]);
    assert_eq!(world.read("other\\new\\written").unwrap(), b"written");
    world.keeps_the_contract();
}

#[test]
fn a_folder_in_use_is_not_renamed() {
    let world = World::new();
    full_folder(&world);
    world.app.hold(&world.root(), "dir\\sub\\read", true);
    let refused = world.mount().rename(&place("dir"), &place("new")).unwrap_err();
    assert_eq!(refused, RenameError::InUse("dir".into()));
    assert_eq!(world.list("").unwrap(), ["dir"]);
    assert_eq!(world.list("dir").unwrap(), ["projected", "sub", "written"]);
    assert_eq!(world.read("dir\\written").unwrap(), b"written");
    world.app.hold(&world.root(), "dir\\sub\\read", false);
    world.mount().rename(&place("dir"), &place("new")).unwrap();
    assert_eq!(world.list("").unwrap(), ["new"]);
    world.keeps_the_contract();
}

#[test]
fn nothing_is_replaced_by_a_rename_of_the_drive() {
    let world = World::new();
    full_folder(&world);
    world.remote.write("taken", b"taken");
    wait_until("it is listed", || world.list("").unwrap() == ["dir", "taken"]);
    let rename = |from, to| world.mount().rename(&place(from), &place(to)).unwrap_err();
    assert_eq!(rename("dir", "TAKEN"), RenameError::Taken("TAKEN".into()));
    assert_eq!(rename("dir", "dir\\sub\\dir"), RenameError::Inside);
    assert_eq!(rename("", "new"), RenameError::Inside);
    assert_eq!(rename("nothing", "new"), RenameError::Missing("nothing".into()));
    assert_eq!(world.list("").unwrap(), ["dir", "taken"]);
    world.keeps_the_contract();
}
