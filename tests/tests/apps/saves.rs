//! How editors and office suites save.

use meshdrive_tests::{Device, World, have, have_any, tool};
use std::fs;

#[track_caller]
fn sizes_of_versions(device: &Device, path: &str) -> Vec<u64> {
    let versions = device.at(&["versions", "--json"], path);
    let versions = versions.expect(0, &[]).json();
    versions.as_array().unwrap().iter().map(|version| version["size"].as_u64().unwrap()).collect()
}

/// Saves `path` in the drive with a shell function `save PATH TEXT`, three times; each is a version
/// of the same file, newest first, here and on the other device.
#[track_caller]
fn is_one_file_with_history(test: &str, save: &str) {
    if !have(test, &["bash"]) {
        return;
    }
    let Some((world, b)) = World::pair(test) else { return };
    let a = &world.a;
    fs::write(a.path("text"), b"1").unwrap();
    tool(&a.root(), "chmod 640 text; setfattr -n user.k -v v text 2>/dev/null || true");
    a.sync();
    for text in ["22", "333", "4444"] {
        tool(&a.root(), &format!("{save}\nsave text {text}"));
        assert_eq!(fs::read_to_string(a.path("text")).unwrap(), text);
        a.sync();
        assert_eq!(a.figure("conflicts"), 0);
    }
    assert_eq!(sizes_of_versions(a, "text"), [4, 3, 2, 1]);
    let names = |device: &Device| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(device.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    meshdrive_tests::wait_until("the last save is on the other device", || {
        fs::read(b.path("text")).is_ok_and(|bytes| bytes == b"4444")
    });
    meshdrive_tests::wait_until("both folders hold the same", || names(a) == names(&b));
    assert_eq!(sizes_of_versions(&b, "text"), [4, 3, 2, 1]);
}

/// Many editors: a temporary file, fsync, rename over.
#[test]
fn temporary_file_and_rename() {
    is_one_file_with_history(
        "apps::temporary_file_and_rename",
        "save() { printf %s $2 > .$1.tmp; chmod 640 .$1.tmp; sync .$1.tmp; mv .$1.tmp $1; sync .; }",
    );
}

/// vim with `backupcopy=no`: the old file becomes a backup, a new one takes its name, the backup goes.
#[test]
fn backup_write_remove() {
    is_one_file_with_history(
        "apps::backup_write_remove",
        "save() { : > 4913; rm 4913; : > .$1.swp; mv $1 $1~; printf %s $2 > $1; sync $1; chmod 640 $1; rm $1~ .$1.swp; }",
    );
}

/// LibreOffice: a lock file, a temporary file moved over, the lock file removed; the old file is
/// still open.
#[test]
fn office_suite() {
    is_one_file_with_history(
        "apps::office_suite",
        "save() {
            exec 3< $1; echo me > .~lock.$1#; printf %s $2 > lu1234.tmp; sync lu1234.tmp
            mv lu1234.tmp $1; cat <&3 > /dev/null; exec 3<&-; rm .~lock.$1#
        }",
    );
}

/// A save that takes so long that the temporary file is in the cloud before it is moved over: still a
/// version of the same file, and the temporary one is gone everywhere.
#[test]
fn slow_temporary_file_and_rename() {
    let Some((world, b)) = World::pair("apps::slow_temporary_file_and_rename") else { return };
    let a = &world.a;
    fs::write(a.path("text"), b"1").unwrap();
    a.sync();
    for text in ["22", "333", "4444"] {
        fs::write(a.path("text.tmp"), text).unwrap();
        a.sync();
        fs::rename(a.path("text.tmp"), a.path("text")).unwrap();
        a.sync();
        assert_eq!(fs::read_to_string(a.path("text")).unwrap(), text);
        assert_eq!(a.figure("conflicts"), 0);
        meshdrive_tests::wait_until("the save is on the other device", || {
            fs::read_to_string(b.path("text")).is_ok_and(|there| there == text)
        });
        meshdrive_tests::wait_until("the temporary file is gone there", || {
            fs::read_dir(b.root()).unwrap().count() == 1
        });
    }
    assert_eq!(sizes_of_versions(a, "text"), [4, 3, 2, 1]);
    assert_eq!(sizes_of_versions(&b, "text"), [4, 3, 2, 1]);
    a.unmount();
    a.mount();
    assert_eq!(fs::read_to_string(a.path("text")).unwrap(), "4444");
}

/// Written in place.
#[test]
fn in_place() {
    is_one_file_with_history("apps::in_place", "save() { printf %s $2 > $1; }");
}

#[test]
fn vim_itself() {
    if !have_any("apps::vim_itself", &["vim", "vim.tiny"]) {
        return;
    }
    let Some(world) = World::mounted("apps::vim_itself") else { return };
    let vim = tool(world.dir(), "command -v vim || command -v vim.tiny").out;
    fs::write(world.a.path("text"), b"one\n").unwrap();
    world.a.sync();
    for copy in ["yes", "no"] {
        tool(
            &world.a.root(),
            &format!(
                "TERM=dumb {} -u NONE -es -c 'set backupcopy={copy} fsync' -c 'normal Gotwo' -c wq text </dev/null",
                vim.trim()
            ),
        );
        world.a.sync();
    }
    assert_eq!(fs::read_to_string(world.a.path("text")).unwrap(), "one\ntwo\ntwo\n");
    assert_eq!(sizes_of_versions(&world.a, "text"), [12, 8, 4]);
    assert_eq!(fs::read_dir(world.a.root()).unwrap().count(), 1);
}
