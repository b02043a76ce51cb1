//! `meshdrive drive create|join|invite|list`

use super::App;
use crate::{
    config::Config,
    dirs::Label,
    drives,
    failure::{Attempt, Failure, Kind, Outcome},
    mounts,
    render::{self, table},
    store, system,
};
use cloud::{ClientOptions, Credentials};
use std::{
    io::{BufRead, IsTerminal},
    path::PathBuf,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a drive on a store and make this device its first
    Create(CreateArgs),
    /// Join a drive with a join code of another device, or its recovery key
    Join(JoinArgs),
    /// Make a code with which one more device can join
    Invite(InviteArgs),
    /// List the drives of this device
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints the recovery key on stdout, once: keep it on paper. It opens the drive when every device is lost;
without it and without a device the drive cannot be read by anybody.")]
pub(crate) struct CreateArgs {
    /// A name for the drive
    #[arg(value_name = "NAME")]
    name: Label,
    #[command(flatten)]
    server: Server,
    /// The one-time code that `serve` prints [default: asked for]
    #[arg(long, value_name = "CODE", env = "MESHDRIVE_SETUP_CODE", hide_env_values = true)]
    setup_code: Option<String>,
    /// Read the setup code from this file; `serve` writes DATA/setup-code
    #[arg(long, value_name = "FILE", conflicts_with = "setup_code")]
    setup_code_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// A name for the drive on this device
    #[arg(value_name = "NAME")]
    name: Label,
    #[command(flatten)]
    server: Server,
    /// The join code or the recovery key [default: asked for]
    #[arg(long, value_name = "CODE", env = "MESHDRIVE_JOIN_CODE", hide_env_values = true)]
    code: Option<String>,
    /// Read the code from this file
    #[arg(long, value_name = "FILE", conflicts_with = "code")]
    code_file: Option<PathBuf>,
    /// The drive is on this device, but the store knows the device no more (it was sent away, or the store
    /// came back from a backup): become a member again, and keep what is here, also what is unsent
    #[arg(long)]
    again: bool,
}

/// Where the store is, and who we are there.
#[derive(Debug, clap::Args)]
struct Server {
    /// Address of the store, for instance https://drive.example.org
    #[arg(long = "server", value_name = "URL", env = "MESHDRIVE_SERVER")]
    url: String,
    /// A name for this device [default: the host's name]
    #[arg(long = "device", value_name = "NAME")]
    device: Option<String>,
    /// Trust these certificates too (a PEM file)
    #[arg(long = "ca-file", value_name = "FILE", env = "MESHDRIVE_CA_FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InviteArgs {
    /// Name of the drive
    #[arg(value_name = "DRIVE")]
    drive: Label,
    /// Trust these certificates too (a PEM file)
    #[arg(long, value_name = "FILE", env = "MESHDRIVE_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, verb: Verb) -> Outcome {
    match verb {
        Verb::Create(args) => create(app, args).await,
        Verb::Join(args) => join(app, args).await,
        Verb::Invite(args) => invite(app, args).await,
        Verb::List(args) => list(app, &args),
    }
}

#[derive(serde::Serialize)]
struct Created<'a> {
    drive: &'a str,
    recovery_key: &'a str,
}

async fn create(app: &App, args: CreateArgs) -> Outcome {
    drives::reserve(&app.dirs, &args.name)?;
    let options = args.server.options(app.config()?);
    let code = secret(args.setup_code, args.setup_code_file, "Setup code of the store: ")?;
    let device = args.server.device()?;
    let names = (args.name.as_str(), device.as_str());
    let url = args.server.url.trim();
    let (credentials, recovery) = cloud::create_drive(url, &code, names, &options)
        .await
        .map_err(|error| Failure::from(error).context(format!("cannot create a drive at {url}")))?;
    // First the key, then the file: if saving fails the drive can still be joined with the key.
    let key = recovery.reveal();
    if args.json {
        render::json(&Created { drive: args.name.as_str(), recovery_key: &key })?;
    } else {
        render::talk("Recovery key, shown this once. Write it down and keep it in a safe place:");
        render::data(&*key)?;
    }
    let path = app.dirs.credentials(&args.name);
    credentials.save(&path).map_err(|error| {
        Failure::from(error)
            .context("the drive is created, but this device cannot keep its keys")
            .hint(format!(
                "correct that, then `meshdrive drive join {} --server {url}` with the recovery key",
                args.name
            ))
    })?;
    render::talk(format!(
        "Created {0}. Mount it with `meshdrive mount {0} DIRECTORY`; \
         `meshdrive drive invite {0}` adds another device.",
        args.name
    ));
    Ok(())
}

async fn join(app: &App, args: JoinArgs) -> Outcome {
    let known = if args.again {
        Some(unmounted(app, &args.name)?)
    } else {
        drives::reserve(&app.dirs, &args.name)?;
        None
    };
    let options = args.server.options(app.config()?);
    let code = secret(args.code, args.code_file, "Join code or recovery key: ")?;
    let url = args.server.url.trim();
    let credentials = cloud::join(url, &code, &args.server.device()?, &options)
        .await
        .map_err(|error| Failure::from(error).context(format!("cannot join the drive at {url}")))?;
    if known.is_some_and(|known| known.drive != credentials.drive) {
        return Err(Failure::usage(format!("that code is not for the drive {}", args.name))
            .hint("nothing was changed here; to join that drive, choose another name for it"));
    }
    credentials.save(&app.dirs.credentials(&args.name)).map_err(|error| {
        Failure::from(error)
            .context("joined, but this device cannot keep the keys")
            .hint("correct that, then join again with a new code: this one is used up")
    })?;
    render::talk(format!("Joined {0}. Mount it with `meshdrive mount {0} DIRECTORY`.", args.name));
    Ok(())
}

/// The membership so far of a drive that nobody serves now.
fn unmounted(app: &App, label: &Label) -> Outcome<Credentials> {
    drives::require(&app.dirs, label)?;
    if drives::is_running(&app.dirs, label) {
        return Err(Failure::new(Kind::Busy, format!("the drive {label} is mounted")).hint(
            format!(
                "`meshdrive unmount {label} --keep-pending` keeps what is unsent; then join again"
            ),
        ));
    }
    store::credentials(&app.dirs, label)
}

#[derive(serde::Serialize)]
struct Invited<'a> {
    server: &'a str,
    code: &'a str,
    valid_secs: u64,
}

async fn invite(app: &App, args: InviteArgs) -> Outcome {
    let credentials = store::credentials(&app.dirs, &args.drive)?;
    let config = app.config()?;
    let options = ClientOptions { ca_file: args.ca_file.or(config.cloud.ca_file) };
    let code = cloud::invite(&credentials, &options).await.map_err(|error| {
        Failure::from(error).context(format!("cannot invite to {}", args.drive))
    })?;
    let (code, life) = (code.reveal(), cloud::JOIN_CODE_LIFE);
    if args.json {
        let server = &credentials.server;
        return render::json(&Invited { server, code: &code, valid_secs: life.as_secs() });
    }
    render::talk(format!(
        "On the other device, within {} minutes: `meshdrive drive join {} --server {}` with this code:",
        life.as_secs() / 60,
        args.drive,
        credentials.server
    ));
    render::data(&*code)
}

#[derive(serde::Serialize)]
struct Listed {
    drive: String,
    server: Option<String>,
    mountpoint: Option<PathBuf>,
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

fn list(app: &App, args: &ListArgs) -> Outcome {
    let mounts = mounts::ours(&app.dirs)?;
    let mut drives = Vec::new();
    for label in drives::known(&app.dirs)? {
        let (server, trouble) = match store::credentials(&app.dirs, &label) {
            Ok(credentials) => (Some(credentials.server), None),
            Err(failure) => (None, Some(failure.error.root_cause().to_string())),
        };
        drives.push(Listed {
            running: drives::is_running(&app.dirs, &label),
            mountpoint: mounts.iter().rev().find(|(of, _)| *of == label).map(|(_, at)| at.clone()),
            drive: label.to_string(),
            server,
            trouble,
        });
    }
    if args.json {
        return render::json(&drives);
    }
    if drives.is_empty() {
        render::talk("No drive on this device; see `meshdrive drive create --help`.");
        return Ok(());
    }
    table::print(["DRIVE", "MOUNTED AT", "STORE"], &drives.iter().map(row).collect::<Vec<_>>())
}

fn row(drive: &Listed) -> [String; 3] {
    let at = match (&drive.mountpoint, drive.running) {
        (Some(at), true) => at.display().to_string(),
        (Some(at), false) => format!("{} (dead)", at.display()),
        (None, _) => "-".into(),
    };
    let server = drive.server.clone().or_else(|| drive.trouble.clone()).unwrap_or_default();
    [drive.drive.clone(), at, server]
}

impl Server {
    fn options(&self, config: Config) -> ClientOptions {
        ClientOptions { ca_file: self.ca_file.clone().or(config.cloud.ca_file) }
    }

    fn device(&self) -> Outcome<String> {
        if let Some(device) = &self.device {
            return Ok(device.clone());
        }
        system::host_name()
    }
}

/// A code from a flag or the environment, from a file, from the terminal, or from stdin.
fn secret(given: Option<String>, file: Option<PathBuf>, prompt: &str) -> Outcome<String> {
    let code = match (given, file) {
        (Some(code), _) => code,
        (None, Some(file)) => std::fs::read_to_string(&file)
            .attempt(|| format!("cannot read the code from {}", file.display()))?,
        (None, None) => {
            if std::io::stdin().is_terminal() {
                eprint!("{prompt}");
            }
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .attempt(|| "cannot read the code from the standard input".into())?;
            line
        }
    };
    let code = code.trim().to_string();
    if code.is_empty() {
        return Err(Failure::usage("no code was given")
            .hint("type it, pipe it in, or name a file that holds it"));
    }
    Ok(code)
}
