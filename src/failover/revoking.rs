//! F2 to F8, step by step: which servers were reached, whether that is enough, which one is chosen, and what the choice
//! still lacks.

use super::candidate::{Participant, Survey, choose};
use super::machine::StepContext;
use super::state::Owner;
use super::{
    Blocked, Cause, Change, Choice, Done, Durability, Failed, FailedHow, Fence, FenceRule, NoticeKind, Problem,
    Reached, Report, Sets, Stage, Status, Step, Suspicion, Withdrawn, quorum,
};
use crate::topology::{Flavor, GtidHistory, GtidSet, Origin, ServerId};

/// Whether a server was fenced before it reported what it has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fenced {
    Yes,
    No,
}

impl StepContext<'_> {
    pub(super) fn revoked(&mut self, server: ServerId, result: Result<Done, Failed>) {
        if let Ok(Done::Sets { sets, .. }) = result {
            self.reached(server, sets, Fenced::No);
        }
        self.choose_if_reached();
    }

    pub(super) fn fenced(&mut self, server: ServerId, result: Result<Done, Failed>) {
        let from = self.state.durable.change.as_ref().and_then(|change| change.from);
        match result {
            Ok(Done::Sets { sets, .. }) => {
                if Some(server) == from {
                    self.fence_is(Fence::Holds);
                }
                self.reached(server, sets, Fenced::Yes);
            }
            Ok(Done::Plain | Done::Quiet { .. }) => {}
            Err(failed) if Some(server) == from => self.fence_is(Fence::Failed(failed.text)),
            Err(_) => {}
        }
        self.choose_if_reached();
    }

    pub(super) fn fenced_by_hook(&mut self, result: Result<Done, Failed>) {
        match result {
            Ok(_) => self.fence_is(Fence::Holds),
            Err(failed) => self.fence_is(Fence::Failed(format!("the fence hook: {}", failed.text))),
        }
        self.choose_if_reached();
    }

    /// A fence that holds does not fail later; if two attempts failed, both reasons are reported.
    fn fence_is(&mut self, fence: Fence) {
        let Some(change) = &mut self.state.durable.change else { return };
        change.fence = match (&change.fence, fence) {
            (Fence::Holds, _) => Fence::Holds,
            (Fence::Failed(before), Fence::Failed(why)) => Fence::Failed(format!("{before}; {why}")),
            (_, fence) => fence,
        };
    }

    pub(super) fn reached(&mut self, server: ServerId, sets: Sets, fenced: Fenced) {
        let now = self.now;
        let (doubt, started) =
            self.state.track(server).map_or((None, None), |track| (track.doubt, track.started_at_most()));
        let held = self.held(&sets);
        let Some(change) = &mut self.state.durable.change else { return };
        // A server that restarted may have lost what it had acknowledged, unless all of that is known from before. A
        // server that was told to follow another may have discarded it.
        let since = change.heard.insert(server, now);
        let again = since.is_some_and(|since| doubt.is_some_and(|doubt| doubt > since));
        // The same later: what it acknowledged in between is not known.
        if again {
            change.known.remove(&server);
        }
        let counts = change.known.get(&server).map_or(doubt.is_none(), |known| held.covers(known) && !again);
        change.had.entry(server).and_modify(|had| had.merge(&held)).or_insert_with(|| held.clone());
        let fenced = fenced == Fenced::Yes || change.reached.get(&server).is_some_and(|before| before.fenced);
        change.reached.insert(server, Reached { sets, held, fenced, started, counts });
    }

    /// Everything that a server with this report has. Where a MariaDB position ends with another server's transaction,
    /// it has everything that that server had then.
    fn held(&self, sets: &Sets) -> GtidHistory {
        let change = self.state.durable.change.as_ref();
        let Some(GtidSet::MariaDb(position)) = &sets.received else {
            return sets.held(change.and_then(|change| change.primary.as_ref()));
        };
        let mut held = sets.executed.clone();
        for (writer, end) in position.ends() {
            let writer = self.state.durable.origins.iter().find(|(_, origin)| **origin == Origin::ServerId(writer));
            let its = writer.and_then(|(id, _)| {
                let reached = change.and_then(|change| change.reached.get(id)).map(|reached| &reached.sets.executed);
                reached.or_else(|| self.status(*id).map(|status| &status.sets.executed))
            });
            // If it is known to have written that.
            let its = its.filter(|its| its.covers(&GtidHistory::MariaDb((&end).into())));
            let part = Sets { received: Some(GtidSet::MariaDb(end)), ..sets.clone() };
            held.merge(&part.held(its.or(change.and_then(|change| change.primary.as_ref()))));
        }
        held
    }

    /// F2, F4, F5: continue once all servers that can answer have, or enough have and the rest had their time.
    pub(super) fn choose_if_reached(&mut self) {
        if self.state.durable.change.as_ref().is_none_or(|change| change.stage != Stage::StoppingReceivers) {
            return;
        }
        let fresh = self.fresh();
        let mandatory_fence = matches!(self.policy.durability, Durability::Async { .. });
        let awaited = self.waits_for(Owner::Change, |step| match step {
            Step::Fence { server } => mandatory_fence || fresh.contains(server),
            Step::RunFenceHook { .. } => mandatory_fence,
            step => fresh.contains(&step.server()),
        });
        if awaited {
            return;
        }
        let judged = self.enough_reached();
        // Servers that did not answer before may still answer in time.
        if judged.is_err() && self.waits_for(Owner::Change, |_| true) {
            return;
        }
        match judged.and_then(|()| self.chosen()) {
            Ok(choice) => self.chose(choice),
            Err(blocked @ Blocked::NoCandidate(_)) if self.may_undo() => {
                let why = self.spelt(&blocked);
                self.set_back(None, &why);
            }
            Err(blocked) => self.blocked(&blocked),
        }
    }

    /// Whether a candidate that the operator requested and that cannot be promoted may be replaced by another.
    fn may_undo(&self) -> bool {
        self.state.durable.change.as_ref().is_some_and(|change| {
            matches!(change.cause, Cause::Failover | Cause::Switchover) && !change.forced && change.undone.is_none()
        })
    }

    /// Whether nothing that was acknowledged can be missing, and nothing more can be acknowledged or written.
    fn enough_reached(&self) -> Result<(), Blocked> {
        let Some(change) = &self.state.durable.change else { return Ok(()) };
        if change.forced {
            return Ok(());
        }
        if let Durability::Async { fence, .. } = self.policy.durability {
            let holds = change.fence == Fence::Holds || fence == FenceRule::BestEffort;
            return match &change.fence {
                _ if holds => Ok(()),
                Fence::Failed(why) => Err(Blocked::NotFenced(why.clone())),
                Fence::Tried | Fence::Holds => Err(Blocked::NotFenced("no outcome of its fence".to_owned())),
            };
        }
        for term in &change.terms {
            // The primary itself has everything that was acknowledged under it, if it is not known to have lost
            // anything.
            let itself = change.reached.get(&term.primary);
            let known = change.primary.as_ref().filter(|_| Some(term.primary) == change.from);
            if itself.is_some_and(|itself| known.is_none_or(|known| itself.held.covers(known))) {
                continue;
            }
            let durability = self.policy.durability.at_most(term.waited_for);
            let counts = |id: &&_| change.reached.get(id).is_some_and(|reached| reached.counts);
            let (reached, needed) = (term.ackers.iter().filter(counts).count(), quorum(term.ackers.len(), durability));
            if reached < needed {
                return Err(Blocked::NoQuorum { reached, needed });
            }
        }
        Ok(())
    }

    /// The same check again, directly before another server is opened: a server that has restarted since it was reached
    /// may have connected to the old primary and acknowledged to it.
    pub(super) fn still_enough(&mut self) -> Result<(), String> {
        if self.gave_up_too_much() {
            return Err("a server whose evidence allowed transactions to be abandoned has restarted".to_owned());
        }
        let anew: Vec<ServerId> = self.state.ids().filter(|id| self.started_since_reached(*id)).collect();
        let Some(change) = &mut self.state.durable.change else { return Ok(()) };
        let mut gone = Vec::new();
        for (id, reached) in change.reached.iter_mut().filter(|(id, reached)| reached.counts && anew.contains(id)) {
            reached.counts = false;
            gone.push(id.0.to_string());
        }
        let servers = gone.join(" and ");
        match gone.is_empty() {
            true => Ok(()),
            false => self
                .enough_reached()
                .map_err(|why| format!("server {servers} has restarted since it was reached, and {why}")),
        }
    }

    /// Whether a server restarted after it was last reached, and may receive again from its former source.
    pub(super) fn started_since_reached(&self, id: ServerId) -> bool {
        let heard = self.state.durable.change.as_ref().and_then(|change| change.heard.get(&id));
        let doubt = self.state.track(id).and_then(|track| track.doubt);
        heard.zip(doubt).is_some_and(|(heard, doubt)| doubt > *heard)
    }

    fn chosen(&mut self) -> Result<Choice, Blocked> {
        let Some(change) = self.state.durable.change.clone() else {
            return Err(Blocked::NoCandidate(super::NoChoice::Nobody));
        };
        let statuses: Vec<(ServerId, Status)> = change
            .reached
            .iter()
            .map(|(id, reached)| {
                // A server that never reported its state counts with what it has; it is no candidate.
                let status = self.status(*id).cloned().unwrap_or_else(|| Status::unknown(reached.sets.clone()));
                (*id, Status { sets: reached.sets.clone(), ..status })
            })
            .collect();
        let participants = statuses.iter().filter_map(|(id, status)| {
            let Reached { held, counts, .. } = change.reached.get(id)?.clone();
            Some(Participant { id: *id, status, held, barred: self.barred(*id, &change), counts })
        });
        let ack_evidence = self.ack_evidence(&change);
        let origins: Vec<_> = self
            .state
            .durable
            .origin
            .into_iter()
            .chain(ack_evidence.iter().map(|ack_evidence| ack_evidence.origin))
            .collect();
        // What the old primary reports that it has is not errant, wherever it came from.
        let mut primary = change.primary.clone();
        if let Some(itself) = change.from.and_then(|from| change.reached.get(&from)) {
            primary.get_or_insert_with(|| itself.held.clone()).merge(&itself.held);
        }
        let survey = Survey {
            from: change.from,
            participants: participants.collect(),
            primary: primary.as_ref(),
            origins: &origins,
            ack_evidence,
            wait_count: if change.forced { 0 } else { usize::from(self.policy.wait_least()) },
            wanted: change.wanted,
            preferred: change.undone.as_ref().and(change.from),
        };
        let (outcome, reports) = choose(&survey, self.policy);
        let gives_up = reports.iter().filter_map(|report| report.errant.as_ref()).any(|errant| {
            // Transactions of other servers were never among those of a primary of this change.
            !errant.only_from(survey.origins).is_empty()
        });
        if let Some(change) = &mut self.state.durable.change {
            change.gives_up = gives_up;
        }
        for report in &reports {
            if let Some(errant) = &report.errant {
                self.quarantine(report.server, Suspicion::Errant(errant.clone()));
            }
        }
        let mut report = Report::new(self.now, self.state.evidence(self.now), self.policy);
        report.candidates = reports;
        report.decision = match &outcome {
            Ok(choice) => format!("server {} is the candidate", choice.candidate.0),
            Err(_) => "no server can be promoted".to_owned(),
        };
        self.state.report = Some(report);
        let choice = outcome.map_err(Blocked::NoCandidate)?;
        self.loss_is_allowed(&change, &choice)?;
        Ok(choice)
    }

    /// Why a server is no candidate, whatever it has.
    fn barred(&self, id: ServerId, change: &Change) -> Option<String> {
        let durable = &self.state.durable;
        if self.status(id).is_none() {
            return Some("has not reported its state yet".to_owned());
        }
        if let Some(why) = change.failed.get(&id) {
            return Some(format!("failed in this change: {why}"));
        }
        if durable.withdrawn.get(&id) == Some(&Withdrawn::Maintenance) {
            return Some("is in maintenance".to_owned());
        }
        // An unchecked server is compared here.
        if let Some(quarantine) = durable.quarantined.get(&id)
            && quarantine.why != Suspicion::Unchecked
        {
            return Some(quarantine.why.to_string());
        }
        if let Some(other) = self.may_have_forgotten(id, change) {
            return Some(format!(
                "has restarted and may have lost its last transactions, and server {}, which was not reached, may have them",
                other.0
            ));
        }
        if change.from == Some(id) {
            return match change.cause {
                Cause::Problem(Problem::PrimaryDiskFailed) => Some("its disk failed".to_owned()),
                Cause::Failover if change.undone.is_none() => Some("is the primary to be replaced".to_owned()),
                Cause::Problem(_) | Cause::Failover | Cause::Switchover => None,
            };
        }
        None
    }

    /// When MariaDB crashes it may discard transactions that were not acknowledged in time. Opened again it assigns the
    /// same numbers a second time, and a server that received the first ones cannot be told from one that has the
    /// second. Servers that may have received them must therefore be reached first.
    fn may_have_forgotten(&self, id: ServerId, change: &Change) -> Option<ServerId> {
        let term = change.terms.iter().find(|term| term.primary == id)?;
        if change.forced || self.status(id)?.flavor == Flavor::MySql {
            return None;
        }
        let track = self.state.track(id)?;
        let restarted = match change.from == Some(id) {
            true => {
                let opened = self.state.durable.opened;
                track.doubt.is_some()
                    || track.started_since(self.state.durable.started, opened)
                    || track.may_have_started_since(opened)
            }
            false => track.started.is_none_or(|started| started.plus(self.policy.limits.step) > change.began),
        };
        let hears = |other: &ServerId| {
            term.ackers.contains(other) || self.state.durable.sources.get(other).is_some_and(|source| *source == id)
        };
        let mut others = self.state.ids().filter(|other| *other != id && !change.reached.contains_key(other));
        others.find(hears).filter(|_| restarted)
    }

    /// Without acknowledgements something may be lost, up to the operator's limit.
    fn loss_is_allowed(&self, change: &Change, choice: &Choice) -> Result<(), Blocked> {
        let Durability::Async { loss_max, .. } = self.policy.durability else { return Ok(()) };
        // If the old primary itself was reached, the goal has everything.
        let complete = change.from.is_some_and(|from| change.reached.contains_key(&from));
        if change.forced || complete {
            return Ok(());
        }
        let behind_ms = self.state.behind_ms(&choice.goal);
        let allowed = behind_ms.is_some_and(|ms| std::time::Duration::from_millis(ms) <= loss_max);
        if allowed { Ok(()) } else { Err(Blocked::LossTooGreat { behind_ms }) }
    }

    fn chose(&mut self, choice: Choice) {
        let text = match choice.via {
            Some(via) => {
                format!("server {} is the candidate, and gets what it lacks from server {}", choice.candidate.0, via.0)
            }
            None => format!("server {} is the candidate", choice.candidate.0),
        };
        self.happened(text);
        let (via, goal, candidate) = (choice.via, choice.goal.clone(), choice.candidate);
        let Some(change) = &mut self.state.durable.change else { return };
        let ready = change.reached.get(&candidate).is_some_and(|reached| reached.sets.executed.covers(&goal));
        change.choice = Some(choice);
        self.enter(match via {
            Some(_) => Stage::SupplyingMissing,
            None if ready => Stage::EnablingSemiSync,
            None => Stage::ApplyingReceived,
        });
    }

    /// The text, with the reasons against each server.
    fn spelt(&self, blocked: &Blocked) -> String {
        let mut text = blocked.to_string();
        if let (Blocked::NoCandidate(_), Some(report)) = (blocked, &self.state.report) {
            for candidate in report.candidates.iter().filter(|candidate| !candidate.against.is_empty()) {
                text.push_str(&format!("; server {} {}", candidate.server.0, candidate.against.join(", ")));
            }
        }
        text
    }

    pub(super) fn blocked(&mut self, blocked: &Blocked) {
        let text = self.spelt(blocked);
        let known = self.state.withheld.as_ref() == Some(&text);
        if let Some(report) = &mut self.state.report {
            report.decision = format!("blocked: {text}");
        }
        self.enter(Stage::Blocked(text.clone()));
        // The command is answered now: it may take the return of a server to continue.
        if let Some(id) = self.state.durable.change.as_mut().and_then(|change| change.command.take()) {
            self.answer(id, Err(format!("failover blocked: {text}; it is tried again when other servers answer")));
        }
        if !known {
            self.notify(NoticeKind::Blocked, format!("failover blocked: {text}"));
            self.state.withheld = Some(text);
        }
    }

    /// F6: a server has applied what was awaited.
    pub(super) fn drained(&mut self, server: ServerId, result: Result<Done, Failed>) {
        let Some(change) = &mut self.state.durable.change else { return };
        let Some(choice) = change.choice.clone() else { return };
        let goal = if change.stage == Stage::SupplyingMissing { change.to_feed(&choice) } else { choice.goal.clone() };
        let has = match &result {
            Ok(Done::Sets { sets, .. }) => sets.executed.covers(&goal),
            Ok(Done::Plain | Done::Quiet { .. }) | Err(_) => false,
        };
        match (&change.stage, result) {
            (Stage::SupplyingMissing, Ok(_)) if has => self.feed(choice.candidate, server),
            (Stage::ApplyingReceived | Stage::CatchingUp, Ok(Done::Sets { sets, .. })) if has => {
                self.reached(server, sets, Fenced::No);
                self.enter(Stage::EnablingSemiSync);
            }
            (Stage::CatchingUp, _) => self.set_back(Some(server), "did not catch up in time"),
            (_, Ok(_)) => self.drain_on(server, "reports success, and lacks transactions"),
            (_, Err(Failed { how: FailedHow::NotYet, .. })) => self.drain_on(server, "makes no progress"),
            (_, Err(failed)) => self.failed(server, failed),
        }
    }

    /// F5: the server that has everything has applied it; now the candidate gets it from there.
    fn feed(&mut self, server: ServerId, source: ServerId) {
        let limit = self.policy.limits.step * 2;
        let acks = self.acks();
        let reached = self.state.durable.change.as_ref().and_then(|change| change.reached.get(&server));
        let at_most = reached.map(|reached| reached.held.clone());
        self.change_order(Step::Repoint { server, source, acks, at_most }, limit);
    }

    /// A long wait continues while there is time, and beyond that while there is progress.
    fn drain_on(&mut self, server: ServerId, why: &str) {
        let Some(change) = &self.state.durable.change else { return };
        let evidence = self.state.evidence(self.now);
        let gone = evidence.server(server).is_none_or(|server| server.is_silent(self.policy));
        let broken = self
            .status(server)
            .and_then(|status| status.stream.as_ref())
            .is_some_and(|stream| stream.apply_error.is_some() || stream.lag_ms.is_none() && !stream.applying);
        let moves = change
            .reached
            .get(&server)
            .zip(self.status(server))
            .is_some_and(|(then, now)| !then.sets.executed.covers(&now.sets.executed));
        if self.started_since_reached(server) {
            return self
                .set_back(None, &format!("server {} has restarted, and may have lost what it had received", server.0));
        }
        let late = self.now.since(change.since) > self.policy.limits.drain_max;
        if gone || late && (broken || !moves) {
            return self.set_back(Some(server), why);
        }
        let stage = change.stage.clone();
        let since = change.since;
        // It must have progressed from here by the next time.
        let now = self.status(server).map(|status| status.sets.executed.clone());
        if let (Some(change), Some(now)) = (&mut self.state.durable.change, now)
            && let Some(then) = change.reached.get_mut(&server)
        {
            then.sets.executed.merge(&now);
        }
        self.enter(stage);
        if let Some(change) = &mut self.state.durable.change {
            change.since = since;
        }
    }
}
