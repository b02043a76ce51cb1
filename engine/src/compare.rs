//! Compares a file here with a version of its length.

use crate::hall::Hall;
use bytes::Bytes;
use fs_core::{CloudError, CloudErrorKind, ContentRef, Ino, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a version that are fetched to be compared before the next ones are asked for.
const AT_ONCE: u64 = 1 << 20;

/// What the parts that have come say.
#[derive(Default)]
struct Seen {
    /// Everything before this offset was compared.
    reached: u64,
    differs: bool,
    trouble: Option<String>,
}

/// Stops at the first stretch that differs.
pub(crate) async fn same(
    hall: &Arc<Hall>,
    ino: Ino,
    content: ContentRef,
    size: u64,
) -> Result<bool, CloudError> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    loop {
        let start = locked(&seen).reached;
        if start >= size {
            return Ok(true);
        }
        let range = Range::new(start, size.min(start + AT_ONCE));
        let (door, part_of) = (Arc::clone(hall), Arc::clone(&seen));
        let mut sink = move |offset, bytes: Bytes| compare(&door, ino, &part_of, (offset, &bytes));
        hall.cloud.fetch(content, range, &mut sink).await?;
        let seen = locked(&seen);
        if let Some(trouble) = &seen.trouble {
            return Err(CloudError::new(CloudErrorKind::Local, trouble.as_str()));
        }
        if seen.differs {
            return Ok(false);
        }
        if seen.reached < range.end {
            let text = "the cloud store ended a version before its length";
            return Err(CloudError::new(CloudErrorKind::Corrupt, text));
        }
    }
}

fn compare(hall: &Hall, ino: Ino, seen: &Mutex<Seen>, (offset, bytes): (u64, &[u8])) {
    let mut here = vec![0; bytes.len()];
    let read = hall.local.read_into(ino, offset, &mut here);
    let mut seen = locked(seen);
    match read {
        Ok(()) => seen.differs |= here != bytes,
        Err(error) => seen.trouble = Some(error.to_string()),
    }
    if offset <= seen.reached {
        seen.reached = seen.reached.max(offset + bytes.len() as u64);
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
