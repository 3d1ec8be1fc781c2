//! What the operator sees of a running dbproxy: HTTP (`http`) and SQL (`sql`), both built from one [`View`].
//!
//! Reads snapshots; changes nothing. Imports `conn`, `config`, `telemetry`, `topology`; is handed its listeners.

pub mod http;
pub mod sql;
pub mod status;

use crate::admission::Admission;
use crate::config::Live;
use crate::conn::{Registry, TopologyWatch};
use crate::control::Operator;
use crate::telemetry::Metrics;
use std::sync::Arc;
use tokio::sync::watch;

/// Everything that can be shown; cheap to clone.
#[derive(Clone)]
pub struct View {
    /// The cluster.
    pub topology: TopologyWatch,
    /// The sessions.
    pub registry: Arc<Registry>,
    /// Who is admitted, and the load of the servers.
    pub admission: Arc<Admission>,
    /// The counts.
    pub metrics: Arc<Metrics>,
    /// The configuration.
    pub config: Live,
    /// The failover: its state, and the commands that it accepts.
    pub operator: Operator,
    /// True while dbproxy is being shut down.
    pub draining: watch::Receiver<bool>,
}
