//! A change of the primary, from its cause to its end. Failover and switchover share everything except their
//! beginnings.

use super::machine::StepContext;
use super::state::Owner;
use super::{
    AskHook, Cause, Change, Choice, Done, EarlyFollower, Failed, FailedHow, Fence, FenceHook, NoticeKind, Opened,
    PrimaryTerm, Problem, Report, Stage, Step, Suspicion,
};
use crate::topology::{Epoch, GtidHistory, ServerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The first stage of a change with this cause.
const fn first_stage(cause: Cause) -> Stage {
    match cause {
        Cause::Switchover => Stage::Checking,
        Cause::Problem(_) | Cause::Failover => Stage::StoppingReceivers,
    }
}

/// How often a step that may have happened is repeated before its server counts as lost.
const TRIES_MAX: u32 = 5;
/// One slice of a long wait. Between two slices dbproxy checks whether there is progress.
const DRAIN_SLICE: Duration = Duration::from_secs(2);
/// The same when a server answers that was not reached: it may only have been slow.
const RETRY_MISSED: u32 = 3;
/// A blocked change is tried again after this many retry limits if nothing has changed.
const RETRY_UNCHANGED: u32 = 10;

impl Change {
    /// Whether it is a switchover that has not become a failover.
    pub fn is_switchover(&self) -> bool {
        self.cause == Cause::Switchover && self.undone.is_none()
    }

    /// The server that will be the primary, once it is chosen.
    pub fn candidate(&self) -> Option<ServerId> {
        self.choice.as_ref().map(|choice| choice.candidate)
    }

    /// What the server that supplies the candidate must have applied first.
    pub(super) fn to_feed(&self, choice: &Choice) -> GtidHistory {
        let feeds = choice.via.and_then(|via| self.reached.get(&via));
        feeds.map_or_else(|| choice.goal.clone(), |via| choice.to_feed(&via.held))
    }
}

impl StepContext<'_> {
    /// F0: the gate is closed from here on.
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

    /// Whether the `before` hook may cancel a change with this cause.
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
            Stage::AwaitingHook
        } else {
            first_stage(cause)
        };
        let from = self.state.durable.primary;
        let primary = self.state.primary_history();
        let durable = &mut self.state.durable;
        let alive = from.and_then(|from| self.state.tracks.get(usize::from(from.0))).and_then(|track| track.alive);
        let waited_for = durable.waited_for;
        let terms =
            from.map(|primary| PrimaryTerm { primary, ackers: durable.ackers.clone(), waited_for, opened: None });
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
            terms: terms.into_iter().collect(),
            undone: None,
        });
        // A rejoin can begin again later; now its orders would only interfere.
        self.drop_orders(Owner::Rejoin);
        let commands = std::mem::take(&mut self.state.rejoins).into_values().filter_map(|rejoin| rejoin.command);
        for id in commands.collect::<Vec<_>>() {
            self.answer(id, Err("the primary is being changed: try again when that has ended".to_owned()));
        }
        let name = if cause == Cause::Switchover { "switchover" } else { "failover" };
        self.happened(format!("{name} begins"));
        self.notify(NoticeKind::Started, format!("{name} begins: {}", self.state.problem.advice()));
        self.enter(stage);
    }

    /// Enters a stage and gives its orders. Everything done here can be repeated.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.drop_orders(Owner::Change);
        self.state.tries = 0;
        let now = self.now;
        let Some(change) = &mut self.state.durable.change else { return };
        self.happened.push(stage.description());
        (change.stage, change.since) = (stage.clone(), now);
        match stage {
            Stage::StoppingReceivers => self.revoke(),
            Stage::Blocked(_) => self.state.tried_with = self.fresh(),
            Stage::Repointing => self.repoint(),
            Stage::RepointingEarly => self.attach(),
            Stage::AwaitingHook
            | Stage::Checking
            | Stage::WaitingForLag
            | Stage::DrainingSessions
            | Stage::Demoting
            | Stage::CatchingUp
            | Stage::SupplyingMissing
            | Stage::ApplyingReceived
            | Stage::EnablingSemiSync
            | Stage::Opening => self.give_step(),
        }
    }

    /// Gives the order of a stage that has exactly one.
    fn give_step(&mut self) {
        let limits = self.policy.limits;
        let Some(change) = &self.state.durable.change else { return };
        let Some(from) = change.from.or(change.candidate()) else { return };
        let candidate = change.candidate();
        let goal = change.choice.as_ref().map(|choice| choice.goal.clone());
        let via = change.choice.as_ref().and_then(|choice| Some((choice.via?, change.to_feed(choice))));
        let wait_count = self.wait_count();
        let (step, limit) = match (&change.stage, candidate, goal) {
            (Stage::AwaitingHook, ..) => (Step::RunBeforeHook { server: from }, limits.hook),
            (Stage::Checking, ..) => (Step::CheckQuiet { server: from }, limits.step),
            (Stage::WaitingForLag, Some(server), _) => (Step::WaitForLag { server, primary: from }, limits.catch_up),
            (Stage::DrainingSessions, ..) => (Step::DrainSessions { server: from }, limits.switchover_drain),
            (Stage::Demoting, ..) => (Step::Demote { server: from }, limits.step * 2),
            (Stage::CatchingUp, Some(server), Some(until)) => (Step::ApplyReceived { server, until }, limits.catch_up),
            (Stage::SupplyingMissing, Some(_), Some(_)) => match via {
                Some((server, until)) => (Step::ApplyReceived { server, until }, DRAIN_SLICE),
                None => return self.enter(Stage::ApplyingReceived),
            },
            (Stage::ApplyingReceived, Some(server), Some(until)) => {
                (Step::ApplyReceived { server, until }, DRAIN_SLICE)
            }
            (Stage::EnablingSemiSync, Some(server), _) => (
                Step::EnableSemiSync { server, wait_count, relay_log_helper: self.relay_log_helper() },
                limits.step * 2,
            ),
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
            if let Step::RepointEarly { server, source, .. } = step {
                let follower = EarlyFollower { candidate: source, ordered_at: self.now };
                self.state.durable.early_followers.insert(server, follower);
            }
            if let Step::Repoint { server, source, .. } = step
                && let Some(released) = change.released.get_mut(&server)
            {
                released.sources.insert(source);
            }
            self.order(Owner::Change, epoch, step, limit);
        }
    }

    /// Acknowledgements that the new primary waits for. It is fewer than the policy says only as far as the operator
    /// allows.
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

    /// How long to wait for answers: longer where probes have been slow, within bounds.
    fn patience(&self) -> Duration {
        let slowest = self.state.evidence(self.now).servers.iter().map(|server| server.pace_ms).max().unwrap_or(0);
        let slow = (Duration::from_millis(slowest) * 2).min(self.policy.detection.status_fresh_max);
        self.policy.limits.step.max(slow)
    }

    /// F2, F3: no replica acknowledges to the old primary any more; every server that may accept writes is told not to.
    fn revoke(&mut self) {
        let fresh = self.fresh();
        let limit = self.patience();
        let Some(change) = &mut self.state.durable.change else { return };
        // Each attempt has its own epoch, so that an order of an earlier attempt that arrives late is recognised.
        change.epoch = Epoch(change.epoch.0 + u64::from(change.attempt > 0 || !change.reached.is_empty()));
        change.attempt += 1;
        let writers: BTreeSet<ServerId> =
            change.from.into_iter().chain(change.terms.iter().map(|term| term.primary)).collect();
        // What it had when it was last reached stays known, for a server that comes back after a restart.
        for (id, reached) in std::mem::take(&mut change.reached).into_iter().filter(|(_, reached)| reached.counts) {
            change.known.entry(id).and_modify(|known| known.merge(&reached.held)).or_insert(reached.held);
        }
        (change.choice, change.gives_up, change.fence) = (None, false, Fence::Tried);
        (change.attached, change.told, change.following) = Default::default();
        let ackers: BTreeSet<ServerId> = change.terms.iter().flat_map(|term| term.ackers.iter().copied()).collect();
        let from = change.from;
        for server in self.state.ids() {
            let idle = self.state.durable.quarantined.contains_key(&server) && !ackers.contains(&server);
            // A commit that waits there for acknowledgements becomes visible only when the wait is ended.
            let writer = self.status(server).is_some_and(|status| !status.read_only || status.semi_sync.source_on);
            if writers.contains(&server) || writer || self.state.durable.writers.contains(&server) {
                self.change_order(Step::Fence { server }, limit);
            } else if !idle || fresh.contains(&server) {
                self.change_order(Step::StopReceiver { server }, limit);
            }
        }
        if let Some(server) = from
            && self.policy.fence_hook == FenceHook::Run
        {
            let hook = self.policy.limits.hook;
            self.change_order(Step::RunFenceHook { server }, hook);
        }
    }

    /// F8: the candidate may have commits acknowledged from here on.
    fn open(&mut self, server: ServerId, wait_count: u16) {
        let limit = self.policy.limits.step;
        let (ids, now): (Vec<ServerId>, _) = (self.state.ids().collect(), self.now);
        if let Some(change) = &mut self.state.durable.change {
            // A server that was not reached may still receive from it, from a time when it was the primary before.
            let before = change.terms.iter().filter(|term| term.primary == server);
            let with = change.choice.as_ref().map(|choice| choice.goal.clone());
            // A server that is opened again is as it was when it was first opened. For the old primary that is not
            // known here.
            let opened = match before.clone().next() {
                Some(term) => term.opened.clone(),
                None => with.map(|with| Opened { at: now, with }),
            };
            // A server that said that it replicates from no source has not been told otherwise since.
            let unreached = ids.into_iter().filter(|id| {
                let hears = match self.state.durable.sources.get(id) {
                    Some(source) => *source == server,
                    None => !self.state.durable.origins.contains_key(id),
                };
                *id != server && !change.reached.contains_key(id) && hears
            });
            let known = before.flat_map(|term| term.ackers.iter().copied()).chain(change.told.iter().copied());
            // Whatever it has reported since.
            let early = self.state.durable.early_followers.iter().filter(|(_, early)| early.candidate == server);
            let ackers = known.chain(unreached).chain(early.map(|(id, _)| *id)).collect();
            change.terms.retain(|term| term.primary != server);
            change.terms.push(PrimaryTerm { primary: server, ackers, waited_for: Some(wait_count), opened });
            self.state.durable.writers.insert(server);
        }
        self.change_order(Step::Open { server, wait_count }, limit);
    }

    /// What the passing of time requires.
    pub(super) fn go_on(&mut self) {
        let Some(change) = &self.state.durable.change else { return };
        match &change.stage {
            Stage::StoppingReceivers => self.choose_if_reached(),
            Stage::Blocked(_) => {
                let waited = self.now.since(change.since);
                let retry = self.policy.limits.retry;
                let fresh = self.fresh();
                let changed = fresh != self.state.tried_with;
                // It answers, and did not carry out an order in time.
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
                    self.enter(Stage::StoppingReceivers);
                }
            }
            Stage::RepointingEarly | Stage::WaitingForLag | Stage::DrainingSessions => {
                self.call_off_without_candidate()
            }
            Stage::Repointing => self.open_if_followed(),
            Stage::AwaitingHook
            | Stage::Checking
            | Stage::Demoting
            | Stage::CatchingUp
            | Stage::SupplyingMissing
            | Stage::ApplyingReceived
            | Stage::EnablingSemiSync
            | Stage::Opening => {}
        }
    }

    pub(super) fn change_outcome(&mut self, step: Step, result: Result<Done, Failed>) {
        match step {
            Step::RunBeforeHook { .. } => self.hook_answered(result),
            Step::StopReceiver { server } => self.revoked(server, result),
            Step::Fence { server } => self.fenced(server, result),
            Step::RunFenceHook { .. } => self.fenced_by_hook(result),
            Step::ApplyReceived { server, .. } => self.drained(server, result),
            Step::EnableSemiSync { server, .. } => match result {
                Ok(_) => self.enter(Stage::Repointing),
                Err(failed) => self.failed(server, failed),
            },
            Step::Repoint { server, source, .. } => self.repointed(server, source, result),
            Step::Open { server, .. } => match result {
                Ok(done) => self.complete(server, done),
                Err(failed) => self.failed(server, failed),
            },
            Step::CheckQuiet { .. } => self.checked(result),
            Step::RepointEarly { server, .. } => self.attached(server, result),
            Step::WaitForLag { .. } => self.approached(result),
            Step::DrainSessions { server } => self.sessions_drained(server, result),
            Step::KillSessions { .. } => self.enter(Stage::Demoting),
            Step::Demote { server } => self.demoted(server, result),
            Step::ForgetSource { .. } | Step::DumpErrant { .. } | Step::Clone { .. } => {}
        }
    }

    /// The `before` hook has answered.
    fn hook_answered(&mut self, result: Result<Done, Failed>) {
        let Some(cause) = self.state.durable.change.as_ref().map(|change| change.cause) else { return };
        match (result, cause) {
            (Ok(_), Cause::Problem(_)) if !self.state.problem.asks_for_failover() => {
                self.call_off("the primary came back while hooks.before was running");
            }
            (Ok(_), _) => self.enter(first_stage(cause)),
            (Err(failed), _) => {
                // Otherwise it would be asked again at once, and forever.
                if matches!(cause, Cause::Problem(_)) {
                    self.state.durable.hold = Some("hooks.before cancelled a failover".to_owned());
                }
                self.call_off(&format!("hooks.before: {}", failed.text));
            }
        }
    }

    /// A step on the candidate failed. It is repeated while that can help; then the candidate is given up.
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

    /// Begins again without `server`. Every change that has touched a server ends with an open primary, the old one if
    /// need be, so it returns to finding out which server has what.
    pub(super) fn set_back(&mut self, server: Option<ServerId>, why: &str) {
        let Some(change) = &mut self.state.durable.change else { return };
        if let Some(server) = server {
            change.failed.insert(server, why.to_owned());
        }
        // A change that an operator began while the old primary was there need not end with another one.
        if matches!(change.cause, Cause::Switchover | Cause::Failover) && !change.forced && change.undone.is_none() {
            change.undone = Some(why.to_owned());
            change.wanted = None;
        }
        change.attempt = change.attempt.max(1);
        self.happened.push(match server {
            Some(server) => format!("server {} is no longer a candidate: {why}", server.0),
            None => format!("begins again: {why}"),
        });
        self.enter(Stage::StoppingReceivers);
    }

    /// F9: there is a new primary.
    fn complete(&mut self, server: ServerId, done: Done) {
        let waited_for = self.wait_count();
        let Some(change) = self.state.durable.change.take() else { return };
        let now = self.now;
        let origin = self.state.durable.origins.get(&server).copied();
        let started = self.state.track(server).and_then(|track| track.started);
        let term = change.terms.iter().rev().find(|term| term.primary == server);
        let ackers = term.map(|term| term.ackers.clone()).unwrap_or_default();
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
        // A server that does not follow is compared, and told to follow.
        durable.early_followers.clear();
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
            (NoticeKind::Aborted, format!("the switchover was undone: {why}; server {} is the primary again", server.0))
        } else if Some(server) == change.from {
            (NoticeKind::Aborted, format!("server {} is the primary again, after {took} ms", server.0))
        } else {
            (NoticeKind::Finished, format!("server {} is the primary, after {took} ms", server.0))
        };
        self.happened(text.clone());
        self.notify(kind, text.clone());
        if let Some(id) = change.command {
            self.answer(id, if undone.is_some() { Err(text) } else { Ok(text) });
        }
    }
}
