//! The native store against a real server over a loopback socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

mod content;
mod damage;
mod decorators;
mod onboarding;
mod random;
mod speed;
mod strangers;
mod tls;
mod traffic;
mod tree;
mod world;
