//! Two trees, compared in everything that an application can see.

use crate::side::{Side, Value, list, xattr_names};
use rustix::fs::{FileType, Stat};
use std::path::Path;

/// Room for a value, in bytes: more than what is ever set.
const VALUE_ROOM: usize = 70_000;

/// What differs between the trees, as far as the first few findings.
pub(crate) fn differences(mount: &Side, local: &Side) -> Vec<String> {
    const ENOUGH: usize = 5;
    let mut found = Vec::new();
    let mut todo = vec![String::new()];
    while let Some(path) = todo.pop() {
        if found.len() >= ENOUGH {
            break;
        }
        one(mount, local, &path, &mut found, &mut todo);
    }
    found
}

fn one(mount: &Side, local: &Side, path: &str, found: &mut Vec<String>, todo: &mut Vec<String>) {
    let mut differ = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            found.push(format!("`{path}` {what}: {ours}, not {theirs}"));
        }
    };
    let show = |value: &Result<Value, rustix::io::Errno>| format!("{value:?}");
    let attr = |side: &Side| side.stat_of(path).map(|stat| side.attr(stat));
    let (ours, theirs) = (attr(mount), attr(local));
    if ours != theirs {
        differ("attributes", format!("{ours:?}"), format!("{theirs:?}"));
    }
    let names = |side: &Side| xattr_names(&side.at(path));
    let (ours, theirs) = (names(mount), names(local));
    let text = |names: &rustix::io::Result<Vec<Vec<u8>>>| {
        names.as_ref().map(|names| format!("{}", names.join(&b' ').escape_ascii())).ok()
    };
    differ("xattrs", format!("{:?}", text(&ours)), format!("{:?}", text(&theirs)));
    for name in theirs.unwrap_or_default() {
        let name = String::from_utf8(name).unwrap();
        let value = |side: &Side| show(&side.xattr(path, &name, VALUE_ROOM));
        differ(&name, value(mount), value(local));
    }
    match local.stat_of(path).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Some(FileType::Directory) => {
            let ours = list(&mount.at(path));
            let theirs = list(&local.at(path));
            differ("listing", show(&ours), show(&theirs));
            if let (Ok(Value::Names(ours)), Ok(Value::Names(theirs))) = (ours, theirs) {
                let both = ours.keys().filter(|name| theirs.contains_key(*name));
                for name in both.filter(|name| *name != b"." && *name != b"..") {
                    let name = String::from_utf8(name.clone()).unwrap();
                    let below = if path.is_empty() { name } else { format!("{path}/{name}") };
                    todo.push(below);
                }
            }
        }
        Some(FileType::RegularFile) => {
            let (ours, theirs) = (bytes(&mount.at(path)), bytes(&local.at(path)));
            if ours != theirs {
                found.push(format!("`{path}` content: {}", first_difference(&ours, &theirs)));
            }
        }
        Some(FileType::Symlink) => {
            let target = |side: &Side| format!("{:?}", std::fs::read_link(side.at(path)));
            differ("target", target(mount), target(local));
        }
        _ => {}
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| format!("unreadable: {error}").into_bytes())
}

pub(crate) fn first_difference(ours: &[u8], theirs: &[u8]) -> String {
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b);
    let at = at.unwrap_or(ours.len().min(theirs.len()));
    let part = |bytes: &[u8]| bytes[at..bytes.len().min(at + 16)].escape_ascii().to_string();
    let (mine, other) = (part(ours), part(theirs));
    format!("{} and {} bytes, from {at} on {mine} not {other}", ours.len(), theirs.len())
}

/// Which times moved.
pub(crate) fn moved(before: Option<&Stat>, after: Option<&Stat>) -> Option<(bool, bool)> {
    let (before, after) = (before?, after?);
    if FileType::from_raw_mode(before.st_mode) == FileType::Fifo {
        return None; // what goes through it is not the file system's business
    }
    let mtime = (before.st_mtime, before.st_mtime_nsec) != (after.st_mtime, after.st_mtime_nsec);
    let ctime = (before.st_ctime, before.st_ctime_nsec) != (after.st_ctime, after.st_ctime_nsec);
    (before.st_ino == after.st_ino).then_some((mtime, ctime))
}

/// Whether two changes in a row always have different times here; older kernels round them.
pub(crate) fn fine_clock(folder: &Path) -> bool {
    const TRIES: u32 = 200;
    let file = folder.join("clock");
    let time = || {
        std::fs::write(&file, "x").unwrap();
        let stat = rustix::fs::stat(&file).unwrap();
        (stat.st_mtime, stat.st_mtime_nsec)
    };
    let fine = (0..TRIES).all(|_| time() != time());
    std::fs::remove_file(&file).unwrap();
    fine
}
