//! MariaDB's GTID position: per replication domain the last transaction, `domain-server-sequence`.
//!
//! <https://mariadb.com/docs/server/ha-and-performance/standard-replication/gtid>.

use super::GtidError;
use super::scan::Scan;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Per replication domain the last transaction.
///
/// Sequence numbers rise within a domain when `gtid_strict_mode` is on, or when only one server at a time writes to
/// it. That is what [`covers`](Self::covers) builds on: a position says nothing about gaps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MariaDbGtidPosition {
    domains: BTreeMap<u32, Last>,
}

/// The last transaction of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Last {
    server: u32,
    sequence: u64,
}

impl MariaDbGtidPosition {
    /// Whether every domain of `other` is in `self` with the same or a higher sequence number. Server ids may differ.
    pub fn covers(&self, other: &Self) -> bool {
        other
            .domains
            .iter()
            .all(|(domain, wanted)| self.domains.get(domain).is_some_and(|held| held.sequence >= wanted.sequence))
    }

    /// Takes over each domain of `other` that is further there.
    pub fn merge(&mut self, other: &Self) {
        for (&domain, &last) in &other.domains {
            self.raise(domain, last);
        }
    }

    /// What `executed` has of the domains in `self`, up to where `self` is.
    #[must_use]
    pub fn within(&self, executed: &Self) -> Self {
        let part = |(domain, wanted): (&u32, &Last)| {
            let held = executed.domains.get(domain)?;
            Some((*domain, if held.sequence < wanted.sequence { *held } else { *wanted }))
        };
        Self { domains: self.domains.iter().filter_map(part).collect() }
    }

    /// Takes over one transaction, if its domain is not further already.
    pub(super) fn note(&mut self, domain: u32, server: u32, sequence: u64) {
        self.raise(domain, Last { server, sequence });
    }

    /// `(domain, server, sequence)` of each domain.
    pub(super) fn transactions(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        self.domains.iter().map(|(&domain, last)| (domain, last.server, last.sequence))
    }

    /// Each domain's part of it, and the `server_id` of who wrote the transaction that this ends with.
    pub fn ends(&self) -> impl Iterator<Item = (u32, Self)> {
        self.domains.iter().map(|(&domain, &last)| (last.server, Self { domains: BTreeMap::from([(domain, last)]) }))
    }

    /// No domain in it.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    fn raise(&mut self, domain: u32, last: Last) {
        let held = self.domains.entry(domain).or_insert(last);
        // Of the same sequence number from two servers (a broken cluster) the higher id stays, so that order does not matter.
        if (held.sequence, held.server) < (last.sequence, last.server) {
            *held = last;
        }
    }
}

impl FromStr for MariaDbGtidPosition {
    type Err = GtidError;

    /// Reads `0-1-5,1-2-7`. Of a domain named twice (as in `gtid_binlog_state`) the highest sequence number counts.
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let mut scan = Scan::new(text)?;
        let mut position = Self::default();
        while scan.peek().is_some() {
            let (domain, server, sequence) = gtid(&mut scan)?;
            position.raise(domain, Last { server, sequence });
        }
        Ok(position)
    }
}

/// One `domain-server-sequence` and the comma behind it, if another follows.
pub(super) fn gtid(scan: &mut Scan<'_>) -> Result<(u32, u32, u64), GtidError> {
    let domain = number_u32(scan, "a domain id")?;
    scan.demand(b'-', "'-'")?;
    let server = number_u32(scan, "a server id")?;
    scan.demand(b'-', "'-'")?;
    let sequence = scan.number(u64::MAX, "a sequence number")?;
    if scan.peek().is_some() {
        scan.demand(b',', "',' or the end")?;
    }
    Ok((domain, server, sequence))
}

fn number_u32(scan: &mut Scan<'_>, expected: &'static str) -> Result<u32, GtidError> {
    let error = scan.expected(expected);
    u32::try_from(scan.number(u64::from(u32::MAX), expected)?).map_err(|_| error)
}

impl fmt::Display for MariaDbGtidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (domain, last)) in self.domains.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{}-{}", last.server, last.sequence)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(text: &str) -> MariaDbGtidPosition {
        text.parse().unwrap()
    }

    fn any_position() -> impl Strategy<Value = MariaDbGtidPosition> {
        proptest::collection::vec((0..4u32, 1..4u32, 0..9u64), 0..6).prop_map(|rows| {
            let mut position = MariaDbGtidPosition::default();
            for (domain, server, sequence) in rows {
                position.raise(domain, Last { server, sequence });
            }
            position
        })
    }

    #[test]
    fn positions_are_printed_by_domain() {
        assert_eq!(position(" 1-2-7 ,\n0-1-5").to_string(), "0-1-5,1-2-7");
        assert_eq!(
            position("4294967295-4294967295-18446744073709551615").to_string(),
            "4294967295-4294967295-18446744073709551615"
        );
    }

    #[test]
    fn within_is_what_is_left_of_a_position() {
        for (of, executed, left) in
            [("0-1-5", "0-1-9", "0-1-5"), ("0-1-5,1-1-3", "0-2-4", "0-2-4"), ("0-1-5", "1-1-1", ""), ("", "0-1-5", "")]
        {
            assert_eq!(position(of).within(&position(executed)).to_string(), left, "{of} in {executed}");
        }
    }

    #[test]
    fn the_empty_text_is_the_empty_position() {
        assert!(position("").is_empty());
        assert!(position(" \n").is_empty());
        assert!(!position("0-1-0").is_empty());
    }

    #[test]
    fn a_domain_is_covered_by_its_sequence_number_whoever_wrote_it() {
        assert!(position("0-2-5").covers(&position("0-1-5")));
        assert!(position("0-2-6,1-1-1").covers(&position("0-1-5")));
        assert!(!position("0-1-4").covers(&position("0-1-5")));
        assert!(!position("0-1-9").covers(&position("0-1-5,1-1-1")));
    }

    #[test]
    fn what_is_no_position_is_refused_with_its_place() {
        for (text, expected, offset) in [
            ("0", "'-'", 1),
            ("0-1", "'-'", 3),
            ("0-1-", "a sequence number", 4),
            ("0-1-x", "a sequence number", 4),
            ("0-1-5;", "',' or the end", 5),
            (",", "a domain id", 0),
            ("4294967296-1-1", "a domain id", 0),
            ("0-1-18446744073709551616", "a sequence number", 4),
            ("3e11fa47-71ca-11e1-9e33-c80aa9429562:1", "'-'", 1),
        ] {
            assert_eq!(text.parse::<MariaDbGtidPosition>(), Err(GtidError::Expected { expected, offset }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_position_reads_back(a in any_position()) {
            prop_assert_eq!(position(&a.to_string()), a);
        }

        #[test]
        fn a_merged_position_is_the_least_that_covers_both(a in any_position(), b in any_position(), c in any_position()) {
            let mut both = a.clone();
            both.merge(&b);
            let mut reverse = b.clone();
            reverse.merge(&a);
            prop_assert_eq!(&both, &reverse);
            prop_assert!(both.covers(&a) && both.covers(&b));
            prop_assert_eq!(c.covers(&a) && c.covers(&b), c.covers(&both));
        }

        #[test]
        fn covering_is_transitive(a in any_position(), b in any_position(), c in any_position()) {
            prop_assert!(a.covers(&a));
            prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
        }

        #[test]
        fn no_text_panics(text in "[0-9,\\- \\n:a]{0,40}|\\PC{0,20}") {
            let _ = text.parse::<MariaDbGtidPosition>();
        }
    }
}
