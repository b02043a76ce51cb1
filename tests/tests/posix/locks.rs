//! Locks between open files of one device: whole files, ranges of a process, ranges of an open file.

use meshdrive_tests::{World, wait_until};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::{File, OpenOptions},
    os::fd::AsRawFd,
    path::Path,
};

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// `fcntl` with a lock of `kind` on a range; the kind and the process of the lock in the way, if asked.
fn range(file: &File, command: i32, kind: i32, (start, len): (i64, i64)) -> Result<i32, Errno> {
    // SAFETY: all zeros is a lock.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = i16::try_from(kind).unwrap();
    lock.l_whence = i16::try_from(libc::SEEK_SET).unwrap();
    (lock.l_start, lock.l_len) = (start, len);
    // SAFETY: the lock lives during the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) } == 0 {
        return Ok(lock.l_type.into());
    }
    let code = std::io::Error::last_os_error().raw_os_error().unwrap();
    Err(Errno::from_raw_os_error(code))
}

/// Not at once: a program that another test is just starting may hold what this process has open for a
/// moment.
const FREE: &str = "the lock is free";

#[test]
fn whole_files() {
    let Some(world) = World::mounted("posix::whole_files") else { return };
    let (one, other) = (open(&world.a.path("f")), open(&world.a.path("f")));
    flock(&one, FlockOperation::NonBlockingLockExclusive).unwrap();
    let refused = flock(&other, FlockOperation::NonBlockingLockShared);
    assert_eq!(refused, Err(Errno::WOULDBLOCK));
    flock(&one, FlockOperation::NonBlockingLockShared).unwrap();
    flock(&other, FlockOperation::NonBlockingLockShared).unwrap();
    drop(other);
    let exclusive = |file: &File| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    wait_until(FREE, || exclusive(&one));
    drop(one);
    let third = open(&world.a.path("f"));
    wait_until(FREE, || exclusive(&third));
}

#[test]
fn ranges_of_open_files() {
    let Some(world) = World::mounted("posix::ranges_of_open_files") else { return };
    let (one, other) = (open(&world.a.path("f")), open(&world.a.path("f")));
    let (set, get) = (libc::F_OFD_SETLK, libc::F_OFD_GETLK);
    range(&one, set, libc::F_WRLCK, (10, 10)).unwrap();
    assert_eq!(range(&other, set, libc::F_RDLCK, (15, 1)), Err(Errno::AGAIN));
    assert_eq!(range(&other, get, libc::F_RDLCK, (15, 1)), Ok(libc::F_WRLCK));
    assert!(range(&other, set, libc::F_WRLCK, (20, 10)).is_ok());
    assert_eq!(range(&other, get, libc::F_WRLCK, (0, 10)), Ok(libc::F_UNLCK));
    drop(one);
    wait_until(FREE, || range(&other, set, libc::F_WRLCK, (15, 1)).is_ok());
}

#[test]
fn ranges_of_processes() {
    let Some(world) = World::mounted("posix::ranges_of_processes") else { return };
    let file = open(&world.a.path("f"));
    range(&file, libc::F_SETLK, libc::F_WRLCK, (0, 100)).unwrap();
    // A process does not stand in its own way.
    assert!(range(&open(&world.a.path("f")), libc::F_SETLK, libc::F_WRLCK, (0, 1)).is_ok());
    // That file was closed, and with it all locks of this process went, as POSIX wants.
    range(&file, libc::F_SETLK, libc::F_WRLCK, (0, 100)).unwrap();
    let other = "import fcntl,sys
f = open(sys.argv[1], 'r+b')
try:
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 50)
    print('locked')
except OSError as error:
    print(error.errno)
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 100)
print('beyond')";
    if !meshdrive_tests::have("posix::ranges_of_processes", &["python3"]) {
        return;
    }
    let run = || {
        let mut python = std::process::Command::new("python3");
        let output = python.args(["-c", other]).arg(world.a.path("f")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(), format!("{}\nbeyond\n", libc::EAGAIN));
    range(&file, libc::F_SETLK, libc::F_UNLCK, (0, 0)).unwrap();
    assert_eq!(run(), "locked\nbeyond\n");
}
