//! Aligned memory for file data.

use crate::calls::violation;
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// What offsets, lengths and memory are aligned to: that of a disk with large sectors.
pub(crate) const ALIGNMENT: u64 = 4_096;

static OPEN: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

pub(crate) fn allocate(size: usize) -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(size.max(1), ALIGNMENT as usize) else {
        return std::ptr::null_mut();
    };
    // SAFETY: the size is not 0.
    let memory = unsafe { alloc_zeroed(layout) };
    OPEN.lock().unwrap_or_else(PoisonError::into_inner).insert(memory as usize, size.max(1));
    memory
}

pub(crate) fn free(memory: *const u8) {
    let size = OPEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&(memory as usize));
    let Some(size) = size else {
        violation("PrjFreeAlignedBuffer: not a buffer that is allocated");
        return;
    };
    if let Ok(layout) = Layout::from_size_align(size, ALIGNMENT as usize) {
        // SAFETY: it was allocated above with this layout, and is freed once.
        unsafe { dealloc(memory.cast_mut(), layout) };
    }
}

/// Whether `len` bytes at `memory` lie in one allocated buffer.
pub(crate) fn holds(memory: usize, len: usize) -> bool {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.range(..=memory).next_back().is_some_and(|(start, size)| memory + len <= start + size)
}
