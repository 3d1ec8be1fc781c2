//! Whether a cluster is fit for a failover: what must be so, what had better be, and the statement that makes it so.
//!
//! `look` asks, [`examine`] judges; the judgement is on plain values, so that each rule is tested without a server.

mod look;
mod rules;

pub use look::{Vitals, look};
pub use rules::{REACHABLE, examine};

use crate::config::{BackendTls, Config, User};
use serde::{Deserialize, Serialize};

/// How much depends on a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Without it a failover is impossible, or could lose what was acknowledged.
    Must,
    /// With it a failover is quicker, or what goes wrong is easier to mend.
    Advice,
}

/// What a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// How the cluster is set up: it does not change by itself.
    Setup,
    /// How it is just now: a server that is down may come back.
    Moment,
}

/// One rule, applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub rule: String,
    /// How much depends on it.
    pub weight: Weight,
    /// What it is about.
    pub about: About,
    /// The server that it was applied to; `None`: the cluster, or dbproxy's configuration.
    pub server: Option<String>,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub found: String,
    /// What to do where it does not hold: statements for that server, or what to put into which file.
    pub fix: Option<String>,
}

/// What the doctor asks with, and what it judges by.
#[derive(Clone)]
pub struct Patient {
    /// The configuration.
    pub config: Config,
}

impl Patient {
    fn user(&self) -> &User {
        &self.config.monitor.user
    }

    fn tls(&self) -> &BackendTls {
        &self.config.backend.tls
    }
}

/// Looks at every server and judges.
pub async fn diagnose(patient: &Patient) -> Vec<Check> {
    let mut vitals = Vec::new();
    for address in &patient.config.cluster.servers {
        vitals.push((address.clone(), look(address, patient.user(), patient.tls()).await));
    }
    examine(&patient.config, &vitals)
}

/// Why there can be no automatic failover with this cluster as it is set up; `None`: there can.
#[must_use]
pub fn against_auto(checks: &[Check]) -> Option<String> {
    let against =
        checks.iter().filter(|check| !check.holds && check.weight == Weight::Must && check.about == About::Setup);
    let told = |check: &Check| match &check.server {
        Some(server) => format!("{server}: {}: {}", check.rule, check.found),
        None => format!("{}: {}", check.rule, check.found),
    };
    let told: Vec<_> = against.map(told).collect();
    (!told.is_empty()).then(|| told.join("; "))
}
