//! A store of its own for a test: `meshdrive serve` as a process.

use crate::{answer::Answer, program, wait::wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Ended when dropped. Keeps its address when it is stopped and started again.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
    child: Option<Child>,
    address: String,
}

impl Server {
    /// Starts one at a free port of the loopback, with everything it keeps below `dir`.
    #[track_caller]
    pub fn start(dir: &Path) -> Server {
        fs::create_dir_all(dir).unwrap();
        let mut server = Server { dir: dir.into(), child: None, address: "127.0.0.1:0".into() };
        server.start_again();
        server
    }

    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the store runs already");
        let said = self.dir.join("serve.out");
        let log = File::options().append(true).create(true).open(self.dir.join("serve.log"));
        let child = Command::new(program())
            .env_clear()
            .env("MESHDRIVE_HOME", self.dir.join("home"))
            .args(["serve", "--json", "--listen", &self.address, "--data"])
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(File::create(&said).unwrap())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let url = wait_for("the store says its address", || {
            if let Some(status) = child.try_wait().unwrap() {
                let log = fs::read_to_string(self.dir.join("serve.log")).unwrap_or_default();
                panic!("the store has ended: {status}\n{log}");
            }
            let text = fs::read_to_string(&said).unwrap();
            let line = text.lines().next()?;
            let opened: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(opened["url"].as_str()?.to_string())
        });
        self.address = url.strip_prefix("http://").unwrap().into();
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The code with which the next drive can be created.
    pub fn setup_code(&self) -> String {
        fs::read_to_string(self.data().join("setup-code")).unwrap().trim().into()
    }

    /// Where it keeps everything.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What it has logged, and said on stdout.
    pub fn words(&self) -> String {
        let log = fs::read_to_string(self.dir.join("serve.log")).unwrap_or_default();
        log + &fs::read_to_string(self.dir.join("serve.out")).unwrap_or_default()
    }

    /// Lets it end in its own time.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.words());
    }

    /// Ends it with no chance to tidy up.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// `meshdrive drive create`, in `home`; the recovery key.
    #[track_caller]
    pub fn create_drive(&self, home: &Path, url: &str, device: &str) -> String {
        let output = Command::new(program())
            .env_clear()
            .env("MESHDRIVE_HOME", home)
            .env("MESHDRIVE_SETUP_CODE", self.setup_code())
            .args(["drive", "create", "work", "--json", "--device", device, "--server", url])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let answer = Answer::of(&output);
        answer.expect(0, &["Created work"]);
        answer.json()["recovery_key"].as_str().unwrap().into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
