//! Threads that do what callbacks must not wait for.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

/// Pieces of work that may wait for a thread.
const WAITING_MAX: usize = 4_096;

type Work = Box<dyn FnOnce() + Send>;

/// Some threads and one line of work before them. They end when this is dropped and the line is empty.
#[derive(Debug)]
pub struct Crew(SyncSender<Work>);

impl Crew {
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(name: &str, threads: usize) -> std::io::Result<Crew> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new().name(name.into()).spawn(move || run(&receiver))?;
        }
        Ok(Crew(sender))
    }

    /// Whether the work was taken; not when [`WAITING_MAX`] wait.
    #[must_use]
    pub fn take(&self, work: impl FnOnce() + Send + 'static) -> bool {
        match self.0.try_send(Box::new(work)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

fn run(receiver: &Mutex<Receiver<Work>>) {
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        // Whoever waits for the work has its own guard; the thread goes on.
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("work for ProjFS panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn work_is_done_after_a_panic_too() {
        let crew = Crew::start("test", 1).unwrap();
        assert!(crew.take(|| assert_eq!(1, 2)));
        let (sender, receiver) = channel();
        assert!(crew.take(move || sender.send(7).unwrap()));
        assert_eq!(receiver.recv(), Ok(7));
    }
}
