//! Meshdrive: a full cloud store as a local drive. Command line, background daemon, cloud store.

mod checkup;
mod cli;
mod client;
mod commands;
mod config;
mod daemon;
mod dirs;
mod drives;
#[cfg(unix)]
mod export;
mod failure;
mod hours;
mod mounts;
#[cfg(unix)]
mod recovered;
mod render;
mod store;
#[cfg(unix)]
mod supervisor;
mod system;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Every TLS configuration of the process uses ring; the only error is "already installed".
    let _ = rustls::crypto::ring::default_provider().install_default();
    match commands::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            render::talk(failure.render());
            ExitCode::from(failure.kind.exit_code())
        }
    }
}
