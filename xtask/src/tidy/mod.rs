//! The rules of the house that no compiler checks. Each finding says where, what, and what to do.

mod arrows;
mod claims;
mod crates;
mod files;
mod functions;
mod licences;
mod links;
mod mask;
mod source;
mod tree;

use anyhow::{Context, Result, bail};
use std::{fmt, path::Path};
use tree::Tree;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Path from the root of the workspace.
    file: String,
    /// 1-based; 0 = the whole file.
    line: usize,
    what: String,
    remedy: String,
}

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { file: file.into(), line, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.file, self.line.max(1), self.what, self.remedy)
    }
}

/// Checks the whole work tree below `root`; prints what it finds.
///
/// # Errors
/// When there is a finding, or when the tree or cargo's metadata cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::load(root).context("reading the work tree")?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root)
        .exec()
        .context("running `cargo metadata`")?;
    let policy = licences::Policy::parse(tree.text("deny.toml").unwrap_or_default())
        .context("reading deny.toml")?;

    let mut findings = Vec::new();
    findings.extend(files::check(&tree));
    findings.extend(source::check(&tree));
    findings.extend(arrows::check(&metadata));
    findings.extend(crates::check(&tree, &metadata)?);
    findings.extend(licences::check(&policy, &metadata));
    findings.extend(claims::check(&tree));
    findings.extend(links::check(&tree));
    findings.sort();

    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} finding(s) in {} files", findings.len(), tree.files.len());
    }
    eprintln!("tidy: {} files, nothing to say", tree.files.len());
    Ok(())
}
