//! `meshdrive status`

use super::App;
use crate::{
    client::{Control, locate},
    drives,
    failure::{Failure, Kind, Outcome},
    render::{self, table, text},
};
use protocol::control::{DriveStatus, FileReport, PathReport, Reply, Request};
use std::{ffi::OsString, process::ExitCode, time::Duration};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A drive, or a file or folder in one [default: every mounted drive]
    #[arg(value_name = "DRIVE|PATH")]
    target: Option<OsString>,
    /// Print JSON: an object for one drive or path, an array for all
    #[arg(long)]
    json: bool,
    /// Print it again when it changes, until interrupted
    #[arg(long)]
    watch: bool,
    /// List what is not yet in the cloud
    #[arg(long, conflicts_with = "watch")]
    pending: bool,
    /// Print the numbers too
    #[arg(long, short, conflicts_with = "json")]
    verbose: bool,
}

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(app: &App, args: Args) -> Outcome<ExitCode> {
    if args.pending {
        return pending(app, &args).await;
    }
    let mut last = String::new();
    loop {
        let mut lines = String::new();
        let verdict = look(app, &args, &mut lines).await?;
        if lines != last {
            render::data(lines.trim_end())?;
            last = lines;
        }
        if !args.watch {
            return Ok(verdict.code());
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Whether everything is in the cloud, and if not, whether it can be sent now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    Sent,
    Unsent,
    /// Unsent, and the store is out of reach.
    Offline,
}

impl Verdict {
    fn of(all_in_cloud: bool, online: bool) -> Verdict {
        match (all_in_cloud, online) {
            (true, _) => Verdict::Sent,
            (false, true) => Verdict::Unsent,
            (false, false) => Verdict::Offline,
        }
    }

    fn code(self) -> ExitCode {
        match self {
            Verdict::Sent => ExitCode::SUCCESS,
            Verdict::Unsent => ExitCode::from(Kind::Unsent.exit_code()),
            Verdict::Offline => ExitCode::from(Kind::Offline.exit_code()),
        }
    }
}

/// Writes the answer into `out`.
async fn look(app: &App, args: &Args, out: &mut String) -> Outcome<Verdict> {
    let Some(target) = &args.target else {
        return look_at_all(app, args, out).await;
    };
    let place = locate::place(&app.dirs, target)?;
    let control = Control::new(&app.dirs, &place.label)?;
    if place.is_root() {
        let status = control.status().await?;
        out.push_str(&if args.json { to_json(&status)? } else { of_drive(&status, args.verbose) });
        return Ok(Verdict::of(status.all_in_cloud, status.online));
    }
    let report = match control.ask(Request::Path { path: place.path }).await? {
        Reply::Path(report) => report,
        other => return Err(control.unexpected(&other)),
    };
    out.push_str(&if args.json { to_json(&report)? } else { of_path(&report) });
    let online = control.status().await?.online;
    Ok(Verdict::of(is_sent(&report), online))
}

async fn look_at_all(app: &App, args: &Args, out: &mut String) -> Outcome<Verdict> {
    let mounted = drives::mounted(&app.dirs)?;
    if mounted.is_empty() && !args.json {
        return Err(Failure::new(Kind::NotMounted, "no drive is mounted")
            .hint("mount one with `meshdrive mount NAME DIRECTORY`"));
    }
    let mut all = Vec::new();
    for label in &mounted {
        all.push(Control::new(&app.dirs, label)?.status().await?);
    }
    if args.json {
        out.push_str(&to_json(&all)?);
    } else {
        for status in &all {
            out.push_str(&of_drive(status, args.verbose));
        }
    }
    let verdicts = all.iter().map(|status| Verdict::of(status.all_in_cloud, status.online));
    Ok(verdicts.max().unwrap_or(Verdict::Sent))
}

async fn pending(app: &App, args: &Args) -> Outcome<ExitCode> {
    let place = locate::place_or_only(&app.dirs, args.target.as_ref())?;
    let control = Control::new(&app.dirs, &place.label)?;
    let files: Vec<FileReport> = match control.ask(Request::Pending).await? {
        Reply::Files(files) => files,
        other => return Err(control.unexpected(&other)),
    };
    let below = |file: &FileReport| is_below(file.path.as_bytes(), place.path.as_bytes());
    let files: Vec<FileReport> = files.into_iter().filter(below).collect();
    if args.json {
        render::json(&files)?;
    } else if files.is_empty() {
        render::talk("Everything is in the cloud.");
    } else {
        table::files(&files)?;
    }
    let online = control.status().await?.online;
    Ok(Verdict::of(files.is_empty(), online).code())
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    let rest = path.strip_prefix(folder);
    folder.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn is_sent(report: &PathReport) -> bool {
    use protocol::control::FileState::{Attention, Pending, Uploading};
    let unsent = matches!(report.file.state, Pending | Uploading | Attention);
    !unsent && report.pending_below == 0
}

fn to_json<T: serde::Serialize>(value: &T) -> Outcome<String> {
    serde_json::to_string(value)
        .map_err(|error| Failure::general(format!("cannot write the answer as JSON: {error}")))
}

fn of_drive(status: &DriveStatus, verbose: bool) -> String {
    let mut out = format!("{} ({}): {}\n", status.drive, status.mountpoint, status.sentence);
    if status.crashes > 0 {
        let crashes = text::count(status.crashes.into(), "crash", "crashes");
        let up = text::age(Duration::from_secs(status.uptime_secs));
        out.push_str(&format!("  its daemon runs for {up}, after {crashes}; the log says more\n"));
    }
    if verbose {
        for (name, value) in numbers(status) {
            out.push_str(&format!("  {name:<20}{value}\n"));
        }
    }
    out
}

fn numbers(status: &DriveStatus) -> Vec<(&'static str, String)> {
    let size = text::size;
    let tree = if status.complete { "whole tree known" } else { "tree still loading" };
    vec![
        ("unsent", format!("{}, {}", status.pending_nodes, size(status.pending_bytes))),
        (
            "on this device only",
            format!("{}, {}", status.local_only_nodes, size(status.local_only_bytes)),
        ),
        ("sending", status.sending_nodes.to_string()),
        ("safe to switch off", if status.safe_to_switch_off { "yes" } else { "not yet" }.into()),
        ("local", format!("{} of {}", size(status.cached_bytes), size(status.quota_bytes))),
        (
            "pinned",
            format!("{}, {} missing", size(status.pinned_bytes), size(status.pin_missing_bytes)),
        ),
        ("unsent local", size(status.dirty_bytes)),
        ("position", format!("{} of {}; {tree}", status.applied_rev, status.head_rev)),
        ("fetching", status.fetching.to_string()),
        ("open files", status.open_handles.to_string()),
        ("conflicts", format!("{} to decide (`meshdrive conflicts`)", status.conflicts)),
        ("daemon", daemon(status)),
    ]
}

/// Who serves the drive, for how long, and what became of those before.
fn daemon(status: &DriveStatus) -> String {
    let up = text::age(Duration::from_secs(status.uptime_secs));
    let mut out = format!("process {}, version {}, up {up}", status.pid, status.version);
    out.push_str("; ");
    out.push_str(&text::count(status.crashes.into(), "crash", "crashes"));
    out.push_str(", ");
    out.push_str(&text::count(status.restarts.into(), "restart", "restarts"));
    match status.supervisor {
        Some(pid) => out.push_str(&format!("; supervised by process {pid}")),
        None => out.push_str("; no supervisor"),
    }
    out
}

fn of_path(report: &PathReport) -> String {
    let mut out = format!("{}: {}", text::path(&report.file.path), table::state(&report.file));
    if report.file.dir && report.pending_below > 0 {
        let below = text::count(report.pending_below, "unsent change", "unsent changes");
        out.push_str(&format!("; {below} below it"));
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::control::{FileState, PathText};

    #[test]
    fn the_worst_verdict_counts() {
        assert_eq!(Verdict::of(true, false), Verdict::Sent);
        assert_eq!(
            [Verdict::Sent, Verdict::Offline, Verdict::Unsent].iter().max(),
            Some(&Verdict::Offline)
        );
    }

    #[test]
    fn below_is_by_component() {
        assert!(is_below(b"a/b", b""));
        assert!(is_below(b"a/b", b"a"));
        assert!(is_below(b"a", b"a"));
        assert!(!is_below(b"ab", b"a"));
    }

    #[test]
    fn json_of_a_path_is_flat() {
        let file = FileReport {
            path: PathText::Text("a/b".into()),
            size: 10,
            dir: false,
            state: FileState::Partial,
            here_bytes: Some(4),
            attention: None,
            pinned: false,
        };
        let report = PathReport { file, pending_below: 0 };
        assert!(is_sent(&report));
        assert_eq!(
            to_json(&report).unwrap(),
            r#"{"path":"a/b","size":10,"dir":false,"state":"partial","here_bytes":4,"pinned":false,"pending_below":0}"#
        );
    }

    #[test]
    fn a_path_with_unsent_children_is_not_sent() {
        let file = FileReport {
            path: PathText::Text("d".into()),
            size: 0,
            dir: true,
            state: FileState::Local,
            here_bytes: None,
            attention: None,
            pinned: false,
        };
        let report = PathReport { file, pending_below: 2 };
        assert!(!is_sent(&report));
        assert_eq!(of_path(&report), "d: local; 2 unsent changes below it\n");
    }
}
