//! Time in this room: an argument.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Milliseconds on a clock that never goes back within a run.
///
/// The shell anchors it to the wall clock once, at start, and counts from there, so that a time that an earlier run
/// recorded means about the same in this run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    /// Time since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same in milliseconds, as in reports.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time plus a duration.
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }
}
