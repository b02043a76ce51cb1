//! What a run did: steps with their outcome and time, and everything that was skipped.

use anyhow::{Context, Result, bail, ensure};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

#[derive(Debug, Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
    skipped: Vec<String>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    /// `None`: all is well.
    error: Option<String>,
}

impl Report {
    /// Runs one step under a heading; its failure is kept, not returned.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let error = work().err().map(|error| format!("{error:#}"));
        let took = start.elapsed();
        match &error {
            None => eprintln!("== {name}: ok, {}", seconds(took)),
            Some(error) => eprintln!("== {name}: FAILED, {}: {error}", seconds(took)),
        }
        self.steps.push(Step { name: name.to_owned(), took, error });
    }

    /// Notes something that did not run, as `what: why`.
    pub(crate) fn skip(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.skipped.contains(&text) {
            self.skipped.push(text);
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.steps.iter().any(|step| step.error.is_some())
    }

    /// Prints the summary.
    ///
    /// # Errors
    /// When a step failed.
    pub(crate) fn finish(&self) -> Result<()> {
        eprint!("{}", self.summary());
        let failed = self.steps.iter().filter(|step| step.error.is_some()).count();
        ensure!(failed == 0, "{failed} of {} steps failed", self.steps.len());
        Ok(())
    }

    fn summary(&self) -> String {
        let mut text = String::from("\n== summary\n");
        for step in &self.steps {
            let mark = if step.error.is_some() { "FAILED" } else { "ok" };
            text.push_str(&format!("  {mark:<7} {:<14} {:>9}", step.name, seconds(step.took)));
            if let Some(error) = &step.error {
                text.push_str(&format!("  {error}"));
            }
            text.push('\n');
        }
        if self.skipped.is_empty() {
            text.push_str("  nothing was skipped\n");
        }
        for skipped in &self.skipped {
            text.push_str(&format!("  SKIPPED {skipped}\n"));
        }
        text
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// Runs `command` with the terminal as its own and wants it to succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("`{line}`: {status}");
    }
    Ok(())
}

/// The command as one would type it: the program by its name only.
pub(crate) fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_report_and_is_named() {
        let mut report = Report::default();
        report.step("one", || Ok(()));
        assert!(!report.failed() && report.finish().is_ok());
        report.step("two", || bail!("broken"));
        report.skip("three: no tool");
        report.skip("three: no tool");
        assert!(report.failed() && report.finish().is_err());
        let summary = report.summary();
        assert!(summary.contains("broken"), "{summary}");
        assert_eq!(summary.matches("SKIPPED three: no tool").count(), 1, "{summary}");
    }

    #[test]
    fn a_command_that_fails_is_an_error_with_its_line() {
        assert!(run(&mut Command::new("true")).is_ok());
        let error = run(Command::new("false").arg("x")).unwrap_err();
        assert!(error.to_string().contains("false x"), "{error}");
        assert!(run(&mut Command::new("/nonexistent")).is_err());
    }
}
