//! `meshdrive mount`

use super::App;
#[cfg(unix)]
use crate::supervisor;
use crate::{
    config::{Config, Size, Span},
    daemon::{self, Plan, ready},
    dirs::{self, Label, private_dir},
    drives,
    failure::{Attempt, Failure, Outcome},
    render::{self, progress::Line},
};
#[cfg(windows)]
use std::ffi::OsString;
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

#[derive(Debug, clap::Args)]
#[cfg_attr(
    windows,
    command(after_help = "\
Returns when the drive answers; a daemon in the background serves it from then on. It is mounted again at
the next logon, with what the configuration says, until it is unmounted. With --foreground it ends with its
console.")
)]
#[cfg_attr(
    unix,
    command(after_help = "\
Returns when the drive answers; a daemon in the background serves it from then on, and a supervisor
starts a new one if it crashes: programs that use the drive wait meanwhile and see no error. As a
service, use --foreground: SIGTERM sends what is unsent, unmounts and ends; no supervisor is started.")
)]
pub(crate) struct Args {
    /// Name of the drive
    #[arg(value_name = "DRIVE")]
    drive: Label,
    #[cfg_attr(unix, doc = "An empty folder")]
    #[cfg_attr(windows, doc = "A drive letter like X:, or an empty folder on a disk with NTFS")]
    #[arg(value_name = "DIRECTORY")]
    mountpoint: PathBuf,
    /// Stay in the foreground and log to stderr, for services
    #[arg(long, short)]
    foreground: bool,
    #[cfg(unix)]
    /// Start no supervisor: when the daemon ends, the mount is dead
    #[arg(long)]
    no_supervisor: bool,
    /// Refuse changes
    #[arg(long)]
    read_only: bool,
    #[cfg(unix)]
    /// Let other users of this machine into the drive
    #[arg(long)]
    allow_other: bool,
    #[cfg(unix)]
    /// Do not let the kernel read and write whole local files by itself, which it does where it can
    /// (as root, from Linux 6.9 on)
    #[arg(long, env = "MESHDRIVE_NO_PASSTHROUGH", value_parser = clap::builder::BoolishValueParser::new())]
    no_passthrough: bool,
    /// Local space of the drive, for instance 10GiB
    #[arg(long, value_name = "SIZE", env = "MESHDRIVE_CACHE_SIZE")]
    cache_size: Option<Size>,
    /// Free space to leave on the disk
    #[arg(long, value_name = "SIZE", env = "MESHDRIVE_CACHE_FLOOR")]
    cache_floor: Option<Size>,
    /// How long a read of absent bytes may take, for instance 30s
    #[arg(long, value_name = "TIME", env = "MESHDRIVE_READ_DEADLINE")]
    read_deadline: Option<Span>,
    /// The same while the store is known to be out of reach
    #[arg(long, value_name = "TIME", env = "MESHDRIVE_OFFLINE_DEADLINE")]
    offline_deadline: Option<Span>,
    /// Quiet time after a file is closed before it is sent
    #[arg(long, value_name = "TIME", env = "MESHDRIVE_SETTLE")]
    settle: Option<Span>,
    /// Bytes a second to send at most
    #[arg(long, value_name = "SIZE", env = "MESHDRIVE_LIMIT_UP")]
    limit_up: Option<Size>,
    /// Bytes a second to fetch at most
    #[arg(long, value_name = "SIZE", env = "MESHDRIVE_LIMIT_DOWN")]
    limit_down: Option<Size>,
    /// Trust these certificates too (a PEM file)
    #[arg(long, value_name = "FILE", env = "MESHDRIVE_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Which messages to log: error, warn, info, debug, or a filter
    #[arg(long, value_name = "FILTER", env = "MESHDRIVE_LOG")]
    log: Option<String>,
}

pub(crate) fn run(app: &App, args: Args) -> Outcome<ExitCode> {
    drives::require(&app.dirs, &args.drive)?;
    let mountpoint = mountpoint(&args.mountpoint)?;
    let (label, foreground, read_only) = (args.drive.clone(), args.foreground, args.read_only);
    #[cfg(unix)]
    let unsupervised = args.no_supervisor || foreground;
    let config = configure(app.config()?, args)?;
    if !foreground && !app.detached {
        start(app, &label)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan {
        #[cfg(windows)]
        at_logon: at_logon(app, &label, &mountpoint, read_only)?,
        dirs: app.dirs.clone(),
        config,
        label,
        mountpoint,
        read_only,
        detached: app.detached,
        supervised: app.kept,
    };
    #[cfg(unix)]
    if !unsupervised && !app.kept {
        return supervisor::run(&plan);
    }
    daemon::run(&plan)
}

#[cfg(unix)]
fn mountpoint(path: &Path) -> Outcome<PathBuf> {
    absolute(path)
}

/// A letter with its `\\`; the folder that Windows is in on that drive is not meant.
#[cfg(windows)]
fn mountpoint(path: &Path) -> Outcome<PathBuf> {
    let letter =
        path.to_str().and_then(|text| text.parse::<projfs_windows::windows::Letter>().ok());
    match letter {
        Some(letter) => Ok(PathBuf::from(format!("{letter}\\"))),
        None => absolute(path),
    }
}

/// The words of the command that mounts it like this again.
#[cfg(windows)]
fn at_logon(app: &App, label: &Label, at: &Path, read_only: bool) -> Outcome<Vec<OsString>> {
    let program = std::env::current_exe().attempt(|| "cannot find this program".into())?;
    let mut words = vec![program.into_os_string()];
    for (flag, value) in [("--home", &app.home), ("--config", &app.config_file)] {
        if let Some(value) = value {
            words.extend([flag.into(), value.into()]);
        }
    }
    words.extend(["mount".into(), label.as_str().into(), at.into()]);
    if read_only {
        words.push("--read-only".into());
    }
    Ok(words)
}

fn absolute(path: &Path) -> Outcome<PathBuf> {
    dirs::absolute(path).attempt(|| format!("cannot resolve {}", path.display()))
}

/// Flags and environment over the file.
fn configure(mut config: Config, args: Args) -> Outcome<Config> {
    fn set<T>(place: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *place = value;
        }
    }
    set(&mut config.cache.size, args.cache_size);
    set(&mut config.cache.floor, args.cache_floor);
    set(&mut config.read.deadline, args.read_deadline);
    set(&mut config.read.offline_deadline, args.offline_deadline);
    set(&mut config.upload.settle, args.settle);
    set(&mut config.upload.limit, args.limit_up.map(Some));
    set(&mut config.download.limit, args.limit_down.map(Some));
    set(&mut config.log.level, args.log);
    set(&mut config.cloud.ca_file, args.ca_file.map(Some));
    if let Some(file) = &mut config.cloud.ca_file {
        *file = absolute(file)?;
    }
    #[cfg(unix)]
    {
        config.mount.allow_other |= args.allow_other;
        config.mount.passthrough &= !args.no_passthrough;
    }
    config.check().map_err(Failure::usage)?;
    Ok(config)
}

/// Starts this program again as the daemon, with the same arguments.
fn start(app: &App, label: &Label) -> Outcome {
    private_dir(&app.dirs.drive_state(label))?;
    let program = std::env::current_exe().attempt(|| "cannot find this program".into())?;
    let mut command = Command::new(program);
    command.arg("--detached").args(std::env::args_os().skip(1));
    let line = Line::new(format!("mounting {label}"));
    let text = ready::start(&mut command, &app.dirs.log_file(label))?;
    drop(line);
    render::talk(text);
    Ok(())
}
