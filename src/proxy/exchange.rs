//! One command on a backend: sent as the server must see it, its answer passed on, its loss judged.

use super::backends;
use super::client::{Attempt, Driver, End, Outcome};
use super::limit::Limit;
use super::link::Incoming;
use super::relay::{Relay, Stop};
use super::upload::{Broken, Until, upload, upload_file, whole};
use crate::conn::TopologyWatch;
use crate::route::{Reason, Refusal, Target};
use crate::session::{Edit, Failure, NotRun, Run};
use crate::telemetry::Fault;
use crate::topology::{ServerId, Writes};
use crate::wire::{Command, ErrPacket, HEADER_LEN, STATEMENT_ID, frame, rewrite_execute};
use std::time::{Duration, Instant};

/// A read is sent so many times again at most.
pub(super) const REPEATS_MAX: u8 = 2;
/// How long a server that is the primary no more may take to answer what it was given, where others change the primary: mostly they
/// plan to, and then the client knows whether its statement was executed. In a failover of our own there is no such time: fencing
/// may let commits go that nobody but the lost primary has.
const LAST_ANSWER: Duration = Duration::from_secs(1);

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

    /// Sends the command. What the socket does not take is the server's loss to tell: the answer says.
    pub(super) async fn send(&mut self, run: &Run, incoming: &mut Incoming) -> Outcome<()> {
        let payload = &self.client.received()[HEADER_LEN..incoming.buffered];
        let mut edit = self.session.edit(run, payload, incoming.complete);
        if edit == Edit::NeedsWhole {
            edit = self.edit_whole(run, incoming).await?;
        }
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == run.route.server) {
            backend.runs_read = run.is_read() && run.command != Command::StmtPrepare;
        }
        self.write(run.route.server, edit, incoming).await
    }

    async fn write(&mut self, server: ServerId, edit: Edit, incoming: &mut Incoming) -> Outcome<()> {
        let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) else {
            return Ok(());
        };
        let command = &mut self.client.received_mut()[..incoming.buffered];
        let place = HEADER_LEN + STATEMENT_ID.start..HEADER_LEN + STATEMENT_ID.end;
        let named = match edit {
            Edit::StatementId(id) => command.get_mut(place.clone()).map(|bytes| {
                let named = bytes.to_vec();
                bytes.copy_from_slice(&id.to_le_bytes());
                named
            }),
            _ => None,
        };
        // A failed write is not an error yet: the server may have said why before it closed, and the answer tells.
        if let Edit::Payload(payload) = edit {
            let mut framed = Vec::with_capacity(payload.len() + HEADER_LEN);
            frame(&mut framed, 0, &payload);
            let _ = backend.send(&framed).await;
        } else if incoming.complete {
            let _ = backend.send(command).await;
            // As the client named it: the command may have to be sent elsewhere.
            if let Some(named) = named {
                command[place].copy_from_slice(&named);
            }
        } else {
            incoming.buffered = 0;
            if let Err(Broken::Client) = upload(&mut self.client, Some(backend), Until::EndOfCommand).await {
                return Err(End::ClientLeft);
            }
        }
        Ok(())
    }

    /// Receives all of a long command, to write it anew.
    async fn edit_whole(&mut self, run: &Run, incoming: &mut Incoming) -> Outcome<Edit> {
        let payload = whole(&mut self.client).await.map_err(|_| End::ClientLeft)?;
        *incoming = Incoming { buffered: 0, complete: true };
        Ok(Edit::Payload(match self.session.edit(run, &payload, true) {
            Edit::Payload(payload) => payload,
            Edit::StatementId(id) => rewrite_execute(&payload, id, None),
            Edit::None | Edit::NeedsWhole => payload,
        }))
    }

    /// Passes the answer on. `started`: when the client's command came.
    pub(super) async fn answer(
        &mut self,
        run: &mut Run,
        incoming: &mut Incoming,
        started: Instant,
    ) -> Outcome<Attempt> {
        let server = run.route.server;
        let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) else {
            return Ok(Attempt::Again(None));
        };
        let from_primary = run.route.target == Target::Primary;
        let governs = self.shared.live.load().replication.is_some();
        let grace = if governs { Duration::ZERO } else { LAST_ANSWER };
        let topology = &mut self.topology;
        let mut relay = Relay::new(&mut self.client, backend, &mut self.session, run, &self.shared.acknowledgements);
        if incoming.complete && incoming.buffered > 0 {
            relay.tracker = relay.tracker.in_sequence();
        }
        let mut limit = Limit::new(&self.shared, &self.identity, relay.run.timeout);
        let stop = loop {
            let stop = tokio::select! {
                biased;
                stop = limit.until_stop(&mut relay) => stop,
                () = replaced_for(topology, server, grace), if from_primary => {
                    Stop::BackendLost("another server has become the primary".into())
                }
            };
            match stop {
                Stop::LocalInfile => {
                    relay.client.consume(std::mem::take(&mut incoming.buffered));
                    let sent = async {
                        relay.client.flush().await.map_err(|_| Broken::Client)?;
                        upload_file(relay.client, relay.backend, relay.next_seq).await
                    };
                    match sent.await {
                        Err(Broken::Client) => break Stop::ClientGone,
                        // The server's answer, if it gave one, is what counts.
                        Ok(()) | Err(Broken::Backend) => relay.tracker.local_infile_sent(),
                    }
                }
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
                let payload = self.client.received().get(HEADER_LEN..incoming.buffered).unwrap_or_default();
                self.session.finished(run, payload);
                self.client.consume(incoming.buffered);
                if more { self.leave(server) } else { Ok(Attempt::Done) }
            }
            Stop::ClientGone | Stop::LocalInfile => Err(End::ClientLeft),
            Stop::NotRun(NotRun::ShuttingDown) => {
                self.lost(run, incoming, answered, next_seq, "it is shutting down").await
            }
            Stop::NotRun(NotRun::ReadOnly(err)) => self.refused_as_read_only(server, incoming, err).await,
            Stop::NotRun(NotRun::Refused(err)) => {
                self.topology.heard(server, started);
                if more {
                    self.leave(server)?;
                }
                Ok(self.ask_primary(run, err).map_or_else(|refusal| Attempt::Again(Some(refusal)), |()| Attempt::Moved))
            }
            Stop::BackendLost(how) => self.lost(run, incoming, answered, next_seq, &how).await,
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
    async fn refused_as_read_only(
        &mut self,
        server: ServerId,
        incoming: &mut Incoming,
        err: ErrPacket,
    ) -> Outcome<Attempt> {
        self.topology.hint(server);
        if incoming.complete && incoming.buffered > 0 {
            let why = format!("{} is read-only", self.shared.address(server));
            return Ok(Attempt::Again(Some(Refusal::NoPrimary(why))));
        }
        // Too long to be kept: the server's word for it.
        self.refuse(*incoming, &Failure::Server(err)).await.map(|()| Attempt::Done)
    }

    /// The backend was lost with the command on it. Only a proven read of whose answer nothing came is sent again.
    async fn lost(
        &mut self,
        run: &Run,
        incoming: &mut Incoming,
        answered: bool,
        next_seq: Option<u8>,
        how: &str,
    ) -> Outcome<Attempt> {
        let server = run.route.server;
        tracing::debug!(backend = &*self.shared.address(server), error = how, "backend lost during a statement");
        self.topology.hint(server);
        self.shared.metrics.server(server).error(Fault::Backend);
        self.drop_backend(server);
        let state = self.session.backend_closed(server);
        let whole = incoming.complete && incoming.buffered > 0;
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
        self.client.consume(std::mem::take(&mut incoming.buffered));
        let Some(seq) = next_seq else { return Err(End::Broken) };
        let unknown = || Failure::OutcomeUnknown { server: self.shared.address(server), how: how.to_owned() };
        let failure = self.session.take_lost_transaction().unwrap_or_else(unknown);
        let told = self.client.fail(seq, &failure).await;
        if told.is_err() || state.is_err() { Err(End::Broken) } else { Ok(Attempt::Done) }
    }
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
