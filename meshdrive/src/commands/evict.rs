//! `meshdrive evict`

use super::App;
use crate::{
    client::{Control, locate},
    failure::Outcome,
    render,
};
use protocol::control::{Reply, Request};
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, folders or drives. What is pinned or not yet in the cloud stays
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Freed {
    freed_bytes: u64,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    let mut freed = 0;
    for path in &args.paths {
        let place = locate::place(&app.dirs, path)?;
        let control = Control::new(&app.dirs, &place.label)?;
        match control.ask(Request::Evict { path: place.path }).await? {
            Reply::Freed { bytes } => freed += bytes,
            other => return Err(control.unexpected(&other)),
        }
    }
    if args.json {
        return render::json(&Freed { freed_bytes: freed });
    }
    render::talk(format!("Freed {}.", render::text::size(freed)));
    Ok(())
}
