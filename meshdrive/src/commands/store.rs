//! `meshdrive store`

use super::App;
use crate::{
    failure::{Attempt, Failure, Kind, Outcome},
    render::{self, table, text},
};
use protocol::operator::{
    COLLECT_PATH, Collection, DRY_RUN_PATH, Door, DriveCollection, DriveScrub, SCRUB_PATH, Scrub,
    Sum,
};
use serde::de::DeserializeOwned;
use server::{DOOR_FILE, Keep, Maintenance, StartError};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Let go of what has had its time, or say what would go
    Gc(GcArgs),
    /// Read everything back and say what is damaged
    Scrub(ScrubArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The store does this by itself every few hours. Versions that were replaced stay for a day; of the week
before, the last one of each hour stays, and of the month before, the last one of each day. The trash is
kept for 30 days. Chunks that nothing names go when two looks a day apart find the same, and packs without
chunks a week after that.")]
pub(crate) struct GcArgs {
    #[command(flatten)]
    data: Data,
    /// Change nothing, and say what would go and why
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 all is well, 1 something is damaged. The store knows files by their ids only, since names are
sealed; `meshdrive log --id ID` on a device tells which file it is. Chunks of damaged packs are asked for
again: a device that has the file sends them with its next change.")]
pub(crate) struct ScrubArgs {
    #[command(flatten)]
    data: Data,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Data {
    /// The data directory of the store; it may be running
    #[arg(long, value_name = "DIR", env = "MESHDRIVE_DATA")]
    data: PathBuf,
}

pub(crate) async fn run(_: &App, verb: Verb) -> Outcome {
    match verb {
        Verb::Gc(args) => gc(args).await,
        Verb::Scrub(args) => scrub(args).await,
    }
}

async fn gc(args: GcArgs) -> Outcome {
    let path = if args.dry_run { DRY_RUN_PATH } else { COLLECT_PATH };
    let done: Collection = match door(&args.data.data)? {
        Some(door) => ask(&door, path).await?,
        None => {
            let kept = open(&args.data.data)?;
            let done = kept.collect(args.dry_run).await;
            close(kept).await?;
            done.attempt(|| "the collection ended early".into())?
        }
    };
    if args.json {
        return render::json(&done);
    }
    for drive in &done.drives {
        tell_collection(drive, done.dry_run)?;
    }
    render::talk(if done.dry_run { "Nothing was changed." } else { "Done." });
    Ok(())
}

async fn scrub(args: ScrubArgs) -> Outcome {
    let done: Scrub = match door(&args.data.data)? {
        Some(door) => ask(&door, SCRUB_PATH).await?,
        None => {
            let kept = open(&args.data.data)?;
            let done = kept.scrub().await;
            close(kept).await?;
            done.attempt(|| "the scrub ended early".into())?
        }
    };
    let bad: usize = done.drives.iter().map(|drive| drive.bad_packs.len()).sum();
    let files: u64 = done.drives.iter().map(|drive| drive.bad_files).sum();
    if args.json {
        render::json(&done)?;
    } else {
        done.database.iter().try_for_each(|line| render::data(format!("database: {line}")))?;
        done.drives.iter().try_for_each(tell_scrub)?;
        let packs = text::count(done.packs.count, "pack", "packs");
        render::talk(format!("Read {packs} back, {}.", text::size(done.packs.bytes)));
    }
    if bad == 0 && files == 0 && done.database.is_empty() {
        return Ok(());
    }
    Err(Failure::general(format!(
        "{}, {} and {} damaged",
        text::count(done.database.len() as u64, "fault of the database", "faults of the database"),
        text::count(bad as u64, "pack", "packs"),
        text::count(files, "version", "versions"),
    ))
    .hint("open the damaged files on a device that has them and save them again, or bring the files of the packs back from a backup"))
}

fn tell_collection(drive: &DriveCollection, dry_run: bool) -> Outcome {
    render::data(format!(
        "Drive {} ({}), {}:",
        drive.label,
        drive.drive,
        text::size(drive.used_bytes)
    ))?;
    let rows = [
        ("versions replaced long enough ago", drive.versions),
        ("files and folders long enough in the trash", drive.trash),
        ("chunks that nothing names, seen first now", drive.condemned),
        ("chunks that wait for the second look", drive.waiting),
        ("chunks that are named again", drive.revived),
        ("chunks given up", drive.deleted),
        ("packs without chunks, held from now on", drive.held),
        ("packs that are held", drive.holding),
        ("packs removed", drive.dropped),
        ("packs written anew, mostly unused", drive.repacked),
        ("files the database does not know", drive.strays),
    ];
    for (what, sum) in rows.into_iter().filter(|(_, sum)| *sum != Sum::default()) {
        let (count, size) = (text::thousands(sum.count), text::size(sum.bytes));
        render::data(format!("  {count:>12}  {size:>8}  {what}"))?;
    }
    for why in &drive.held_back {
        render::data(format!("  held back: {why}"))?;
    }
    if dry_run && !drive.items.is_empty() {
        let row = |item: &protocol::operator::Item| {
            [text::size(item.bytes), item.what.clone(), item.why.clone()]
        };
        let rows: Vec<_> = drive.items.iter().map(row).collect();
        table::print(["SIZE", "WHAT", "WHY"], &rows)?;
    }
    Ok(())
}

fn tell_scrub(drive: &DriveScrub) -> Outcome {
    for pack in &drive.bad_packs {
        let chunks = text::count(pack.chunks, "chunk", "chunks");
        let (label, size) = (&drive.label, text::size(pack.bytes));
        render::data(format!("drive {label}: pack {}: {size}, {chunks}: {}", pack.pack, pack.why))?;
    }
    for file in &drive.files {
        let which = if file.current { "what it holds now" } else { "an older version" };
        let chunks = text::count(file.chunks, "chunk", "chunks");
        let (label, node, rev) = (&drive.label, &file.node, file.rev);
        render::data(format!(
            "drive {label}: file {node}: version {rev} ({which}) lacks {chunks}"
        ))?;
    }
    let more = drive.bad_files - (drive.files.len() as u64).min(drive.bad_files);
    if more > 0 {
        render::data(format!(
            "drive {}: and {} more versions",
            drive.label,
            text::thousands(more)
        ))?;
    }
    if drive.strays.count > 0 {
        let size = text::size(drive.strays.bytes);
        let label = &drive.label;
        render::data(format!(
            "drive {label}: {size} of files that the database does not know; `gc` removes them"
        ))?;
    }
    Ok(())
}

/// Where the running store takes questions; `None`: it left no word.
fn door(data: &Path) -> Outcome<Option<Door>> {
    let file = data.join(DOOR_FILE);
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::general(format!("cannot read {}: {error}", file.display()))
                .hint("run this as the user who runs the store"));
        }
    };
    // A store that was killed leaves the file behind: then nobody holds the lock.
    match Maintenance::open(data, Keep::default()) {
        Err(StartError::InUse(_)) => {}
        Ok(kept) => {
            kept.close();
            return Ok(None);
        }
        Err(error) => return Err(unusable(error)),
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Failure::general(format!("{} is damaged: {error}", file.display())))
}

fn open(data: &Path) -> Outcome<Maintenance> {
    if !data.join("store.db").exists() {
        return Err(Failure::usage(format!("there is no store in {}", data.display()))
            .hint("name the directory that `meshdrive serve --data` was given"));
    }
    Maintenance::open(data, Keep::default()).map_err(unusable)
}

async fn close(kept: Maintenance) -> Outcome {
    tokio::task::spawn_blocking(move || kept.close())
        .await
        .attempt(|| "closing the database failed".into())
}

fn unusable(error: StartError) -> Failure {
    let kind = if matches!(error, StartError::InUse(_)) { Kind::Busy } else { Kind::General };
    Failure { kind, error: anyhow::Error::new(error), hint: None }.context("cannot open the store")
}

/// Asks a running store. It may take its time.
async fn ask<T: DeserializeOwned>(door: &Door, path: &str) -> Outcome<T> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(|error| Failure::general(format!("cannot make a local client: {error}")))?;
    let request = http.post(format!("{}{path}", door.url)).bearer_auth(&door.token);
    let lost = |error: reqwest::Error| {
        Failure::general(format!("lost the store at {}: {error}", door.url))
            .hint("see its log, and try again")
    };
    let answer = request.send().await.map_err(lost)?;
    if !answer.status().is_success() {
        let why = answer.text().await.map_err(lost)?;
        return Err(Failure::general(format!("the store refused: {why}")));
    }
    answer.json().await.map_err(lost)
}
