//! Open files: flags, holes, mappings, files without a name, room.

use meshdrive_tests::{World, content, copy_program, wait_until};
use rustix::{
    fs::{Mode, OFlags, SeekFrom, fstat, open, seek, statvfs},
    io::{Errno, pread, pwrite, write},
};
use std::{fs, os::fd::AsRawFd, os::fd::OwnedFd, path::Path};

fn open_with(path: &Path, flags: OFlags) -> OwnedFd {
    open(path, flags, Mode::RUSR | Mode::WUSR).unwrap()
}

#[test]
fn flags_of_open() {
    let Some(world) = World::mounted("posix::flags_of_open") else { return };
    let path = world.a.path("f");
    let made = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    let file = open_with(&path, made);
    assert_eq!(open(&path, made, Mode::RUSR).err(), Some(Errno::EXIST));
    write(&file, b"0123456789").unwrap();
    let (one, other) = (
        open_with(&path, OFlags::WRONLY | OFlags::APPEND),
        open_with(&path, OFlags::WRONLY | OFlags::APPEND | OFlags::SYNC),
    );
    for _ in 0..100 {
        write(&one, b"aa").unwrap();
        write(&other, b"bbb").unwrap();
    }
    let text = fs::read(&path).unwrap();
    assert_eq!(text.len(), 10 + 500);
    assert_eq!(&text[10..20], b"aabbbaabbb");
    drop(open_with(&path, OFlags::WRONLY | OFlags::TRUNC));
    assert_eq!(fstat(&file).unwrap().st_size, 0);
    write(&one, b"end").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"end");
    let folder = open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
    assert_eq!(folder.err(), Some(Errno::NOTDIR));
    let written = open(world.a.root(), OFlags::WRONLY, Mode::empty());
    assert_eq!(written.err(), Some(Errno::ISDIR));
}

#[test]
fn past_the_kernels_cache() {
    const BLOCK: usize = 4096;
    let Some(world) = World::mounted("posix::past_the_kernels_cache") else { return };
    let path = world.a.path("f");
    let direct = open_with(&path, OFlags::CREATE | OFlags::RDWR | OFlags::DIRECT);
    let cached = open_with(&path, OFlags::RDWR);
    let layout = std::alloc::Layout::from_size_align(4 * BLOCK, BLOCK).unwrap();
    // SAFETY: the size is above zero.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) };
    assert!(!memory.is_null());
    // SAFETY: four blocks that were just allocated, freed below.
    let block = unsafe { std::slice::from_raw_parts_mut(memory, 4 * BLOCK) };
    block.copy_from_slice(&content(1, 4 * BLOCK));
    assert_eq!(pwrite(&direct, &*block, 0), Ok(4 * BLOCK));
    let mut seen = vec![0; 4 * BLOCK];
    assert_eq!(pread(&cached, &mut seen, 0), Ok(4 * BLOCK));
    assert!(seen == block);
    pwrite(&cached, b"changed", 4096).unwrap();
    assert_eq!(pread(&direct, &mut *block, 0), Ok(4 * BLOCK));
    assert_eq!(&block[4096..4103], b"changed");
    // SAFETY: allocated above with this layout, and no longer used.
    unsafe { std::alloc::dealloc(memory, layout) };
}

#[test]
fn holes_are_found_and_read_as_zeros() {
    let Some(world) = World::mounted("posix::holes_are_found_and_read_as_zeros") else { return };
    let file = open_with(&world.a.path("f"), OFlags::CREATE | OFlags::RDWR);
    pwrite(&file, b"end", 1 << 30).unwrap();
    let size = (1 << 30) + 3;
    assert_eq!(fstat(&file).unwrap().st_size, size);
    let mut bytes = [1; 16];
    pread(&file, &mut bytes, 500_000_000).unwrap();
    assert_eq!(bytes, [0; 16]);
    let end = u64::try_from(size).unwrap();
    // Where data is must be said to be data; that a hole is one need not be.
    assert!(seek(&file, SeekFrom::Data(0)).unwrap() <= 1 << 30);
    assert_eq!(seek(&file, SeekFrom::Data(1 << 30)), Ok(1 << 30));
    assert!(seek(&file, SeekFrom::Hole(0)).unwrap() <= end);
    assert_eq!(seek(&file, SeekFrom::Hole(1 << 30)), Ok(end));
    assert_eq!(seek(&file, SeekFrom::Data(end)), Err(Errno::NXIO));
    assert_eq!(seek(&file, SeekFrom::Hole(end)), Err(Errno::NXIO));
}

#[test]
fn a_file_without_a_name_lives_until_it_is_closed() {
    let Some(world) = World::mounted("posix::a_file_without_a_name_lives_until_it_is_closed")
    else {
        return;
    };
    let path = world.a.path("f");
    let file = open_with(&path, OFlags::CREATE | OFlags::RDWR);
    pwrite(&file, &content(1, 100_000), 0).unwrap();
    world.a.sync();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another").unwrap();
    world.a.sync();
    world.a.run(&["evict", "work"]).expect(0, &[]);
    let mut bytes = vec![0; 100_000];
    pread(&file, &mut bytes, 0).unwrap();
    assert!(bytes == content(1, 100_000));
    pwrite(&file, b"more", 200_000).unwrap();
    let stat = fstat(&file).unwrap();
    assert_eq!((stat.st_nlink, stat.st_size), (0, 200_004));
    rustix::fs::fchmod(&file, Mode::RUSR).unwrap();
    rustix::fs::ftruncate(&file, 5).unwrap();
    assert_eq!(pread(&file, &mut bytes, 0), Ok(5));
    assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    drop(file);
    world.a.sync();
}

#[test]
fn a_shared_mapping_is_the_file() {
    const LEN: usize = 64 << 10;
    let Some(world) = World::mounted("posix::a_shared_mapping_is_the_file") else { return };
    let path = world.a.path("f");
    fs::write(&path, content(1, LEN)).unwrap();
    let file = open_with(&path, OFlags::RDWR);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of an open file, taken down below.
    let map = unsafe {
        libc::mmap(std::ptr::null_mut(), LEN, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    assert_ne!(map, libc::MAP_FAILED);
    drop(file); // the mapping stays
    // SAFETY: mapped above; the file keeps its length.
    let bytes = unsafe { std::slice::from_raw_parts_mut(map.cast::<u8>(), LEN) };
    assert!(bytes == content(1, LEN));
    let other = open_with(&path, OFlags::RDWR);
    pwrite(&other, b"written", 10_000).unwrap();
    assert_eq!(&bytes[10_000..10_007], b"written");
    bytes[20_000..20_006].copy_from_slice(b"mapped");
    let mut seen = [0; 6];
    pread(&other, &mut seen, 20_000).unwrap();
    assert_eq!(&seen, b"mapped");
    // SAFETY: the range is mapped; afterwards it is not used.
    unsafe {
        assert_eq!(libc::msync(map, LEN, libc::MS_SYNC), 0);
        assert_eq!(libc::munmap(map, LEN), 0);
    }
    drop(other);
    world.a.sync();
    world.a.run(&["evict", "work"]).expect(0, &[]);
    let stored = fs::read(&path).unwrap();
    assert!(&stored[10_000..10_007] == b"written" && &stored[20_000..20_006] == b"mapped");
}

#[test]
fn a_program_that_runs_is_not_written() {
    let Some(world) = World::mounted("posix::a_program_that_runs_is_not_written") else { return };
    let program = world.a.path("program");
    copy_program("/bin/sleep", &program);
    let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
    let size = fs::metadata(&program).unwrap().len();
    let flags = [OFlags::WRONLY, OFlags::RDWR, OFlags::RDONLY | OFlags::TRUNC];
    let opened = flags.map(|flags| open(&program, flags, Mode::empty()).err());
    let runs = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(opened, [Some(Errno::TXTBSY); 3]);
    assert!(runs && fs::metadata(&program).unwrap().len() == size, "the program was cut");
}

#[test]
fn room_is_told() {
    let Some(world) = World::mounted("posix::room_is_told") else { return };
    let told = statvfs(world.a.root()).unwrap();
    assert_eq!(told.f_namemax, 255);
    assert!(told.f_bsize >= 512 && told.f_blocks >= told.f_bfree && told.f_bfree >= told.f_bavail);
    assert!(told.f_bavail > 0 && told.f_favail > 0 && told.f_files >= told.f_ffree);
    let used = || {
        let told = statvfs(world.a.root()).unwrap();
        told.f_files - told.f_ffree
    };
    let before = used();
    (0..20).for_each(|n| fs::write(world.a.path(format!("f{n}")), "x").unwrap());
    wait_until("statfs counts the files", || used() >= before + 20);
}
