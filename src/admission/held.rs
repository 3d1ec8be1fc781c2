//! Statements that wait for a primary: how many at once, and how much of them is kept in memory.

use super::Admission;
use std::sync::atomic::Ordering::Relaxed;

/// A statement that waits.
pub struct Held<'a> {
    admission: &'a Admission,
    bytes: u64,
}

/// The limit that leaves no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// The configuration's key.
    pub key: &'static str,
    /// Its value.
    pub limit: u64,
}

impl Admission {
    /// Admits a statement of which `bytes` are kept to those that wait, at most `statements_max` with `bytes_max` in all. What others
    /// take at the same moment counts at once, so the limits are never exceeded.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn hold(&self, bytes: usize, statements_max: u32, bytes_max: u64) -> Result<Held<'_>, Full> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let statements = self.held.fetch_add(1, Relaxed) + 1;
        let all = self.held_bytes.fetch_add(bytes, Relaxed) + bytes;
        let held = Held { admission: self, bytes };
        if statements > statements_max {
            return Err(Full { key: "limits.max_held_statements", limit: u64::from(statements_max) });
        }
        if all > bytes_max {
            return Err(Full { key: "limits.max_held_bytes", limit: bytes_max });
        }
        Ok(held)
    }

    /// Statements that wait for a primary.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.held.load(Relaxed)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.admission.held.fetch_sub(1, Relaxed);
        self.admission.held_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_too_many_is_refused_and_a_place_given_back_is_free() {
        let admission = Admission::new(0);
        let hold = || admission.hold(10, 2, 1000);
        let first = hold().ok().unwrap();
        let _second = hold().ok().unwrap();
        assert_eq!(hold().err().unwrap().key, "limits.max_held_statements");
        assert_eq!(admission.held(), 2);
        drop(first);
        assert!(hold().is_ok());
    }

    #[test]
    fn statements_that_are_too_long_together_are_refused() {
        let admission = Admission::new(0);
        let _first = admission.hold(60, 10, 100).ok().unwrap();
        assert_eq!(admission.hold(60, 10, 100).err().unwrap().key, "limits.max_held_bytes");
        assert!(admission.hold(40, 10, 100).is_ok());
    }
}
