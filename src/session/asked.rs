//! What is asked of one statement besides what it says: by the client in a hint, by the operator in a rule.

use super::{Failure, Plan, Run, Session};
use crate::route::{Consistency, Demand, Moment, Origin, Place, Reason, Route, Target, first_match};
use crate::sql::{self, Effect, Facts, HintConsistency, HintTarget, StatementKind};
use crate::topology::{Flavor, GtidSet, ServerId, Topology};
use crate::wire::ErrPacket;
use std::sync::Arc;

/// What the hints of a statement ask for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Asked {
    pub(super) demand: Demand,
    pub(super) consistency: Option<Consistency>,
    /// What the read must see.
    pub(super) gtid: Option<Arc<GtidSet>>,
    /// What should have been that, and is none.
    wrong_gtid: Option<Arc<str>>,
    unknown: u32,
}

/// How many hints of a statement had which fate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hinted {
    /// Hints that were followed.
    pub obeyed: u32,
    /// Hints that could not be followed, or not safely.
    pub ignored: u32,
    /// Words that are no hint.
    pub unknown: u32,
}

impl Asked {
    /// Reads the hints at the beginning of a statement.
    pub(super) fn of(text: &[u8], topology: &Topology, flavor: Flavor) -> Self {
        let hints = sql::hints(text);
        if hints.is_empty() {
            return Self::default();
        }
        let mut unknown = hints.unknown;
        let place = hints.target.and_then(|target| match target {
            HintTarget::Primary => Some(Place::Primary),
            HintTarget::Replica => Some(Place::Replica),
            HintTarget::Server(name) => {
                let server = server_named(name, topology);
                unknown += u32::from(server.is_none());
                server.map(Place::Server)
            }
        });
        let consistency = hints.consistency.map(|word| match word {
            HintConsistency::Eventual => Consistency::Eventual,
            HintConsistency::Session => Consistency::Session,
            HintConsistency::Global => Consistency::Global,
        });
        let (gtid, wrong_gtid) = match hints.gtid.map(|text| named_gtid(text, flavor)) {
            Some(Ok(gtid)) => (gtid, None),
            Some(Err(text)) => (None, Some(text.into())),
            None => (None, None),
        };
        Self { demand: Demand { place, max_lag: hints.max_lag }, consistency, gtid, wrong_gtid, unknown }
    }

    /// What became of the hints of a statement that goes this way. All but `primary` can only be followed by a proven read.
    pub(super) fn fate(&self, route: &Route, is_read: bool) -> Hinted {
        let mut fate = Hinted { unknown: self.unknown, ..Hinted::default() };
        let mut count = |followed: bool| *if followed { &mut fate.obeyed } else { &mut fate.ignored } += 1;
        match self.demand.place {
            Some(Place::Primary) => count(route.target == Target::Primary),
            Some(Place::Replica) => count(route.target == Target::Replica),
            Some(Place::Server(server)) => count(route.server == server),
            None => {}
        }
        if self.demand.max_lag.is_some() {
            count(is_read);
        }
        if self.consistency.is_some() {
            count(is_read);
        }
        if self.gtid.is_some() {
            count(is_read);
        }
        fate
    }
}

/// Longest GTID set that a client may name, in bytes.
const GTID_LEN_MAX: usize = 64 << 10;

/// What a client names in a hint or in `dbproxy_gtid`. `Err`: what it named instead, cut where it is long.
pub(super) fn named_gtid(text: &[u8], flavor: Flavor) -> Result<Option<Arc<GtidSet>>, String> {
    let parsed = std::str::from_utf8(text).ok().filter(|text| text.len() <= GTID_LEN_MAX);
    match parsed.and_then(|text| GtidSet::parse(flavor, text).ok()) {
        Some(set) if set.is_empty() => Ok(None),
        Some(set) => Ok(Some(Arc::new(set))),
        None => Err(String::from_utf8_lossy(&text[..text.len().min(100)]).into_owned()),
    }
}

/// By its whole address, or by its host if no other server has the same.
fn server_named(name: &[u8], topology: &Topology) -> Option<ServerId> {
    let servers = || topology.servers.iter();
    let whole = servers().find(|server| server.address.as_bytes().eq_ignore_ascii_case(name));
    let host =
        |address: &str| address.rsplit_once(':').is_some_and(|(host, _)| host.as_bytes().eq_ignore_ascii_case(name));
    let mut hosts = servers().filter(|server| host(&server.address));
    let by_host = hosts.next().filter(|_| hosts.next().is_none());
    whole.or(by_host).map(|server| server.id)
}

impl Session {
    /// Applies the first rule that fits. `Some`: that refuses the statement, or a hint cannot be read.
    pub(super) fn refused(&self, run: &mut Run, facts: &Facts, moment: &Moment<'_>) -> Option<Plan> {
        if let Some(text) = &run.asked.wrong_gtid {
            let text = text.to_string();
            return Some(Plan::Fail(Failure::WrongGtid { named_in: "hint gtid", text, flavor: self.flavor }));
        }
        self.apply_rule(run, facts, moment)
    }

    fn apply_rule(&self, run: &mut Run, facts: &Facts, moment: &Moment<'_>) -> Option<Plan> {
        if moment.policy.rules.is_empty() {
            return None;
        }
        let origin =
            Origin { user: &self.user, schema: self.schema(), client: self.client, structure: moment.structure };
        let rule = first_match(&moment.policy.rules, facts, &origin)?;
        if let Some(message) = &rule.action.reject {
            return Some(Plan::Fail(Failure::Rejected { rule: rule.name.clone(), message: message.clone() }));
        }
        run.rule = Some(rule.name.clone());
        run.timeout = rule.action.timeout;
        run.ruled = rule.action.demand;
        None
    }
}

impl Run {
    /// Whether it is a proven read.
    pub fn is_read(&self) -> bool {
        self.facts.is_some_and(|facts| facts.effect == Effect::Read)
    }

    /// Whether it set, or may have set, global variables.
    pub fn sets_globals(&self) -> bool {
        self.facts.is_some_and(|facts| facts.kind == StatementKind::Set && facts.effect == Effect::Admin)
    }

    /// It ran longer than its rule allows: it is not run again, and the server's word for its end becomes the rule's.
    pub fn set_over_limit(&mut self) {
        (self.over_limit, self.repeatable) = (true, false);
    }

    /// Whether it did.
    pub fn over_limit(&self) -> bool {
        self.over_limit
    }

    /// The rule's word for the end of a statement that ran too long.
    pub(super) fn limit_error(&self, flavor: Flavor) -> Option<Vec<u8>> {
        let (true, Some(rule), Some(limit)) = (self.over_limit, &self.rule, self.timeout) else { return None };
        let failure = Failure::OverLimit { rule: rule.clone(), limit, flavor };
        let mut payload = Vec::new();
        ErrPacket::from(&failure).encode(&mut payload);
        Some(payload)
    }
}

/// The rule's word comes before the hint's, and of two bounds the narrower one counts.
pub(super) fn demand(run: &Run) -> (Demand, Reason) {
    let (ruled, hinted) = (run.ruled, run.asked.demand);
    let max_lag = [ruled.max_lag, hinted.max_lag].into_iter().flatten().min();
    let by = if ruled.place.is_some() { Reason::Rule } else { Reason::Hint };
    (Demand { place: ruled.place.or(hinted.place), max_lag }, by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn topology() -> Topology {
        Topology::unseen("main".into(), &["db1:3306".into(), "db2:3306".into(), "db2:3307".into()])
    }

    fn place(hint: &str) -> (Option<Place>, u32) {
        let asked = Asked::of(format!("/* dbproxy: {hint} */ SELECT 1").as_bytes(), &topology(), Flavor::MySql);
        (asked.demand.place, asked.unknown)
    }

    #[test]
    fn a_server_is_named_by_its_address_or_by_a_host_that_only_it_has() {
        assert_eq!(place("server=db2:3307"), (Some(Place::Server(ServerId(2))), 0));
        assert_eq!(place("server=DB1"), (Some(Place::Server(ServerId(0))), 0));
        assert_eq!(place("server=db2"), (None, 1));
        assert_eq!(place("server=db9, fast"), (None, 2));
    }

    #[test]
    fn hints_are_counted_by_what_became_of_them() {
        let asked = Asked::of(
            b"/* dbproxy: replica, max_lag=1s, consistency=global, x */ SELECT 1",
            &topology(),
            Flavor::MySql,
        );
        let route = |target| Route {
            server: ServerId(0),
            target,
            epoch: crate::topology::Epoch(0),
            reason: Reason::PlainRead,
            wait: false,
        };
        assert_eq!(asked.fate(&route(Target::Replica), true), Hinted { obeyed: 3, ignored: 0, unknown: 1 });
        assert_eq!(asked.fate(&route(Target::Primary), false), Hinted { obeyed: 0, ignored: 3, unknown: 1 });
        assert_eq!(
            Asked::of(b"SELECT 1", &topology(), Flavor::MySql).fate(&route(Target::Primary), true),
            Hinted::default()
        );
    }

    #[test]
    fn the_operator_has_the_last_word_and_the_narrower_bound_counts() {
        let mut run = Run::new(crate::wire::Command::Query, crate::wire::Expect::Results);
        run.asked = Asked::of(b"/* dbproxy: primary, max_lag=1s */ SELECT 1", &topology(), Flavor::MySql);
        assert_eq!(demand(&run).0.place, Some(Place::Primary));
        run.ruled = Demand { place: Some(Place::Replica), max_lag: Some(Duration::from_secs(5)) };
        let expected = Demand { place: Some(Place::Replica), max_lag: Some(Duration::from_secs(1)) };
        assert_eq!(demand(&run), (expected, Reason::Rule));
    }
}
