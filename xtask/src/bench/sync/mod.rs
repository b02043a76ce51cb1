//! `cargo xtask bench --sync`: how fast devices come into step. The network between them and the store
//! is shaped by the benchmark's own proxy; the devices are whole daemons with real mounts.

mod catch_up;
mod close;
mod crowd;
mod drain;
mod idle;
mod many;

use super::{
    Bench, machine,
    proxy::{Line as Wire, Proxy},
    server::Server,
    table::{self, Line, Outcome},
};
use anyhow::{Context, Result, ensure};
use std::{path::Path, time::Duration};

/// A round trip of the slow line.
const ROUND_TRIP: Duration = Duration::from_millis(50);
const HEADING: &str = "## Devices in step";

type Run = fn(&Bench) -> Result<Vec<Line>>;

const ROWS: &[(&str, Run)] = &[
    ("close", close::run),
    ("many", many::run),
    ("drain", drain::run),
    ("catch-up", catch_up::run),
    ("idle", idle::run),
    ("crowd", crowd::run),
];

/// Runs the rows, or only those named, prints the table and, after a whole run, writes it into its
/// section of docs/benchmarks.md.
///
/// # Errors
/// When a row does not run; it is a line of the table that says so.
pub(super) fn run(root: &Path, bench: &Bench, only: &[String], write: bool) -> Result<()> {
    let known = |name: &String| ROWS.iter().any(|(row, _)| row == name);
    let names = || ROWS.iter().map(|(row, _)| *row).collect::<Vec<_>>().join(", ");
    ensure!(only.iter().all(known), "the rows are {}", names());
    let (mut lines, mut failed) = (Vec::new(), 0);
    for (name, row) in ROWS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("\n== {name}");
        match row(bench) {
            Ok(found) => {
                found.iter().for_each(|line| eprintln!("   {line}"));
                lines.extend(found);
            }
            Err(error) => {
                failed += 1;
                eprintln!("   FAILED: {error:#}");
                lines.push(Line::of(*name).ours("did not run").outcome(Outcome::Failed));
            }
        }
    }
    let table = table::render(&lines);
    print!("{table}");
    if write && only.is_empty() && failed == 0 {
        let path = root.join("docs/benchmarks.md");
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        let machine = machine::describe(root, &bench.folder);
        let text = table::splice(&page, HEADING, &section(&table, &machine));
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        eprintln!("written to docs/benchmarks.md");
    }
    ensure!(failed == 0, "{failed} rows did not run");
    Ok(())
}

/// The section of a page, if it has one.
pub(super) fn keep_section(page: &str) -> String {
    table::section_of(page, HEADING)
}

pub(super) fn put_section(page: &str, section: &str) -> String {
    table::splice(page, HEADING, section)
}

fn section(table: &str, machine: &str) -> String {
    format!(
        "{HEADING}\n\n\
         Written by `cargo xtask bench --sync`. Devices are daemons with mounts of their own; a line of 50 ms is a proxy that\n\
         both ways of every connection of every device go through. How each row is measured is said at the top of its file\n\
         in `xtask/src/bench/sync`.\n\n\
         {machine}\n\n{table}"
    )
}

/// A line with the slow round trip to `server`.
fn slow_line(server: &Server) -> Result<Proxy> {
    Proxy::start(&server.address, Wire { one_way: ROUND_TRIP / 2, rate: None })
}
