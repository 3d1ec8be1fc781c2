//! KILL: clients are greeted with ids of the proxy's; what runs, runs under the servers' own ids, which are what
//! `SHOW PROCESSLIST` and `CONNECTION_ID()` say. Either names a session.

use super::Shared;
use super::client::{Driver, End};
use super::counting::fault;
use super::inject;
use super::link::BackendLink;
use crate::conn::{self, Identity};
use crate::session::{Answer, Failure, Prelude};
use crate::sql::Kill;
use crate::topology::{ServerId, Topology};
use crate::wire::{self, Capabilities, Command, OkPacket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest a server may take to accept a connection and a KILL.
const DEADLINE: Duration = Duration::from_secs(5);

/// The session that is meant: by the id that its client was greeted with, or by its backend's at the primary. A session whose
/// backend alone was ended would open another and go on.
pub(super) fn victim(shared: &Shared, topology: &Topology, kill: Kill) -> Option<Arc<conn::Session>> {
    let id = u32::try_from(kill.id).ok()?;
    shared.registry.find(id).or_else(|| shared.registry.with_backend(topology.primary()?.id, id))
}

/// What a server is sent.
#[derive(Clone, Copy)]
pub(super) enum With {
    /// `KILL QUERY`.
    Query,
    /// `KILL CONNECTION`.
    Connection,
    /// The command of the protocol, which MySQL 9 no longer knows and says so.
    Command,
}

/// Ends another connection or its statement, with the rights of the client that asks: the servers decide.
pub(super) async fn kill(driver: &mut Driver, kill: Kill, command: Option<Command>) -> Result<(), End> {
    let victim = victim(&driver.shared, &driver.topology.load(), kill);
    let Some(victim) = victim else { return answer(driver, Err(Failure::UnknownThread(kill.id))).await };
    if victim.id == driver.entry.id {
        if kill.query_only {
            return answer(driver, Err(Failure::Killed)).await;
        }
        let killed = Failure::ConnectionKilled(driver.session.flavor());
        answer(driver, Err(killed)).await?;
        return Err(End::ClientLeft);
    }
    let row = victim.row();
    if row.backends.is_empty() && row.user != driver.identity.user {
        return answer(driver, Err(Failure::NotOwner(kill.id))).await;
    }
    victim.mark_killed(!kill.query_only);
    let with = match command {
        Some(Command::ProcessKill) => With::Command,
        _ if kill.query_only => With::Query,
        _ => With::Connection,
    };
    for (server, thread_id) in row.backends {
        if let Err(failure) = at_server(&driver.shared, &driver.identity, server, thread_id, with).await {
            victim.mark_killed(false);
            return answer(driver, Err(failure)).await;
        }
    }
    if kill.query_only {
        victim.interrupt();
    } else {
        victim.end();
    }
    answer(driver, Ok(())).await
}

async fn answer(driver: &mut Driver, result: Result<(), Failure>) -> Result<(), End> {
    let capabilities = driver.identity.capabilities;
    match result {
        Ok(()) => {
            driver.client.queue_ok(&OkPacket::new(driver.session.status()), capabilities);
            driver.flushed().await
        }
        Err(failure) => {
            driver.shared.metrics.statement_failed(fault(&failure));
            driver.client.fail(driver.client.next_seq(), &failure).await.map_err(|_| End::ClientLeft)
        }
    }
}

/// A connection of its own, since the session's backends may be busy or in a transaction.
pub(super) async fn at_server(
    shared: &Shared,
    identity: &Identity,
    server: ServerId,
    thread_id: u32,
    with: With,
) -> Result<(), Failure> {
    let address = shared.address(server);
    let lost = |how: String| Failure::OutcomeUnknown { server: address.clone(), how };
    let config = shared.live.snapshot();
    let account = config.user(identity.user.as_bytes()).ok_or_else(|| Failure::NoAccount(identity.user.clone()))?;
    let login = conn::Login {
        user: &account.name,
        password: &account.password,
        schema: None,
        capabilities: Capabilities::DEPRECATE_EOF,
        collation: identity.collation,
        max_packet: identity.max_packet,
        attributes: &identity.attributes,
    };
    let deadline = Instant::now() + DEADLINE;
    let backend = conn::connect(&address, &shared.backend_tls(), &login, deadline)
        .await
        .map_err(|error| error.refused().map_or_else(|| lost(error.to_string()), |err| Failure::Server(err.clone())))?;
    shared.metrics.server(server).opened();
    let mut link = BackendLink {
        server,
        stream: backend.stream,
        thread_id: backend.thread_id,
        capabilities: backend.capabilities,
        ahead: Vec::new(),
        tail: Vec::new(),
        runs_read: false,
        _admitted: shared.admission.connection_beyond_limit(server),
    };
    let payload = match with {
        With::Query => wire::query_payload(&format!("KILL QUERY {thread_id}"), link.capabilities),
        With::Connection => wire::query_payload(&format!("KILL CONNECTION {thread_id}"), link.capabilities),
        With::Command => [&[Command::ProcessKill as u8][..], &thread_id.to_le_bytes()].concat(),
    };
    match inject::inject(&mut link, Prelude::Track, &payload, DEADLINE).await {
        // It ended by itself meanwhile.
        Ok(Answer::Err(err)) if err.code == 1094 => Ok(()),
        Ok(Answer::Err(err)) => Err(Failure::Server(err)),
        Ok(_) => Ok(()),
        Err(error) => Err(lost(error.to_string())),
    }
}
