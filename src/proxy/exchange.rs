//! One command on a backend: sent as the server must see it, its answer passed on, its loss judged.

use super::backends;
use super::client::{Attempt, Driver, End, Outcome};
use super::limit::Limit;
use super::relay::{Relay, Stop};
use super::upload::{Broken, upload, upload_changed, upload_file};
use crate::conn::TopologyWatch;
use crate::route::{Reason, Refusal, Target};
use crate::session::{Edit, Failure, NotRun, Run};
use crate::telemetry::Fault;
use crate::topology::{ServerId, Writes};
use crate::wire::{Command, ErrPacket, HEADER_LEN, STATEMENT_ID, frame};
use std::time::{Duration, Instant};

/// Why the answer of a server is no longer waited for.
const REPLACED: &str = "another server has become the primary";
/// A read is sent so many times again at most.
pub(super) const REPEATS_MAX: u8 = 2;
/// How long a server that is the primary no more may take to answer what it was given, where others change the primary: mostly they
/// plan to, and then the client knows whether its statement was executed. In a failover of our own there is no such time: fencing
/// may let commits go that nobody but the lost primary has.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// What became of a command that was to be sent.
pub(super) enum Sent {
    /// The server has it: the answer comes next.
    Whole,
    /// It was not; what to do now.
    Not(Attempt),
}

impl Driver {
    /// Whether the primary that the command was to go to still is it: bringing the backend there may have taken a while.
    pub(super) fn is_current(&self, run: &Run) -> bool {
        let topology = self.topology.load();
        let server = run.route.server;
        run.route.target != Target::Primary
            || topology.writes == Writes::Primary(server)
            || topology.draining == Some(server) && self.session.in_transaction()
    }

    /// A new backend; given up when another server has become the primary meanwhile.
    pub(super) async fn open(&mut self, run: &Run) -> Result<(), backends::OpenError> {
        let (server, mut topology) = (run.route.server, self.topology.clone());
        let from_primary = run.route.target == Target::Primary;
        tokio::select! {
            biased;
            opened = backends::open(self, server) => opened,
            () = replaced(&mut topology, server), if from_primary => Ok(()),
        }
    }

    /// Counts one more time that the command is sent again; whether that was the last.
    pub(super) fn is_last_attempt(&mut self) -> bool {
        self.repeats = self.repeats.saturating_add(1);
        self.repeats > REPEATS_MAX
    }

    /// Sends the command.
    pub(super) async fn send(&mut self, run: &Run) -> Outcome<Sent> {
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == run.route.server) {
            backend.runs_read = run.is_read() && run.command != Command::StmtPrepare;
        }
        match self.session.edit(run, self.client.payload(), self.client.is_whole()) {
            Edit::OutOfSight(what) => {
                let limit = self.shared.live.load().limits.statement_buffer_bytes as u64;
                let failure = Failure::DoesNotFit { what, key: "limits.statement_buffer_bytes", limit };
                self.refuse(&failure).await.map(|()| Sent::Not(Attempt::Done))
            }
            edit if self.client.is_whole() => self.send_whole(run.route.server, edit).await.map(|()| Sent::Whole),
            edit => self.send_long(run, edit).await,
        }
    }

    /// A failed write is not reported here. Reading the response yields the server's error.
    async fn send_whole(&mut self, server: ServerId, edit: Edit) -> Outcome<()> {
        let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) else {
            return Err(self.diverged(server).await);
        };
        if let Edit::Payload(payload) = edit {
            let mut framed = Vec::with_capacity(payload.len() + HEADER_LEN);
            frame(&mut framed, 0, &payload);
            let _ = backend.send(&framed).await;
            return Ok(());
        }
        let command = self.client.kept();
        let named = set_statement_id(command, &edit);
        let _ = backend.send(command).await;
        // As the client named it: the command may have to be sent elsewhere.
        if let Some(named) = named {
            set_statement_id(command, &Edit::StatementId(named));
        }
        Ok(())
    }

    /// Sends a command that is not kept whole.
    async fn send_long(&mut self, run: &Run, edit: Edit) -> Outcome<Sent> {
        let server = run.route.server;
        let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) else {
            return Err(self.diverged(server).await);
        };
        set_statement_id(self.client.kept(), &edit);
        let client = &mut self.client;
        let sending = async {
            match edit {
                Edit::Payload(start) => upload_changed(client, backend, &start).await,
                _ => upload(client, backend).await,
            }
        };
        let sent = tokio::select! {
            biased;
            sent = sending => sent,
            () = replaced(&mut self.topology, server), if run.route.target == Target::Primary => {
                Err(Broken::Backend(REPLACED.into()))
            }
        };
        match sent {
            Ok(()) => Ok(Sent::Whole),
            Err(Broken::Client) => Err(End::ClientLeft),
            Err(Broken::Backend(how)) => self.upload_broke(run, how).await.map(Sent::Not),
        }
    }

    /// A server has not taken a command to its end, so it has not executed it. The command is over for the client too: it is received
    /// to its end and answered once.
    async fn upload_broke(&mut self, run: &Run, how: String) -> Outcome<Attempt> {
        let server = run.route.server;
        let mut said = None;
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) {
            said = backend.last_words().await;
        }
        tracing::debug!(backend = &*self.shared.address(server), error = how, ?said, "backend lost during an upload");
        if said.is_none() {
            self.topology.hint(server);
            self.shared.metrics.server(server).error(Fault::Backend);
        }
        self.drop_backend(server);
        let state = self.session.backend_closed(server);
        let not_sent = || Failure::NotSent { server: self.shared.address(server), how };
        let failure = said.map_or_else(not_sent, Failure::Server);
        self.finish().await?;
        if self.session.awaits_answer(run, &failure) {
            self.client.fail(self.client.next_seq(), &failure).await.map_err(|_| End::ClientLeft)?;
        }
        if state.is_err() { Err(End::Broken) } else { Ok(Attempt::Done) }
    }

    /// Passes the answer on. `started`: when the client's command came.
    pub(super) async fn answer(&mut self, run: &mut Run, started: Instant) -> Outcome<Attempt> {
        let server = run.route.server;
        let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) else {
            return Err(self.diverged(server).await);
        };
        let from_primary = run.route.target == Target::Primary;
        let governs = self.shared.live.load().replication.is_some();
        let grace = if governs { Duration::ZERO } else { LAST_ANSWER };
        let topology = &mut self.topology;
        let mut relay = Relay::new(&mut self.client, backend, &mut self.session, run, &self.shared.acknowledgements);
        if relay.client.is_whole() {
            relay.tracker = relay.tracker.in_sequence();
        }
        let mut limit = Limit::new(&self.shared, &self.identity, relay.run.timeout);
        let stop = loop {
            let stop = tokio::select! {
                biased;
                stop = limit.until_stop(&mut relay) => stop,
                () = replaced_for(topology, server, grace), if from_primary => {
                    Stop::BackendLost(REPLACED.into())
                }
            };
            match stop {
                Stop::LocalInfile => match send_file(&mut relay).await {
                    Ok(()) => {}
                    Err(_) => break Stop::ClientGone,
                },
                stop => break stop,
            }
        };
        if matches!(stop, Stop::Done | Stop::NotRun(_)) {
            relay.backend.runs_read = false;
        }
        let (answered, next_seq, more) = (relay.answered, relay.next_seq, !relay.backend.tail.is_empty());
        match stop {
            Stop::Done => {
                self.topology.heard(server, started);
                if run.sets_globals() {
                    // New sessions begin with something else now.
                    self.topology.hint(server);
                }
                self.session.finished(run, self.client.payload());
                self.client.pass_kept();
                if more { self.leave(server) } else { Ok(Attempt::Done) }
            }
            Stop::ClientGone | Stop::LocalInfile => Err(End::ClientLeft),
            Stop::NotRun(NotRun::ShuttingDown) => self.lost(run, answered, next_seq, "it is shutting down").await,
            Stop::NotRun(NotRun::ReadOnly(err)) => self.refused_as_read_only(server, err).await,
            Stop::NotRun(NotRun::Refused(err)) => {
                self.topology.heard(server, started);
                if more {
                    self.leave(server)?;
                }
                if !self.client.is_whole() {
                    return self.refuse(&Failure::Server(err)).await.map(|()| Attempt::Done);
                }
                Ok(self.ask_primary(run, err).map_or_else(|refusal| Attempt::Again(Some(refusal)), |()| Attempt::Moved))
            }
            Stop::BackendLost(how) => self.lost(run, answered, next_seq, &how).await,
        }
    }

    /// A replica refused a proven read: the run becomes one for the primary, whose answer is the answer.
    pub(super) fn ask_primary(&mut self, run: &mut Run, err: ErrPacket) -> Result<(), Refusal> {
        let server = run.route.server;
        // Not the text: it may quote the statement.
        tracing::debug!(backend = &*self.shared.address(server), code = err.code, "a replica refused a read");
        self.shared.metrics.refusals().refused(server, err.code);
        run.refused(err.code);
        self.refused = Some(err);
        self.session.move_to_primary(run, Reason::ReplicaRefused, &self.topology.load())
    }

    /// The server said more than its answer, which would be taken for the next one: it is not asked again.
    fn leave(&mut self, server: ServerId) -> Outcome<Attempt> {
        tracing::warn!(backend = &*self.shared.address(server), "a server said more than its answer");
        self.shared.metrics.server(server).error(Fault::Backend);
        self.drop_backend(server);
        self.session.backend_closed(server).map(|()| Attempt::Done).map_err(|_| End::Broken)
    }

    /// A primary that has just been made read-only has run nothing of a write, which waits for who takes writes then.
    async fn refused_as_read_only(&mut self, server: ServerId, err: ErrPacket) -> Outcome<Attempt> {
        self.topology.hint(server);
        if self.client.is_whole() {
            let why = format!("{} is read-only", self.shared.address(server));
            return Ok(Attempt::Again(Some(Refusal::NoPrimary(why))));
        }
        // It was too long to be kept, so it cannot be sent again: the client gets the server's error.
        self.refuse(&Failure::Server(err)).await.map(|()| Attempt::Done)
    }

    /// The backend was lost with the command on it. Only a proven read of whose answer nothing came is sent again.
    async fn lost(&mut self, run: &Run, answered: bool, next_seq: Option<u8>, how: &str) -> Outcome<Attempt> {
        let server = run.route.server;
        tracing::debug!(backend = &*self.shared.address(server), error = how, "backend lost during a statement");
        self.topology.hint(server);
        self.shared.metrics.server(server).error(Fault::Backend);
        self.drop_backend(server);
        let state = self.session.backend_closed(server);
        let whole = self.client.is_whole();
        if run.repeatable
            && !self.entry.is_killed()
            && !answered
            && whole
            && state.is_ok()
            && self.repeats < REPEATS_MAX
        {
            self.repeats += 1;
            return Ok(Attempt::Again(None));
        }
        self.finish().await?;
        let Some(seq) = next_seq else { return Err(End::Broken) };
        let unknown = || Failure::OutcomeUnknown { server: self.shared.address(server), how: how.to_owned() };
        let failure = self.session.take_lost_transaction().unwrap_or_else(unknown);
        let told = self.client.fail(seq, &failure).await;
        if told.is_err() || state.is_err() { Err(End::Broken) } else { Ok(Attempt::Done) }
    }
}

/// Passes the client's file on. What a server does not take is received and dropped: its answer, if it gave one, is what counts.
async fn send_file(relay: &mut Relay<'_>) -> std::io::Result<()> {
    relay.client.begin_file();
    relay.client.flush().await?;
    match upload_file(relay.client, relay.backend, relay.next_seq).await {
        Ok(()) => {}
        Err(Broken::Client) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        Err(Broken::Backend(_)) => relay.client.finish().await?,
    }
    relay.tracker.local_infile_sent();
    relay.next_seq = Some(relay.client.next_seq());
    Ok(())
}

/// Puts another statement id into a command; returns the one that stood there.
fn set_statement_id(command: &mut [u8], edit: &Edit) -> Option<u32> {
    let Edit::StatementId(id) = edit else { return None };
    let place = command.get_mut(HEADER_LEN..)?.get_mut(STATEMENT_ID)?.first_chunk_mut()?;
    Some(u32::from_le_bytes(std::mem::replace(place, id.to_le_bytes())))
}

/// When another server has been the primary for `grace`.
async fn replaced_for(topology: &mut TopologyWatch, server: ServerId, grace: Duration) {
    replaced(topology, server).await;
    tokio::time::sleep(grace).await;
}

/// Waits until another server takes the writes: what `server` still owes may never come, and a commit that hung there must not
/// be taken for one that counts.
pub(super) async fn replaced(topology: &mut TopologyWatch, server: ServerId) {
    loop {
        if matches!(topology.load().writes, Writes::Primary(primary) if primary != server) {
            return;
        }
        topology.changed().await;
    }
}
