//! A thread for work that may block without a limit, such as writing to a disk that hangs.

use super::Thread;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot::{self, error::TryRecvError};

/// Jobs that wait at most. The owner waits for each of its jobs, so there are few unless the disk hangs.
const WAITING: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// Does jobs one after the other, in the order in which they were submitted. Ends with its last handle.
#[derive(Clone)]
pub struct Worker {
    jobs: SyncSender<Job>,
}

/// The result of a job that may not be done yet.
pub struct Pending<T>(oneshot::Receiver<T>);

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has none.
    pub fn start(name: &str) -> io::Result<(Self, Thread)> {
        let (jobs, queue) = sync_channel::<Job>(WAITING);
        let thread = Thread::start(name, None, move || queue.into_iter().for_each(|job| job()))?;
        Ok((Self { jobs }, thread))
    }

    /// Submits a job. `undo` gets its result when nobody waits for it any more: what was given up has not been done.
    ///
    /// # Errors
    /// Too many jobs wait: one before them does not end.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        undo: impl FnOnce(T) + Send + 'static,
    ) -> io::Result<Pending<T>> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            if let Err(unwanted) = answer.send(work()) {
                undo(unwanted);
            }
        };
        let busy = |_| io::Error::new(io::ErrorKind::WouldBlock, "what was asked of the disk before is not done yet");
        self.jobs.try_send(Box::new(job)).map_err(busy)?;
        Ok(Pending(answered))
    }

    /// Does a job and waits for it, at most for `limit`. After that its result is lost, and it may still be done.
    ///
    /// # Errors
    /// It is not done.
    pub async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.submit(work, drop)?.within(limit).await
    }
}

impl<T> Pending<T> {
    /// The result, if it is there; `None` while the job is not done.
    pub fn now(&mut self) -> Option<io::Result<T>> {
        match self.0.try_recv() {
            Ok(answer) => Some(Ok(answer)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(Err(io::Error::other("the thread that does it has ended"))),
        }
    }

    /// Waits for the result at most for `limit`. Cancel-safe, if it is called again with what is left of the limit.
    ///
    /// # Errors
    /// There was none, and there will be none: the job was given up, and is undone if it ends after all.
    pub async fn within(&mut self, limit: Duration) -> io::Result<T> {
        let gone = |_| io::Error::other("the thread that does it has ended");
        if let Ok(answer) = tokio::time::timeout(limit, &mut self.0).await {
            return answer.map_err(gone);
        }
        // From here on the job cannot answer any more, so it either has or will be undone.
        self.0.close();
        self.0.try_recv().map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("it was not done within {} ms", limit.as_millis()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, mpsc};

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(20);

    /// A job that hangs until the sender is used or dropped.
    fn hang(worker: &Worker) -> (mpsc::Sender<()>, Pending<bool>) {
        let (release, hangs) = mpsc::channel::<()>();
        let job = worker.submit(move || hangs.recv().is_ok(), drop).unwrap();
        (release, job)
    }

    #[tokio::test]
    async fn jobs_are_done_in_their_order() {
        let (worker, _thread) = Worker::start("w").unwrap();
        let (release, mut first) = hang(&worker);
        let seen = Arc::new(AtomicU32::new(0));
        let theirs = seen.clone();
        let mut second = worker.submit(move || theirs.fetch_add(1, Ordering::Relaxed), drop).unwrap();
        assert!(second.within(SHORT).await.is_err(), "it waits for the first");
        release.send(()).unwrap();
        assert!(first.within(LONG).await.unwrap());
        assert_eq!(worker.run(LONG, || 7).await.unwrap(), 7);
        assert_eq!(seen.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_was_given_up_is_undone_when_it_ends_after_all() {
        let (worker, _thread) = Worker::start("w").unwrap();
        let (release, hangs) = mpsc::channel::<()>();
        let (undone, undoing) = mpsc::channel();
        let undo = move |value: i32| undone.send(value).unwrap();
        let mut job = worker.submit(move || hangs.recv().map_or(0, |()| 7), undo).unwrap();
        assert_eq!(job.within(SHORT).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        release.send(()).unwrap();
        worker.run(LONG, || ()).await.unwrap();
        assert_eq!(undoing.try_recv(), Ok(7));
    }

    #[tokio::test]
    async fn jobs_behind_one_that_hangs_are_bounded() {
        let (worker, _thread) = Worker::start("w").unwrap();
        let (_release, _first) = hang(&worker);
        let mut waiting: Vec<Pending<()>> = Vec::new();
        let error = loop {
            match worker.submit(|| (), drop) {
                Ok(pending) => waiting.push(pending),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(waiting.len() <= WAITING + 1, "{}", waiting.len());
    }

    #[tokio::test]
    async fn a_worker_whose_job_panics_says_so() {
        let (worker, thread) = Worker::start("w").unwrap();
        assert!(worker.run(LONG, || panic!("a defect")).await.is_err());
        assert_eq!(thread.ended().await, "the thread panicked");
    }
}
