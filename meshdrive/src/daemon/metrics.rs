//! The numbers of a mounted drive in the text format of OpenMetrics 1.0, which Prometheus reads.

use cloud::Traffic;
use protocol::control::DriveStatus;
use std::fmt::Write;

/// One family of one number. Counters only grow, until the daemon ends.
struct Metric {
    name: &'static str,
    help: &'static str,
    value: u64,
    is_counter: bool,
}

/// The page for one drive.
pub(super) fn render(status: &DriveStatus, traffic: Traffic) -> String {
    let gauge = |name, help, value| Metric { name, help, value, is_counter: false };
    let counter = |name, help, value| Metric { name, help, value, is_counter: true };
    let flag = |name, help, on: bool| gauge(name, help, u64::from(on));
    let over = status.cached_bytes.saturating_sub(status.quota_bytes);
    let lag = status.head_rev.saturating_sub(status.applied_rev);
    let oldest = status.oldest_pending_ms / 1_000;
    let metrics = [
        flag("online", "The store can be reached", status.online),
        flag("paused", "Sending is paused", status.paused),
        flag("tree_complete", "The whole tree is known here", status.complete),
        flag(
            "safe_to_switch_off",
            "Nothing here is missing in the store",
            status.safe_to_switch_off,
        ),
        gauge(
            "offline_seconds",
            "Since the store was last reached",
            status.offline_secs.unwrap_or(0),
        ),
        gauge("lag_revs", "Commits that the store has and this device has not applied", lag),
        gauge("pending_nodes", "Files and folders that are not in the store", status.pending_nodes),
        gauge("pending_bytes", "Their bytes still to be sent", status.pending_bytes),
        gauge("sending_nodes", "Of these, in the commit under way", status.sending_nodes),
        gauge("oldest_pending_seconds", "Age of the oldest unsent change", oldest),
        gauge("conflicts", "Conflicts that nobody has decided", status.conflicts),
        gauge("attention_nodes", "What cannot be sent until a person looks", status.attention),
        gauge("held_removals", "Removals that wait for approval", status.held_removals),
        gauge("held_rewrites", "Rewrites that wait for approval", status.held_rewrites),
        gauge("cached_bytes", "Local bytes", status.cached_bytes),
        gauge("dirty_bytes", "Local bytes that the store does not have", status.dirty_bytes),
        gauge("pinned_bytes", "Local bytes of pinned files", status.pinned_bytes),
        gauge("pin_missing_bytes", "Bytes of pinned files still to come", status.pin_missing_bytes),
        gauge("cache_limit_bytes", "What the local bytes may be at most", status.quota_bytes),
        gauge("over_cache_limit_bytes", "Local bytes above that limit", over),
        gauge("fetches", "Fetches under way", status.fetching),
        gauge("open_handles", "Files that programs have open", status.open_handles),
        gauge("uptime_seconds", "Since this daemon started", status.uptime_secs),
        gauge("daemon_crashes", "Daemons of this mount that crashed", status.crashes.into()),
        counter("requests", "Requests made to the store", traffic.requests),
        counter("sent_bytes", "Bytes of bodies sent", traffic.sent),
        counter("received_bytes", "Bytes of bodies received", traffic.received),
    ];
    let mut out = String::new();
    for metric in metrics {
        let Metric { name, help, value, is_counter } = metric;
        let (kind, total) = if is_counter { ("counter", "_total") } else { ("gauge", "") };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# TYPE meshdrive_drive_{name} {kind}");
        let _ = writeln!(out, "# HELP meshdrive_drive_{name} {help}.");
        let drive = escaped(&status.drive);
        let _ = writeln!(out, "meshdrive_drive_{name}{total}{{drive=\"{drive}\"}} {value}");
    }
    out.push_str("# EOF\n");
    out
}

/// A label's value (OpenMetrics 1.0, ABNF `escaped-string`).
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_openmetrics() {
        let drive = "my \"photos\"".to_owned();
        let status = DriveStatus {
            drive,
            pending_nodes: 3,
            oldest_pending_ms: 61_500,
            cached_bytes: 12,
            quota_bytes: 10,
            ..DriveStatus::default()
        };
        let traffic = Traffic { requests: 7, ..Traffic::default() };
        let page = render(&status, traffic);
        for line in [
            "# TYPE meshdrive_drive_pending_nodes gauge",
            "meshdrive_drive_pending_nodes{drive=\"my \\\"photos\\\"\"} 3",
            "meshdrive_drive_oldest_pending_seconds{drive=\"my \\\"photos\\\"\"} 61",
            "meshdrive_drive_over_cache_limit_bytes{drive=\"my \\\"photos\\\"\"} 2",
            "# TYPE meshdrive_drive_requests counter",
            "meshdrive_drive_requests_total{drive=\"my \\\"photos\\\"\"} 7",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
        let families = page.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(page.lines().count(), 3 * families + 1);
    }
}
