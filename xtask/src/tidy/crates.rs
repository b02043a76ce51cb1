//! Rules about each crate of the workspace as a whole.

use super::{Finding, arrows::relative, tree::Tree};
use anyhow::{Context, Result};
use cargo_metadata::Metadata;
use toml::{Table, Value};

/// The tables of a manifest that hold dependencies.
const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

pub(super) fn check(tree: &Tree, metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let manifest = relative(package.manifest_path.as_str(), metadata);
        let folder = manifest.trim_end_matches("Cargo.toml").to_owned();
        if !tree.has(&format!("{folder}README.md")) {
            let remedy = "say in one paragraph what the crate does and does not do";
            findings.push(Finding::new(&manifest, 0, "the crate has no README.md", remedy));
        }
        let text =
            tree.text(&manifest).with_context(|| format!("{manifest} is not in the tree"))?;
        findings.extend(check_manifest(&manifest, text)?);
    }
    Ok(findings)
}

fn check_manifest(manifest: &str, text: &str) -> Result<Vec<Finding>> {
    let table: Table = text.parse().with_context(|| manifest.to_owned())?;
    let mut findings = Vec::new();
    let lints = table.get("lints").and_then(|lints| lints.get("workspace"));
    if lints.and_then(Value::as_bool) != Some(true) {
        let remedy = "add `[lints]` with `workspace = true`";
        findings.push(Finding::new(manifest, 0, "does not inherit the workspace's lints", remedy));
    }
    findings.extend(dependencies(&table).into_iter().filter_map(|(name, value)| {
        let shared = value.get("workspace").and_then(Value::as_bool) == Some(true);
        (!shared).then(|| {
            let what = format!("`{name}` has a version of its own");
            let remedy = "take it from [workspace.dependencies] with `workspace = true`";
            Finding::new(manifest, line_of_key(text, name), what, remedy)
        })
    }));
    Ok(findings)
}

/// Every dependency entry, also those under `[target.*]`.
fn dependencies(table: &Table) -> Vec<(&str, &Value)> {
    let targets = table.get("target").and_then(Value::as_table);
    let per_target = targets.into_iter().flat_map(|all| all.values()).filter_map(Value::as_table);
    let tables = std::iter::once(table).chain(per_target);
    tables
        .flat_map(|table| DEPENDENCIES.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flat_map(|entries| entries.iter().map(|(name, value)| (name.as_str(), value)))
        .collect()
}

fn line_of_key(text: &str, key: &str) -> usize {
    text.lines().position(|line| line.trim_start().starts_with(key)).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tidy_manifest_passes() {
        let text = "[lints]\nworkspace = true\n[dependencies]\na.workspace = true\n\
                    b = { workspace = true, features = [\"x\"] }\n";
        assert!(check_manifest("Cargo.toml", text).unwrap().is_empty());
    }

    #[test]
    fn own_versions_and_missing_lints_are_found() {
        let text = "[dependencies]\na = \"1\"\n[target.'cfg(unix)'.dev-dependencies]\n\
                    b = { version = \"2\" }\n";
        let found = check_manifest("Cargo.toml", text).unwrap();
        let lines: Vec<_> = found.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [0, 2, 4]);
    }
}
