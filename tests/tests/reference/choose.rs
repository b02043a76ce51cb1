//! Chooses what is done next: mostly with what is there, sometimes with what is not.

use crate::op::{AclEntry, Actor, Op, ROOT, Slot, Special, When};
use crate::side::SLOTS;
use meshdrive_tests::Random;

/// Names of which trees are made; the last two are the longest there may be, and one too long.
const SHORT_NAMES: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "Zürich",
    "Zu\u{308}rich",
    "with space",
    ".hidden",
    "A",
    "x.tmp",
];
/// How often a name is one of the long ones: once in so many.
const LONG_NAME: u64 = 40;
const DEEPEST: usize = 6;
/// Paths that were made and may still be there.
const REMEMBERED: usize = 60;
const MODES: &[u32] = &[
    0o644, 0o600, 0o664, 0o755, 0o700, 0o777, 0o1777, 0o2775, 0o4755, 0o6755, 0o2640, 0o444, 0o111,
    0o000,
];
const UMASKS: &[u32] = &[0o022, 0o022, 0, 0o077, 0o027, 0o777];
const IDS: &[u32] = &[0, 1000, 1001, 65_534];
const ACTORS: &[Actor] = &[
    ROOT,
    ROOT,
    ROOT,
    Actor { uid: 1000, gid: 1000, group: Some(1001) },
    Actor { uid: 1001, gid: 1001, group: None },
];
const XATTRS: &[&str] = &["user.a", "user.b", "user.longer name", "trusted.t", "security.s"];
/// Linux XATTR_NAME_MAX is 255 bytes.
const LONGEST_XATTR: usize = 255;
/// Small enough for ext4, which keeps all attributes of a file in a block.
const XATTR_LENGTHS: &[usize] = &[0, 1, 17, 100, 200];
/// One byte more than Linux XATTR_SIZE_MAX.
const XATTR_TOO_LONG: usize = 65_537;
const TIMES: &[When] = &[
    When::Now,
    When::Omit,
    When::At(0, 0),
    When::At(1_000_000_000, 123_456_789),
    When::At(-1, 999_999_999),
    When::At(-1_000_000_000, 1),
    When::At(4_000_000_000, 999_999_999),
    When::At(8_000_000_000, 5),
];
/// Lengths and offsets in bytes: within a page, within a chunk, beyond both.
const LENGTHS: &[u64] = &[1, 100, 4096, 5000, 70_000, 300_000];
const OFFSETS: &[u64] = &[0, 1, 4095, 4096, 10_000, 131_072, 400_000, 5_000_000];

/// What is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Hard links, nodes that are no files, ranges that are reserved or copied.
    pub(crate) links: bool,
    pub(crate) acls: bool,
}

pub(crate) struct Chooser {
    random: Random,
    scope: Scope,
    known: Vec<String>,
    /// Slots that hold a file.
    open: Vec<Slot>,
}

impl Chooser {
    pub(crate) fn new(seed: u64, scope: Scope) -> Chooser {
        Chooser { random: Random::new(seed), scope, known: vec![String::new()], open: Vec::new() }
    }

    /// Learns from what went well.
    pub(crate) fn learn(&mut self, op: &Op) {
        match op {
            Op::Open { slot, path, .. } => {
                self.closed(*slot);
                self.open.push(*slot);
                self.made(path);
            }
            Op::Close { slot } => self.closed(*slot),
            Op::Mkdir { path, .. } | Op::Symlink { path, .. } | Op::Node { path, .. } => {
                self.made(path);
            }
            Op::Link { to, .. } => self.made(to),
            Op::Rename { from, to, flags } => {
                if *flags & libc::RENAME_EXCHANGE == 0 {
                    self.gone(from);
                }
                self.made(to);
            }
            Op::Unlink { path } | Op::Rmdir { path } => self.gone(path),
            _ => {}
        }
    }

    /// A slot is empty now.
    pub(crate) fn closed(&mut self, slot: Slot) {
        self.open.retain(|open| *open != slot);
    }

    fn gone(&mut self, path: &str) {
        self.known.retain(|known| known != path || known.is_empty());
    }

    fn made(&mut self, path: &str) {
        if self.known.len() < REMEMBERED {
            self.known.push(path.into());
        } else {
            let at = 1 + self.under(REMEMBERED as u64 - 1);
            self.known[at] = path.into();
        }
    }

    pub(crate) fn actor(&mut self) -> Actor {
        *self.random.pick(ACTORS)
    }

    pub(crate) fn op(&mut self) -> Op {
        match self.random.below(100) {
            0..12 => self.open(),
            12..14 => Op::Close { slot: self.slot() },
            14..45 => self.bytes(),
            45..75 => self.names(),
            75..90 => self.attributes(),
            90..97 => self.xattrs(),
            97 => Op::Umask { mask: *self.random.pick(UMASKS) },
            _ if self.scope.acls => self.acl(),
            _ => Op::Stat { path: self.path(), follow: true },
        }
    }

    fn under(&mut self, bound: u64) -> usize {
        usize::try_from(self.random.below(bound)).unwrap()
    }

    /// Mostly one that holds a file.
    fn slot(&mut self) -> Slot {
        if self.open.is_empty() || self.random.below(20) == 0 {
            return self.any_slot();
        }
        *self.random.pick(&self.open)
    }

    fn any_slot(&mut self) -> Slot {
        self.under(SLOTS as u64)
    }

    fn length(&mut self) -> usize {
        usize::try_from(*self.random.pick(LENGTHS)).unwrap()
    }

    fn offset(&mut self) -> u64 {
        *self.random.pick(OFFSETS) + self.random.below(3)
    }

    fn mode(&mut self) -> u32 {
        *self.random.pick(MODES)
    }

    fn seed(&mut self) -> u64 {
        self.random.below(1 << 16)
    }

    fn name(&mut self) -> String {
        match self.random.below(LONG_NAME) {
            0 => "n".repeat(255),
            1 => "n".repeat(256),
            2 => "ü".repeat(127),
            _ => (*self.random.pick(SHORT_NAMES)).into(),
        }
    }

    /// Mostly one that was made.
    fn path(&mut self) -> String {
        if self.random.below(10) < 8 { self.random.pick(&self.known).clone() } else { self.place() }
    }

    /// A place for something new, in something that was made.
    fn place(&mut self) -> String {
        let mut folder = self.random.pick(&self.known).clone();
        if folder.split('/').count() >= DEEPEST {
            folder = String::new();
        }
        let name = self.name();
        if folder.is_empty() { name } else { format!("{folder}/{name}") }
    }

    fn open(&mut self) -> Op {
        let mut flags =
            *self.random.pick(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, libc::O_RDWR]);
        let mut may = |flag, of: u64| if self.random.below(of) == 0 { flag } else { 0 };
        flags |= may(libc::O_APPEND, 5) | may(libc::O_TRUNC, 6) | may(libc::O_NOFOLLOW, 8);
        // Else a fifo without a partner would be waited for.
        flags |= may(libc::O_SYNC, 20) | may(libc::O_DIRECTORY, 25) | libc::O_NONBLOCK;
        let make = may(libc::O_CREAT, 2);
        flags |= make | if make != 0 { may(libc::O_EXCL, 4) } else { 0 };
        let path = if make != 0 { self.place() } else { self.path() };
        let (slot, mode) = (self.any_slot(), self.mode());
        Op::Open { slot, path, flags: flags.cast_unsigned(), mode }
    }

    fn bytes(&mut self) -> Op {
        let (slot, offset, len, seed) = (self.slot(), self.offset(), self.length(), self.seed());
        match self.random.below(if self.scope.links { 24 } else { 20 }) {
            0..5 => Op::ReadAt { slot, offset, len },
            5..9 => Op::WriteAt { slot, offset, len, seed },
            9..11 => Op::Write { slot, len, seed },
            11..13 => Op::MapRead { slot, offset, len },
            13..15 => Op::MapWrite { slot, offset, len, seed },
            15 => Op::SetLen { slot, size: self.offset() },
            16 => Op::Sync { slot, data_only: seed % 2 == 0 },
            17 => Op::StatOpen { slot },
            18 => Op::ChmodOpen { slot, mode: self.mode() },
            19 => Op::Truncate { path: self.path(), size: self.offset() },
            20..22 => {
                let mode = *self.random.pick(&[
                    0,
                    libc::FALLOC_FL_KEEP_SIZE,
                    libc::FALLOC_FL_ZERO_RANGE,
                    libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
                    libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                ]);
                Op::Allocate { slot, mode, offset, len: len as u64 }
            }
            _ => {
                let (to, target) = (self.slot(), self.offset());
                Op::Copy { from: slot, to, source: offset, target, len }
            }
        }
    }

    fn names(&mut self) -> Op {
        match self.random.below(if self.scope.links { 24 } else { 20 }) {
            0..4 => Op::Mkdir { path: self.place(), mode: self.mode() },
            4 => Op::Rmdir { path: self.path() },
            5..8 => Op::Unlink { path: self.path() },
            8..14 => {
                let flags = *self.random.pick(&[0, 0, 0, 0, 1, 2, 3, 8]);
                let to = if self.random.below(2) == 0 { self.path() } else { self.place() };
                Op::Rename { from: self.path(), to, flags }
            }
            14..16 => {
                let target = *self.random.pick(&["a", "b/c", "f", ".", "nowhere", "d/e"]);
                Op::Symlink { target: target.into(), path: self.place() }
            }
            16 => Op::Readlink { path: self.path() },
            17..20 => Op::List { path: self.path() },
            20..23 => Op::Link { from: self.path(), to: self.place() },
            _ => {
                // No devices: a drive is mounted so that they cannot be opened.
                let kind = *self.random.pick(&[Special::Fifo, Special::Socket]);
                Op::Node { path: self.place(), kind, mode: self.mode() }
            }
        }
    }

    fn attributes(&mut self) -> Op {
        let path = self.path();
        match self.random.below(10) {
            0..3 => Op::Stat { path, follow: self.random.below(2) == 0 },
            3 => Op::Access { path, how: u32::try_from(self.random.below(8)).unwrap() },
            4..6 => Op::Chmod { path, mode: self.mode() },
            6..8 => {
                let mut id = || match self.random.below(3) {
                    0 => None,
                    _ => Some(*self.random.pick(IDS)),
                };
                Op::Chown { path, uid: id(), gid: id() }
            }
            _ => {
                let (atime, mtime) = (*self.random.pick(TIMES), *self.random.pick(TIMES));
                Op::Times { path, atime, mtime, follow: self.random.below(2) == 0 }
            }
        }
    }

    fn xattrs(&mut self) -> Op {
        let path = self.path();
        let name = match self.random.below(20) {
            0 => format!("user.{}", "x".repeat(LONGEST_XATTR - 5)),
            1 => format!("user.{}", "x".repeat(LONGEST_XATTR - 4)),
            _ => (*self.random.pick(XATTRS)).to_string(),
        };
        match self.random.below(10) {
            0..4 => {
                let long = self.random.below(30) == 0;
                let len = if long { XATTR_TOO_LONG } else { *self.random.pick(XATTR_LENGTHS) };
                let flags = u32::try_from(self.random.below(3)).unwrap();
                Op::SetXattr { path, name, len, seed: self.seed(), flags }
            }
            4..7 => Op::GetXattr { path, name, room: *self.random.pick(&[0, 1, 300]) },
            7 => Op::ListXattr { path },
            _ => Op::RemoveXattr { path, name },
        }
    }

    fn acl(&mut self) -> Op {
        const NOBODY: u32 = u32::MAX;
        let (path, default) = (self.path(), self.random.below(3) == 0);
        let mut bits = || u16::try_from(self.random.below(8)).unwrap();
        // linux/posix_acl.h: owner, named user, group, named group, mask, others.
        let mut entries: Vec<AclEntry> = vec![(0x01, bits(), NOBODY)];
        let (user, group, others) = (bits(), bits(), bits());
        let (named, mask, group_bits) = (bits(), bits(), bits());
        let rich = self.random.below(4) > 0;
        if rich {
            entries.push((0x02, user, *self.random.pick(&[1000, 1001])));
        }
        entries.push((0x04, group, NOBODY));
        if rich && named > 3 {
            entries.push((0x08, group_bits, 1001));
        }
        if rich {
            entries.push((0x10, mask, NOBODY));
        }
        entries.push((0x20, others, NOBODY));
        Op::SetAcl { path, default, entries }
    }
}
