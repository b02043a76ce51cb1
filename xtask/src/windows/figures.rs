//! `cargo xtask bench --windows`: the driver's figures under Wine, through the model of ProjFS.

use super::{
    TRIPLE, cargo_for,
    plain::Plain,
    prepare,
    store::{self, Profile, Store},
};
use crate::report::line_of;
use anyhow::{Context, Result, ensure};
use std::{path::Path, process::Stdio};

/// Prints the table. `quick`: a tenth of the work.
///
/// # Errors
/// When the target cannot be had here, or a figure did not come about.
pub(crate) fn figures(root: &Path, quick: bool) -> Result<()> {
    let target = prepare::prepare().context("Windows' target")?;
    store::build(root, Profile::Release)?;
    let store = Store::start(root, Profile::Release)?;
    let plain = Plain::start()?;
    let mut command = cargo_for(root, &target);
    // The standard library that was built for this has nothing to optimise across crates with.
    command.env("CARGO_PROFILE_BENCH_LTO", "off");
    command.args(["bench", "-p", "projectedfslib", "--target", TRIPLE, "--bench", "figures"]);
    command.env("MESHDRIVE_STORE", &store.url).env("MESHDRIVE_SETUP_CODE", store.setup_code());
    command.env("MESHDRIVE_PLAIN", &plain.address).stderr(Stdio::inherit());
    if quick {
        command.env("MESHDRIVE_QUICK", "1");
    }
    let line = line_of(&command);
    eprintln!("$ {line}");
    let output = command.output().with_context(|| format!("cannot run `{line}`"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{}", table(&text));
    ensure!(output.status.success(), "`{line}`: {}", output.status);
    Ok(())
}

/// The rows of what was printed, as a table.
fn table(text: &str) -> String {
    let head = "| work | baseline | figure | target | met |\n|---|---|---|---|---|\n";
    let rows = text.lines().map(str::trim).filter(|line| line.matches(" | ").count() >= 3);
    rows.fold(head.to_owned(), |table, row| format!("{table}| {} |\n", row.trim_end_matches('|')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_are_in_the_table() {
        let text = "running\nwork |  | 1 s |  | \nother | a | 2 s | <= 3 s | yes\n";
        let table = table(text);
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(table.ends_with("| other | a | 2 s | <= 3 s | yes |\n"), "{table}");
    }
}
