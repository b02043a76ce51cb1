//! `meshdrive unmount --force`

use super::{App, farewell, unmount};
use crate::{
    client::Control,
    daemon,
    dirs::Label,
    drives,
    failure::{Failure, Kind, Outcome},
    recovered::{self, Source, Taken},
    render::{self, progress::Line, text},
    store,
};
use cloud::CloudStore;
use protocol::control::{PathText, Unmount};
use std::{os::unix::ffi::OsStrExt, path::Path, process::ExitCode, sync::Arc};

pub(super) async fn run(app: &App, label: &Label, keep_cache: bool) -> Outcome<ExitCode> {
    let is_running = drives::is_running(&app.dirs, label);
    if is_running {
        let control = Control::new(&app.dirs, label)?;
        let ask = Unmount { keep_cache, keep_pending: true };
        let done = unmount(app, &control, ask).await?;
        if done.kept_pending == 0 {
            render::talk(farewell(label, done, keep_cache));
            return Ok(ExitCode::SUCCESS);
        }
    } else if !app.dirs.drive_state(label).exists() {
        return Err(Failure::new(Kind::NotMounted, format!("{label} was never mounted here"))
            .hint(format!("mount it with `meshdrive mount {label} DIRECTORY`")));
    }
    // Nobody may mount it meanwhile.
    let locks = [app.dirs.supervisor_lock(label), app.dirs.lock_file(label)];
    let _locks = locks
        .iter()
        .map(|path| daemon::take_lock(&app.dirs, label, path))
        .collect::<Outcome<Vec<_>>>()?;
    let line = Line::new("saving what is not in the cloud");
    let store = app.config().and_then(|config| store::open(&app.dirs, &config, label));
    let source = Source::new(store.map(|opened| opened.throttled as Arc<dyn CloudStore>));
    let taken = recovered::take_out(&app.dirs, label, source, &line).await;
    drop(line);
    let unmounted = if is_running { format!("Unmounted {label}: ") } else { String::new() };
    let Some(taken) = taken.map_err(|failure| failure.hint_if_none(again(label)))? else {
        render::talk(format!(
            "{unmounted}nothing of {label} on this device is missing in the cloud."
        ));
        return Ok(ExitCode::SUCCESS);
    };
    render::talk(format!("{unmounted}{}", report(label, &taken)));
    Ok(ExitCode::SUCCESS)
}

fn again(label: &Label) -> String {
    format!(
        "correct that, then `meshdrive unmount {label} --force` again; or mount {label} again, which goes on \
         with what it has"
    )
}

fn report(label: &Label, taken: &Taken) -> String {
    let shown =
        |path: &Path| text::path(&PathText::from_bytes(path.as_os_str().as_bytes().to_vec()));
    let files = text::count(taken.files, "file", "files");
    let files = match &taken.folder {
        Some(folder) => {
            format!("{files}, {}, moved to {}", text::size(taken.bytes), shown(folder))
        }
        None => "no file had content to be kept".into(),
    };
    let parts = match taken.parts {
        0 => String::new(),
        parts => format!(
            "; of {} the rest is only in the cloud: their parts are in folders named `.parts`",
            text::count(parts, "file", "files")
        ),
    };
    let others = match taken.others {
        0 => String::new(),
        others => format!("{}, and more: ", text::count(others, "other change", "other changes")),
    };
    format!(
        "{files}{parts}.\n{others}see {}.\nThe next mount of {label} starts from what the store has.",
        shown(&taken.notes)
    )
}
