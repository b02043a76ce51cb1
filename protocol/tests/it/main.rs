//! The bytes on the wire and in packs.

#![allow(clippy::unwrap_used)]

mod codec;
mod golden;
mod pack;
mod samples;
