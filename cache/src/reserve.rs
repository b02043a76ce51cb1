//! A file whose blocks are given back when the disk is full, so that records still get through.

use crate::{locked, platform};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Free bytes that must remain beside the reserve when it is made, as a multiple of its size.
const ROOM_FACTOR: u64 = 2;
/// What stays for records alone when the reserve is spent: this part of its size.
const LAST_ROOM_PART: u64 = 8;
/// How often it is tried to make the reserve again.
const RETRY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    released: AtomicBool,
    tried: Mutex<Option<Instant>>,
}

impl Reserve {
    /// Finds or makes the reserve of `bytes`. That there is no room for it is no error.
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Reserve {
        let reserve =
            Reserve { path, bytes, released: AtomicBool::new(true), tried: Mutex::new(None) };
        let there = std::fs::metadata(&reserve.path)
            .is_ok_and(|found| found.len() == bytes && platform::allocated(&found) >= bytes);
        if there {
            reserve.released.store(false, Ordering::Release);
        } else {
            reserve.make_again();
        }
        reserve
    }

    /// Whether there is no reserve now: it was given back, or there never was room for it.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    /// Whether a reserve is wanted and is not there.
    pub(crate) fn is_missing(&self) -> bool {
        self.bytes > 0 && self.is_released()
    }

    /// Free bytes that only records may use while there is no reserve.
    pub(crate) fn last_room(&self) -> u64 {
        self.bytes / LAST_ROOM_PART
    }

    /// Gives the blocks back. Returns whether there were any: then it is worth trying again.
    pub(crate) fn release(&self) -> bool {
        // Held to the end: whoever asks meanwhile goes on when the blocks are free.
        let mut tried = locked(&self.tried);
        if self.is_released() {
            return false;
        }
        *tried = Some(Instant::now());
        let removed = std::fs::remove_file(&self.path);
        self.released.store(true, Ordering::Release);
        match removed {
            Ok(()) => {
                tracing::warn!(
                    bytes = self.bytes,
                    "the cache's disk is full: the reserve was released so that records get through"
                );
                true
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "cannot release the reserve");
                false
            }
        }
    }

    /// Runs `write`; when the disk is full, releases the reserve and runs it once more. Also when
    /// another thread released it meanwhile: `write` may have come before that.
    pub(crate) fn spend<T, E>(
        &self,
        is_full: impl FnOnce(&E) -> bool,
        mut write: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let was_there = !self.is_released();
        match write() {
            Err(error) if is_full(&error) && (self.release() || was_there) => write(),
            result => result,
        }
    }

    /// Makes the reserve again when room is back; called now and then.
    pub(crate) fn restore(&self) {
        if !self.is_released() || self.bytes == 0 {
            return;
        }
        {
            let mut tried = locked(&self.tried);
            if tried.is_some_and(|tried| tried.elapsed() < RETRY) {
                return;
            }
            *tried = Some(Instant::now());
        }
        self.make_again();
    }

    fn make_again(&self) {
        let room = self.bytes.saturating_mul(1 + ROOM_FACTOR);
        let dir = self.path.parent().unwrap_or(Path::new("."));
        if self.bytes == 0 || platform::disk_free(dir).is_ok_and(|free| free < room) {
            return;
        }
        let opened = platform::private_file().create(true).truncate(true).open(&self.path);
        match opened.and_then(|file| platform::reserve(&file, self.bytes)) {
            Ok(()) => self.released.store(false, Ordering::Release),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "no reserve for a full disk");
                // A half-made reserve only takes room away.
                if let Err(error) = std::fs::remove_file(&self.path) {
                    tracing::debug!(%error, "no reserve file to remove");
                }
            }
        }
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        ErrorKind::StorageFull.into()
    }

    #[test]
    #[cfg_attr(windows, ignore = "Wine gives a file no blocks ahead")]
    fn who_was_overtaken_in_releasing_tries_again() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(dir.path().join("reserve"), 4096);
        assert!(!reserve.is_released());
        let mut tries = 0;
        let written = reserve.spend(is_full, || {
            tries += 1;
            // Another thread gives it back after this write failed.
            if reserve.release() { Err(full()) } else { Ok(()) }
        });
        written.unwrap();
        assert_eq!(tries, 2);
        reserve.spend(is_full, || Err::<(), _>(full())).unwrap_err();
    }

    #[test]
    #[cfg_attr(windows, ignore = "Wine gives a file no blocks ahead")]
    fn who_asks_while_it_is_released_waits_for_the_room() {
        for _ in 0..200 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("reserve");
            let reserve = Reserve::new(path.clone(), 4096);
            let write = || if path.exists() { Err(full()) } else { Ok(()) };
            std::thread::scope(|scope| {
                let all = [(); 3].map(|()| scope.spawn(|| reserve.spend(is_full, write)));
                all.into_iter().for_each(|one| one.join().unwrap().unwrap());
            });
        }
    }
}
