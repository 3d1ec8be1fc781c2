//! Tasks that must not end.

use super::panic_text;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

type Name = Cow<'static, str>;

/// Owns tasks whose end is a fault. Dropping it aborts them.
#[derive(Default)]
pub struct Supervisor {
    /// What a task returns: why it ended, or `None` when it may.
    set: JoinSet<Option<String>>,
    names: HashMap<Id, (Name, AbortHandle)>,
}

/// What a task that must not end returns: why it did.
pub trait Reason {
    /// The reason.
    fn reason(self) -> String;
}

impl Reason for String {
    fn reason(self) -> String {
        self
    }
}

impl Reason for () {
    fn reason(self) -> String {
        "it returned".to_owned()
    }
}

/// A task that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Its name.
    pub task: Name,
    /// Whether it panicked; else it returned.
    pub panicked: bool,
    /// How, or why.
    pub why: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended: {}", self.task, self.why)
    }
}

impl Supervisor {
    /// Starts a task that must not end.
    pub fn spawn<T: Reason>(&mut self, name: impl Into<Name>, task: impl Future<Output = T> + Send + 'static) {
        self.start(name.into(), async move { Some(task.await.reason()) });
    }

    /// Starts a task that may return, and must not panic.
    pub fn spawn_until_done(&mut self, name: impl Into<Name>, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name.into(), async move {
            task.await;
            None
        });
    }

    fn start(&mut self, name: Name, task: impl Future<Output = Option<String>> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), (name, handle));
    }

    /// Waits until a task ends that must not, or one panics. Pending while there is none. Cancel-safe.
    pub async fn failed(&mut self) -> Ended {
        while let Some(ended) = self.set.join_next_with_id().await {
            let (id, panicked, why) = match ended {
                Ok((id, why)) => (id, false, why),
                Err(error) => {
                    let id = error.id();
                    let (panicked, why) = text_of(error);
                    (id, panicked, Some(why))
                }
            };
            let task = self.names.remove(&id).map_or(Cow::Borrowed("a task"), |(name, _)| name);
            if let Some(why) = why {
                return Ended { task, panicked, why };
            }
        }
        std::future::pending().await
    }

    /// Aborts the tasks of that name, as a defect that ends them would; for tests.
    pub fn abort(&self, name: &str) {
        self.names.values().filter(|(task, _)| task == name).for_each(|(_, handle)| handle.abort());
    }
}

/// Whether a task panicked, and what it said.
pub(super) fn text_of(error: JoinError) -> (bool, String) {
    match error.try_into_panic() {
        Ok(panic) => (true, format!("it panicked: {}", panic_text(&*panic))),
        Err(error) => (false, if error.is_cancelled() { "it was aborted".to_owned() } else { error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn panics(text: String) {
        panic!("{text}");
    }

    #[tokio::test]
    async fn a_task_that_panics_is_reported_with_its_name_and_text() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("listener", std::future::pending::<()>());
        supervisor.spawn("control", panics("no topology".to_owned()));
        let ended = supervisor.failed().await;
        assert_eq!((ended.panicked, ended.to_string().as_str()), (true, "control ended: it panicked: no topology"));
    }

    #[tokio::test]
    async fn a_task_that_returns_is_reported_with_its_reason() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("HTTP", async { "the socket is gone".to_owned() });
        assert_eq!(supervisor.failed().await.to_string(), "HTTP ended: the socket is gone");
        supervisor.spawn("listener", async {});
        assert_eq!(supervisor.failed().await.to_string(), "listener ended: it returned");
    }

    #[tokio::test]
    async fn a_task_that_may_return_is_reported_only_when_it_panics() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn_until_done("doctor", async {});
        assert!(tokio::time::timeout(Duration::from_millis(20), supervisor.failed()).await.is_err());
        supervisor.spawn_until_done("doctor", panics("a defect".to_owned()));
        assert_eq!(supervisor.failed().await.to_string(), "doctor ended: it panicked: a defect");
    }

    #[tokio::test]
    async fn a_task_that_is_aborted_is_reported() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("control", std::future::pending::<()>());
        supervisor.abort("control");
        assert_eq!(supervisor.failed().await.to_string(), "control ended: it was aborted");
    }
}
