//! Runs that are too long for `test`: worlds of the simulation, batch after batch; kills of a real daemon
//! and its store; and the core broken on purpose, to see that the simulation notices.

mod mutations;

use crate::test::{SKIPS_VARIABLE, Skips};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Worlds of each shape in one batch, after which progress is printed.
const BATCH: u64 = 20_000;
/// Shapes of worlds: plain, with hard links, with saves (twice), with names that are ignored.
const SHAPES: u64 = 5;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Hours after which no new batch is started
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Instead: end the daemon, and now and then its store, so many times in the middle of work on a real
    /// mount, and look for everything that was acknowledged
    #[arg(long, conflicts_with = "mutations")]
    kills: Option<u64>,
    /// Instead: break the core in known ways, one after the other, and say which seed notices
    #[arg(long)]
    mutations: bool,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    if options.mutations {
        return mutations::run(root);
    }
    match options.kills {
        Some(count) => kill(root, count),
        None => worlds(root, options),
    }
}

fn kill(root: &Path, count: u64) -> Result<()> {
    let (started, skips) = (Instant::now(), Skips::new(root)?);
    let status = Command::new("cargo")
        .args(["test", "--quiet", "--workspace", "--test", "crash"])
        .env("MESHDRIVE_CRASHES", count.to_string())
        .env(SKIPS_VARIABLE, skips.path())
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "something that was acknowledged was lost: see above");
    let skipped = skips.lines();
    ensure!(skipped.is_empty(), "nothing was tried: {}", skipped.join("; "));
    println!(
        "{count} kills in {} s: nothing that was acknowledged was lost.",
        started.elapsed().as_secs()
    );
    Ok(())
}

/// Runs worlds until the time is over; one that fails is told, and the others go on.
fn worlds(root: &Path, options: &Options) -> Result<()> {
    let limit = Duration::try_from_secs_f64(options.hours * 3_600.0)
        .context("--hours is no length of time")?;
    let started = Instant::now();
    let (mut next, mut failures) = (options.first, 0);
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let batch = batch(root, next)?;
        next += BATCH;
        failures += batch.failures;
        for (what, count) in batch.outcomes {
            *outcomes.entry(what).or_default() += count;
        }
        let seconds = started.elapsed().as_secs().max(1);
        let worlds = (next - options.first) * SHAPES;
        println!(
            "{worlds} worlds in {seconds} s, {} a second, {failures} failed.",
            worlds / seconds
        );
        if started.elapsed() >= limit {
            break;
        }
    }
    println!("What was met:");
    outcomes.iter().for_each(|(what, count)| println!("{count:>10}  {what}"));
    ensure!(failures == 0, "{failures} worlds failed: their seeds are above");
    Ok(())
}

struct Batch {
    failures: u64,
    outcomes: Vec<(String, u64)>,
}

fn batch(root: &Path, first: u64) -> Result<Batch> {
    let output = Command::new("cargo")
        .args(["test", "--quiet", "--package", "simulation", "--test", "seeds", "many_seeds"])
        .args(["--", "--nocapture"])
        .env("FIRST", first.to_string())
        .env("SEEDS", BATCH.to_string())
        .current_dir(root)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let seeds: Vec<&str> =
        said.lines().chain(errors.lines()).filter(|line| line.starts_with("SEED=")).collect();
    seeds.iter().for_each(|seed| println!("{seed}"));
    ensure!(
        output.status.success() || !seeds.is_empty(),
        "the simulation did not run from seed {first}:\n{errors}"
    );
    let outcome = |line: &str| {
        let (count, what) = line.strip_prefix("met ")?.split_once(' ')?;
        Some((what.to_owned(), count.parse().ok()?))
    };
    Ok(Batch { failures: seeds.len() as u64, outcomes: said.lines().filter_map(outcome).collect() })
}
