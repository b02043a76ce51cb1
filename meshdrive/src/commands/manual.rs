//! `meshdrive completions`, `meshdrive man`

use crate::{
    cli::Cli,
    failure::{Attempt, Outcome},
    render,
};
use clap::CommandFactory;
use std::{fs, path::PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write one page a command into this directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn completions(args: CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "meshdrive", &mut script);
    render::data(String::from_utf8_lossy(&script).trim_end())
}

pub(crate) fn pages(args: ManArgs) -> Outcome {
    let dir = args.dir;
    fs::create_dir_all(&dir).attempt(|| format!("cannot create {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), &dir)
        .attempt(|| format!("cannot write the manual pages to {}", dir.display()))?;
    render::talk(format!("Wrote the manual pages to {}.", dir.display()));
    Ok(())
}
