//! The proxy's executor and the servers' side of each step.

use super::server::Quirks;
use super::world::{Errand, Happening, World};
use dbproxy::failover::{Acks, Done, Event, Failed, FailedHow, Order, OrderId, Outcome, Step};
use dbproxy::topology::{Flavor, GtidHistory};

/// Between two looks at a wait.
const AGAIN: u64 = 40;

/// What came of a step, as far as its server is asked.
enum Now {
    Done(Done),
    Failed(FailedHow, String),
    /// It waits.
    Later,
}

impl Now {
    fn failed(how: FailedHow, text: &str) -> Self {
        Self::Failed(how, text.to_owned())
    }
}

impl World {
    pub fn arrive(&mut self, errand: Errand) {
        let Errand { run, ref order, deadline, replies, incarnation } = errand;
        let index = usize::from(order.step.server().0);
        let (proxy, server) = (self.proxy(), &self.servers[index]);
        // What the dead process had not sent yet is gone with it.
        if run != self.run && self.dice.permille(700) {
            return;
        }
        // Asked of the proxy's own sessions, or of a program of its own.
        let own = matches!(
            order.step,
            Step::RunBeforeHook { .. }
                | Step::DrainSessions { .. }
                | Step::KillSessions { .. }
                | Step::RunFenceHook { .. }
        );
        let now = if own {
            self.own_step(order)
        } else if !self.linked(proxy, index) || server.paused {
            if self.now < deadline { Now::Later } else { Now::failed(FailedHow::Unknown, "no answer") }
        } else if !server.up || server.incarnation != incarnation {
            Now::failed(FailedHow::Unreachable, "refused")
        } else if server.epoch > order.epoch.0 {
            Now::failed(FailedHow::Refused, "knows of a higher epoch")
        } else if server.quirks.changed.as_deref() == Some(order.step.name()) {
            Now::failed(FailedHow::Changed, "it has received more meanwhile")
        } else if server.quirks.refuses.as_deref() == Some(order.step.name()) {
            let slow = matches!(order.step, Step::WaitForLag { .. });
            Now::failed(if slow { FailedHow::NotYet } else { FailedHow::Refused }, "it says no")
        } else {
            self.step_at(index, order)
        };
        let result = match now {
            Now::Later if self.now < deadline => {
                return self.at(AGAIN, Happening::Arrive(Box::new(errand)));
            }
            Now::Later => {
                // As a rule it goes on as before.
                if matches!(order.step, Step::RepointEarly { .. })
                    && self.servers[index].runs()
                    && self.dice.permille(700)
                {
                    self.servers[index].receives = true;
                }
                Err(Failed { how: FailedHow::NotYet, text: "not yet".to_owned() })
            }
            Now::Done(done) => Ok(done),
            Now::Failed(how, text) => Err(Failed { how, text }),
        };
        if !self.linked(proxy, index) && !own || !replies {
            return;
        }
        self.say(|| match &result {
            Ok(_) => format!("  {} at {index}: done", order.step.name()),
            Err(failed) => format!("  {} at {index}: {failed:?}", order.step.name()),
        });
        let result = self.sabotage.outcome(&order.step, result);
        let delay = self.dice.between(1, 10);
        let event = Event::Outcome(Outcome { id: order.id, result });
        self.at(delay, Happening::Reply { run, event });
    }

    fn own_step(&mut self, order: &Order) -> Now {
        let refuses = self.servers[usize::from(order.step.server().0)].quirks.refuses.clone();
        match order.step {
            Step::DrainSessions { .. } if refuses.as_deref() == Some("drain_sessions") => {
                Now::failed(FailedHow::NotYet, "2 transactions are open")
            }
            Step::RunFenceHook { .. } if refuses.as_deref() == Some("run_fence_hook") => {
                Now::failed(FailedHow::Refused, "it does not know that server")
            }
            // Told as a story, nothing is left to chance.
            _ if self.effects.is_some() && self.hook_says.is_none() => Now::Done(Done::Plain),
            Step::RunBeforeHook { .. } if self.hook_says.is_some() => {
                Now::failed(FailedHow::Refused, self.hook_says.unwrap_or_default())
            }
            // It takes its time, and until all is healed it says no now and then.
            Step::RunBeforeHook { .. } if self.dice.permille(400) => Now::Later,
            Step::RunBeforeHook { .. } if !self.healed && self.dice.permille(300) => {
                // To one that is not waited for any more it says so in vain.
                let waited_for = self.state.pending().any(|pending| pending.id == order.id);
                let change = self.state.durable().change.as_ref().filter(|_| waited_for);
                let began = change.map(|change| change.began);
                if let Some(began) = began {
                    self.refused.insert((self.run, order.id), began);
                }
                Now::failed(FailedHow::Refused, "not now")
            }
            Step::DrainSessions { .. } if self.dice.permille(100) => {
                Now::failed(FailedHow::NotYet, "2 transactions are open")
            }
            _ => Now::Done(Done::Plain),
        }
    }

    fn sets(&mut self, index: usize) -> Now {
        let uptime_ms = self.now - self.servers[index].started;
        let sets = self.servers[index].sets(&self.trxs);
        Now::Done(Done::Sets { sets, uptime_ms })
    }

    fn step_at(&mut self, index: usize, order: &Order) -> Now {
        match &order.step {
            Step::StopReceiver { .. } if self.sabotage.skips_revoke() => self.sets(index),
            Step::StopReceiver { .. } => {
                let at = &mut self.servers[index];
                if at.setup.flavor == Flavor::MariaDb {
                    at.applies = true;
                }
                (at.receives, at.connected) = (false, false);
                self.sets(index)
            }
            Step::Fence { .. } => {
                let at = &mut self.servers[index];
                (at.read_only, at.receives, at.connected, at.applies) = (true, false, false, false);
                (at.source_on, at.replica_on) = (false, false);
                // What waited is committed, and its clients' connections are cut before they are told.
                at.waiting.clear();
                at.forget_cache();
                self.sets(index)
            }
            Step::ApplyReceived { until, .. } => {
                self.servers[index].applies = true;
                let sets = self.servers[index].sets(&self.trxs);
                if self.servers[index].apply_error {
                    Now::failed(FailedHow::Refused, "1062")
                } else if sets.executed.covers(until) {
                    self.sets(index)
                } else {
                    Now::Later
                }
            }
            Step::EnableSemiSync { .. } if self.sabotage.skips_arm() => Now::Done(Done::Plain),
            Step::EnableSemiSync { wait_count, .. } => {
                let at = &mut self.servers[index];
                (at.receives, at.connected, at.applies, at.replica_on) = (false, false, false, false);
                (at.source_on, at.wait_count) = (*wait_count > 0, *wait_count);
                Now::Done(Done::Plain)
            }
            Step::Repoint { source, acks, at_most, .. } => {
                let source = usize::from(source.0);
                if self.servers[index].source != Some(source) && self.has_more(index, at_most.as_ref()) {
                    let at = &mut self.servers[index];
                    (at.receives, at.connected) = (false, false);
                    return Now::failed(FailedHow::Changed, "it has received more meanwhile");
                }
                self.check_repoint(index, source, order.id);
                self.repoint(index, source, *acks)
            }
            Step::RepointEarly { source, acks, .. } => self.attach(index, usize::from(source.0), *acks, order.id),
            Step::WaitForLag { primary, .. } => self.approach(index, usize::from(primary.0)),
            Step::Open { wait_count, .. } => self.open(index, order.epoch.0, *wait_count),
            Step::ForgetSource { .. } => {
                self.servers[index].source = None;
                self.servers[index].forget_cache();
                Now::Done(Done::Plain)
            }
            Step::CheckQuiet { .. } => {
                let Quirks { busy_ms, locked, .. } = self.servers[index].quirks.clone();
                Now::Done(Done::Quiet { oldest_transaction_ms: busy_ms, locked })
            }
            Step::Demote { .. } => {
                // Read-only waits for commits that wait for acknowledgements.
                if !self.servers[index].waiting.is_empty() {
                    return Now::Later;
                }
                self.servers[index].read_only = true;
                self.sets(index)
            }
            Step::DumpErrant { .. }
            | Step::DrainSessions { .. }
            | Step::KillSessions { .. }
            | Step::RunBeforeHook { .. }
            | Step::RunFenceHook { .. } => Now::Done(Done::Plain),
            Step::Clone { donor, .. } => self.clone_from(index, usize::from(donor.0)),
        }
    }

    fn has_more(&mut self, index: usize, at_most: Option<&GtidHistory>) -> bool {
        let sets = self.servers[index].sets(&self.trxs);
        at_most.is_some_and(|most| !most.covers(&sets.held(Some(most))))
    }

    /// All but the last few of what the primary has, the candidate has applied.
    fn approach(&mut self, index: usize, primary: usize) -> Now {
        if !self.linked(self.proxy(), primary) || !self.servers[primary].runs() {
            return Now::failed(FailedHow::Unreachable, "the primary does not answer");
        }
        let log = &self.servers[primary].log;
        let near = log[..log.len().saturating_sub(3)].iter().all(|id| self.servers[index].has.contains(id));
        if near { Now::Done(Done::Plain) } else { Now::Later }
    }

    fn attach(&mut self, index: usize, source: usize, acks: Acks, order: OrderId) -> Now {
        let at = &mut self.servers[index];
        if at.source != Some(source) || !at.receives {
            (at.receives, at.connected, at.applies) = (false, false, true);
            let there = self.linked(self.proxy(), source) && self.servers[source].runs();
            let (at, other) = (&self.servers[index], &self.servers[source]);
            if !there || !at.relay.is_empty() || at.has.iter().any(|id| !other.has.contains(id)) {
                return Now::Later;
            }
            self.check_repoint(index, source, order);
            self.repoint(index, source, acks);
        }
        if self.servers[index].connected { Now::Done(Done::Plain) } else { Now::Later }
    }

    fn repoint(&mut self, index: usize, source: usize, acks: Acks) -> Now {
        let now = self.now;
        let at = &mut self.servers[index];
        at.read_only = true;
        at.relay.clear();
        at.told = now;
        (at.source, at.receives, at.applies, at.connected, at.heard) = (Some(source), true, true, false, now);
        (at.replica_on, at.source_on) = (acks == Acks::On, false);
        at.waiting.clear();
        at.forget_cache();
        Now::Done(Done::Plain)
    }

    fn open(&mut self, index: usize, epoch: u64, wait_count: u16) -> Now {
        let at = &self.servers[index];
        let armed = at.source_on == (wait_count > 0) && at.wait_count == wait_count;
        if !armed && !self.sabotage.skips_arm() {
            return Now::failed(FailedHow::Refused, "is not armed");
        }
        if at.epoch < epoch {
            self.check_opening(index, epoch, wait_count);
            self.servers[index].read_only = false;
            self.commit(index, Some(epoch));
        }
        self.servers[index].read_only = false;
        let trxs = &self.trxs;
        let waits = self.servers[index].waiting.iter().any(|(id, _)| trxs[*id].epoch == Some(epoch));
        if waits { Now::Later } else { self.sets(index) }
    }

    fn clone_from(&mut self, index: usize, donor: usize) -> Now {
        if !self.linked(index, donor) || !self.servers[donor].runs() {
            return Now::failed(FailedHow::Refused, "the donor does not answer");
        }
        let (log, has, epoch) = {
            let donor = &self.servers[donor];
            (donor.log.clone(), donor.has.clone(), donor.epoch)
        };
        let now = self.now;
        let at = &mut self.servers[index];
        (at.log, at.has, at.epoch) = (log, has, epoch);
        at.relay.clear();
        at.waiting.clear();
        at.apply_error = false;
        (at.source, at.receives, at.applies, at.connected) = (None, false, false, false);
        (at.read_only, at.started) = (true, now);
        at.incarnation += 1;
        at.forget_cache();
        self.sets(index)
    }
}
