//! Changes that come from elsewhere, to what is on the disk here.

use crate::world::{World, wait_until};

#[test]
fn a_new_version_takes_the_place_of_a_clean_one() {
    let world = World::new();
    world.remote.write("a", b"one");
    wait_until("its bytes are read", || world.read("a").is_ok_and(|it| it == b"one"));
    assert_eq!(world.state("a"), "hydrated");
    world.remote.write("a", b"two, and longer");
    wait_until("the new ones are read", || {
        world.read("a").is_ok_and(|it| it == b"two, and longer")
    });
    // Written here, sent, then changed elsewhere: evictable, so the new version shows.
    world.write("b", b"mine");
    world.remote.sees("b", b"mine");
    world.quiet();
    world.remote.write("b", b"theirs");
    wait_until("the new ones are read", || world.read("b").is_ok_and(|it| it == b"theirs"));
    world.keeps_the_contract();
}

#[test]
fn removals_and_moves_from_elsewhere_show() {
    let world = World::new();
    for name in ["gone", "moved", "kept"] {
        world.remote.write(name, name.as_bytes());
        wait_until("its bytes are read", || world.read(name).is_ok_and(|it| it == name.as_bytes()));
    }
    world.remote.make_dir("dir");
    world.remote.write("dir\\x", b"x");
    wait_until("its bytes are read", || world.read("dir\\x").is_ok_and(|it| it == b"x"));
    world.remote.remove("gone");
    world.remote.rename("moved", "there");
    world.remote.remove("dir\\x");
    world.remote.remove("dir");
    wait_until("the listing is that of the store", || world.list("").unwrap() == ["kept", "there"]);
    wait_until("its bytes are read", || world.read("there").is_ok_and(|it| it == b"moved"));
    assert_eq!(world.state("gone"), "virtual");
    world.keeps_the_contract();
}

#[test]
fn an_open_file_is_taken_away_when_it_is_closed() {
    let world = World::new();
    world.remote.write("a", b"one");
    wait_until("its bytes are read", || world.read("a").is_ok_and(|it| it == b"one"));
    world.app.hold(&world.root(), "a", true);
    world.remote.remove("a");
    wait_until("it is gone elsewhere", || {
        world.device().tree.entry(&crate::world::place("a")).unwrap().is_none()
    });
    assert_eq!(world.state("a"), "hydrated");
    world.app.hold(&world.root(), "a", false);
    wait_until("it is gone here", || world.state("a") == "virtual");
    assert_eq!(world.list("").unwrap(), Vec::<String>::new());
    world.keeps_the_contract();
}
