//! Hands files of an ordinary user's drive to the kernel, for a daemon that may not (see
//! `fuse_linux::registrar`). Installed beside `meshdrive`, set-user-id root or with the capability
//! CAP_SYS_ADMIN alone. Started by the daemon, never by hand.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match fuse_linux::registrar::serve(std::io::stdin()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshdrive-passthrough is started by meshdrive, not by hand: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("meshdrive-passthrough is for Linux");
    ExitCode::FAILURE
}
