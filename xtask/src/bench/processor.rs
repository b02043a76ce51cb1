//! What processes have used of the machine, from /proc.

use anyhow::{Context, Result};
use std::{fs, time::Duration};

/// Clock ticks a second in /proc/PID/stat (`USER_HZ`: 100 on every architecture that Linux has).
const TICKS: u64 = 100;

/// Time on the processor of a process and all its threads so far.
pub(super) fn used(pid: i32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("/proc/PID/stat")?;
    // The name, in parentheses, may have blanks: count from behind it.
    let (_, rest) = text.rsplit_once(") ").context("a name in parentheses")?;
    let ticks = |field: usize| rest.split(' ').nth(field)?.parse::<u64>().ok();
    let (user, system) = (ticks(11).context("utime")?, ticks(12).context("stime")?);
    Ok(Duration::from_millis((user + system) * 1_000 / TICKS))
}

/// Memory of a process in MiB: now, and the most it ever was.
pub(super) fn memory(pid: i32) -> Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let (now, most) = (field("VmRSS:"), field("VmHWM:"));
    Ok((now.context("VmRSS")? / 1024, most.context("VmHWM")? / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_the_processor_grows_with_work() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = used(own).unwrap();
        while used(own).unwrap() < before + Duration::from_millis(30) {}
        assert!(memory(own).unwrap().1 >= memory(own).unwrap().0);
    }
}
