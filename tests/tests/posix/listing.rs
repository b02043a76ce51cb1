//! Listings while entries come and go: positions stay, nothing comes twice, nothing that stays is left
//! out, and every listing ends.

use meshdrive_tests::World;
use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
};

const ENTRIES: usize = 3_000;
/// Entries that a listing may have before it counts as endless.
const ENDLESS: usize = 10 * ENTRIES;

/// The C library's view of an open folder.
struct Reader(*mut libc::DIR);

impl Reader {
    fn open(path: &Path) -> Reader {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a path that ends with a NUL.
        let folder = unsafe { libc::opendir(path.as_ptr()) };
        assert!(!folder.is_null());
        Reader(folder)
    }

    /// The next name but `.` and `..`.
    fn next(&mut self) -> Option<String> {
        loop {
            // SAFETY: an open folder, used by one thread.
            let entry = unsafe { libc::readdir(self.0) };
            if entry.is_null() {
                return None;
            }
            // SAFETY: the entry is valid until the next call, and its name ends with a NUL.
            let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) };
            let name = name.to_str().unwrap().to_string();
            if name != "." && name != ".." {
                return Some(name);
            }
        }
    }

    fn rest(&mut self) -> Vec<String> {
        let names: Vec<String> = std::iter::from_fn(|| self.next()).take(ENDLESS).collect();
        assert!(names.len() < ENDLESS, "the listing does not end");
        names
    }

    fn tell(&self) -> i64 {
        // SAFETY: an open folder.
        unsafe { libc::telldir(self.0) }
    }

    fn seek(&mut self, position: i64) {
        // SAFETY: an open folder, and a position that it gave.
        unsafe { libc::seekdir(self.0, position) };
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: an open folder, not used again.
        unsafe { libc::closedir(self.0) };
    }
}

fn filled(test: &str) -> Option<World> {
    let world = World::mounted(test)?;
    fs::create_dir(world.a.path("d")).unwrap();
    for number in 0..ENTRIES {
        fs::write(world.a.path(format!("d/f{number:05}")), "").unwrap();
    }
    Some(world)
}

fn set(names: &[String]) -> BTreeSet<&String> {
    let set: BTreeSet<&String> = names.iter().collect();
    assert_eq!(set.len(), names.len(), "a name came twice");
    set
}

#[test]
fn positions_stay() {
    let Some(world) = filled("posix::positions_stay") else { return };
    let (mut one, mut other) = (Reader::open(&world.a.path("d")), Reader::open(&world.a.path("d")));
    let first: Vec<String> = (0..1_000).map(|_| one.next().unwrap()).collect();
    let middle = one.tell();
    let rest = one.rest();
    // Others come and go, before the position and behind it.
    for name in first.iter().step_by(2).chain(rest.iter().step_by(3)) {
        fs::remove_file(world.a.path("d").join(name)).unwrap();
    }
    for number in 0..500 {
        fs::write(world.a.path(format!("d/new{number}")), "").unwrap();
    }
    one.seek(middle);
    let again = one.rest();
    let again = set(&again);
    let stayed: Vec<&String> =
        rest.iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, name)| name).collect();
    assert!(stayed.iter().all(|name| again.contains(name)), "a name behind the position is gone");
    assert!(first.iter().all(|name| !again.contains(name)), "a name before the position came");
    let all = other.rest();
    let all = set(&all);
    let kept: Vec<&String> = first.iter().skip(1).step_by(2).collect();
    assert!(kept.iter().chain(&stayed).all(|name| all.contains(name)));
}

#[test]
fn removing_what_is_listed_removes_all() {
    let Some(world) = filled("posix::removing_what_is_listed_removes_all") else { return };
    let folder = world.a.path("d");
    let mut reader = Reader::open(&folder);
    let mut removed = 0;
    while let Some(name) = reader.next() {
        fs::remove_file(folder.join(name)).unwrap();
        removed += 1;
    }
    assert_eq!(removed, ENTRIES);
    fs::remove_dir(&folder).unwrap();
}

#[test]
fn a_listing_ends_while_names_change() {
    let Some(world) = filled("posix::a_listing_ends_while_names_change") else { return };
    let folder = world.a.path("d");
    let mut reader = Reader::open(&folder);
    let mut count = 0;
    while let Some(name) = reader.next() {
        fs::rename(folder.join(&name), folder.join(format!("r{count}-{name}"))).unwrap_or_default();
        fs::write(folder.join(format!("also{count}")), "").unwrap();
        count += 1;
        assert!(count < ENDLESS, "the listing does not end");
    }
    assert!(count >= ENTRIES, "only {count}");
}
