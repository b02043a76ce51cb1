//! Rules about the text of Rust sources.

use super::{
    Finding,
    functions::functions,
    mask::{line_of, mask, words},
    tree::Tree,
};

/// Lines of a function, from `fn` to its closing brace: a screen.
const FUNCTION_LINES: usize = 60;

/// Where `unsafe` may stand, and why. A prefix of the path from the root.
const UNSAFE_ALLOWED: [(&str, &str); 9] = [
    ("cache/src/platform/", "leases, and what NTFS wants asked, which have no safe form"),
    ("tests/projectedfslib/", "the functions of a Windows library, and calls of them"),
    ("meshdrive/src/system/windows/", "asks Windows: rights, console, registry"),
    ("meshdrive/src/daemon/memory.rs", "asks the C library to give memory back"),
    ("tests/tests/passthrough.rs", "mappings that outlive their file"),
    ("fuse-linux/", "talks to the kernel: ioctl, mount descriptors"),
    ("projfs-windows/", "loads and calls a system library"),
    (
        "tests/tests/posix/",
        "calls of the C library that have no safe form: locks, seekdir, mappings",
    ),
    ("tests/tests/reference/side.rs", "mappings, and one thread's identity for files"),
];

/// Code that says "later".
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(|(path, text)| check_file(path, text)).collect()
}

fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let masked = mask(text);
    let mut findings = if is_test(path) { Vec::new() } else { long_functions(path, &masked) };
    findings.extend(unfinished(path, text, &masked));
    if !UNSAFE_ALLOWED.iter().any(|(prefix, _)| path.starts_with(prefix)) {
        findings.extend(words(&masked, "unsafe").map(|at| {
            let remedy = "use a safe interface, or add the place with a reason to tidy's list";
            Finding::new(path, line_of(&masked, at), "`unsafe` outside the drivers", remedy)
        }));
    }
    findings
}

/// Tables of cases are long, and a table is easier to read than its pieces.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/examples/")
}

fn long_functions(path: &str, masked: &str) -> Vec<Finding> {
    let long = functions(masked).into_iter().filter(|function| function.lines > FUNCTION_LINES);
    long.map(|function| {
        let what = format!(
            "function `{}` has {} lines, more than {FUNCTION_LINES}",
            function.name, function.lines
        );
        Finding::new(path, function.line, what, "move a step of it into a function of its own")
    })
    .collect()
}

fn unfinished(path: &str, text: &str, masked: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for word in UNFINISHED {
        let calls = words(masked, word)
            .filter(|at| masked[at + word.len()..].trim_start().starts_with('!'));
        findings.extend(calls.map(|at| {
            Finding::new(
                path,
                line_of(masked, at),
                format!("`{word}!`"),
                "finish it or take it out",
            )
        }));
    }
    // Comments count for this one, so the raw text is searched.
    let later = concat!("FIX", "ME");
    findings.extend(words(text, later).map(|at| {
        Finding::new(path, line_of(text, at), later, "fix it, or open an issue and say what is so")
    }));
    findings.extend(masked.match_indices(concat!("#[ig", "nore")).map(|(at, _)| {
        let remedy = "let the test check at run time and report itself as skipped";
        Finding::new(path, line_of(masked, at), "an ignored test", remedy)
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(path: &str, text: &str) -> Vec<(usize, String)> {
        let found = check_file(path, text).into_iter();
        found.map(|finding| (finding.line, finding.what)).collect()
    }

    #[test]
    fn sixty_lines_pass_and_sixty_one_do_not() {
        let body = |lines: usize| format!("fn f() {{\n{}}}\n", "    x;\n".repeat(lines - 2));
        assert!(what("a.rs", &body(60)).is_empty());
        let expected = "function `f` has 61 lines, more than 60".to_owned();
        assert_eq!(what("a.rs", &body(61)), [(1, expected)]);
    }

    #[test]
    fn unfinished_code_is_found_in_code_only() {
        let text =
            concat!("// to", "do!() here\nfn f() {\n    to", "do!();\n    \"dbg!(x)\";\n}\n");
        assert_eq!(what("a.rs", text), [(3, "`todo!`".to_owned())]);
        assert!(what("a.rs", "fn todo() { assert!(dbg); }").is_empty());
    }

    #[test]
    fn marks_in_comments_and_ignored_tests_are_found() {
        let text = concat!("// FIX", "ME later\n#[test]\n#[ig", "nore = \"slow\"]\nfn t() {}\n");
        let lines: Vec<_> = what("a.rs", text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 3]);
    }

    #[test]
    fn unsafe_is_for_drivers() {
        let text = "// unsafe\n#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        assert_eq!(what("cache/src/a.rs", text).len(), 1);
        assert!(what("fuse-linux/src/a.rs", text).is_empty());
    }
}
