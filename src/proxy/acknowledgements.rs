//! What this proxy has acknowledged to its clients, all together: what a read with `consistency = "global"` must see.

use super::Shared;
use crate::conn;
use crate::route::{Frontier, MustSee, Needs, Obstacle, Positions, Reason};
use crate::session::Acknowledged;
use crate::topology::{ServerId, Topology};
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The frontier of all sessions together. Writes take a lock for a merge of two positions; reads take none.
#[derive(Default)]
pub struct Acknowledgements {
    frontier: Mutex<Frontier>,
    shown: ArcSwap<Shown>,
}

#[derive(Default)]
struct Shown {
    must_see: MustSee,
    /// The look at the primary that it was last settled by.
    looked: Option<Instant>,
}

impl Acknowledgements {
    /// To be called before the client is told.
    pub(super) fn note(&self, acknowledged: &Acknowledged) {
        let mut frontier = self.frontier.lock().unwrap_or_else(PoisonError::into_inner);
        match acknowledged {
            Acknowledged::Upto(position) => frontier.note(position),
            Acknowledged::Untracked => frontier.note_untracked(Reason::WriteUntracked),
        }
        let looked = self.shown.load().looked;
        self.shown.store(Arc::new(Shown { must_see: frontier.must_see(), looked }));
    }

    /// All that was noted so far, as far as it still exists.
    fn so_far(&self, topology: &Topology) -> MustSee {
        let shown = self.shown.load();
        let looked = topology.primary().and_then(|primary| primary.looked);
        if shown.must_see.position.is_none() && shown.must_see.untracked.is_none() || shown.looked == looked {
            return shown.must_see.clone();
        }
        let mut frontier = self.frontier.lock().unwrap_or_else(PoisonError::into_inner);
        // Not an older time: what was noted meanwhile would be taken for acknowledged before it.
        frontier.settle(topology, Instant::now());
        let must_see = frontier.must_see();
        self.shown.store(Arc::new(Shown { must_see: must_see.clone(), looked }));
        must_see
    }
}

/// What is known of positions at the time of one decision.
pub(super) struct Known<'a> {
    pub(super) shared: &'a Shared,
    pub(super) topology: &'a Topology,
}

impl Positions for Known<'_> {
    fn acknowledged(&self) -> MustSee {
        self.shared.acknowledgements.so_far(self.topology)
    }

    fn has(&self, server: ServerId, needs: &Needs) -> bool {
        self.shared.topology.positions().is_known(server, |known| needs.met_by(Some(known)))
    }

    fn obstacle(&self, server: ServerId) -> Option<Obstacle> {
        self.shared.topology.positions().obstacle(server).map(|obstacle| match obstacle {
            conn::Obstacle::Missing(position) => Obstacle::Missing(position),
            conn::Obstacle::Unwatched => Obstacle::Unwatched,
        })
    }
}
