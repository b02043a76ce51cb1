//! `meshdrive mv`

use super::App;
use crate::{
    client::{Control, locate},
    failure::{Failure, Outcome},
    render,
};
use protocol::control::Request;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Windows refuses to rename a folder whose content is projected, so Explorer cannot do it. This renames it in
the drive itself. Nothing below it may be open; nothing is replaced.")]
pub(crate) struct Args {
    /// A file or folder of a drive
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// Its new path in the same drive, with its name; or a folder that is there, to keep the name
    #[arg(value_name = "TO")]
    to: PathBuf,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    let from = locate::path(&app.dirs, &args.from)?;
    let name = args.from.file_name();
    let to = match name {
        // A folder, except the one that is renamed itself (in its case only).
        Some(name) if args.to.is_dir() && locate::path(&app.dirs, &args.to)? != from => {
            args.to.join(name)
        }
        _ => args.to.clone(),
    };
    let target = locate::path(&app.dirs, &to)?;
    if target.label != from.label {
        return Err(Failure::usage(format!(
            "{} and {} are in different drives",
            args.from.display(),
            to.display()
        ))
        .hint("copy it, then remove the original"));
    }
    let control = Control::new(&app.dirs, &from.label)?;
    control.ask(Request::Rename { from: from.path, to: target.path }).await?;
    render::talk(format!("{} is {} now.", args.from.display(), to.display()));
    Ok(())
}
