//! `cargo xtask bench --peers`: other programs that show a store as a folder, as separate programs, on
//! the same work as ours and as ext4, one after the other on the same machine in the same run.
//!
//! Each piece of work is a cell: a process of its own with a time limit, so that a mount that hangs
//! costs a minute and not the run. A contender whose mount hung is mounted anew.

mod contender;
mod juicefs;
mod meshdrive;
mod plan;
mod programs;
mod rclone;
mod table;
mod work;

pub(crate) use work::cell;

use super::{Bench, machine, trees};
use anyhow::{Context, Result};
use contender::{Contender, Ext4, Way};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Time for all contenders together; what has not begun by then is named as not run.
const WHOLE: Duration = Duration::from_secs(23 * 60);
/// Bytes of the large file, and of the one that is edited.
const LARGE: u64 = 1 << 30;
const EDITED: u64 = 256 << 20;
/// Bytes read over the slow line: ten seconds' worth would be 256 MiB.
const SLOW: u64 = 128 << 20;
/// Files in the tree and in the part of it that the slow line sees.
const FILES: u64 = 10_000;
const FEW: u64 = 1_000;
const COMMITTED: u64 = 500;

/// A figure, or why there is none.
type Cell = Result<f64, String>;
/// By metric.
type Figures = BTreeMap<&'static str, Cell>;

/// What all contenders work on, made once, outside of all of them.
#[derive(Debug)]
struct Input {
    large: PathBuf,
    edited: PathBuf,
    slow: PathBuf,
    tree: PathBuf,
    few: PathBuf,
    repository: PathBuf,
}

/// Runs everything, prints the table, and writes it into its section of docs/benchmarks.md after a
/// whole run.
///
/// # Errors
/// When the peers cannot be installed or the input cannot be made. What a contender cannot do is a
/// cell that says so.
pub(super) fn run(root: &Path, bench: &Bench, write: bool) -> Result<()> {
    let programs = programs::install(root)?;
    eprintln!("\n== making the input");
    let input = Input::make(bench)?;
    let mut contenders: Vec<Box<dyn Contender + '_>> = vec![
        Box::new(Ext4::new(bench)?),
        Box::new(meshdrive::Meshdrive::new(bench)?),
        Box::new(rclone::Rclone::new(bench, &programs)?),
        Box::new(juicefs::JuiceFs::new(bench, &programs)?),
    ];
    let end = Instant::now() + WHOLE;
    let mut columns = Vec::new();
    let count = contenders.len() as u32;
    for (number, contender) in contenders.iter_mut().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = left / (count - number as u32);
        eprintln!("\n== {} (at most {} s)", contender.name(), share.as_secs());
        let figures = plan::run(bench, &input, contender.as_mut(), Instant::now() + share);
        contender.end();
        columns.push((contender.name().to_owned(), figures));
    }
    let table = table::render(&columns);
    print!("{table}");
    if write {
        let path = root.join("docs/benchmarks.md");
        let page = fs::read_to_string(&path).unwrap_or_default();
        let machine = machine::describe(root, &bench.folder);
        let versions = programs.versions();
        fs::write(&path, table::splice(&page, &table::section(&table, &machine, &versions)))
            .with_context(|| path.display().to_string())?;
        eprintln!("written to docs/benchmarks.md");
    }
    Ok(())
}

pub(super) use table::{keep_section, splice};

impl Input {
    fn make(bench: &Bench) -> Result<Input> {
        let place = bench.place("input")?;
        let path = |name: &str| place.join(name);
        let input = Input {
            large: path("large"),
            edited: path("edited"),
            slow: path("slow"),
            tree: path("tree.tar"),
            few: path("few.tar"),
            repository: path("repository"),
        };
        trees::large(&input.large, bench.scaled(LARGE), 31)?;
        trees::large(&input.edited, bench.scaled(EDITED), 32)?;
        trees::large(&input.slow, bench.scaled(SLOW), 33)?;
        for (archive, name, files, seed) in
            [(&input.tree, "tree", FILES, 34), (&input.few, "few", FEW, 35)]
        {
            trees::small(&path(name), bench.scaled(files), seed)?;
            let mut tar = Command::new("tar");
            super::output(tar.arg("-C").arg(&place).arg("-cf").arg(archive).arg(name))?;
        }
        trees::repository(&input.repository, bench.scaled(COMMITTED), 36)?;
        Ok(input)
    }
}
