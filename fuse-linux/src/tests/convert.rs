use crate::answer::{Fit, fit};
use crate::convert::*;
use fs_core::{Attr, Ino, Kind, SetTime, Timestamp};
use fuser::{FileType, INodeNo, TimeOrNow};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What fuser 0.18.0 makes of the kernel's seconds and nanoseconds.
fn as_fuser_builds_it(secs: i64, nanos: u32) -> SystemTime {
    if secs >= 0 {
        UNIX_EPOCH + Duration::new(secs.unsigned_abs(), nanos)
    } else {
        UNIX_EPOCH - Duration::new(secs.unsigned_abs(), nanos)
    }
}

#[test]
fn times_from_the_kernel_survive_on_both_sides_of_1970() {
    let cases = [
        (0, 0, 0),
        (0, 1, 1),
        (1, 999_999_999, 1_999_999_999),
        (-1, 0, -1_000_000_000),
        // A nanosecond before 1970: the nanoseconds count forwards from -1 s.
        (-1, 999_999_999, -1),
        (-2, 800_000_000, -1_200_000_000),
        (1_700_000_000, 123_456_789, 1_700_000_000_123_456_789),
        (-2_000_000_000, 123_456_789, -1_999_999_999_876_543_211),
    ];
    for (secs, nanos, want) in cases {
        let got = timestamp(as_fuser_builds_it(secs, nanos));
        assert_eq!(got, Timestamp(want), "{secs} s {nanos} ns");
    }
}

#[test]
fn times_out_of_range_are_the_nearest_inside() {
    assert_eq!(timestamp(as_fuser_builds_it(1 << 40, 0)), Timestamp(i64::MAX));
    assert_eq!(timestamp(as_fuser_builds_it(-(1 << 40), 5)), Timestamp(i64::MIN));
}

#[test]
fn times_to_the_kernel_are_exact() {
    assert_eq!(system_time(Timestamp(1_500_000_000)), UNIX_EPOCH + Duration::from_millis(1500));
    assert_eq!(system_time(Timestamp(-1)), UNIX_EPOCH - Duration::from_nanos(1));
    let first = UNIX_EPOCH - Duration::from_nanos(i64::MIN.unsigned_abs());
    assert_eq!(system_time(Timestamp(i64::MIN)), first);
}

#[test]
fn now_is_left_to_the_core() {
    assert_eq!(set_time(TimeOrNow::Now), SetTime::Now);
    let at = TimeOrNow::SpecificTime(UNIX_EPOCH + Duration::from_secs(2));
    assert_eq!(set_time(at), SetTime::At(Timestamp(2_000_000_000)));
}

#[test]
fn attributes_keep_their_fields() {
    let attr = Attr {
        ino: Ino(7),
        kind: Kind::CharDevice,
        mode: 0o104_755,
        nlink: 2,
        uid: 1,
        gid: 3,
        rdev: 0x0501,
        size: 9,
        blocks: 8,
        atime: Timestamp(1),
        mtime: Timestamp(2),
        ctime: Timestamp(3),
        btime: Timestamp(4),
    };
    let shown = file_attr(&attr);
    assert_eq!((shown.ino, shown.kind), (INodeNo(7), FileType::CharDevice));
    assert_eq!((shown.perm, shown.nlink, shown.rdev), (0o4755, 2, 0x0501));
    assert_eq!((shown.uid, shown.gid, shown.size, shown.blocks), (1, 3, 9, 8));
    assert_eq!(shown.ctime, UNIX_EPOCH + Duration::from_nanos(3));
}

#[test]
fn mknod_makes_what_the_type_bits_say() {
    assert_eq!(made_kind(0o644), Some(Kind::File));
    assert_eq!(made_kind(libc::S_IFREG | 0o644), Some(Kind::File));
    assert_eq!(made_kind(libc::S_IFIFO), Some(Kind::Fifo));
    assert_eq!(made_kind(libc::S_IFSOCK), Some(Kind::Socket));
    assert_eq!(made_kind(libc::S_IFCHR), Some(Kind::CharDevice));
    assert_eq!(made_kind(libc::S_IFBLK), Some(Kind::BlockDevice));
    assert_eq!(made_kind(libc::S_IFDIR), None);
}

#[test]
fn the_umask_takes_permissions_and_no_other_bits() {
    assert_eq!(permissions(libc::S_IFREG | 0o6755), 0o6755);
    assert_eq!(permissions(0o1777), 0o1777);
}

#[test]
fn open_flags_are_read_from_the_access_mode() {
    let read = open_flags(libc::O_RDONLY);
    assert!(read.read && !read.write);
    let write = open_flags(libc::O_WRONLY | libc::O_TRUNC | libc::O_APPEND);
    assert!(!write.read && write.write && write.truncate && !write.append);
    let both = open_flags(libc::O_RDWR | libc::O_EXCL);
    assert!(both.read && both.write && both.exclusive && !both.truncate);
}

#[test]
fn rename_flags_that_are_not_supported_are_refused() {
    use fuser::RenameFlags as Bits;
    let none = rename_flags(Bits::empty()).unwrap();
    assert!(!none.no_replace && !none.exchange);
    assert!(rename_flags(Bits::RENAME_NOREPLACE).unwrap().no_replace);
    assert!(rename_flags(Bits::RENAME_EXCHANGE).unwrap().exchange);
    assert_eq!(rename_flags(Bits::RENAME_WHITEOUT), None);
    assert_eq!(rename_flags(Bits::RENAME_NOREPLACE | Bits::RENAME_EXCHANGE), None);
    assert_eq!(rename_flags(Bits::from_bits_retain(1 << 20)), None);
}

#[test]
fn fallocate_modes() {
    let mode = |bits| allocate_mode(bits).map(|mode| (mode.keep_size, mode.zero));
    assert_eq!(mode(0), Some((false, false)));
    assert_eq!(mode(libc::FALLOC_FL_KEEP_SIZE), Some((true, false)));
    assert_eq!(mode(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE), Some((true, true)));
    assert_eq!(mode(libc::FALLOC_FL_ZERO_RANGE), Some((false, true)));
    assert_eq!(mode(libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE), Some((true, true)));
    assert_eq!(mode(libc::FALLOC_FL_PUNCH_HOLE), None);
    assert_eq!(mode(libc::FALLOC_FL_COLLAPSE_RANGE), None);
    assert_eq!(mode(libc::FALLOC_FL_INSERT_RANGE), None);
}

#[test]
fn values_are_sent_when_they_fit() {
    assert_eq!(fit(5, 0), Fit::Length(5));
    assert_eq!(fit(5, 5), Fit::Whole);
    assert_eq!(fit(5, 4), Fit::TooSmall);
    assert_eq!(fit(0, 0), Fit::Length(0));
}
