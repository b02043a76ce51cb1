//! The native store against a real server over a loopback socket.

mod content;
mod damage;
mod decorators;
mod onboarding;
mod random;
mod strangers;
mod traffic;
mod tree;
mod world;
