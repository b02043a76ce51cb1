//! Names, links and renames, and the errors of each.

use meshdrive_tests::World;
use rustix::{
    fs::{CWD, Mode, OFlags, RenameFlags, open, renameat_with, symlink},
    io::Errno,
};
use std::{fs, os::unix::fs::MetadataExt, path::Path};

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    renameat_with(CWD, from, CWD, to, flags)
}

#[test]
fn names_of_255_bytes_and_no_more() {
    let Some(world) = World::mounted("posix::names_of_255_bytes_and_no_more") else { return };
    let (long, wide) = ("n".repeat(255), "ü".repeat(127));
    for name in [&long, &wide] {
        fs::create_dir(world.a.path(name)).unwrap();
        fs::write(world.a.path(name).join(name), name).unwrap();
        assert_eq!(fs::read_to_string(world.a.path(name).join(name)).unwrap(), **name);
    }
    let longer = world.a.path("n".repeat(256));
    let errors = [
        open(&longer, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).err(),
        rustix::fs::mkdir(&longer, Mode::RWXU).err(),
        rename(&world.a.path(&long), &longer, RenameFlags::empty()).err(),
        rustix::fs::lstat(&longer).err(),
        symlink("x", &longer).err(),
    ];
    assert_eq!(errors, [Some(Errno::NAMETOOLONG); 5]);
    let deep = world.a.path("x/".repeat(2100));
    assert_eq!(rustix::fs::lstat(&deep).err(), Some(Errno::NAMETOOLONG));
}

#[test]
fn links_in_a_circle() {
    let Some(world) = World::mounted("posix::links_in_a_circle") else { return };
    symlink("b", world.a.path("a")).unwrap();
    symlink("a", world.a.path("b")).unwrap();
    let opened = open(world.a.path("a"), OFlags::RDONLY, Mode::empty());
    assert_eq!(opened.err(), Some(Errno::LOOP));
    fs::write(world.a.path("f"), "x").unwrap();
    symlink("f", world.a.path("l")).unwrap();
    let refused = open(world.a.path("l"), OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty());
    assert_eq!(refused.err(), Some(Errno::LOOP));
}

#[test]
fn another_file_system_is_another() {
    let Some(world) = World::mounted("posix::another_file_system_is_another") else { return };
    fs::write(world.a.path("f"), "x").unwrap();
    let other = world.path("other");
    assert_eq!(rename(&world.a.path("f"), &other, RenameFlags::empty()), Err(Errno::XDEV));
    assert_eq!(rustix::fs::link(world.a.path("f"), &other), Err(Errno::XDEV));
}

#[test]
fn renames_that_replace_nothing_or_exchange() {
    let Some(world) = World::mounted("posix::renames_that_replace_nothing_or_exchange") else {
        return;
    };
    let path = |name: &str| world.a.path(name);
    fs::write(path("f"), "f").unwrap();
    fs::create_dir_all(path("d/e")).unwrap();
    let no_replace = RenameFlags::NOREPLACE;
    assert_eq!(rename(&path("f"), &path("d"), no_replace), Err(Errno::EXIST));
    assert_eq!(rename(&path("f"), &path("g"), no_replace), Ok(()));
    assert_eq!(rename(&path("g"), &path("nowhere"), RenameFlags::EXCHANGE), Err(Errno::NOENT));
    assert_eq!(rename(&path("g"), &path("d"), RenameFlags::EXCHANGE), Ok(()));
    assert!(path("g/e").is_dir() && fs::read_to_string(path("d")).unwrap() == "f");
    let into_itself = rename(&path("g"), &path("g/e"), RenameFlags::EXCHANGE);
    assert!(matches!(into_itself, Err(Errno::INVAL | Errno::NOTEMPTY)), "{into_itself:?}");
    let both = no_replace | RenameFlags::EXCHANGE;
    assert_eq!(rename(&path("g"), &path("d"), both), Err(Errno::INVAL));
}

#[test]
fn a_folder_changes_with_its_entries() {
    let Some(world) = World::mounted("posix::a_folder_changes_with_its_entries") else { return };
    fs::create_dir_all(world.a.path("d/e")).unwrap();
    let folder = world.a.path("d");
    let time = || {
        let meta = fs::metadata(&folder).unwrap();
        (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
    };
    let mut last = time();
    let mut moved = |what: &str| {
        assert_ne!(time(), last, "{what}");
        last = time();
    };
    fs::write(folder.join("f"), "x").unwrap();
    moved("create");
    fs::rename(folder.join("f"), folder.join("g")).unwrap();
    moved("rename within");
    fs::rename(folder.join("g"), folder.join("e/g")).unwrap();
    moved("rename out of it");
    symlink("x", folder.join("l")).unwrap();
    moved("symlink");
    fs::remove_file(folder.join("l")).unwrap();
    moved("unlink");
    fs::create_dir(folder.join("s")).unwrap();
    moved("mkdir");
    assert_eq!(fs::metadata(&folder).unwrap().nlink(), 4);
    fs::remove_dir(folder.join("s")).unwrap();
    moved("rmdir");
    assert_eq!(fs::metadata(&folder).unwrap().nlink(), 3);
}
