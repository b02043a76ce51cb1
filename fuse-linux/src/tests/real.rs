//! A drive in memory on a real mount. Skips aloud where FUSE cannot be used.

#[path = "../../../engine/src/tests/stores.rs"]
#[allow(dead_code)]
mod stores;

use crate::attach::{self, Options};
use crate::{FS_TYPE, Mount, MountConfig, MountError, recover_dead_mount};
use engine::{Engine, EngineConfig};
use fs_core::Limits;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags,
};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stores::{MemoryCloud, MemoryLocal};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const PATIENCE: Duration = Duration::from_secs(20);

/// Fields drop in this order: the mount first, then what serves it.
struct Mounted {
    mount: Mount,
    engine: Engine,
    cloud: Arc<MemoryCloud>,
    _runtime: Runtime,
    folder: TempDir,
}

impl Mounted {
    /// `None` where this machine lets nobody mount.
    fn new() -> Option<Mounted> {
        if !can_mount() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (local, cloud) = (Arc::new(MemoryLocal::default()), Arc::new(MemoryCloud::default()));
        let config = EngineConfig {
            limits: Limits { settle_ms: 5, ..Limits::default() },
            local,
            cloud: Arc::clone(&cloud) as _,
            seed: 1,
            device: "test".into(),
            runtime: runtime.handle().clone(),
        };
        let engine = Engine::start(config).unwrap();
        let mount = Mount::new(&MountConfig::new(folder.path()), engine.port()).unwrap();
        engine.attach(mount.driver());
        Some(Mounted { mount, engine, cloud, _runtime: runtime, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn can_mount() -> bool {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    if let Err(error) = &device {
        eprintln!("SKIPPED: no real mount here: /dev/fuse: {error}");
    }
    device.is_ok()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn files_and_folders() {
    let Some(drive) = Mounted::new() else { return };
    fs::write(drive.path("a"), "hello").unwrap();
    assert_eq!(fs::read(drive.path("a")).unwrap(), b"hello");
    assert_eq!(fs::metadata(drive.path("none")).unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(drive.path("none"), "now there").unwrap();
    assert_eq!(fs::read(drive.path("none")).unwrap(), b"now there");
    fs::create_dir(drive.path("d")).unwrap();
    fs::rename(drive.path("a"), drive.path("d/b")).unwrap();
    assert!(!drive.path("a").exists());
    assert_eq!(fs::read_to_string(drive.path("d/b")).unwrap(), "hello");
    assert_eq!(fs::remove_dir(drive.path("d")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    fs::remove_file(drive.path("d/b")).unwrap();
    fs::remove_dir(drive.path("d")).unwrap();
    assert!(!drive.path("d").exists());
    symlink("to/nowhere", drive.path("link")).unwrap();
    assert_eq!(fs::read_link(drive.path("link")).unwrap(), Path::new("to/nowhere"));
    fs::hard_link(drive.path("none"), drive.path("hard")).unwrap();
    assert_eq!(fs::metadata(drive.path("none")).unwrap().nlink(), 2);
    fs::remove_file(drive.path("hard")).unwrap();
    let long = fs::write(drive.path(&"x".repeat(256)), "").unwrap_err();
    assert_eq!(long.raw_os_error(), Some(libc::ENAMETOOLONG));
    eventually("upload", || drive.cloud.content("none").is_some());
}

#[test]
fn rename_flags_reach_the_core() {
    let Some(drive) = Mounted::new() else { return };
    let (a, b) = (drive.path("a"), drive.path("b"));
    fs::write(&a, "A").unwrap();
    fs::write(&b, "B").unwrap();
    let rename = |flags| rustix::fs::renameat_with(CWD, &a, CWD, &b, flags);
    assert_eq!(rename(RenameFlags::NOREPLACE), Err(rustix::io::Errno::EXIST));
    rename(RenameFlags::EXCHANGE).unwrap();
    assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"B".to_vec(), b"A".to_vec()));
    assert_eq!(rename(RenameFlags::WHITEOUT), Err(rustix::io::Errno::INVAL));
    rename(RenameFlags::empty()).unwrap();
    assert_eq!(fs::read(&b).unwrap(), b"B");
}

#[test]
fn a_folder_of_many_entries_is_listed_whole_and_once() {
    let Some(drive) = Mounted::new() else { return };
    let folder = drive.path("many");
    fs::create_dir(&folder).unwrap();
    let names: Vec<String> = (0..1500).map(|i| format!("{i:04}-{}", "n".repeat(i % 90))).collect();
    names.iter().for_each(|name| drop(File::create(folder.join(name)).unwrap()));
    for _ in 0..2 {
        let listed = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut listed: Vec<String> = listed.map(|name| name.into_string().unwrap()).collect();
        listed.sort();
        assert_eq!(listed, names);
    }
    names.iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
    fs::remove_dir(&folder).unwrap();
}

#[test]
fn attributes_and_times_are_kept_also_before_1970() {
    let Some(drive) = Mounted::new() else { return };
    let file = drive.path("a");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let times = [(-2, 800_000_000), (-1, 999_999_999), (0, 1), (1_700_000_000, 5)];
    for (secs, nanos) in times {
        let time = Timespec { tv_sec: secs, tv_nsec: nanos };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, &file, &times, AtFlags::empty()).unwrap();
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (secs, nanos));
        assert_eq!((meta.atime(), meta.atime_nsec()), (secs, nanos));
    }
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.size(), meta.nlink()), (0o640, 1, 1));
    let space = rustix::fs::statvfs(&file).unwrap();
    assert_eq!((space.f_namemax, space.f_bsize), (255, 4096));
}

#[test]
fn extended_attributes() {
    let Some(drive) = Mounted::new() else { return };
    let file = drive.path("a");
    fs::write(&file, "x").unwrap();
    rustix::fs::setxattr(&file, "user.k", b"value", XattrFlags::empty()).unwrap();
    let again = rustix::fs::setxattr(&file, "user.k", b"v", XattrFlags::CREATE);
    assert_eq!(again, Err(rustix::io::Errno::EXIST));
    let mut room = [0_u8; 64];
    assert_eq!(rustix::fs::getxattr_query(&file, "user.k"), Ok(5));
    assert_eq!(
        rustix::fs::getxattr(&file, "user.k", &mut room[..2]),
        Err(rustix::io::Errno::RANGE)
    );
    assert_eq!(rustix::fs::getxattr(&file, "user.k", &mut room), Ok(5));
    assert_eq!(&room[..5], b"value");
    let len = rustix::fs::listxattr(&file, &mut room).unwrap();
    assert_eq!(&room[..len], b"user.k\0");
    rustix::fs::removexattr(&file, "user.k").unwrap();
    let gone = rustix::fs::getxattr(&file, "user.k", &mut room);
    assert_eq!(gone, Err(rustix::io::Errno::NODATA));
}

#[test]
fn labels_and_acls_are_kept() {
    let Some(drive) = Mounted::new() else { return };
    let file = drive.path("a");
    fs::write(&file, "x").unwrap();
    let mut room = [0_u8; 64];
    let absent = |name: &str| rustix::fs::getxattr(&file, name, &mut [0_u8; 64]);
    assert_eq!(absent("security.selinux"), Err(rustix::io::Errno::OPNOTSUPP));
    // Nobody has made a list yet: `ls` need not ask for each file.
    assert_eq!(absent("system.posix_acl_access"), Err(rustix::io::Errno::OPNOTSUPP));
    // Version 2; owner rw-, user 7 r--, group r--, mask r--, others --- (acl(5), linux/posix_acl_xattr.h).
    let acl =
        b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x04\0\xff\xff\xff\xff\
                \x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    let set = rustix::fs::setxattr(&file, "system.posix_acl_access", acl, XattrFlags::empty());
    assert_eq!(set, Ok(()));
    let len = rustix::fs::getxattr(&file, "system.posix_acl_access", &mut room).unwrap();
    assert_eq!(&room[..len], acl);
    let other = drive.path("b");
    fs::write(&other, "x").unwrap();
    let absent = rustix::fs::getxattr(&other, "system.posix_acl_access", &mut room);
    assert_eq!(absent, Err(rustix::io::Errno::NODATA));
}

#[test]
fn open_files_append_seek_truncate_and_reserve() {
    let Some(drive) = Mounted::new() else { return };
    let path = drive.path("a");
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).unwrap();
    file.write_all(b"one").unwrap();
    file.write_all(b"two").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "onetwo");
    file.set_len(3).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 3);
    file.write_all(b"!").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one!");
    drop(file);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 100).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 100);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 0, 2).unwrap();
    let mut start = [0_u8; 4];
    file.read_exact_at(&mut start, 0).unwrap();
    assert_eq!(&start, b"\0\0e!");
    file.sync_all().unwrap();
    File::create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    let copied = fs::copy(drive.path("a"), drive.path("b")).unwrap();
    assert_eq!(copied, 0);
}

#[test]
fn a_big_file_is_written_read_and_removed_while_open() {
    let Some(drive) = Mounted::new() else { return };
    let path = drive.path("big");
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    let mut read = vec![0; bytes.len()];
    file.read_exact_at(&mut read, 0).unwrap();
    assert!(read == bytes);
}

#[test]
fn what_another_device_writes_shows_up_despite_long_times_to_live() {
    let Some(drive) = Mounted::new() else { return };
    let path = drive.path("a");
    fs::write(&path, "old").unwrap();
    eventually("upload", || drive.cloud.content("a").is_some());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    drive.cloud.overwrite("a", b"newer");
    eventually("the new content", || fs::read(&path).is_ok_and(|bytes| bytes == b"newer"));
    assert_eq!(fs::metadata(&path).unwrap().len(), 5);
}

#[test]
fn a_busy_mount_says_so_and_a_lazy_unmount_goes_through() {
    let Some(drive) = Mounted::new() else { return };
    fs::write(drive.path("a"), "x").unwrap();
    let file = File::open(drive.path("a")).unwrap();
    assert!(matches!(drive.mount.unmount(false), Err(MountError::Busy(_))));
    assert!(drive.mount.mounted());
    drive.mount.unmount(true).unwrap();
    assert!(!drive.mount.mounted());
    assert!(!drive.mount.ended());
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, 0).unwrap(), 1);
    drop(file);
    assert!(drive.mount.wait_for(PATIENCE).unwrap());
    drive.mount.unmount(false).unwrap();
}

#[test]
fn an_unmount_from_outside_is_noticed_and_the_place_left_alone() {
    let Some(drive) = Mounted::new() else { return };
    fs::write(drive.path("a"), "x").unwrap();
    attach::detach(drive.folder.path(), false).unwrap();
    drive.mount.wait().unwrap();
    assert!(drive.mount.ended() && !drive.mount.mounted());
    // Another mount at the same place is not touched by the first one's end.
    let config = MountConfig::new(drive.folder.path());
    let second = Mount::new(&config, drive.engine.port()).unwrap();
    drive.mount.unmount(false).unwrap();
    assert!(second.mounted());
    let third = Mount::new(&config, drive.engine.port());
    assert!(matches!(third, Err(MountError::AlreadyMounted { .. })));
    second.unmount(false).unwrap();
    second.wait().unwrap();
}

#[test]
fn a_read_only_mount_refuses_changes() {
    let Some(drive) = Mounted::new() else { return };
    fs::write(drive.path("a"), "x").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = MountConfig { read_only: true, ..MountConfig::new(folder.path()) };
    let mount = Mount::new(&config, drive.engine.port()).unwrap();
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"x");
    let refused = File::create(folder.path().join("b")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    mount.unmount(false).unwrap();
}

#[test]
fn the_helper_mounts_and_a_dead_mount_is_cleared_away() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap();
    assert!(!recover_dead_mount(&place).unwrap());
    let options = Options {
        source: "meshdrive".into(),
        subtype: "meshdrive",
        allow_other: false,
        read_only: false,
    };
    let channel = match attach::mount_by_helper(&place, &options) {
        Err(MountError::NoHelper) => {
            eprintln!("SKIPPED: mounting through fusermount3: it is not installed");
            return;
        }
        other => other.unwrap(),
    };
    let entry = crate::mountinfo::at(&place).unwrap().unwrap();
    assert_eq!(entry.fs_type, FS_TYPE);
    // The program dies: its descriptor closes.
    drop(channel);
    let dead = crate::mount::check_mountpoint(&place);
    assert!(matches!(dead, Err(MountError::Dead(_))), "{dead:?}");
    assert!(recover_dead_mount(&place).unwrap());
    assert!(crate::mountinfo::at(&place).unwrap().is_none());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    assert!(rustix::fs::open(&place, flags, rustix::fs::Mode::empty()).is_ok());
}
