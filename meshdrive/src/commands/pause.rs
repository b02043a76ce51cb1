//! `meshdrive pause`, `meshdrive resume`

use super::App;
use crate::{
    client::{Control, locate},
    failure::Outcome,
    render,
};
use protocol::control::Request;
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or mountpoint of the drive [default: the only mounted one]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
}

pub(crate) async fn run(app: &App, args: Args, on: bool) -> Outcome {
    let place = locate::place_or_only(&app.dirs, args.drive.as_ref())?;
    let control = Control::new(&app.dirs, &place.label)?;
    control.ask(Request::Pause { on }).await?;
    render::talk(if on {
        format!("{} no longer sends changes; `meshdrive resume {0}` goes on.", place.label)
    } else {
        format!("{} sends changes again.", place.label)
    });
    Ok(())
}
