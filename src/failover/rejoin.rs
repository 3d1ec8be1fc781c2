//! Letting servers rejoin, and fencing servers that accept writes and must not.

use super::machine::StepContext;
use super::observe::ORDERS_LATE_MAX;
use super::state::{Owner, Rejoin, RejoinStage};
use super::track::Word;
use super::{
    CommandId, Done, EarlyFollower, Failed, Lease, Moment, NoticeKind, OnErrant, Stage, Step, Suspicion, Withdrawn,
};
use crate::topology::{Flavor, GtidHistory, Receiver, ServerId};
use std::collections::BTreeSet;

/// How often a server that followed a candidate is told to follow the primary again before it is treated like an
/// unknown server.
const SEND_BACK_MAX: u32 = 3;

impl StepContext<'_> {
    /// Maintenance while no change is in progress: fence strays, remove the primary's old replication configuration,
    /// let servers rejoin.
    pub(super) fn housekeeping(&mut self) {
        let blocked =
            self.state.durable.change.as_ref().is_some_and(|change| matches!(change.stage, Stage::Blocked(_)));
        let mine = self.state.governs(self.policy) && self.state.lease == Lease::Held;
        if !mine || !self.state.confirmed || (self.state.durable.change.is_some() && !blocked) {
            return;
        }
        self.fence_strays();
        if blocked {
            return;
        }
        self.forget_source();
        self.wait_for_all();
        self.send_back();
        self.rejoin_next();
    }

    /// A primary that was opened when few servers were left waits for the full number of acknowledgements again as soon
    /// as that many servers can give them.
    fn wait_for_all(&mut self) {
        let (Some(server), wait_count) = (self.state.durable.primary, self.policy.durability.wait_count()) else {
            return;
        };
        let can = |status: &super::Status| {
            let semi_sync = &status.semi_sync;
            let fewer = semi_sync.source_on && semi_sync.wait_count < wait_count;
            !status.read_only && fewer && semi_sync.clients >= wait_count
        };
        let wanted = self.policy.wait_least() < wait_count
            && self.fresh().contains(&server)
            && self.status(server).is_some_and(can);
        if wanted && self.may_try(server) && !self.waits_for(Owner::Housekeeping, |step| step.server() == server) {
            self.try_later(server);
            let (epoch, limit) = (self.state.durable.epoch, self.policy.limits.step * 2);
            self.order(
                Owner::Housekeeping,
                epoch,
                Step::EnableSemiSync { server, wait_count, relay_log_helper: None },
                limit,
            );
        }
    }

    /// A server that follows a candidate that was not opened is told to follow the primary again, with everything that
    /// it has. If that keeps failing, it rejoins like a server that does not follow.
    fn send_back(&mut self) {
        let Some(source) = self.state.durable.primary else { return };
        let fresh = self.fresh();
        for (server, EarlyFollower { ordered_at, .. }) in self.state.durable.early_followers.clone() {
            if !fresh.contains(&server)
                || self.state.pending.values().any(|pending| pending.order.step.server() == server)
            {
                continue;
            }
            if server == source || self.is_fed(server, source) {
                self.state.sent_back.remove(&server);
                if self.now.since(ordered_at) > ORDERS_LATE_MAX {
                    self.state.durable.early_followers.remove(&server);
                }
                continue;
            }
            let times = self.state.sent_back.get(&server).copied().unwrap_or(0);
            if times < SEND_BACK_MAX && self.may_try(server) {
                self.try_later(server);
                self.state.sent_back.insert(server, times + 1);
                let (epoch, acks, limit) = (self.state.durable.epoch, self.acks(), self.policy.limits.step * 2);
                self.order(Owner::Housekeeping, epoch, Step::RepointEarly { server, source, acks }, limit);
            }
        }
    }

    /// Whether a server receives from this source by its last report, and acknowledges if it should.
    fn is_fed(&self, server: ServerId, source: ServerId) -> bool {
        let acks = self.policy.durability.wait_count() > 0;
        self.status(server).is_some_and(|status| {
            let stream = status.stream.as_ref();
            let receives =
                |stream: &super::Stream| stream.source == Some(source) && stream.receiver != Receiver::Stopped;
            stream.is_some_and(receives) && (status.semi_sync.replica_on || !acks)
        })
    }

    /// A server that accepts writes and is not the primary is made read-only at once, and must be compared.
    fn fence_strays(&mut self) {
        let primary = self.state.durable.primary;
        let strays: Vec<ServerId> = self
            .fresh()
            .into_iter()
            .filter(|id| Some(*id) != primary && self.takes_writes(*id))
            .filter(|id| self.state.durable.withdrawn.get(id) != Some(&Withdrawn::Maintenance))
            .collect();
        for server in strays {
            self.suspect(server);
            let asked_before = self.state.pending.values().any(|pending| pending.order.step == Step::Fence { server });
            if !asked_before && self.may_try(server) {
                self.notify(NoticeKind::Fencing, format!("server {} accepts writes and is not the primary", server.0));
                self.try_later(server);
                let (epoch, limit) = (self.state.durable.epoch, self.policy.limits.step);
                self.order(Owner::Housekeeping, epoch, Step::Fence { server }, limit);
            }
        }
    }

    /// By a report from after the present primary was opened. Before that, another server may have been the primary.
    fn takes_writes(&self, id: ServerId) -> bool {
        let word = self.state.track(id).and_then(|track| track.word.as_ref());
        word.is_some_and(|word| !word.status.read_only && word.asked >= self.state.durable.opened)
    }

    /// The new primary replicates from no source. Its old replication configuration is removed when nothing else is
    /// due.
    fn forget_source(&mut self) {
        let Some(server) = self.state.durable.primary else { return };
        let stopped = |stream: &super::Stream| stream.receiver == Receiver::Stopped && !stream.applying;
        let remembers = self.fresh().contains(&server)
            && self
                .status(server)
                .is_some_and(|status| !status.read_only && status.stream.as_ref().is_some_and(stopped));
        if remembers && self.may_try(server) && !self.waits_for(Owner::Housekeeping, |step| step.server() == server) {
            self.try_later(server);
            let (epoch, limit) = (self.state.durable.epoch, self.policy.limits.step * 2);
            self.order(Owner::Housekeeping, epoch, Step::ForgetSource { server }, limit);
        }
    }

    pub(super) fn housekeeping_outcome(&mut self, step: &Step, result: &Result<Done, Failed>) {
        match (step, result) {
            (Step::Fence { server }, Ok(_)) => self.effects.push(super::Effect::Look(*server)),
            (Step::RepointEarly { server, .. }, Ok(_)) => {
                self.happened(format!("server {} follows the primary again", server.0));
                self.effects.push(super::Effect::Look(*server));
            }
            _ => {}
        }
    }

    fn may_try(&self, server: ServerId) -> bool {
        self.state.not_before.get(&server).is_none_or(|at| self.now >= *at)
    }

    fn try_later(&mut self, server: ServerId) {
        let at = self.now.plus(self.policy.limits.retry);
        self.state.not_before.insert(server, at);
    }

    /// Servers that are rejoining, except those that are being rebuilt.
    pub(super) fn rejoining(&self) -> Vec<ServerId> {
        let rejoins = self.state.rejoins.iter();
        rejoins.filter(|(_, rejoin)| rejoin.stage != RejoinStage::Cloning).map(|(server, _)| *server).collect()
    }

    /// Whether a server is being rebuilt. A donor serves one at a time.
    pub(super) fn rebuilds(&self) -> bool {
        self.state.rejoins.values().any(|rejoin| rejoin.stage == RejoinStage::Cloning)
    }

    /// One at a time, not counting one that is being rebuilt.
    fn rejoin_next(&mut self) {
        let rejoining = self.rejoining();
        if !rejoining.is_empty() {
            return rejoining.into_iter().for_each(|server| self.compare(server));
        }
        // Servers that were told to follow the new primary get the time to be seen doing so.
        if self.now.since(self.state.durable.opened) < self.policy.limits.step {
            return;
        }
        let next = self
            .fresh()
            .into_iter()
            .find(|id| self.may_try(*id) && !self.state.rejoins.contains_key(id) && self.wants_rejoin(*id));
        if let Some(server) = next {
            let clone = self.policy.errant == OnErrant::Clone;
            self.begin_rejoin(server, None, clone);
        }
    }

    /// Whether a server that answers should rejoin without a command.
    fn wants_rejoin(&self, id: ServerId) -> bool {
        let durable = &self.state.durable;
        if durable.primary == Some(id) || durable.withdrawn.get(&id) == Some(&Withdrawn::Maintenance) {
            return false;
        }
        match durable.quarantined.get(&id).map(|quarantine| &quarantine.why) {
            Some(Suspicion::Unchecked) => true,
            Some(Suspicion::Errant(_) | Suspicion::Purged) => self.policy.errant == OnErrant::Clone && !self.rebuilds(),
            None if durable.early_followers.contains_key(&id) => {
                self.state.sent_back.get(&id).is_some_and(|times| *times >= SEND_BACK_MAX)
            }
            None => !self.follows_primary(id) || self.waits_to_replicate(id),
        }
    }

    /// Whether a server waits for an order to replicate, because it started without replication (as it should be
    /// configured) or because dbproxy stopped it; or for an order to acknowledge, because dbproxy stopped both, it
    /// restarted, and it replicates on its own. A replica that somebody else stopped while it ran was stopped for a
    /// reason.
    fn waits_to_replicate(&self, id: ServerId) -> bool {
        let by_us = self.state.durable.stopped.get(&id);
        let acks = self.policy.durability.wait_count() > 0;
        self.state.track(id).is_some_and(|track| {
            let Some((status, stream)) = track.status().and_then(|status| Some((status, status.stream.as_ref()?)))
            else {
                return false;
            };
            let stopped = stream.receiver == Receiver::Stopped && (!track.received || by_us.is_some());
            let anew = by_us.zip(track.started).is_some_and(|(stopped, started)| started > *stopped);
            stream.apply_error.is_none() && (stopped || anew && acks && !status.semi_sync.replica_on)
        })
    }

    /// Whether the primary's transactions can reach it, possibly through other servers.
    pub(super) fn follows_primary(&self, id: ServerId) -> bool {
        let mut seen = BTreeSet::new();
        let mut at = id;
        while seen.insert(at) {
            let source = self.status(at).and_then(|status| status.stream.as_ref()).and_then(|stream| stream.source);
            match source {
                None => return false,
                Some(source) if Some(source) == self.state.durable.primary => return true,
                Some(source) => at = source,
            }
        }
        false
    }

    pub(super) fn begin_rejoin(&mut self, server: ServerId, command: Option<CommandId>, clone: bool) {
        self.state.rejoins.insert(server, Rejoin { stage: RejoinStage::Fencing, command, clone });
        self.try_later(server);
        self.rejoin_order(Step::Fence { server });
    }

    fn rejoin_order(&mut self, step: Step) {
        let limits = &self.policy.limits;
        let limit = match step {
            Step::Clone { .. } => limits.clone,
            Step::DumpErrant { .. } => limits.hook,
            _ => limits.step * 2,
        };
        let epoch = self.state.durable.epoch;
        self.order(Owner::Rejoin, epoch, step, limit);
    }

    fn stage(&mut self, server: ServerId, stage: RejoinStage) {
        if let Some(rejoin) = self.state.rejoins.get_mut(&server) {
            rejoin.stage = stage;
        }
    }

    fn end_rejoin(&mut self, server: ServerId, result: Result<String, String>) {
        let command = self.state.rejoins.remove(&server).and_then(|rejoin| rejoin.command);
        self.state.pending.retain(|_, pending| pending.owner != Owner::Rejoin || pending.order.step.server() != server);
        self.try_later(server);
        if let Some(id) = command {
            self.answer(id, result);
        }
    }

    pub(super) fn rejoin_outcome(&mut self, step: Step, result: Result<Done, Failed>) {
        let server = step.server();
        if !self.state.rejoins.contains_key(&server) {
            return;
        }
        // The time of the step is unknown, so what the server had before proves nothing.
        if matches!(step, Step::Repoint { .. }) && self.state.track(server).is_some_and(|track| track.doubt.is_some()) {
            self.forgets(server);
        }
        let done = match result {
            Ok(done) => done,
            // An errant set that was not reported is dumped again next time; everything else is tried again.
            Err(failed) => {
                return self.end_rejoin(server, Err(format!("{} failed: {}", step.name(), failed.text)));
            }
        };
        match (step, done) {
            (Step::Fence { .. } | Step::Clone { .. }, Done::Sets { sets, .. }) => {
                self.stage(server, RejoinStage::Comparing { since: self.now, sets });
                let both = [Some(server), self.state.durable.primary];
                self.effects.extend(both.into_iter().flatten().map(super::Effect::Look));
            }
            (Step::DumpErrant { errant, .. }, _) => self.dumped(server, errant),
            (Step::Repoint { .. }, _) => {
                self.state.durable.early_followers.remove(&server);
                self.state.durable.quarantined.remove(&server);
                self.state.durable.writers.remove(&server);
                let text = format!("server {} replicates from the primary", server.0);
                self.happened(text.clone());
                self.notify(NoticeKind::Rejoined, text.clone());
                self.effects.push(super::Effect::Look(server));
                self.end_rejoin(server, Ok(text));
            }
            _ => self.end_rejoin(server, Err("the server's answer is not valid".to_owned())),
        }
    }

    /// Whether a fenced server has what the primary, asked after that, does not have.
    fn compare(&mut self, server: ServerId) {
        let stage = self.state.rejoins.get(&server).map(|rejoin| rejoin.stage.clone());
        let Some(RejoinStage::Comparing { since, sets }) = stage else { return };
        let Some(source) = self.state.durable.primary else { return };
        let words = (self.word_since(source, since), self.word_since(server, since));
        let (Some(word), Some(own)) = words else {
            if self.now.since(since) > self.policy.limits.step * 2 {
                self.end_rejoin(server, Err("it, or the primary, did not report its transactions in time".to_owned()));
            }
            return;
        };
        // Otherwise it may have more by now than it reported.
        let receives = own.status.stream.as_ref().is_some_and(|stream| stream.receiver != Receiver::Stopped);
        let restarted = self.state.track(server).is_some_and(|track| track.doubt.is_some_and(|doubt| doubt > since));
        if receives || restarted || !own.status.read_only {
            return self.end_rejoin(server, Err("it changed while it was compared".to_owned()));
        }
        let origins: Vec<_> = self.state.durable.origin.into_iter().collect();
        let missing = sets.executed.less(&word.status.sets.executed);
        let errant = missing.not_from(&origins);
        if !errant.is_empty() {
            self.quarantine(server, Suspicion::Errant(errant.clone()));
            self.stage(server, RejoinStage::Dumping { errant: errant.clone() });
            let known = word.status.sets.executed;
            return self.rejoin_order(Step::DumpErrant { server, errant, known });
        }
        // A MySQL primary does not count a transaction of its own as executed while it waits for acknowledgements. What
        // a MariaDB primary, or a restarted one, lacks, it has lost; then it must not continue as if it had everything.
        let restarted = self.state.evidence(self.now).primary().is_some_and(|primary| primary.restarted);
        if !missing.is_empty() && (restarted || missing.flavor() == Flavor::MariaDb) {
            return self.end_rejoin(server, Err(format!("the primary has lost what it wrote itself: {missing}")));
        }
        if word.status.sets.purged.as_ref().is_some_and(|purged| !sets.executed.covers(purged)) {
            self.quarantine(server, Suspicion::Purged);
            return self.rebuild(server, "the primary has purged transactions that it lacks");
        }
        // It is counted among the servers that may acknowledge before it may acknowledge.
        if self.state.durable.ackers.insert(server) {
            // It has acknowledged nothing to this primary that it could have lost.
            if let Some(track) = self.state.track_mut(server) {
                (track.doubt, track.restarted) = (None, false);
            }
            self.note_doubt(server);
            self.happened(format!("server {} may acknowledge now", server.0));
        } else if !sets.executed.covers(&sets.held(self.state.primary_history().as_ref())) {
            self.forgets(server);
        }
        self.stage(server, RejoinStage::Repointing);
        let (acks, at_most) = (self.acks(), Some(sets.held(self.state.primary_history().as_ref())));
        self.rejoin_order(Step::Repoint { server, source, acks, at_most });
    }

    /// A server's last report, if it was asked for after that time and the server still answers.
    fn word_since(&self, server: ServerId, since: Moment) -> Option<Word> {
        let word = self.state.track(server)?.word.as_ref()?;
        (word.asked >= since && self.fresh().contains(&server)).then(|| word.clone())
    }

    /// What it has received and not applied is about to be discarded, and it may have acknowledged that. As after a
    /// restart, its evidence does not count until it has everything again.
    fn forgets(&mut self, server: ServerId) {
        let now = self.now;
        if let Some(track) = self.state.track_mut(server) {
            track.doubt = Some(now);
        }
        self.note_doubt(server);
    }

    fn dumped(&mut self, server: ServerId, errant: GtidHistory) {
        self.rebuild(server, &format!("it has transactions that the primary does not have: {errant}"));
    }

    /// Rebuilds a server, where that is wanted and possible.
    fn rebuild(&mut self, server: ServerId, why: &str) {
        let wanted = self.state.rejoins.get(&server).is_some_and(|rejoin| rejoin.clone);
        let mysql = self.status(server).is_some_and(|status| status.flavor == Flavor::MySql);
        match self.state.durable.primary {
            Some(_) if wanted && mysql && self.rebuilds() => {
                self.end_rejoin(server, Err(format!("{why}: another server is being rebuilt: one at a time")));
            }
            Some(donor) if wanted && mysql => {
                self.stage(server, RejoinStage::Cloning);
                self.happened(format!("server {} is rebuilt from server {}", server.0, donor.0));
                self.rejoin_order(Step::Clone { server, donor });
            }
            _ => {
                let hint =
                    if wanted { "only MySQL can be rebuilt by cloning" } else { "`rejoin` with clone rebuilds it" };
                self.end_rejoin(server, Err(format!("{why}: {hint}")));
            }
        }
    }
}
