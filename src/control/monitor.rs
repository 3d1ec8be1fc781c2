//! The one task that owns the topology.

use super::change;
use super::probe::{Probe, Report};
use crate::config::{BackendTls, User};
use crate::conn::{self, TopologyPublisher};
use crate::topology::{self, Observation, PositionHistory, ServerId, Topology, Writes, assemble};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
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
}

/// Watches the servers of `first` and publishes what they are, until `shutdown` is ready. Dropping the future ends it, too.
///
/// `first` is what was published when the channel was made, usually [`Topology::unseen`]. `judging` is asked at each
/// judgement, so that a reloaded lag limit counts at once.
pub async fn run(
    first: Topology,
    policy: Policy,
    judging: impl Fn() -> topology::Policy,
    publisher: TopologyPublisher,
    mut hints: mpsc::Receiver<ServerId>,
    shutdown: impl Future<Output = ()>,
) {
    let policy = Arc::new(policy);
    let (sender, mut reports) = mpsc::channel(64);
    // Dropped with this future: that ends the probes.
    let mut probes = JoinSet::new();
    let wakers: Vec<Arc<Notify>> = first.servers.iter().map(|_| Arc::default()).collect();
    for (server, wake) in first.servers.iter().zip(&wakers) {
        let probe = Probe::new(server.id, server.address.clone(), policy.clone());
        probes.spawn(probe.run(wake.clone(), sender.clone()));
    }
    let (latest, history) = (BTreeMap::new(), PositionHistory::default());
    let mut monitor = Monitor { current: first, latest, doubt: None, history, wakers, publisher };
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            Some(hint) = hints.recv() => monitor.wake(hint),
            Some(report) = reports.recv() => {
                monitor.take(report);
                while let Ok(report) = reports.try_recv() {
                    monitor.take(report);
                }
                monitor.judge(&judging());
            }
            Some(ended) = probes.join_next() => {
                // A probe never ends while its reports are taken. A bug in it must not leave a server unwatched in silence.
                if let Err(error) = ended && let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

struct Monitor {
    current: Topology,
    latest: BTreeMap<ServerId, Report>,
    doubt: Option<Instant>,
    /// Of the server that takes the writes in `current`.
    history: PositionHistory,
    wakers: Vec<Arc<Notify>>,
    publisher: TopologyPublisher,
}

impl Monitor {
    fn wake(&self, server: ServerId) {
        if let Some(wake) = self.wakers.get(usize::from(server.0)) {
            wake.notify_one();
        }
    }

    fn take(&mut self, report: Report) {
        self.latest.insert(report.observation.server, report);
    }

    /// The latest look at each server, with the lag by position while a primary answers to measure it against.
    fn observations(&mut self) -> Vec<Observation> {
        let primary = self.current.primary().map(|primary| primary.id);
        if let Some(report) = primary.and_then(|id| self.latest.get(&id))
            && let Ok(seen) = &report.observation.result
            && let Some(executed) = &seen.gtid_executed
        {
            self.history.note(report.ended.into_std(), executed);
        }
        let measured = self.latest.values().map(|report| {
            let mut observation = report.observation.clone();
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

    fn judge(&mut self, policy: &topology::Policy) {
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
        if next.epoch != self.current.epoch {
            self.history.clear();
        }
        change::tell(&self.current, &next);
        self.publisher.publish(next.clone());
        self.current = next;
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
        if matches!(self.current.writes, Writes::Conflict(_)) {
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
