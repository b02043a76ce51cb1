//! The store over real sockets.

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
mod tree;
