//! When the data path last heard each server: a sign of life that costs nobody a connection.

use crate::topology::ServerId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For each server, since when at least it is known to have been alive.
///
/// What counts is when a statement (or a login) was *begun* that the server then answered, not when the answer was read: an answer may
/// have lain in a socket for as long as its client did not read.
#[derive(Debug)]
pub(super) struct Heard {
    base: Instant,
    /// Milliseconds from `base`, plus one; 0: never.
    servers: Box<[AtomicU64]>,
}

impl Heard {
    /// For servers whose ids are below `servers`.
    pub(super) fn new(servers: usize) -> Self {
        Self { base: Instant::now(), servers: (0..servers).map(|_| AtomicU64::new(0)).collect() }
    }

    /// That server has answered what it was asked at `asked` or later.
    pub(super) fn note(&self, server: ServerId, asked: Instant) {
        let Some(last) = self.servers.get(usize::from(server.0)) else { return };
        let millis = asked.saturating_duration_since(self.base).as_millis();
        let at = u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1;
        // Most answers are of the same millisecond: those cost a load.
        if last.load(Ordering::Relaxed) < at {
            last.fetch_max(at, Ordering::Relaxed);
        }
    }

    /// The latest time at which that server was asked something that it answered.
    pub(super) fn last(&self, server: ServerId) -> Option<Instant> {
        let at = self.servers.get(usize::from(server.0))?.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.base + Duration::from_millis(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_question_that_was_answered_counts() {
        let heard = Heard::new(2);
        assert_eq!(heard.last(ServerId(1)), None);
        let at = |ms| heard.base + Duration::from_millis(ms);
        heard.note(ServerId(1), at(70));
        heard.note(ServerId(1), at(30));
        assert_eq!(heard.last(ServerId(1)), Some(at(70)), "an answer to an older question says no more");
        assert_eq!(heard.last(ServerId(0)), None);
        heard.note(ServerId(7), at(90));
        assert_eq!(heard.last(ServerId(7)), None, "no such server");
    }
}
