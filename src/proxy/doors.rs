//! How many logins at one server go on at the same time.

use crate::topology::ServerId;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Logins at one server at once. All of a burst at once would share the server's processors between their TLS handshakes and
/// password checks, so that none is through before its deadline; in turn, each is quick.
const AT_ONCE: usize = 64;
/// Longest wait for a turn.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(30);

/// A door for each server.
pub struct Doors(Box<[Semaphore]>);

impl Doors {
    /// For servers whose ids are below `servers`.
    pub fn new(servers: usize) -> Self {
        Self((0..servers).map(|_| Semaphore::new(AT_ONCE)).collect())
    }

    /// Waits for a turn at that server, first come first served; `None` after [`WAIT_MAX`]. Cancel-safe: the place in the line
    /// is given up.
    pub(super) async fn enter(&self, server: ServerId) -> Option<SemaphorePermit<'_>> {
        let door = self.0.get(usize::from(server.0))?;
        tokio::time::timeout(WAIT_MAX, door.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn all_get_in_and_never_too_many_at_once() {
        let (doors, inside, most) =
            (Arc::new(Doors::new(2)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut entering = tokio::task::JoinSet::new();
        for _ in 0..4 * AT_ONCE {
            let (doors, inside, most) = (doors.clone(), inside.clone(), most.clone());
            entering.spawn(async move {
                let turn = doors.enter(ServerId(1)).await;
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
    async fn a_line_at_one_door_holds_up_no_other() {
        let doors = Doors::new(2);
        let mut inside = Vec::new();
        for _ in 0..AT_ONCE {
            inside.push(doors.enter(ServerId(0)).await.expect("a turn"));
        }
        assert!(tokio::time::timeout(Duration::from_millis(20), doors.enter(ServerId(0))).await.is_err());
        assert!(doors.enter(ServerId(1)).await.is_some());
        inside.pop();
        assert!(doors.enter(ServerId(0)).await.is_some());
    }
}
