//! On Windows nobody starts a new daemon when this one ends: its mount ends with it.

use crate::failure::Outcome;
use std::{
    convert::Infallible,
    io,
    time::{Duration, Instant},
};

/// There is no mount that another daemon has served.
pub(crate) type Kept = Infallible;

pub(crate) struct Keeper(Instant);

pub(crate) struct Start {
    pub(crate) keeper: Keeper,
    pub(crate) kept: Option<Kept>,
}

impl Start {
    pub(crate) fn hear(_supervised: bool) -> Outcome<Start> {
        Ok(Start { keeper: Keeper(Instant::now()), kept: None })
    }
}

impl Keeper {
    pub(crate) fn life(&self) -> u32 {
        0
    }

    pub(crate) fn crashes(&self) -> u32 {
        0
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn supervisor(&self) -> Option<u32> {
        None
    }

    pub(crate) fn keep(&mut self, _mount: &super::driver::Mount) -> Outcome {
        Ok(())
    }

    pub(crate) fn serving(&self) {}

    pub(crate) fn program(&self) -> &Program {
        &Program
    }
}

/// Is not replaced while it runs.
pub(crate) struct Program;

impl Program {
    pub(crate) fn is_replaced(&self) -> io::Result<bool> {
        Ok(false)
    }

    pub(crate) async fn try_out(&self) -> Result<(), String> {
        Ok(())
    }
}
