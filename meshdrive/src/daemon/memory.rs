//! Gives memory back to the system. After a walk over a large tree most of the heap is free, but the
//! system's allocator keeps pages below the highest one in use until it is asked.

use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// Free bytes in the heap from which on they are given back.
#[cfg(target_env = "gnu")]
const FREE_MAX: usize = 24 << 20;

/// Heaps that threads share. The allocator would make eight for each processor, and what is free in one
/// does not help another.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;
/// Bytes from which on a buffer gets pages of its own, which go back at once when it is dropped. Packs do,
/// buffers of reads, which are used again, do not. Without a number the allocator raises it to the largest
/// buffer that it has seen.
#[cfg(target_env = "gnu")]
const OWN_PAGES: libc::c_int = 1280 << 10;
/// Free bytes at the end of a heap that are kept there. By default 128 KiB, so that the buffer of each large
/// read or write was given back after it, and the next one paid for fresh pages.
#[cfg(target_env = "gnu")]
const KEPT_AT_END: libc::c_int = 8 << 20;

/// Looks after the heap for as long as the process runs. To be called before other threads are started.
pub(super) fn watch() {
    settle();
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
fn settle() {
    // SAFETY: sets numbers of the allocator (mallopt(3)).
    let done = unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS) == 1
            && libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_AT_END) == 1
    };
    if !done {
        tracing::debug!("the allocator did not take its limits");
    }
}

#[cfg(not(target_env = "gnu"))]
fn settle() {}

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
