//! Rules about files as such: names, sizes, text.

use super::{Finding, tree::Tree};

/// Lines of a source file; a second room is in there somewhere.
const FILE_LINES: usize = 600;
/// Lines of a `lib.rs`: a table of contents.
const LIB_LINES: usize = 100;
/// Bytes of any file in git: 512 KiB.
const FILE_BYTES: u64 = 512 << 10;
/// Bytes of a binary file among golden data: 64 KiB.
const GOLDEN_BYTES: u64 = 64 << 10;
/// Drawers that things get lost in.
const DRAWERS: [&str; 8] =
    ["utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        findings.extend(drawer(&file.path));
        findings.extend(weight(&file.path, file.size, file.text.is_some()));
    }
    for (path, text) in tree.rust() {
        findings.extend(lines(path, text.lines().count()));
    }
    findings
}

fn drawer(path: &str) -> Option<Finding> {
    let named = path.split('/').find(|part| {
        let stem = part.split_once('.').map_or(*part, |(stem, _)| stem);
        DRAWERS.contains(&stem)
    })?;
    let remedy = "name it after the one thing it holds";
    Some(Finding::new(path, 0, format!("`{named}` says nothing"), remedy))
}

fn weight(path: &str, size: u64, is_text: bool) -> Option<Finding> {
    if size > FILE_BYTES {
        let what = format!("{} KiB, more than {} KiB", size >> 10, FILE_BYTES >> 10);
        return Some(Finding::new(path, 0, what, "make it when it is needed, or keep it outside"));
    }
    let golden = is_golden(path) && size <= GOLDEN_BYTES;
    (!is_text && !golden).then(|| {
        let remedy = "keep text only; small binary test data belongs under a `golden/` folder";
        Finding::new(path, 0, "a binary file", remedy)
    })
}

fn is_golden(path: &str) -> bool {
    path.split('/').any(|part| part == "golden")
}

/// Tests and golden data may be long: they are read one case at a time.
fn is_test(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    parts.last() == Some(&"tests.rs") || parts[..parts.len() - 1].contains(&"tests")
}

fn lines(path: &str, count: usize) -> Option<Finding> {
    let lib = path.ends_with("src/lib.rs");
    let limit = if lib { LIB_LINES } else { FILE_LINES };
    if count <= limit || is_test(path) || is_golden(path) {
        return None;
    }
    let remedy = if lib { "move code into modules" } else { "find the second room in it" };
    Some(Finding::new(path, count, format!("{count} lines, more than {limit}"), remedy))
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn long_files_are_found_but_not_tests() {
        let long = "\n".repeat(601);
        let edge = "\n".repeat(600);
        let contents = "\n".repeat(101);
        let found = check(&tree(&[
            ("a/src/long.rs", &long),
            ("a/src/edge.rs", &edge),
            ("a/src/foo/tests.rs", &long),
            ("a/tests/mount.rs", &long),
            ("tests/tests/x.rs", &long),
            ("a/golden/data.rs", &long),
            ("a/src/lib.rs", &contents),
        ]));
        let paths: Vec<_> = found.iter().map(|finding| finding.file.as_str()).collect();
        assert_eq!(paths, ["a/src/long.rs", "a/src/lib.rs"]);
    }

    #[test]
    fn drawers_are_found_by_whole_names_only() {
        assert!(drawer("a/src/utils.rs").is_some());
        assert!(drawer("a/src/helpers/mod.rs").is_some());
        assert!(drawer("a/src/commonplace.rs").is_none());
        assert!(drawer("a/src/task_manager.rs").is_none());
    }

    #[test]
    fn binaries_and_large_files_are_found() {
        assert!(weight("a.txt", FILE_BYTES, true).is_none());
        assert!(weight("a.txt", FILE_BYTES + 1, true).is_some());
        assert!(weight("a.bin", 10, false).is_some());
        assert!(weight("a/golden/a.bin", 10, false).is_none());
        assert!(weight("a/golden/a.bin", GOLDEN_BYTES + 1, false).is_some());
    }
}
