//! A model of Windows' `projectedfslib.dll`: the functions that a provider calls, and in place of the
//! kernel an [`App`] through which tests act as other programs do. What the contract of ProjFS forbids
//! is refused and noted as a violation. It is written from Microsoft's documentation: it shows that a
//! provider keeps to that, not how Windows itself behaves.
#![cfg(windows)]

mod app;
mod buffers;
mod calls;
mod command;
mod exports;
mod instance;
mod item;
mod order;

use std::path::Path;

/// One entry of a listing, as a program sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    pub name: String,
    pub dir: bool,
    pub size: u64,
}

/// How a directory is listed.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    pub pattern: Option<&'a str>,
    /// Entries that one buffer holds.
    pub room: usize,
    /// Go back to the start after the first buffer.
    pub restart: bool,
}

impl Default for Scan<'_> {
    fn default() -> Self {
        Scan { pattern: None, room: 100, restart: false }
    }
}

/// An HRESULT that is a failure.
pub type Code = i32;

/// What programs do in a root. Paths are below the root, with `\` between components.
pub trait App: Sync {
    /// # Errors
    /// What the program would be told.
    fn list(&self, root: &Path, place: &str, scan: Scan<'_>) -> Result<Vec<Listed>, Code>;
    /// # Errors
    /// What the program would be told.
    fn read(&self, root: &Path, place: &str, offset: u64, len: usize) -> Result<Vec<u8>, Code>;
    /// Starts to read, then ends without waiting: the command is cancelled while it runs.
    ///
    /// # Errors
    /// What the program would be told.
    fn read_and_leave(&self, root: &Path, place: &str) -> Result<(), Code>;
    /// Writes and closes. With `truncate` the old content goes first; a missing file is made.
    ///
    /// # Errors
    /// What the program would be told.
    fn write(
        &self,
        root: &Path,
        place: &str,
        at: u64,
        data: &[u8],
        truncate: bool,
    ) -> Result<(), Code>;
    /// # Errors
    /// What the program would be told.
    fn make_dir(&self, root: &Path, place: &str) -> Result<(), Code>;
    /// In place of a file that is there.
    ///
    /// # Errors
    /// What the program would be told.
    fn rename(&self, root: &Path, from: &str, to: &str) -> Result<(), Code>;
    /// # Errors
    /// What the program would be told.
    fn delete(&self, root: &Path, place: &str) -> Result<(), Code>;
    /// Changes when a file was written, without writing. `ticks`: of 100 ns since 1601.
    ///
    /// # Errors
    /// What the program would be told.
    fn touch(&self, root: &Path, place: &str, ticks: u64) -> Result<(), Code>;
    /// # Errors
    /// What the program would be told.
    fn link(&self, root: &Path, place: &str) -> Result<(), Code>;
    /// Opens without reading: the placeholder is made.
    ///
    /// # Errors
    /// What the program would be told.
    fn open(&self, root: &Path, place: &str) -> Result<(), Code>;
    /// Whether there is such a name, asked without making a placeholder.
    ///
    /// # Errors
    /// What the program would be told.
    fn exists(&self, root: &Path, place: &str) -> Result<bool, Code>;
    /// Keeps a handle open (or closes it): the provider must not take the file away meanwhile.
    fn hold(&self, root: &Path, place: &str, on: bool);
    /// `virtual`, `placeholder`, `hydrated`, `dirty`, `full` or `tombstone`.
    fn state(&self, root: &Path, place: &str) -> &'static str;
    /// What was done against the contract since the last call.
    fn violations(&self) -> Vec<String>;
}

/// The name of the function that gives the [`App`] of this library.
pub const APP: &str = "projfs_model_app";

/// The type of that function. Library and tests are built by one compiler from one crate.
pub type GetApp = fn() -> &'static dyn App;
