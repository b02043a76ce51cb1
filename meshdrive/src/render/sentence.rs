//! The one sentence about a drive. It is always true: it never says more than the numbers do.

use super::text;
use protocol::control::DriveStatus;
use std::time::Duration;

/// Whether nothing on this device is missing in the cloud.
pub(crate) fn all_in_cloud(status: &DriveStatus) -> bool {
    let is_known = !status.unsure && !status.refused;
    status.pending_nodes == 0 && status.attention == 0 && is_known
}

/// The sentence, with its full stop.
pub(crate) fn of_drive(status: &DriveStatus) -> String {
    let mut parts = vec![unsent(status)];
    parts.extend(local_only(status));
    parts.extend(held(status));
    if status.attention > 0 {
        let verb = if status.attention == 1 { "needs" } else { "need" };
        let items = text::count(status.attention, "item", "items");
        parts.push(format!("{items} {verb} your attention (see `meshdrive status --pending`)"));
    }
    if status.pin_missing_bytes > 0 && status.online {
        parts
            .push(format!("{} of pinned data still to come", text::size(status.pin_missing_bytes)));
    }
    parts.extend(way_out(status));
    let sentence = format!("{}.", parts.join("; "));
    match (link(status), status.paused) {
        (Some(link), _) => format!("{link}: {}", lower_first(&sentence)),
        (None, true) => format!("Paused: {}", lower_first(&sentence)),
        (None, false) => sentence,
    }
}

/// What stays on this device, and what is wrong with the rules that say so.
fn local_only(status: &DriveStatus) -> Vec<String> {
    let mut parts = Vec::new();
    if status.local_only_nodes > 0 {
        let nodes = text::count(status.local_only_nodes, "file or folder", "files and folders");
        let verb = if status.local_only_nodes == 1 { "stays" } else { "stay" };
        let size = text::size(status.local_only_bytes);
        parts.push(format!("{nodes}, {size}, {verb} on this device only (`.meshignore`)"));
    }
    if !status.ignore_trouble.is_empty() {
        let why = protocol::control::PathText::Text(status.ignore_trouble.clone());
        parts.push(text::path(&why));
    }
    parts
}

/// What can be done with what a store will not take any more.
fn way_out(status: &DriveStatus) -> Option<String> {
    let is_stuck = cfg!(unix) && status.refused && status.pending_nodes > 0;
    is_stuck.then(|| {
        format!("`meshdrive unmount {} --force` moves it to a folder of this device", status.drive)
    })
}

/// What waits for a person.
pub(crate) fn held(status: &DriveStatus) -> Option<String> {
    let removals = text::count(status.held_removals, "removal", "removals");
    let rewrites = text::count(status.held_rewrites, "rewritten file", "rewritten files");
    let what = match (status.held_removals, status.held_rewrites) {
        (0, 0) => return None,
        (_, 0) => removals,
        (0, _) => rewrites,
        _ => format!("{removals} and {rewrites}"),
    };
    Some(format!(
        "{what} held, as that is much at once (`meshdrive approve` sends it, `meshdrive undo` puts it back)"
    ))
}

/// How much is unsent, for progress while waiting.
pub(crate) fn left(status: &DriveStatus) -> String {
    if status.pending_nodes == 0 { "everything sent".into() } else { amount(status) }
}

fn unsent(status: &DriveStatus) -> String {
    if status.unsure {
        let why = text::path(&protocol::control::PathText::Text(status.trouble.clone()));
        return format!("It is not known whether everything is in the cloud: {why}");
    }
    if status.pending_nodes == 0 && status.attention > 0 {
        return "Everything else is in the cloud".into();
    }
    if status.pending_nodes == 0 && status.refused {
        return "Nothing here is unsent".into();
    }
    if status.pending_nodes == 0 {
        return "Everything is in the cloud".into();
    }
    let age = text::age(Duration::from_millis(status.oldest_pending_ms));
    let left = match status.left_secs.filter(|_| status.online && !status.paused) {
        Some(secs) => format!("; about {} left", text::age(Duration::from_secs(secs))),
        None => String::new(),
    };
    format!("{} not yet in the cloud{left}; oldest change {age} ago", amount(status))
}

fn amount(status: &DriveStatus) -> String {
    let nodes = nodes(status);
    if status.pending_bytes == 0 {
        nodes
    } else {
        format!("{nodes}, {}", text::size(status.pending_bytes))
    }
}

fn nodes(status: &DriveStatus) -> String {
    let files = |n| text::count(n, "file", "files");
    let folders = |n| text::count(n, "folder", "folders");
    match (status.pending_files, status.pending_folders) {
        (Some(n), Some(0)) => files(n),
        (Some(0), Some(n)) => folders(n),
        (Some(n), Some(m)) => format!("{} and {}", files(n), folders(m)),
        _ => text::count(status.pending_nodes, "file or folder", "files and folders"),
    }
}

/// Says that the store is out of reach, since when and why.
fn link(status: &DriveStatus) -> Option<String> {
    if status.online {
        return None;
    }
    let since = status
        .offline_secs
        .map(|secs| format!(" for {}", text::age(Duration::from_secs(secs))))
        .unwrap_or_default();
    let why = status.trouble.trim().trim_end_matches('.');
    let state = if status.refused { "Refused by the store" } else { "Offline" };
    Some(if why.is_empty() {
        format!("{state}{since}")
    } else {
        format!("{state}{since} ({})", text::path(&protocol::control::PathText::Text(why.into())))
    })
}

fn lower_first(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> DriveStatus {
        DriveStatus { online: true, complete: true, ..DriveStatus::default() }
    }

    fn busy() -> DriveStatus {
        DriveStatus {
            pending_nodes: 3,
            pending_files: Some(3),
            pending_folders: Some(0),
            pending_bytes: 41_000_000,
            oldest_pending_ms: 12_000,
            ..quiet()
        }
    }

    #[test]
    fn the_sentence_says_what_the_numbers_say() {
        let cases = [
            (quiet(), "Everything is in the cloud."),
            (busy(), "3 files, 41 MB not yet in the cloud; oldest change 12 s ago."),
            (
                DriveStatus { pending_files: Some(1), pending_folders: Some(2), ..busy() },
                "1 file and 2 folders, 41 MB not yet in the cloud; oldest change 12 s ago.",
            ),
            (
                DriveStatus {
                    pending_nodes: 12_345,
                    pending_files: None,
                    pending_folders: None,
                    ..busy()
                },
                "12,345 files and folders, 41 MB not yet in the cloud; oldest change 12 s ago.",
            ),
            (
                DriveStatus {
                    pending_nodes: 1,
                    pending_files: Some(0),
                    pending_folders: Some(1),
                    pending_bytes: 0,
                    ..busy()
                },
                "1 folder not yet in the cloud; oldest change 12 s ago.",
            ),
            (DriveStatus { online: false, ..quiet() }, "Offline: everything is in the cloud."),
            (
                DriveStatus {
                    online: false,
                    offline_secs: Some(240),
                    trouble: "connection refused.".into(),
                    ..busy()
                },
                "Offline for 4 min (connection refused): 3 files, 41 MB not yet in the cloud; \
                 oldest change 12 s ago.",
            ),
            (
                DriveStatus { paused: true, ..busy() },
                "Paused: 3 files, 41 MB not yet in the cloud; oldest change 12 s ago.",
            ),
            (
                DriveStatus { attention: 1, ..quiet() },
                "Everything else is in the cloud; 1 item needs your attention \
                 (see `meshdrive status --pending`).",
            ),
            (
                DriveStatus { pin_missing_bytes: 5_000, ..quiet() },
                "Everything is in the cloud; 5.0 kB of pinned data still to come.",
            ),
        ];
        for (status, sentence) in cases {
            assert_eq!(of_drive(&status), sentence, "{status:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_store_that_refuses_the_device_is_not_just_away() {
        let cases = [
            (
                DriveStatus {
                    online: false,
                    refused: true,
                    drive: "work".into(),
                    trouble: "removed".into(),
                    ..busy()
                },
                "Refused by the store (removed): 3 files, 41 MB not yet in the cloud; oldest change \
                 12 s ago; `meshdrive unmount work --force` moves it to a folder of this device.",
            ),
            (
                DriveStatus { online: false, refused: true, ..quiet() },
                "Refused by the store: nothing here is unsent.",
            ),
        ];
        for (status, sentence) in cases {
            assert_eq!(of_drive(&status), sentence, "{status:?}");
        }
    }

    #[test]
    fn all_in_cloud_needs_nothing_pending_and_nothing_refused() {
        assert!(all_in_cloud(&quiet()));
        assert!(!all_in_cloud(&busy()));
        assert!(!all_in_cloud(&DriveStatus { attention: 1, ..quiet() }));
        let unsure = DriveStatus { unsure: true, trouble: "looking".into(), ..quiet() };
        assert!(!all_in_cloud(&unsure));
        assert!(of_drive(&unsure).contains("not known") && of_drive(&unsure).contains("looking"));
        assert!(all_in_cloud(&DriveStatus { online: false, ..quiet() }));
        assert!(!all_in_cloud(&DriveStatus { online: false, refused: true, ..quiet() }));
    }
}
