//! Looking at the parts of a fetch on their way through a decorator.

use crate::store::CloudStore;
use bytes::Bytes;
use fs_core::{CloudError, ContentRef, Range};
use tokio::sync::mpsc;

/// Fetches from `inner` and hands each part to `take`, which (unlike a [`crate::PartSink`]) may
/// borrow. Parts wait here only while `take` runs.
pub(crate) async fn relay(
    inner: &dyn CloudStore,
    (content, range): (ContentRef, Range),
    mut take: impl FnMut(u64, Bytes) + Send,
) -> Result<(), CloudError> {
    let (to, mut from) = mpsc::unbounded_channel();
    let mut forward = move |at: u64, part: Bytes| {
        // Received below for as long as the fetch runs.
        let _ = to.send((at, part));
    };
    let mut fetch = inner.fetch(content, range, &mut forward);
    loop {
        tokio::select! {
            biased;
            Some((at, part)) = from.recv() => take(at, part),
            result = &mut fetch => {
                while let Ok((at, part)) = from.try_recv() {
                    take(at, part);
                }
                return result;
            }
        }
    }
}
