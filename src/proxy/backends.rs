//! Opening a session's backends, and saying which it has.

use super::Shared;
use super::client::Driver;
use super::link::BackendLink;
use crate::admission::{self, Connection};
use crate::config::{Config, ConnectionIds};
use crate::conn::{self, ConnectError, TopologyWatch};
use crate::session::Failure;
use crate::topology::{Health, ServerId, Topology};
use crate::wire::{Capabilities, ErrPacket, Status};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::SemaphorePermit;

/// Longest that a client waits for its greeting because the primary's is waited for.
const GREETING_WAIT_MAX: Duration = Duration::from_secs(1);

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
    #[error("no turn to log in at {server} within {} s", admission::WAIT_MAX.as_secs())]
    NoTurn {
        /// Its address.
        server: String,
    },
    /// It went down while it was waited for.
    #[error("{0} is down")]
    WentDown(String),
    /// It lacks what the client agreed on with the servers that were there when it logged in.
    #[error("{server} lacks {missing}, which this client agreed on in its login")]
    Lacks {
        /// Its address.
        server: String,
        /// Names of the flags.
        missing: String,
    },
    /// The account was taken out of the configuration.
    #[error("account {0} is not in the configuration any more")]
    NoAccount(Arc<str>),
}

impl OpenError {
    /// Whether the server, or the way to it, is to be looked at.
    pub(super) fn is_of_server(&self) -> bool {
        match self {
            Self::Connect(error) => !error.is_exhaustion(),
            Self::WentDown(_) | Self::Lacks { .. } => true,
            Self::Full(_) | Self::NoTurn { .. } | Self::NoAccount(_) => false,
        }
    }

    /// What ends the session: no server could be asked for it later either.
    pub(super) fn ends_session(&self) -> Option<Failure> {
        match self {
            Self::Lacks { server, missing } => {
                Some(Failure::LacksCapability { server: server.clone(), missing: missing.clone() })
            }
            Self::NoAccount(user) => Some(Failure::NoAccount(user.clone())),
            _ => None,
        }
    }

    /// The server's own refusal of the login.
    pub(super) fn refused_by_server(&self) -> Option<ErrPacket> {
        match self {
            Self::Connect(error) => error.refused().cloned(),
            Self::WentDown(_) | Self::Full(_) | Self::NoTurn { .. } | Self::Lacks { .. } | Self::NoAccount(_) => None,
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
            Self::WentDown(_) | Self::Lacks { .. } => None,
            Self::NoAccount(user) => Some(ErrPacket::from(&Failure::NoAccount(user.clone()))),
            Self::Full(_) | Self::NoTurn { .. } => {
                Some(ErrPacket::new(1040, *b"08004", format!("Too many connections: {self}")))
            }
        }
    }
}

/// Waits for the session's turn to log in at a server. Given up when the client leaves.
async fn turn<'a>(driver: &mut Driver, shared: &'a Shared, server: ServerId) -> Result<SemaphorePermit<'a>, OpenError> {
    let no_turn = || OpenError::NoTurn { server: shared.address(server) };
    let client = &mut driver.client;
    tokio::select! {
        biased;
        turn = shared.admission.login(server) => turn.ok_or_else(no_turn),
        () = std::future::poll_fn(|cx| client.poll_gone(cx)) => Err(no_turn()),
    }
}

/// A connection to the primary for a client that has not been greeted yet, so that it can be greeted with its id.
pub(super) struct Early {
    server: ServerId,
    reached: conn::Reached,
    admitted: Connection,
}

impl Early {
    /// Reaches the primary; `None` when there is none, or it cannot be reached within [`GREETING_WAIT_MAX`]. Cancel-safe.
    pub(super) async fn reach(shared: &Shared) -> Option<Self> {
        if shared.short_of_descriptors.load(Ordering::Relaxed) {
            return None;
        }
        let server = shared.topology.load().primary()?.id;
        let limit = shared.live.load().limits.max_connections_per_server;
        let admitted = shared.connection(server, limit)?;
        let wait = GREETING_WAIT_MAX.min(shared.live.load().backend.connect_timeout);
        match conn::reach(&shared.address(server), Instant::now() + wait).await {
            Ok(reached) => Some(Self { server, reached, admitted }),
            Err(error) => {
                tracing::debug!(%error, "a client is greeted with an id of the proxy's");
                None
            }
        }
    }

    /// The primary's id of it.
    pub(super) fn thread_id(&self) -> u32 {
        self.reached.thread_id()
    }
}

/// Opens the backend that the client was greeted for. Nothing but a server's refusal of the login is an error: another is opened
/// when it is needed.
pub(super) async fn open_early(driver: &mut Driver) -> Result<(), ErrPacket> {
    let Some(server) = driver.early.as_ref().map(|early| early.server) else { return Ok(()) };
    open(driver, server).await.or_else(|error| error.refused().map_or(Ok(()), Err))
}

/// Opens a backend of the session at that server, logged in as its client is. Given up when the server is seen to be down.
pub(super) async fn open(driver: &mut Driver, server: ServerId) -> Result<(), OpenError> {
    let (mut topology, address) = (driver.topology.clone(), driver.shared.address(server));
    tokio::select! {
        biased;
        opened = log_in(driver, server) => opened,
        () = down(&mut topology, server) => Err(OpenError::WentDown(address)),
    }
}

async fn down(topology: &mut TopologyWatch, server: ServerId) {
    let is_down =
        |topology: &Topology| topology.server(server).is_some_and(|server| matches!(server.health, Health::Down(_)));
    while !is_down(&topology.load()) {
        topology.changed().await;
    }
}

async fn log_in(driver: &mut Driver, server: ServerId) -> Result<(), OpenError> {
    let shared = driver.shared.clone();
    let limit = shared.live.load().limits.max_connections_per_server;
    if let Some(hello) = driver.topology.load().server(server).and_then(|server| server.hello.clone()) {
        driver.lacking(server, Capabilities(hello.capabilities))?;
    }
    let early = driver.early.take_if(|early| early.server == server);
    let (reached, admitted) = match early {
        Some(early) => (Some(early.reached), early.admitted),
        None => (None, shared.connection(server, limit).ok_or(OpenError::Full(limit))?),
    };
    let _turn = turn(driver, &shared, server).await?;
    if shared.short_of_descriptors.load(Ordering::Relaxed) {
        return Err(ConnectError::no_descriptors(shared.address(server)).into());
    }
    let primary = driver.topology.load().primary().is_some_and(|primary| primary.id == server);
    let began = Instant::now();
    let deadline = began + shared.live.load().backend.connect_timeout;
    let config = shared.live.snapshot();
    let login = driver.login(&config)?;
    let address = shared.address(server);
    let tls = shared.backend_tls();
    let early = match reached {
        Some(reached) => match conn::log_in(reached, &address, &tls, &login, deadline).await {
            Err(error) if error.refused().is_some() => return Err(error.into()),
            // It waited for its turn for so long that the server gave it up.
            logged_in => logged_in.ok(),
        },
        None => None,
    };
    let backend = match early {
        Some(backend) => backend,
        None => conn::connect(&address, &tls, &login, deadline).await?,
    };
    driver.topology.heard(server, began);
    // The server may be another version than when it was last looked at.
    driver.lacking(server, backend.capabilities)?;
    connected(driver, server, backend.status, primary);
    driver.backends.push(BackendLink {
        server,
        stream: backend.stream,
        thread_id: backend.thread_id,
        capabilities: backend.capabilities,
        ahead: Vec::new(),
        tail: Vec::new(),
        runs_read: false,
        _admitted: admitted,
    });
    driver.show_backends();
    Ok(())
}

fn connected(driver: &mut Driver, server: ServerId, status: Status, primary: bool) {
    driver.session.connected(server, status, primary);
    let topology = driver.topology.load();
    if let Some(seen) = topology.server(server) {
        driver.session.begun_with(server, &seen.defaults, status);
    }
}

/// Logs in anew on the connection that the client was greeted for, after COM_CHANGE_USER: it keeps its id. Nothing but a server's
/// refusal is an error.
pub(super) async fn open_again(driver: &mut Driver, kept: BackendLink) -> Result<(), ErrPacket> {
    let (shared, server) = (driver.shared.clone(), kept.server);
    let primary = driver.topology.load().primary().is_some_and(|primary| primary.id == server);
    let began = Instant::now();
    let deadline = began + shared.live.load().backend.connect_timeout;
    let config = shared.live.snapshot();
    // It has just logged in, so it has an account.
    let Ok(login) = driver.login(&config) else { return Ok(()) };
    let (address, tls) = (shared.address(server), shared.backend_tls());
    let before = (kept.stream, kept.capabilities);
    match conn::log_in_again(before, &address, &tls, &login, deadline).await {
        Ok((stream, status)) => {
            driver.topology.heard(server, began);
            connected(driver, server, status, primary);
            driver.backends.push(BackendLink { stream, ..kept });
            driver.show_backends();
            Ok(())
        }
        Err(error) => error.refused().cloned().map_or(Ok(()), Err),
    }
}

impl Driver {
    /// Who a backend is told that the client is.
    ///
    /// The password is that of the configuration in force, which may have changed since the client logged in.
    fn login<'a>(&'a self, config: &'a Config) -> Result<conn::Login<'a>, OpenError> {
        let identity = &self.identity;
        let account = config.user(identity.user.as_bytes());
        let account = account.ok_or_else(|| OpenError::NoAccount(identity.user.clone()))?;
        Ok(conn::Login {
            user: &account.name,
            password: &account.password,
            schema: self.session.schema(),
            capabilities: self.session.capabilities(),
            collation: identity.collation,
            max_packet: identity.max_packet,
            attributes: &identity.attributes,
        })
    }

    /// What the session's client relies on that a server with these capabilities lacks.
    fn lacking(&self, server: ServerId, offered: Capabilities) -> Result<(), OpenError> {
        let missing = self.session.relied_on() & !offered;
        if missing == Capabilities::default() {
            return Ok(());
        }
        Err(OpenError::Lacks { server: self.shared.address(server), missing: missing.names() })
    }

    /// The connection to the primary, at rest, that a client keeps which was greeted with its id there.
    pub(super) fn take_kept(&mut self) -> Option<BackendLink> {
        if self.shared.live.load().listen.connection_ids != ConnectionIds::Server {
            return None;
        }
        let primary = self.topology.load().primary()?.id;
        let at = self.backends.iter().position(|backend| backend.server == primary)?;
        let mut kept = self.backends.swap_remove(at);
        // Of statements that the server forgets.
        kept.ahead.clear();
        kept.tail.is_empty().then_some(kept)
    }

    /// Tells the registry which backends the session has.
    pub(super) fn show_backends(&self) {
        let backends = self.backends.iter().map(|backend| (backend.server, backend.thread_id)).collect();
        self.entry.show_backends(backends);
    }
}
