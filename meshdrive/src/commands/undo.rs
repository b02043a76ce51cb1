//! `meshdrive approve`, `meshdrive undo`

use super::App;
use crate::{
    client::{Control, locate},
    failure::{Failure, Outcome},
    render::{self, text},
};
use jiff::{Timestamp, civil, tz::TimeZone};
use protocol::control::{Reply, Request, UndoDevice, UndoReport};
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
pub(crate) struct ApproveArgs {
    /// A drive [default: the only mounted one]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is destroyed: what a device made goes to the trash, what it replaced comes back as a new version.
Without --device: what is held on this device and not yet sent (`meshdrive status`). Removed files come back \
where they were; of rewritten ones, what was written is kept in the folder `Undone (...)`.

Examples:
  meshdrive undo                                      take back what is held here
  meshdrive undo --device old-laptop --since 09:00 --dry-run
  meshdrive undo --device old-laptop --since 2h")]
pub(crate) struct Args {
    /// A drive [default: the only mounted one]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
    /// Take back what this device has changed, by its name or id
    #[arg(long, value_name = "DEVICE", requires = "since")]
    device: Option<String>,
    /// Since when: `2h`, `09:00` of today, `2026-11-24 09:00`
    #[arg(long, value_name = "TIME", requires = "device")]
    since: Option<String>,
    /// Only say what would be done
    #[arg(long, requires = "device")]
    dry_run: bool,
    /// Print JSON
    #[arg(long, requires = "device")]
    json: bool,
}

pub(crate) async fn approve(app: &App, args: ApproveArgs) -> Outcome {
    let place = locate::place_or_only(&app.dirs, args.drive.as_ref())?;
    let control = Control::new(&app.dirs, &place.label)?;
    let changes = count(&control, Request::Approve).await?;
    render::talk(match changes {
        0 => "Nothing was held.".into(),
        _ => format!("{} will be sent now.", text::count(changes, "change", "changes")),
    });
    Ok(())
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    let place = locate::place_or_only(&app.dirs, args.drive.as_ref())?;
    let control = Control::new(&app.dirs, &place.label)?;
    let Some((device, since)) = args.device.zip(args.since) else {
        let changes = count(&control, Request::UndoHeld).await?;
        render::talk(match changes {
            0 => "Nothing was held. What was sent can be taken back with --device and --since."
                .into(),
            _ => format!("{} taken back.", text::count(changes, "change", "changes")),
        });
        return Ok(());
    };
    let since_ns = time(&since, Timestamp::now(), &TimeZone::system())?;
    let ask = UndoDevice { device, since_ns, dry_run: args.dry_run };
    let report = match control.ask(Request::UndoDevice(ask)).await? {
        Reply::Undone(report) => report,
        other => return Err(control.unexpected(&other)),
    };
    if args.json {
        return render::json(&report);
    }
    for name in &report.names {
        render::data(text::path(name))?;
    }
    render::talk(sentence(&report));
    if report.failed.is_empty() {
        return Ok(());
    }
    Err(Failure::general(format!("not everything came back: {}", report.failed.join("; ")))
        .hint("it was changed again meanwhile, or its old version is no longer kept; run it again to see what is left"))
}

async fn count(control: &Control, request: Request) -> Outcome<u64> {
    match control.ask(request).await? {
        Reply::Counted { changes } => Ok(changes),
        other => Err(control.unexpected(&other)),
    }
}

fn sentence(report: &UndoReport) -> String {
    let verb = if report.dry_run { "Would take back" } else { "Taken back" };
    format!(
        "{verb}: {} brought back from the trash, {} with their former content, {} moved or renamed back, \
         {} put into the trash.",
        report.restored, report.contents, report.moved, report.removed
    )
}

/// A moment in nanoseconds since 1970: so long ago, at that time today, or at that time.
fn time(text: &str, now: Timestamp, zone: &TimeZone) -> Outcome<i64> {
    let nanos = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(nanos(time));
    }
    // A date with a time is read as a time, too.
    let today =
        || Some(zone.to_datetime(now).date().to_datetime(text.parse::<civil::Time>().ok()?));
    let civil = text.parse::<civil::DateTime>().ok().or_else(today);
    if let Some(time) = civil.and_then(|time| zone.to_timestamp(time).ok()) {
        return Ok(nanos(time));
    }
    let span = text.parse::<crate::config::Span>();
    let ago = span.ok().and_then(|span| now.checked_sub(span.0).ok());
    ago.map(nanos).ok_or_else(|| {
        Failure::usage(format!("`{text}` is no time"))
            .hint("write it like 2h (ago), 09:00 (today) or 2026-11-24 09:00")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let noon = i64::try_from(now.as_nanosecond()).unwrap();
        let time = |text: &str, now: &Timestamp| time(text, *now, &TimeZone::UTC);
        let hours = 3_600_000_000_000;
        assert_eq!(time("2h", &now).unwrap(), noon - 2 * hours);
        assert_eq!(time("09:00", &now).unwrap(), noon - 3 * hours);
        assert_eq!(time("2026-11-23 12:00", &now).unwrap(), noon - 24 * hours);
        assert_eq!(time("2026-11-24T11:00:00Z", &now).unwrap(), noon - hours);
        assert!(time("soon", &now).is_err());
    }
}
