//! The bytes that only the cloud has, as long as it gives them.

use crate::failure::Outcome;
use cloud::CloudStore;
use fs_core::{ContentRef, Range, Ranges};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long the store may take to answer at all, and then to give some more bytes.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const QUIET_LIMIT: Duration = Duration::from_secs(20);

/// The store, once it was asked for.
pub(crate) struct Source {
    store: Result<Arc<dyn CloudStore>, String>,
    is_reached: bool,
}

impl Source {
    /// Does not ask it yet. A store that cannot even be named gives nothing.
    pub(crate) fn new(store: Outcome<Arc<dyn CloudStore>>) -> Source {
        Source { store: store.map_err(|failure| format!("{:#}", failure.error)), is_reached: false }
    }

    /// Writes the parts of a version to their offsets in `file`. The error of the outer result is that of
    /// the file; the inner one is why the store does not give them: it is not asked again then, unless
    /// it is this version alone that it does not give.
    pub(super) async fn fetch(
        &mut self,
        content: ContentRef,
        parts: &[Range],
        file: &File,
    ) -> io::Result<Result<(), String>> {
        let store = match self.reach().await {
            Ok(store) => store,
            Err(why) => return Ok(Err(why)),
        };
        for part in parts {
            match bounded(&*store, content, *part, file).await? {
                Ok(()) => {}
                Err(Why::Version(why)) => return Ok(Err(why)),
                Err(Why::Store(why)) => {
                    self.store = Err(why.clone());
                    return Ok(Err(why));
                }
            }
        }
        Ok(Ok(()))
    }

    async fn reach(&mut self) -> Result<Arc<dyn CloudStore>, String> {
        let store = self.store.clone()?;
        if !self.is_reached {
            let answer = tokio::time::timeout(CONNECT_LIMIT, store.connect()).await;
            let failed = match answer {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.message.to_string()),
                Err(_) => Some("the store does not answer".to_string()),
            };
            if let Some(why) = failed {
                self.store = Err(why.clone());
                return Err(why);
            }
            self.is_reached = true;
        }
        Ok(store)
    }
}

enum Why {
    Version(String),
    Store(String),
}

/// What came of a part.
#[derive(Default)]
struct Got {
    /// How often something came.
    parts: AtomicU64,
    /// What is in the file, or why it is not.
    written: Mutex<(Ranges, Option<io::Error>)>,
}

impl Got {
    fn written(&self) -> MutexGuard<'_, (Ranges, Option<io::Error>)> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what lies in `part` of the bytes at `offset`.
    fn take(&self, file: &File, part: Range, offset: u64, bytes: &[u8]) {
        self.parts.fetch_add(1, Ordering::Relaxed);
        let range = Range::at(offset, bytes.len() as u64).clip(part);
        if range.is_empty() {
            return;
        }
        let from = (range.start - offset) as usize;
        let bytes = &bytes[from..from + range.len() as usize];
        match file.write_all_at(bytes, range.start) {
            Ok(()) => self.written().0.insert(range),
            Err(error) => self.written().1 = Some(error),
        }
    }
}

/// One part, as long as it moves.
async fn bounded(
    store: &dyn CloudStore,
    content: ContentRef,
    part: Range,
    file: &File,
) -> io::Result<Result<(), Why>> {
    let got = Arc::new(Got::default());
    let (into, file) = (Arc::clone(&got), file.try_clone()?);
    let mut sink = move |offset: u64, bytes: bytes::Bytes| into.take(&file, part, offset, &bytes);
    let quiet = async {
        let mut last = 0;
        loop {
            tokio::time::sleep(QUIET_LIMIT).await;
            let now = got.parts.load(Ordering::Relaxed);
            if now == std::mem::replace(&mut last, now) {
                return;
            }
        }
    };
    let answer = tokio::select! {
        answer = store.fetch(content, part, &mut sink) => Some(answer),
        () = quiet => None,
    };
    let mut written = got.written();
    if let Some(error) = written.1.take() {
        return Err(error);
    }
    Ok(match answer {
        Some(Ok(())) if written.0.covers(part) => Ok(()),
        Some(Ok(())) => Err(Why::Version("the store gave only a part of it".into())),
        Some(Err(error)) => {
            use fs_core::CloudErrorKind::{Corrupt, Gone, Invalid};
            let why = error.message.to_string();
            let is_version = matches!(error.kind, Gone | Corrupt | Invalid);
            Err(if is_version { Why::Version(why) } else { Why::Store(why) })
        }
        None => Err(Why::Store("the store does not answer any more".into())),
    })
}
