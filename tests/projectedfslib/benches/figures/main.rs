//! The driver's figures, through the model of ProjFS. `cargo xtask bench --windows` starts a store and a
//! plain HTTP server outside of Wine, runs this and puts its lines into a table: one a row,
//! `work | baseline | figure | target | met`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what goes wrong here ends the run, as in a test"
)]

#[cfg(windows)]
#[allow(dead_code, reason = "shared with the tests of the contract")]
#[path = "../../tests/contract/line.rs"]
mod line;
#[cfg(windows)]
mod work;
#[cfg(windows)]
#[allow(dead_code, reason = "shared with the tests of the contract")]
#[path = "../../tests/contract/world.rs"]
mod world;

/// On other systems there is nothing to measure.
fn main() {
    #[cfg(windows)]
    work::all();
}
