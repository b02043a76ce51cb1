//! What POSIX and Linux promise of files, one test a promise, on a real mount.

#![cfg(target_os = "linux")]
// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

mod access;
mod files;
mod listing;
mod locks;
mod names;
mod times;
mod xattrs;
