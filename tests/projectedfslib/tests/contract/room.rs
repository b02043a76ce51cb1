//! Room on the disk.

use crate::world::{World, place};

#[test]
fn what_is_clean_is_evicted_and_comes_again() {
    let world = World::new();
    world.remote.make_dir("dir");
    world.remote.write("dir\\read", b"read");
    world.remote.write("open", b"open");
    world.lists("", &[("dir", 0), ("open", 4)]);
    world.lists("dir", &[("read", 4)]);
    for (name, data) in [("dir\\read", b"read"), ("open", b"open")] {
        assert_eq!(world.read(name).unwrap(), data);
    }
    world.write("sent", b"sent");
    world.remote.sees("sent", b"sent");
    world.quiet();
    world.app.hold(&world.root(), "open", true);
    let mount = world.device().mount.as_ref().unwrap();
    assert_eq!(mount.evict(&place("")), 8);
    let states = ["dir\\read", "sent", "open"].map(|name| world.state(name));
    assert_eq!(states, ["virtual", "virtual", "hydrated"]);
    world.app.hold(&world.root(), "open", false);
    for (name, data) in [("dir\\read", b"read"), ("sent", b"sent"), ("open", b"open")] {
        assert_eq!(world.read(name).unwrap(), data, "{name}");
    }
    world.keeps_the_contract();
}
