//! Without the store, conflicts, and what a role may not do.

use crate::world::{World, wait_until};

#[test]
fn without_the_store_the_drive_goes_on() {
    let world = World::new();
    world.remote.write("here", b"here");
    world.remote.write("there", b"there");
    world.lists("", &[("here", 4), ("there", 5)]);
    assert_eq!(world.read("here").unwrap(), b"here");
    world.line.cut();
    wait_until("the device knows that it is alone", || {
        // What is not here says that the network is away, never that the file is.
        world.read("there").is_err_and(|code| {
            let code = code.cast_unsigned();
            assert_ne!(code, 0x8007_0002);
            code == 0x8007_04cf
        })
    });
    assert_eq!(world.read("here").unwrap(), b"here");
    assert_eq!(world.list("").unwrap(), ["here", "there"]);
    world.write("made", b"made alone");
    world.app.rename(&world.root(), "here", "moved").unwrap();
    world.app.delete(&world.root(), "there").unwrap();
    world.quiet();
    assert_eq!(world.list("").unwrap(), ["made", "moved"]);
    assert_eq!(world.remote.read("made"), None);
    world.line.mend();
    world.remote.sees("made", b"made alone");
    world.remote.sees("moved", b"here");
    wait_until("the removal is known", || world.remote.names("") == ["made", "moved"]);
    world.keeps_the_contract();
}

#[test]
fn an_edit_and_a_change_from_elsewhere_are_both_kept() {
    let mut world = World::new();
    world.remote.write("a.txt", b"base");
    wait_until("its bytes are read", || world.read("a.txt").is_ok_and(|it| it == b"base"));
    // While nobody is connected here, the file is edited on both sides.
    world.app.write(&world.root(), "a.txt", 0, b"mine", false).unwrap();
    world.stop();
    world.remote.write("a.txt", b"theirs, longer");
    world.start();
    wait_until("both are kept", || {
        let names = world.remote.names("");
        let all: Vec<_> = names.iter().filter_map(|name| world.remote.read(name)).collect();
        all.iter().any(|it| it == b"mine") && all.iter().any(|it| it == b"theirs, longer")
    });
    world.keeps_the_contract();
}

#[test]
fn a_role_that_may_only_read_changes_nothing() {
    let world = World::with(true);
    world.remote.write("a", b"one");
    wait_until("its bytes are read", || world.read("a").is_ok_and(|it| it == b"one"));
    let refused = |result: Result<(), i32>| result.unwrap_err().cast_unsigned();
    let root = world.root();
    assert_eq!(refused(world.app.write(&root, "a", 0, b"x", false)), 0x8007_0013);
    assert_eq!(refused(world.app.delete(&root, "a")), 0x8007_0013);
    assert_eq!(refused(world.app.rename(&root, "a", "b")), 0x8007_0013);
    assert_eq!(world.read("a").unwrap(), b"one");
    // ProjFS asks nobody before a new file is made: it stays on this disk.
    world.write("mine", b"mine");
    world.app.make_dir(&root, "folder").unwrap();
    world.quiet();
    assert_eq!(world.state("mine"), "full");
    let core = |name| world.device().tree.entry(&crate::world::place(name)).unwrap();
    assert!(core("mine").is_none() && core("folder").is_none());
    assert_eq!(
        world.mount().rename(&crate::world::place("a"), &crate::world::place("b")),
        Err(projfs_windows::windows::RenameError::ReadOnly)
    );
    world.keeps_the_contract();
}
