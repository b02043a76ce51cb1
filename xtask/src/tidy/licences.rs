//! Licences and banned crates of everything that is resolved, after the lists in `deny.toml`. This
//! is the core of what cargo-deny does, so that the rule holds where cargo-deny is not installed.

use super::Finding;
use anyhow::{Context, Result};
use cargo_metadata::{Metadata, Package};
use toml::{Table, Value};

#[derive(Debug, Default)]
pub(super) struct Policy {
    allow: Vec<String>,
    /// Name and reason.
    deny: Vec<(String, String)>,
}

impl Policy {
    pub(super) fn parse(text: &str) -> Result<Policy> {
        let table: Table = text.parse()?;
        let list = |section: &str, key: &str| {
            let value = table.get(section).and_then(|section| section.get(key));
            value.and_then(Value::as_array).cloned().with_context(|| format!("no {section}.{key}"))
        };
        let text_of = |value: &Value, key: &str| {
            value.get(key).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
        };
        let allow = list("licenses", "allow")?;
        let deny = list("bans", "deny")?;
        Ok(Policy {
            allow: allow.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            deny: deny.iter().map(|ban| (text_of(ban, "crate"), text_of(ban, "reason"))).collect(),
        })
    }
}

pub(super) fn check(policy: &Policy, metadata: &Metadata) -> Vec<Finding> {
    metadata.packages.iter().flat_map(|package| check_package(policy, package)).collect()
}

fn check_package(policy: &Policy, package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    let label = format!("{} {}", package.name, package.version);
    if let Some((_, reason)) = policy.deny.iter().find(|(name, _)| *name == package.name.as_str()) {
        let what = format!("{label} is banned ({reason})");
        let remedy = "`cargo tree -i` names who asks for it; choose other features";
        findings.push(Finding::new("Cargo.lock", 0, what, remedy));
    }
    let remedy = "use another crate; deny.toml lists what may be used and why";
    match package.license.as_deref() {
        Some(expression) if accepted(expression, &policy.allow) => {}
        Some(expression) => {
            let what = format!("{label} has licence `{expression}`");
            findings.push(Finding::new("Cargo.lock", 0, what, remedy));
        }
        None => {
            let what = format!("{label} names no licence");
            findings.push(Finding::new("Cargo.lock", 0, what, remedy));
        }
    }
    findings
}

/// Whether the SPDX `expression` can be met by licences in `allow` alone. `/` is the old form of
/// `OR`. What cannot be parsed is refused.
fn accepted(expression: &str, allow: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens, allow };
    parser.any() == Some(true) && parser.tokens.is_empty()
}

/// Recursive descent over `OR` of `AND` of licence, licence `WITH` exception, or parentheses.
struct Parser<'a> {
    tokens: &'a [&'a str],
    allow: &'a [String],
}

impl Parser<'_> {
    fn any(&mut self) -> Option<bool> {
        let mut met = self.all()?;
        while self.eat("OR") {
            met |= self.all()?;
        }
        Some(met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.eat("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.eat("(") {
            let met = self.any()?;
            return self.eat(")").then_some(met);
        }
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        let mut licence = (*first).to_owned();
        if self.eat("WITH") {
            let (exception, rest) = self.tokens.split_first()?;
            self.tokens = rest;
            licence = format!("{licence} WITH {exception}");
        }
        Some(self.allow.contains(&licence))
    }

    fn eat(&mut self, word: &str) -> bool {
        match self.tokens.split_first() {
            Some((first, rest)) if *first == word => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged() {
        let allow: Vec<String> =
            ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(String::from).to_vec();
        for (expression, expected) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0", false),
            ("AGPL-3.0-only AND MIT", false),
            ("(MIT OR GPL-2.0) AND Apache-2.0", true),
            ("MIT AND (GPL-2.0 OR AGPL-3.0)", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH Classpath-exception-2.0", false),
            ("MIT MIT", false),
            ("(MIT", false),
            ("", false),
        ] {
            assert_eq!(accepted(expression, &allow), expected, "{expression}");
        }
    }

    #[test]
    fn the_policy_is_read_from_deny_toml() {
        let text = include_str!("../../../deny.toml");
        let policy = Policy::parse(text).unwrap();
        assert!(policy.allow.iter().any(|licence| licence == "MIT"));
        assert!(!policy.allow.iter().any(|licence| licence.contains("GPL")));
        assert!(policy.deny.iter().any(|(name, why)| name == "openssl-sys" && !why.is_empty()));
        assert!(Policy::parse("[bans]").is_err());
    }
}
