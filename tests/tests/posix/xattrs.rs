//! Extended attributes: create and replace, limits, errors.

use meshdrive_tests::World;
use rustix::{
    fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr},
    io::Errno,
};
use std::fs;

/// Linux XATTR_SIZE_MAX.
const LARGEST: usize = 65_536;

#[test]
fn create_replace_and_limits() {
    let Some(world) = World::mounted("posix::create_replace_and_limits") else { return };
    let path = world.a.path("f");
    fs::write(&path, "x").unwrap();
    let set = |name: &str, value: &[u8], flags| setxattr(&path, name, value, flags);
    let (none, create, replace) = (XattrFlags::empty(), XattrFlags::CREATE, XattrFlags::REPLACE);
    assert_eq!(set("user.a", b"1", replace), Err(Errno::NODATA));
    assert_eq!(set("user.a", b"1", create), Ok(()));
    assert_eq!(set("user.a", b"2", create), Err(Errno::EXIST));
    assert_eq!(set("user.a", b"22", replace), Ok(()));
    assert_eq!(set("user.empty", b"", none), Ok(()));
    let mut room = [0; 8];
    assert_eq!(getxattr(&path, "user.a", &mut room[..1]), Err(Errno::RANGE));
    assert_eq!(getxattr(&path, "user.a", &mut room), Ok(2));
    assert_eq!(getxattr(&path, "user.empty", &mut room), Ok(0));
    assert_eq!(getxattr(&path, "user.b", &mut room), Err(Errno::NODATA));
    assert_eq!(listxattr(&path, &mut room), Err(Errno::RANGE));
    assert_eq!(removexattr(&path, "user.b"), Err(Errno::NODATA));
    assert_eq!(set("user.big", &vec![1; LARGEST + 1], none), Err(Errno::TOOBIG));
    assert_eq!(set("user.big", &vec![1; LARGEST - 1000], none), Ok(()));
    assert_eq!(set("user.big2", &vec![1; LARGEST - 1000], none), Err(Errno::NOSPC));
    assert_eq!(set(&format!("user.{}", "n".repeat(250)), b"", none), Ok(()));
    assert_eq!(set(&format!("user.{}", "n".repeat(251)), b"", none), Err(Errno::RANGE));
    assert_eq!(set("nonsense", b"1", none), Err(Errno::OPNOTSUPP));
    world.a.sync();
    world.a.unmount();
    world.a.mount();
    let mut room = vec![0; LARGEST];
    assert_eq!(getxattr(&path, "user.big", &mut room), Ok(LARGEST - 1000));
}
