//! Every task and every thread has an owner.
//!
//! A [`Supervisor`] owns what must not end: whoever runs it learns of the first end, with a reason. A [`Group`] owns what may end: a
//! panic in one of its tasks is logged, and concerns that task alone. Both abort their tasks when they are dropped. No other room
//! starts a task or a thread (`tests/layering.rs`).

mod supervisor;
mod worker;

pub use supervisor::{Ended, Reason, Supervisor};
pub use worker::{Pending, Worker};

use std::any::Any;
use std::io;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Tasks of one kind that may end.
pub struct Group {
    kind: &'static str,
    set: JoinSet<()>,
}

impl Group {
    /// No tasks yet; `kind` is what one of them is called in the log.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self { kind, set: JoinSet::new() }
    }

    /// Starts a task.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(task);
    }

    /// Waits until a task ends: whether it panicked. `None` when there is none. Cancel-safe.
    pub async fn ended(&mut self) -> Option<bool> {
        let ended = self.set.join_next().await?;
        Some(self.panicked(ended))
    }

    /// Forgets the tasks that have ended; returns how many of them panicked.
    pub fn reap(&mut self) -> usize {
        let mut panics = 0;
        while let Some(ended) = self.set.try_join_next() {
            panics += usize::from(self.panicked(ended));
        }
        panics
    }

    /// Aborts all of them.
    pub fn abort_all(&mut self) {
        self.set.abort_all();
    }

    /// The text of a panic is left out: it may quote what a client sent.
    fn panicked(&self, ended: Result<(), tokio::task::JoinError>) -> bool {
        let panicked = ended.is_err_and(|error| error.is_panic());
        if panicked {
            tracing::error!(task = self.kind, "a task panicked; everything that it held is released");
        }
        panicked
    }
}

/// Runs a task that may panic without harm to the caller. Aborted when the caller is.
///
/// # Errors
/// The text of its panic.
pub async fn isolated<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let mut set = JoinSet::new();
    set.spawn(task);
    match set.join_next().await {
        Some(ended) => ended.map_err(|error| supervisor::text_of(error).1),
        None => Err("it did not run".to_owned()),
    }
}

/// Computes something on a thread of the runtime's pool for blocking work; `None` when it panicked. What may block without a limit,
/// such as a disk, belongs to a [`Worker`].
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Computes something on a thread with a stack of that size and waits for it, blocking; `None` when there is no thread, or it panicked.
pub fn compute_on_stack<T: Send + 'static>(stack: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    std::thread::Builder::new().stack_size(stack).spawn(work).ok()?.join().ok()
}

/// A thread of which somebody learns when it ends.
#[must_use = "a thread that nobody watches ends in silence"]
pub struct Thread {
    ended: oneshot::Receiver<()>,
}

impl Thread {
    /// Starts a thread.
    ///
    /// # Errors
    /// The system has none.
    pub fn start(name: &str, stack: Option<usize>, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let mut thread = std::thread::Builder::new().name(name.to_owned());
        if let Some(stack) = stack {
            thread = thread.stack_size(stack);
        }
        thread.spawn(move || {
            work();
            // A panic drops the sender unused.
            let _ = end.send(());
        })?;
        Ok(Self { ended })
    }

    /// Waits until the thread ends, and says how.
    pub async fn ended(self) -> String {
        match self.ended.await {
            Ok(()) => "the thread returned".to_owned(),
            Err(_dropped) => "the thread panicked".to_owned(),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied()).unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_panic_in_a_group_is_counted_and_harms_no_other_task() {
        let mut group = Group::new("session");
        let (other, waits) = oneshot::channel::<()>();
        group.spawn(async { panic!("a defect") });
        group.spawn(async move { drop(waits.await) });
        assert_eq!(group.ended().await, Some(true));
        other.send(()).unwrap();
        assert_eq!(group.ended().await, Some(false));
        assert_eq!(group.ended().await, None);
    }

    #[tokio::test]
    async fn a_group_that_is_dropped_ends_its_tasks() {
        let held = Arc::new(());
        let mut group = Group::new("session");
        let theirs = held.clone();
        group.spawn(async move {
            std::future::pending::<()>().await;
            drop(theirs);
        });
        drop(group);
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_isolated_task_panics_alone() {
        assert_eq!(isolated(async { 7 }).await, Ok(7));
        assert_eq!(isolated(async { panic!("cut short") }).await, Err::<(), _>("it panicked: cut short".to_owned()));
    }

    #[tokio::test]
    async fn a_thread_tells_how_it_ended() {
        assert_eq!(Thread::start("t", None, || {}).unwrap().ended().await, "the thread returned");
        assert_eq!(Thread::start("t", None, || panic!("a defect")).unwrap().ended().await, "the thread panicked");
        assert_eq!(compute_on_stack(1 << 20, || 7), Some(7));
        assert_eq!(compute(|| 7).await, Some(7));
    }
}
