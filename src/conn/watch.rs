//! The latest [`Topology`], pushed by `control`, read by everybody else; and the way back: hints.

use crate::topology::{ServerId, Topology};
use arc_swap::ArcSwap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Makes the two ends and the receiver of hints.
pub fn topology_channel(first: Topology) -> (TopologyPublisher, TopologyWatch, mpsc::Receiver<ServerId>) {
    let latest = Arc::new(ArcSwap::from_pointee(first));
    let (notify, changed) = watch::channel(());
    let (hint, hints) = mpsc::channel(64);
    (TopologyPublisher { latest: latest.clone(), notify }, TopologyWatch { latest, changed, hint }, hints)
}

/// The only writer; owned by `control`.
pub struct TopologyPublisher {
    latest: Arc<ArcSwap<Topology>>,
    notify: watch::Sender<()>,
}

impl TopologyPublisher {
    /// Replaces the topology and wakes whoever waits for a change.
    pub fn publish(&self, topology: Topology) {
        self.latest.store(Arc::new(topology));
        self.notify.send_replace(());
    }
}

/// A reader's end; cheap to clone, one per session.
#[derive(Clone)]
pub struct TopologyWatch {
    latest: Arc<ArcSwap<Topology>>,
    changed: watch::Receiver<()>,
    hint: mpsc::Sender<ServerId>,
}

impl TopologyWatch {
    /// The topology of this moment: one pointer load. Hold it for one decision, not across a wait.
    pub fn load(&self) -> arc_swap::Guard<Arc<Topology>> {
        self.latest.load()
    }

    /// Waits for the next publication after the last call (or after the clone was made). Cancel-safe. Pends for ever
    /// once the publisher is gone.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Asks `control` to look at that server now. Lossy: when many ask at once, some are dropped.
    pub fn hint(&self, server: ServerId) {
        let _ = self.hint.try_send(server);
    }
}
