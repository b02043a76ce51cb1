//! The one thread that writes. Jobs that wait together are committed together: one fsync for all.

use crate::problem::Problem;
use rusqlite::Connection;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait.
const QUEUE: usize = 256;
/// Jobs in one transaction, and the time after which no more are taken into it.
const BATCH: usize = 64;
const BATCH_TIME: Duration = Duration::from_millis(50);

/// Answers a job, after its transaction has been committed (or has failed to).
type Answer = Box<dyn FnOnce(Result<(), Problem>) + Send>;
/// Does its work and says whether it succeeded.
type Job = Box<dyn FnOnce(&Connection) -> (bool, Answer) + Send>;

#[derive(Debug)]
pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn spawn(conn: Connection) -> std::io::Result<Writer> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&conn, queue))?;
        Ok(Writer { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            let result = guarded(|| work(conn));
            let succeeded = result.is_ok();
            let answer = move |committed: Result<(), Problem>| {
                // Nobody may be waiting any more; the work is done all the same.
                let _ = sender.send(committed.and(result));
            };
            (succeeded, Box::new(answer))
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(jobs) = jobs else { return Err(stopping()) };
        jobs.send(job).await.map_err(|_| stopping())?;
        receiver.await.unwrap_or_else(|_| Err(stopping()))
    }

    pub(super) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the database has panicked");
        }
    }
}

fn stopping() -> Problem {
    Problem::busy("the store is stopping; ask again when it is back", Duration::from_secs(1))
}

fn guarded<T>(work: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    // What `work` touches beside the database is its own; the savepoint undoes the rest.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Problem::internal("database", &"a job has panicked")))
}

fn run(conn: &Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut answers = Vec::new();
        let committed = batch(conn, first, &mut queue, &mut answers);
        if committed.is_err() && !conn.is_autocommit() {
            let _ = conn.execute_batch("ROLLBACK");
        }
        for answer in answers {
            answer(committed.clone());
        }
    }
}

fn batch(
    conn: &Connection,
    first: Job,
    queue: &mut mpsc::Receiver<Job>,
    answers: &mut Vec<Answer>,
) -> Result<(), Problem> {
    if let Err(error) = conn.execute_batch("BEGIN IMMEDIATE") {
        drop(first);
        return Err(error.into());
    }
    let until = Instant::now() + BATCH_TIME;
    let mut next = Some(first);
    while let Some(job) = next {
        conn.prepare_cached("SAVEPOINT job")?.execute([])?;
        let (succeeded, answer) = job(conn);
        answers.push(answer);
        if !succeeded {
            conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        conn.prepare_cached("RELEASE job")?.execute([])?;
        let room = answers.len() < BATCH && Instant::now() < until;
        next = if room { queue.try_recv().ok() } else { None };
    }
    conn.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}
