//! Times: nanoseconds, far from today, now and left as they are.

use meshdrive_tests::World;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use std::{fs, os::unix::fs::MetadataExt, path::Path, time::SystemTime};

const TIMES: &[(i64, i64)] = &[
    (0, 0),
    (-1, 999_999_999),
    (-2_000_000_000, 1),
    (2_147_483_648, 123_456_789),
    (5_000_000_000, 999_999_999),
    (9_000_000_000, 1),
];

fn set(path: &Path, atime: (i64, i64), mtime: (i64, i64)) {
    let spec = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: spec(atime), last_modification: spec(mtime) };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn shown(path: &Path) -> ((i64, i64), (i64, i64)) {
    let meta = fs::symlink_metadata(path).unwrap();
    ((meta.atime(), meta.atime_nsec()), (meta.mtime(), meta.mtime_nsec()))
}

#[test]
fn all_times_are_kept() {
    let Some(world) = World::mounted("posix::all_times_are_kept") else { return };
    let path = |at: usize| world.a.path(format!("f{at}"));
    for (at, time) in TIMES.iter().enumerate() {
        fs::write(path(at), "x").unwrap();
        set(&path(at), TIMES[TIMES.len() - 1 - at], *time);
    }
    let check = || {
        for (at, time) in TIMES.iter().enumerate() {
            assert_eq!(shown(&path(at)), (TIMES[TIMES.len() - 1 - at], *time));
        }
    };
    check();
    world.a.sync();
    world.a.unmount();
    world.a.mount();
    check();
}

#[test]
fn now_and_as_it_is() {
    let Some(world) = World::mounted("posix::now_and_as_it_is") else { return };
    let path = world.a.path("f");
    fs::write(&path, "x").unwrap();
    let (now, omit) = ((0, UTIME_NOW), (0, UTIME_OMIT));
    set(&path, (7, 8), (9, 10));
    set(&path, omit, omit);
    assert_eq!(shown(&path), ((7, 8), (9, 10)));
    set(&path, omit, (11, 12));
    assert_eq!(shown(&path), ((7, 8), (11, 12)));
    let start = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    set(&path, now, omit);
    let (atime, mtime) = shown(&path);
    assert!(atime.0 + 1 >= i64::try_from(start).unwrap() && mtime == (11, 12), "{atime:?}");
}

#[test]
fn what_changes_moves_the_times() {
    let Some(world) = World::mounted("posix::what_changes_moves_the_times") else { return };
    let path = world.a.path("f");
    fs::write(&path, "x").unwrap();
    let times = || {
        let meta = fs::metadata(&path).unwrap();
        ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()))
    };
    let mut last = times();
    let mut moved = |mtime: bool| {
        let now = times();
        assert_eq!((now.0 != last.0, now.1 != last.1), (mtime, true));
        last = now;
    };
    fs::write(&path, "y").unwrap();
    moved(true);
    let mut mode = fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
    fs::set_permissions(&path, mode).unwrap();
    moved(false);
    rustix::fs::setxattr(&path, "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    moved(false);
    fs::rename(&path, world.a.path("g")).unwrap();
    fs::rename(world.a.path("g"), &path).unwrap();
    moved(false);
}
