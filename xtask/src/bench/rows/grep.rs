//! `grep -r` for a word that is not there, over 10,000 text files of 1 to 16 KiB in 100 folders: on a
//! drive mounted anew, so that no content is local, and again right after. The baseline is the same
//! tree on ext4, in the page cache.

use crate::bench::{
    Bench,
    device::Device,
    measure::{Pair, median, percentile, show, time},
    server::Server,
    table::Line,
    trees,
};
use anyhow::{Context, Result, ensure};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const FILES: u64 = 10_000;
const COLD: Duration = Duration::from_secs(3);
const HOT: Duration = Duration::from_millis(500);

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let files = bench.scaled(FILES);
    let place = bench.place("grep")?;
    let server = Server::start(bench, "grep")?;
    let device = Device::create(bench, "grep/a", &server)?;
    device.mount()?;
    trees::small(&place.join("tree"), files, 400)?;
    trees::small(&device.path("tree"), files, 400)?;
    device.sync()?;
    let (mut cold, mut hot) = (Pair::default(), Pair::default());
    for _ in 0..bench.slices(5) {
        let base = time(|| grep(&place.join("tree")))?;
        device.unmount()?;
        device.mount_whole()?;
        device.expect_nothing_local()?;
        cold.ours.push(time(|| grep(&device.path("tree")))?);
        hot.ours.push(time(|| grep(&device.path("tree")))?);
        cold.base.push(base);
        hot.base.push(base);
    }
    let line = |name: String, pair: &Pair, others: &str, reach: Duration| {
        let took = percentile(&pair.ours, 50);
        Line::of(name)
            .base(format!("ext4 {}; {others}", median(&pair.base)))
            .ours(show(took))
            .ratio(pair.ratio())
            .target(format!("<= {}", show(reach)), took <= reach)
    };
    let name = format!("grep -r over {files} cold small files, loopback store");
    Ok(vec![
        line(name, &cold, "best peer 5.1 s", COLD),
        line("… again, hot".to_owned(), &hot, "best peer 2.2 s", HOT),
    ])
}

fn grep(tree: &Path) -> Result<()> {
    let mut command = Command::new("grep");
    command.args(["-r", "a word that is in no file"]).arg(tree).stdout(Stdio::null());
    let status = command.status().context("running grep")?;
    // 1 = nothing found (POSIX, grep).
    ensure!(status.code() == Some(1), "grep: {status}");
    Ok(())
}
