//! ProjFS to and from the core: translation only. Not yet a driver: see README.md for what is here.

#[cfg(windows)]
pub mod feature;
pub mod fold;
pub mod hresult;
pub mod listing;
pub mod names;
pub mod pattern;
pub mod session;
pub mod version;
