//! What the figures were measured on.

use super::output;
use std::{fs, path::Path, process::Command, thread::available_parallelism};

/// One sentence about the machine and the code.
pub(super) fn describe(root: &Path, folder: &Path) -> String {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or("", |(_, value)| value).trim().to_owned()
    };
    let cores = available_parallelism().map_or(0, usize::from);
    let memory = first("/proc/meminfo", "MemTotal");
    let memory: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let ask = |program: &str, arguments: &[&str]| {
        let asked = output(Command::new(program).args(arguments).current_dir(root));
        asked.map_or("unknown".to_owned(), |text| text.trim().to_owned())
    };
    // coreutils calls the whole family by its oldest names.
    let disk = ask("stat", &["-f", "-c", "%T", &folder.display().to_string()]);
    let disk = disk.replace("ext2/ext3", "ext4 (or an older ext)");
    format!(
        "Machine: {cores} cores of {}, {} GiB, Linux {}, files on {disk}; load at the end {}. Commit {} of {}, {}.",
        first("/proc/cpuinfo", "model name"),
        memory >> 20,
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        ask("git", &["rev-parse", "--short", "HEAD"]),
        ask("git", &["log", "-1", "--format=%cs"]),
        ask("rustc", &["--version"]),
    )
}
