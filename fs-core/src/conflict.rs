//! Conflicts: the record that a conflict copy carries, and its name.
//!
//! The record is an attribute of the copy. It is sealed and travels like any other, so that every
//! device knows which files are conflict copies, and of what. A conflict is open while its copy is
//! there and carries the record.

use crate::drive::Drive;
use crate::faults::{Halt, Need, Step};
use crate::tree::Inode;
use crate::{
    Attrs, Ino, NAME_MAX, Name, NodeId, NodeRow, OpenConflict, Pending, Rev, Side, Timestamp,
};
use alloc::{format, string::String, vec::Vec};

/// The attribute that holds the record.
pub(crate) const RECORD: &[u8] = b"user.meshdrive.conflict";
/// First word of a record: its format.
const FORMAT: &str = "1";
/// Attempts to find a conflict name that is free.
const NAME_TRIES: u32 = 1_000;
/// Longest extension of a name in bytes, with its dot.
const EXTENSION_MAX: usize = 16;

/// What a conflict copy is a copy of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// The node that kept the name; [`NodeId::ROOT`]: there was none, only its name was taken.
    pub(crate) of: NodeId,
    /// The version that both sides started from; 0: none.
    pub(crate) base: Rev,
    /// The version of the other side.
    pub(crate) theirs: Rev,
    pub(crate) at: Timestamp,
    /// Name of the device that made the copy.
    pub(crate) device: String,
}

impl Record {
    pub(crate) fn of(attrs: &Attrs) -> Option<Record> {
        let text = core::str::from_utf8(attrs.xattrs.get(RECORD)?).ok()?;
        let mut words = text.splitn(6, ' ');
        if words.next() != Some(FORMAT) {
            return None;
        }
        let of = u128::from_str_radix(words.next()?, 16).ok()?;
        Some(Record {
            of: NodeId(of.to_be_bytes()),
            base: Rev(words.next()?.parse().ok()?),
            theirs: Rev(words.next()?.parse().ok()?),
            at: Timestamp(words.next()?.parse().ok()?),
            device: String::from(words.next()?),
        })
    }

    fn text(&self) -> Vec<u8> {
        let Record { of, base, theirs, at, device } = self;
        let of = u128::from_be_bytes(of.0);
        format!("{FORMAT} {of:032x} {} {} {} {device}", base.0, theirs.0, at.0).into_bytes()
    }
}

impl NodeRow {
    /// Whether the node is the copy of an open conflict. Such nodes are always in memory.
    #[must_use]
    pub fn is_conflict_copy(&self) -> bool {
        !self.gone && self.parent != Ino::NONE && self.attrs.xattrs.contains_key(RECORD)
    }
}

impl Drive {
    /// Marks `row` as a conflict copy of version `theirs` of a node; both started from `base`.
    pub(crate) fn mark(&self, row: &mut NodeRow, of: NodeId, (base, theirs): (Rev, Rev)) {
        let (at, device) = (self.wall(), self.device.clone());
        let record = Record { of, base, theirs, at, device };
        row.attrs.xattrs.insert(RECORD.to_vec(), record.text());
    }

    /// Moves a node out of the way, to a name that says so, and marks it.
    pub(crate) fn set_aside(&mut self, ino: Ino, parent: Ino, name: &Name, other: &NodeRow) {
        self.place(ino, parent, name);
        let Some(inode) = self.tree.get(ino) else { return };
        let mut row = self.pend(inode, Pending::ATTRS);
        self.mark(&mut row, other.id, (Rev(0), other.content_rev));
        self.put(row);
    }

    /// The feed does not explain the refusal: most likely something in the cloud that this device
    /// does not see has the name. Ours gets another one.
    pub(crate) fn rename_refused(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        let placing = Pending::CREATE.with(Pending::PLACE).with(Pending::RESTORE);
        let (parent, name) = (inode.row.parent, inode.row.name.clone());
        if inode.row.pending.has(placing) && parent != Ino::NONE {
            let other = self.conflict_name(parent, &name);
            self.invalidate(crate::Stale::Entry { parent, name });
            self.invalidate(crate::Stale::Attrs(parent));
            self.place(ino, parent, &other);
        }
    }

    /// The open conflicts that this device knows of.
    pub(crate) fn open_conflicts(&self) -> Step<Vec<OpenConflict>> {
        let marked = self.tree.marked.iter().filter_map(|ino| self.tree.get(*ino));
        marked.filter_map(|inode| self.open_conflict(inode).transpose()).collect()
    }

    /// The conflict that a node is the copy of.
    pub(crate) fn open_conflict(&self, copy: &Inode) -> Step<Option<OpenConflict>> {
        let Some(record) = Record::of(&copy.row.attrs) else { return Ok(None) };
        let kept = self.kept_of(&record)?;
        Ok(Some(OpenConflict {
            copy: self.side(copy),
            kept: kept.map(|inode| self.side(inode)),
            of: record.of,
            base: record.base,
            theirs: record.theirs,
            at: record.at,
            is_ours: record.device == self.device,
            device: record.device,
        }))
    }

    /// The node that kept the name, if it still has a place.
    pub(crate) fn kept_of(&self, record: &Record) -> Step<Option<&Inode>> {
        if record.of == NodeId::ROOT {
            return Ok(None);
        }
        match self.tree.by_id(record.of) {
            Some(kept) => Ok(Some(kept).filter(|kept| kept.row.parent != Ino::NONE)),
            None if self.tree.links.is_absent(record.of) => Ok(None),
            None => Err(Halt::Fault(Need::Target(record.of))),
        }
    }

    fn side(&self, inode: &Inode) -> Side {
        let row = &inode.row;
        Side {
            id: row.id,
            path: self.tree.path(row.ino),
            dir: inode.is_dir(),
            size: row.size,
            mtime: row.attrs.mtime,
            rev: row.content_rev,
            is_sent: row.pending.is_none(),
        }
    }

    /// A free name beside `name`: `stem (conflict, device, 2026-11-24 08.52.43).ext`.
    pub(crate) fn conflict_name(&self, parent: Ino, name: &Name) -> Name {
        let plain = plain_name(name.as_bytes());
        let (stem, extension) = split(&plain);
        let date = date_of(self.now.wall);
        // Not all of the directory may be in memory: a number makes an unseen twin unlikely.
        let loaded = self.tree.get(parent).is_some_and(|dir| dir.loaded);
        let first = if loaded { 1 } else { 2 + (self.now.mono.0 / 1_000 % 997) as u32 };
        for number in first..first + NAME_TRIES {
            let count = if number == 1 { String::new() } else { format!("-{number}") };
            let device = &self.device;
            let comma = if device.is_empty() { "" } else { ", " };
            let tag = format!(" (conflict{comma}{device}, {date}{count})");
            let room = NAME_MAX.saturating_sub(tag.len() + extension.len());
            let mut bytes = cut(stem, room).to_vec();
            bytes.extend_from_slice(tag.as_bytes());
            bytes.extend_from_slice(extension);
            if let Ok(candidate) = Name::new(&bytes)
                && self.tree.child(parent, &candidate).is_none()
            {
                return candidate;
            }
        }
        name.clone()
    }
}

/// The name without the tags that conflicts have put into it: tags do not nest.
pub(crate) fn plain_name(name: &[u8]) -> Vec<u8> {
    let mut plain = name.to_vec();
    while let Some((start, end)) = find_tag(&plain) {
        plain.drain(start..end);
    }
    plain
}

/// Where the last tag stands: ` (conflict` to `)`, with a date before that, and only an extension after.
fn find_tag(name: &[u8]) -> Option<(usize, usize)> {
    const OPEN: &[u8] = b" (conflict";
    let close = name.iter().rposition(|byte| *byte == b')')?;
    let rest = &name[close + 1..];
    if !rest.is_empty() && (rest[0] != b'.' || rest.len() > EXTENSION_MAX) {
        return None;
    }
    let mut inside = &name[..close];
    // A number, if the name was taken.
    let digits = inside.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    if let Some(before) = inside[..inside.len() - digits].strip_suffix(b"-")
        && digits > 0
        && ends_with_date(before)
    {
        inside = before;
    }
    let open = inside.windows(OPEN.len()).rposition(|window| window == OPEN)?;
    (open > 0 && ends_with_date(inside)).then_some((open, close + 1))
}

fn ends_with_date(text: &[u8]) -> bool {
    const SHAPE: &[u8] = b", 0000-00-00 00.00.00";
    let Some(start) = text.len().checked_sub(SHAPE.len()) else { return false };
    text[start..].iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    })
}

/// Stem and extension (with its dot); a leading dot starts no extension. Extensions above
/// [`EXTENSION_MAX`] bytes are none.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > 0 && name.len() - dot <= EXTENSION_MAX => name.split_at(dot),
        _ => (name, b""),
    }
}

/// At most `room` bytes of `stem`, not cutting through a UTF-8 character.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    let mut end = stem.len().min(room);
    while end > 0 && end < stem.len() && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &stem[..end]
}

/// `2026-11-24 08.52.43`, from days to civil (Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn date_of(time: Timestamp) -> String {
    let secs = time.0.div_euclid(1_000_000_000);
    let (days, day_secs) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (day_secs / 3600, day_secs / 60 % 60, day_secs % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}.{minute:02}.{second:02}")
}
