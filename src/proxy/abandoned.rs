//! What is given up is ended at its server. A server notices that a connection is closed only when it next writes to it: until then a read
//! whose connection was dropped runs on, and holds its metadata locks, which can stop a replica's applier.

use super::client::Driver;
use super::kill;
use super::link::BackendLink;

impl Driver {
    /// Ends what runs on a backend that is about to be dropped, if that is a read or a command of our own: by a connection of its own,
    /// and without waiting for it. What may write goes on, as it does when its client leaves the server itself.
    pub(super) fn end_abandoned(&self, backend: &BackendLink) {
        if !backend.runs_read || self.entry.is_killed() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, identity) = (self.shared.clone(), self.identity.clone());
        let (server, thread) = (backend.server, backend.thread_id);
        runtime.spawn(async move {
            // Many clients may leave at once.
            let Ok(_turn) = shared.abandoned.acquire().await else { return };
            let ended = kill::at_server(&shared, &identity, server, thread, kill::With::Connection).await;
            if let Err(failure) = ended {
                tracing::debug!(
                    backend = shared.address(server),
                    ?failure,
                    "an abandoned statement could not be ended"
                );
            }
            shared.metrics.server(server).abandoned();
        });
    }
}

/// A session that is served: when it ends, in whatever way, the statement that is on its way is ended.
pub(super) struct Served(pub(super) Driver);

impl Drop for Served {
    fn drop(&mut self) {
        for backend in &self.0.backends {
            self.0.end_abandoned(backend);
        }
    }
}
