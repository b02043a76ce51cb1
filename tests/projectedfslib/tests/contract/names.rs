//! Names that Windows cannot hold, and names that it cannot tell apart.

use crate::world::{World, place, wait_until};
use fs_core::{CreateSpec, Ino, Kind, Name, Owner, Request, Response};
use projfs_windows::fold;

windows::core::link!("ntdll.dll" "system" fn RtlUpcaseUnicodeChar(unit: u16) -> u16);

#[test]
fn names_that_are_one_on_windows_are_both_shown() {
    let world = World::new();
    for (name, data) in [("Case", b"upper"), ("case", b"lower")] {
        // By their true names: a path would find the first for the second.
        let spec = CreateSpec {
            kind: Kind::File,
            mode: 0o644,
            rdev: 0,
            owner: Owner::default(),
            target: Vec::new(),
        };
        let name = Name::new(name.as_bytes()).unwrap();
        let request = Request::Make { parent: Ino::ROOT, name, spec };
        let made = world.remote.tree.port().call(request).unwrap();
        let Response::Entry(attr) = made else { panic!("{made:?}") };
        world.remote.tree.push(attr.ino, &mut &data[..], attr.mtime).unwrap();
    }
    wait_until("both are listed", || world.list("").unwrap() == ["Case", "case~1"]);
    wait_until("its bytes are read", || world.read("CASE").is_ok_and(|it| it == b"upper"));
    wait_until("its bytes are read", || world.read("case~1").is_ok_and(|it| it == b"lower"));
    world.app.write(&world.root(), "case~1", 0, b"LOWER", false).unwrap();
    wait_until("it went to the right one", || {
        world.remote.read("case~1").is_some_and(|bytes| bytes == b"LOWER")
            && world.remote.read("Case").is_some_and(|bytes| bytes == b"upper")
    });
    world.keeps_the_contract();
}

#[test]
fn names_that_windows_cannot_hold_are_shown_reversibly() {
    let world = World::new();
    let name = Name::new(b"what? a:b*.").unwrap();
    let shown = String::from_utf16(&projfs_windows::names::to_windows(&name)).unwrap();
    let spec = CreateSpec {
        kind: Kind::File,
        mode: 0o644,
        rdev: 0,
        owner: Owner::default(),
        target: Vec::new(),
    };
    world.remote.tree.port().call(Request::Make { parent: Ino::ROOT, name, spec }).unwrap();
    world.remote.tree.forget_listing(Ino::ROOT);
    wait_until("it is listed", || world.list("").unwrap() == [shown.clone()]);
    world.app.write(&world.root(), &shown, 0, b"written", true).unwrap();
    wait_until("its bytes are there", || {
        world.remote.read(&shown).is_some_and(|bytes| bytes == b"written")
    });
    assert!(world.remote.tree.entry(&place(&shown)).unwrap().is_some());
    world.keeps_the_contract();
}

/// The table of this system; Wine's is the one of Windows' own `l_intl.nls` as far as Wine has it.
#[test]
fn names_are_ordered_by_the_table_of_the_system() {
    let differing: Vec<String> = (0..=u16::MAX)
        // SAFETY: a function from a number to a number.
        .filter(|&unit| fold::upper(unit) != unsafe { RtlUpcaseUnicodeChar(unit) })
        .map(|unit| {
            // SAFETY: as above.
            let theirs = unsafe { RtlUpcaseUnicodeChar(unit) };
            format!("{unit:04x}: ours {:04x}, theirs {theirs:04x}", fold::upper(unit))
        })
        .collect();
    assert!(differing.is_empty(), "{} units: {}", differing.len(), differing.join("; "));
}
