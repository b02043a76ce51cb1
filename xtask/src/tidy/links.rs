//! Links between the pages of the project lead somewhere.

use super::{Finding, tree::Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    pages
        .filter_map(|page| Some((page.path.as_str(), page.text.as_deref()?)))
        .flat_map(|(path, text)| check_page(tree, path, text))
        .collect()
}

fn check_page(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let elsewhere = target.is_empty() || target.contains("://");
            if !elsewhere && !exists(tree, &resolve(path, target)) {
                let what = format!("`{target}` does not exist");
                findings.push(Finding::new(path, at + 1, what, "correct the link"));
            }
        }
    }
    findings
}

fn exists(tree: &Tree, path: &str) -> bool {
    let folder = format!("{path}/");
    tree.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
}

/// `target` as seen from the page `from`, as a path from the root.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn only_dead_links_are_found() {
        let page = "[a](b.md) [c](../README.md#top) [d](gone.md)\n\n[e](https://example.org/x) [f](#here)\n\
                    [g](adr) ![h](../no.png)\n";
        let files =
            [("docs/a.md", page), ("docs/b.md", ""), ("README.md", ""), ("docs/adr/1.md", "")];
        let found = check(&tree(&files));
        let lines: Vec<_> = found.iter().map(|finding| (finding.line, &finding.what[..])).collect();
        assert_eq!(lines, [(1, "`gone.md` does not exist"), (4, "`../no.png` does not exist")]);
    }
}
