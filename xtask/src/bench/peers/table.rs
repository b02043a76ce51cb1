//! The table of all contenders, and its section of the page.

use super::{Cell, Figures};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Better {
    Less,
    More,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Seconds,
    MegabytesPerSecond,
    Times,
    Kilobytes,
}

use Better::{Less, More};
use Unit::{Kilobytes, MegabytesPerSecond, Seconds, Times};

/// All figures, in the order of the table.
const METRICS: &[(&str, &str, Unit, Better)] = &[
    ("write", "write 1 GiB, with close", Seconds, Less),
    ("write-stored", "… whole in the store", Seconds, Less),
    ("untar", "untar 10,000 files of 1-16 KiB", Seconds, Less),
    ("untar-stored", "… all in the store", Seconds, Less),
    ("clone", "git clone of 500 files", Seconds, Less),
    ("clone-stored", "… all in the store", Seconds, Less),
    ("git-status", "git status after it", Seconds, Less),
    ("git-status-cold", "git status, mounted anew", Seconds, Less),
    ("first-byte", "first 4 KiB of a 1 GiB file, cold", Seconds, Less),
    ("random", "random 4 KiB of it, cold, p50", Seconds, Less),
    ("amplified", "… bytes fetched for a byte asked", Times, Less),
    ("read", "read it in order, cold", MegabytesPerSecond, More),
    ("warm", "… again, from the local cache", MegabytesPerSecond, More),
    ("hot", "… again, from the page cache", MegabytesPerSecond, More),
    ("random-warm", "random 4 KiB from the local cache, p50", Seconds, Less),
    ("random-hot", "… from the page cache, p50", Seconds, Less),
    ("find", "find over the 10,000, cold", Seconds, Less),
    ("find-again", "… again", Seconds, Less),
    ("list", "ls -lR, cold", Seconds, Less),
    ("list-again", "… again", Seconds, Less),
    ("grep", "grep -r, cold", Seconds, Less),
    ("grep-again", "… again", Seconds, Less),
    ("rename", "rename the folder of the 10,000", Seconds, Less),
    ("edit-up", "4 KiB changed in 256 MiB, cold: sent", Kilobytes, Less),
    ("edit-down", "… fetched", Kilobytes, Less),
    ("append-up", "1 MiB appended to it: sent", Kilobytes, Less),
    ("append-down", "… fetched", Kilobytes, Less),
    ("slow-first-byte", "slow line: first 4 KiB", Seconds, Less),
    ("slow-read", "slow line: read 128 MiB", Seconds, Less),
    ("slow-list", "slow line: ls -lR of the 10,000", Seconds, Less),
    ("slow-copy-out", "slow line: 1,000 files copied out", Seconds, Less),
    ("slow-untar", "slow line: untar 1,000 files", Seconds, Less),
    ("slow-untar-stored", "… all in the store", Seconds, Less),
];

/// The baseline and our own column; the peers follow.
const OURS: usize = 1;

pub(super) fn render(columns: &[(String, Figures)]) -> String {
    let mut head = vec!["work".to_owned()];
    head.extend(columns.iter().map(|(name, _)| name.clone()));
    head.push("ahead of the peers".into());
    let mut rows = vec![head];
    for &(key, label, unit, better) in METRICS {
        let cells: Vec<Option<&Cell>> = columns.iter().map(|(_, all)| all.get(key)).collect();
        let mut row = vec![label.to_owned()];
        row.extend(cells.iter().map(|cell| show(*cell, unit)));
        row.push(verdict(&cells, better).into());
        rows.push(row);
    }
    aligned(&rows)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..count).filter_map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, &width) in row.iter().zip(&widths) {
            text.push_str(&format!("| {cell:width$} "));
        }
        text.push_str("|\n");
        if number == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

fn show(cell: Option<&Cell>, unit: Unit) -> String {
    match cell {
        None => "–".into(),
        // A cell is narrow: the words of a failure were printed when it happened.
        Some(Err(why)) if why.starts_with('>') || why.len() < 10 => why.clone(),
        Some(Err(_)) => "failed".into(),
        Some(Ok(value)) => match unit {
            Seconds => super::super::measure::show(std::time::Duration::from_secs_f64(*value)),
            MegabytesPerSecond => format!("{value:.0} MB/s"),
            Times => format!("{value:.1}"),
            Kilobytes => format!("{value:.1} kB"),
        },
    }
}

/// Whether ours is at least as good as every peer that got so far.
fn verdict(cells: &[Option<&Cell>], better: Better) -> &'static str {
    let value = |cell: &Option<&Cell>| cell.and_then(|cell| cell.as_ref().ok().copied());
    let peers: Vec<f64> = cells.iter().skip(OURS + 1).filter_map(value).collect();
    match cells.get(OURS).and_then(value) {
        None => "**no**",
        Some(_) if peers.is_empty() => "alone",
        Some(ours) => {
            let ahead = peers.iter().all(|peer| match better {
                Less => ours <= *peer,
                More => ours >= *peer,
            });
            if ahead { "yes" } else { "**no**" }
        }
    }
}

const HEADING: &str = "## Peers on the same work";

pub(super) fn section(table: &str, machine: &str, versions: &str) -> String {
    format!(
        "{HEADING}\n\n\
         Written by `cargo xtask bench --peers`: {versions}, as separate programs from the Python package index, over the S3\n\
         that `rclone serve s3` gives of a folder, which is not the fastest store; JuiceFS keeps its names in Redis. Everything\n\
         is on the loopback of one machine, one run a cell, one contender after the other, so differences below a third say\n\
         little. Cold: mounted anew with an empty cache (ext4: contents out of the page cache, names in memory). Slow line:\n\
         round trips of 40 ms, 200 Mbit/s each way, for names too. A cell that took over a minute says so.\n\n\
         {machine}\n\n{table}"
    )
}

/// The page with its section replaced, or added at its end.
pub(in crate::bench) fn splice(page: &str, section: &str) -> String {
    crate::bench::table::splice(page, HEADING, section)
}

/// The section of a page, if it has one.
pub(in crate::bench) fn keep_section(page: &str) -> String {
    crate::bench::table::section_of(page, HEADING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_replaced_and_kept() {
        let page = splice("# Benchmarks\n\ntext\n", &section("|a|\n", "machine", "x 1"));
        assert!(page.starts_with("# Benchmarks\n\ntext\n\n## Peers"), "{page}");
        let again = splice(&page, &section("|b|\n", "machine", "x 2"));
        assert!(again.contains("|b|") && !again.contains("|a|"), "{again}");
        let anew = splice("# Benchmarks\n\nother\n", &keep_section(&again));
        assert!(anew.contains("other") && anew.contains("|b|"), "{anew}");
        assert_eq!(splice("one\n", ""), "one\n");
    }

    #[test]
    fn the_best_peer_decides() {
        let (two, three, failed) = (Ok(2.0), Ok(3.0), Err("> 60 s".to_owned()));
        let cells = |ours, peer| [None, Some(ours), Some(peer), None];
        assert_eq!(verdict(&cells(&two, &three), Less), "yes");
        assert_eq!(verdict(&cells(&two, &three), More), "**no**");
        assert_eq!(verdict(&cells(&failed, &three), Less), "**no**");
        assert_eq!(verdict(&cells(&two, &failed), Less), "alone");
    }
}
