//! `meshdrive metrics`

use super::App;
use crate::{
    client::{Control, locate},
    failure::Outcome,
    render,
};
use protocol::control::{Reply, Request};
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The text is OpenMetrics 1.0, which Prometheus reads: let a timer write it to a file of the node exporter's
textfile collector, or serve it. Counters begin at zero with each daemon.")]
pub(crate) struct Args {
    /// Name or mountpoint of the drive [default: the only mounted one]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    let place = locate::place_or_only(&app.dirs, args.drive.as_ref())?;
    let control = Control::new(&app.dirs, &place.label)?;
    match control.ask(Request::Metrics).await? {
        Reply::Metrics { text } => render::data(text.trim_end()),
        other => Err(control.unexpected(&other)),
    }
}
