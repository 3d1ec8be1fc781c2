//! What the doctor asks a server.

use crate::config::{BackendTls, User};
use crate::control::execute::{Access, Hand, StepError};
use crate::failover::Status;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long each question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found at one server.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// Its global variables by name, in lower case.
    pub variables: BTreeMap<String, String>,
    /// What the monitor's account may do, as the server words it, in upper case.
    pub grants: Vec<String>,
    /// What a failover goes by.
    pub status: Status,
    /// The heartbeat that it asks of its source, in milliseconds, when it has one.
    pub heartbeat_ms: Option<u64>,
    /// It replicates by GTID; `None` when it does not replicate.
    pub by_gtid: Option<bool>,
    /// Where it replicates from, as `host:port`.
    pub source: Option<String>,
    /// Its scheduled events, as far as the account may see them, and whether it has each enabled.
    pub events: BTreeMap<String, bool>,
    /// Names of its loaded plugins.
    pub plugins: Vec<String>,
}

/// Asks one server.
///
/// # Errors
/// It cannot be logged in to, or does not answer.
pub async fn look(address: &Arc<str>, user: &User, tls: &BackendTls) -> Result<Vitals, StepError> {
    let access = Access { user: user.clone(), tls: tls.clone(), step_timeout: PATIENCE };
    let mut hand = Hand::log_in(address, &access).await?;
    hand.vitals().await
}
