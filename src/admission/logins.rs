//! How many logins at one server go on at the same time.

use super::Admission;
use crate::topology::ServerId;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Logins at one server at once. All of a burst at once would share the server's processors between their TLS handshakes and
/// password checks, so that none is through before its deadline; in turn, each is quick.
const AT_ONCE: usize = 64;
/// Longest wait for a turn.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// The queue of logins at one server.
pub(super) struct Logins(Semaphore);

impl Logins {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Admission {
    /// Waits for a turn to log in at a server, first come first served; `None` after [`WAIT_MAX`]. Cancel-safe: the place in the
    /// queue is given up.
    pub async fn login(&self, server: ServerId) -> Option<SemaphorePermit<'_>> {
        let queue = &self.server(server).logins.0;
        tokio::time::timeout(WAIT_MAX, queue.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn all_get_in_and_never_too_many_at_once() {
        let (admission, inside, most) =
            (Arc::new(Admission::new(2)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut entering = tokio::task::JoinSet::new();
        for _ in 0..4 * AT_ONCE {
            let (admission, inside, most) = (admission.clone(), inside.clone(), most.clone());
            entering.spawn(async move {
                let turn = admission.login(ServerId(1)).await;
                most.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
                inside.fetch_sub(1, Ordering::Relaxed);
                turn.is_some()
            });
        }
        assert!(entering.join_all().await.into_iter().all(|entered| entered));
        assert_eq!(most.load(Ordering::Relaxed), AT_ONCE);
    }

    #[tokio::test]
    async fn a_queue_at_one_server_holds_up_no_other() {
        let admission = Admission::new(2);
        let mut inside = Vec::new();
        for _ in 0..AT_ONCE {
            inside.push(admission.login(ServerId(0)).await.expect("a turn"));
        }
        assert!(tokio::time::timeout(Duration::from_millis(20), admission.login(ServerId(0))).await.is_err());
        assert!(admission.login(ServerId(1)).await.is_some());
        inside.pop();
        assert!(admission.login(ServerId(0)).await.is_some());
    }
}
