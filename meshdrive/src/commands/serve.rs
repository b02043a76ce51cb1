//! `meshdrive serve`

use super::App;
use crate::{
    config::Size,
    daemon::{self, Word},
    dirs::write_private,
    failure::{Attempt, Failure, Kind, Outcome},
    render, system,
};
use server::{Server, ServerConfig, StartError, TlsFiles};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints its address and the one-time setup code that `meshdrive drive create` asks for; the code is also in
DIR/setup-code, readable by its owner only. Each drive uses a code up, and a new one is printed. SIGTERM
and SIGINT let running requests finish, then end it.")]
pub(crate) struct Args {
    /// Where the store keeps everything; made if it is not there
    #[arg(long, value_name = "DIR", env = "MESHDRIVE_DATA")]
    data: PathBuf,
    /// Address and port; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "MESHDRIVE_LISTEN",
        default_value = "127.0.0.1:7420"
    )]
    listen: SocketAddr,
    /// Certificate chain (PEM); without it only this machine can be served
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Bytes that one drive may hold, for instance 500GB [default: as much as fits]
    #[arg(long, value_name = "SIZE")]
    quota: Option<Size>,
    /// Print a line of JSON instead
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Opened<'a> {
    url: &'a str,
    setup_code: &'a str,
}

pub(crate) fn run(app: &App, args: Args) -> Outcome {
    daemon::logs::start(&app.config()?.log, None)?;
    system::raise_descriptor_limit();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .attempt(|| "cannot start the runtime".into())?
        .block_on(serve(args))
}

async fn serve(args: Args) -> Outcome {
    let mut signals = system::Signals::listen()?;
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    let code_file = args.data.join("setup-code");
    let mut config = ServerConfig::new(args.listen, args.data);
    config.tls = args.tls_cert.zip(args.tls_key).map(|(cert, key)| TlsFiles { cert, key });
    config.quota_bytes = args.quota.map(|size| size.0);
    let server = Server::start(config).await.map_err(start_failure)?;
    let mut codes = server.setup_codes();
    let url = format!("{scheme}://{}", server.local_addr());
    let code = codes.borrow_and_update().clone();
    announce(&url, &code, &code_file, args.json)?;
    daemon::notify(&[Word::Ready, Word::Status(&url)]);
    loop {
        tokio::select! {
            () = signals.next() => break,
            changed = codes.changed() => {
                if changed.is_err() {
                    break;
                }
                let code = codes.borrow_and_update().clone();
                announce(&url, &code, &code_file, args.json)?;
            }
        }
    }
    daemon::notify(&[Word::Stopping]);
    render::talk("Stopping; running requests may finish.");
    server.stop().await;
    // The code dies with the process.
    let _ = std::fs::remove_file(&code_file);
    render::talk("Stopped.");
    Ok(())
}

/// First the file, then stdout: who waits for the line may read the file.
fn announce(url: &str, code: &str, file: &Path, json: bool) -> Outcome {
    write_private(file, format!("{code}\n").as_bytes())?;
    if json {
        return render::json(&Opened { url, setup_code: code });
    }
    render::data(format!("Address:     {url}"))?;
    render::data(format!("Setup code:  {code}"))
}

fn start_failure(error: StartError) -> Failure {
    let hint = match &error {
        StartError::Listen { .. } => {
            Some("is the port in use, or below 1024? choose another one with --listen")
        }
        StartError::Tls { .. } => Some("both must be PEM files that belong together"),
        StartError::DataDir { .. } => {
            Some("choose a directory that this user can write, on a disk with free space")
        }
        StartError::Database(_) => {
            Some("look at the disk; a copy of the data directory may be needed")
        }
        StartError::NeedsTls(_) | StartError::InUse(_) | StartError::SetupCode(_) => None,
    };
    let kind = match &error {
        StartError::NeedsTls(_) => Kind::Usage,
        StartError::InUse(_) => Kind::Busy,
        _ => Kind::General,
    };
    let failure = Failure { kind, error: anyhow::Error::new(error), hint: None };
    let failure = failure.context("cannot open the store");
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
