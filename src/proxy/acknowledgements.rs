//! What this proxy has acknowledged to its clients, all together: what a read with `consistency = "global"` must see.

use crate::route::{Frontier, Reason};
use crate::session::Acknowledged;
use crate::topology::Topology;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The frontier of all sessions together. It is held for a merge of two positions at most.
#[derive(Default)]
pub struct Acknowledgements(Mutex<Frontier>);

impl Acknowledgements {
    /// To be called before the client is told.
    pub(super) fn note(&self, acknowledged: &Acknowledged) {
        let mut frontier = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match acknowledged {
            Acknowledged::Upto(position) => frontier.note(position),
            Acknowledged::Untracked => frontier.note_untracked(Reason::WriteUntracked),
        }
    }

    /// All that was noted so far, as far as it still exists.
    pub(super) fn so_far(&self, topology: &Topology) -> Frontier {
        let mut frontier = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Not an older time: what was noted meanwhile would be taken for acknowledged before it.
        frontier.settle(topology, Instant::now());
        frontier.clone()
    }
}
