//! Wildcard patterns as Windows' file systems match them (`FsRtlIsNameInExpression`,
//! `PrjFileNameMatch`).
//!
//! Beside `*` and `?` there are three that Win32 makes from DOS patterns such as `*.` and `??.txt`:
//! `<` is a star that stops before the last dot, `>` is a question mark that may match nothing
//! before a dot or at the end, `"` is a dot or nothing at the end.

use crate::{fold::upper, names::UNITS_MAX};

const STAR: u16 = b'*' as u16;
const ONE: u16 = b'?' as u16;
const DOS_STAR: u16 = b'<' as u16;
const DOS_ONE: u16 = b'>' as u16;
const DOS_DOT: u16 = b'"' as u16;
const DOT: u16 = b'.' as u16;

/// Units of a pattern; longer ones match nothing, since no name is longer and the work is bounded.
pub const PATTERN_UNITS_MAX: usize = 4 * UNITS_MAX;

/// A search expression, ready to be matched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(Vec<u16>);

impl Pattern {
    /// `None`, empty and `*` match every name.
    #[must_use]
    pub fn new(expression: Option<&[u16]>) -> Pattern {
        let expression = expression.filter(|expression| !expression.is_empty()).unwrap_or(&[STAR]);
        Pattern(expression.iter().copied().map(upper).collect())
    }

    /// Whether the pattern stands for more than one name.
    #[must_use]
    pub fn has_wildcards(&self) -> bool {
        self.0.iter().any(|unit| [STAR, ONE, DOS_STAR, DOS_ONE, DOS_DOT].contains(unit))
    }

    /// Whether `name` matches, whatever its case. Takes at most pattern x name steps.
    #[must_use]
    pub fn matches(&self, name: &[u16]) -> bool {
        if self.0 == [STAR] {
            return true;
        }
        if self.0.len() > PATTERN_UNITS_MAX || name.len() > UNITS_MAX {
            return false;
        }
        // `tail[at]`: what remains of the pattern matches what remains of the name from `at` on.
        let last_dot = name.iter().rposition(|&unit| unit == DOT);
        let mut tail = vec![false; name.len() + 1];
        tail[name.len()] = true;
        for &unit in self.0.iter().rev() {
            let mut here = vec![false; name.len() + 1];
            for at in (0..=name.len()).rev() {
                let next = name.get(at).copied();
                let consumed = next.is_some() && tail[at + 1];
                let repeated = next.is_some() && here[at + 1];
                here[at] = match unit {
                    STAR => tail[at] || repeated,
                    DOS_STAR => tail[at] || (repeated && last_dot != Some(at)),
                    ONE => consumed,
                    DOS_ONE if next.is_none() || next == Some(DOT) => tail[at],
                    DOS_ONE => consumed,
                    DOS_DOT if next.is_none() => tail[at],
                    DOS_DOT => next == Some(DOT) && consumed,
                    _ => next.map(upper) == Some(unit) && consumed,
                };
            }
            tail = here;
        }
        tail[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let pattern: Vec<u16> = pattern.encode_utf16().collect();
        let name: Vec<u16> = name.encode_utf16().collect();
        Pattern::new(Some(&pattern)).matches(&name)
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("", "anything", true),
            ("a*z", "abcz", true),
            ("a*z", "abc", false),
            ("*.txt", "A.TXT", true),
            ("*.txt", "atxt", false),
            ("?", "", false),
            ("??", "ab", true),
            ("??", "a", false),
            ("*a*a*a*", "aa", false),
            ("readme", "README", true),
            ("readme", "readme2", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn dos_wildcards() {
        for (pattern, name, expected) in [
            // `dir *.` asks for names without an extension.
            ("<", "makefile", true),
            ("<", "a.c", false),
            ("<.c", "a.b.c", true),
            ("<.b.c", "a.b.c", true),
            ("<.b", "a.b.c", false),
            // `dir ??.txt`
            (">>.txt", "a.txt", true),
            (">>.txt", "ab.txt", true),
            (">>.txt", "abc.txt", false),
            (">>>", "a", true),
            // `dir a.*` also finds `a`.
            ("a\"*", "a", true),
            ("a\"*", "a.b", true),
            ("a\"*", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn wildcards_are_told_from_names() {
        let pattern = |text: &str| Pattern::new(Some(&text.encode_utf16().collect::<Vec<_>>()));
        assert!(pattern("a<").has_wildcards() && Pattern::new(None).has_wildcards());
        assert!(!pattern("a.txt").has_wildcards());
    }

    #[test]
    fn absurd_patterns_match_nothing_in_bounded_time() {
        assert!(!matches(&"*".repeat(PATTERN_UNITS_MAX + 1), "a"));
        assert!(matches(&"*".repeat(PATTERN_UNITS_MAX), &"a".repeat(UNITS_MAX)));
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_and_any_star_in_it(name in "[a-z.]{1,20}", at in 0_usize..20) {
            prop_assert!(matches(&name, &name.to_uppercase()));
            let mut starred = name.clone();
            starred.insert(at.min(name.len()), '*');
            prop_assert!(matches(&starred, &name));
            starred.push('x');
            let longer = name + "x";
            prop_assert!(matches(&starred, &longer));
        }
    }
}
