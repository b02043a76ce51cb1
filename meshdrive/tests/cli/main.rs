//! The program as a user or a script meets it: words on stdout and stderr, exit codes, files left.
//! Of Linux: the program on Windows is met by the tests of `tests/projectedfslib`.
#![cfg(unix)]
// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

mod config;
mod errors;
mod help;
mod mount;
mod serve;
mod store;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A home of its own for each test.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn join(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// `meshdrive` in this home, with nothing from the environment.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshdrive"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("MESHDRIVE_HOME", self.path())
            .current_dir(self.path());
        command
    }

    fn run(&self, args: &[&str]) -> Answer {
        Answer::of(self.command().args(args).output().unwrap())
    }
}

struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Answer {
    fn of(output: Output) -> Answer {
        Answer {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails with everything that was said.
    #[track_caller]
    fn expect(&self, code: i32, words: &[&str]) -> &Answer {
        let all = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, code, "{all}");
        for word in words {
            assert!(all.contains(word), "`{word}` is missing in:\n{all}");
        }
        self
    }
}
