//! What each contender does, in order.

use super::{
    Figures, Input, Way,
    contender::Contender,
    work::{self, Work},
};
use crate::bench::Bench;
use anyhow::{Result, bail};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// The most that one cell may take, and the time until everything is in the store after it.
const CELL: Duration = Duration::from_secs(60);

/// For work that needs nothing from elsewhere.
const NONE: &str = "-";

/// A contender at work until its time is over.
struct Run<'a> {
    bench: &'a Bench,
    contender: &'a mut dyn Contender,
    figures: Figures,
    way: Way,
    end: Instant,
}

/// Does all of it; what fails or takes too long is noted, and the next piece is tried.
pub(super) fn run(
    bench: &Bench,
    input: &Input,
    contender: &mut dyn Contender,
    end: Instant,
) -> Figures {
    let mut run = Run { bench, contender, figures: Figures::new(), way: Way::Direct, end };
    run.fill(input);
    run.cold(input);
    run.slow(input);
    run.figures
}

impl Run<'_> {
    /// What is written, and when it is in the store.
    fn fill(&mut self, input: &Input) {
        self.mount(Way::Direct);
        self.write(Work::CopyIn, &input.large, "large", ["write", "write-stored"]);
        self.write(Work::Untar, &input.tree, "", ["untar", "untar-stored"]);
        self.write(Work::Clone, &input.repository, "clone", ["clone", "clone-stored"]);
        self.cell(Work::GitStatus, Path::new(NONE), "clone", &["git-status"]);
        // The rest is only prepared.
        for (work, from, name) in [
            (Work::CopyIn, &input.edited, "edited"),
            (Work::CopyIn, &input.slow, "slow"),
            (Work::Untar, &input.few, ""),
        ] {
            self.cell(work, from, name, &["prepared"]);
        }
        let _ = self.contender.settle(CELL);
        self.figures.remove("prepared");
    }

    /// Everything from a mount that has nothing local.
    fn cold(&mut self, _: &Input) {
        let none = Path::new(NONE);
        self.mount(Way::Counted);
        self.cell(Work::FirstByte, none, "large", &["first-byte"]);
        self.mount(Way::Counted);
        let before = self.contender.traffic().1;
        self.cell(Work::Random, none, "large", &["random"]);
        if self.contender.is_remote() {
            let fetched = self.contender.traffic().1.saturating_sub(before);
            self.figures.insert("amplified", Ok(fetched as f64 / work::RANDOM_BYTES as f64));
        }
        self.mount(Way::Direct);
        self.cell(Work::Read, none, "large", &["read", "warm", "hot"]);
        self.cell(Work::RandomWarm, none, "large", &["random-warm", "random-hot"]);
        for (work, name, figures) in [
            (Work::Find, "tree", ["find", "find-again"]),
            (Work::List, "tree", ["list", "list-again"]),
            (Work::Grep, "tree", ["grep", "grep-again"]),
        ] {
            self.mount(Way::Direct);
            self.cell(work, none, name, &figures);
        }
        self.mount(Way::Direct);
        self.cell(Work::GitStatus, none, "clone", &["git-status-cold"]);
        self.cell(Work::Rename, none, "tree", &["rename"]);
        self.mount(Way::Counted);
        self.traffic_of(Work::Edit, "edited", ["edit-up", "edit-down"]);
        self.traffic_of(Work::Append, "edited", ["append-up", "append-down"]);
    }

    /// Over the slow line.
    fn slow(&mut self, input: &Input) {
        if !self.contender.is_remote() {
            return;
        }
        let none = Path::new(NONE);
        for (work, from, name, figure) in [
            (Work::FirstByte, none, "slow", "slow-first-byte"),
            (Work::ReadOnce, none, "slow", "slow-read"),
            (Work::CopyOut, self.bench.folder.as_path(), "few", "slow-copy-out"),
        ] {
            self.mount(Way::Slow);
            self.cell(work, from, name, &[figure]);
        }
        self.mount(Way::Slow);
        // The rename may not have gone well everywhere.
        let tree = if self.contender.root().join("renamed").exists() { "renamed" } else { "tree" };
        self.cell(Work::List, none, tree, &["slow-list", "slow-list-again"]);
        self.figures.remove("slow-list-again");
        self.write(Work::Untar, &input.few, "again", ["slow-untar", "slow-untar-stored"]);
    }

    fn mount(&mut self, way: Way) {
        self.way = way;
        if Instant::now() < self.end
            && let Err(error) = self.contender.mount(way)
        {
            eprintln!("   mounting: {error:#}");
        }
    }

    /// Some work and its figures.
    fn cell(&mut self, work: Work, from: &Path, name: &str, figures: &[&'static str]) {
        let start = Instant::now();
        let found = self.perform(work, from, name);
        let took = start.elapsed().as_secs_f64();
        match &found {
            Ok(values) => eprintln!("   {figures:?} {values:?} ({took:.1} s)"),
            Err(error) => eprintln!("   {figures:?} {error} ({took:.1} s)"),
        }
        for (number, figure) in figures.iter().enumerate() {
            let cell = match &found {
                Ok(values) => values.get(number).copied().ok_or_else(|| "–".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            self.figures.insert(figure, cell);
        }
    }

    fn perform(&mut self, work: Work, from: &Path, name: &str) -> Result<Vec<f64>> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("no time");
        }
        let limit = CELL.min(left);
        let found = work::start(self.bench, work, &self.contender.root(), from, name, limit);
        if found.is_err() {
            // What hangs is not waited for again.
            self.contender.end();
            self.mount(self.way);
        }
        found
    }

    /// Some work that writes, and the time from its start until all of it is in the store.
    fn write(&mut self, work: Work, from: &Path, name: &str, figures: [&'static str; 2]) {
        let start = Instant::now();
        self.cell(work, from, name, &figures[..1]);
        let stored = match self.contender.settle(CELL) {
            Ok(()) => Ok(start.elapsed().as_secs_f64()),
            Err(_) => Err(format!("> {} s", start.elapsed().as_secs())),
        };
        let is_done = self.figures.get(figures[0]).is_some_and(Result::is_ok);
        if self.contender.is_remote() && is_done {
            self.figures.insert(figures[1], stored);
        }
    }

    /// Bytes that cross the line because of some work, in kB.
    fn traffic_of(&mut self, work: Work, name: &str, figures: [&'static str; 2]) {
        let before = self.contender.traffic();
        self.cell(work, Path::new(NONE), name, &["unused"]);
        let is_done = matches!(self.figures.remove("unused"), Some(Ok(_)));
        if !self.contender.is_remote() {
            return;
        }
        let settled = is_done && self.contender.settle(CELL).is_ok();
        let after = self.contender.traffic();
        let bytes = [after.0.saturating_sub(before.0), after.1.saturating_sub(before.1)];
        for (figure, bytes) in figures.into_iter().zip(bytes) {
            let cell = if settled { Ok(bytes as f64 / 1e3) } else { Err("failed".into()) };
            self.figures.insert(figure, cell);
        }
    }
}
