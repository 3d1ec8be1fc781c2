//! Opening a session's backends, and saying which it has.

use super::client::Driver;
use super::link::{BackendLink, Counted};
use crate::conn::{self, ConnectError};
use crate::topology::ServerId;
use std::time::Instant;

/// Opens a backend of the session at that server, logged in as its client is.
pub(super) async fn open(driver: &mut Driver, server: ServerId) -> Result<(), ConnectError> {
    let shared = driver.shared.clone();
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
        _counted: Counted::new(&shared.metrics, server),
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
