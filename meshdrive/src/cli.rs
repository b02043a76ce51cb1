//! What can be typed.

use crate::commands;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for `status`: everything is in the cloud
  1  failed
  2  wrong usage or configuration
  3  changes are not yet in the cloud
  4  the cloud store cannot be reached; for `status`: and changes are not yet in the cloud
  5  the drive is not mounted
  6  in use";

#[cfg(unix)]
const FILES: &str = "\
Files:
  $XDG_CONFIG_HOME/meshdrive/config.toml  configuration
  $XDG_CONFIG_HOME/meshdrive/drives/      keys of the drives of this device
  $XDG_STATE_HOME/meshdrive/NAME/         index, local contents, log
  $XDG_RUNTIME_DIR/meshdrive/NAME.sock    control socket";
#[cfg(windows)]
const FILES: &str = "\
Files:
  %LOCALAPPDATA%\\Meshdrive\\config\\config.toml  configuration
  %LOCALAPPDATA%\\Meshdrive\\config\\drives\\      keys of the drives of this device
  %LOCALAPPDATA%\\Meshdrive\\state\\NAME\\         index, local contents, log";

fn after_help() -> String {
    format!("{EXIT_CODES}\n\n{FILES}")
}

/// A full cloud store as a local drive
#[derive(Debug, Parser)]
#[command(name = "meshdrive", version, after_help = after_help(), max_term_width = 100)]
pub(crate) struct Cli {
    /// Read this configuration file instead of the default one
    #[arg(long, global = true, value_name = "FILE", env = "MESHDRIVE_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Keep configuration, state and sockets of this device below one directory
    #[arg(long, global = true, value_name = "DIR", env = "MESHDRIVE_HOME")]
    pub(crate) home: Option<PathBuf>,

    /// Set by `mount` when it starts its daemon: report readiness on stdout
    #[arg(long, hide = true)]
    pub(crate) detached: bool,

    /// Set by a supervisor when it starts a daemon: the mount comes over stdin
    #[arg(long, hide = true)]
    pub(crate) kept: bool,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a cloud store
    Serve(commands::serve::Args),
    /// Create, join, invite to and list drives
    #[command(subcommand)]
    Drive(commands::drive::Verb),
    /// Show a drive as a folder
    Mount(commands::mount::Args),
    /// Send what is unsent, unmount, and free the local space
    Unmount(commands::unmount::Args),
    /// Rename a file or folder, also a folder that Explorer cannot rename
    #[cfg(windows)]
    Mv(commands::mv::Args),
    /// Try out a mounted drive through plain file calls
    #[cfg(windows)]
    ProjfsSelftest(commands::selftest::Args),
    /// Start a new daemon; programs that use the drive only wait
    #[cfg(unix)]
    Restart(commands::restart::Args),
    /// Let mounted drives go on with the program that is installed now
    #[cfg(unix)]
    Upgrade(commands::restart::Args),
    /// Say whether everything is in the cloud
    Status(commands::status::Args),
    /// Print the numbers of a drive for Prometheus
    Metrics(commands::metrics::Args),
    /// Wait until every change made so far is in the cloud
    Sync(commands::sync::Args),
    /// Stop sending changes
    Pause(commands::pause::Args),
    /// Go on sending changes
    Resume(commands::pause::Args),
    /// Keep files and folders on this device
    Pin(commands::pin::Args),
    /// Let go of what was pinned
    Unpin(commands::pin::Args),
    /// List what is pinned
    Pins(commands::pin::ListArgs),
    /// Free the space of files that are in the cloud
    Evict(commands::evict::Args),
    /// List the versions of a file
    Versions(commands::versions::Args),
    /// Bring back an older version, or something from the trash
    Restore(commands::restore::Args),
    /// List the conflicts that nobody has decided yet
    Conflicts(commands::conflicts::Args),
    /// Decide a conflict
    Resolve(commands::resolve::Args),
    /// Send what is held because much was removed or rewritten at once
    Approve(commands::undo::ApproveArgs),
    /// Take back what is held, or what a device has done
    Undo(commands::undo::Args),
    /// List what was removed, bring it back, or let it go for good
    #[command(subcommand)]
    Trash(commands::trash::Verb),
    /// Say what happened to a file, when, and on which device
    Log(commands::log::Args),
    /// List the devices of a drive, or take the access of one away
    Devices(commands::devices::Args),
    /// Look after the data of a cloud store
    #[command(subcommand)]
    Store(commands::store::Verb),
    /// Look for what is wrong and say what to do
    Doctor(commands::doctor::Args),
    /// Copy a whole drive to a plain folder
    #[cfg(unix)]
    Export(commands::export::Args),
    /// Print the completions of a shell
    Completions(commands::manual::CompletionsArgs),
    /// Write the manual pages
    Man(commands::manual::ManArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    /// Help is in the imperative, and a summary has no full stop.
    #[test]
    fn summaries_have_no_full_stop() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
                assert!(!about.is_empty(), "{} has no summary", sub.get_name());
                assert!(!about.ends_with('.'), "{}: {about}", sub.get_name());
                for arg in sub.get_arguments().filter(|arg| !arg.is_hide_set()) {
                    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                    assert!(!help.is_empty(), "{} {} has no help", sub.get_name(), arg.get_id());
                    assert!(!help.ends_with('.'), "{}: {help}", arg.get_id());
                }
                check(sub);
            }
        }
        check(&Cli::command());
    }
}
