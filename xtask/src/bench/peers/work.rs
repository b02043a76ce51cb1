//! The pieces of work, each done by a process of its own: this program, started again with a hidden
//! subcommand. It prints one figure a line, in seconds if nothing else is said.

use crate::bench::{Bench, output, trees::Noise};
use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Advice, fadvise};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const SUBCOMMAND: &str = "bench-cell";
const LOOK_EVERY: Duration = Duration::from_millis(5);
const STEP: usize = 1 << 20;
const PAGE: usize = 4 << 10;
/// Random reads of a cell.
const READS: u64 = 100;
pub(super) const RANDOM_BYTES: u64 = READS * PAGE as u64;
const APPENDED: usize = 1 << 20;

/// Its name is what the process is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    CopyIn,
    CopyOut,
    Untar,
    Clone,
    GitStatus,
    FirstByte,
    Random,
    RandomWarm,
    Read,
    ReadOnce,
    Find,
    List,
    Grep,
    Rename,
    Edit,
    Append,
}

/// Does `work` in a process that is ended after `limit`.
pub(super) fn start(
    bench: &Bench,
    work: Work,
    root: &Path,
    from: &Path,
    name: &str,
    limit: Duration,
) -> Result<Vec<f64>> {
    let own = std::env::current_exe().context("finding this program")?;
    let mut child = Command::new(own)
        .arg(SUBCOMMAND)
        .arg(format!("{work:?}"))
        .args([root, from])
        .arg(name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    bench.keeper.process(child.id())?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > limit {
            child.kill()?;
            // One that hangs in a dead mount is not waited for; the keeper ends it with the mount.
            bail!("> {} s", limit.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let done = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "failed: {}", said.trim());
    let text = String::from_utf8_lossy(&done.stdout);
    text.lines().map(|line| line.parse().context("a figure")).collect()
}

/// The subcommand.
///
/// # Errors
/// When the work cannot be done.
pub(crate) fn cell(work: &str, root: &Path, from: &Path, name: &str) -> Result<()> {
    let path = root.join(name);
    let figures = match work {
        "CopyIn" => once(|| copy(from, &path)),
        "CopyOut" => once(|| run(Command::new("cp").arg("-r").arg(&path).arg(from.join("out")))),
        "Untar" => once(|| untar(from, &path)),
        "Clone" => once(|| clone(from, &path)),
        "GitStatus" => once(|| git_status(&path)),
        "FirstByte" => once(|| read_at(&path, 0)),
        "Random" => random(&path, 1).map(|p50| vec![p50]),
        "RandomWarm" => random_again(&path),
        "Read" => reads(&path),
        "ReadOnce" => once(|| read(&path)),
        "Find" => twice(|| run(Command::new("find").arg(&path).args(["-name", "none"]))),
        "List" => twice(|| run(Command::new("ls").arg("-lR").arg(&path))),
        "Grep" => twice(|| grep(&path)),
        "Rename" => once(|| Ok(fs::rename(&path, root.join("renamed"))?)),
        "Edit" => once(|| change(&path, PAGE, |len| len / 2)),
        "Append" => once(|| change(&path, APPENDED, |len| len)),
        _ => bail!("no such work: {work}"),
    }?;
    for figure in figures {
        println!("{figure}");
    }
    Ok(())
}

fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn once(work: impl FnOnce() -> Result<()>) -> Result<Vec<f64>> {
    Ok(vec![seconds(work)?])
}

fn twice(work: impl Fn() -> Result<()>) -> Result<Vec<f64>> {
    Ok(vec![seconds(&work)?, seconds(&work)?])
}

fn run(command: &mut Command) -> Result<()> {
    output(command.stdout(Stdio::null())).map(drop)
}

/// Writes a file in steps of 1 MiB and closes it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; STEP];
    while let read @ 1.. = from.read(&mut buffer)? {
        to.write_all(&buffer[..read])?;
    }
    Ok(())
}

fn untar(archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder))
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    git.args(["-c", "safe.directory=*"]);
    git
}

fn clone(from: &Path, to: &Path) -> Result<()> {
    let mut url = std::ffi::OsString::from("file://");
    url.push(from);
    run(git().args(["clone", "--quiet"]).arg(url).arg(to))
}

/// What it says is left out: some contenders lose modes.
fn git_status(folder: &Path) -> Result<()> {
    run(git().arg("-C").arg(folder).args(["status", "--porcelain"]))
}

fn grep(folder: &Path) -> Result<()> {
    let mut grep = Command::new("grep");
    let found = grep.arg("-r").arg("a word that is nowhere").arg(folder).output()?;
    // 1: nothing was found.
    ensure!(found.status.code() == Some(1), "{}", String::from_utf8_lossy(&found.stderr));
    Ok(())
}

fn read_at(path: &Path, at: u64) -> Result<()> {
    File::open(path)?.read_exact_at(&mut [0; PAGE], at).map_err(Into::into)
}

fn read(path: &Path) -> Result<()> {
    let mut file = File::open(path)?;
    let (mut buffer, mut total) = (vec![0; STEP], 0);
    while let read @ 1.. = file.read(&mut buffer)? {
        total += read as u64;
    }
    ensure!(total == file.metadata()?.len(), "only {total} bytes came");
    Ok(())
}

/// MB/s: cold, from the local cache, from the page cache.
fn reads(path: &Path) -> Result<Vec<f64>> {
    let megabytes = fs::metadata(path)?.len() as f64 / 1e6;
    let cold = seconds(|| read(path))?;
    forget_file(path)?;
    let warm = seconds(|| read(path))?;
    let hot = seconds(|| read(path))?;
    Ok([cold, warm, hot].map(|time| megabytes / time).into())
}

/// The median time of a read of 4 KiB anywhere in a file.
fn random(path: &Path, seed: u64) -> Result<f64> {
    let file = File::open(path)?;
    let pages = (file.metadata()?.len() / PAGE as u64).max(1);
    let mut noise = Noise::new(seed);
    let mut times = Vec::new();
    for _ in 0..READS {
        let at = u64::from_le_bytes(noise.bytes(8).try_into().unwrap_or_default()) % pages;
        times.push(seconds(|| Ok(file.read_exact_at(&mut [0; PAGE], at * PAGE as u64)?))?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// From the local cache, and from the page cache.
fn random_again(path: &Path) -> Result<Vec<f64>> {
    forget_file(path)?;
    let warm = random(path, 2)?;
    Ok(vec![warm, random(path, 2)?])
}

fn change(path: &Path, bytes: usize, at: impl Fn(u64) -> u64) -> Result<()> {
    let file = File::options().write(true).open(path)?;
    let at = at(file.metadata()?.len());
    file.write_all_at(&Noise::new(bytes as u64).bytes(bytes), at)?;
    Ok(())
}

/// Takes the contents of a folder out of the page cache, of files that are on the disk.
pub(super) fn forget(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        let kind = fs::symlink_metadata(&path)?;
        if kind.is_dir() {
            forget(&path)?;
        } else if kind.is_file() {
            forget_file(&path)?;
        }
    }
    Ok(())
}

fn forget_file(path: &Path) -> io::Result<()> {
    Ok(fadvise(File::open(path)?, 0, None, Advice::DontNeed)?)
}
