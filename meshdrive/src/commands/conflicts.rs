//! `meshdrive conflicts`

use super::App;
use crate::{
    client::{Control, locate},
    failure::Outcome,
    render::{self, text},
};
use protocol::control::{ConflictReport, ConflictSide, Reply, Request};
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
`mine` is this device's side; on a device that made neither, what has the file's name. Decide with:
  meshdrive resolve PATH --keep mine|theirs|both
  meshdrive resolve PATH --merge")]
pub(crate) struct Args {
    /// A drive, or a folder in one [default: the only mounted drive]
    #[arg(value_name = "DRIVE|PATH")]
    target: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    let place = locate::place_or_only(&app.dirs, args.target.as_ref())?;
    let control = Control::new(&app.dirs, &place.label)?;
    let mut conflicts: Vec<ConflictReport> = match control.ask(Request::Conflicts).await? {
        Reply::Conflicts(conflicts) => conflicts,
        other => return Err(control.unexpected(&other)),
    };
    let folder = place.path.as_bytes();
    conflicts.retain(|conflict| {
        let rest = conflict.copy.path.as_bytes().strip_prefix(folder);
        folder.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    });
    if args.json {
        return render::json(&conflicts);
    }
    if conflicts.is_empty() {
        render::talk("There are no conflicts to decide.");
        return Ok(());
    }
    for conflict in &conflicts {
        render::data(of(conflict).trim_end())?;
    }
    let count = text::count(conflicts.len() as u64, "conflict", "conflicts");
    render::talk(format!(
        "{count} to decide, with `meshdrive resolve PATH --keep mine|theirs|both`."
    ));
    Ok(())
}

fn of(conflict: &ConflictReport) -> String {
    let (copy, file) = (&conflict.copy, conflict.file.as_ref());
    let (mine, theirs) =
        if conflict.copy_is_mine { (Some(copy), file) } else { (file, Some(copy)) };
    let found = text::time(conflict.found_ns);
    let mut out = format!("{} (found {found} by {})\n", text::path(&copy.path), conflict.device);
    for (what, side) in [("mine:", mine), ("theirs:", theirs)] {
        let side = side.map_or_else(|| "not there any more".into(), one_side);
        out.push_str(&format!("  {what:<8} {side}\n"));
    }
    let base = match (&conflict.base, conflict.base_rev) {
        (Some(base), rev) => {
            let size = text::size(base.size);
            format!("version {rev}, {size}, {} by {}", text::time(base.stored_ns), base.device)
        }
        (None, 0) => "none: both were made anew".into(),
        (None, rev) => format!("version {rev}"),
    };
    out.push_str(&format!("  {:<8} {base}\n", "base:"));
    out
}

fn one_side(side: &ConflictSide) -> String {
    let slash = if side.dir { "/" } else { "" };
    let size = if side.dir { String::new() } else { format!(", {}", text::size(side.size)) };
    let by = side.device.as_ref().map(|device| format!(" by {device}")).unwrap_or_default();
    let changed = text::time(side.modified_ns);
    format!("{}{slash}{size}, changed {changed}{by}", text::path(&side.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::control::PathText;

    #[test]
    fn both_sides_are_shown_with_who_is_who() {
        let side = |path: &str, device: &str| ConflictSide {
            path: PathText::Text(path.into()),
            dir: false,
            size: 3,
            modified_ns: 0,
            rev: 7,
            device: Some(device.into()),
            stored_ns: Some(0),
        };
        let mut conflict = ConflictReport {
            copy: side("f (conflict, b, 2026).txt", "b"),
            file: Some(side("f.txt", "a")),
            base: None,
            base_rev: 4,
            found_ns: 0,
            device: "b".into(),
            copy_is_mine: true,
        };
        assert!(
            of(&conflict).contains("mine:    f (conflict, b, 2026).txt, 3 B"),
            "{}",
            of(&conflict)
        );
        conflict.copy_is_mine = false;
        assert!(of(&conflict).contains("theirs:  f (conflict"), "{}", of(&conflict));
        conflict.file = None;
        assert!(of(&conflict).contains("mine:    not there any more"), "{}", of(&conflict));
    }
}
