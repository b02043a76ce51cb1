//! Each claim in SEMANTICS.md names a test, and that test exists; each claim test is named there.

use super::{
    Finding,
    mask::{line_of, mask, words},
    tree::Tree,
};

const PAGE: &str = "SEMANTICS.md";
/// Where the claims run; until something is there, nothing is checked.
const TESTS: &str = "tests/tests/semantics/";
/// What the name of every claim's test begins with.
const PREFIX: &str = "claim_";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files: Vec<(&str, String)> = tree
        .rust()
        .filter(|(path, _)| path.starts_with(TESTS))
        .map(|(path, text)| (path, mask(text)))
        .collect();
    if files.is_empty() {
        return Vec::new();
    }
    let page = tree.text(PAGE).unwrap_or_default();
    let written: Vec<(&str, usize, &str)> = files
        .iter()
        .flat_map(|(path, code)| {
            claims_of_tests(code).into_iter().map(|(at, name)| (*path, at, name))
        })
        .collect();
    let named: Vec<(usize, &str)> = claims_of_page(page);

    let missing = named.iter().filter(|(_, name)| !written.iter().any(|(.., test)| test == name));
    let unnamed = written.iter().filter(|(.., test)| !named.iter().any(|(_, name)| name == test));
    missing
        .map(|(line, name)| {
            let what = format!("no test `{name}` in {TESTS}");
            Finding::new(PAGE, *line, what, "write the test, or take the claim back")
        })
        .chain(unnamed.map(|(path, line, name)| {
            let what = format!("`{name}` runs no claim of {PAGE}");
            Finding::new(path, *line, what, "add the claim, or name the test otherwise")
        }))
        .collect()
}

/// Functions of the test file whose name begins with `claim_`, with their lines.
fn claims_of_tests(code: &str) -> Vec<(usize, &str)> {
    words(code, "fn")
        .filter_map(|at| {
            let name = identifier(code[at + 2..].trim_start());
            name.starts_with(PREFIX).then(|| (line_of(code, at), name))
        })
        .collect()
}

/// Names in back quotes on the page that begin with `claim_`, with their lines.
fn claims_of_page(page: &str) -> Vec<(usize, &str)> {
    let lines = page.lines().enumerate();
    lines
        .flat_map(|(at, line)| line.split('`').skip(1).step_by(2).map(move |word| (at + 1, word)))
        .filter_map(|(line, word)| {
            let name = word.rsplit("::").next().unwrap_or(word);
            (name.starts_with(PREFIX) && identifier(name) == name).then_some((line, name))
        })
        .collect()
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn claims_and_tests_must_match() {
        let page = "| S1 | `claim_one` |\n| S2 | `claim_two` |\nNot `claim_...` nor claim_three.\n";
        let tests = "// fn claim_two() {}\n#[test]\nfn claim_one() {}\nfn claim_four() {}\n";
        let file = "tests/tests/semantics/some.rs";
        let found = check(&tree(&[(PAGE, page), (file, tests)]));
        let where_what: Vec<_> =
            found.iter().map(|finding| (finding.file.as_str(), finding.line)).collect();
        assert_eq!(where_what, [(PAGE, 2), (file, 4)]);
    }

    #[test]
    fn nothing_is_checked_before_the_tests_exist() {
        assert!(check(&tree(&[(PAGE, "`claim_one`")])).is_empty());
    }
}
