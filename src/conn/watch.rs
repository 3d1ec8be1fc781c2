//! The latest [`Topology`], pushed by `control`, read by everybody else; and the way back: hints, signs of life, and the positions
//! that reads wait for.

use super::heard::Heard;
use super::positions::Positions;
use crate::topology::{ServerId, Topology};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// Makes the two ends and the receiver of hints.
pub fn topology_channel(first: Topology) -> (TopologyPublisher, TopologyWatch, mpsc::Receiver<ServerId>) {
    let heard = Arc::new(Heard::new(first.servers.len()));
    let positions = Arc::new(Positions::new(first.servers.len()));
    let latest = Arc::new(ArcSwap::from_pointee(first));
    let (notify, changed) = watch::channel(());
    let (hint, hints) = mpsc::channel(64);
    let publisher =
        TopologyPublisher { latest: latest.clone(), notify, heard: heard.clone(), positions: positions.clone() };
    (publisher, TopologyWatch { latest, changed, hint, heard, positions }, hints)
}

/// The only writer; owned by `control`.
pub struct TopologyPublisher {
    latest: Arc<ArcSwap<Topology>>,
    notify: watch::Sender<()>,
    heard: Arc<Heard>,
    positions: Arc<Positions>,
}

/// What a watcher of positions follows.
pub struct Followed {
    latest: Arc<ArcSwap<Topology>>,
    changed: watch::Receiver<()>,
    /// Where it reports.
    pub positions: Arc<Positions>,
}

impl Followed {
    /// The topology of this moment.
    pub fn load(&self) -> arc_swap::Guard<Arc<Topology>> {
        self.latest.load()
    }

    /// Waits for the next publication. Cancel-safe. `false` once the publisher is gone.
    pub async fn changed(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }
}

impl TopologyPublisher {
    /// Replaces the topology and wakes whoever waits for a change.
    pub fn publish(&self, topology: Topology) {
        self.positions.published(&self.latest.load(), &topology);
        self.latest.store(Arc::new(topology));
        self.notify.send_replace(());
    }

    /// For a watcher of positions.
    pub fn followed(&self) -> Followed {
        Followed { latest: self.latest.clone(), changed: self.notify.subscribe(), positions: self.positions.clone() }
    }

    /// The latest time at which a client's statement or login was begun that this server answered; `None`: never.
    pub fn heard(&self, server: ServerId) -> Option<Instant> {
        self.heard.last(server)
    }
}

/// A reader's end; cheap to clone, one per session.
#[derive(Clone)]
pub struct TopologyWatch {
    latest: Arc<ArcSwap<Topology>>,
    changed: watch::Receiver<()>,
    hint: mpsc::Sender<ServerId>,
    heard: Arc<Heard>,
    positions: Arc<Positions>,
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

    /// How far the servers are, and where to wait until they are further.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Tells `control` that this server answered what it was asked at `asked` or later: so long at least it has been alive, whatever
    /// the monitor's own looks say.
    pub fn heard(&self, server: ServerId, asked: Instant) {
        self.heard.note(server, asked);
    }
}
