//! Conflicts, and what a role may not do.

use crate::world::{World, wait_until};

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
    world.keeps_the_contract();
}
