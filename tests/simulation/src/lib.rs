//! Deterministic simulation of many drives on one store. See the README.

mod device;
mod disk;
mod oracle;
mod random;
mod store;
mod workload;
mod world;

#[cfg(test)]
mod held;
#[cfg(test)]
mod ignored;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod resent;
#[cfg(test)]
mod restored;
#[cfg(test)]
mod restored_random;
#[cfg(test)]
mod scenarios;

pub use world::{Config, Failure, OUTCOMES, Report, run};
