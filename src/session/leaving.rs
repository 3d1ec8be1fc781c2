//! A session's reads do not go back when another server answers them: what the one before may have shown, the next one must
//! have.
//!
//! ```text
//!  replica, or primary ──► replica   the server that is left is asked for its position, and the next one is waited for
//!  replica             ──► primary   the same; the primary must have finished what it was committing of it
//! ```
//! A server's position is not all that it may have shown: a transaction can be seen before `gtid_executed` has it, and a replica shows
//! what its primary, waiting for acknowledgements, does not show yet. So what is being committed counts, too.

use super::backend::{Prelude, Step, Until};
use super::{Answer, Decided, Next, Run, Session};
use crate::route::{Consistency, Lacks, Moment, Needs, Reason, Refusal, Route, Target};
use crate::sql::{Effect, Facts};
use crate::topology::{Flavor, GtidSet, Health, ServerId, Topology};
use std::sync::Arc;

/// What a MySQL server is committing or applying: <https://dev.mysql.com/doc/refman/8.4/en/replication-options-gtids.html>. It tells
/// `UUID:7#19:5#18UUID:3#20`, each number with its thread's, and nothing between one source and the next (9.7).
macro_rules! in_flight {
    () => {
        "REGEXP_REPLACE(REGEXP_REPLACE(@@global.gtid_owned, _ascii'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', _ascii',$0'), \
         _ascii'#[0-9]+', _ascii'')"
    };
}

/// All that a server may have shown to anybody, as bytes, whatever character set results are in. MariaDB's binary log has a
/// transaction before anybody can see it: <https://mariadb.com/docs/server/ha-and-performance/standard-replication/gtid>.
const SHOWN_MYSQL: &str =
    concat!("SELECT CAST(CONCAT(", in_flight!(), ", _ascii',', @@global.gtid_executed) AS BINARY)");
/// An empty position is told by its length: in `EMPTY_STRING_IS_NULL` nothing equals `''`.
const SHOWN_MARIADB: &str = "SELECT CAST(CONCAT_WS(_ascii',', \
     IF(LENGTH(@@global.gtid_slave_pos), @@global.gtid_slave_pos, NULL), \
     IF(LENGTH(@@global.gtid_binlog_pos), @@global.gtid_binlog_pos, NULL)) AS BINARY)";

impl Session {
    /// The same behind another one of the same client: what that wrote is to be seen.
    #[must_use]
    pub fn behind(mut self, before: &Self) -> Self {
        self.state.frontier = before.state.frontier.clone();
        self
    }

    /// The server that answered the session's last read, if that is another one and this read must not be behind it.
    pub(super) fn left_for(&self, route: &Route, facts: &Facts, consistency: Consistency) -> Option<ServerId> {
        self.state.read_at.filter(|left| *left != route.server && follows_reads(route, facts, consistency))
    }

    /// Whether a server that the session leaves can tell how far it is.
    pub(super) fn can_be_asked(&self, server: ServerId, topology: &Topology) -> bool {
        let up = topology.server(server).is_some_and(|server| !matches!(server.health, Health::Down(_)));
        up && self.backends.iter().any(|backend| backend.server == server)
    }

    /// What the lost server had shown is not known; all that the primary has by now contains it. Without a primary the next
    /// replica must have what the lost one was last seen to have, and without positions the reads go on where they can.
    pub(super) fn leave_unasked(
        &mut self,
        left: ServerId,
        route: Route,
        needs: &Needs,
        moment: &Moment<'_>,
    ) -> Result<Decided, Refusal> {
        self.state.replica = None;
        let tracked = moment.topology.server(left).is_some_and(|server| server.gtid_executed.is_some());
        match crate::route::primary(moment.topology, Reason::ReplicaLost) {
            Ok(primary) if tracked => {
                self.state.frontier.note_untracked(Reason::ReplicaLost);
                self.state.frontier.settle(moment.topology, moment.now);
                Ok(Decided { route: primary, awaits: None, named: needs.named(), leaving: Some(left), shows: true })
            }
            _ => {
                // The best that is known of it.
                let known = moment.topology.server(left).and_then(|server| server.gtid_executed.clone());
                let mut awaits = needs.position();
                if let Some(position) = known {
                    self.state.frontier.note(&position);
                    merge(&mut awaits, GtidSet::clone(&position));
                }
                Ok(Decided { route, awaits, named: needs.named(), leaving: None, shows: true })
            }
        }
    }

    /// Asks the server that is left.
    pub(super) fn leaving_step(&self, run: &Run, topology: &Topology) -> Option<Step> {
        let server = run.leaving?;
        let connected = self.backends.iter().any(|backend| backend.server == server);
        match run.route.target {
            Target::Replica if !connected => return Some(Step::ToPrimary(Reason::ReplicaLost)),
            // The primary is asked in its place: it has logged all that a replica has shown.
            Target::Primary if !self.can_be_asked(server, topology) => return None,
            Target::Replica | Target::Primary => {}
        }
        Some(Step::Inject { server, what: Prelude::Position, payload: self.query(self.shown_statement()) })
    }

    fn shown_statement(&self) -> &'static str {
        match self.flavor {
            Flavor::MySql => SHOWN_MYSQL,
            Flavor::MariaDb => SHOWN_MARIADB,
        }
    }

    /// Asks the primary for all that it has logged, where a server is left that cannot be asked.
    pub(super) fn position_of_primary(&self, run: &Run) -> Option<&'static str> {
        let due = run.leaving.is_some() && run.route.target == Target::Primary;
        due.then(|| self.shown_statement())
    }

    /// What the server that was left may have shown: the next one must have that, too.
    pub(super) fn left_at(&mut self, run: &mut Run, answer: &Answer) -> Next {
        run.leaving = None;
        let text = match answer {
            Answer::Row(row) => row.first().and_then(Option::as_deref).and_then(|text| std::str::from_utf8(text).ok()),
            _ => None,
        };
        match text.and_then(|text| GtidSet::parse(self.flavor, text).ok()) {
            Some(position) if position.is_empty() => {}
            Some(position) => {
                self.state.frontier.note(&position);
                match run.route.target {
                    Target::Replica => merge(&mut run.awaits, position),
                    Target::Primary => merge(&mut run.seen, position),
                }
            }
            None => {
                self.state.frontier.note_untracked(Reason::ReplicaLost);
                if run.route.target == Target::Replica {
                    return Next::ToPrimary(Reason::ReplicaLost);
                }
            }
        }
        Next::Continue
    }

    /// The wait that a [`Step::Await`] asked for is over.
    ///
    /// # Errors
    /// When the primary did not come to show what the session has seen, or the client named.
    pub fn awaited(&self, run: &mut Run, until: &Until, reached: bool, topology: &Topology) -> Result<Next, Refusal> {
        match (run.route.target, until) {
            (Target::Replica, _) if !reached => return Ok(Next::ToPrimary(Reason::ReplicaBehind)),
            (Target::Primary, _) if !reached => {
                let server = topology.server(run.route.server).map(|server| server.address.to_string());
                let lacks = match until {
                    Until::Has(_) => Lacks::Named,
                    Until::ShowsLogged(_) => Lacks::Seen,
                };
                return Err(Refusal::PrimaryBehind { server: server.unwrap_or_default(), lacks });
            }
            (Target::Replica, _) => run.awaits = None,
            (Target::Primary, Until::Has(_)) => run.named = None,
            (Target::Primary, Until::ShowsLogged(_)) => run.seen = None,
        }
        Ok(Next::Continue)
    }

    /// The run's answer is over: what it showed, later reads must not fall behind.
    pub(super) fn has_read(&mut self, run: &Run) {
        if run.shows && !run.saw_error {
            self.state.read_at = Some(run.route.server);
        }
    }
}

/// Whether a read must not be behind those before it, nor those after it behind it. Where the session is bound to the primary it
/// was not dbproxy that chose.
pub(super) fn follows_reads(route: &Route, facts: &Facts, consistency: Consistency) -> bool {
    facts.effect == Effect::Read && consistency != Consistency::Eventual && !is_bound(route)
}

pub(super) fn is_bound(route: &Route) -> bool {
    matches!(route.reason, Reason::Pinned(_) | Reason::Transaction | Reason::AutocommitOff)
}

fn merge(into: &mut Option<GtidSet>, position: GtidSet) {
    match into {
        Some(held) => held.merge(&position),
        None => *into = Some(position),
    }
}

impl Run {
    /// Waits for the server to have what the read must see.
    pub(super) fn await_step(&self) -> Option<Step> {
        let has = |position: &GtidSet| Until::Has(Arc::new(position.clone()));
        let shows = |position: &GtidSet| Until::ShowsLogged(Arc::new(position.clone()));
        let until = match self.route.target {
            Target::Replica => self.awaits.as_ref().map(has),
            Target::Primary => self.named.as_ref().map(has).or_else(|| self.seen.as_ref().map(shows)),
        }?;
        Some(Step::Await { server: self.route.server, until, within: self.wait_max })
    }
}
