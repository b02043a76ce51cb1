//! Room on the disk.

use crate::world::{World, place, wait_until};
use projfs_windows::windows::{Letter, Lettered};

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
    assert_eq!(world.mount().evict(&place("")), 8);
    let states = ["dir\\read", "sent", "open"].map(|name| world.state(name));
    assert_eq!(states, ["virtual", "virtual", "hydrated"]);
    world.app.hold(&world.root(), "open", false);
    for (name, data) in [("dir\\read", b"read"), ("sent", b"sent"), ("open", b"open")] {
        assert_eq!(world.read(name).unwrap(), data, "{name}");
    }
    world.keeps_the_contract();
}

#[test]
fn what_is_pinned_stays() {
    let world = World::new();
    world.remote.make_dir("dir");
    for name in ["dir\\a", "b", "c"] {
        world.remote.write(name, name.as_bytes());
        wait_until("its bytes are read", || {
            world.read(name).is_ok_and(|bytes| bytes == name.as_bytes())
        });
    }
    world.pin("dir", true);
    world.pin("b", true);
    let states = || ["dir\\a", "b", "c"].map(|name| world.state(name));
    assert_eq!(world.mount().evict(&place("")), 1);
    assert_eq!(states(), ["hydrated", "hydrated", "virtual"]);
    assert_eq!(world.mount().evict(&place("dir\\a")), 0);
    assert_eq!(states(), ["hydrated", "hydrated", "virtual"]);
    world.pin("dir", false);
    assert_eq!(world.mount().evict(&place("dir")), 5);
    assert_eq!(states(), ["virtual", "hydrated", "virtual"]);
    world.keeps_the_contract();
}

/// As the program ends a mount.
#[test]
fn an_unmount_leaves_no_clean_content_and_every_unsent_byte() {
    let mut world = World::new();
    let letter: Letter = "W:".parse().unwrap();
    let lettered = Lettered::new(letter, &world.root()).unwrap();
    assert_eq!(letter.folder().unwrap(), Some(world.root()));
    world.remote.write("read", b"read");
    wait_until("its bytes are read", || world.read("read").is_ok_and(|it| it == b"read"));
    world.write("sent", b"sent");
    world.remote.sees("sent", b"sent");
    world.line.cut();
    world.write("unsent", b"unsent");
    assert!(world.mount().settle(std::time::Duration::from_secs(60)));
    let _ = world.mount().evict(&place(""));
    world.stop();
    drop(lettered);
    assert_eq!(letter.target().unwrap(), None);
    let left: Vec<_> = std::fs::read_dir(world.root()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    world.line.mend();
    world.start();
    world.remote.sees("unsent", b"unsent");
    for name in ["read", "sent", "unsent"] {
        wait_until("its bytes are read", || {
            world.read(name).is_ok_and(|bytes| bytes == name.as_bytes())
        });
    }
    world.keeps_the_contract();
}
