//! `cargo xtask test`: cheap checks first, then clippy, the build and all tests, then a summary.

use crate::{
    packages,
    report::{self, Report},
    tidy,
};
use anyhow::Result;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names a file to which a test that cannot run here appends one line, `test: reason`.
pub(crate) const SKIPS_VARIABLE: &str = "MESHDRIVE_SKIPS";

/// What of it is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only what needs no mount and no built program: format, tidy, clippy, unit tests
    #[arg(long)]
    quick: bool,
    /// Also install large programs (PostgreSQL, LibreOffice, ffmpeg, npm) whose tests are skipped
    /// where they are missing
    #[arg(long)]
    large_programs: bool,
}

/// # Errors
/// When any step failed; all of them are named in the summary before.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let mut report = Report::default();
    steps(root, options, &mut report)?;
    report.finish()
}

fn steps(root: &Path, options: &Options, report: &mut Report) -> Result<()> {
    let quick = options.quick;
    raise_limits();
    if quick {
        report.skip("tests on mounts, of the server, of whole programs and for Windows: --quick");
    } else {
        packages::check(report, options.large_programs);
        #[cfg(target_os = "linux")]
        crate::conformance::provide(root);
    }

    cheap(root, report);
    if report.failed() {
        report.skip("clippy, build and tests: a cheap check failed first");
        return Ok(());
    }

    if has_component(root, "clippy") {
        let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        report.step("clippy", || report::run(cargo(root).args(arguments)));
    } else {
        report.skip("clippy: not installed (rustup component add clippy)");
    }
    if quick {
        report.step("unit tests", || {
            report::run(cargo(root).args([
                "test",
                "--workspace",
                "--lib",
                "--bins",
                "--no-fail-fast",
            ]))
        });
        return Ok(());
    }
    // Tests start the programs, which `cargo test` alone does not build; the same set of targets
    // and features as the tests, so that nothing is built twice.
    report
        .step("build", || report::run(cargo(root).args(["build", "--workspace", "--all-targets"])));
    tests(root, report)?;
    crate::windows::driver(root, report);
    Ok(())
}

/// Everything that takes seconds. All of it runs, also after a failure.
fn cheap(root: &Path, report: &mut Report) {
    if has_component(root, "fmt") {
        report.step("format", || report::run(cargo(root).args(["fmt", "--all", "--check"])));
    } else {
        report.skip("format: not installed (rustup component add rustfmt)");
    }
    report.step("tidy", || tidy::run(root));
    if packages::on_path("cargo-deny") {
        let arguments = ["deny", "--workspace", "check", "bans", "licenses", "sources"];
        report.step("deny", || report::run(cargo(root).args(arguments)));
    } else {
        report.skip(
            "cargo-deny: not installed (cargo install cargo-deny); tidy has checked licences and \
             banned crates",
        );
    }
}

fn tests(root: &Path, report: &mut Report) -> Result<()> {
    let skips = Skips::new(root)?;
    report.step("tests", || {
        report::run(
            cargo(root)
                .args(["test", "--workspace", "--no-fail-fast"])
                .env(SKIPS_VARIABLE, &skips.0),
        )
    });
    for line in skips.lines() {
        report.skip(line);
    }
    Ok(())
}

/// The file that tests report their skips in.
pub(crate) struct Skips(PathBuf);

impl Skips {
    pub(crate) fn new(root: &Path) -> Result<Skips> {
        let folder = root.join("target/xtask");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("skips-{}", std::process::id()));
        std::fs::write(&path, "")?;
        Ok(Skips(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
    }
}

impl Drop for Skips {
    fn drop(&mut self) {
        // Only scratch data: if it stays, the next `cargo clean` takes it.
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Whether `cargo <name>` is there; a minimal toolchain lacks some, and rustup may add them.
fn has_component(root: &Path, name: &str) -> bool {
    let answers = || {
        let mut command = cargo(root);
        command.args([name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if answers() {
        return true;
    }
    let component = if name == "fmt" { "rustfmt" } else { name };
    let added = report::run(Command::new("rustup").args(["component", "add", component]));
    added.is_ok() && answers()
}

/// Many small files are open at once in some tests: take as many descriptors as are allowed.
#[cfg(unix)]
fn raise_limits() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            eprintln!("the limit of open files stays as it is: {error}");
        }
    }
}

#[cfg(not(unix))]
fn raise_limits() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_read_back_and_the_file_goes() {
        let root = tempfile::tempdir().unwrap();
        let skips = Skips::new(root.path()).unwrap();
        std::fs::write(&skips.0, "a: no tool\n\nb: no device\n").unwrap();
        assert_eq!(skips.lines(), ["a: no tool", "b: no device"]);
        let path = skips.0.clone();
        drop(skips);
        assert!(!path.exists());
    }
}
