//! Gives memory back to the system. After a walk over a large tree most of the heap is free, but the
//! system's allocator keeps pages below the highest one in use until it is asked.

use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// Free bytes in the heap from which on they are given back.
#[cfg(target_env = "gnu")]
const FREE_MAX: usize = 24 << 20;

/// Looks after the heap for as long as the process runs.
pub(super) fn watch() {
    let looks = || {
        loop {
            std::thread::sleep(PAUSE);
            give_back();
        }
    };
    if let Err(error) = std::thread::Builder::new().name("memory".into()).spawn(looks) {
        tracing::warn!(%error, "freed memory is not given back to the system");
    }
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: reads counters of the allocator and takes nothing.
    let heap = unsafe { libc::mallinfo2() };
    if heap.fordblks > FREE_MAX {
        // SAFETY: only free pages are given back; other threads may allocate meanwhile.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}
