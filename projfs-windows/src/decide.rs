//! What to do about one path: a pure function of what the disk has, what the core has, and what was
//! last known to be the same in both.
//!
//! Notifications only say "look there". What is decided here follows from states, so it does not matter
//! in which order they came, how often, or whether the program was restarted in between.

use fs_core::{Ino, Timestamp};

/// A version of a file as the core shows it. The time of change travels with the content, so two
/// versions with the same number of bytes differ in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    pub ino: Ino,
    pub size: u64,
    pub mtime: Timestamp,
}

/// What the core has at the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Core {
    Nothing,
    File(Shown),
    Dir(Ino),
    /// A symlink or special file: it is shown by nothing on this disk.
    Other,
}

/// A file that was written here, as the disk has it. Every write moves the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Print {
    pub size: u64,
    /// Last write, in ticks of 100 ns since 1601 (FILETIME).
    pub written: i64,
}

/// What the disk has at the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disk {
    /// Nothing of its own: what the core has is projected.
    Virtual,
    /// Removed by a program.
    Tombstone,
    /// Projected, with or without its bytes; nothing of it was changed here.
    Placeholder { dir: bool },
    /// Projected; its attributes were changed here, its bytes were not.
    Touched(Print),
    /// Made or written here.
    File(Print),
    /// Made here.
    Dir,
}

/// What was last known to be the same on the disk and in the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    pub shown: Shown,
    pub is_dir: bool,
    /// Of a file that was written here and has been handed to the core.
    pub print: Option<Print>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Nothing,
    /// Forget what was known.
    Forget,
    /// Remove the node from the core, then the tombstone.
    RemoveFromCore,
    /// The removal is void or done: take the tombstone away.
    ClearTombstone,
    /// Take the item off the disk: what the core has, if anything, is projected again.
    Project,
    /// The placeholder is of an old version: make it one of the current.
    Update(Shown),
    /// Make the file in the core from the bytes on the disk.
    Create,
    /// Put the bytes on the disk into this node, which may be elsewhere by now.
    Push(Ino),
    /// The bytes on the disk are those of a version that is not the core's: compare, and where they
    /// differ keep them under a name of their own.
    KeepBoth(Shown),
    /// Put the times on the disk into the node.
    PushTimes(Ino),
    MakeDir,
    /// A folder that was made here and is in the core: let what others put into it show.
    AdoptDir(Ino),
}

impl Action {
    /// Whether anything in the core changes by it.
    #[must_use]
    pub fn changes_the_drive(self) -> bool {
        match self {
            Action::RemoveFromCore
            | Action::Create
            | Action::Push(_)
            | Action::KeepBoth(_)
            | Action::PushTimes(_)
            | Action::MakeDir => true,
            Action::Nothing
            | Action::Forget
            | Action::ClearTombstone
            | Action::Project
            | Action::Update(_)
            | Action::AdoptDir(_) => false,
        }
    }
}

/// See the module.
#[must_use]
pub fn decide(disk: Disk, core: Core, known: Option<Known>) -> Action {
    match disk {
        Disk::Virtual if known.is_some() => Action::Forget,
        Disk::Virtual => Action::Nothing,
        Disk::Tombstone => tombstone(core, known),
        Disk::Placeholder { dir } => placeholder(dir, core, known),
        Disk::Touched(print) => touched(print, core, known),
        Disk::File(print) => file(print, core, known),
        Disk::Dir => match core {
            Core::Nothing => Action::MakeDir,
            Core::Dir(ino) if known.is_some_and(|known| known.is_dir && known.shown.ino == ino) => {
                Action::Nothing
            }
            Core::Dir(ino) => Action::AdoptDir(ino),
            // What was a file there is elsewhere, or gone: its turn comes with its own path.
            Core::File(_) | Core::Other => Action::Nothing,
        },
    }
}

/// A removal counts for the version that was seen here. One of an unknown version is not carried out:
/// the item shows again.
fn tombstone(core: Core, known: Option<Known>) -> Action {
    match (core, known) {
        (Core::File(shown), Some(known)) if known.shown == shown => Action::RemoveFromCore,
        (Core::Dir(ino), Some(known)) if known.is_dir && known.shown.ino == ino => {
            Action::RemoveFromCore
        }
        _ => Action::ClearTombstone,
    }
}

fn placeholder(dir: bool, core: Core, known: Option<Known>) -> Action {
    match core {
        Core::Dir(_) if dir => Action::Nothing,
        Core::File(shown) if !dir => match known {
            Some(known) if known.shown == shown => Action::Nothing,
            _ => Action::Update(shown),
        },
        _ => Action::Project,
    }
}

fn touched(print: Print, core: Core, known: Option<Known>) -> Action {
    match (core, known) {
        (Core::File(shown), Some(known)) if known.shown == shown => match known.print {
            Some(before) if before == print => Action::Nothing,
            _ => Action::PushTimes(shown.ino),
        },
        // Another version came: what was changed here are only its attributes.
        _ => Action::Project,
    }
}

fn file(print: Print, core: Core, known: Option<Known>) -> Action {
    let known = known.filter(|known| !known.is_dir);
    let unchanged = known.is_some_and(|known| known.print == Some(print));
    match (core, known) {
        (Core::Nothing, None) => Action::Create,
        // Removed elsewhere, and nothing new here.
        (Core::Nothing, Some(_)) if unchanged => Action::Project,
        // Removed or moved elsewhere, and edited here: the edit goes where the node is.
        (Core::Nothing, Some(known)) => Action::Push(known.shown.ino),
        (Core::File(shown), Some(known)) if known.shown == shown => {
            if unchanged {
                Action::Nothing
            } else {
                Action::Push(shown.ino)
            }
        }
        (Core::File(_) | Core::Dir(_) | Core::Other, Some(_)) if unchanged => Action::Project,
        (Core::File(shown), _) => Action::KeepBoth(shown),
        (Core::Dir(ino), _) => Action::KeepBoth(Shown { ino, size: u64::MAX, mtime: Timestamp(0) }),
        (Core::Other, _) => {
            Action::KeepBoth(Shown { ino: Ino::NONE, size: u64::MAX, mtime: Timestamp(0) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Shown = Shown { ino: Ino(5), size: 10, mtime: Timestamp(1) };
    const LATER: Shown = Shown { mtime: Timestamp(2), ..ONE };
    const HERE: Print = Print { size: 10, written: 7 };
    const EDITED: Print = Print { size: 10, written: 8 };

    fn known(print: Option<Print>) -> Option<Known> {
        Some(Known { shown: ONE, is_dir: false, print })
    }

    #[test]
    fn only_a_removal_of_the_seen_version_is_carried_out() {
        let removed = |core, known| decide(Disk::Tombstone, core, known);
        assert_eq!(removed(Core::File(ONE), known(None)), Action::RemoveFromCore);
        assert_eq!(removed(Core::File(LATER), known(None)), Action::ClearTombstone);
        assert_eq!(removed(Core::File(ONE), None), Action::ClearTombstone);
        assert_eq!(removed(Core::Nothing, known(None)), Action::ClearTombstone);
        assert_eq!(removed(Core::Dir(Ino(5)), known(None)), Action::ClearTombstone);
    }

    #[test]
    fn what_is_missing_on_the_disk_is_never_removed_from_the_core() {
        for core in [Core::Nothing, Core::File(ONE), Core::Dir(Ino(5)), Core::Other] {
            for known in [None, known(None), known(Some(HERE))] {
                let action = decide(Disk::Virtual, core, known);
                assert!(matches!(action, Action::Nothing | Action::Forget), "{action:?}");
            }
        }
    }

    #[test]
    fn clean_placeholders_follow_the_core() {
        let clean = Disk::Placeholder { dir: false };
        assert_eq!(decide(clean, Core::File(ONE), known(None)), Action::Nothing);
        assert_eq!(decide(clean, Core::File(LATER), known(None)), Action::Update(LATER));
        assert_eq!(decide(clean, Core::File(ONE), None), Action::Update(ONE));
        assert_eq!(decide(clean, Core::Nothing, known(None)), Action::Project);
        assert_eq!(decide(clean, Core::Dir(Ino(5)), known(None)), Action::Project);
    }

    #[test]
    fn bytes_written_here_are_never_taken_off_the_disk_unsent() {
        for core in
            [Core::Nothing, Core::File(ONE), Core::File(LATER), Core::Dir(Ino(6)), Core::Other]
        {
            for known in [None, known(None), known(Some(HERE))] {
                let action = decide(Disk::File(EDITED), core, known);
                let keeps =
                    matches!(action, Action::Create | Action::Push(_) | Action::KeepBoth(_));
                assert!(keeps, "{core:?} {known:?}: {action:?}");
            }
        }
    }

    #[test]
    fn a_written_file_that_the_core_has_follows_it() {
        let file = Disk::File(HERE);
        assert_eq!(decide(file, Core::File(ONE), known(Some(HERE))), Action::Nothing);
        assert_eq!(decide(file, Core::File(LATER), known(Some(HERE))), Action::Project);
        assert_eq!(decide(file, Core::Nothing, known(Some(HERE))), Action::Project);
        assert_eq!(
            decide(Disk::File(EDITED), Core::File(ONE), known(Some(HERE))),
            Action::Push(ONE.ino)
        );
        assert_eq!(
            decide(Disk::File(EDITED), Core::File(LATER), known(Some(HERE))),
            Action::KeepBoth(LATER)
        );
    }

    #[test]
    fn folders_made_here_are_made_there() {
        assert_eq!(decide(Disk::Dir, Core::Nothing, None), Action::MakeDir);
        assert_eq!(decide(Disk::Dir, Core::Dir(Ino(9)), None), Action::AdoptDir(Ino(9)));
        assert_eq!(decide(Disk::Dir, Core::File(ONE), None), Action::Nothing);
    }
}
