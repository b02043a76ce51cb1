//! A running `meshdrive serve`.

use super::Home;
use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Stdio},
};

/// A store of its own; ended when dropped.
pub(crate) struct Store {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub(crate) url: String,
    pub(crate) code: String,
}

impl Store {
    pub(crate) fn start(home: &Home) -> Store {
        Store::start_at(home, "127.0.0.1:0")
    }

    pub(crate) fn start_at(home: &Home, listen: &str) -> Store {
        let mut child = home
            .command()
            .args(["serve", "--data", "store", "--json", "--listen", listen])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut store = Store { child, lines, url: String::new(), code: String::new() };
        store.hear();
        store
    }

    /// Reads the next line: address and setup code.
    pub(crate) fn hear(&mut self) {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let opened: serde_json::Value = serde_json::from_str(&line).unwrap();
        self.url = opened["url"].as_str().unwrap().into();
        self.code = opened["setup_code"].as_str().unwrap().into();
    }

    pub(crate) fn signal(&mut self, signal: rustix::process::Signal) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
