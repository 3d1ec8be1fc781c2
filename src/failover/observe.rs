//! What observations change: which server is the primary, what it has, and which servers have errant transactions.

use super::machine::StepContext;
use super::state::Owner;
use super::{Durable, Lease, Moment, NoticeKind, Observation, Quarantine, Stage, Status, Suspicion};
use crate::topology::{Epoch, Failure, GtidHistory, Receiver, ServerId};
use std::time::Duration;

/// Without an answer from any server for this long, dbproxy itself is cut off.
const ISOLATED_AFTER: Duration = Duration::from_secs(1);
/// No order is carried out later than this after it was given.
pub(super) const ORDERS_LATE_MAX: Duration = Duration::from_secs(30);

impl StepContext<'_> {
    pub(super) fn observe(&mut self, observation: Observation) {
        let (now, server) = (self.now, observation.server);
        self.notice_own_isolation(&observation);
        let stream = self.state.primary_history();
        let asked = observation.began;
        let Some(track) = self.state.track_mut(server) else { return };
        track.note(observation, stream.as_ref(), now);
        let told = track.word.as_ref().is_some_and(|word| word.came == now && word.asked == asked);
        if !told {
            return;
        }
        self.note_facts(server);
        self.note_doubt(server);
        self.note_running(server, asked);
        if self.state.durable.primary == Some(server) && self.state.durable.change.is_none() {
            self.primary_told(server, asked);
        } else {
            self.settle(server);
        }
        self.shrink_ackers(server);
    }

    /// If no server was heard for a while, dbproxy was most likely cut off itself; then the silence of one server is no
    /// evidence.
    fn notice_own_isolation(&mut self, observation: &Observation) {
        if matches!(observation.result, Err(Failure::Timeout | Failure::NoGreeting | Failure::Broken(_))) {
            return;
        }
        if self.state.network.is_some_and(|heard| self.now.since(heard) > ISOLATED_AFTER) {
            self.was_late();
        }
        self.state.network = Some(self.now);
    }

    /// Whether a replica that dbproxy stopped runs again, and has for longer than an order can be late.
    fn note_running(&mut self, server: ServerId, asked: Moment) {
        let Some(stopped) = self.state.durable.stopped.get(&server).copied() else { return };
        let receives =
            |status: &Status| status.stream.as_ref().is_some_and(|stream| stream.receiver != Receiver::Stopped);
        let acks = self.policy.durability.wait_count() == 0
            || self.status(server).is_some_and(|status| status.semi_sync.replica_on);
        if acks && asked.since(stopped) > ORDERS_LATE_MAX && self.status(server).is_some_and(receives) {
            self.state.durable.stopped.remove(&server);
        }
    }

    /// What must be known about a server even when it can no longer be asked.
    fn note_facts(&mut self, server: ServerId) {
        let Some(status) = self.status(server) else { return };
        let (origin, source) = (status.origin, status.stream.as_ref().and_then(|stream| stream.source));
        let writable = !status.read_only;
        self.state.durable.origins.insert(server, origin);
        match source {
            Some(source) => self.state.durable.sources.insert(server, source),
            None => self.state.durable.sources.remove(&server),
        };
        if writable {
            self.state.durable.writers.insert(server);
        }
    }

    /// What the primary has now resolves doubts about replicas, and raises others.
    fn primary_told(&mut self, primary: ServerId, asked: Moment) {
        let Some(status) = self.state.track(primary).and_then(|track| track.status()) else { return };
        let (executed, origin) = (status.sets.executed.clone(), status.origin);
        if !self.state.confirmed {
            return;
        }
        let semi_sync = status.semi_sync;
        let waits = semi_sync.source_on && semi_sync.source_active;
        // While it is read-only nothing is committed, so what was true before stays true.
        if !status.read_only {
            self.state.durable.waited_for = Some(if waits { semi_sync.wait_count } else { 0 });
        }
        self.state.note_history(asked, &executed);
        self.state.durable.base.get_or_insert_with(|| executed.clone());
        if self.state.durable.origin.is_none() {
            self.state.durable.origin = Some(origin);
        }
        for id in self.state.ids().filter(|id| *id != primary) {
            self.settle(id);
            self.judge_errant(id, primary, asked, &executed);
        }
    }

    fn settle(&mut self, server: ServerId) {
        if self.being_repointed(server) {
            return;
        }
        let Some((asked, history)) = self.state.history.clone() else { return };
        if let Some(track) = self.state.track_mut(server) {
            track.settle(&history, asked);
        }
        self.note_doubt(server);
    }

    /// A doubt survives a restart of dbproxy.
    pub(super) fn note_doubt(&mut self, server: ServerId) {
        let Some(track) = self.state.track(server) else { return };
        let (started, doubt) = (track.started, track.doubt);
        if let Some(started) = started {
            self.state.durable.starts.insert(server, started);
        }
        match doubt {
            Some(doubt) => self.state.durable.doubts.insert(server, doubt),
            None => self.state.durable.doubts.remove(&server),
        };
    }

    /// Whether a replica has what the primary, asked later, does not have: that cannot have come from the primary.
    fn judge_errant(&mut self, id: ServerId, primary: ServerId, asked: Moment, executed: &GtidHistory) {
        let Some(word) = self.state.track(id).and_then(|track| track.word.as_ref()) else { return };
        let follows = word.status.stream.as_ref().is_some_and(|stream| stream.source == Some(primary));
        if word.came > asked || !follows {
            return;
        }
        if self.state.durable.quarantined.contains_key(&id) {
            return self.end_quarantine(id, executed);
        }
        let errant = word.status.sets.executed.less(executed);
        // The primary may have lost its own transactions in a crash; `PrimaryRestarted` handles that.
        let errant = self.state.durable.origin.map_or(errant.clone(), |origin| errant.not_from(&[origin]));
        // What it wrote as a primary is visible by now.
        let closed = word.status.read_only && !word.status.semi_sync.source_on && word.status.semi_sync.waiting == 0;
        if !errant.is_empty() {
            self.quarantine(id, Suspicion::Errant(errant));
        } else if closed {
            self.state.durable.writers.remove(&id);
        }
    }

    /// Ends the quarantine of a replica that has nothing the primary lacks, where dbproxy itself rejoins no server: the operator, or
    /// another dbproxy, has done it.
    fn end_quarantine(&mut self, id: ServerId, executed: &GtidHistory) {
        let decides = self.state.governs(self.policy) && self.state.lease == Lease::Held;
        if decides || self.state.durable.change.is_some() {
            return;
        }
        let since = self.state.durable.quarantined.get(&id).map(|quarantine| quarantine.since);
        let Some(word) = self.state.track(id).and_then(|track| track.word.as_ref()) else { return };
        let status = &word.status;
        let replicates = status
            .stream
            .as_ref()
            .is_some_and(|stream| stream.receiver == Receiver::Running && stream.apply_error.is_none());
        let closed = status.read_only && status.semi_sync.waiting == 0;
        let sets = &status.sets;
        let received = sets.received.as_ref().is_none_or(|received| executed.position().covers(received));
        let clean = executed.covers(&sets.executed) && received;
        if since.is_some_and(|since| word.asked > since) && replicates && closed && clean {
            self.state.durable.quarantined.remove(&id);
            let text = format!("server {} replicates from the primary, and has nothing that it lacks", id.0);
            self.happened(text.clone());
            self.notify(NoticeKind::Rejoined, text);
        }
    }

    pub(super) fn quarantine(&mut self, server: ServerId, why: Suspicion) {
        let since = self.now;
        if self.state.durable.quarantined.get(&server).is_some_and(|quarantine| quarantine.why == why) {
            return;
        }
        let text = format!("server {}: {why}", server.0);
        self.state.durable.quarantined.insert(server, Quarantine { since, why });
        self.happened(text.clone());
        self.notify(NoticeKind::Quarantined, text);
    }

    /// A server that can no longer acknowledge, and whose transactions all others have, need not be reached in a
    /// failover.
    fn shrink_ackers(&mut self, server: ServerId) {
        if self.state.durable.change.is_some() || !self.state.durable.ackers.contains(&server) {
            return;
        }
        let Some(track) = self.state.track(server) else { return };
        let Some(status) = track.status() else { return };
        if status.semi_sync.replica_on || self.policy.durability.wait_count() == 0 {
            return;
        }
        let Some((held, word)) = track.held.as_ref().zip(track.word.as_ref()) else { return };
        let elsewhere = self.state.durable.ackers.iter().filter(|other| **other != server).all(|other| {
            let other = self.state.track(*other);
            other.is_some_and(|other| {
                other.word.as_ref().is_some_and(|its| its.asked >= word.came)
                    && other.held.as_ref().is_some_and(|theirs| theirs.covers(held))
            })
        });
        if elsewhere && self.state.durable.ackers.len() > 1 && !self.being_repointed(server) {
            self.state.durable.ackers.remove(&server);
            self.happened(format!("server {} no longer acknowledges", server.0));
        }
    }

    fn being_repointed(&self, server: ServerId) -> bool {
        self.state.pending.values().any(|pending| pending.order.step.server() == server)
            || self.state.rejoins.contains_key(&server)
    }

    /// Confirms that the recorded primary is the primary, or finds out which server is. There is no automatic action
    /// before that.
    pub(super) fn confirm(&mut self) {
        // Where this dbproxy does not decide, others may decide at any time.
        let settled = self.state.confirmed && self.state.governs(self.policy);
        if settled || self.state.durable.change.is_some() {
            return;
        }
        if !self.state.tracks.iter().all(super::track::Track::was_looked_at) {
            return;
        }
        let writable: Vec<ServerId> = self.fresh().into_iter().filter(|id| self.may_be_primary(*id)).collect();
        match (self.state.durable.primary, writable.as_slice()) {
            // One that reports to be writable; or none, because it was stopped meanwhile: the usual procedure follows.
            (Some(primary), [] | [_]) if writable.first().is_none_or(|only| *only == primary) => {
                if !self.state.confirmed {
                    self.confirmed(primary);
                }
            }
            (Some(primary), [only]) if self.took_over(*only, primary) => self.adopt(*only),
            (None, [only]) => self.adopt(*only),
            // None, or several of which none is known: an operator must say.
            (None | Some(_), _) => {}
        }
    }

    /// Writable, and not by mistake: it does not replicate from the primary, and knows the present epoch if the primary
    /// does.
    fn may_be_primary(&self, id: ServerId) -> bool {
        let Some(status) = self.status(id).filter(|status| !status.read_only) else { return false };
        let old = self
            .state
            .track(id)
            .and_then(|track| track.word.as_ref())
            .is_none_or(|word| word.asked < self.state.durable.opened);
        if old || self.state.durable.quarantined.contains_key(&id) {
            return false;
        }
        let Some(primary) = self.state.durable.primary.filter(|primary| *primary != id) else { return true };
        let replica = self.follows_primary(id);
        let current = self
            .status(primary)
            .is_some_and(|status| !status.read_only && status.epoch == Some(self.state.durable.epoch));
        !(replica || current && status.epoch < Some(self.state.durable.epoch))
    }

    pub(super) fn status(&self, id: ServerId) -> Option<&Status> {
        self.state.track(id).and_then(|track| track.status())
    }

    /// Whether somebody else made `new` the primary instead of `old`, and did it properly.
    fn took_over(&self, new: ServerId, old: ServerId) -> bool {
        let fresh = self.fresh();
        let has = self.state.track(new).and_then(|track| track.held.as_ref());
        if fresh.contains(&old) {
            let lost = self.status(old).map(|status| &status.sets.executed);
            return has.zip(lost).is_some_and(|(has, lost)| has.covers(lost));
        }
        // The old primary is gone: then the new one must have been its replica, and all others must have been
        // repointed.
        let current = self.status(new).is_some_and(|status| status.epoch == Some(self.state.durable.epoch));
        let mut others = fresh.iter().filter(|id| **id != new).peekable();
        current
            && others.peek().is_some()
            && others.all(|id| {
                self.status(*id)
                    .and_then(|status| status.stream.as_ref())
                    .is_some_and(|stream| stream.source == Some(new))
            })
    }

    fn confirmed(&mut self, primary: ServerId) {
        self.state.confirmed = true;
        let started = self.state.track(primary).and_then(|track| track.started);
        self.state.durable.started = self.state.durable.started.or(started);
        let asked = self.state.track(primary).and_then(|track| track.word.as_ref()).map(|word| word.asked);
        if let Some(asked) = asked {
            self.primary_told(primary, asked);
        }
        self.happened(format!("server {} is the primary", primary.0));
    }

    /// Adopts what the servers report.
    pub(super) fn adopt(&mut self, primary: ServerId) {
        let highest = self.state.ids().filter_map(|id| self.status(id).and_then(|status| status.epoch)).max();
        let next = self.state.durable.epoch.max(highest.unwrap_or_default()).0 + 1;
        let before = self.state.durable.primary;
        let origin = self.status(primary).map(|status| status.origin);
        let ids: Vec<ServerId> = self.state.ids().collect();
        let durable = &mut self.state.durable;
        durable.epoch = Epoch(next);
        durable.primary = Some(primary);
        durable.origin = origin;
        durable.opened = self.now;
        (durable.base, durable.waited_for, durable.started) = (None, None, None);
        durable.quarantined.remove(&primary);
        durable.writers.insert(primary);
        durable.ackers = ids.into_iter().filter(|id| *id != primary && !durable.quarantined.contains_key(id)).collect();
        if let Some(track) = self.state.track_mut(primary) {
            track.begin_reign();
        }
        self.state.history = None;
        self.state.positions.clear();
        if before.is_some_and(|before| before != primary) {
            self.notify(NoticeKind::Adopted, format!("server {} was made the primary by somebody else", primary.0));
        }
        self.look_anew();
        self.confirmed(primary);
    }

    /// A report from before this server was the primary does not describe it now: all servers are probed again at once.
    pub(super) fn look_anew(&mut self) {
        let everybody = self.state.ids().map(super::Effect::Look);
        self.effects.extend(everybody);
    }

    /// Continues where the last run ended.
    pub(super) fn restore(&mut self, durable: Durable) {
        self.state.written = durable.clone();
        self.state.durable = durable;
        self.state.confirmed = false;
        // A journal from before these were recorded.
        let durable = &mut self.state.durable;
        let terms = durable.change.iter().flat_map(|change| &change.terms).map(|term| term.primary);
        let primaries: Vec<ServerId> = durable.primary.into_iter().chain(terms).collect();
        durable.writers.extend(primaries);
        let now = self.now;
        for at in &mut self.state.durable.failovers {
            *at = (*at).min(now);
        }
        self.state.durable.opened = self.state.durable.opened.min(now);
        self.state.durable.stopped.values_mut().for_each(|at| *at = (*at).min(now));
        self.state.durable.early_followers.values_mut().for_each(|early| early.ordered_at = early.ordered_at.min(now));
        for id in self.state.ids() {
            let (started, doubt) =
                (self.state.durable.starts.get(&id).copied(), self.state.durable.doubts.get(&id).copied());
            if let Some(track) = self.state.track_mut(id) {
                (track.started, track.doubt) = (started, doubt.map(|doubt| doubt.min(now)));
            }
        }
        self.drop_orders(Owner::Change);
        let Some(change) = &mut self.state.durable.change else { return };
        (change.began, change.since) = (change.began.min(now), change.since.min(now));
        match change.stage {
            // The primary was not changed; replicas that already follow the candidate return.
            Stage::AwaitingHook
            | Stage::Checking
            | Stage::RepointingEarly
            | Stage::WaitingForLag
            | Stage::DrainingSessions => {
                self.state.durable.change = None;
                self.happened("cancelled: dbproxy was restarted");
            }
            Stage::Demoting | Stage::CatchingUp => self.set_back(None, "dbproxy was restarted during it"),
            Stage::Blocked(_) => self.enter(Stage::StoppingReceivers),
            Stage::StoppingReceivers
            | Stage::SupplyingMissing
            | Stage::ApplyingReceived
            | Stage::EnablingSemiSync
            | Stage::Repointing
            | Stage::Opening => {
                let stage = change.stage.clone();
                self.happened("dbproxy was restarted: the change continues");
                self.enter(stage);
            }
        }
    }
}
