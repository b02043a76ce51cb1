//! `meshdrive export`

use super::App;
use crate::{
    client, drives,
    export::{Export, Tally},
    failure::{Attempt, Failure, Outcome},
    mounts,
    render::{self, progress::Line, text},
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The drive must be mounted. What is not on this device is fetched. An export that was interrupted goes
on when it is started again: files that are there with the same size and time are skipped.")]
pub(crate) struct Args {
    /// Name of the drive
    #[arg(value_name = "DRIVE")]
    drive: crate::dirs::Label,
    /// The folder to copy it to; made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(app: &App, args: Args) -> Outcome<ExitCode> {
    drives::require(&app.dirs, &args.drive)?;
    let mounted = mounts::of(&app.dirs, &args.drive)?;
    let Some(source) = mounted.filter(|_| drives::is_running(&app.dirs, &args.drive)) else {
        return Err(client::not_mounted(&args.drive));
    };
    let target = prepare(&source, &args.dir)?;
    let line = Line::new("copying");
    let tally = Export::new(&source, &target, &line).run()?;
    drop(line);
    Ok(report(&target, &tally))
}

/// Makes the folder and refuses one inside the drive itself.
fn prepare(source: &Path, dir: &Path) -> Outcome<PathBuf> {
    std::fs::create_dir_all(dir).attempt(|| format!("cannot create {}", dir.display()))?;
    let target =
        std::fs::canonicalize(dir).attempt(|| format!("cannot resolve {}", dir.display()))?;
    if target.starts_with(source) {
        return Err(Failure::usage(format!("{} lies in the drive itself", target.display()))
            .hint("choose a folder on another disk"));
    }
    Ok(target)
}

fn report(target: &Path, tally: &Tally) -> ExitCode {
    render::talk(format!(
        "Exported {}, {} to {}; {} there already.",
        text::count(tally.copied, "entry", "entries"),
        text::size(tally.bytes),
        target.display(),
        text::count(tally.skipped, "entry was", "entries were"),
    ));
    if tally.failed == 0 {
        return ExitCode::SUCCESS;
    }
    let failed = text::count(tally.failed, "entry", "entries");
    render::talk(format!(
        "error: {failed} could not be copied, see above\n  hint: run it again; what is done is skipped"
    ));
    ExitCode::from(crate::failure::Kind::General.exit_code())
}
