//! `cargo xtask bench`: the program against a baseline on the same work in the same run.
//!
//! The machine may be busy with other things, so absolute figures say little. Baseline and own work
//! alternate in slices, and the medians are compared.

mod device;
mod http;
mod keeper;
mod machine;
mod measure;
mod peers;
mod processor;
mod proxy;
mod rows;
mod server;
mod sync;
mod table;
mod trees;

pub(crate) use keeper::keep;
pub(crate) use peers::cell;

use crate::{
    packages,
    report::{line_of, run},
    test::cargo,
};
use anyhow::{Context, Result, ensure};
use keeper::Keeper;
use rows::Row;
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use table::{Line, Outcome};

/// How the benchmarks are run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this row; may be repeated. The table is then printed and not written
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,
    /// A tenth of the work, to see that everything runs; the table is printed and not written
    #[arg(long)]
    quick: bool,
    /// Use the programs as they were built last; the table is printed and not written, since nobody
    /// knows what they were built from
    #[arg(long)]
    built: bool,
    /// Other programs on the same work: installs them from the Python package index and writes their
    /// table into its section of the page (about 20 minutes)
    #[arg(long, conflicts_with = "only")]
    peers: bool,
    /// How fast devices come into step; writes its table into its section of the page (about 10
    /// minutes). Rows may be named: then the table is printed and not written
    #[arg(long, value_name = "ROW", num_args = 0.., conflicts_with_all = ["only", "peers"])]
    sync: Option<Vec<String>>,
    /// The Windows driver's figures instead, under Wine through a model of ProjFS; printed only
    #[arg(long, conflicts_with_all = ["only", "peers", "built"])]
    windows: bool,
    /// Where stores, devices and the baseline's files are put (and removed again); should be ext4
    /// [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What every row works with.
#[derive(Debug)]
struct Bench {
    /// Everything is below it; it is removed at the end.
    folder: PathBuf,
    /// `meshdrive`, the loader and the crowd of followers, release builds.
    program: PathBuf,
    loader: PathBuf,
    crowd: PathBuf,
    keeper: Keeper,
    quick: bool,
}

impl Bench {
    /// A new folder for one row.
    fn place(&self, name: &str) -> Result<PathBuf> {
        let place = self.folder.join(name);
        std::fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
        Ok(place)
    }

    /// `full`, or a tenth of it in a quick run.
    fn scaled(&self, full: u64) -> u64 {
        if self.quick { full / 10 } else { full }
    }

    /// Slices of a kind in a row.
    fn slices(&self, full: usize) -> usize {
        if self.quick { 2 } else { full }
    }
}

/// Runs the rows, prints the table and, after a whole run, writes it.
///
/// # Errors
/// When nothing can be built or mounted. A row that fails is a line of the table that says so, and
/// an error at the end.
pub(crate) fn bench(root: &Path, options: &Options) -> Result<()> {
    if options.windows {
        return crate::windows::figures(root, options.quick);
    }
    packages::need_mounts()?;
    let bench = prepare(root, options)?;
    if options.peers {
        let done = peers::run(root, &bench, !options.quick && !options.built);
        bench.keeper.finish();
        return done;
    }
    if let Some(rows) = &options.sync {
        let done = sync::run(root, &bench, rows, !options.quick && !options.built);
        bench.keeper.finish();
        return done;
    }
    let wanted = |row: &&Row| options.only.is_empty() || options.only.contains(row);
    let mut lines: Vec<Line> = Vec::new();
    let mut failed = 0;
    for row in Row::ALL.iter().filter(wanted) {
        eprintln!("\n== {}", row.name());
        match row.run(&bench) {
            Ok(found) => {
                found.iter().for_each(|line| eprintln!("   {line}"));
                lines.extend(found);
            }
            Err(error) => {
                failed += 1;
                let why = format!("{error:#}");
                eprintln!("   FAILED: {why}");
                lines.push(Line::of(row.name()).ours("did not run").outcome(Outcome::Failed));
            }
        }
    }
    print!("{}", table::render(&lines));
    if options.only.is_empty() && !options.quick && !options.built && failed == 0 {
        let path = root.join("docs/benchmarks.md");
        let text = table::page(&lines, &machine::describe(root, &bench.folder));
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let text = sync::put_section(&text, &sync::keep_section(&old));
        let text = peers::splice(&text, &peers::keep_section(&old));
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        eprintln!("written to docs/benchmarks.md");
    }
    bench.keeper.finish();
    ensure!(failed == 0, "{failed} rows did not run");
    Ok(())
}

fn prepare(root: &Path, options: &Options) -> Result<Bench> {
    let build = ["build", "--release", "--package", "meshdrive", "--package", "meshdrive-tests"];
    if !options.built {
        run(cargo(root).args(build).args([
            "--bin",
            "meshdrive",
            "--bin",
            "load",
            "--bin",
            "crowd",
        ]))?;
    }
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()
        .context("running `cargo metadata`")?;
    let release = metadata.target_directory.join("release");
    let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = parent.join(format!("meshdrive-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
    let keeper = Keeper::start(&folder)?;
    let program = take(&release.join("meshdrive"), &folder)?;
    let loader = take(&release.join("load"), &folder)?;
    let crowd = take(&release.join("crowd"), &folder)?;
    Ok(Bench { folder, program, loader, crowd, keeper, quick: options.quick })
}

/// Copies a program, so that a build meanwhile does not change what is measured.
fn take(built: &cargo_metadata::camino::Utf8Path, folder: &Path) -> Result<PathBuf> {
    let own = folder.join(built.file_name().context("a program without a name")?);
    std::fs::copy(built, &own).with_context(|| format!("{built}: build it first"))?;
    Ok(own)
}

/// Runs a command and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails; with what it said.
fn output(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let output = command.output().with_context(|| format!("cannot run `{line}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{line}`: {}: {}", output.status, said.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
