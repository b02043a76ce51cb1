//! FUSE requests to and from the core: translation only.

mod acl;
mod answer;
mod attach;
mod convert;
mod errno;
mod error;
mod filesystem;
mod listing;
mod mount;
mod mountinfo;
mod notify;

#[cfg(test)]
mod tests;

pub use error::MountError;
pub use mount::{FS_TYPE, Mount, MountConfig, recover_dead_mount};
