//! 100 devices on one drive, one of which commits 50 times a second for 20 s. The other 99 are the
//! real client without a mount (streams of hints, pages of the log opened and checked), in one process:
//! 100 daemons do not fit the machine beside their store. From the moment the store has acknowledged a
//! commit until the last device has it; and what that takes of the store.

use crate::bench::{
    Bench, device::Device, measure::show, output, processor, server::Server, table::Line,
};
use anyhow::{Context, Result};
use std::{
    process::Command,
    time::{Duration, Instant},
};

const DEVICES: u64 = 100;
const COMMITS: u64 = 1_000;
const A_SECOND: u64 = 50;
const REACH: Duration = Duration::from_secs(1);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let server = Server::start(bench, "sync-crowd")?;
    let writer = Device::create(bench, "sync-crowd/a", &server)?;
    let (devices, commits) = (bench.scaled(DEVICES), bench.scaled(COMMITS));
    let (used, start) = (processor::used(server.pid())?, Instant::now());
    let numbers = [devices, commits, A_SECOND].map(|number| number.to_string());
    let said = output(Command::new(&bench.crowd).arg(writer.credentials()).args(numbers))?;
    let used = processor::used(server.pid())? - used;
    let percent = used.as_secs_f64() * 100.0 / start.elapsed().as_secs_f64();
    let (now, most) = processor::memory(server.pid())?;
    let said: serde_json::Value = serde_json::from_str(&said).context("what the crowd says")?;
    let millis = |name: &str| {
        said[name].as_u64().map(Duration::from_millis).with_context(|| format!("{name} in {said}"))
    };
    let (half, last, most_late) = (millis("p50_ms")?, millis("p99_ms")?, millis("most_ms")?);
    let requests = said["requests"].as_u64().context("requests")?;
    let rate = said["commits_a_second"].as_f64().context("commits_a_second")?;
    Ok(vec![
        Line::of(format!("{devices} devices on one drive, {A_SECOND} commits a second wanted"))
            .ours(format!(
                "{rate:.0} a second; all in step p50 {}, p99 {}, most {}",
                show(half),
                show(last),
                show(most_late)
            ))
            .target("<= 1 s", most_late <= REACH && rate >= 0.95 * A_SECOND as f64),
        Line::of("… the store meanwhile").ours(format!(
            "{percent:.0} % of a processor, {now} MiB ({most} MiB at most), {requests} requests"
        )),
    ])
}
