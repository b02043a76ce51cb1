//! The real provider, driven through the library's binary interface, with the store's server outside.
//! `cargo xtask windows` starts the server and runs this under Wine.
#![cfg(windows)]

mod away;
mod basics;
mod line;
mod names;
mod pressure;
mod remote;
mod restart;
mod room;
mod world;
