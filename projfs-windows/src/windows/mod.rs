//! The driver itself: Windows only.

mod act;
mod api;
mod callbacks;
mod context;
mod disk;
mod evict;
mod letter;
mod mount;
mod provider;
mod remote;
mod rename;
mod serve;
mod worker;

pub use api::{Api, Missing};
pub use letter::{Letter, Lettered};
pub use mount::{Mount, MountError, Options};
pub use rename::RenameError;
