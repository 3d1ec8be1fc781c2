//! Time as this room has it: an argument.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Milliseconds on a clock that never goes back within a run.
///
/// The shell anchors it to the wall clock once, at start, and counts on from there, so that a moment written down by an
/// earlier run means about the same in this one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    /// How long ago `earlier` was; nothing when it was not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same in milliseconds, as reports have it.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So much later.
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }
}
