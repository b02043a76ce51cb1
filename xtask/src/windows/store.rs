//! The store that the driver's tests use: a process of this system, outside Wine.

use crate::{report, test::cargo};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The program that serves the store. `test` has it already, from a build of the whole workspace; for this
/// package alone cargo would build half of it again, with other features.
pub(super) fn build(root: &Path, profile: Profile) -> Result<()> {
    let release = matches!(profile, Profile::Release).then_some("--release");
    report::run(cargo(root).args(["build", "-p", "meshdrive"]).args(release))
}

/// How the program that serves the store is built.
#[derive(Clone, Copy, Debug)]
pub(super) enum Profile {
    Debug,
    /// To measure with.
    Release,
}

/// Ended when dropped, with all it keeps.
pub(super) struct Store {
    child: Child,
    folder: tempfile::TempDir,
    pub(super) url: String,
}

impl Store {
    /// Of the program as it was built last: see [`build`].
    pub(super) fn start(root: &Path, profile: Profile) -> Result<Store> {
        let built = match profile {
            Profile::Debug => "target/debug/meshdrive",
            Profile::Release => "target/release/meshdrive",
        };
        let folder = tempfile::tempdir()?;
        let said = folder.path().join("said");
        let child = Command::new(root.join(built))
            .env("MESHDRIVE_HOME", folder.path().join("home"))
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(File::create(&said)?)
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .context("starting the store")?;
        let mut store = Store { child, folder, url: String::new() };
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(url) = url_in(&fs::read_to_string(&said)?) {
                store.url = url;
                return Ok(store);
            }
            if let Some(status) = store.child.try_wait()? {
                let log = fs::read_to_string(store.folder.path().join("log")).unwrap_or_default();
                bail!("the store has ended: {status}\n{log}");
            }
            sleep(LOOK_EVERY);
        }
        bail!("the store did not say its address within {} s", PATIENCE.as_secs())
    }

    /// The file with the code that creates a drive, as programs under Wine see it.
    pub(super) fn setup_code(&self) -> String {
        seen_by_wine(&self.folder.path().join("data/setup-code"))
    }
}

/// A path from the root, as programs under Wine see it.
pub(super) fn seen_by_wine(path: &Path) -> String {
    format!("Z:{}", path.display().to_string().replace('/', "\\"))
}

fn url_in(said: &str) -> Option<String> {
    let opened: serde_json::Value = serde_json::from_str(said.lines().next()?).ok()?;
    Some(opened["url"].as_str()?.to_owned())
}

impl Drop for Store {
    fn drop(&mut self) {
        // It keeps nothing that anybody wants.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
