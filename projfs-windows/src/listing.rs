//! A directory as Windows sees it: names translated, clashes told apart, in the order that ProjFS
//! wants.

use crate::{
    fold::{compare, key},
    names::{UNITS_MAX, to_windows},
};
use fs_core::{Attr, Ino, Name};
use std::collections::BTreeSet;

/// One node as the core lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub name: Name,
    pub attr: Attr,
}

/// One entry as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What Windows calls it; unique in its directory whatever the case.
    pub shown: Vec<u16>,
    pub node: Node,
}

/// The entries of one directory, sorted by [`compare`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing(Vec<Entry>);

impl Listing {
    /// Names that differ by case only would be one name on Windows: the first in byte order keeps
    /// its name, the others show `~1`, `~2`, ... before the extension. The cloud keeps them all as
    /// they are. The result depends on the set of names only, not on the order of `nodes`.
    #[must_use]
    pub fn new(mut nodes: Vec<Node>) -> Listing {
        nodes.sort_by(|left, right| left.name.cmp(&right.name));
        let (mut entries, mut clashes) = (Vec::with_capacity(nodes.len()), Vec::new());
        let mut taken = BTreeSet::new();
        for node in nodes {
            let shown = to_windows(&node.name);
            if taken.insert(key(&shown)) {
                entries.push(Entry { shown, node });
            } else {
                clashes.push(Entry { shown, node });
            }
        }
        // After all others, so that a mangled name never takes the place of a real one.
        for mut entry in clashes {
            entry.shown = free_name(&entry.shown, &taken);
            taken.insert(key(&entry.shown));
            entries.push(entry);
        }
        entries.sort_by(|left, right| compare(&left.shown, &right.shown));
        Listing(entries)
    }

    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The entry that Windows calls `shown`, in any case.
    #[must_use]
    pub fn find(&self, shown: &[u16]) -> Option<&Entry> {
        let at = self.0.binary_search_by(|entry| compare(&entry.shown, shown)).ok()?;
        self.0.get(at)
    }

    /// The entry of a node.
    #[must_use]
    pub fn of(&self, ino: Ino) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.node.attr.ino == ino)
    }
}

/// `shown` with the lowest free number; there is one below the number of names taken.
fn free_name(shown: &[u16], taken: &BTreeSet<Vec<u16>>) -> Vec<u16> {
    let numbers = 1..=taken.len() + 1;
    let mut names = numbers.map(|number| numbered(shown, number));
    names.find(|name| !taken.contains(&key(name))).unwrap_or_else(|| shown.to_vec())
}

/// `stem~number.ext`, the stem cut so that it stays within [`UNITS_MAX`].
fn numbered(shown: &[u16], number: usize) -> Vec<u16> {
    let dot = shown.iter().rposition(|&unit| unit == u16::from(b'.')).filter(|&at| at > 0);
    let mark: Vec<u16> = format!("~{number}").encode_utf16().collect();
    let (stem, mut extension) = shown.split_at(dot.unwrap_or(shown.len()));
    if extension.len() + mark.len() >= UNITS_MAX {
        extension = &[];
    }
    let mut stem = &stem[..stem.len().min(UNITS_MAX - extension.len() - mark.len())];
    // A cut must not leave half a surrogate pair.
    if let [rest @ .., 0xd800..=0xdbff] = stem {
        stem = rest;
    }
    [stem, &mark, extension].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fs_core::{Kind, Timestamp};
    use proptest::prelude::*;

    pub(crate) fn node(name: &[u8]) -> Node {
        let time = Timestamp(0);
        let attr = Attr {
            ino: Ino(2),
            kind: Kind::File,
            mode: 0o644,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 1,
            blocks: 1,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
        };
        Node { name: Name::new(name).unwrap(), attr }
    }

    fn shown(names: &[&str]) -> Vec<String> {
        let listing = Listing::new(names.iter().map(|name| node(name.as_bytes())).collect());
        listing.entries().iter().map(|e| String::from_utf16(&e.shown).unwrap()).collect()
    }

    #[test]
    fn clashes_are_numbered_before_the_extension() {
        assert_eq!(shown(&["a.txt", "A.TXT", "A.txt"]), ["A.TXT", "A~1.txt", "a~2.txt"]);
        assert_eq!(shown(&["x", "X"]), ["X", "x~1"]);
        assert_eq!(shown(&[".profile", ".PROFILE"]), [".PROFILE", ".profile~1"]);
    }

    #[test]
    fn a_mangled_name_never_takes_a_real_one() {
        assert_eq!(shown(&["a", "A", "a~1"]), ["A", "a~1", "a~2"]);
    }

    #[test]
    fn long_names_are_cut() {
        let long = "é".repeat(127);
        let names = shown(&[&long, &long.to_uppercase()]);
        assert!(names.iter().all(|name| name.encode_utf16().count() <= UNITS_MAX));
        let mangled = numbered(&"😀".repeat(127).encode_utf16().chain([97]).collect::<Vec<_>>(), 7);
        assert!(mangled.len() <= UNITS_MAX && String::from_utf16(&mangled).is_ok());
        let extension: Vec<u16> = format!("a.{}", "x".repeat(253)).encode_utf16().collect();
        assert!(numbered(&extension, 1).len() <= UNITS_MAX);
    }

    proptest! {
        #[test]
        fn listings_are_strictly_ascending_and_complete(
            mut names in prop::collection::btree_set("[aAbB~1.éÉ]{1,4}", 1..30),
        ) {
            names.retain(|name| Name::new(name.as_bytes()).is_ok());
            let nodes: Vec<Node> = names.iter().map(|name| node(name.as_bytes())).collect();
            let listing = Listing::new(nodes.iter().cloned().rev().collect());
            prop_assert_eq!(&listing, &Listing::new(nodes.clone()));
            prop_assert_eq!(listing.entries().len(), nodes.len());
            for pair in listing.entries().windows(2) {
                prop_assert!(compare(&pair[0].shown, &pair[1].shown).is_lt());
            }
            for entry in listing.entries() {
                prop_assert_eq!(listing.find(&key(&entry.shown)), Some(entry));
            }
        }
    }
}
