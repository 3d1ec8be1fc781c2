//! Everything that a MariaDB server has, by domain and by the server that wrote it: `gtid_binlog_state`.
//!
//! <https://mariadb.com/docs/server/ha-and-performance/standard-replication/gtid> ("gtid_binlog_state").

use super::mariadb::gtid;
use super::scan::Scan;
use super::{GtidError, MariaDbGtidPosition};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Per replication domain and server the last transaction that this server wrote there and that is held.
///
/// A position (`gtid_slave_pos`) has one transaction per domain, so two servers that each wrote a transaction number 12
/// look alike. Here they do not: what a server wrote itself is listed beside what the primary wrote. The value is the
/// set of all transactions up to each entry, because a server's own sequence numbers rise and replication skips none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MariaDbGtidState {
    /// (domain, server) → last sequence number.
    last: BTreeMap<(u32, u32), u64>,
}

impl MariaDbGtidState {
    /// Whether all of `other` is in `self`.
    pub fn covers(&self, other: &Self) -> bool {
        other.last.iter().all(|(writer, wanted)| self.last.get(writer).is_some_and(|held| held >= wanted))
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (&writer, &sequence) in &other.last {
            self.raise(writer, sequence);
        }
    }

    /// Keeps, per domain and server, what goes further than `other`.
    ///
    /// The rest is named by its last transaction alone: `0-1-9` less `0-1-7` stays `0-1-9`, which stands for 8 and 9.
    pub fn subtract(&mut self, other: &Self) {
        self.last.retain(|writer, sequence| other.last.get(writer).is_none_or(|held| held < sequence));
    }

    /// Keeps only what is in `other` too.
    pub fn intersect(&mut self, other: &Self) {
        self.last.retain(|writer, sequence| {
            let held = other.last.get(writer);
            *sequence = (*sequence).min(held.copied().unwrap_or(0));
            held.is_some()
        });
    }

    /// Keeps only transactions of servers whose `server_id` satisfies `keeps`.
    pub fn retain(&mut self, keeps: impl Fn(u32) -> bool) {
        self.last.retain(|(_, server), _| keeps(*server));
    }

    /// Whether each side has transactions in one domain that the other lacks. A domain is one sequence, whichever
    /// server wrote it, so two of its replicas cannot differ like this, and neither can give its transactions to the
    /// other.
    pub fn contradicts(&self, other: &Self) -> bool {
        let domains: BTreeSet<u32> = self.last.keys().map(|(domain, _)| *domain).collect();
        domains.into_iter().any(|domain| {
            let of = |state: &Self| Self {
                last: state
                    .last
                    .range((domain, 0)..=(domain, u32::MAX))
                    .map(|(writer, number)| (*writer, *number))
                    .collect(),
            };
            let (its, theirs) = (of(self), of(other));
            !its.covers(&theirs) && !theirs.covers(&its)
        })
    }

    /// Keeps what a replica has received that gets `self` as a stream and is at `position`: per domain nothing beyond
    /// the position's sequence number, and no domain that the position does not name.
    pub fn up_to(&self, position: &MariaDbGtidPosition) -> Self {
        let mut held = Self::default();
        for (domain, server, sequence) in position.transactions() {
            held.raise((domain, server), sequence);
            for (&writer, &written) in self.last.range((domain, 0)..=(domain, u32::MAX)) {
                held.raise(writer, written.min(sequence));
            }
        }
        held
    }

    /// The corresponding position: per domain its highest transaction.
    pub fn position(&self) -> MariaDbGtidPosition {
        let mut position = MariaDbGtidPosition::default();
        for (&(domain, server), &sequence) in &self.last {
            position.note(domain, server, sequence);
        }
        position
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    fn raise(&mut self, writer: (u32, u32), sequence: u64) {
        let held = self.last.entry(writer).or_insert(sequence);
        *held = (*held).max(sequence);
    }
}

impl From<&MariaDbGtidPosition> for MariaDbGtidState {
    /// Only the transactions that the position names: it does not say what other servers wrote before them.
    fn from(position: &MariaDbGtidPosition) -> Self {
        Self::default().up_to(position)
    }
}

impl FromStr for MariaDbGtidState {
    type Err = GtidError;

    /// Reads `0-1-5,0-2-7,1-2-3`.
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let mut scan = Scan::new(text)?;
        let mut state = Self::default();
        while scan.peek().is_some() {
            let (domain, server, sequence) = gtid(&mut scan)?;
            state.raise((domain, server), sequence);
        }
        Ok(state)
    }
}

impl fmt::Display for MariaDbGtidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ((domain, server), sequence)) in self.last.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(text: &str) -> MariaDbGtidState {
        text.parse().unwrap()
    }

    /// Texts over a small universe, with the transactions that they stand for.
    fn any_state() -> impl Strategy<Value = (MariaDbGtidState, BTreeSet<(u32, u32, u64)>)> {
        proptest::collection::vec((0..3u32, 1..4u32, 1..9u64), 0..7).prop_map(|rows| {
            let text = rows.iter().map(|(d, s, n)| format!("{d}-{s}-{n}")).collect::<Vec<_>>().join(",");
            let model = rows.into_iter().flat_map(|(d, s, n)| (1..=n).map(move |n| (d, s, n))).collect();
            (state(&text), model)
        })
    }

    #[test]
    fn a_transaction_of_a_replicas_own_is_told_from_the_primarys_of_the_same_number() {
        let (replica, primary) = (state("0-1-11,0-2-12"), state("0-1-12"));
        assert!(replica.position().covers(&primary.position()));
        assert!(!replica.covers(&primary));
        let mut errant = replica;
        errant.subtract(&primary);
        assert_eq!(errant.to_string(), "0-2-12");
    }

    #[test]
    fn a_replica_of_a_stream_has_what_came_before_its_position() {
        let primary = state("0-3-12,0-1-20,5-3-2");
        assert_eq!(primary.up_to(&"0-1-15".parse().unwrap()).to_string(), "0-1-15,0-3-12");
        assert_eq!(primary.up_to(&"0-3-10".parse().unwrap()).to_string(), "0-1-10,0-3-10");
        assert!(primary.up_to(&MariaDbGtidPosition::default()).is_empty());
    }

    #[test]
    fn a_domain_is_one_sequence() {
        for (one, other, contradicts) in [
            ("0-1-9", "0-1-10", false),
            ("0-1-10", "0-1-9,0-2-10", true),
            ("0-1-9,0-2-10", "0-1-9", false),
            // Each is further in another domain.
            ("0-1-9,1-1-4", "0-1-10,1-1-3", false),
            ("0-1-9", "1-1-3", false),
        ] {
            assert_eq!(state(one).contradicts(&state(other)), contradicts, "{one} and {other}");
            assert_eq!(state(other).contradicts(&state(one)), contradicts, "{other} and {one}");
        }
    }

    #[test]
    fn what_is_no_state_is_refused_with_its_place() {
        let expected = |expected, offset| Err(GtidError::Expected { expected, offset });
        assert_eq!("0-1".parse::<MariaDbGtidState>(), expected("'-'", 3));
        assert_eq!("0-1-5;".parse::<MariaDbGtidState>(), expected("',' or the end", 5));
    }

    proptest! {
        #[test]
        fn a_printed_state_reads_back((a, _) in any_state()) {
            prop_assert_eq!(state(&a.to_string()), a);
        }

        #[test]
        fn a_state_is_the_set_of_its_transactions((a, model_a) in any_state(), (b, model_b) in any_state()) {
            prop_assert_eq!(a.covers(&b), model_a.is_superset(&model_b));
            let mut union = a.clone();
            union.merge(&b);
            prop_assert!(union.covers(&a) && union.covers(&b));
            let mut rest = a.clone();
            rest.subtract(&b);
            prop_assert_eq!(rest.is_empty(), model_a.is_subset(&model_b));
            let mut rejoined = b.clone();
            rejoined.merge(&rest);
            prop_assert_eq!(rejoined, union);
            let mut common = a.clone();
            common.intersect(&b);
            prop_assert!(a.covers(&common) && b.covers(&common));
            prop_assert_eq!(common.is_empty(), model_a.is_disjoint(&model_b));
        }

        #[test]
        fn no_text_panics(text in "[0-9,\\- \\n:a]{0,40}|\\PC{0,20}") {
            let _ = text.parse::<MariaDbGtidState>();
        }
    }
}
