//! The data plane: accepts clients, drives one session each, relays what servers answer.
//!
//! Imports `conn`, `session`, `route`, `topology`, `wire`, `config`, `telemetry`. Never imports `control` or `admin`:
//! it meets them in the [`crate::conn::TopologyWatch`] and the [`crate::conn::Registry`].

mod abandoned;
mod acknowledgements;
mod backends;
mod client;
mod client_link;
mod counting;
mod exchange;
mod explain;
mod explanation;
mod idle;
mod inject;
mod kill;
mod limit;
mod link;
mod listener;
mod login;
mod parser;
mod positions;
mod relay;
mod structures;
mod tunnel;
mod upload;

pub use acknowledgements::Acknowledgements;
pub use explanation::explanation;
pub use listener::serve;
pub use login::KnownSchemas;
pub use structures::Structures;

use crate::admission::{Admission, Connection};
use crate::config::Live;
use crate::conn::{BackendTls, Frontend, Registry, TopologyWatch};
use crate::route::Load;
use crate::telemetry::Metrics;
use crate::topology::ServerId;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Semaphore;

/// Statements that were given up and are being ended at the same time, at most.
pub const ABANDONED_AT_ONCE: usize = 16;

/// What all sessions share.
pub struct Shared {
    /// The configuration in force.
    pub live: Live,
    /// The cluster as last seen.
    pub topology: TopologyWatch,
    /// The live sessions.
    pub registry: Arc<Registry>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How clients are greeted and authenticated.
    pub frontend: Frontend,
    /// How servers are connected to; replaced on reload.
    pub backend_tls: ArcSwap<BackendTls>,
    /// Who is admitted, and the load of the servers.
    pub admission: Arc<Admission>,
    /// Schemas that a login was accepted with a moment ago.
    pub schemas: login::KnownSchemas,
    /// Statements taken apart, and the parser's verdicts on proven reads.
    pub structures: Structures,
    /// What all clients together were told to be written.
    pub acknowledgements: Acknowledgements,
    /// How many statements that were given up may be ended at once.
    pub abandoned: Semaphore,
    /// The file descriptors kept for clients that are turned away are not all there: none is spent on a backend.
    pub short_of_descriptors: AtomicBool,
}

impl Shared {
    /// Takes over the names of the rules, at the start and on reload.
    pub fn count_rules(&self) {
        self.metrics.rules().set(self.live.load().routing.policy.rules.iter().map(|rule| &rule.name));
    }

    /// Takes over what of a reloaded configuration is made into something else first: certificates. What cannot be read
    /// stays as it was, and is logged.
    pub fn reload(&self) {
        self.count_rules();
        if let Err(error) = self.frontend.reload() {
            tracing::error!(%error, "the certificate shown to clients stays as it was");
        }
        match BackendTls::load(&self.live.load().backend.tls) {
            Ok(tls) => self.backend_tls.store(Arc::new(tls)),
            Err(error) => tracing::error!(%error, "TLS to the servers stays as it was"),
        }
    }

    /// Admits and counts a connection that is about to be opened, unless `limit` are open.
    fn connection(&self, server: ServerId, limit: u32) -> Option<Connection> {
        let connection = self.admission.connection(server, limit)?;
        self.metrics.server(server).opened();
        Some(connection)
    }

    /// What a server has to do already.
    fn load(&self, server: ServerId) -> Load {
        self.admission.load(server)
    }

    fn cluster(&self) -> String {
        self.topology.load().cluster.to_string()
    }

    fn address(&self, server: ServerId) -> String {
        self.topology.load().server(server).map(|server| server.address.to_string()).unwrap_or_default()
    }

    fn backend_tls(&self) -> Arc<BackendTls> {
        self.backend_tls.load_full()
    }
}
