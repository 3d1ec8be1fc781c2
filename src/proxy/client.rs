//! One client's task: it owns the client's socket and the sockets of the session's backends, and does what the session
//! machine says.

use super::acknowledgements::Known;
use super::backends::Early;
use super::client_link::ClientLink;
use super::counting::fault;
use super::exchange::Sent;
use super::kill;
use super::link::BackendLink;
use super::{Shared, backends};
use crate::conn::{self, TopologyWatch};
use crate::route::{Moment, Reason, Refusal, Target};
use crate::session::{Failure, Next, Plan, Run, Session, Step};
use crate::sql::{Kill, Structure};
use crate::telemetry::Fault;
use crate::topology::ServerId;
use crate::wire::{Command, ErrPacket, Malformed, OkPacket, frame};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time after which a statement that waits asks again for a primary that could not be reached, or refused it.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// How a client's connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It quit, or its socket closed.
    ClientLeft,
    /// The session cannot go on: state of it is lost, or the client broke the protocol. It was told.
    Broken,
    /// The proxy is draining.
    Drained,
    /// It was idle for longer than its own `wait_timeout`. It was told as its server would.
    Inactive,
}

/// How far an attempt at a command got.
pub(super) enum Attempt {
    /// It was answered, or needs no answer.
    Done,
    /// Look again: at once, or (with the reason) when the topology has changed.
    Again(Option<Refusal>),
    /// A replica refused it: the run is one for the primary now.
    Moved,
}

/// Whether a command can be sent to its backend.
enum Ready {
    /// Now.
    Go,
    /// It was, with what had to go before it.
    Sent,
    /// Not there, or not now.
    Not(Attempt),
}

/// A result, or the end of the client's connection.
pub(super) type Outcome<T> = Result<T, End>;

/// The task's state.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) topology: TopologyWatch,
    pub(super) entry: Arc<conn::Session>,
    pub(super) client: ClientLink,
    pub(super) session: Session,
    pub(super) backends: Vec<BackendLink>,
    /// For the primary's backend, from before the login.
    pub(super) early: Option<Early>,
    pub(super) identity: conn::Identity,
    /// State of the dice.
    pub(super) dice: u64,
    /// Sequence number of the packet that ends the login.
    pub(super) login_seq: u8,
    /// What the registry was told last.
    pub(super) bound_shown: Vec<&'static str>,
    /// How often the current command was sent again.
    pub(super) repeats: u8,
    /// The error by which a replica refused the current command.
    pub(super) refused: Option<ErrPacket>,
    pub(super) meter: crate::telemetry::Meter,
}

impl Driver {
    /// Serves the client until it leaves or cannot be served any more.
    pub(super) async fn serve(&mut self) -> End {
        loop {
            match self.one_command().await {
                Ok(()) if self.entry.is_draining() && self.session.bound().is_none() => return End::Drained,
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    async fn one_command(&mut self) -> Outcome<()> {
        let most = self.shared.live.load().limits.statement_buffer_bytes;
        self.finish().await?;
        if !self.client.begin(most) {
            self.wait_for_command(most).await?;
        }
        let started = Instant::now();
        self.entry.started(started);
        (self.repeats, self.refused) = (0, None);
        let result = self.run_command(started).await;
        self.entry.show_waiting(false);
        self.entry.show_transaction(self.session.in_transaction());
        self.entry.stopped(Instant::now());
        self.show_bound();
        let (bytes_in, bytes_out) =
            (std::mem::take(&mut self.client.bytes_in), std::mem::take(&mut self.client.bytes_out));
        self.meter.bytes_in(bytes_in);
        self.meter.bytes_out(bytes_out);
        if let Some(compressed) = self.client.stream.take_compressed() {
            self.shared.metrics.compressed(compressed);
        }
        result
    }

    async fn run_command(&mut self, started: Instant) -> Outcome<()> {
        let deadline = started + self.shared.live.load().routing.write_wait;
        let shared = self.shared.clone();
        let mut hold = None;
        loop {
            match self.attempt(started).await? {
                Attempt::Done => return Ok(()),
                Attempt::Again(_) | Attempt::Moved if !self.client.is_kept() => {
                    return Err(self.cannot_send_again().await);
                }
                Attempt::Again(None) | Attempt::Moved => {}
                Attempt::Again(Some(Refusal::Conflict(servers))) => {
                    let failure = Failure::Conflict { cluster: self.shared.cluster(), servers };
                    return self.no_primary(failure).await;
                }
                Attempt::Again(Some(refusal)) => {
                    let why = refusal.to_string();
                    if hold.is_none() {
                        let limits = &shared.live.load().limits;
                        let (statements, bytes) = (limits.max_held_statements, limits.max_held_bytes);
                        match shared.admission.hold(self.client.kept().len(), statements, bytes) {
                            Ok(place) => {
                                hold = Some(place);
                                self.entry.show_waiting(true);
                            }
                            Err(full) => {
                                let failure = Failure::HeldTooMany {
                                    cluster: shared.cluster(),
                                    key: full.key,
                                    limit: full.limit,
                                    why,
                                };
                                return self.no_primary(failure).await;
                            }
                        }
                    }
                    if !self.wait_for_topology(deadline).await? {
                        let failure = self.not_served(refusal, started.elapsed());
                        return self.no_primary(failure).await;
                    }
                }
            }
        }
    }

    /// No primary could be asked. The error of a replica that refused the command says more to the client than that.
    async fn no_primary(&mut self, failure: Failure) -> Outcome<()> {
        let failure = self.refused.take().map_or(failure, Failure::Server);
        self.refuse(&failure).await
    }

    /// No server took the command for as long as it could wait.
    fn not_served(&self, refusal: Refusal, waited: Duration) -> Failure {
        match refusal {
            Refusal::PrimaryBehind { server, lacks } => Failure::WouldGoBack { server, lacks, waited },
            refusal => Failure::NoPrimary { cluster: self.shared.cluster(), waited, why: refusal.to_string() },
        }
    }

    /// Answers with an error behind which nothing that the client sends can be trusted.
    async fn break_off(&mut self, failure: &Failure) -> Outcome<Attempt> {
        let _ = self.refuse(failure).await;
        Err(End::Broken)
    }

    /// Waits until the topology is published anew; while it has a primary, which then could not be reached or refused, a little while at
    /// most. `false` when the deadline has passed.
    async fn wait_for_topology(&mut self, deadline: Instant) -> Outcome<bool> {
        let now = Instant::now();
        if now >= deadline {
            return Ok(false);
        }
        let until = if self.topology.load().primary().is_some() { deadline.min(now + TRY_AGAIN) } else { deadline };
        let (client, topology) = (&mut self.client, &mut self.topology);
        tokio::select! {
            () = topology.changed() => {}
            () = tokio::time::sleep_until(until.into()) => {}
            () = std::future::poll_fn(|cx| client.poll_gone(cx)) => return Err(End::ClientLeft),
        }
        Ok(true)
    }

    fn plan(&mut self, structure: Option<&Structure>, started: Instant) -> Result<Plan, Malformed> {
        let roll = self.roll();
        let topology = self.topology.load();
        let (payload, complete) = (self.client.payload(), self.client.is_whole());
        let config = self.shared.live.load();
        let moment = Moment {
            structure,
            verdicts: self.shared.structures.verdicts(),
            topology: &topology,
            policy: &config.routing.policy,
            now: started,
            roll,
            load: &|server| self.shared.load(server),
            positions: &Known { shared: &self.shared, topology: &topology },
        };
        match self.session.plan(payload, complete, &moment) {
            Ok(Plan::Kill(kill)) if kill.own => {
                Ok(Plan::Kill(Kill { id: u64::from(self.entry.id), own: false, ..kill }))
            }
            Ok(Plan::Kill(kill)) if kill::victim(&self.shared, &topology, kill).is_none() => {
                self.session.plan_servers_kill(kill, payload, &moment)
            }
            plan => plan,
        }
    }

    async fn attempt(&mut self, started: Instant) -> Outcome<Attempt> {
        if !self.client.is_in_order() {
            return self.break_off(&Failure::OutOfOrder).await;
        }
        let structure = self.taken_apart(self.client.payload(), self.client.is_whole()).await;
        let plan = self.plan(structure.as_deref(), started);
        match plan {
            Err(malformed) => self.break_off(&Failure::Malformed(malformed)).await,
            Ok(Plan::Run(run)) => {
                self.ask_parser(&run);
                self.run(run, started).await
            }
            Ok(Plan::Refuse(refusal)) => Ok(Attempt::Again(Some(refusal))),
            Ok(Plan::Quit) => Err(End::ClientLeft),
            Ok(Plan::Ok) => {
                self.finish().await?;
                self.client.queue_ok(&OkPacket::new(self.session.status()), self.identity.capabilities);
                self.flushed().await.map(|()| Attempt::Done)
            }
            Ok(Plan::Answer(packets)) => {
                self.finish().await?;
                self.client.queue(&packets);
                self.flushed().await.map(|()| Attempt::Done)
            }
            Ok(Plan::Nothing) => {
                self.finish().await?;
                Ok(Attempt::Done)
            }
            Ok(Plan::CloseStatement(places)) => {
                self.finish().await?;
                self.close_statement(&places);
                Ok(Attempt::Done)
            }
            Ok(Plan::Fail(failure)) => {
                if let Failure::Rejected { rule, .. } = &failure {
                    self.shared.metrics.rules().hit(rule);
                }
                self.refuse(&failure).await.map(|()| Attempt::Done)
            }
            Ok(Plan::Abandon { server, failure, fatal }) => {
                self.drop_backend(server);
                let lost = self.session.backend_closed(server).is_err();
                self.refuse(&failure).await?;
                if fatal && lost { Err(End::Broken) } else { Ok(Attempt::Done) }
            }
            Ok(Plan::Kill(kill)) => {
                let command = self.client.payload().first().copied().and_then(Command::from_byte);
                self.finish().await?;
                kill::kill(self, kill, command).await.map(|()| Attempt::Done)
            }
            Ok(Plan::ChangeUser) if !self.client.is_whole() => {
                self.break_off(&Failure::Malformed(Malformed::Invalid("packet length"))).await
            }
            Ok(Plan::ChangeUser) => self.change_user().await.map(|()| Attempt::Done),
        }
    }

    /// Dice by SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): as good as is needed to choose among replicas.
    pub(super) fn roll(&mut self) -> u32 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }

    /// COM_STMT_CLOSE has no answer: it goes with the next command that does.
    fn close_statement(&mut self, places: &[(ServerId, u32)]) {
        for (server, id) in places {
            if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == *server) {
                let payload = [&[Command::StmtClose as u8][..], &id.to_le_bytes()].concat();
                frame(&mut backend.ahead, 0, &payload);
            }
        }
    }

    async fn run(&mut self, mut run: Run, started: Instant) -> Outcome<Attempt> {
        self.count_asked(&run);
        let shared = self.shared.clone();
        loop {
            // From before the last look at who the primary is: whoever closes it waits for what is counted.
            let _in_flight = shared.admission.command(run.route.server);
            match self.prepare(&mut run).await? {
                Ready::Go if run.tunnel => return Err(self.tunnel(&run).await),
                Ready::Go => {
                    if let Sent::Not(attempt) = self.send(&run).await? {
                        return Ok(attempt);
                    }
                }
                Ready::Sent => {}
                Ready::Not(attempt) => return Ok(attempt),
            }
            match self.answer(&mut run, started).await {
                Ok(Attempt::Moved) => {}
                Ok(Attempt::Done) => {
                    self.count(&run, started);
                    return Ok(Attempt::Done);
                }
                other => return other,
            }
        }
    }

    /// Brings the backend to where the command can run.
    async fn prepare(&mut self, run: &mut Run) -> Outcome<Ready> {
        loop {
            if !self.is_current(run) {
                return Ok(Ready::Not(Attempt::Again(None)));
            }
            let step = self.session.next_step(run, &self.topology.load());
            let next = match step {
                Step::Go => return Ok(Ready::Go),
                Step::Fail(failure) => {
                    // It is told now.
                    let _ = self.session.take_lost_transaction();
                    Next::Fail(failure)
                }
                Step::ToPrimary(reason) => Next::ToPrimary(reason),
                Step::Connect => match self.open(run).await {
                    Ok(()) => Next::Continue,
                    Err(error) if error.ends_session().is_some() && run.route.target == Target::Primary => {
                        return self.end_session(&error).await;
                    }
                    Err(error) => match self.not_connected(run, &error) {
                        Ok(next) => next,
                        Err(refusal) => return self.look_again(refusal).await,
                    },
                },
                Step::Reopen => {
                    self.drop_backend(run.route.server);
                    match self.session.backend_closed(run.route.server) {
                        Ok(()) => Next::Continue,
                        Err(bound) => Next::Lost(bound),
                    }
                }
                Step::Await { server, until, within } => {
                    match self.await_position(run, server, &until, within).await? {
                        Ok(next) => next,
                        Err(refusal) => return Ok(Ready::Not(Attempt::Again(Some(refusal)))),
                    }
                }
                Step::Inject { server, what, payload } => match self.inject(run, server, (what, payload)).await? {
                    Ok((Next::Continue, true)) => return Ok(Ready::Sent),
                    Ok((next, _)) => next,
                    Err(refusal) => return self.look_again(refusal).await,
                },
            };
            match next {
                Next::Continue => {}
                Next::ToPrimary(reason) => match self.session.move_to_primary(run, reason, &self.topology.load()) {
                    Ok(()) => {}
                    Err(refusal) => return Ok(Ready::Not(Attempt::Again(Some(refusal)))),
                },
                Next::Refused { err, of_session } => {
                    if of_session {
                        self.session.refused_state(run.route.server, Instant::now());
                    }
                    if let Err(refusal) = self.ask_primary(run, err) {
                        return Ok(Ready::Not(Attempt::Again(Some(refusal))));
                    }
                }
                Next::Fail(failure) => {
                    self.refuse(&failure).await?;
                    return Ok(Ready::Not(Attempt::Done));
                }
                Next::Lost(bound) => {
                    let failure = Failure::StateLost { server: self.shared.address(run.route.server), bound };
                    self.refuse(&failure).await?;
                    return Err(End::Broken);
                }
            }
        }
    }

    /// The next look must not come at once: nothing may have changed.
    async fn look_again(&self, refusal: Refusal) -> Outcome<Ready> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(Ready::Not(Attempt::Again(Some(refusal))))
    }

    /// Nothing can be run for this session any more: it is told, and its client may connect again.
    async fn end_session(&mut self, error: &backends::OpenError) -> Outcome<Ready> {
        if let Some(failure) = error.ends_session() {
            self.refuse(&failure).await?;
        }
        if error.is_of_server() {
            tracing::warn!(session = self.entry.id, %error, "session ended");
        }
        Err(End::Broken)
    }

    /// A backend could not be opened: the replica's reads go elsewhere, the primary's statements wait.
    fn not_connected(&mut self, run: &Run, error: &backends::OpenError) -> Result<Next, Refusal> {
        if error.is_of_server() {
            self.topology.hint(run.route.server);
            self.shared.metrics.server(run.route.server).error(Fault::Backend);
        }
        if run.route.target == Target::Replica {
            let lacks = matches!(error, backends::OpenError::Lacks { .. });
            return Ok(match error.refused_by_server() {
                Some(err) => Next::Refused { err, of_session: true },
                None if lacks => Next::ToPrimary(Reason::ReplicaLacksCapability),
                None => Next::ToPrimary(Reason::NoReplica),
            });
        }
        match error.refused() {
            Some(err) => Ok(Next::Fail(Failure::Server(err))),
            None => Err(Refusal::NoPrimary(error.to_string())),
        }
    }

    /// Answers the command with an error, once all of it was received.
    pub(super) async fn refuse(&mut self, failure: &Failure) -> Outcome<()> {
        self.shared.metrics.statement_failed(fault(failure));
        let awaited = self.session.awaits_refusal(self.client.payload(), failure);
        self.finish().await?;
        if !awaited {
            return Ok(());
        }
        self.client.fail(self.client.next_seq(), failure).await.map_err(|_| End::ClientLeft)
    }

    /// Receives the rest of the current command, and drops what no server got.
    pub(super) async fn finish(&mut self) -> Outcome<()> {
        if self.client.is_over() {
            return Ok(());
        }
        self.client.finish().await.map_err(|_| End::ClientLeft)
    }

    /// The session counts on a backend connection that is not there. That is a defect of dbproxy: the session ends, since its state
    /// cannot be trusted.
    pub(super) async fn diverged(&mut self, server: ServerId) -> End {
        let server = self.shared.address(server);
        tracing::error!(session = self.entry.id, backend = %server, "session ended: it has lost track of its backend connections");
        let _ = self.refuse(&Failure::StateLost { server, bound: "backend connection" }).await;
        End::Broken
    }

    /// A command is to be sent again that was not kept, which is a defect of dbproxy.
    async fn cannot_send_again(&mut self) -> End {
        tracing::error!(session = self.entry.id, "session ended: a statement was to be sent again and was not kept");
        let failure = Failure::StateLost { server: self.shared.cluster(), bound: "statement" };
        let _ = self.refuse(&failure).await;
        End::Broken
    }

    pub(super) async fn flushed(&mut self) -> Outcome<()> {
        self.client.flush().await.map_err(|_| End::ClientLeft)
    }

    pub(super) fn drop_backend(&mut self, server: ServerId) {
        if let Some(backend) = self.backends.iter().find(|backend| backend.server == server) {
            self.end_abandoned(backend);
        }
        self.backends.retain(|backend| backend.server != server);
        self.show_backends();
    }
}
