//! The shortest way through everything: written here, in the store, read there.

use meshdrive_tests::{World, wait_until};
use std::fs;

#[test]
fn written_here_and_read_there() {
    let Some((world, b)) = World::pair("smoke") else { return };
    fs::create_dir(world.a.path("d")).unwrap();
    fs::write(world.a.path("d/f"), b"hello").unwrap();
    world.a.sync();
    wait_until("the other device has it", || b.path("d/f").exists());
    assert_eq!(fs::read(b.path("d/f")).unwrap(), b"hello");
    b.unmount();
    world.a.unmount();
}
