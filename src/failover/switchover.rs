//! S1 to S4: a change of the primary while it is healthy. From there on it is like a failover; a failure before the
//! candidate is opened ends with the old primary opened again.

use super::candidate::{Participant, Survey, choose};
use super::machine::StepContext;
use super::revoking::Fenced;
use super::{
    Cause, Choice, CommandId, Done, Failed, FailedHow, Fence, NoChoice, OnOpenTransactions, Stage, Step, Suspicion,
};
use crate::topology::{Receiver, ServerId};
use std::time::Duration;

impl StepContext<'_> {
    /// S1: chooses by what is known, then asks the primary.
    pub(super) fn begin_switchover(&mut self, id: CommandId, to: Option<ServerId>) {
        match self.preflight(to) {
            Err(why) => self.answer(id, Err(why)),
            Ok(choice) => {
                self.begin(Cause::Switchover);
                if let Some(change) = &mut self.state.durable.change {
                    change.command = Some(id);
                    change.wanted = to;
                    change.choice = Some(choice);
                }
            }
        }
    }

    /// Whether a switchover could begin now, and to which server.
    pub(super) fn preflight(&mut self, to: Option<ServerId>) -> Result<Choice, String> {
        let primary = self.state.durable.primary.ok_or("no primary is known")?;
        if to == Some(primary) {
            return Err(format!("server {} is the primary already", primary.0));
        }
        let evidence = self.state.evidence(self.now);
        let seen = evidence.primary().ok_or("no primary is known")?;
        match seen.fresh(self.policy) {
            Some(status) if status.read_only => return Err("the primary is read-only".to_owned()),
            Some(_) => {}
            None if seen.silence.is_none() => {
                return Err("the primary's last report is too old: try again in a moment".to_owned());
            }
            None => return Err("the primary does not answer: use `dbproxy failover`".to_owned()),
        }
        let limits = &self.policy.limits;
        let ready: Vec<_> = evidence
            .replicas(self.policy)
            .filter_map(|server| Some((server, server.fresh(self.policy)?, server.held.clone()?)))
            .collect();
        let participants = ready.iter().map(|(server, status, held)| {
            let stream = status.stream.as_ref();
            let lag = stream.and_then(|stream| stream.lag_ms);
            let barred = if server.maintenance {
                Some("is in maintenance".to_owned())
            } else if !stream.is_some_and(|stream| stream.applying && stream.receiver == Receiver::Running) {
                Some("its replication does not run".to_owned())
            } else if stream.is_some_and(|stream| self.is_deaf(stream.heard_ms)) {
                Some("has not heard the primary recently".to_owned())
            } else {
                match lag {
                    Some(ms) if Duration::from_millis(ms) <= limits.switchover_lag => None,
                    Some(ms) => Some(format!("is {ms} ms behind")),
                    None => Some("does not report its lag".to_owned()),
                }
            };
            Participant { id: server.id, status, held: held.clone(), barred, counts: !server.restarted }
        });
        let origins: Vec<_> = self.state.durable.origin.into_iter().collect();
        let survey = Survey {
            from: Some(primary),
            participants: participants.collect(),
            primary: self.state.history.as_ref().map(|(_, history)| history),
            origins: &origins,
            ack_evidence: Vec::new(),
            // The old primary will follow as well.
            wait_count: usize::from(self.policy.durability.wait_count()).saturating_sub(1),
            wanted: to,
            preferred: None,
        };
        let (outcome, reports) = choose(&survey, self.policy);
        let why: Vec<String> = reports
            .iter()
            .filter(|report| to.is_none_or(|to| to == report.server) && !report.against.is_empty())
            .map(|report| format!("server {} {}", report.server.0, report.against.join(", ")))
            .collect();
        let outcome = outcome.map_err(|none| match none {
            NoChoice::Nobody => "no replica of the primary answers".to_owned(),
            NoChoice::Split(..) | NoChoice::NoCandidate if why.is_empty() => "there is no such replica".to_owned(),
            NoChoice::Split(..) | NoChoice::NoCandidate => why.join("; "),
        });
        if let Some(report) = &mut self.state.report {
            report.candidates = reports;
        }
        outcome
    }

    fn is_deaf(&self, heard_ms: Option<u64>) -> bool {
        heard_ms.is_some_and(|ms| Duration::from_millis(ms) > self.policy.detection.deaf_after)
    }

    /// Once replicas follow the candidate, it may be the only one that acknowledges commits: without it they wait.
    pub(super) fn call_off_without_candidate(&mut self) {
        let Some(candidate) = self.state.durable.change.as_ref().and_then(super::Change::candidate) else { return };
        let evidence = self.state.evidence(self.now);
        if evidence.server(candidate).is_some_and(|server| server.is_silent(self.policy)) {
            self.call_off(&format!("server {} does not answer", candidate.0));
        }
    }

    /// Cancels a change that has not touched the primary yet. Replicas that already follow the candidate return.
    pub(super) fn call_off(&mut self, why: &str) {
        let Some(change) = self.state.durable.change.take() else { return };
        self.drop_orders(super::state::Owner::Change);
        let name = if change.is_switchover() { "switchover" } else { "failover" };
        let text = format!("the {name} is cancelled: {why}");
        self.happened(text.clone());
        self.notify(super::NoticeKind::Aborted, text.clone());
        if let Some(id) = change.command {
            self.answer(id, Err(text));
        }
    }

    pub(super) fn checked(&mut self, result: Result<Done, Failed>) {
        let drain = self.policy.limits.switchover_drain;
        match result {
            Ok(Done::Quiet { locked: Some(what), .. }) => self.call_off(&format!("the primary is locked: {what}")),
            Ok(Done::Quiet { oldest_transaction_ms, .. }) if Duration::from_millis(oldest_transaction_ms) > drain => {
                self.call_off(&format!("a transaction has been open for {oldest_transaction_ms} ms"));
            }
            Ok(_) => self.enter(Stage::RepointingEarly),
            Err(failed) => self.call_off(&format!("the primary could not be asked: {}", failed.text)),
        }
    }

    /// A candidate that stays behind is close enough by [`StepContext::preflight`] if it answers; only the clients wait
    /// longer for it.
    pub(super) fn approached(&mut self, result: Result<Done, Failed>) {
        let candidate = self.state.durable.change.as_ref().and_then(super::Change::candidate);
        let answers = candidate.is_some_and(|candidate| self.fresh().contains(&candidate));
        match result {
            Err(failed) if !answers => self.call_off(&format!("the candidate does not answer: {}", failed.text)),
            Err(failed) if failed.how != FailedHow::NotYet => {
                self.call_off(&format!("the candidate's lag could not be read: {}", failed.text));
            }
            Ok(_) | Err(_) => self.enter(Stage::DrainingSessions),
        }
    }

    pub(super) fn sessions_drained(&mut self, server: ServerId, result: Result<Done, Failed>) {
        match (result, self.policy.open_transactions) {
            (Ok(_), _) => self.enter(Stage::Demoting),
            (Err(failed), OnOpenTransactions::Kill) if failed.how == FailedHow::NotYet => {
                let limit = self.policy.limits.step;
                self.change_order(Step::KillSessions { server }, limit);
            }
            (Err(failed), OnOpenTransactions::Abort | OnOpenTransactions::Kill) => self.call_off(&failed.text),
        }
    }

    /// S3: what it has now is everything that it will ever have.
    pub(super) fn demoted(&mut self, server: ServerId, result: Result<Done, Failed>) {
        let Done::Sets { sets, .. } = (match result {
            Ok(done) => done,
            Err(failed) => {
                return self.set_back(None, &format!("the primary could not be made read-only: {}", failed.text));
            }
        }) else {
            return self.set_back(None, "the primary did not report its transactions");
        };
        let goal = sets.executed.clone();
        self.reached(server, sets, Fenced::Yes);
        let Some(change) = &mut self.state.durable.change else { return };
        change.fence = Fence::Holds;
        change.primary = Some(goal.clone());
        if let Some(choice) = &mut change.choice {
            choice.goal = goal;
            choice.via = None;
        }
        self.enter(Stage::CatchingUp);
    }

    /// A server that was the primary, or accepted writes, must be compared first.
    pub(super) fn suspect(&mut self, server: ServerId) {
        self.state.durable.writers.insert(server);
        if !self.state.durable.quarantined.contains_key(&server) {
            self.quarantine(server, Suspicion::Unchecked);
        }
    }
}
