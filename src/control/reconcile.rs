//! The one task that owns the topology and the failover: everything that happens comes to it, one after the other.

use super::ask::{Desk, Request};
use super::clock::{Clock, millis};
use super::execute::{Executor, Means};
use super::governor::{Governor, Parts, Wish};
use super::journal::{DISK_MAX, Journal, Opened};
use super::keeper::{Keeper, Target};
use super::monitor::{Depth, Monitor, Policy};
use super::positions::Watcher;
use super::probe::{Probe, Report};
use super::{greeting, tell, write_probe};
use crate::config::Hooks;
use crate::conn::TopologyPublisher;
use crate::failover::{self, Event, Mode, Observation, Outcome, Seen};
use crate::tasks::{Pending, Supervisor, Worker};
use crate::telemetry::Metrics;
use crate::topology::{self, Failure, ServerId, Source, Topology};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Time between two ticks of the failover's clock.
const TICK: Duration = Duration::from_millis(100);
/// Time between two fresh handshakes with a server.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// Time between two attempts to get a journal that another process has.
const STAND_BY: Duration = Duration::from_secs(1);
/// Own timers that are late by less are on time.
const LATE_LEAST: Duration = Duration::from_millis(50);

/// What a failover needs beside the probes.
pub struct Setup {
    /// What the operator wants.
    pub policy: failover::Policy,
    /// Why the policy's mode is not the configured one.
    pub mode_reason: Option<String>,
    /// How steps are done.
    pub means: Means,
    /// The operator's programs.
    pub hooks: Hooks,
    /// Where the journal is kept; `None`: in memory.
    pub journal: Option<PathBuf>,
    /// What writes it.
    pub disk: Worker,
    /// Where operators ask.
    pub desk: Desk,
    /// What is counted.
    pub metrics: Option<Arc<Metrics>>,
    /// Another mode than so far, and why: of the doctor, once it has looked.
    pub modes: mpsc::Receiver<(Mode, Option<String>)>,
}

/// Watches the servers of `first` and publishes what they are, until `shutdown` is ready, or a task that it needs ends; returns why it
/// ended. Dropping the future ends it, too.
///
/// `first` is what was published when the channel was made, usually [`Topology::unseen`]. `judging` is asked at each
/// judgement, so that a reloaded lag limit counts at once.
pub async fn run(
    first: Topology,
    policy: Policy,
    judging: impl Fn() -> topology::Policy,
    publisher: TopologyPublisher,
    hints: mpsc::Receiver<ServerId>,
    shutdown: impl Future<Output = ()>,
) -> String {
    let watched = Watched::start(first, policy, publisher);
    watched.serve(judging, hints, None, shutdown).await
}

/// The same, and replaces a primary that is lost.
pub async fn govern(
    first: Topology,
    policy: Policy,
    judging: impl Fn() -> topology::Policy,
    publisher: TopologyPublisher,
    hints: mpsc::Receiver<ServerId>,
    setup: Setup,
    shutdown: impl Future<Output = ()>,
) -> String {
    let cluster = first.cluster.clone();
    let watched = Watched::start(first, Policy { depth: Depth::Failover, ..policy }, publisher);
    watched.serve(judging, hints, Some((setup, cluster)), shutdown).await
}

/// The probes, and what they report to.
struct Watched {
    monitor: Monitor,
    policy: Arc<Policy>,
    reports: mpsc::Receiver<Report>,
    // Dropped with this: that ends the probes.
    tasks: Supervisor,
}

/// What a governor hears of.
struct Ears {
    outcomes: mpsc::Receiver<Outcome>,
    events: mpsc::Receiver<Event>,
    requests: mpsc::Receiver<Request>,
    modes: mpsc::Receiver<(Mode, Option<String>)>,
    target: watch::Sender<Option<Target>>,
    stand_by: Option<StandBy>,
}

impl Watched {
    fn start(first: Topology, policy: Policy, publisher: TopologyPublisher) -> Self {
        let policy = Arc::new(policy);
        let (sender, reports) = mpsc::channel(64);
        let mut tasks = Supervisor::default();
        let wakers: Vec<Arc<Notify>> = first.servers.iter().map(|_| Arc::default()).collect();
        for (server, wake) in first.servers.iter().zip(&wakers) {
            let probe = Probe::new(server.id, server.address.clone(), policy.clone());
            tasks.spawn(format!("the probe of {}", server.address), probe.run(wake.clone(), sender.clone()));
            let watcher = Watcher::new(server.id, server.address.clone(), policy.clone(), publisher.followed());
            tasks.spawn(format!("the watcher of the position of {}", server.address), watcher.run());
        }
        Self { monitor: Monitor::new(first, wakers, publisher), policy, reports, tasks }
    }

    async fn serve(
        mut self,
        judging: impl Fn() -> topology::Policy,
        mut hints: mpsc::Receiver<ServerId>,
        setup: Option<(Setup, Arc<str>)>,
        shutdown: impl Future<Output = ()>,
    ) -> String {
        let (mut governor, mut ears) = match setup {
            Some((setup, cluster)) => {
                let (governor, ears) = self.establish(setup, &cluster).await;
                (Some(governor), ears)
            }
            None => (None, Ears::deaf()),
        };
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        loop {
            let event = tokio::select! {
                () = &mut shutdown => return "it was told to".to_owned(),
                Some(hint) = hints.recv() => {
                    self.monitor.wake(hint);
                    Event::Hint { server: hint }
                }
                Some(report) = self.reports.recv() => {
                    self.take_all(report, &mut governor, &judging());
                    ears.retarget(governor.as_ref());
                    continue;
                }
                _ = tick.tick(), if governor.is_some() => {
                    self.take_over(&mut governor, &mut ears.stand_by);
                    self.tell_answers(&mut governor);
                    Event::Tick
                }
                wish = written(&mut governor) => {
                    if let Some(governor) = &governor {
                        self.fulfil(wish, governor);
                    }
                    ears.retarget(governor.as_ref());
                    continue;
                }
                Some(outcome) = ears.outcomes.recv() => Event::Outcome(outcome),
                Some(event) = ears.events.recv() => event,
                Some(request) = ears.requests.recv() => {
                    if let Some(governor) = &mut governor {
                        let wish = governor.answer(request);
                        self.fulfil(wish, governor);
                    }
                    continue;
                }
                Some((mode, reason)) = ears.modes.recv() => {
                    if let Some(governor) = &mut governor {
                        let wish = governor.set_mode(mode, reason);
                        self.fulfil(wish, governor);
                    }
                    continue;
                }
                // Without it a server would be unwatched.
                ended = self.tasks.failed() => return ended.to_string(),
            };
            if let Some(governor) = &mut governor {
                let wish = governor.feed(event);
                self.fulfil(wish, governor);
            }
            ears.retarget(governor.as_ref());
        }
    }

    fn take_all(&mut self, first: Report, governor: &mut Option<Governor>, judging: &topology::Policy) {
        let mut next = Some(first);
        let mut taken = Vec::new();
        while let Some(report) = next {
            taken.push(report.observation.server);
            self.monitor.take(report);
            next = self.reports.try_recv().ok();
        }
        // The topology first: what the gate lets through must be what was seen last.
        self.monitor.judge(judging);
        let Some(governor) = governor else { return };
        for server in taken {
            if let Some(event) = self.observation(server, governor.clock(), governor.deaf_after()) {
                let wish = governor.feed(event);
                self.fulfil(wish, governor);
            }
        }
    }

    /// Acts from now on, where another process has let go of the journal, or it can be written again.
    fn take_over(&mut self, governor: &mut Option<Governor>, stand_by: &mut Option<StandBy>) {
        let Some(governor) = governor else { return };
        if governor.acts() {
            return;
        }
        if let Some(journal) = stand_by.as_mut().and_then(StandBy::journal) {
            let wish = governor.take_over(journal);
            self.fulfil(wish, governor);
        }
    }

    /// Tells of the servers that answered clients since the last time.
    fn tell_answers(&mut self, governor: &mut Option<Governor>) {
        let Some(governor) = governor else { return };
        for (server, asked) in self.monitor.answered_anew() {
            let asked = governor.clock().at(asked.into());
            let wish = governor.feed(Event::Heard { server, asked });
            self.fulfil(wish, governor);
        }
    }

    /// The latest look at a server, in the words of `failover`.
    fn observation(&self, server: ServerId, clock: Clock, deaf: Duration) -> Option<Event> {
        let report = self.monitor.latest(server)?;
        let result = match (&report.observation.result, &report.told) {
            (Err(miss), _) => Err(miss.failure.clone()),
            (Ok(_), None) => Ok(Seen::Alive),
            (Ok(_), Some(told)) => {
                let mut status = told.status.clone();
                if let (Some(stream), Some(source)) = (&mut status.stream, &told.source) {
                    stream.source = self.listed(server, source);
                    stream.heard_ms = stream.heard_ms.map(|heard| credited(heard, told.heartbeat_ms, deaf));
                }
                Ok(Seen::Status(Box::new(status)))
            }
        };
        Some(Event::Observation(Observation { server, began: clock.at(report.began), result }))
    }

    /// Which server a source is: by its UUID, else by its address, else (MariaDB, which has no UUID) by its server id.
    fn listed(&self, replica: ServerId, source: &Source) -> Option<ServerId> {
        let others = || self.monitor.servers().iter().filter(|server| server.id != replica);
        let uuid = source.server_uuid.as_deref();
        let host = if source.host.contains(':') { format!("[{}]", source.host) } else { source.host.clone() };
        let address = format!("{host}:{}", source.port);
        let by_uuid = || {
            others().find(|server| {
                uuid.is_some_and(|uuid| server.server_uuid.as_deref().is_some_and(|its| its.eq_ignore_ascii_case(uuid)))
            })
        };
        let by_address = || others().find(|server| server.address.eq_ignore_ascii_case(&address));
        let by_id = || {
            others().find(|server| uuid.is_none() && source.server_id.is_some() && server.server_id == source.server_id)
        };
        by_uuid().or_else(by_address).or_else(by_id).map(|server| server.id)
    }

    fn fulfil(&mut self, wish: Wish, governor: &Governor) {
        for server in wish.look {
            self.monitor.wake(server);
        }
        if wish.gate_changed {
            self.monitor.gate(governor.gate(), governor.withdrawn());
        }
    }

    /// Makes the governor, and the tasks that only it listens to.
    async fn establish(&mut self, setup: Setup, cluster: &Arc<str>) -> (Governor, Ears) {
        let Setup { policy, mode_reason, means, hooks, journal, disk, desk, metrics, modes } = setup;
        let clock = Clock::start();
        let (outcome_sender, outcomes) = mpsc::channel(64);
        let (event_sender, events) = mpsc::channel(64);
        let (target, targets) = watch::channel(None);
        let lease = means.lease.clone();
        let (journal, no_lease, stand_by) = opened(journal, cluster, &lease, &disk).await;
        let addresses = means.addresses.clone();
        let access = means.access.clone();
        let keeper = Keeper {
            addresses: addresses.clone(),
            access: access.clone(),
            lease: lease.clone(),
            disk,
            file: means.reports.as_ref().map(|folder| folder.join(format!("events-{cluster}.json"))),
            events: event_sender.clone(),
        };
        self.tasks.spawn("the keeper of scheduled events", keeper.run(targets.clone()));
        self.tasks.spawn(
            "the write probe",
            write_probe::run(addresses.clone(), access, clock, targets, event_sender.clone()),
        );
        for (id, address) in (0..=u16::MAX).map(ServerId).zip(&addresses) {
            let task = handshakes(id, address.clone(), self.policy.clone(), clock, event_sender.clone());
            self.tasks.spawn(format!("the handshakes with {address}"), task);
        }
        self.tasks.spawn("the timer", own_lag(event_sender));
        let parts = Parts {
            policy,
            mode_reason,
            no_lease,
            addresses,
            cluster: cluster.clone(),
            journal,
            lease,
            hooks,
            outcomes: outcome_sender,
            standing: desk.standing,
            metrics,
        };
        let (mut governor, mut wish) = Governor::new(parts, Executor::new(means), clock);
        // Nothing may be published before the gate of the last run holds.
        wish.add(governor.settled().await);
        self.fulfil(wish, &governor);
        (governor, Ears { outcomes, events, requests: desk.requests, modes, target, stand_by })
    }
}

async fn written(governor: &mut Option<Governor>) -> Wish {
    match governor {
        Some(governor) => governor.written().await,
        None => std::future::pending().await,
    }
}

/// A replica whose heartbeat is slower than the policy expects has heard nothing for no fault of its source: for three of its
/// heartbeats it is not deaf.
fn credited(heard_ms: u64, heartbeat_ms: Option<u64>, deaf: Duration) -> u64 {
    match heartbeat_ms {
        Some(period) if heard_ms <= period.saturating_mul(3) => heard_ms.min(millis(deaf)),
        _ => heard_ms,
    }
}

/// Waits for a journal that another process has, or that can't be written.
struct StandBy {
    folder: PathBuf,
    cluster: Arc<str>,
    disk: Worker,
    asked: Instant,
    opening: Option<Pending<Result<Opened, std::io::Error>>>,
}

impl StandBy {
    /// The journal, once it is free and can be written. Does not wait: on a disk that hangs the answer comes when it goes on.
    fn journal(&mut self) -> Option<Journal> {
        if let Some(opening) = &mut self.opening {
            let opened = opening.now()?;
            self.opening = None;
            return match opened.flatten() {
                Ok(Opened::Ours(journal)) => Some(journal.written_by(self.disk.clone())),
                Ok(Opened::Taken(_)) | Err(_) => None,
            };
        }
        if self.asked.elapsed() >= STAND_BY {
            self.asked = Instant::now();
            let (folder, cluster) = (self.folder.clone(), self.cluster.clone());
            let open = move || {
                let opened = Journal::open(&folder, &cluster)?;
                if let Opened::Ours(journal) = &opened {
                    journal.has_room()?;
                }
                Ok(opened)
            };
            self.opening = self.disk.submit(open, drop).ok();
        }
        None
    }
}

/// The journal, or one in memory where there is none to be had, and why that takes the right to act.
async fn opened(
    folder: Option<PathBuf>,
    cluster: &Arc<str>,
    lease: &AtomicBool,
    disk: &Worker,
) -> (Journal, Option<String>, Option<StandBy>) {
    let Some(folder) = folder else { return (Journal::in_memory(), None, None) };
    let stand_by = Some(StandBy {
        folder: folder.clone(),
        cluster: cluster.clone(),
        disk: disk.clone(),
        asked: Instant::now(),
        opening: None,
    });
    let (place, name) = (folder.clone(), cluster.clone());
    let taken = match disk.run(DISK_MAX, move || Journal::open(&place, &name)).await.flatten() {
        Ok(Opened::Ours(journal)) => {
            lease.store(true, Ordering::Release);
            return (journal.written_by(disk.clone()), None, stand_by);
        }
        Ok(Opened::Taken(lock)) => format!("another dbproxy acts for this cluster: it holds {}", lock.display()),
        Err(error) => format!("the journal in {} can't be opened: {error}", folder.display()),
    };
    lease.store(false, Ordering::Release);
    tell::no_lease(&taken);
    (Journal::in_memory(), Some(taken), stand_by)
}

impl Ears {
    /// Hears nothing: its senders are gone.
    fn deaf() -> Self {
        Self {
            outcomes: mpsc::channel(1).1,
            events: mpsc::channel(1).1,
            requests: mpsc::channel(1).1,
            modes: mpsc::channel(1).1,
            target: watch::channel(None).0,
            stand_by: None,
        }
    }

    /// Tells the write probe where to write.
    fn retarget(&self, governor: Option<&Governor>) {
        let wanted = governor.and_then(Governor::written_to);
        self.target.send_if_modified(|target| std::mem::replace(target, wanted) != wanted);
    }
}

/// Fresh connections, again and again: a standing one says nothing of whether a new one is taken.
async fn handshakes(
    server: ServerId,
    address: Arc<str>,
    policy: Arc<Policy>,
    clock: Clock,
    events: mpsc::Sender<Event>,
) {
    loop {
        let began = Instant::now();
        let limit = policy.connect_timeout.min(policy.timeout);
        let result: Result<Seen, Failure> =
            greeting::read(&address, &policy.user, &policy.connector, limit).await.map(|_hello| Seen::Alive);
        let observation = Observation { server, began: clock.at(began), result };
        if events.send(Event::Observation(observation)).await.is_err() {
            return;
        }
        sleep(HANDSHAKE.saturating_sub(began.elapsed())).await;
    }
}

/// How late our own timers are: then what timed out may have timed out here.
async fn own_lag(events: mpsc::Sender<Event>) {
    loop {
        let began = Instant::now();
        sleep(TICK).await;
        let late = began.elapsed().saturating_sub(TICK);
        if late > LATE_LEAST && events.send(Event::OwnLag { ms: millis(late) }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_heartbeat_makes_no_replica_deaf() {
        let deaf = Duration::from_millis(1500);
        assert_eq!(credited(400, Some(500), deaf), 400);
        assert_eq!(credited(1600, Some(500), deaf), 1600, "three heartbeats are missing");
        assert_eq!(credited(20_000, Some(30_000), deaf), 1500, "the first is not due yet");
        assert_eq!(credited(95_000, Some(30_000), deaf), 95_000);
        assert_eq!(credited(1600, None, deaf), 1600);
    }
}
