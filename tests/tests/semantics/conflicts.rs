//! Conflicts. `left` reaches the store first in every test.

use crate::{Apart, has, level, names};
use meshdrive_tests::{Device, PATIENCE, content, have, tool, tree};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, FileTimes},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

/// Both devices have the same tree.
#[track_caller]
fn are_equal(apart: &Apart) {
    let of = |device: &Device| meshdrive_tests::tree_of(&device.root());
    let end = Instant::now() + PATIENCE;
    loop {
        let (left, right) = (of(&apart.left), of(&apart.right));
        if matches!((&left, &right), (Ok(left), Ok(right)) if left == right) {
            return;
        }
        assert!(Instant::now() < end, "left has {left:#?}\nright has {right:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Contents of all files in a folder.
#[track_caller]
fn contents(folder: &Path) -> BTreeSet<Vec<u8>> {
    names(folder.into()).iter().map(|name| fs::read(folder.join(name)).unwrap()).collect()
}

/// Asserts that the name says what it is: a conflict, of which device, when.
#[track_caller]
fn is_marked(name: &OsString, stem: &str) {
    let name = name.to_str().unwrap();
    let is_of_device = name.contains("left") || name.contains("right");
    assert!(name.starts_with(stem) && name.contains("conflict") && is_of_device, "{name}");
    let digits = name.chars().filter(char::is_ascii_digit).count();
    assert!(digits >= 14, "no time in {name}");
}

#[test]
fn claim_edit_edit_keeps_both() {
    let Some(apart) = Apart::mounted("semantics::claim_edit_edit_keeps_both") else { return };
    fs::create_dir(apart.left.path("d")).unwrap();
    fs::write(apart.left.path("d/f.txt"), b"before").unwrap();
    has(&apart.right, "d/f.txt", b"before");
    apart.part();
    fs::write(apart.left.path("d/f.txt"), b"of the left").unwrap();
    fs::write(apart.right.path("d/f.txt"), b"of the right").unwrap();
    apart.meet();
    are_equal(&apart);
    for device in [&apart.left, &apart.right] {
        let both = BTreeSet::from([b"of the left".to_vec(), b"of the right".to_vec()]);
        assert_eq!(contents(&device.path("d")), both, "on {}", device.name());
        let seen = names(device.path("d"));
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen.contains(&"f.txt".into()), "{seen:?}");
        is_marked(seen.iter().find(|name| *name != "f.txt").unwrap(), "f");
    }
}

#[test]
fn claim_create_create_keeps_both() {
    let Some(apart) = Apart::mounted("semantics::claim_create_create_keeps_both") else { return };
    apart.part();
    for device in [&apart.left, &apart.right] {
        let name = device.name();
        fs::create_dir(device.path("files")).unwrap();
        fs::write(device.path("files/f.txt"), name).unwrap();
        fs::create_dir_all(device.path("folder/deep")).unwrap();
        fs::write(device.path(format!("folder/{name}")), name).unwrap();
        fs::write(device.path(format!("folder/deep/{name}")), name).unwrap();
    }
    apart.meet();
    are_equal(&apart);
    let right = &apart.right;
    assert_eq!(names(right.root()), ["files", "folder"]);
    let both = BTreeSet::from([b"left".to_vec(), b"right".to_vec()]);
    assert_eq!(contents(&right.path("files")), both);
    let seen = names(right.path("files"));
    is_marked(seen.iter().find(|name| *name != "f.txt").unwrap(), "f");
    assert_eq!(names(right.path("folder")), ["deep", "left", "right"]);
    assert_eq!(contents(&right.path("folder/deep")), both);
}

#[test]
fn claim_edit_wins_over_delete() {
    let Some(apart) = Apart::mounted("semantics::claim_edit_wins_over_delete") else { return };
    let (left, right) = (&apart.left, &apart.right);
    for name in ["left_edits", "right_edits"] {
        fs::write(left.path(name), b"before").unwrap();
        has(right, name, b"before");
    }
    apart.part();
    fs::write(left.path("left_edits"), b"edited").unwrap();
    fs::remove_file(right.path("left_edits")).unwrap();
    fs::remove_file(left.path("right_edits")).unwrap();
    fs::write(right.path("right_edits"), b"edited").unwrap();
    apart.meet();
    are_equal(&apart);
    for device in [left, right] {
        assert_eq!(names(device.root()), ["left_edits", "right_edits"]);
        has(device, "left_edits", b"edited");
        has(device, "right_edits", b"edited");
    }
}

#[test]
fn claim_rename_and_edit_both_apply() {
    let Some(apart) = Apart::mounted("semantics::claim_rename_and_edit_both_apply") else { return };
    let (left, right) = (&apart.left, &apart.right);
    fs::create_dir(left.path("d")).unwrap();
    for name in ["one", "two"] {
        fs::write(left.path(name), b"before").unwrap();
        has(right, name, b"before");
    }
    apart.part();
    fs::write(left.path("one"), b"edited").unwrap();
    fs::rename(right.path("one"), right.path("d/moved")).unwrap();
    fs::rename(left.path("two"), left.path("d/too")).unwrap();
    fs::write(right.path("two"), b"edited too").unwrap();
    apart.meet();
    are_equal(&apart);
    assert_eq!(names(left.root()), ["d"]);
    assert_eq!(names(left.path("d")), ["moved", "too"]);
    has(left, "d/moved", b"edited");
    has(left, "d/too", b"edited too");
}

#[test]
fn claim_new_child_keeps_its_folder() {
    let Some(apart) = Apart::mounted("semantics::claim_new_child_keeps_its_folder") else { return };
    let (left, right) = (&apart.left, &apart.right);
    for name in ["left_removes", "right_removes"] {
        fs::create_dir_all(left.path(name).join("deep")).unwrap();
        fs::write(left.path(name).join("deep/old"), b"old").unwrap();
        has(right, format!("{name}/deep/old"), b"old");
    }
    apart.part();
    fs::remove_dir_all(left.path("left_removes")).unwrap();
    fs::write(right.path("left_removes/deep/new"), b"of the right").unwrap();
    fs::write(left.path("right_removes/deep/new"), b"of the left").unwrap();
    fs::remove_dir_all(right.path("right_removes")).unwrap();
    apart.meet();
    are_equal(&apart);
    has(left, "left_removes/deep/new", b"of the right");
    has(left, "right_removes/deep/new", b"of the left");
}

/// Makes the clock of a program wrong by `SHIFT` seconds.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    const char *shift = getenv("SHIFT");
    if (id == CLOCK_REALTIME && shift) now->tv_sec += atol(shift);
    return result;
}
"#;

#[test]
fn claim_clocks_decide_nothing() {
    let test = "semantics::claim_clocks_decide_nothing";
    if !have(test, &["cc", "bash"]) {
        return;
    }
    // Ten years, and the other way round.
    let outcomes: Vec<_> = [0, 315_360_000, -315_360_000]
        .into_iter()
        .filter_map(|shift| outcome_with_clock(test, shift))
        .collect();
    let Some(first) = outcomes.first() else { return };
    assert!(first.len() >= 4, "{first:?}");
    for outcome in &outcomes {
        assert_eq!(outcome, first, "clocks have decided");
    }
}

/// Names without their tags, and contents, after the same conflicts with the clock of `right` wrong.
fn outcome_with_clock(test: &str, shift: i64) -> Option<BTreeSet<(bool, String, Vec<u8>)>> {
    let apart = Apart::new(test)?;
    let (left, right) = (&apart.left, &apart.right);
    fs::write(right.home().join("clock.c"), CLOCK).unwrap();
    tool(right.home(), "cc -shared -fPIC -o clock.so clock.c -ldl");
    left.mount();
    let library = right.home().join("clock.so");
    right.mount_in(&[("LD_PRELOAD", library.as_os_str()), ("SHIFT", shift.to_string().as_ref())]);
    for name in ["edited", "edit_and_delete", "delete_and_edit"] {
        fs::write(left.path(name), b"before").unwrap();
        has(right, name, b"before");
    }
    apart.part();
    for (device, is_ahead) in [(left, shift < 0), (right, shift > 0)] {
        let seconds = if is_ahead { 2_000_000_000 } else { 1_000_000_000 };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let write = |name: &str| {
            fs::write(device.path(name), content(device.name().len() as u64, 5_000)).unwrap();
            let file = File::options().write(true).open(device.path(name)).unwrap();
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
        };
        write("edited");
        write("created");
    }
    fs::write(left.path("edit_and_delete"), b"edited").unwrap();
    fs::remove_file(right.path("edit_and_delete")).unwrap();
    fs::remove_file(left.path("delete_and_edit")).unwrap();
    fs::write(right.path("delete_and_edit"), b"edited").unwrap();
    apart.meet();
    level(left, right);
    are_equal(&apart);
    let plain = |path: &Path| {
        let name = path.to_str().unwrap();
        let end = name.find(" (conflict").unwrap_or(name.len());
        (end < name.len(), name[..end].to_string())
    };
    let files = tree(&left.root());
    // Tags carry the time of the device that made them: its clock really was wrong.
    let stamps = files.keys().filter_map(|path| path.to_str()?.rsplit_once(", "));
    let years: BTreeSet<i64> = stamps.map(|(_, time)| time[..4].parse().unwrap()).collect();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let year = 1_970 + (now + shift) / 31_556_952;
    assert!(years.iter().all(|found| (year - 1..=year + 1).contains(found)), "{years:?}, {year}");
    assert!(!years.is_empty(), "no conflict was marked");
    let found = files.into_iter().map(|(path, entry)| match entry {
        meshdrive_tests::Entry::File { bytes, .. } => (plain(&path).0, plain(&path).1, bytes),
        other => panic!("{}: {other:?}", path.display()),
    });
    Some(found.collect())
}
