//! Renaming what ProjFS itself cannot rename: a projected folder. It is taken off the disk, renamed in
//! the core, and projected again under its new name.

use super::{provider::Provider, worker::Trouble};
use crate::path::Place;
use fs_core::FsError;

/// Why something was not renamed. Nothing of it was changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RenameError {
    #[error("{0} is not there")]
    Missing(String),
    #[error("{0} is there already")]
    Taken(String),
    #[error("a folder cannot go into itself")]
    Inside,
    #[error("the drive is mounted for reading only")]
    ReadOnly,
    #[error(
        "something in {0} is open, or is not in the drive yet: close what uses it, then try again"
    )]
    InUse(String),
    #[error("{0}")]
    Core(#[from] FsError),
}

impl Provider {
    pub(super) fn rename(&self, from: &Place, to: &Place) -> Result<(), RenameError> {
        if self.read_only {
            return Err(RenameError::ReadOnly);
        }
        let (old, new) = (from.key(), to.key());
        let inside = new.strip_prefix(old.as_slice());
        if from.is_root()
            || inside.is_some_and(|rest| rest.first() == Some(&crate::path::SEPARATOR))
        {
            return Err(RenameError::Inside);
        }
        let entry = self.tree.entry(from)?;
        let entry = entry.ok_or_else(|| RenameError::Missing(from.to_string()))?;
        if let Some(there) = self.tree.entry(to)?
            && there.node.attr.ino != entry.node.attr.ino
        {
            return Err(RenameError::Taken(to.to_string()));
        }
        self.take_off(from).map_err(|trouble| match trouble {
            Trouble::Core(error) => RenameError::Core(error),
            trouble => {
                tracing::debug!(%from, %trouble, "not renamed");
                RenameError::InUse(from.to_string())
            }
        })?;
        // What a program touches at this moment becomes a placeholder at the old place; it is looked at
        // below, and goes.
        self.tree.rename(from, to, false)?;
        for place in [from, to] {
            self.look_at(&crate::ledger::Hint::look(place.clone()));
        }
        Ok(())
    }
}
