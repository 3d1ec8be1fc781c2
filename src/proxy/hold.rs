//! Statements that wait for a primary: how many at once, and how much of them is kept in memory.

use crate::config::Limits;
use crate::telemetry::Metrics;

/// A place among the statements that wait; given back when dropped.
pub(super) struct Hold<'a> {
    metrics: &'a Metrics,
    bytes: u64,
}

/// The limit that leaves no room: its name, and what it is.
pub(super) struct Full {
    pub(super) key: &'static str,
    pub(super) limit: u64,
}

impl<'a> Hold<'a> {
    /// Takes a place for a statement of which `bytes` are kept. What others take at the same moment counts at once, so the
    /// limits are never passed.
    pub(super) fn take(metrics: &'a Metrics, bytes: usize, limits: &Limits) -> Result<Self, Full> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let (statements, held) = metrics.hold(bytes);
        let hold = Self { metrics, bytes };
        if statements > limits.max_held_statements {
            return Err(Full { key: "limits.max_held_statements", limit: u64::from(limits.max_held_statements) });
        }
        if held > limits.max_held_bytes {
            return Err(Full { key: "limits.max_held_bytes", limit: limits.max_held_bytes });
        }
        Ok(hold)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.metrics.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::telemetry::LABELS;
    use std::time::Instant;

    fn limits(statements: u32, bytes: u64) -> Limits {
        let text = "[listen]\naddress = \"127.0.0.1:0\"\n[cluster]\nservers = [\"a:1\"]\n[monitor]\nuser = \"m\"\npassword = \"\"\n\
                    [[user]]\nname = \"u\"\npassword = \"\"\n";
        let limits = Config::parse(text, "test").unwrap().limits;
        Limits { max_held_statements: statements, max_held_bytes: bytes, ..limits }
    }

    #[test]
    fn one_statement_too_many_is_refused_and_a_place_given_back_is_free() {
        let metrics = Metrics::new("c", &[], LABELS, 1, Instant::now());
        let limits = limits(2, 1000);
        let first = Hold::take(&metrics, 10, &limits).ok().unwrap();
        let _second = Hold::take(&metrics, 10, &limits).ok().unwrap();
        assert_eq!(Hold::take(&metrics, 10, &limits).err().unwrap().key, "limits.max_held_statements");
        assert_eq!(metrics.held(), 2);
        drop(first);
        assert!(Hold::take(&metrics, 10, &limits).is_ok());
    }

    #[test]
    fn statements_that_are_too_long_together_are_refused() {
        let metrics = Metrics::new("c", &[], LABELS, 1, Instant::now());
        let limits = limits(10, 100);
        let _first = Hold::take(&metrics, 60, &limits).ok().unwrap();
        assert_eq!(Hold::take(&metrics, 60, &limits).err().unwrap().key, "limits.max_held_bytes");
        assert!(Hold::take(&metrics, 40, &limits).is_ok());
    }
}
