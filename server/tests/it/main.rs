//! The store over real sockets.

#![allow(clippy::unwrap_used)]

mod chunks;
mod client;
mod collect;
mod collect_kill;
mod collect_random;
mod commit_rules;
mod drives;
mod feed;
mod hostile;
mod kill;
mod limits;
mod migrate;
mod model;
mod packs;
mod past;
mod restored;
mod scrub;
mod speed;
mod tls;
mod tree;
