//! Performs the core's effects: threads, tokio, timers, and the [`Port`] that drivers submit to.

mod clock;
mod cloud_job;
mod compare;
mod driver;
mod engine;
mod feed;
mod fence;
mod filler;
mod hall;
mod jobs;
mod journal;
mod local_job;
mod mend;
mod past;
mod port;
mod rules;
mod timer;

#[cfg(test)]
mod tests;

pub use driver::Driver;
pub use engine::{Engine, EngineConfig};
pub use port::Port;
