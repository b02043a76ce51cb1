//! The store over real sockets.

#![allow(clippy::unwrap_used)]

mod chunks;
mod client;
mod commit_rules;
mod drives;
mod feed;
mod hostile;
mod kill;
mod limits;
mod model;
mod packs;
mod speed;
mod tls;
mod tree;
