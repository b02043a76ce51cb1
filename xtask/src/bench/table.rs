//! The table, as text and as a page.

use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Met,
    Missed,
    /// A figure without a target.
    Told,
    Failed,
}

impl Outcome {
    pub(super) fn of(met: bool) -> Outcome {
        if met { Outcome::Met } else { Outcome::Missed }
    }

    fn word(self) -> &'static str {
        match self {
            Outcome::Met => "yes",
            Outcome::Missed => "**no**",
            Outcome::Told => "",
            Outcome::Failed => "**failed**",
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(super) struct Line {
    work: String,
    base: String,
    ours: String,
    ratio: String,
    target: String,
    outcome: Outcome,
}

impl Line {
    pub(super) fn of(work: impl Into<String>) -> Line {
        let none = String::new;
        let (base, ours, ratio, target) = (none(), none(), none(), none());
        Line { work: work.into(), base, ours, ratio, target, outcome: Outcome::Told }
    }

    pub(super) fn base(mut self, text: impl Into<String>) -> Line {
        self.base = text.into();
        self
    }

    pub(super) fn ours(mut self, text: impl Into<String>) -> Line {
        self.ours = text.into();
        self
    }

    pub(super) fn ratio(mut self, ratio: f64) -> Line {
        self.ratio = format!("{ratio:.2}x");
        self
    }

    pub(super) fn target(mut self, text: impl Into<String>, met: bool) -> Line {
        self.target = text.into();
        self.outcome(Outcome::of(met))
    }

    pub(super) fn outcome(mut self, outcome: Outcome) -> Line {
        self.outcome = outcome;
        self
    }

    fn cells(&self) -> [&str; 6] {
        let word = self.outcome.word();
        [&self.work, &self.base, &self.ours, &self.ratio, &self.target, word]
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cells().join(" | "))
    }
}

const HEAD: [&str; 6] = ["work", "baseline", "Meshdrive", "ratio", "target", "met"];

/// A table that reads well both as Markdown and in a terminal.
pub(super) fn render(lines: &[Line]) -> String {
    let rows: Vec<[&str; 6]> = [HEAD].into_iter().chain(lines.iter().map(Line::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).filter_map(width).collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, &width) in row.iter().zip(&widths) {
            out.push_str(&format!("| {cell:width$} "));
        }
        out.push_str("|\n");
        if number == 0 {
            for width in &widths {
                out.push_str(&format!("|{}", "-".repeat(width + 2)));
            }
            out.push_str("|\n");
        }
    }
    out
}

/// `docs/benchmarks.md`.
pub(super) fn page(lines: &[Line], machine: &str) -> String {
    format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`, which runs every row against its baseline in the same run: slices of the two take\n\
         turns and medians are compared, so that a busy machine slows both. Absolute figures are this machine's and this\n\
         day's; the ratios are the point. `cargo xtask bench --only ROW` repeats one row (`--help` lists them).\n\n\
         {machine}\n\n{}\n\
         How each row is measured is said at the top of its file in `xtask/src/bench/rows`.\n",
        render(lines)
    )
}

/// The section of a page that begins with `heading`, up to the next one; empty if there is none.
pub(super) fn section_of(page: &str, heading: &str) -> String {
    let Some(start) = page.find(heading) else { return String::new() };
    let rest = &page[start..];
    let end = rest[heading.len()..].find("\n## ").map_or(rest.len(), |at| heading.len() + at + 1);
    rest[..end].to_owned()
}

/// The page with its section replaced, or added at its end; an empty one is left out.
pub(super) fn splice(page: &str, heading: &str, section: &str) -> String {
    let old = section_of(page, heading);
    let rest = if old.is_empty() { page.to_owned() } else { page.replacen(&old, "", 1) };
    let rest = rest.trim_end();
    if section.is_empty() {
        format!("{rest}\n")
    } else {
        format!("{rest}\n\n{}\n", section.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_others_stay() {
        let page = splice("# Page\n\ntext\n", "## A", "## A\n\none\n");
        let page = splice(&page, "## B", "## B\n\ntwo\n");
        let page = splice(&page, "## A", "## A\n\nthree\n");
        assert_eq!(page, "# Page\n\ntext\n\n## B\n\ntwo\n\n## A\n\nthree\n");
        assert_eq!(section_of(&page, "## B").trim_end(), "## B\n\ntwo");
        assert_eq!(section_of(&page, "## C"), "");
        assert_eq!(splice("one\n", "## A", ""), "one\n");
    }

    #[test]
    fn cells_stand_below_each_other() {
        let line = Line::of("read").base("1 s").ours("2 µs").ratio(2.0).target("<= 3x", true);
        assert_eq!(
            render(&[line]),
            "| work | baseline | Meshdrive | ratio | target | met |\n\
             |------|----------|-----------|-------|--------|-----|\n\
             | read | 1 s      | 2 µs      | 2.00x | <= 3x  | yes |\n"
        );
    }
}
