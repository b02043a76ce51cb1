//! The driver itself: Windows only.

mod act;
mod api;
mod callbacks;
mod context;
mod disk;
mod evict;
mod mount;
mod provider;
mod remote;
mod serve;
mod worker;

pub use api::{Api, Missing};
pub use mount::{Mount, MountError, Options};
