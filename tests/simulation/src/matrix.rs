//! The conflict matrix, one test a cell. The remote change is in the store when the local device comes
//! back with its own.

use crate::pair::{LOCAL, Pair, REMOTE, Seen, tree};
use fs_core::{CloudErrorKind, Limits};

/// A pair with `d/`, `e/` and the file `d/f.txt`, apart.
fn apart() -> Pair {
    let mut pair = Pair::new();
    pair.mkdir(REMOTE, "d");
    pair.mkdir(REMOTE, "e");
    pair.save(REMOTE, "d/f.txt", b"before");
    pair.part();
    pair
}

/// The one path whose name says that it is a conflict copy.
fn copy(seen: &Seen) -> (String, Vec<u8>) {
    let marked: Vec<_> = seen.iter().filter(|(path, _)| path.contains(" (conflict")).collect();
    assert_eq!(marked.len(), 1, "{seen:?}");
    let (path, content) = marked[0];
    assert_eq!(path.matches(" (conflict").count(), 1, "{path}");
    (path.clone(), content.clone().unwrap_or_default())
}

#[test]
fn edit_and_edit_keep_both() {
    let mut pair = apart();
    pair.save(REMOTE, "d/f.txt", b"remote one");
    pair.save(LOCAL, "d/f.txt", b"local");
    pair.meet();
    let seen = pair.agreed();
    assert_eq!(seen["d/f.txt"], Some(b"remote one".to_vec()));
    let (path, content) = copy(&seen);
    assert_eq!(content, b"local");
    assert!(path.starts_with("d/f (conflict, bob, 20") && path.ends_with(").txt"), "{path}");
    assert_eq!(seen.len(), 4);
}

#[test]
fn edits_of_the_same_length_keep_both() {
    let mut pair = apart();
    pair.save(REMOTE, "d/f.txt", b"remote");
    pair.save(LOCAL, "d/f.txt", b"locale");
    pair.meet();
    assert_eq!(copy(&pair.agreed()).1, b"locale");
}

#[test]
fn equal_edits_settle_silently() {
    let mut pair = apart();
    pair.save(REMOTE, "d/f.txt", b"the same");
    pair.save(LOCAL, "d/f.txt", b"the same");
    let before = pair.devices[LOCAL].notes.len();
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("d/f.txt", "the same")]));
    assert_eq!(pair.devices[LOCAL].notes.len(), before, "{}", pair.notes());
}

/// Equal, but meanwhile written to: the write is a change of the version that both have.
#[test]
fn a_write_after_an_equal_edit_is_no_conflict() {
    let mut pair = apart();
    pair.save(REMOTE, "d/f.txt", b"the same");
    pair.save(LOCAL, "d/f.txt", b"the same");
    pair.meet();
    pair.save(LOCAL, "d/f.txt", b"and more");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("d/f.txt", "and more")]));
}

#[test]
fn an_edit_outlives_a_removal_elsewhere() {
    let mut pair = apart();
    pair.remove(REMOTE, "d/f.txt");
    pair.save(LOCAL, "d/f.txt", b"local");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("d/f.txt", "local")]));
    assert!(pair.notes().contains("removed elsewhere"), "{}", pair.notes());
}

#[test]
fn an_edit_outlives_the_removal_of_its_folder_elsewhere() {
    let mut pair = apart();
    pair.save(REMOTE, "d/other", b"goes");
    pair.part();
    pair.remove_all(REMOTE, "d");
    pair.save(LOCAL, "d/f.txt", b"local");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("d/f.txt", "local")]));
}

/// What is not even in the trash any more is made anew.
#[test]
fn an_edit_outlives_a_purge() {
    let mut pair = apart();
    pair.remove(REMOTE, "d/f.txt");
    pair.set_online(REMOTE, true);
    pair.rest(REMOTE);
    pair.save(LOCAL, "d/f.txt", b"local");
    pair.store.purge();
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("d/f.txt", "local")]));
}

#[test]
fn an_edit_elsewhere_outlives_a_removal() {
    let mut pair = apart();
    pair.save(REMOTE, "d/f.txt", b"remote");
    pair.remove(LOCAL, "d/f.txt");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("d/f.txt", "remote")]));
}

#[test]
fn removed_on_both_is_gone() {
    let mut pair = apart();
    pair.remove(REMOTE, "d/f.txt");
    pair.remove(LOCAL, "d/f.txt");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", "")]));
}

#[test]
fn a_move_to_another_folder_outlives_a_removal_elsewhere() {
    let mut pair = apart();
    pair.remove(REMOTE, "d/f.txt");
    pair.mv(LOCAL, "d/f.txt", "e/g.txt");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("e/g.txt", "before")]));
}

#[test]
fn a_rename_in_place_does_not_outlive_a_removal_elsewhere() {
    let mut pair = apart();
    pair.remove(REMOTE, "d/f.txt");
    pair.mv(LOCAL, "d/f.txt", "d/g.txt");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", "")]));
}

#[test]
fn a_removal_holds_against_a_rename_in_place_elsewhere() {
    let mut pair = apart();
    pair.mv(REMOTE, "d/f.txt", "d/g.txt");
    pair.remove(LOCAL, "d/f.txt");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", "")]));
}

#[test]
fn a_move_elsewhere_outlives_a_removal() {
    let mut pair = apart();
    pair.mv(REMOTE, "d/f.txt", "e/f.txt");
    pair.remove(LOCAL, "d/f.txt");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("e/f.txt", "before")]));
}

#[test]
fn moved_to_the_same_place_is_done() {
    let mut pair = apart();
    pair.mv(REMOTE, "d/f.txt", "e/g.txt");
    pair.mv(LOCAL, "d/f.txt", "e/g.txt");
    let before = pair.devices[LOCAL].notes.len();
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("e/g.txt", "before")]));
    assert_eq!(pair.devices[LOCAL].notes.len(), before, "{}", pair.notes());
}

#[test]
fn of_two_moves_the_remote_one_holds_and_is_told() {
    let mut pair = apart();
    pair.mv(REMOTE, "d/f.txt", "e/remote.txt");
    pair.mv(LOCAL, "d/f.txt", "local.txt");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("e/remote.txt", "before")]));
    assert!(pair.notes().contains("local.txt: moved elsewhere too"), "{}", pair.notes());
}

#[test]
fn a_move_and_an_edit_both_apply() {
    for (mover, editor) in [(REMOTE, LOCAL), (LOCAL, REMOTE)] {
        let mut pair = apart();
        pair.mv(mover, "d/f.txt", "e/g.txt");
        pair.save(editor, "d/f.txt", b"edited");
        pair.meet();
        assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("e/g.txt", "edited")]));
    }
}

#[test]
fn two_files_of_one_name_stay() {
    let mut pair = apart();
    pair.save(REMOTE, "e/new.tar.gz", b"remote");
    pair.save(LOCAL, "e/new.tar.gz", b"local");
    pair.meet();
    let seen = pair.agreed();
    assert_eq!(seen["e/new.tar.gz"], Some(b"remote".to_vec()));
    assert_eq!(copy(&seen).1, b"local");
}

#[test]
fn equal_files_of_one_name_are_one() {
    for content in [b"the same".as_slice(), b""] {
        let mut pair = apart();
        pair.save(REMOTE, "e/new", content);
        pair.save(LOCAL, "e/new", content);
        pair.chmod(LOCAL, "e/new", 0o600);
        let ino = pair.find(LOCAL, "e/new");
        let before = pair.devices[LOCAL].notes.len();
        pair.meet();
        let seen = pair.agreed();
        assert_eq!(seen.len(), 4, "{seen:?}");
        assert_eq!(seen["e/new"], Some(content.to_vec()));
        assert_eq!(pair.devices[LOCAL].notes.len(), before, "{}", pair.notes());
        assert_eq!(pair.find(LOCAL, "e/new"), ino, "programs keep their file");
        assert_eq!(pair.mode(LOCAL, "e/new"), pair.mode(REMOTE, "e/new"));
        pair.save(LOCAL, "e/new", b"goes on");
        pair.meet();
        assert_eq!(pair.agreed()["e/new"], Some(b"goes on".to_vec()));
    }
}

#[test]
fn two_folders_of_one_name_are_one() {
    let mut pair = apart();
    for (device, name) in [(REMOTE, "remote"), (LOCAL, "local")] {
        pair.mkdir(device, "new");
        pair.mkdir(device, "new/deep");
        pair.save(device, &format!("new/deep/{name}"), name.as_bytes());
        pair.save(device, "new/deep/same", b"same");
    }
    pair.meet();
    let mut seen = pair.agreed();
    seen.retain(|path, _| path.starts_with("new"));
    let wanted = [
        ("new/", ""),
        ("new/deep/", ""),
        ("new/deep/local", "local"),
        ("new/deep/remote", "remote"),
        ("new/deep/same", "same"),
    ];
    assert_eq!(seen, tree(&wanted));
}

#[test]
fn a_file_and_a_folder_of_one_name_stay() {
    let mut pair = apart();
    pair.mkdir(REMOTE, "x");
    pair.save(REMOTE, "x/in", b"in");
    pair.save(LOCAL, "x", b"local");
    pair.mkdir(LOCAL, "y");
    pair.save(LOCAL, "y/in", b"in");
    pair.save(REMOTE, "y", b"remote");
    pair.meet();
    let seen = pair.agreed();
    assert_eq!((&seen["x"], &seen["y"]), (&None, &Some(b"remote".to_vec())));
    let copies: Vec<_> = seen.keys().filter(|path| path.contains("(conflict")).collect();
    assert_eq!(copies.len(), 3, "{copies:?}");
}

#[test]
fn a_move_onto_a_name_that_was_made_here_renames_ours() {
    let mut pair = apart();
    pair.mv(REMOTE, "d/f.txt", "e/f.txt");
    pair.save(LOCAL, "e/f.txt", b"local");
    pair.meet();
    let seen = pair.agreed();
    assert_eq!(seen["e/f.txt"], Some(b"before".to_vec()));
    let (path, content) = copy(&seen);
    assert!(path.starts_with("e/f (conflict") && content == b"local", "{path}");
}

#[test]
fn a_new_child_brings_its_folders_back_alone() {
    let mut pair = apart();
    pair.mkdir(REMOTE, "d/deep");
    pair.save(REMOTE, "d/deep/old", b"old");
    pair.mkdir(REMOTE, "d/other");
    pair.part();
    pair.remove_all(REMOTE, "d");
    pair.save(LOCAL, "d/deep/new", b"local");
    pair.meet();
    let wanted = [("d/", ""), ("d/deep/", ""), ("d/deep/new", "local"), ("e/", "")];
    assert_eq!(pair.agreed(), tree(&wanted));
}

#[test]
fn a_folder_that_got_a_child_elsewhere_is_not_removed() {
    let mut pair = apart();
    pair.save(REMOTE, "d/new", b"remote");
    pair.remove_all(LOCAL, "d");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("d/new", "remote"), ("e/", "")]));
}

#[test]
fn folders_that_were_moved_into_each_other_end_without_a_circle() {
    let mut pair = apart();
    pair.save(REMOTE, "e/g", b"g");
    pair.part();
    pair.mv(REMOTE, "d", "e/d");
    pair.mv(LOCAL, "e", "d/e");
    pair.meet();
    let wanted = [("e/", ""), ("e/d/", ""), ("e/d/f.txt", "before"), ("e/g", "g")];
    assert_eq!(pair.agreed(), tree(&wanted));
    assert!(pair.notes().contains("moved back"), "{}", pair.notes());
}

#[test]
fn a_folder_that_something_was_moved_into_comes_back() {
    let mut pair = apart();
    pair.remove_all(REMOTE, "e");
    pair.mv(LOCAL, "d/f.txt", "e/f.txt");
    pair.meet();
    assert_eq!(pair.agreed(), tree(&[("d/", ""), ("e/", ""), ("e/f.txt", "before")]));
}

#[test]
fn attributes_merge_field_by_field() {
    let mut pair = apart();
    pair.save(REMOTE, "g", b"g");
    pair.part();
    // Both the mode of one; of the other each another field.
    pair.chmod(REMOTE, "g", 0o600);
    pair.chmod(LOCAL, "g", 0o640);
    pair.chmod(LOCAL, "d/f.txt", 0o600);
    pair.set_xattr(REMOTE, "d/f.txt", "user.colour", b"blue");
    pair.meet();
    pair.agreed();
    for device in [REMOTE, LOCAL] {
        assert_eq!(pair.mode(device, "g"), 0o600, "the remote one");
        assert_eq!(pair.mode(device, "d/f.txt"), 0o600);
        assert_eq!(pair.xattr(device, "d/f.txt", "user.colour").as_deref(), Some(&b"blue"[..]));
    }
}

/// The right to write is gone, or the drive's quota is used up: it stays here, and status says why.
#[test]
fn what_the_store_will_not_take_stays_pending() {
    for kind in [CloudErrorKind::Denied, CloudErrorKind::Quota] {
        let mut pair = apart();
        pair.store.refuse = Some(kind);
        pair.save(LOCAL, "d/f.txt", b"local");
        pair.save(LOCAL, "new", b"new");
        pair.set_online(LOCAL, true);
        pair.until(LOCAL, |status| status.pending_nodes > 0 && !status.trouble.is_empty());
        assert_eq!(pair.seen(LOCAL)["new"], Some(b"new".to_vec()));
        pair.store.refuse = None;
        pair.meet();
        assert_eq!(pair.agreed()["new"], Some(b"new".to_vec()), "{kind:?}");
    }
}

/// A conflict copy is a file like any other: its own conflict is named after the file, not after it.
#[test]
fn a_conflict_of_a_conflict_does_not_nest() {
    for name in ["f.txt", "f", ".hidden", "f.tar.gz"] {
        let mut pair = Pair::new();
        pair.save(REMOTE, name, b"before");
        pair.part();
        for round in 0..3 {
            let copies: Vec<String> = pair.seen(REMOTE).into_keys().collect();
            pair.part();
            for path in copies {
                pair.save(REMOTE, &path, format!("remote {round} {path}").as_bytes());
                pair.save(LOCAL, &path, format!("local {round} {path}").as_bytes());
            }
            pair.meet();
        }
        let seen = pair.agreed();
        assert_eq!(seen.len(), 8);
        for path in seen.keys() {
            assert!(path.matches("conflict").count() <= 1, "{seen:#?}");
        }
    }
}

/// What looks like a tag and is none stays in the name.
#[test]
fn names_of_people_are_left_alone() {
    for name in ["plan (conflict resolution).txt", "plan (conflict, x).txt", "a (conflict"] {
        let mut pair = Pair::new();
        pair.save(REMOTE, name, b"before");
        pair.part();
        pair.save(REMOTE, name, b"remote!");
        pair.save(LOCAL, name, b"local");
        pair.meet();
        let stem = name.strip_suffix(".txt").unwrap_or(name);
        assert!(pair.agreed().keys().all(|path| path.starts_with(stem)));
    }
}

/// Names stay within the bounds of the file system, cut at a character.
#[test]
fn long_names_are_cut() {
    let name = format!("{}.txt", "ä".repeat(125));
    let mut pair = Pair::with(Limits::default());
    pair.save(REMOTE, &name, b"before");
    pair.part();
    pair.save(REMOTE, &name, b"remote!");
    pair.save(LOCAL, &name, b"local");
    pair.meet();
    let (path, _) = copy(&pair.agreed());
    assert!(path.len() <= 255 && path.ends_with(").txt"), "{path}");
}
