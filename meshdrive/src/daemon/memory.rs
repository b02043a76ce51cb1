//! Gives memory back to the system. After a walk over a large tree most of the heap is free, but the
//! system's allocator keeps pages below the highest one in use until it is asked.

use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// Time on the processor between two looks, in microseconds, below which little can have been freed: a look
/// goes over all that is free, and what was given back counts as free.
const WORTH: i64 = 20_000;
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
        let mut used = 0;
        loop {
            std::thread::sleep(PAUSE);
            if processor() - used >= WORTH {
                give_back();
                used = processor();
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("memory".into()).spawn(looks) {
        tracing::warn!(%error, "freed memory is not given back to the system");
    }
}

/// Time that this process has had on the processor, in microseconds.
#[cfg(target_env = "gnu")]
fn processor() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time to the place that it is given. It stays 0 on failure: no look then.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}

#[cfg(not(target_env = "gnu"))]
fn processor() -> i64 {
    0
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
