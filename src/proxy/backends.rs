//! Opening a session's backends, and saying which it has.

use super::client::Driver;
use super::link::{BackendLink, Counted};
use super::{Shared, doors};
use crate::conn::{self, ConnectError};
use crate::topology::{Health, ServerId};
use crate::wire::ErrPacket;
use std::time::Instant;
use tokio::sync::SemaphorePermit;

/// Why a backend could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The server, or the way to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// `limits.max_connections_per_server` connections are open to it.
    #[error("limits.max_connections_per_server = {0} reached")]
    Full(u32),
    /// Too many logins at it go on.
    #[error("no turn to log in at {server} within {} s", doors::WAIT_MAX.as_secs())]
    NoTurn {
        /// Its address.
        server: String,
    },
    /// It went down while its door was waited at.
    #[error("{0} went down")]
    WentDown(String),
}

impl OpenError {
    /// Whether the server, or the way to it, is to be looked at.
    pub(super) fn is_of_server(&self) -> bool {
        match self {
            Self::Connect(error) => !error.is_exhaustion(),
            Self::WentDown(_) => true,
            Self::Full(_) | Self::NoTurn { .. } => false,
        }
    }

    /// What to tell the client, if this is an answer to it and no fault of the moment: the server's own word, or what it
    /// would say with as many connections as there can be.
    pub(super) fn refused(&self) -> Option<ErrPacket> {
        match self {
            Self::Connect(error) if error.is_exhaustion() => Some(ErrPacket::new(
                1040,
                *b"08004",
                format!("Too many connections: dbproxy cannot open one to {error}"),
            )),
            Self::Connect(error) => error.refused().cloned(),
            Self::WentDown(_) => None,
            Self::Full(_) | Self::NoTurn { .. } => {
                Some(ErrPacket::new(1040, *b"08004", format!("Too many connections: {self}")))
            }
        }
    }
}

/// Waits for the session's turn to log in at a server. Given up when the client leaves or the server goes down.
async fn turn<'a>(driver: &mut Driver, shared: &'a Shared, server: ServerId) -> Result<SemaphorePermit<'a>, OpenError> {
    let no_turn = || OpenError::NoTurn { server: shared.address(server) };
    let (client, topology) = (&mut driver.client, &mut driver.topology);
    let entering = shared.doors.enter(server);
    tokio::pin!(entering);
    loop {
        tokio::select! {
            biased;
            turn = &mut entering => return turn.ok_or_else(no_turn),
            () = std::future::poll_fn(|cx| client.poll_gone(cx)) => return Err(no_turn()),
            () = topology.changed() => {
                let now = topology.load();
                if now.server(server).is_some_and(|server| matches!(server.health, Health::Down(_))) {
                    return Err(OpenError::WentDown(shared.address(server)));
                }
            }
        }
    }
}

/// Opens a backend of the session at that server, logged in as its client is.
pub(super) async fn open(driver: &mut Driver, server: ServerId) -> Result<(), OpenError> {
    let shared = driver.shared.clone();
    let limit = shared.live.load().limits.max_connections_per_server;
    let counted = Counted::within(&shared.metrics, server, limit).ok_or(OpenError::Full(limit))?;
    let _turn = turn(driver, &shared, server).await?;
    let primary = driver.topology.load().primary().is_some_and(|primary| primary.id == server);
    let deadline = Instant::now() + shared.live.load().backend.connect_timeout;
    let identity = &driver.identity;
    let login = conn::Login {
        user: &identity.user.name,
        password: &identity.user.password,
        schema: driver.session.schema(),
        capabilities: driver.session.capabilities(),
        collation: identity.collation,
        max_packet: identity.max_packet,
        attributes: &identity.attributes,
    };
    let address = shared.address(server);
    let backend = conn::connect(&address, &shared.backend_tls(), &login, deadline).await?;
    driver.session.connected(server, backend.status, primary);
    driver.backends.push(BackendLink {
        server,
        stream: backend.stream,
        thread_id: backend.thread_id,
        capabilities: backend.capabilities,
        ahead: Vec::new(),
        tail: Vec::new(),
        _counted: counted,
    });
    driver.show_backends();
    Ok(())
}

impl Driver {
    /// Tells the registry which backends the session has.
    pub(super) fn show_backends(&self) {
        let backends = self.backends.iter().map(|backend| (backend.server, backend.thread_id)).collect();
        self.entry.show_backends(backends);
    }
}
