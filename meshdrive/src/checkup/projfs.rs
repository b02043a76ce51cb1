//! Windows' Projected File System.

use super::Finding;
use projfs_windows::windows::Api;

pub(super) fn all() -> Vec<Finding> {
    let what = "Projected File System";
    vec![match Api::load() {
        Ok(_) => Finding::ok(what, "is there"),
        Err(missing) => Finding::fail(what, "is not available", missing.to_string()),
    }]
}
