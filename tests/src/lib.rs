//! What the tests on real mounts share: the program, a store, devices, a slow or broken line between
//! them, and waiting with a deadline.

#![cfg(target_os = "linux")]
// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

mod answer;
mod bytes;
mod device;
mod process;
mod program;
mod proxy;
mod relay;
mod server;
mod skip;
mod tree;
mod user;
mod wait;
mod world;

pub use answer::{Answer, tool};
pub use bytes::{Random, content};
pub use device::{Device, is_mounted};
pub use process::{children, gone, kill};
pub use program::{copy_program, program};
pub use proxy::{Line, Proxy, Traffic};
pub use relay::{Passing, Relay};
pub use server::Server;
pub use skip::{can_mount, have, have_any, skip};
pub use tree::{Entry, Tree, tree, tree_of};
pub use user::{TIDY, UserPlace, is_root};
pub use wait::{PATIENCE, comes_about, wait_for, wait_until};
pub use world::World;
