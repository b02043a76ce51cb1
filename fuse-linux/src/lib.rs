//! FUSE requests to and from the core: translation only.

mod answer;
mod attach;
mod backing;
mod convert;
mod door;
mod errno;
mod error;
mod filesystem;
mod listing;
mod mount;
mod mountinfo;
mod notify;
mod passed;
mod reattach;
pub mod registrar;
mod resent;

#[cfg(test)]
mod tests;

pub use backing::Passthrough;
pub use error::MountError;
pub use mount::{FS_TYPE, Kept, Mount, MountConfig, detach, recover_dead_mount};
pub use reattach::Offer;
