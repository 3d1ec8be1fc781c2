//! What the servers say of themselves, made into a topology, and as much of it as the failover lets through published.

use super::change;
use super::probe::Report;
use crate::config::{BackendTls, User};
use crate::conn::{self, TopologyPublisher};
use crate::failover::{Gate, GateWrites, Withdrawn};
use crate::telemetry::Metrics;
use crate::topology::{self, Epoch, Mark, Observation, PositionHistory, ServerId, Topology, Writes, assemble};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Longest time that a conflict waits for a second look at those who are in it.
const DOUBT: Duration = Duration::from_millis(300);

/// How the servers are watched.
#[derive(Clone)]
pub struct Policy {
    /// Account to watch with.
    pub user: User,
    /// TLS to the servers, for the driver that asks them.
    pub tls: BackendTls,
    /// The same, for the login that takes their greeting.
    pub connector: Arc<conn::BackendTls>,
    /// Time between the starts of two probes of a server.
    pub interval: Duration,
    /// How long a probe's answer may take, and at most each step of connecting.
    pub timeout: Duration,
    /// How long each step of connecting may take: the connection, the greeting, the login.
    pub connect_timeout: Duration,
    /// What for.
    pub depth: Depth,
    /// Where questions about positions are counted.
    pub metrics: Option<Arc<Metrics>>,
}

/// What servers are watched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// To know who is what.
    Roles,
    /// And to know who could take over, and whether somebody must.
    Failover,
}

pub(super) struct Monitor {
    /// What the servers say of themselves, and the operator's marks.
    current: Topology,
    /// What of it is published.
    published: Topology,
    gate: Gate,
    latest: BTreeMap<ServerId, Report>,
    doubt: Option<Instant>,
    /// Of the server that takes the writes in `published`.
    history: PositionHistory,
    wakers: Vec<Arc<Notify>>,
    publisher: TopologyPublisher,
    /// When each server had last been asked what it answered a client, as far as that was told.
    answered: BTreeMap<ServerId, std::time::Instant>,
}

impl Monitor {
    pub(super) fn new(first: Topology, wakers: Vec<Arc<Notify>>, publisher: TopologyPublisher) -> Self {
        Self {
            published: first.clone(),
            current: first,
            gate: Gate::default(),
            latest: BTreeMap::new(),
            doubt: None,
            history: PositionHistory::default(),
            wakers,
            publisher,
            answered: BTreeMap::new(),
        }
    }

    /// The latest look at a server.
    pub(super) fn latest(&self, server: ServerId) -> Option<&Report> {
        self.latest.get(&server)
    }

    pub(super) fn servers(&self) -> &[Arc<topology::Server>] {
        &self.current.servers
    }

    pub(super) fn wake(&self, server: ServerId) {
        if let Some(wake) = self.wakers.get(usize::from(server.0)) {
            wake.notify_one();
        }
    }

    pub(super) fn take(&mut self, report: Report) {
        self.latest.insert(report.observation.server, report);
    }

    /// The servers that have answered clients since this was last asked, and what to: asked when.
    pub(super) fn answered_anew(&mut self) -> Vec<(ServerId, std::time::Instant)> {
        let mut anew = Vec::new();
        for id in self.current.servers.iter().map(|server| server.id) {
            if let Some(asked) = self.publisher.heard(id)
                && self.answered.insert(id, asked).is_none_or(|before| before < asked)
            {
                anew.push((id, asked));
            }
        }
        anew
    }

    /// The latest look at each server, with the lag by position while a primary answers to measure it against.
    fn observations(&mut self) -> Vec<Observation> {
        let primary = self.published.primary().map(|primary| primary.id);
        if let Some(report) = primary.and_then(|id| self.latest.get(&id))
            && let Ok(seen) = &report.observation.result
            && let Some(executed) = &seen.gtid_executed
        {
            self.history.note(report.ended.into_std(), executed);
        }
        let measured = self.latest.values().map(|report| {
            let mut observation = report.observation.clone();
            if let (Err(miss), Some(asked)) = (&mut observation.result, self.publisher.heard(observation.server)) {
                miss.answered_clients(report.ended.saturating_duration_since(asked.into()));
            }
            if let Ok(seen) = &mut observation.result
                && let Some(executed) = &seen.gtid_executed
                && primary != Some(observation.server)
            {
                seen.behind = self.history.lag(report.began.into_std(), executed);
            }
            observation
        });
        measured.collect()
    }

    pub(super) fn judge(&mut self, policy: &topology::Policy) {
        let observations = self.observations();
        let looked = |id| {
            self.latest
                .get(&id)
                .filter(|report| report.observation.result.is_ok())
                .map(|report| report.began.into_std())
        };
        let next = assemble(&self.current, &observations, policy).stamped(&self.current, looked);
        if next == self.current || self.doubts(&next) {
            return;
        }
        self.current = next;
        self.publish();
    }

    /// Lets through what a new gate lets through.
    pub(super) fn gate(&mut self, gate: &Gate, withdrawn: &BTreeMap<ServerId, Withdrawn>) {
        let now = Instant::now().into_std();
        for id in self.current.servers.iter().map(|server| server.id).collect::<Vec<_>>() {
            let mark = match withdrawn.get(&id) {
                None => Mark::None,
                Some(Withdrawn::Drained) => Mark::Drain,
                Some(Withdrawn::Maintenance) => Mark::Maintenance,
            };
            self.current = self.current.clone().marked(id, mark, now);
        }
        self.gate = gate.clone();
        // Those have a mark of their own.
        self.gate.barred.retain(|id, _| !withdrawn.contains_key(id));
        self.publish();
    }

    fn publish(&mut self) {
        let mut next = self.gate.apply(self.current.clone());
        next.draining = match self.gate.writes {
            GateWrites::Draining(server) => Some(server),
            GateWrites::Ungoverned | GateWrites::Open(_) | GateWrites::Closed(_) => None,
        };
        let before = self.published.epoch;
        let changed = !next.writes.same_as(&self.published.writes);
        next.epoch = if changed { Epoch(before.0 + 1).max(self.gate.epoch) } else { before };
        if next == self.published {
            return;
        }
        if changed {
            self.history.clear();
        }
        change::tell(&self.published, &next);
        self.publisher.publish(next.clone());
        self.published = next;
    }

    /// Whether a conflict is still to be looked at again.
    ///
    /// Servers are not looked at in the same instant. When a switchover makes one read-only and then the other writable, the
    /// older look says that the first is writable still. So those in a new conflict are asked again, at once, and only what
    /// they say then counts.
    fn doubts(&mut self, next: &Topology) -> bool {
        let Writes::Conflict(servers) = &next.writes else {
            self.doubt = None;
            return false;
        };
        let governed = self.gate.writes != GateWrites::Ungoverned;
        if governed || matches!(self.current.writes, Writes::Conflict(_)) {
            return false;
        }
        let Some(since) = self.doubt else {
            self.doubt = Some(Instant::now());
            servers.iter().for_each(|&server| self.wake(server));
            return true;
        };
        let looked = |server: &ServerId| self.latest.get(server).is_some_and(|report| report.began >= since);
        let doubts = since.elapsed() < DOUBT && !servers.iter().all(looked);
        if !doubts {
            self.doubt = None;
        }
        doubts
    }
}
