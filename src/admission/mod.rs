//! What decides whether one more is admitted, and how loaded each server is.
//!
//! Clients, connections to a server, logins at a server and statements that wait for a primary each have a limit. Every method that
//! admits returns a guard, and dropping the guard gives the place back, also when a session panics or is cancelled. The load of a
//! server is what routing balances by and what a switchover waits for. Metrics only mirror these numbers.

mod held;
mod logins;

pub use held::{Full, Held};
pub use logins::WAIT_MAX;

use crate::route::Load;
use crate::topology::ServerId;
use logins::Logins;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// All that is admitted by this process.
pub struct Admission {
    clients: AtomicU32,
    held: AtomicU32,
    held_bytes: AtomicU64,
    servers: Box<[Server]>,
    /// Counts for ids that are out of range.
    nowhere: Server,
}

/// What goes on at one server. Its own cache lines, since all sessions write here.
#[repr(align(128))]
struct Server {
    /// Commands sent and not answered to the end.
    in_flight: AtomicU32,
    /// Open connections of sessions.
    connections: AtomicU32,
    logins: Logins,
}

impl Server {
    fn new() -> Self {
        Self { in_flight: AtomicU32::new(0), connections: AtomicU32::new(0), logins: Logins::new() }
    }
}

impl Admission {
    /// For servers whose ids are below `servers`.
    #[must_use]
    pub fn new(servers: usize) -> Self {
        Self {
            clients: AtomicU32::new(0),
            held: AtomicU32::new(0),
            held_bytes: AtomicU64::new(0),
            servers: (0..servers).map(|_| Server::new()).collect(),
            nowhere: Server::new(),
        }
    }

    fn server(&self, id: ServerId) -> &Server {
        self.servers.get(usize::from(id.0)).unwrap_or(&self.nowhere)
    }

    /// Admits a client, unless there are `limit` already.
    #[must_use]
    pub fn client(self: &Arc<Self>, limit: u32) -> Option<Client> {
        // Counted first, so that of two that come at once not both are the last.
        let before = self.clients.fetch_add(1, Relaxed);
        let client = Client(self.clone());
        (before < limit).then_some(client)
    }

    /// Clients that are connected.
    #[must_use]
    pub fn clients(&self) -> u32 {
        self.clients.load(Relaxed)
    }

    /// Admits a connection to a server, unless `limit` are open.
    #[must_use]
    pub fn connection(self: &Arc<Self>, server: ServerId, limit: u32) -> Option<Connection> {
        let connection = self.connection_beyond_limit(server);
        (self.connections(server) <= limit).then_some(connection)
    }

    /// Counts a connection that no limit applies to.
    #[must_use]
    pub fn connection_beyond_limit(self: &Arc<Self>, server: ServerId) -> Connection {
        self.server(server).connections.fetch_add(1, Relaxed);
        Connection { admission: self.clone(), server }
    }

    /// Connections of sessions that are open to a server.
    #[must_use]
    pub fn connections(&self, server: ServerId) -> u32 {
        self.server(server).connections.load(Relaxed)
    }

    /// Counts a command that is sent to a server.
    #[must_use]
    pub fn command(&self, server: ServerId) -> InFlight<'_> {
        let in_flight = &self.server(server).in_flight;
        in_flight.fetch_add(1, Relaxed);
        InFlight(in_flight)
    }

    /// Commands that a server has not answered to the end.
    #[must_use]
    pub fn in_flight(&self, server: ServerId) -> u32 {
        self.server(server).in_flight.load(Relaxed)
    }

    /// What a server has to do already.
    #[must_use]
    pub fn load(&self, server: ServerId) -> Load {
        Load { outstanding: self.in_flight(server), connections: self.connections(server) }
    }
}

/// A client that is connected.
pub struct Client(Arc<Admission>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Relaxed);
    }
}

/// A connection of a session to a server.
pub struct Connection {
    admission: Arc<Admission>,
    server: ServerId,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.admission.server(self.server).connections.fetch_sub(1, Relaxed);
    }
}

/// A command that is not answered to its end.
pub struct InFlight<'a>(&'a AtomicU32);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: ServerId = ServerId(0);

    #[test]
    fn a_client_too_many_is_not_admitted_and_a_place_given_back_is_free() {
        let admission = Arc::new(Admission::new(0));
        let first = admission.client(2).unwrap();
        let _second = admission.client(2).unwrap();
        assert!(admission.client(2).is_none());
        assert_eq!(admission.clients(), 2);
        drop(first);
        assert!(admission.client(2).is_some());
    }

    #[test]
    fn a_connection_too_many_is_not_admitted_unless_no_limit_applies() {
        let admission = Arc::new(Admission::new(1));
        let first = admission.connection(SERVER, 1).unwrap();
        assert!(admission.connection(SERVER, 1).is_none());
        let _kill = admission.connection_beyond_limit(SERVER);
        assert_eq!(admission.load(SERVER).connections, 2);
        drop(first);
        assert_eq!(admission.connections(SERVER), 1);
    }

    #[test]
    fn what_is_out_of_range_counts_for_no_server() {
        let admission = Arc::new(Admission::new(1));
        let _command = admission.command(ServerId(7));
        assert_eq!(admission.in_flight(SERVER), 0);
    }

    /// A session that panics, or whose task is aborted, releases all that it holds.
    #[tokio::test]
    async fn a_session_that_ends_in_any_way_releases_all_it_holds() {
        for panics in [true, false] {
            let admission = Arc::new(Admission::new(1));
            let holder = admission.clone();
            let mut tasks = tokio::task::JoinSet::new();
            let (held, holding) = tokio::sync::oneshot::channel();
            tasks.spawn(async move {
                let _client = holder.client(1).unwrap();
                let _connection = holder.connection(SERVER, 1).unwrap();
                let _login = holder.login(SERVER).await.unwrap();
                let _command = holder.command(SERVER);
                let _statement = holder.hold(10, 1, 10).ok().unwrap();
                held.send(()).unwrap();
                assert!(!panics, "a defect");
                std::future::pending::<()>().await;
            });
            holding.await.unwrap();
            if !panics {
                tasks.abort_all();
            }
            assert!(tasks.join_next().await.unwrap().is_err());
            assert_eq!((admission.clients(), admission.held()), (0, 0));
            assert_eq!((admission.connections(SERVER), admission.in_flight(SERVER)), (0, 0));
            assert!(admission.hold(10, 1, 10).is_ok());
        }
    }
}
