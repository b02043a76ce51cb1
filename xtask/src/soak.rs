//! Long runs that are too long for `test`: worlds of the simulation, batch after batch.

use anyhow::{Result, ensure};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Worlds in one batch, after which progress is printed.
const BATCH: u64 = 50_000;

/// Runs worlds from `first` on until `minutes` have passed; stops at the first batch that fails.
pub(crate) fn run(root: &Path, first: u64, minutes: u64) -> Result<()> {
    let started = Instant::now();
    let limit = Duration::from_secs(minutes.saturating_mul(60));
    let mut next = first;
    loop {
        let status = Command::new("cargo")
            .args(["test", "--quiet", "--package", "simulation", "--test", "seeds", "many_seeds"])
            .env("FIRST", next.to_string())
            .env("SEEDS", BATCH.to_string())
            .current_dir(root)
            .status()?;
        ensure!(status.success(), "a world between {next} and {} failed", next + BATCH);
        next += BATCH;
        let seconds = started.elapsed().as_secs().max(1);
        let worlds = next - first;
        println!("{worlds} worlds in {seconds} s, {} a second, none failed.", worlds / seconds);
        if started.elapsed() >= limit {
            return Ok(());
        }
    }
}
