//! Ending a process by its number, and knowing that it has ended.

use crate::wait::wait_until;
use rustix::process::{Pid, Signal, kill_process};

/// Ends a process that a test has started, without a chance to tidy up, and waits until it is gone.
#[track_caller]
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
    wait_until("the killed process is gone", || gone(pid));
}

/// The processes that `pid` has started and that still run.
pub fn children(pid: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|&child| parent(child) == Some(pid) && !gone(child)).collect()
}

/// The fourth field of `/proc/PID/stat` (proc_pid_stat(5)).
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

/// Whether it has ended and let go of its files. One that nobody has reaped yet has ended when its
/// main thread is the only one left.
pub fn gone(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    matches!(state, Some('Z' | 'X') | None) && threads() <= 1
}
