//! Which servers follow the candidate before it accepts writes. In a switchover some follow it while the old primary
//! still accepts writes.

use super::machine::StepContext;
use super::state::Owner;
use super::{Acks, Blocked, Change, Done, Durability, Failed, FailedHow, Fence, Reached, Stage, Step, Suspicion};
use crate::topology::{Receiver, ServerId};
use std::time::Duration;

/// How often a change begins again because a server has changed since it was reached.
const ANEW_MAX: u32 = 5;

/// How long to wait for other reached servers before a candidate with enough followers is opened: one of them may have
/// to report that it has received more.
const SAY_SO: Duration = Duration::from_millis(300);

impl StepContext<'_> {
    /// S1: tells the replicas that the primary can spare to follow the candidate.
    pub(super) fn attach(&mut self) {
        let spare = self.spare();
        let Some(source) = self.state.durable.change.as_ref().and_then(Change::candidate) else { return };
        if spare.is_empty() {
            return self.enter(Stage::WaitingForLag);
        }
        let (acks, limit) = (self.acks(), self.policy.limits.step * 2);
        for server in spare {
            self.change_order(Step::RepointEarly { server, source, acks }, limit);
        }
    }

    /// Replicas without which commits on the primary are still acknowledged, and which are no further behind than a
    /// candidate may be.
    fn spare(&self) -> Vec<ServerId> {
        let candidate = self.state.durable.change.as_ref().and_then(Change::candidate);
        let needed = self.policy.durability.wait_count().max(self.state.durable.waited_for.unwrap_or(0));
        let evidence = self.state.evidence(self.now);
        let near = |lag_ms: Option<u64>| {
            lag_ms.is_some_and(|ms| Duration::from_millis(ms) <= self.policy.limits.switchover_lag)
        };
        let acks = |id: ServerId| self.status(id).is_some_and(|status| status.semi_sync.replica_active);
        let replicas: Vec<ServerId> = evidence.replicas(self.policy).map(|server| server.id).collect();
        let acking = replicas.iter().filter(|id| acks(**id)).count();
        let mut left = acking.saturating_sub(usize::from(needed));
        let fit = |id: &ServerId| {
            let stream = self.status(*id).and_then(|status| status.stream.as_ref());
            let seen = evidence.server(*id).is_some_and(|server| !server.restarted && !server.maintenance);
            let runs = stream.is_some_and(|stream| {
                stream.applying && stream.receiver == Receiver::Running && stream.delay_ms == 0 && near(stream.lag_ms)
            });
            Some(*id) != candidate && seen && runs
        };
        let mut may_go = |id: &ServerId| {
            let free = !acks(*id) || left > 0;
            left = left.saturating_sub(usize::from(acks(*id)));
            free
        };
        replicas.into_iter().filter(|id| fit(id) && may_go(id)).collect()
    }

    /// A replica that could not be moved is told later, when the primary is read-only.
    pub(super) fn attached(&mut self, server: ServerId, result: Result<Done, Failed>) {
        let Some(change) = &mut self.state.durable.change else { return };
        match result {
            Ok(_) => {
                change.attached.insert(server);
                self.happened(format!("server {} follows the candidate", server.0));
            }
            Err(failed) => self.happened(format!("server {} does not follow yet: {}", server.0, failed.text)),
        }
        if !self.waits_for(Owner::Change, |step| matches!(step, Step::RepointEarly { .. })) {
            self.enter(Stage::WaitingForLag);
        }
    }

    /// F8: replicas follow the candidate: those that were reached, and in a switchover those that the old primary still
    /// feeds. The candidate has everything that they have.
    pub(super) fn repoint(&mut self) {
        let targets = self.followers();
        let Some(source) = self.state.durable.change.as_ref().and_then(Change::candidate) else { return };
        let acks = self.acks();
        if targets.is_empty() {
            return match usize::from(self.wait_count()) {
                0 => self.enter(Stage::Opening),
                needed => self.set_back(Some(source), &Blocked::TooFewFollow { follow: 0, needed }.to_string()),
            };
        }
        let Some(change) = &mut self.state.durable.change else { return };
        change.told = targets.iter().copied().collect();
        change.following = change.told.intersection(&change.attached).copied().collect();
        let at_most = change.choice.as_ref().map(|choice| choice.goal.clone());
        let attached = change.following.clone();
        let limit = self.policy.limits.step * 2;
        for server in targets.into_iter().filter(|server| !attached.contains(server)) {
            self.change_order(Step::Repoint { server, source, acks, at_most: at_most.clone() }, limit);
        }
        self.open_if_followed();
    }

    /// The candidate may lack what a server has received since it was reached, and that may have been acknowledged.
    fn changed(&mut self, server: ServerId, what: &str) {
        let Some(change) = &mut self.state.durable.change else { return };
        change.anew += 1;
        if change.anew > ANEW_MAX {
            return self.blocked(&Blocked::NotStill(server));
        }
        self.set_back(None, &format!("server {} has changed since it was reached: {what}", server.0));
    }

    /// Opens the candidate as soon as enough servers follow it for a commit.
    pub(super) fn open_if_followed(&mut self) {
        let needed = usize::from(self.wait_count());
        let Some(change) = &self.state.durable.change else { return };
        let Some(source) = change.candidate() else { return };
        let follow = change.following.len();
        let all_told = !self.waits_for(Owner::Change, |step| matches!(step, Step::Repoint { .. }));
        // Nothing is acknowledged any more where the old primary accepts no writes.
        let still = change.fence == Fence::Holds || self.now.since(change.since) >= SAY_SO;
        let said = still
            || !self.waits_for(Owner::Change, |step| match step {
                Step::Repoint { server, .. } => change.reached.get(server).is_some_and(|reached| reached.counts),
                _ => false,
            });
        if follow >= needed && (needed > 0 && said || all_told) {
            self.enter(Stage::Opening);
        } else if all_told {
            self.set_back(Some(source), &Blocked::TooFewFollow { follow, needed }.to_string());
        }
    }

    pub(super) fn repointed(&mut self, server: ServerId, source: ServerId, result: Result<Done, Failed>) {
        if result.is_ok() {
            self.release(server, source);
        }
        let Some(change) = &mut self.state.durable.change else { return };
        if change.stage == Stage::SupplyingMissing {
            return match result {
                Ok(_) => self.enter(Stage::ApplyingReceived),
                Err(failed) if failed.how == FailedHow::Changed => self.changed(server, &failed.text),
                Err(failed) => self.set_back(Some(server), &failed.text),
            };
        }
        match result {
            Ok(_) => {
                change.following.insert(server);
            }
            // The candidate may lack what it has now, and that may have been acknowledged.
            Err(failed) if failed.how == FailedHow::Changed => return self.changed(server, &failed.text),
            Err(failed) => {
                change.failed.entry(server).or_insert_with(|| format!("does not follow: {}", failed.text));
            }
        }
        self.open_if_followed();
    }

    /// Servers that are to follow the candidate before it is opened.
    pub(super) fn followers(&self) -> Vec<ServerId> {
        let Some(change) = &self.state.durable.change else { return Vec::new() };
        let Some(choice) = &change.choice else { return Vec::new() };
        let clean = |id: &ServerId| {
            let suspicion = self.state.durable.quarantined.get(id).map(|quarantine| &quarantine.why);
            // A server that may have accepted writes is compared only when it can accept none.
            let fenced = |reached: &Reached| reached.fenced || !self.state.durable.writers.contains(id);
            let compared = change.reached.get(id).map(|reached| fenced(reached) && choice.goal.covers(&reached.held));
            *id != choice.candidate
                && !self.started_since_reached(*id)
                && match suspicion {
                    None if self.state.durable.writers.contains(id) => compared == Some(true),
                    None => compared != Some(false),
                    // It is compared here.
                    Some(Suspicion::Unchecked) => compared == Some(true),
                    Some(Suspicion::Errant(_) | Suspicion::Purged) => false,
                }
        };
        let mut followers: Vec<ServerId> = change.reached.keys().copied().filter(clean).collect();
        if change.is_switchover() && change.fence == Fence::Holds {
            let fed = self.fresh().into_iter().filter(|id| !change.reached.contains_key(id) && clean(id));
            followers.extend(fed.filter(|id| {
                let stream = self.status(*id).and_then(|status| status.stream.as_ref());
                stream.is_some_and(|stream| [change.from, Some(choice.candidate)].contains(&stream.source))
            }));
        }
        followers
    }

    /// One of the followers that receives from no source now.
    pub(super) fn relay_log_helper(&self) -> Option<ServerId> {
        let change = self.state.durable.change.as_ref()?;
        self.followers().into_iter().find(|id| change.reached.contains_key(id) && change.from != Some(*id))
    }

    pub(super) const fn acks(&self) -> Acks {
        match self.policy.durability {
            Durability::SemiSync { .. } => Acks::On,
            Durability::Async { .. } => Acks::Off,
        }
    }
}
