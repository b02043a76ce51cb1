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
                let _ = sender.send(result.and_then(|value| committed.map(|()| value)));
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
        if conn.is_autocommit() {
            // SQLite gave the whole transaction up, as it may when the disk is full.
            let wait = Duration::from_secs(5);
            return Err(Problem::busy("the store could not write; send it again", wait));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use std::sync::Arc;

    fn writer(more: &str) -> (Arc<Writer>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open(dir.path().join("db")).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER UNIQUE, b BLOB)")
            .unwrap();
        conn.execute_batch(more).unwrap();
        (Arc::new(Writer::spawn(conn).unwrap()), dir)
    }

    fn count(conn: &Connection) -> Result<i64, Problem> {
        Ok(conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
    }

    fn insert(conn: &Connection, n: usize, bytes: usize) -> Result<(), Problem> {
        conn.execute("INSERT INTO t VALUES (?, zeroblob(?))", (n as i64, bytes as i64))?;
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn jobs_that_fail_undo_only_themselves() {
        let (writer, _dir) = writer("");
        let tasks: Vec<_> = (0..200)
            .map(|n| {
                let writer = writer.clone();
                tokio::spawn(async move {
                    writer
                        .run(move |conn| {
                            insert(conn, n, 10)?;
                            match n % 4 {
                                1 => Err(Problem::invalid("on purpose")),
                                2 => panic!("on purpose"),
                                3 => insert(conn, n, 10),
                                _ => Ok(()),
                            }
                        })
                        .await
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap().is_ok(), n % 4 == 0, "job {n}");
        }
        assert_eq!(writer.run(count).await.unwrap(), 50);
        writer.close();
        assert_eq!(writer.run(count).await.unwrap_err().code, "busy");
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_survived() {
        let (writer, _dir) = writer("PRAGMA max_page_count = 64");
        writer.run(|conn| insert(conn, 1, 1_000)).await.unwrap();
        let problem = writer.run(|conn| insert(conn, 2, 1 << 20)).await.unwrap_err();
        assert_eq!((problem.status, problem.code), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
        assert!(problem.detail.contains("full"), "{problem}");
        writer.run(|conn| insert(conn, 3, 1_000)).await.unwrap();
        assert_eq!(writer.run(count).await.unwrap(), 2);
    }
}
