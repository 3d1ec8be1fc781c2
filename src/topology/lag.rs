//! How far a replica is behind, by position instead of by the servers' clocks.

use super::GtidSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Positions kept; at four probes a second this covers the last 17 minutes of a primary that is constantly written to.
const POSITIONS_MAX: usize = 4096;

/// How far a replica is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behind {
    /// This far, within the time between two probes.
    By(Duration),
    /// This far or further: it lacks even the oldest known position.
    AtLeast(Duration),
}

/// What a primary had executed, and when that was seen.
///
/// A replica's lag is the time for which it has lacked a transaction that the primary was seen to have. Its resolution
/// is the time between two probes. It needs no server's clock. It also grows when the connection to the primary is dead
/// and the replica believes that it is up to date, as `Seconds_Behind_Source` does until the network timeout.
#[derive(Clone, Debug, Default)]
pub struct PositionHistory {
    /// Each position covers the one before it.
    positions: VecDeque<(Instant, Arc<GtidSet>)>,
}

impl PositionHistory {
    /// Records what the primary had at `seen`; times do not decrease from call to call.
    pub fn note(&mut self, seen: Instant, executed: &Arc<GtidSet>) {
        if self.positions.back().is_some_and(|(_, last)| last == executed) {
            return;
        }
        if self.positions.len() == POSITIONS_MAX {
            self.positions.pop_front();
        }
        self.positions.push_back((seen, executed.clone()));
    }

    /// How far behind a replica is that had `executed` at `asked`; `None` if nothing has been recorded yet.
    pub fn lag(&self, asked: Instant, executed: &GtidSet) -> Option<Behind> {
        self.positions.back()?;
        let missing = self.positions.partition_point(|(_, position)| executed.covers(position));
        let lag =
            self.positions.get(missing).map_or(Duration::ZERO, |(seen, _)| asked.saturating_duration_since(*seen));
        Some(if missing == 0 { Behind::AtLeast(lag) } else { Behind::By(lag) })
    }

    /// Forgets everything, as when another server became the primary.
    pub fn clear(&mut self) {
        self.positions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Flavor;

    fn position(sequence: usize) -> Arc<GtidSet> {
        Arc::new(GtidSet::parse(Flavor::MariaDb, &format!("0-1-{sequence}")).unwrap())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_replica_is_behind_for_as_long_as_it_misses_what_the_primary_had() {
        let start = Instant::now();
        let mut history = PositionHistory::default();
        for (at, sequence) in [(0, 1), (250, 2), (500, 2), (750, 3)] {
            history.note(start + ms(at), &position(sequence));
        }
        for (sequence, lag) in [(3, 0), (4, 0), (2, 250), (1, 750)] {
            assert_eq!(history.lag(start + ms(1000), &position(sequence)), Some(Behind::By(ms(lag))), "{sequence}");
        }
    }

    #[test]
    fn a_replica_that_misses_all_that_is_known_is_behind_by_an_unknown_time_more() {
        let start = Instant::now();
        let mut history = PositionHistory::default();
        history.note(start, &position(7));
        assert_eq!(history.lag(start + ms(1000), &position(6)), Some(Behind::AtLeast(ms(1000))));
    }

    #[test]
    fn a_replica_asked_before_the_primary_is_not_behind() {
        let start = Instant::now();
        let mut history = PositionHistory::default();
        history.note(start, &position(1));
        history.note(start + ms(250), &position(2));
        assert_eq!(history.lag(start + ms(240), &position(1)), Some(Behind::By(ms(0))));
    }

    #[test]
    fn without_a_position_of_the_primary_the_lag_is_not_known() {
        let mut history = PositionHistory::default();
        assert_eq!(history.lag(Instant::now(), &position(1)), None);
        history.note(Instant::now(), &position(1));
        history.clear();
        assert_eq!(history.lag(Instant::now(), &position(1)), None);
    }

    #[test]
    fn the_history_is_bounded() {
        let start = Instant::now();
        let mut history = PositionHistory::default();
        for step in 0..2 * POSITIONS_MAX {
            history.note(start + ms(step as u64), &position(step + 1));
        }
        assert_eq!(history.positions.len(), POSITIONS_MAX);
        let end = start + ms(2 * POSITIONS_MAX as u64);
        assert_eq!(history.lag(end, &position(0)), Some(Behind::AtLeast(ms(POSITIONS_MAX as u64))));
    }
}
