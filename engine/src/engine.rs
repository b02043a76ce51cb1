//! Start and end.

use crate::clock::Clock;
use crate::driver::{self, Driver};
use crate::hall::{Hall, Rooms};
use crate::jobs::Phase;
use crate::port::Port;
use crate::{feed, filler, mend, rules, timer};
use cache::LocalStore;
use cloud::CloudStore;
use fs_core::{Drive, Event, Limits};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long running commits and uploads may take to finish at a shutdown, and then all the rest.
const FINISH_LIMIT: Duration = Duration::from_secs(5);
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// What an engine is made of.
pub struct EngineConfig {
    pub limits: Limits,
    pub local: Arc<dyn LocalStore>,
    pub cloud: Arc<dyn CloudStore>,
    /// Any number; two devices should not have the same one.
    pub seed: u64,
    /// What people call this device; conflict copies carry it.
    pub device: String,
    pub runtime: Handle,
}

/// A running drive. Dropping it shuts it down.
pub struct Engine {
    hall: Arc<Hall>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Recovers the drive from the local store and starts its threads. The drive answers requests
    /// when this returns; the cloud store is reached (or not) behind it. Blocking: call it from a
    /// plain thread or from `spawn_blocking`, and keep the runtime alive until after `shutdown`.
    ///
    /// # Errors
    /// What the local store's recovery reports, or that a thread cannot be started.
    pub fn start(config: EngineConfig) -> Result<Engine, cache::Error> {
        let EngineConfig { limits, local, cloud, seed, device, runtime } = config;
        let recovered = local.recover()?;
        let last_seq = recovered.last_seq;
        let clock = Clock::start();
        let mut drive = Drive::recover(recovered, limits, seed, clock.now());
        drive.name_device(&device);
        drive.await_rules();
        let hall = Hall::new(drive, last_seq, Rooms { local, cloud, runtime, clock });
        let engine = Engine { hall: Arc::clone(&hall), threads: Mutex::default() };
        timer::look_at_disk(&hall);
        hall.deliver(Event::Tick);
        engine.spawn("drive-stale", |hall| driver::run(hall))?;
        engine.spawn("drive-timer", timer::run)?;
        engine.spawn("drive-filler", filler::run)?;
        engine.spawn("drive-rules", rules::run)?;
        engine.spawn("drive-mender", mend::run)?;
        engine.spawn("drive-feed", move |hall| feed::run(hall, seed))?;
        Ok(engine)
    }

    #[must_use]
    pub fn port(&self) -> Port {
        Port::new(Arc::clone(&self.hall))
    }

    /// From now on invalidations go to `driver`; those that came before it are sent first.
    pub fn attach(&self, driver: Arc<dyn Driver>) {
        self.hall.stale.attach(driver);
    }

    /// Whether the core has failed: every request is answered with `Io`, and the program should say
    /// so and exit; a restart recovers from the journal.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.hall.failed()
    }

    /// From now on a failure of the core ends the process at once and unanswered. For a process that
    /// is started anew by somebody who keeps the mount: whoever waits is then answered by the next one.
    pub fn die_on_failure(&self) {
        self.hall.fatal.store(true, Ordering::Release);
    }

    /// Stops the feed and the timers, lets running work finish (at most about ten seconds), and
    /// closes the local store. Blocking, as is dropping an engine that still runs. Unmount first: requests that come later are answered with `Io`.
    ///
    /// # Errors
    /// What closing the local store reports. Everything acknowledged is in its journal all the same.
    pub fn shutdown(&self) -> Result<(), cache::Error> {
        let threads = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        if threads.is_empty() {
            return Ok(());
        }
        let hall = &self.hall;
        hall.jobs.enter(Phase::Stopping);
        hall.stale.stop();
        hall.alarm.ring();
        if !hall.jobs.wait_idle(FINISH_LIMIT) {
            hall.jobs.enter(Phase::Cancelled);
            if !hall.jobs.wait_idle(CANCEL_LIMIT) {
                tracing::warn!("some work did not end in time; it is left behind");
            }
        }
        hall.jobs.enter(Phase::Cancelled);
        hall.close();
        hall.filler.close();
        join(threads, Instant::now() + CANCEL_LIMIT);
        hall.local.shutdown()
    }

    fn spawn(
        &self,
        name: &str,
        run: impl FnOnce(&Arc<Hall>) + Send + 'static,
    ) -> Result<(), cache::Error> {
        let hall = Arc::clone(&self.hall);
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            // Without one of its threads a drive would go on and lie: about changes, or about time.
            if catch_unwind(AssertUnwindSafe(|| run(&hall))).is_err() {
                hall.fail();
            }
        });
        let thread = thread.map_err(|source| {
            let path = format!("cannot start the thread {name}");
            cache::Error::Io { path, source }
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown() {
            tracing::error!(%error, "the local store was not closed cleanly; its journal is replayed");
        }
    }
}

/// Waits for threads that were told to end. One that hangs in a kernel call is left behind.
fn join(threads: Vec<JoinHandle<()>>, end: Instant) {
    const LOOK_EVERY: Duration = Duration::from_millis(1);
    for thread in threads {
        while !thread.is_finished() && Instant::now() < end {
            thread::sleep(LOOK_EVERY);
        }
        if thread.is_finished() && thread.join().is_err() {
            tracing::error!("a thread of the engine panicked");
        }
    }
}
