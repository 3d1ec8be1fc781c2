//! The one function that changes a [`State`]: takes an event, derives what follows, and returns what to do.

use super::state::{Owner, Pending};
use super::{
    Done, Effect, Event, Failed, FailedHow, Finding, Lease, Mode, Moment, Notice, NoticeKind, Order, OrderId, Outcome,
    Policy, Problem, Record, Report, State, Step,
};
use crate::topology::{Epoch, ServerId};
use std::time::Duration;

/// A longer time than this between two events means that dbproxy itself was held up.
const GAP_MAX: Duration = Duration::from_secs(1);
/// An order's outcome is awaited this much longer than the order's limit.
const GRACE: Duration = Duration::from_millis(500);

/// Takes an event and returns what to do. The journal entry, if any, is the first effect: it must be written before the
/// others happen.
pub fn step(state: &mut State, policy: &Policy, event: Event, now: Moment) -> Vec<Effect> {
    let now = now.max(state.last_event.unwrap_or(now));
    let mut context =
        StepContext { state, policy, now, effects: Vec::new(), happened: Vec::new(), force_journal: false };
    context.notice_own_gap();
    context.take(event);
    context.expire();
    context.judge();
    context.advance();
    context.housekeeping();
    context.finish()
}

/// One call of [`step`].
pub(super) struct StepContext<'a> {
    pub(super) state: &'a mut State,
    pub(super) policy: &'a Policy,
    pub(super) now: Moment,
    pub(super) effects: Vec<Effect>,
    /// What goes into the journal.
    pub(super) happened: Vec<String>,
    /// Whether it is written even if the durable state has not changed.
    pub(super) force_journal: bool,
}

impl StepContext<'_> {
    /// Events arrive at least every 250 ms. If none did, we were suspended or starved, and what timed out meanwhile
    /// timed out here.
    fn notice_own_gap(&mut self) {
        if self.state.last_event.is_some_and(|last| self.now.since(last) > GAP_MAX) {
            self.was_late();
        }
        self.state.last_event = Some(self.now);
    }

    pub(super) fn was_late(&mut self) {
        self.state.late = Some(self.now);
        for track in &mut self.state.tracks {
            track.forget_silence();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Observation(observation) => self.observe(observation),
            Event::WriteProbe { server, began, result } => {
                let (policy, now) = (self.policy, self.now);
                if let Some(track) = self.state.track_mut(server) {
                    track.note_write(began, result, policy, now);
                }
            }
            Event::Hint { server } => {
                let now = self.now;
                if let Some(track) = self.state.track_mut(server) {
                    track.note_reset(now);
                    self.effects.push(Effect::Look(server));
                }
            }
            Event::Heard { server, asked } => {
                if let Some(track) = self.state.track_mut(server) {
                    track.note_answer(asked);
                }
            }
            Event::OwnLag { ms } => {
                if Duration::from_millis(ms) > self.policy.detection.own_lag_max {
                    self.was_late();
                }
            }
            Event::Lease(lease) => self.state.lease = lease,
            Event::Command { id, command } => self.command(id, command),
            Event::Outcome(outcome) => self.outcome(outcome),
            Event::Tick => {}
            Event::Restored(durable) => self.restore(*durable),
            Event::Told { text } => {
                self.happened(text);
                self.force_journal = true;
            }
        }
    }

    fn outcome(&mut self, outcome: Outcome) {
        // An outcome that is no longer awaited came too late. The step is ordered again if it is needed.
        let Some(Pending { order, owner, due }) = self.state.pending.remove(&outcome.id) else { return };
        if outcome.result.as_ref().is_err_and(|failed| failed.how == FailedHow::LeaseLost) {
            self.state.lease = Lease::NotHeld;
            return;
        }
        if let Ok(Done::Sets { uptime_ms, .. }) = &outcome.result {
            let (uptime_ms, now) = (*uptime_ms, self.now);
            let grace = u64::try_from(GRACE.as_millis()).unwrap_or(0);
            let given = Moment(due.0.saturating_sub(order.limit_ms).saturating_sub(grace));
            if let Some(track) = self.state.track_mut(order.step.server()) {
                track.note_start(uptime_ms, given, now);
            }
            self.note_doubt(order.step.server());
        }
        match owner {
            Owner::Change => self.change_outcome(order.step, outcome.result),
            Owner::Rejoin => self.rejoin_outcome(order.step, outcome.result),
            Owner::Housekeeping => self.housekeeping_outcome(&order.step, &outcome.result),
        }
    }

    /// Fails the orders whose outcome is overdue.
    fn expire(&mut self) {
        let now = self.now;
        let late: Vec<OrderId> =
            self.state.pending.iter().filter(|(_, pending)| pending.due < now).map(|(id, _)| *id).collect();
        for id in late {
            let failed = Failed { how: FailedHow::Unknown, text: "no outcome in time".to_owned() };
            self.outcome(Outcome { id, result: Err(failed) });
        }
    }

    /// Names the problem, and reports when it has changed.
    fn judge(&mut self) {
        let evidence = self.state.evidence(self.now);
        let problem = Problem::of(&evidence, self.policy);
        if problem == self.state.problem && self.state.report.is_some() {
            return;
        }
        let told = self.state.problem;
        self.state.problem = problem;
        self.state.withheld = None;
        let report = Report::new(self.now, evidence, self.policy);
        if self.state.durable.change.is_none() {
            if told != problem {
                self.notify(NoticeKind::Problem, report.decision.clone());
            }
            self.state.report = Some(report);
        }
    }

    /// Continues a change, or begins one if it must.
    fn advance(&mut self) {
        if self.state.lease == Lease::NotHeld {
            return;
        }
        self.confirm();
        if self.state.durable.change.is_some() {
            self.go_on();
        } else if let Some(why_not) = self.should_fail_over() {
            match why_not {
                Ok(()) => self.begin_failover(),
                Err(why_not) => self.withhold(why_not),
            }
        }
    }

    /// Whether the present problem demands a failover, and if so, whether it is allowed. The reason is for the
    /// operator.
    fn should_fail_over(&self) -> Option<Result<(), String>> {
        match self.state.problem {
            problem if problem.asks_for_failover() => Some(self.may_fail_over()),
            Problem::PrimaryDeadUnprovable => {
                let report = self.state.explain(self.policy, self.now);
                let refused = report.refused_for();
                Some(Err(
                    refused.map_or_else(String::new, |Finding { check, detail, .. }| format!("{check}: no, {detail}"))
                ))
            }
            _ => None,
        }
    }

    fn may_fail_over(&self) -> Result<(), String> {
        let (durable, anti_flap) = (&self.state.durable, &self.policy.anti_flap);
        match self.policy.mode {
            Mode::Auto => {}
            Mode::Observe => return Err("mode is observe: dbproxy does not act".to_owned()),
            Mode::Manual => return Err("mode is manual: `dbproxy failover` begins a failover".to_owned()),
        }
        if durable.paused {
            return Err("paused by the operator".to_owned());
        }
        if !self.state.confirmed {
            return Err("this server has not been seen as the primary since dbproxy was started".to_owned());
        }
        if durable.primary.is_some_and(|primary| durable.withdrawn.contains_key(&primary)) {
            return Err("the operator works on the primary (maintenance)".to_owned());
        }
        // A restarted primary that is opened again in place does not count as flapping; waiting would make things
        // worse.
        if self.state.problem == Problem::PrimaryRestarted {
            return Ok(());
        }
        if let Some(hold) = &durable.hold {
            return Err(format!("{hold}: `dbproxy acknowledge` allows the next one"));
        }
        let recent = durable.failovers.iter().filter(|at| self.now.since(**at) < anti_flap.window).count();
        if recent >= anti_flap.failovers_max {
            return Err(format!(
                "{recent} failovers within {} minutes: `dbproxy acknowledge` allows the next one",
                anti_flap.window.as_secs() / 60
            ));
        }
        // The present primary is the one that the last failover chose. If it is dead itself, waiting helps nobody.
        let gap = durable.failovers.last().map(|last| self.now.since(*last));
        if self.state.problem != Problem::PrimaryDead && gap.is_some_and(|gap| gap < anti_flap.gap) {
            return Err(format!("the last failover was less than {} s ago", anti_flap.gap.as_secs()));
        }
        Ok(())
    }

    fn withhold(&mut self, why_not: String) {
        if self.state.withheld.as_ref() == Some(&why_not) {
            return;
        }
        let recent = self
            .state
            .durable
            .failovers
            .iter()
            .filter(|at| self.now.since(**at) < self.policy.anti_flap.window)
            .count();
        if self.state.problem == Problem::PrimaryDead
            && recent >= self.policy.anti_flap.failovers_max
            && self.state.durable.hold.is_none()
        {
            self.state.durable.hold = Some(format!("{recent} failovers in a row"));
            self.happened("automatic failover is suspended until `dbproxy acknowledge`");
        }
        if let Some(report) = &mut self.state.report {
            report.decision = format!("no failover: {why_not}");
        }
        self.notify(NoticeKind::Withheld, format!("no failover: {why_not}"));
        self.state.withheld = Some(why_not);
    }

    /// Journal first, then the gate if it has changed, then the other effects.
    fn finish(mut self) -> Vec<Effect> {
        let gate = self.state.wanted_gate(self.policy);
        let mut effects = Vec::with_capacity(self.effects.len() + 2);
        if self.force_journal || self.state.durable != self.state.written {
            self.state.written = self.state.durable.clone();
            effects.push(Effect::Journal(Box::new(Record {
                at: self.now,
                what: self.happened.join("; "),
                report: self.state.report.clone().map(Box::new),
                durable: self.state.durable.clone(),
            })));
        }
        // A gate that closes must do so before steps are carried out.
        if self.state.gate.as_ref() != Some(&gate) {
            effects.push(Effect::Publish(gate.clone()));
            self.state.gate = Some(gate);
        }
        effects.append(&mut self.effects);
        effects
    }

    pub(super) fn happened(&mut self, what: impl Into<String>) {
        self.happened.push(what.into());
    }

    pub(super) fn notify(&mut self, kind: NoticeKind, text: impl Into<String>) {
        self.effects.push(Effect::Notify(Notice { kind, text: text.into() }));
    }

    /// Gives an order.
    pub(super) fn order(&mut self, owner: Owner, epoch: Epoch, step: Step, limit: Duration) {
        let id = OrderId(self.state.next_order);
        self.state.next_order += 1;
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let order = Order { id, epoch, lease: step.lease(), step, limit_ms };
        let due = self.now.plus(limit).plus(GRACE);
        if let Step::Repoint { server, source, .. } | Step::RepointEarly { server, source, .. } = order.step {
            self.state.durable.sources.insert(server, source);
        }
        if let Step::Fence { server } | Step::StopReceiver { server } | Step::RepointEarly { server, .. } = order.step {
            self.state.durable.stopped.insert(server, self.now);
        }
        self.state.pending.insert(id, Pending { order: order.clone(), owner, due });
        self.effects.push(Effect::Execute(order));
    }

    /// Whether an order of this owner is still pending.
    pub(super) fn waits_for(&self, owner: Owner, matches: impl Fn(&Step) -> bool) -> bool {
        self.state.pending.values().any(|pending| pending.owner == owner && matches(&pending.order.step))
    }

    /// Stops waiting for this owner's orders.
    pub(super) fn drop_orders(&mut self, owner: Owner) {
        self.state.pending.retain(|_, pending| pending.owner != owner);
    }

    /// Servers with a fresh observation.
    pub(super) fn fresh(&self) -> Vec<ServerId> {
        let evidence = self.state.evidence(self.now);
        evidence.servers.iter().filter(|server| server.fresh(self.policy).is_some()).map(|server| server.id).collect()
    }
}
