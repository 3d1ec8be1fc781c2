//! A change of the primary, from what begins it to what ends it: failover and switchover share all but their beginnings.

use super::machine::Turn;
use super::state::Owner;
use super::{
    AskHook, Astray, Cause, Change, Choice, Done, Failed, FailedHow, Fence, FenceHook, NoticeKind, Opened, Problem,
    Reign, Report, Stage, Step, Suspicion,
};
use crate::topology::{Epoch, GtidHistory, ServerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a change of this cause begins with.
const fn first_stage(cause: Cause) -> Stage {
    match cause {
        Cause::Switchover => Stage::Checking,
        Cause::Problem(_) | Cause::Failover => Stage::Revoking,
    }
}

/// How often a step that may have happened is given before its server counts as lost.
const TRIES_MAX: u32 = 5;
/// A slice of a long wait: between two of them is looked whether anything moves.
const DRAIN_SLICE: Duration = Duration::from_secs(2);
/// And so often when a server answers that was not reached: it may only have been slow.
const RETRY_MISSED: u32 = 3;
/// Without anything new, what is blocked is tried again after so many times the retry limit.
const RETRY_UNCHANGED: u32 = 10;

impl Change {
    /// Whether it is a switchover that has not become a failover.
    pub fn is_switchover(&self) -> bool {
        self.cause == Cause::Switchover && self.undone.is_none()
    }

    /// Who takes the writes at its end, once that is known.
    pub fn candidate(&self) -> Option<ServerId> {
        self.choice.as_ref().map(|choice| choice.candidate)
    }

    /// What whoever feeds the choice must have applied before.
    pub(super) fn to_feed(&self, choice: &Choice) -> GtidHistory {
        let feeds = choice.via.and_then(|via| self.reached.get(&via));
        feeds.map_or_else(|| choice.goal.clone(), |via| choice.to_feed(&via.held))
    }
}

impl Turn<'_> {
    /// F0: from here on the gate is closed.
    pub(super) fn begin_failover(&mut self) {
        let problem = self.state.problem;
        self.state.report = Some(self.state.explain(self.policy, self.now));
        if problem != Problem::PrimaryRestarted {
            let (now, window) = (self.now, self.policy.anti_flap.window);
            self.state.durable.failovers.retain(|at| now.since(*at) < window);
            self.state.durable.failovers.push(now);
        }
        self.begin(Cause::Problem(problem));
    }

    /// Whether the operator's program may call such a change off.
    const fn asks_hook(&self, cause: Cause) -> bool {
        match (self.policy.ask_hook, cause) {
            (AskHook::Never, _) | (_, Cause::Problem(Problem::PrimaryRestarted)) => false,
            (AskHook::Switchovers, Cause::Switchover) | (AskHook::Always, _) => true,
            (AskHook::Switchovers, Cause::Problem(_) | Cause::Failover) => false,
        }
    }

    /// Begins a change under the next epoch.
    pub(super) fn begin(&mut self, cause: Cause) {
        let stage = if self.asks_hook(cause) && self.state.durable.primary.is_some() {
            Stage::Asking
        } else {
            first_stage(cause)
        };
        let from = self.state.durable.primary;
        let primary = self.state.primary_history();
        let durable = &mut self.state.durable;
        let alive = from.and_then(|from| self.state.tracks.get(usize::from(from.0))).and_then(|track| track.alive);
        let waited_for = durable.waited_for;
        let reigns = from.map(|primary| Reign { primary, ackers: durable.ackers.clone(), waited_for, opened: None });
        durable.change = Some(Change {
            epoch: Epoch(durable.epoch.0 + 1),
            from,
            cause,
            command: None,
            began: self.now,
            wanted: None,
            forced: false,
            stage: stage.clone(),
            since: self.now,
            primary,
            primary_alive: alive.unwrap_or(self.now),
            reached: BTreeMap::new(),
            known: BTreeMap::new(),
            heard: BTreeMap::new(),
            had: BTreeMap::new(),
            released: BTreeMap::new(),
            attempt: 0,
            anew: 0,
            fence: Fence::Tried,
            failed: BTreeMap::new(),
            gives_up: false,
            choice: None,
            attached: BTreeSet::new(),
            told: BTreeSet::new(),
            following: BTreeSet::new(),
            reigns: reigns.into_iter().collect(),
            undone: None,
        });
        // Taking a server back can begin again; now its orders would only be in the way.
        self.drop_orders(Owner::Rejoin);
        let commands = std::mem::take(&mut self.state.rejoins).into_values().filter_map(|rejoin| rejoin.command);
        for id in commands.collect::<Vec<_>>() {
            self.answer(id, Err("the primary is being changed: try again when that is over".to_owned()));
        }
        let name = if cause == Cause::Switchover { "switchover" } else { "failover" };
        self.happened(format!("{name} begins"));
        self.notify(NoticeKind::Started, format!("{name} begins: {}", self.state.problem.advice()));
        self.enter(stage);
    }

    /// Goes to a stage and gives its orders. Everything that is done here may be done again.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.drop_orders(Owner::Change);
        self.state.tries = 0;
        let now = self.now;
        let Some(change) = &mut self.state.durable.change else { return };
        self.happened.push(format!("{stage:?}").to_lowercase());
        (change.stage, change.since) = (stage.clone(), now);
        match stage {
            Stage::Revoking => self.revoke(),
            Stage::Blocked(_) => self.state.tried_with = self.fresh(),
            Stage::Repointing => self.repoint(),
            Stage::Attaching => self.attach(),
            Stage::Asking
            | Stage::Checking
            | Stage::Approaching
            | Stage::ClosingSessions
            | Stage::Demoting
            | Stage::CatchingUp
            | Stage::Feeding
            | Stage::Draining
            | Stage::Arming
            | Stage::Opening => self.give_step(),
        }
    }

    /// Gives the one order of a stage that has one.
    fn give_step(&mut self) {
        let limits = self.policy.limits;
        let Some(change) = &self.state.durable.change else { return };
        let Some(from) = change.from.or(change.candidate()) else { return };
        let candidate = change.candidate();
        let goal = change.choice.as_ref().map(|choice| choice.goal.clone());
        let via = change.choice.as_ref().and_then(|choice| Some((choice.via?, change.to_feed(choice))));
        let wait_count = self.wait_count();
        let (step, limit) = match (&change.stage, candidate, goal) {
            (Stage::Asking, ..) => (Step::AskHook { server: from }, limits.hook),
            (Stage::Checking, ..) => (Step::CheckQuiet { server: from }, limits.step),
            (Stage::Approaching, Some(server), _) => (Step::Approach { server, primary: from }, limits.catch_up),
            (Stage::ClosingSessions, ..) => (Step::DrainSessions { server: from }, limits.switchover_drain),
            (Stage::Demoting, ..) => (Step::Demote { server: from }, limits.step * 2),
            (Stage::CatchingUp, Some(server), Some(until)) => (Step::Drain { server, until }, limits.catch_up),
            (Stage::Feeding, Some(_), Some(_)) => match via {
                Some((server, until)) => (Step::Drain { server, until }, DRAIN_SLICE),
                None => return self.enter(Stage::Draining),
            },
            (Stage::Draining, Some(server), Some(until)) => (Step::Drain { server, until }, DRAIN_SLICE),
            (Stage::Arming, Some(server), _) => {
                (Step::Arm { server, wait_count, beside: self.beside() }, limits.step * 2)
            }
            (Stage::Opening, Some(server), _) => {
                return match self.still_enough() {
                    Ok(()) => self.open(server, wait_count),
                    Err(why) => self.set_back(None, &why),
                };
            }
            _ => return,
        };
        self.change_order(step, limit);
    }

    pub(super) fn change_order(&mut self, step: Step, limit: Duration) {
        if let Some(change) = &mut self.state.durable.change {
            let epoch = change.epoch;
            if let Step::Attach { server, source, .. } = step {
                let astray = Astray { after: source, told: self.now };
                self.state.durable.astray.insert(server, astray);
            }
            if let Step::Repoint { server, source, .. } = step
                && let Some(released) = change.released.get_mut(&server)
            {
                released.sources.insert(source);
            }
            self.order(Owner::Change, epoch, step, limit);
        }
    }

    /// Acknowledgements that the new primary waits for: fewer than the policy says only so far as the operator allows.
    pub(super) fn wait_count(&self) -> u16 {
        let wanted = self.policy.durability.wait_count();
        let Some(change) = &self.state.durable.change else { return wanted };
        if !change.forced {
            let followers = u16::try_from(self.followers().len()).unwrap_or(u16::MAX);
            return wanted.min(followers).max(self.policy.wait_least());
        }
        let followers = change.reached.keys().filter(|id| Some(**id) != change.candidate()).count();
        wanted.min(u16::try_from(followers).unwrap_or(u16::MAX))
    }

    /// How long whoever has something to say is waited for: longer where looks have taken long, within bounds.
    fn patience(&self) -> Duration {
        let slowest = self.state.evidence(self.now).servers.iter().map(|server| server.pace_ms).max().unwrap_or(0);
        let slow = (Duration::from_millis(slowest) * 2).min(self.policy.detection.status_fresh_max);
        self.policy.limits.step.max(slow)
    }

    /// F2, F3: no replica acknowledges to the old primary any more; whoever may take writes is told not to.
    fn revoke(&mut self) {
        let fresh = self.fresh();
        let limit = self.patience();
        let Some(change) = &mut self.state.durable.change else { return };
        // Each attempt has an epoch of its own: an order of an earlier one that arrives late is told by it.
        change.epoch = Epoch(change.epoch.0 + u64::from(change.attempt > 0 || !change.reached.is_empty()));
        change.attempt += 1;
        let writers: BTreeSet<ServerId> =
            change.from.into_iter().chain(change.reigns.iter().map(|reign| reign.primary)).collect();
        // What it had when it was last reached stays known, for one that comes back after a restart.
        for (id, reached) in std::mem::take(&mut change.reached).into_iter().filter(|(_, reached)| reached.counts) {
            change.known.entry(id).and_modify(|known| known.merge(&reached.held)).or_insert(reached.held);
        }
        (change.choice, change.gives_up, change.fence) = (None, false, Fence::Tried);
        (change.attached, change.told, change.following) = Default::default();
        let ackers: BTreeSet<ServerId> = change.reigns.iter().flat_map(|reign| reign.ackers.iter().copied()).collect();
        let from = change.from;
        for server in self.state.ids() {
            let idle = self.state.durable.quarantined.contains_key(&server) && !ackers.contains(&server);
            // A commit that waits there for acknowledgements shows only when it is made to end.
            let writer = self.status(server).is_some_and(|status| !status.read_only || status.semi_sync.source_on);
            if writers.contains(&server) || writer || self.state.durable.writers.contains(&server) {
                self.change_order(Step::Fence { server }, limit);
            } else if !idle || fresh.contains(&server) {
                self.change_order(Step::Revoke { server }, limit);
            }
        }
        if let Some(server) = from
            && self.policy.fence_hook == FenceHook::Run
        {
            let hook = self.policy.limits.hook;
            self.change_order(Step::FenceByHook { server }, hook);
        }
    }

    /// F8: from here on the candidate may have commits acknowledged.
    fn open(&mut self, server: ServerId, wait_count: u16) {
        let limit = self.policy.limits.step;
        let (ids, now): (Vec<ServerId>, _) = (self.state.ids().collect(), self.now);
        if let Some(change) = &mut self.state.durable.change {
            // Whoever was not reached may hear it still, from a time when it was the primary before.
            let before = change.reigns.iter().filter(|reign| reign.primary == server);
            let with = change.choice.as_ref().map(|choice| choice.goal.clone());
            // Opened again it is as it was opened first; of the old primary that is not known here.
            let opened = match before.clone().next() {
                Some(reign) => reign.opened.clone(),
                None => with.map(|with| Opened { at: now, with }),
            };
            // One that said that it replicates from nobody was not told otherwise since.
            let unreached = ids.into_iter().filter(|id| {
                let hears = match self.state.durable.sources.get(id) {
                    Some(source) => *source == server,
                    None => !self.state.durable.origins.contains_key(id),
                };
                *id != server && !change.reached.contains_key(id) && hears
            });
            let known = before.flat_map(|reign| reign.ackers.iter().copied()).chain(change.told.iter().copied());
            // Whatever it said since.
            let astray = self.state.durable.astray.iter().filter(|(_, astray)| astray.after == server);
            let ackers = known.chain(unreached).chain(astray.map(|(id, _)| *id)).collect();
            change.reigns.retain(|reign| reign.primary != server);
            change.reigns.push(Reign { primary: server, ackers, waited_for: Some(wait_count), opened });
            self.state.durable.writers.insert(server);
        }
        self.change_order(Step::Open { server, wait_count }, limit);
    }

    /// What the passing of time asks for.
    pub(super) fn go_on(&mut self) {
        let Some(change) = &self.state.durable.change else { return };
        match &change.stage {
            Stage::Revoking => self.choose_if_reached(),
            Stage::Blocked(_) => {
                let waited = self.now.since(change.since);
                let retry = self.policy.limits.retry;
                let fresh = self.fresh();
                let changed = fresh != self.state.tried_with;
                // It answers, and did not do in time what it was told.
                let missed = fresh
                    .iter()
                    .any(|id| self.state.durable.stopped.contains_key(id) && !change.reached.contains_key(id));
                if waited >= retry && changed
                    || waited >= retry * RETRY_MISSED && missed
                    || waited >= retry * RETRY_UNCHANGED
                {
                    if let Some(change) = &mut self.state.durable.change {
                        (change.anew, change.failed) = Default::default();
                    }
                    self.enter(Stage::Revoking);
                }
            }
            Stage::Attaching | Stage::Approaching | Stage::ClosingSessions => self.call_off_without_candidate(),
            Stage::Repointing => self.open_if_followed(),
            Stage::Asking
            | Stage::Checking
            | Stage::Demoting
            | Stage::CatchingUp
            | Stage::Feeding
            | Stage::Draining
            | Stage::Arming
            | Stage::Opening => {}
        }
    }

    pub(super) fn change_outcome(&mut self, step: Step, result: Result<Done, Failed>) {
        match step {
            Step::AskHook { .. } => self.hook_answered(result),
            Step::Revoke { server } => self.revoked(server, result),
            Step::Fence { server } => self.fenced(server, result),
            Step::FenceByHook { .. } => self.fenced_by_hook(result),
            Step::Drain { server, .. } => self.drained(server, result),
            Step::Arm { server, .. } => match result {
                Ok(_) => self.enter(Stage::Repointing),
                Err(failed) => self.failed(server, failed),
            },
            Step::Repoint { server, source, .. } => self.repointed(server, source, result),
            Step::Open { server, .. } => match result {
                Ok(done) => self.complete(server, done),
                Err(failed) => self.failed(server, failed),
            },
            Step::CheckQuiet { .. } => self.checked(result),
            Step::Attach { server, .. } => self.attached(server, result),
            Step::Approach { .. } => self.approached(result),
            Step::DrainSessions { server } => self.sessions_drained(server, result),
            Step::KillSessions { .. } => self.enter(Stage::Demoting),
            Step::Demote { server } => self.demoted(server, result),
            Step::Forget { .. } | Step::DumpErrant { .. } | Step::Clone { .. } => {}
        }
    }

    /// The operator's program said whether the change may begin.
    fn hook_answered(&mut self, result: Result<Done, Failed>) {
        let Some(cause) = self.state.durable.change.as_ref().map(|change| change.cause) else { return };
        match (result, cause) {
            (Ok(_), Cause::Problem(_)) if !self.state.problem.asks_for_failover() => {
                self.call_off("the primary came back while hooks.before was asked");
            }
            (Ok(_), _) => self.enter(first_stage(cause)),
            (Err(failed), _) => {
                // Else it would be asked again at once, and for ever.
                if matches!(cause, Cause::Problem(_)) {
                    self.state.durable.hold = Some("hooks.before called a failover off".to_owned());
                }
                self.call_off(&format!("hooks.before: {}", failed.text));
            }
        }
    }

    /// A step on the candidate failed. It is given again while that can help; then the candidate is given up.
    pub(super) fn failed(&mut self, server: ServerId, failed: Failed) {
        self.state.tries += 1;
        let evidence = self.state.evidence(self.now);
        let silent = evidence.server(server).is_some_and(|server| server.is_silent(self.policy));
        let again = match failed.how {
            FailedHow::Refused | FailedHow::Changed | FailedHow::LeaseLost => false,
            FailedHow::Unreachable | FailedHow::Unknown | FailedHow::NotYet => !silent && self.state.tries < TRIES_MAX,
        };
        if again { self.give_step() } else { self.set_back(Some(server), &failed.text) }
    }

    /// Begins anew, without `server`. Every change that has touched a server ends in an opened primary, the old one if need be; so it
    /// goes back to finding out who has what.
    pub(super) fn set_back(&mut self, server: Option<ServerId>, why: &str) {
        let Some(change) = &mut self.state.durable.change else { return };
        if let Some(server) = server {
            change.failed.insert(server, why.to_owned());
        }
        // What an operator began while the old primary was there need not end with another.
        if matches!(change.cause, Cause::Switchover | Cause::Failover) && !change.forced && change.undone.is_none() {
            change.undone = Some(why.to_owned());
            change.wanted = None;
        }
        change.attempt = change.attempt.max(1);
        self.happened.push(match server {
            Some(server) => format!("server {} is given up: {why}", server.0),
            None => format!("begins anew: {why}"),
        });
        self.enter(Stage::Revoking);
    }

    /// F9: there is a new primary.
    fn complete(&mut self, server: ServerId, done: Done) {
        let waited_for = self.wait_count();
        let Some(change) = self.state.durable.change.take() else { return };
        let now = self.now;
        let origin = self.state.durable.origins.get(&server).copied();
        let started = self.state.track(server).and_then(|track| track.started);
        let reign = change.reigns.iter().rev().find(|reign| reign.primary == server);
        let ackers = reign.map(|reign| reign.ackers.clone()).unwrap_or_default();
        let durable = &mut self.state.durable;
        durable.epoch = change.epoch;
        durable.primary = Some(server);
        durable.origin = origin;
        durable.opened = now;
        (durable.base, durable.waited_for, durable.started) = (None, Some(waited_for), started);
        durable.quarantined.retain(|id, quarantine| {
            *id != server && !(quarantine.why == Suspicion::Unchecked && change.following.contains(id))
        });
        durable.withdrawn.remove(&server);
        durable.ackers = ackers;
        // Who does not follow is compared, and told to.
        durable.astray.clear();
        self.state.sent_back.clear();
        let durable = &mut self.state.durable;
        durable.writers.retain(|id| *id == server || !change.following.contains(id));
        self.state.confirmed = true;
        self.state.positions.clear();
        self.state.history = None;
        if let Some(track) = self.state.track_mut(server) {
            track.begin_reign();
        }
        self.note_doubt(server);
        if let Done::Sets { sets, .. } = done {
            self.state.note_history(now, &sets.executed);
            self.state.durable.base = Some(sets.executed);
        }
        self.drop_orders(Owner::Change);
        self.look_anew();
        for id in self.state.ids().filter(|id| *id != server && !change.following.contains(id)) {
            if !self.state.durable.quarantined.contains_key(&id) {
                self.quarantine(id, Suspicion::Unchecked);
            }
        }
        self.tell_end(&change, server);
        self.state.report = Some(Report::new(now, self.state.evidence(now), self.policy));
    }

    fn tell_end(&mut self, change: &Change, server: ServerId) {
        let took = self.now.ms_since(change.began);
        let undone = change.undone.as_deref().filter(|_| Some(server) == change.from);
        let (kind, text) = if let Some(why) = undone {
            (
                NoticeKind::Aborted,
                format!("the switchover was undone: {why}; server {} takes the writes again", server.0),
            )
        } else if Some(server) == change.from {
            (NoticeKind::Aborted, format!("server {} takes the writes again, after {took} ms", server.0))
        } else {
            (NoticeKind::Finished, format!("server {} takes the writes, after {took} ms", server.0))
        };
        self.happened(text.clone());
        self.notify(kind, text.clone());
        if let Some(id) = change.command {
            self.answer(id, if undone.is_some() { Err(text) } else { Ok(text) });
        }
    }
}
