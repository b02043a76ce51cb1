use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn export(source: &Path, target: &Path) -> Tally {
    Export::new(source, target, &Line::new("")).run().map_err(|f| f.render()).unwrap()
}

#[test]
fn a_tree_arrives_with_everything() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (from.path(), to.path());
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::write(from.join("a/b/file"), b"hello").unwrap();
    fs::write(from.join("a/empty"), b"").unwrap();
    fs::hard_link(from.join("a/b/file"), from.join("a/second")).unwrap();
    std::os::unix::fs::symlink("b/nowhere", from.join("a/link")).unwrap();
    let sparse = fs::File::create(from.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    fs::set_permissions(from.join("a/b/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(from.join("a/b"), fs::Permissions::from_mode(0o550)).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_000, 123);
    fs::File::open(from.join("a/b/file")).unwrap().set_modified(old).unwrap();
    fs::File::open(from.join("a")).unwrap().set_modified(old).unwrap();

    let tally = export(from, to);
    assert_eq!(tally.failed, 0);
    assert_eq!(fs::read(to.join("a/b/file")).unwrap(), b"hello");
    assert_eq!(fs::read_link(to.join("a/link")).unwrap(), Path::new("b/nowhere"));
    let meta = |path: &str| to.join(path).symlink_metadata().unwrap();
    assert_eq!(meta("a/b/file").mode() & 0o7777, 0o640);
    assert_eq!(meta("a/b").mode() & 0o7777, 0o550);
    assert_eq!((meta("a/b/file").mtime(), meta("a/b/file").mtime_nsec()), (1_000, 123));
    assert_eq!(meta("a").mtime(), 1_000);
    assert_eq!(meta("a/second").ino(), meta("a/b/file").ino());
    assert_eq!(meta("sparse").len(), 8 << 20);
    assert!(meta("sparse").blocks() < 64, "{} blocks", meta("sparse").blocks());
    assert!(!to.join(PART_NAME).exists());

    fs::set_permissions(from.join("a/b"), fs::Permissions::from_mode(0o750)).unwrap();
    let again = export(from, to);
    assert_eq!((again.bytes, again.failed), (0, 0), "a second run copies no byte");
    assert_eq!(meta("a/b").mode() & 0o7777, 0o750);
}

#[test]
fn what_changed_is_copied_again() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (from.path(), to.path());
    fs::write(from.join("f"), b"one").unwrap();
    export(from, to);
    fs::write(from.join("f"), b"longer").unwrap();
    assert_eq!(export(from, to).bytes, 6);
    assert_eq!(fs::read(to.join("f")).unwrap(), b"longer");
}

#[test]
fn one_bad_entry_does_not_stop_the_rest() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (from.path(), to.path());
    fs::write(from.join("a"), b"a").unwrap();
    fs::write(from.join("b"), b"b").unwrap();
    // A folder stands where the file should go.
    fs::create_dir_all(to.join("a/full")).unwrap();
    let tally = export(from, to);
    assert_eq!((tally.copied, tally.failed), (1, 1));
    assert_eq!(fs::read(to.join("b")).unwrap(), b"b");
}
