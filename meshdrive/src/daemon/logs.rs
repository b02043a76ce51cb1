//! Where log lines go: stderr in the foreground, a file of bounded size in the background.

use crate::{
    config::{Log, LogFormat},
    failure::{Attempt, Failure, Outcome},
    system,
};
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Bytes of a log file; then it becomes `.1`, which is dropped in its turn.
const LOG_BYTES: u64 = 8 << 20;

/// Starts logging for the rest of the process into the file of another process, which keeps it bounded.
#[cfg(unix)]
pub(crate) fn start_beside(log: &Log, file: &Path) -> Outcome {
    let path = file.to_path_buf();
    // Opened for each line: the other process may have made a new file meanwhile.
    let writer = move || -> Box<dyn Write> {
        match append(&path) {
            Ok((file, _)) => Box::new(file),
            Err(_) => Box::new(io::sink()),
        }
    };
    let build = tracing_subscriber::fmt().with_env_filter(filter(log)?);
    let build = build.with_ansi(false).with_writer(writer);
    let json = log.format == LogFormat::Json;
    let _ = if json { build.json().try_init() } else { build.try_init() };
    Ok(())
}

fn filter(log: &Log) -> Outcome<EnvFilter> {
    EnvFilter::try_new(&log.level).map_err(|error| {
        Failure::usage(format!("log.level `{}`: {error}", log.level))
            .hint("use error, warn, info, debug, or a filter like info,engine=debug")
    })
}

/// Starts logging for the rest of the process. `file`: `None` is stderr.
pub(crate) fn start(log: &Log, file: Option<&Path>) -> Outcome {
    let build = tracing_subscriber::fmt().with_env_filter(filter(log)?);
    let json = log.format == LogFormat::Json;
    // A second start in one process (tests) keeps the first.
    let _ = match file {
        Some(path) => {
            let build = build.with_ansi(false).with_writer(LogFile::open(path)?);
            if json { build.json().try_init() } else { build.try_init() }
        }
        None => {
            let build = build.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
            if json { build.json().try_init() } else { build.try_init() }
        }
    };
    Ok(())
}

struct LogFile {
    path: PathBuf,
    file: Mutex<(File, u64)>,
}

impl LogFile {
    fn open(path: &Path) -> Outcome<LogFile> {
        let opened = append(path).attempt(|| format!("cannot open the log {}", path.display()))?;
        Ok(LogFile { path: path.into(), file: Mutex::new(opened) })
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = system::private_file().create(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

impl Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut guard = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if guard.1 > LOG_BYTES {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            *guard = append(&self.path)?;
        }
        let written = guard.0.write(line)?;
        guard.1 += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = &'a LogFile;

    fn make_writer(&'a self) -> &'a LogFile {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_stays_bounded() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        let log = LogFile::open(&path).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..30 {
            (&log).write_all(&line).unwrap();
        }
        let sizes: u64 = std::fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(sizes <= 2 * (LOG_BYTES + (1 << 20)), "{sizes}");
    }
}
