//! What is on the disk below a root.

/// The two ids of a placeholder.
pub(crate) type Version = ([u8; 128], [u8; 128]);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Placeholder,
    Hydrated,
    Dirty,
    Full,
    Tombstone,
}

impl State {
    pub(crate) fn is_placeholder(self) -> bool {
        matches!(self, State::Placeholder | State::Hydrated | State::Dirty)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Placeholder => "placeholder",
            State::Hydrated => "hydrated",
            State::Dirty => "dirty",
            State::Full => "full",
            State::Tombstone => "tombstone",
        }
    }

    /// PRJ_FILE_STATE
    pub(crate) fn bits(self) -> i32 {
        match self {
            State::Placeholder => 1,
            State::Hydrated => 1 | 2,
            State::Dirty => 1 | 4,
            State::Full => 8,
            State::Tombstone => 16,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: Vec<u16>,
    pub(crate) dir: bool,
    pub(crate) state: State,
    pub(crate) version: Option<Version>,
    /// The path that the placeholder was made with: what GetFileData is given, whatever its name is now.
    pub(crate) made_as: Vec<u16>,
    pub(crate) size: u64,
    /// Handles that programs hold.
    pub(crate) held: u32,
}

impl Item {
    pub(crate) fn full(name: &[u16], place: &[u16], dir: bool) -> Item {
        Item {
            name: name.to_vec(),
            dir,
            state: State::Full,
            version: None,
            made_as: place.to_vec(),
            size: 0,
            held: 0,
        }
    }
}
