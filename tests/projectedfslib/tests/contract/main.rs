//! The real provider, driven through the library's binary interface, with the store's server outside.
//! `cargo xtask windows` starts the server and runs this under Wine.
#![cfg(windows)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and so do its helpers"
)]

mod away;
mod basics;
mod line;
mod moves;
mod names;
mod pressure;
mod remote;
mod restart;
mod room;
mod world;
