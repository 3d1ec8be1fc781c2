//! What the session would do with a statement, without doing it.

use super::{Failure, Hinted, Plan, Session};
use crate::route::{Consistency, Moment, Policy, Reason, Refusal, Target};
use crate::sql::Facts;
use crate::topology::{GtidSet, ServerId};
use crate::wire::{self, ErrPacket, Status};
use std::sync::Arc;
use std::time::Duration;

/// What would happen to a statement.
#[derive(Debug)]
pub struct Explained {
    /// What is known of its text.
    pub facts: Facts,
    /// What would be done.
    pub outcome: Outcome,
}

/// What would be done with a statement.
#[derive(Debug)]
pub enum Outcome {
    /// It would run.
    Runs {
        /// Where.
        server: ServerId,
        /// As what that server was chosen.
        target: Target,
        /// Why there.
        reason: Reason,
        /// What the replica would be waited for first.
        waits_for: Option<GtidSet>,
        /// The replica that the session would leave for it.
        leaves: Option<ServerId>,
        /// The rule that would be applied.
        rule: Option<Arc<str>>,
        /// How long it may run by that rule.
        timeout: Option<Duration>,
        /// What would become of its hints.
        hinted: Hinted,
    },
    /// It would wait for a primary.
    Waits(Refusal),
    /// It would be answered with this error.
    Fails(ErrPacket),
    /// dbproxy would answer it itself.
    Answered,
}

/// What a session is, for people.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing<'a> {
    /// The account.
    pub user: &'a str,
    /// Default schema.
    pub schema: Option<&'a [u8]>,
    /// A transaction is open.
    pub in_transaction: bool,
    /// `autocommit` is on.
    pub autocommit: bool,
    /// What keeps it on its backend.
    pub pins: Vec<&'static str>,
    /// How fresh its reads are.
    pub consistency: Consistency,
    /// What its reads must see, ...
    pub must_see: Option<&'a GtidSet>,
    /// ... and why only the primary can show it, if that is so.
    pub untracked: Option<Reason>,
    /// The replica that it reads from.
    pub replica: Option<ServerId>,
    /// The server that ran its previous statement.
    pub last: Option<ServerId>,
    /// Its open backends.
    pub backends: Vec<ServerId>,
}

impl Session {
    /// What a statement would come to now. A twin plans it, so the session stays as it is. The parser's verdict in
    /// `moment.structure` is recorded first, since the statement itself would be seen with it.
    pub fn explain(&self, text: &str, moment: &Moment<'_>) -> Explained {
        if let (Some(pending), Some(verdict)) = (
            self.classify(text.as_bytes(), true, moment).pending,
            moment.structure.and_then(|structure| structure.verdict),
        ) {
            moment.verdicts.record(pending.fingerprint, verdict);
        }
        let facts = self.classify(text.as_bytes(), true, moment).facts;
        let payload = wire::query_payload(text, self.capabilities);
        let mut twin = self.clone();
        let plan = match twin.plan(&payload, true, moment) {
            Ok(Plan::Kill(kill)) if !kill.own && kill.id < u64::from(self.policy.connection_ids_from) => {
                twin.plan_servers_kill(kill, &payload, moment)
            }
            plan => plan,
        };
        let outcome = match plan {
            Err(malformed) => Outcome::Fails(ErrPacket::from(&Failure::Malformed(malformed))),
            Ok(Plan::Run(run)) => Outcome::Runs {
                server: run.route.server,
                target: run.route.target,
                reason: run.route.reason,
                waits_for: run.awaits,
                leaves: run.leaving,
                rule: run.rule,
                timeout: run.timeout,
                hinted: run.hinted,
            },
            Ok(Plan::Refuse(refusal)) => Outcome::Waits(refusal),
            Ok(Plan::Fail(failure) | Plan::Abandon { failure, .. }) => Outcome::Fails(ErrPacket::from(&failure)),
            Ok(
                Plan::Ok
                | Plan::Answer(_)
                | Plan::Nothing
                | Plan::CloseStatement(_)
                | Plan::Kill(_)
                | Plan::ChangeUser
                | Plan::Quit,
            ) => Outcome::Answered,
        };
        Explained { facts, outcome }
    }

    /// What the session is at this moment.
    pub fn standing(&self, policy: &Policy) -> Standing<'_> {
        Standing {
            user: &self.user,
            schema: self.schema(),
            in_transaction: self.in_transaction(),
            autocommit: self.state.status.has(Status::AUTOCOMMIT),
            pins: self.state.pins.words(),
            consistency: self.consistency(policy),
            must_see: self.state.frontier.position().map(|position| &**position),
            untracked: self.state.frontier.untracked(),
            replica: self.state.replica,
            last: self.state.last,
            backends: self.backends.iter().map(|backend| backend.server).collect(),
        }
    }
}
