//! ProjFS to and from the core: translation only. What is here, and how far it has been run, is in
//! README.md.

mod bytes;
pub mod commands;
pub mod crew;
pub mod decide;
pub mod fold;
pub mod hresult;
pub mod ledger;
pub mod listing;
pub mod names;
pub mod path;
pub mod pattern;
pub mod placing;
pub mod session;
pub mod times;
pub mod tree;
pub mod version;
#[cfg(windows)]
pub mod windows;
