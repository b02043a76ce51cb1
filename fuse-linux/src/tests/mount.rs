use crate::attach::check_name;
use crate::error::MountError;
use crate::mount::check_mountpoint;
use crate::mountinfo::topmost;
use std::fs;
use std::path::Path;

const TABLE: &str = "\
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
95 24 0:51 / /home/a\\040b rw,nosuid - fuse.meshdrive meshdrive rw,user_id=0
96 24 0:52 / /mnt rw shared:2 master:1 - tmpfs tmpfs rw
97 96 0:53 / /mnt rw - fuse.meshdrive meshdrive rw
98 24 0:54 / /odd\\134\\011\\0x rw - fuse.other other rw
";

#[test]
fn the_mount_table_is_read_with_its_escapes() {
    let entry = topmost(TABLE.as_bytes(), Path::new("/home/a b")).unwrap();
    assert_eq!((entry.device.as_str(), entry.fs_type.as_str()), ("0:51", "fuse.meshdrive"));
    let odd = topmost(TABLE.as_bytes(), Path::new("/odd\\\t\\0x")).unwrap();
    assert_eq!(odd.fs_type, "fuse.other");
}

#[test]
fn the_upper_mount_counts() {
    let entry = topmost(TABLE.as_bytes(), Path::new("/mnt")).unwrap();
    assert_eq!(entry.device, "0:53");
    assert_eq!(topmost(TABLE.as_bytes(), Path::new("/mn")), None);
    assert_eq!(topmost(b"", Path::new("/")), None);
}

#[test]
fn names_cannot_smuggle_options_in() {
    assert!(check_name("meshdrive").is_ok());
    assert!(check_name("my drive: \u{e9}").is_ok());
    for bad in ["", "a,suid", "a\\", "a\nb"] {
        assert!(matches!(check_name(bad), Err(MountError::Name(_))), "{bad:?}");
    }
}

#[test]
fn a_place_that_cannot_be_used_is_named_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(
        matches!(check_mountpoint(&missing), Err(MountError::Missing(path)) if path == missing)
    );
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(check_mountpoint(&file), Err(MountError::NotDirectory(_))));
    assert!(matches!(check_mountpoint(&file.join("x")), Err(MountError::NotDirectory(_))));
    assert!(matches!(check_mountpoint(dir.path()), Err(MountError::NotEmpty(_))));
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(check_mountpoint(&empty).unwrap(), empty.canonicalize().unwrap());
}

#[test]
fn errors_say_what_to_do_next() {
    let text = MountError::Missing("/a/b".into()).to_string();
    assert!(text.contains("mkdir -p /a/b"), "{text}");
    assert!(MountError::AllowOther.to_string().contains("/etc/fuse.conf"));
    assert!(MountError::Busy("/a".into()).to_string().contains("lazily"));
}
