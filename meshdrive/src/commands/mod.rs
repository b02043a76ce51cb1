//! A file per verb.

pub(crate) mod conflicts;
pub(crate) mod devices;
pub(crate) mod doctor;
pub(crate) mod drive;
pub(crate) mod evict;
#[cfg(unix)]
pub(crate) mod export;
pub(crate) mod log;
pub(crate) mod manual;
pub(crate) mod metrics;
pub(crate) mod mount;
#[cfg(windows)]
pub(crate) mod mv;
pub(crate) mod pause;
pub(crate) mod pin;
pub(crate) mod resolve;
#[cfg(unix)]
pub(crate) mod restart;
pub(crate) mod restore;
#[cfg(windows)]
pub(crate) mod selftest;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod sync;
pub(crate) mod trash;
pub(crate) mod undo;
pub(crate) mod unmount;
pub(crate) mod versions;

use crate::{
    cli::{Cli, Verb},
    config::Config,
    dirs::{Dirs, absolute},
    failure::{Attempt, Outcome},
};
use std::{future::Future, path::PathBuf, process::ExitCode};

/// What every command may need.
pub(crate) struct App {
    pub(crate) dirs: Dirs,
    pub(crate) detached: bool,
    pub(crate) kept: bool,
    /// As it was given, from the root.
    #[cfg(windows)]
    home: Option<PathBuf>,
    config_file: Option<PathBuf>,
}

impl App {
    /// The configuration. Only commands that use it fail when it is wrong.
    pub(crate) fn config(&self) -> Outcome<Config> {
        Config::load(self.config_file.as_deref(), &self.dirs)
    }
}

pub(crate) fn run(cli: Cli) -> Outcome<ExitCode> {
    let dirs = Dirs::new(cli.home.as_deref())?;
    let config = cli.config.map(|file| absolute(&file)).transpose();
    let config_file = config.attempt(|| "cannot resolve the path of the configuration".into())?;
    #[cfg(windows)]
    let home = cli.home.map(|home| absolute(&home)).transpose();
    let app = App {
        dirs,
        detached: cli.detached,
        kept: cli.kept,
        #[cfg(windows)]
        home: home.attempt(|| "cannot resolve MESHDRIVE_HOME".into())?,
        config_file,
    };
    match cli.verb {
        Verb::Serve(args) => serve::run(&app, args)?,
        Verb::Mount(args) => return mount::run(&app, args),
        #[cfg(windows)]
        Verb::Mv(args) => wait(mv::run(&app, args))?,
        #[cfg(windows)]
        Verb::ProjfsSelftest(args) => selftest::run(&args)?,
        Verb::Drive(verb) => wait(drive::run(&app, verb))?,
        Verb::Unmount(args) => return wait(unmount::run(&app, args)),
        #[cfg(unix)]
        Verb::Restart(args) => wait(restart::run(&app, args, false))?,
        #[cfg(unix)]
        Verb::Upgrade(args) => wait(restart::run(&app, args, true))?,
        Verb::Status(args) => return wait(status::run(&app, args)),
        Verb::Metrics(args) => wait(metrics::run(&app, args))?,
        Verb::Sync(args) => return wait(sync::run(&app, args)),
        Verb::Pause(args) => wait(pause::run(&app, args, true))?,
        Verb::Resume(args) => wait(pause::run(&app, args, false))?,
        Verb::Pin(args) => wait(pin::run(&app, args, true))?,
        Verb::Unpin(args) => wait(pin::run(&app, args, false))?,
        Verb::Pins(args) => wait(pin::list(&app, args))?,
        Verb::Evict(args) => wait(evict::run(&app, args))?,
        Verb::Versions(args) => wait(versions::run(&app, args))?,
        Verb::Restore(args) => wait(restore::run(&app, args))?,
        Verb::Conflicts(args) => wait(conflicts::run(&app, args))?,
        Verb::Resolve(args) => wait(resolve::run(&app, args))?,
        Verb::Approve(args) => wait(undo::approve(&app, args))?,
        Verb::Undo(args) => wait(undo::run(&app, args))?,
        Verb::Trash(verb) => wait(trash::run(&app, verb))?,
        Verb::Log(args) => wait(log::run(&app, args))?,
        Verb::Devices(args) => wait(devices::run(&app, args))?,
        Verb::Store(verb) => wait(store::run(&app, verb))?,
        Verb::Doctor(args) => return wait(doctor::run(&app, args)),
        #[cfg(unix)]
        Verb::Export(args) => return export::run(&app, args),
        Verb::Completions(args) => manual::completions(args)?,
        Verb::Man(args) => manual::pages(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command that talks to a daemon or a store: one thread is plenty.
fn wait<T>(command: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .attempt(|| "cannot start the runtime".into())?
        .block_on(command)
}
