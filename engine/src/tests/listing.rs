//! When the kernel may keep a listing.

use super::*;
use fs_core::Request::Readdir;

/// Opens the root; whether the listing that the kernel has of it is right. `walk`: reads it, with
/// attributes, as the kernel does if it is not.
fn open_root(port: &Port, walk: bool) -> bool {
    let ino = Ino::ROOT;
    let (handle, kept) = match port.call(Request::Opendir { ino }) {
        Ok(Response::Opened { handle, keep_cache, .. }) => (handle, keep_cache),
        other => panic!("opendir: {other:?}"),
    };
    if walk {
        let request =
            Readdir { ino, handle, cookie: 0, room: 1 << 20, cost: |name| name, plus: true };
        assert!(matches!(port.call(request), Ok(Response::Entries(_))));
    }
    assert_eq!(port.call(Request::Releasedir { ino, handle }), Ok(Response::Done));
    kept
}

#[test]
fn files_that_were_read_are_listed_anew_and_not_asked_for_one_by_one() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    let files: Vec<Ino> = (0..40).map(|n| save(&port, &format!("f{n}"), b"text")).collect();
    assert!(!open_root(&port, true), "nothing was listed yet");
    assert!(open_root(&port, false));
    // A single reader among many files is no reason.
    read(&port, files[0], 4).unwrap();
    assert!(open_root(&port, false));
    for ino in &files {
        read(&port, *ino, 4).unwrap();
    }
    assert!(!open_root(&port, true), "the kernel has doubts about every file");
    assert!(open_root(&port, false), "and none after it has listed them");
    engine.shutdown().unwrap();
}
