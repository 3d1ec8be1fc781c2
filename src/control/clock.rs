//! The one clock of the control plane's decisions.

use crate::failover::Moment;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Counts milliseconds that never go back, from the wall clock's time at its start: what an earlier run wrote down means about
/// the same in this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    anchor_ms: u64,
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the only look at the wall clock: what is written down must outlive us"
        )]
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { anchor_ms: millis(wall), started: Instant::now() }
    }

    pub(super) fn now(&self) -> Moment {
        self.at(Instant::now())
    }

    pub(super) fn at(&self, instant: Instant) -> Moment {
        Moment(self.anchor_ms.saturating_add(millis(instant.saturating_duration_since(self.started))))
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
