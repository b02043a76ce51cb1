//! The store of the development drive: one background process, known by its pid.

use super::Dev;
use crate::report::line_of;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long the store may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn data(dev: &Dev) -> PathBuf {
    dev.folder.join("store")
}

fn pid_file(dev: &Dev) -> PathBuf {
    dev.folder.join("store.pid")
}

fn log_file(dev: &Dev) -> PathBuf {
    dev.folder.join("store.log")
}

/// The file in which the store leaves the code that creates a drive.
pub(super) fn setup_code(dev: &Dev) -> PathBuf {
    data(dev).join("setup-code")
}

/// Starts the store unless it runs; returns its address once it answers.
pub(super) fn start(dev: &Dev) -> Result<String> {
    let port = port(dev)?;
    let url = format!("http://127.0.0.1:{port}");
    if running(dev).is_some() {
        eprintln!("the store runs already at {url}");
        return Ok(url);
    }
    // A code that an earlier life left behind (it was killed) is no sign of this one.
    let _ = fs::remove_file(setup_code(dev));
    let log = fs::File::create(log_file(dev)).context("creating the store's log")?;
    let mut command = dev.meshdrive();
    command
        .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data(dev))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in this terminal is not meant for it.
        .process_group(0);
    eprintln!("$ {} & # log in {}", line_of(&command), log_file(dev).display());
    let child = command.spawn().context("starting the store")?;
    fs::write(pid_file(dev), child.id().to_string()).context("writing the store's pid")?;
    wait_until_ready(dev, child, port)?;
    Ok(url)
}

/// The port stays the same for the life of the drive, because the device knows the store by it.
fn port(dev: &Dev) -> Result<u16> {
    let file = dev.folder.join("store.port");
    if let Some(port) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(port);
    }
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    let port = free.local_addr()?.port();
    fs::write(&file, port.to_string()).with_context(|| file.display().to_string())?;
    Ok(port)
}

fn wait_until_ready(dev: &Dev, mut child: Child, port: u16) -> Result<()> {
    let start = Instant::now();
    loop {
        let log = log_file(dev);
        if let Some(status) = child.try_wait()? {
            let _ = fs::remove_file(pid_file(dev));
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("the store ended at once ({status}); it said:\n{}", said.trim_end());
        }
        let answers = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        if answers && (dev.has_drive() || setup_code(dev).exists()) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!(
                "the store does not answer after {} s; see {}, then `cargo xtask down`",
                PATIENCE.as_secs(),
                log.display()
            );
        }
        sleep(LOOK_EVERY);
    }
}

/// The store's process, if the one in the pid file is alive and is ours.
fn running(dev: &Dev) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(pid_file(dev)).ok()?.trim().parse().ok()?;
    // A pid may have been given to another program since: only the one with our folder counts. A
    // zombie has no arguments.
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = data(dev).into_os_string().into_encoded_bytes();
    arguments.split(|&byte| byte == 0).any(|word| word == ours).then(|| Pid::from_raw(pid))?
}

/// Asks the store to end and waits until it has.
pub(super) fn stop(dev: &Dev) -> Result<()> {
    if let Some(pid) = running(dev) {
        kill_process(pid, Signal::TERM).context("ending the store")?;
        let start = Instant::now();
        while running(dev).is_some() {
            if start.elapsed() > PATIENCE {
                bail!("the store (process {}) does not end", pid.as_raw_nonzero());
            }
            sleep(LOOK_EVERY);
        }
    }
    match fs::remove_file(pid_file(dev)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("pid file")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn dev(folder: PathBuf) -> Dev {
        Dev { mountpoint: folder.join("m"), program: "/nonexistent".into(), folder }
    }

    #[test]
    fn the_port_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dev = dev(folder.path().into());
        assert_eq!(port(&dev).unwrap(), port(&dev).unwrap());
    }

    #[test]
    fn a_stranger_with_our_pid_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dev = dev(folder.path().into());
        fs::write(pid_file(&dev), std::process::id().to_string()).unwrap();
        assert!(running(&dev).is_none());
        stop(&dev).unwrap();
        assert!(!pid_file(&dev).exists());
    }

    #[test]
    fn our_process_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let dev = dev(folder.path().into());
        let mut command = Command::new("sh");
        command.args(["-c", "read x", "--"]).arg(data(&dev)).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        fs::write(pid_file(&dev), child.id().to_string()).unwrap();
        // The kernel shows a new program's arguments a moment after it was started.
        let start = Instant::now();
        while running(&dev).is_none() {
            assert!(start.elapsed() < PATIENCE, "our process is not recognised");
            sleep(LOOK_EVERY);
        }
        stop(&dev).unwrap();
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_store_that_does_not_start_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(start(&dev(folder.path().into())).is_err());
    }
}
