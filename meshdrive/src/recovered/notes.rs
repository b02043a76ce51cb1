//! The text beside what was taken out of a drive: what has no content, and what is not whole.

use super::Taken;
use crate::{dirs::Label, render::text};
use fs_core::Attrs;
use protocol::control::PathText;

/// Bytes of an attribute's value that are shown.
const VALUE_BYTES: usize = 4_096;

/// One thing to know. Paths are for people.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Note {
    /// A file that lacks bytes: its path, how many, and why.
    Part(String, u64, String),
    /// Something that is not where its path says: path, place below the folder.
    Elsewhere(String, String),
    /// Something that could not be written as a file: path, what.
    Unwritten(String, String),
    Removed(String),
    Moved(String, String),
    Revived(String),
    Attributes(String, String),
    /// One more name of a file that the cloud has: its name, the file's.
    Linked(String, String),
}

impl Note {
    fn heading(&self) -> &'static str {
        match self {
            Note::Part(..) => {
                "Files that are not whole, because the rest of them is only in the cloud. What was on \
                 this device is in a folder with the file's name and `.parts`: each part is named by \
                 the offsets of its first byte and of the byte after its last. Copy the parts over the \
                 cloud's version to get the file:"
            }
            Note::Elsewhere(..) => "Under another path, as theirs cannot be had here:",
            Note::Unwritten(..) => "Not written, as this disk or this user cannot have it:",
            Note::Removed(_) => "Removed here:",
            Note::Moved(..) => "Moved or renamed here:",
            Note::Revived(_) => "Kept here although the cloud has it in its trash:",
            Note::Attributes(..) => "Attributes changed here:",
            Note::Linked(..) => "Further names (hard links) made here:",
        }
    }

    fn line(&self) -> String {
        match self {
            Note::Part(path, missing, why) => {
                format!("{path}: {missing} bytes are missing: {why}")
            }
            Note::Elsewhere(path, place) => format!("{path}: is at {place}"),
            Note::Unwritten(path, what) | Note::Attributes(path, what) => format!("{path}: {what}"),
            Note::Removed(path) | Note::Revived(path) => path.clone(),
            Note::Moved(from, to) => format!("{from} -> {to}"),
            Note::Linked(path, target) => format!("{path} = {target}"),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    pub(super) fn add(&mut self, note: Note) {
        self.0.push(note);
    }

    pub(super) fn extend(&mut self, notes: impl IntoIterator<Item = Note>) {
        self.0.extend(notes);
    }

    /// Everything in words, grouped.
    pub(super) fn text(&self, label: &Label, time: &str, taken: &Taken) -> String {
        let files = text::count(taken.files, "file", "files");
        let mut out = format!(
            "This was in the drive {label} on this device and not in the cloud. `meshdrive unmount \
             {label} --force` took it out at {time}.\n\n{files} with {} bytes are in the folder beside \
             this text that has the same name, under the paths they had in the drive.\n",
            taken.bytes
        );
        let mut notes: Vec<&Note> = self.0.iter().collect();
        notes.sort();
        let mut last = "";
        for note in notes {
            if note.heading() != last {
                last = note.heading();
                out.push_str(&format!("\n{last}\n"));
            }
            out.push_str(&format!("  {}\n", note.line()));
        }
        out
    }
}

/// What was changed from one set of attributes to the other, in words.
pub(super) fn differences(from: &Attrs, to: &Attrs) -> String {
    let mut parts = Vec::new();
    if from.mode != to.mode {
        parts.push(format!("mode {:o}, was {:o}", to.mode, from.mode));
    }
    if (from.uid, from.gid) != (to.uid, to.gid) {
        parts.push(format!("owner {}:{}, was {}:{}", to.uid, to.gid, from.uid, from.gid));
    }
    if from.mtime != to.mtime {
        parts.push(format!("time {}, was {}", text::time(to.mtime.0), text::time(from.mtime.0)));
    }
    for (name, value) in &to.xattrs {
        if from.xattrs.get(name) != Some(value) {
            parts.push(xattr(name, value));
        }
    }
    for name in from.xattrs.keys().filter(|name| !to.xattrs.contains_key(*name)) {
        parts.push(format!("{} removed", shown(name)));
    }
    if parts.is_empty() { "times only".into() } else { parts.join("; ") }
}

/// An attribute and its value.
pub(super) fn xattr(name: &[u8], value: &[u8]) -> String {
    let cut = &value[..value.len().min(VALUE_BYTES)];
    let more = if cut.len() < value.len() { ", cut off" } else { "" };
    format!("{} = \"{}\"{more}", shown(name), cut.escape_ascii())
}

fn shown(bytes: &[u8]) -> String {
    text::path(&PathText::from_bytes(bytes.to_vec()))
}
