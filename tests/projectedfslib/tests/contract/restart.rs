//! What happened while the program did not run.

use crate::world::{World, place, wait_until};
use std::fs;

#[test]
fn what_was_done_while_stopped_is_found() {
    let mut world = World::new();
    world.remote.write("read", b"one");
    world.remote.write("gone", b"gone");
    for (name, data) in [("read", &b"one"[..]), ("gone", b"gone")] {
        wait_until("its bytes are read", || world.read(name).is_ok_and(|it| it == data));
    }
    world.write("mine", b"mine");
    world.remote.sees("mine", b"mine");
    world.quiet();
    world.stop();
    // Written files stay writable; changes elsewhere go on.
    fs::write(world.root().join("mine"), b"mine, edited while stopped").unwrap();
    world.remote.write("read", b"two");
    world.remote.remove("gone");
    world.start();
    world.remote.sees("mine", b"mine, edited while stopped");
    wait_until("the new version is read", || world.read("read").is_ok_and(|it| it == b"two"));
    wait_until("what is gone is gone", || world.list("").unwrap() == ["mine", "read"]);
    world.keeps_the_contract();
}

#[test]
fn a_damaged_queue_loses_nothing() {
    let mut world = World::new();
    world.write("sent", b"sent");
    world.remote.sees("sent", b"sent");
    world.quiet();
    world.app.write(&world.root(), "sent", 0, b"SENT", false).unwrap();
    world.write("fresh", b"fresh");
    world.stop();
    fs::write(world.ledger(), b"not a database any more, whatever it was before").unwrap();
    for end in ["-wal", "-shm"] {
        let mut name = world.ledger().into_os_string();
        name.push(end);
        let _ = fs::remove_file(name);
    }
    world.start();
    world.remote.sees("fresh", b"fresh");
    // The version that the edit was made to is not known any more: the edit is there under this name or
    // under one of its own.
    wait_until("the edit is kept", || {
        let names = world.remote.names("");
        names.iter().filter_map(|name| world.remote.read(name)).any(|it| it == b"SENT")
    });
    world.quiet();
    assert!(world.device().tree.entry(&place("sent")).unwrap().is_some());
    world.keeps_the_contract();
}
