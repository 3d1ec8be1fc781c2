//! One order of `failover`'s to its outcome.

use super::super::journal::{DISK_MAX, write_file};
use super::dump::{self, Dump};
use super::hand::{Access, Hand, StepError};
use super::hook::run_hook;
use super::rejoin::Fitness;
use super::sessions;
use super::words::Source;
use crate::admission::Admission;
use crate::config::{Hooks, Replication};
use crate::conn::Registry;
use crate::failover::{Acks, Done, Failed, FailedHow, LeaseCheck, Order, Outcome, Sets, Step};
use crate::tasks::{Worker, isolated};
use crate::topology::{Failure, GtidHistory, ServerId};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How far behind a candidate may be when the clients begin to wait for it, with what it takes to ask.
const NEAR: Duration = Duration::from_millis(40);
/// What is left of the time to move a replica, for it to go on as before when it can't be moved.
const GO_ON: Duration = Duration::from_secs(1);
/// How long a replica takes at most to hear from another that there is no rest.
const HALF: Duration = Duration::from_secs(2);
/// What is left of a step's time for its answer.
const ANSWER: Duration = Duration::from_millis(100);
/// Time between two attempts to reach a server that is being rebuilt.
const RETRY: Duration = Duration::from_millis(500);

/// Time kept for writing down what came of a dump.
const DUMP_MARGIN: Duration = Duration::from_secs(1);

/// All that steps need.
pub struct Means {
    /// How to log in.
    pub access: Access,
    /// The account of replicas; `None`: nothing can be made to replicate.
    pub replication: Option<Replication>,
    /// The heartbeat that replicas ask for.
    pub heartbeat: Duration,
    /// The operator's programs.
    pub hooks: Hooks,
    /// dbproxy's own sessions.
    pub registry: Arc<Registry>,
    /// What they are sending.
    pub admission: Arc<Admission>,
    /// Addresses by [`ServerId`].
    pub addresses: Vec<Arc<str>>,
    /// What writes the epoch's row: host and process.
    pub by: String,
    /// Whether this process may act for the cluster.
    pub lease: Arc<AtomicBool>,
    /// What writes them.
    pub disk: Worker,
    /// Where reports for the operator are written.
    pub reports: Option<PathBuf>,
}

/// Carries out orders. Logins are kept between them.
pub struct Executor {
    means: Means,
    hands: Vec<Mutex<Option<Hand>>>,
}

impl Executor {
    /// Logs in nowhere yet.
    #[must_use]
    pub fn new(means: Means) -> Self {
        let hands = means.addresses.iter().map(|_| Mutex::default()).collect();
        Self { means, hands }
    }

    /// Carries out one order, within its limit.
    pub async fn run(&self, order: Order) -> Outcome {
        let limit = Duration::from_millis(order.limit_ms);
        let result = match timeout(limit, self.judge(&order, limit)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(Failed {
                how: FailedHow::Unknown,
                text: format!("{} was not done within {} ms", order.step.name(), order.limit_ms),
            }),
        };
        Outcome { id: order.id, result }
    }

    async fn judge(&self, order: &Order, limit: Duration) -> Result<Done, Failed> {
        if order.lease == LeaseCheck::BeforeActing && !self.means.lease.load(Ordering::Acquire) {
            return Err(failed(FailedHow::LeaseLost, "another dbproxy may act for this cluster".to_owned()));
        }
        match &order.step {
            Step::RunFenceHook { server } => self.fence_by_hook(*server, order).await,
            Step::WaitForLag { server, primary } => {
                self.approach(*server, *primary, limit).await.map_err(|error| told(&error))
            }
            Step::DrainSessions { server } => self.drain_sessions(*server, limit).await,
            Step::KillSessions { server } => {
                sessions::end_sessions(&self.means.registry, *server);
                Ok(Done::Plain)
            }
            Step::DumpErrant { server, errant, known } => {
                self.dump_errant(*server, errant, known, limit.saturating_sub(DUMP_MARGIN)).await
            }
            Step::Clone { server, donor } => self.clone(*server, *donor, limit).await,
            Step::RepointEarly { server, source, acks } => {
                self.attach(order, *server, *source, *acks, Instant::now() + limit).await.map_err(|error| told(&error))
            }
            step => self.at(order, step, limit).await,
        }
    }

    /// Everything that one login does.
    async fn at(&self, order: &Order, step: &Step, limit: Duration) -> Result<Done, Failed> {
        let server = step.server();
        let mut hand = self.hand(server).await.map_err(|error| told(&error))?;
        let result = self.act(&mut hand, order, step, limit).await;
        let unsure = |error: &StepError| {
            matches!(error, StepError::Timeout { .. } | StepError::NotApplied { .. } | StepError::Broken { .. })
        };
        let usable = !result.as_ref().is_err_and(unsure);
        if usable {
            self.keep(server, hand).await;
        }
        result.map_err(|error| told(&error))
    }

    async fn act(&self, hand: &mut Hand, order: &Order, step: &Step, limit: Duration) -> Result<Done, StepError> {
        is_current(hand, order).await?;
        match step {
            Step::StopReceiver { .. } => hand.stop_receiver().await?,
            Step::Fence { .. } => {
                hand.fence().await?;
                hand.leave_replication().await?;
            }
            Step::ApplyReceived { until, .. } => {
                hand.start_applier().await?;
                hand.drain(&until.position(), limit.saturating_sub(Duration::from_millis(50))).await?;
            }
            Step::EnableSemiSync { wait_count, relay_log_helper, .. } => {
                if let Some(relay_log_helper) = relay_log_helper {
                    self.end_half(hand, *relay_log_helper).await?;
                    hand.begin_binary_log().await?;
                }
                hand.stop_replication().await?;
                hand.arm(u32::from(*wait_count)).await?;
                return Ok(Done::Plain);
            }
            Step::Repoint { source, acks, at_most, .. } => {
                self.repoint(hand, *source, *acks, at_most.as_ref()).await?;
                return Ok(Done::Plain);
            }
            Step::Open { .. } => {
                hand.open().await?;
                hand.write_epoch(order.epoch.0, &self.means.by, limit).await?;
            }
            Step::ForgetSource { .. } => {
                hand.forget_source().await?;
                hand.forget_fence().await?;
                return Ok(Done::Plain);
            }
            Step::CheckQuiet { server } => {
                let busy = hand.busy(&sessions::own_connections(&self.means.registry, *server)).await?;
                let oldest_transaction_ms = u64::try_from(busy.oldest.as_millis()).unwrap_or(u64::MAX);
                return Ok(Done::Quiet { oldest_transaction_ms, locked: busy.locked });
            }
            Step::Demote { server } => {
                hand.close(&sessions::own_connections(&self.means.registry, *server)).await?;
                hand.settled().await?;
            }
            Step::RunBeforeHook { .. }
            | Step::RunFenceHook { .. }
            | Step::RepointEarly { .. }
            | Step::WaitForLag { .. }
            | Step::DrainSessions { .. }
            | Step::KillSessions { .. }
            | Step::DumpErrant { .. }
            | Step::Clone { .. } => return Err(StepError::Unfit("is no step at a server".to_owned())),
        }
        let (sets, uptime_ms) = hand.sets().await?;
        Ok(Done::Sets { sets, uptime_ms })
    }

    async fn repoint(
        &self,
        hand: &mut Hand,
        source: ServerId,
        acks: Acks,
        at_most: Option<&GtidHistory>,
    ) -> Result<(), StepError> {
        let address = self.address(source);
        let source = Source::new(&address, self.replication()?, self.means.heartbeat);
        if let Some(at_most) = at_most
            && !hand.follows(source, acks == Acks::On).await?
        {
            hand.stop_receiver().await?;
            let more = hand.sets().await?.0.held(Some(at_most)).less(at_most);
            if !more.is_empty() {
                return Err(StepError::Changed(format!("it has received {more} meanwhile")));
            }
        }
        hand.rejoin(source, acks == Acks::On).await
    }

    /// Lets a replica hear from another that there is no rest to what it has half of. Where that can't be had it waits, for up to 60 s.
    async fn end_half(&self, hand: &mut Hand, relay_log_helper: ServerId) -> Result<(), StepError> {
        if !hand.has_half().await? {
            return Ok(());
        }
        let address = self.address(relay_log_helper);
        let to = Source::new(&address, self.replication()?, self.means.heartbeat);
        match hand.repoint(to, false).await {
            // That is no reason to give a candidate up.
            Err(StepError::Refused { .. }) => return Ok(()),
            told => told?,
        }
        let deadline = Instant::now() + HALF;
        while hand.has_half().await? && Instant::now() < deadline {
            sleep(ANSWER / 10).await;
        }
        Ok(())
    }

    async fn attach(
        &self,
        order: &Order,
        server: ServerId,
        source: ServerId,
        acks: Acks,
        deadline: Instant,
    ) -> Result<Done, StepError> {
        let mut hand = self.hand(server).await?;
        is_current(&mut hand, order).await?;
        let address = self.address(source);
        let to = Source::new(&address, self.replication()?, self.means.heartbeat);
        let acknowledges = acks == Acks::On;
        if !hand.follows(to, acknowledges).await? {
            let enough = deadline.checked_sub(GO_ON).unwrap_or(deadline);
            let detached = match timeout_at(enough, self.detach(&mut hand, source, enough)).await {
                Ok(detached) => detached,
                Err(_elapsed) => Err(StepError::NotApplied { within: GO_ON }),
            };
            if let Err(error) = detached {
                // It goes on as before, if it can. What the other login waits for may not have come.
                Hand::log_in(&self.address(server), &self.means.access).await?.start_receiver().await?;
                return Err(error);
            }
            if !self.means.lease.load(Ordering::Acquire) {
                hand.start_receiver().await?;
                return Err(StepError::Unfit("another dbproxy may act for this cluster".to_owned()));
            }
            hand.repoint(to, acknowledges).await?;
        }
        let answer = deadline.checked_sub(ANSWER).unwrap_or(deadline);
        hand.connected(answer).await?;
        // Connected, it hears nothing until its source has found in its binary log where to go on.
        let mut ahead = self.hand(source).await?;
        let goal = ahead.sets().await?.0.executed.position();
        self.keep(source, ahead).await;
        hand.drain(&goal, answer.saturating_duration_since(Instant::now())).await?;
        self.keep(server, hand).await;
        Ok(Done::Plain)
    }

    /// Leaves a replica without a source when it has nothing that is not applied, and the other one has all of it.
    async fn detach(&self, hand: &mut Hand, other: ServerId, deadline: Instant) -> Result<(), StepError> {
        hand.stop_receiver().await?;
        hand.start_applier().await?;
        let received = hand.held().await?.received;
        hand.drain(&received, deadline.saturating_duration_since(Instant::now())).await?;
        let has = hand.sets().await?.0.executed;
        let mut ahead = self.hand(other).await?;
        // At a primary of MariaDB the wait would not end: it is for what came from a source.
        if !ahead.sets().await?.0.executed.covers(&has) {
            ahead.drain(&has.position(), deadline.saturating_duration_since(Instant::now())).await?;
        }
        ahead.begin_binary_log().await?;
        self.keep(other, ahead).await;
        Ok(())
    }

    fn replication(&self) -> Result<&Replication, StepError> {
        let none = || StepError::Unfit("there is no account for replicas: [replication] is missing".to_owned());
        self.means.replication.as_ref().ok_or_else(none)
    }

    async fn fence_by_hook(&self, server: ServerId, order: &Order) -> Result<Done, Failed> {
        let Some(hook) = &self.means.hooks.fence else {
            return Err(failed(FailedHow::Refused, "no hooks.fence is configured".to_owned()));
        };
        let input = serde_json::json!({
            "action": "fence", "server": &*self.address(server), "epoch": order.epoch.0, "decided_by": self.means.by,
        });
        match run_hook(&hook.0, &input.to_string(), self.means.hooks.timeout).await {
            Ok(()) => Ok(Done::Plain),
            Err(error) => Err(failed(FailedHow::Refused, error.to_string())),
        }
    }

    /// Asks the primary again and again what it has, and the replica how long it takes to have that.
    async fn approach(&self, server: ServerId, primary: ServerId, limit: Duration) -> Result<Done, StepError> {
        let deadline = Instant::now() + limit.saturating_sub(ANSWER);
        let mut ahead = self.hand(primary).await?;
        let mut behind = self.hand(server).await?;
        // For who follows it only later.
        behind.begin_binary_log().await?;
        loop {
            let began = Instant::now();
            let goal = ahead.sets().await?.0.executed.position();
            behind.drain(&goal, deadline.saturating_duration_since(began)).await?;
            if began.elapsed() <= NEAR {
                break;
            }
        }
        self.keep(primary, ahead).await;
        self.keep(server, behind).await;
        Ok(Done::Plain)
    }

    async fn drain_sessions(&self, server: ServerId, limit: Duration) -> Result<Done, Failed> {
        let limit = limit.saturating_sub(Duration::from_millis(20));
        match sessions::drain_sessions(&self.means.registry, &self.means.admission, server, limit).await {
            Ok(()) => Ok(Done::Plain),
            Err(left) => Err(failed(FailedHow::NotYet, format!("{left} sessions have something open there"))),
        }
    }

    /// What the operator needs to look at transactions that only one server has: which, and their events from its binary log.
    async fn dump_errant(
        &self,
        server: ServerId,
        errant: &GtidHistory,
        known: &GtidHistory,
        limit: Duration,
    ) -> Result<Done, Failed> {
        let Some(folder) = &self.means.reports else { return Ok(Done::Plain) };
        let address = self.address(server);
        let name = format!("errant-{}", address.replace([':', '[', ']', '/'], "_"));
        let (report, file) = (folder.join(format!("{name}.txt")), folder.join(format!("{name}.binlog")));
        let text = dump::report(&address, errant);
        // What is known already, first: the rest may take too long.
        self.write(&report, text.clone().into_bytes()).await?;
        let dumped = match self.events_of(&address, errant, known, limit).await {
            Ok(events) => {
                let told = events.told(&format!("{name}.binlog"), errant.flavor());
                self.write(&file, events.bytes).await.map(|()| told).map_err(|failed| failed.text)
            }
            Err(why) => Err(why),
        };
        let dumped = dumped.unwrap_or_else(|why| format!("the events themselves could not be written down: {why}\n"));
        self.write(&report, (text + &dumped).into_bytes()).await?;
        Ok(Done::Plain)
    }

    async fn write(&self, path: &Path, bytes: Vec<u8>) -> Result<(), Failed> {
        let path = path.to_owned();
        let written = self.means.disk.run(DISK_MAX, move || write_file(&path, &bytes)).await.flatten();
        written.map_err(|error| failed(FailedHow::Refused, error.to_string()))
    }

    /// The events of these transactions, within a limit in time.
    async fn events_of(
        &self,
        address: &Arc<str>,
        errant: &GtidHistory,
        known: &GtidHistory,
        limit: Duration,
    ) -> Result<Dump, String> {
        let Some(replication) = &self.means.replication else {
            return Err("there is no account for replicas: [replication] is missing".to_owned());
        };
        let (address, user, tls) = (address.clone(), replication.user.clone(), self.means.access.tls.clone());
        let (errant, known) = (errant.clone(), known.clone());
        // A task of its own: the driver panics at events that are cut short.
        let dump = async move { timeout(limit, dump::dump(&address, &user, &tls, &errant, &known)).await };
        match isolated(dump).await {
            Ok(Ok(result)) => result,
            Ok(Err(_elapsed)) => Err(format!("it took more than {} ms", limit.as_millis())),
            Err(panic) => Err(panic),
        }
    }

    /// Copies, then waits until the server is back with the copy. It may take an operator or a supervisor to start it.
    async fn clone(&self, server: ServerId, donor: ServerId, limit: Duration) -> Result<Done, Failed> {
        let deadline = Instant::now() + limit;
        let donor_address = self.address(donor);
        let mut hand = self.hand(server).await.map_err(|error| told(&error))?;
        hand.clone_from(&donor_address, &self.means.access, limit).await.map_err(|error| told(&error))?;
        drop(hand);
        loop {
            sleep(RETRY).await;
            match self.cloned(server, donor).await {
                Ok(done) => return Ok(done),
                Err(error) if Instant::now() + RETRY >= deadline => {
                    return Err(failed(FailedHow::NotYet, format!("the copy is there, the server is not up: {error}")));
                }
                Err(_) => {}
            }
        }
    }

    async fn cloned(&self, server: ServerId, donor: ServerId) -> Result<Done, StepError> {
        let mut hand = Hand::log_in(&self.address(server), &self.means.access).await?;
        let mut primary = Hand::log_in(&self.address(donor), &self.means.access).await?;
        hand.close_quietly().await?;
        if hand.fitness(&mut primary).await? != Fitness::Clean {
            return Err(StepError::Unfit("it still has what the donor has not".to_owned()));
        }
        let (sets, uptime_ms) = hand.sets().await?;
        Ok(Done::Sets { sets, uptime_ms })
    }

    /// A login that works: the one that was kept, or a new one.
    async fn hand(&self, server: ServerId) -> Result<Hand, StepError> {
        if let Some(place) = self.hands.get(usize::from(server.0))
            && let Some(mut kept) = place.lock().await.take()
            && kept.works().await
        {
            return Ok(kept);
        }
        Hand::log_in(&self.address(server), &self.means.access).await
    }

    /// Keeps a login for the next step.
    async fn keep(&self, server: ServerId, hand: Hand) {
        if let Some(place) = self.hands.get(usize::from(server.0)) {
            *place.lock().await = Some(hand);
        }
    }

    fn address(&self, server: ServerId) -> Arc<str> {
        self.means.addresses.get(usize::from(server.0)).cloned().unwrap_or_else(|| Arc::from("unknown:0"))
    }
}

impl Hand {
    /// What this server has, and since when it runs.
    ///
    /// # Errors
    /// It does not answer, or not in a way that can be read.
    pub async fn sets(&mut self) -> Result<(Sets, u64), StepError> {
        let told = self.status().await?;
        Ok((told.sets, told.uptime_ms))
    }
}

/// Whether an order is not of a time that this server knows to be over.
async fn is_current(hand: &mut Hand, order: &Order) -> Result<(), StepError> {
    if order.lease == LeaseCheck::NotNeeded {
        return Ok(());
    }
    let known = hand.read_epoch().await?;
    if known > order.epoch.0 {
        return Err(StepError::Unfit(format!("it knows of epoch {known}, this is for {}", order.epoch.0)));
    }
    Ok(())
}

fn failed(how: FailedHow, text: String) -> Failed {
    Failed { how, text }
}

/// What is known of a step that was not done.
fn told(error: &StepError) -> Failed {
    let how = match error {
        StepError::Login(Failure::Other(_) | Failure::AccessDenied(_) | Failure::TooManyConnections) => {
            FailedHow::Refused
        }
        StepError::Login(_) => FailedHow::Unreachable,
        StepError::NotApplied { .. } => FailedHow::NotYet,
        StepError::Timeout { .. } | StepError::Broken { .. } => FailedHow::Unknown,
        StepError::Changed(_) => FailedHow::Changed,
        StepError::Refused { .. } | StepError::Unfit(_) => FailedHow::Refused,
    };
    Failed { how, text: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slow_applier_is_worth_asking_again() {
        let within = Duration::from_secs(1);
        assert_eq!(told(&StepError::NotApplied { within }).how, FailedHow::NotYet);
        let timeout = StepError::Timeout { doing: "stop receiving", within };
        assert_eq!(told(&timeout).how, FailedHow::Unknown);
    }
}
