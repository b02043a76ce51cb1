//! What survives a crash on this device.

mod store;

pub use store::{Error, LocalStore};
