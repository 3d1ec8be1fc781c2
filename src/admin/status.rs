//! The state of everything in one value: `/status`, `dbproxy status`, `SHOW SERVERS`, `SHOW STATUS`.

use super::View;
use crate::control::Standing;
use crate::failover::Phase;
use crate::telemetry::problem_word;
use crate::topology::{Health, Role, Server, Topology, Writes};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// The state of everything. Field names are promised: see `docs/operations.md`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The cluster as a whole.
    pub cluster: ClusterStatus,
    /// Each server, in the order of the configuration.
    pub servers: Vec<ServerStatus>,
    /// The failover.
    pub failover: FailoverStatus,
    /// dbproxy itself.
    pub proxy: ProxyStatus,
}

/// The cluster as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Configured name.
    pub name: String,
    /// Rises whenever the primary changes.
    pub epoch: u64,
    /// Address of the primary.
    pub primary: Option<String>,
    /// `ok`; `degraded`: some server may not be used; `no_primary`, `conflict`: writes wait.
    pub state: String,
    /// Why writes wait, if they do.
    pub reason: Option<String>,
}

/// One server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerStatus {
    /// `host:port` as configured.
    pub address: String,
    /// `primary`, `replica` or `unknown`.
    pub role: String,
    /// `up`, `unfit` (answers, and must not be read from) or `down`.
    pub state: String,
    /// Why it is not up.
    pub reason: Option<String>,
    /// What the operator requested: `drain` or `maintenance`.
    #[serde(default)]
    pub mark: Option<String>,
    /// Replication lag in milliseconds; none for a primary or when not known.
    pub lag_ms: Option<u64>,
    /// Transactions executed, as the server writes GTIDs.
    pub gtid_executed: Option<String>,
    /// Version as greeted.
    pub version: Option<String>,
    /// Connections open to it, the monitor's not counted.
    pub connections: u32,
    /// Commands that it answered.
    pub queries: u64,
}

/// How the failover stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailoverStatus {
    /// `auto`, `observe` or `manual`: the mode in force.
    pub mode: String,
    /// Why the mode in force is not the configured one.
    pub mode_reason: Option<String>,
    /// `healthy`, `suspect`, `failing_over`, `switching_over`, `blocked`, ...
    pub state: String,
    /// How far a change has got, or why it is blocked.
    pub detail: Option<String>,
    /// The problem's name; `none`: no problem.
    pub problem: String,
    /// What to know or do about it.
    pub advice: String,
    /// Highest epoch that was opened.
    pub epoch: u64,
    /// `dbproxy pause` is in force.
    pub paused: bool,
    /// Why there is no automatic failover until `dbproxy acknowledge`.
    pub hold: Option<String>,
    /// Servers that serve nothing until they are proven clean.
    pub quarantined: Vec<Quarantined>,
}

/// A server that serves nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantined {
    /// `host:port` as configured.
    pub server: String,
    /// The reason.
    pub reason: String,
}

/// dbproxy itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// Version.
    pub version: String,
    /// Seconds since start.
    pub uptime_s: u64,
    /// Clients connected.
    pub clients: u32,
    /// Statements that wait for a primary.
    #[serde(default)]
    pub held: u32,
    /// Commands per second over the last five seconds.
    pub qps: f64,
}

impl Status {
    /// The state at this moment.
    #[must_use]
    pub fn of(view: &View, now: Instant) -> Self {
        let topology = view.topology.load();
        let metrics = &view.metrics;
        Self {
            cluster: ClusterStatus::of(&topology),
            servers: topology.servers.iter().map(|server| ServerStatus::of(server, view)).collect(),
            failover: FailoverStatus::of(&view.operator.standing(), &topology),
            proxy: ProxyStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_s: now.saturating_duration_since(metrics.started()).as_secs(),
                clients: view.admission.clients(),
                held: view.admission.held(),
                qps: (metrics.qps() * 10.0).round() / 10.0,
            },
        }
    }
}

impl FailoverStatus {
    fn of(standing: &Standing, topology: &Topology) -> Self {
        let (state, detail) = phase(&standing.phase);
        let address = |id| topology.server(id).map(|server| server.address.to_string()).unwrap_or_default();
        let quarantined =
            standing.quarantined().map(|(id, why)| Quarantined { server: address(id), reason: why.to_owned() });
        Self {
            mode: standing.mode.clone(),
            mode_reason: standing.mode_reason.clone(),
            state: state.to_owned(),
            detail,
            problem: problem_word(standing.problem).to_owned(),
            advice: standing.advice.clone(),
            epoch: standing.epoch,
            paused: standing.paused,
            hold: standing.hold.clone(),
            quarantined: quarantined.collect(),
        }
    }
}

fn phase(phase: &Phase) -> (&'static str, Option<String>) {
    match phase {
        Phase::Healthy => ("healthy", None),
        Phase::NoPrimary => ("no_primary", None),
        Phase::Suspect => ("suspect", None),
        Phase::UnreachableFromProxy => ("unreachable_from_proxy", None),
        Phase::TurnsUsAway => ("turns_us_away", None),
        Phase::WriteStalled => ("write_stalled", None),
        Phase::Isolated => ("isolated", None),
        Phase::FailingOver(stage) => ("failing_over", Some(stage.name().to_owned())),
        Phase::SwitchingOver(stage) => ("switching_over", Some(stage.name().to_owned())),
        Phase::Blocked(why) => ("blocked", Some(why.clone())),
    }
}

impl ClusterStatus {
    fn of(topology: &Topology) -> Self {
        let (state, reason) = match &topology.writes {
            Writes::Nobody(why) => ("no_primary", Some(why.clone())),
            Writes::Conflict(servers) => {
                let addresses: Vec<_> =
                    servers.iter().filter_map(|id| topology.server(*id)).map(|server| &*server.address).collect();
                ("conflict", Some(format!("more than one server is writable: {}", addresses.join(", "))))
            }
            Writes::Primary(_) if topology.servers.iter().all(|server| server.health == Health::Up) => ("ok", None),
            Writes::Primary(_) => ("degraded", None),
        };
        Self {
            name: topology.cluster.to_string(),
            epoch: topology.epoch.0,
            primary: topology.primary().map(|server| server.address.to_string()),
            state: state.to_owned(),
            reason,
        }
    }
}

impl ServerStatus {
    fn of(server: &Server, view: &View) -> Self {
        let (state, reason) = match &server.health {
            Health::Up => ("up", None),
            Health::Unfit(why) => ("unfit", Some(why.clone())),
            Health::Down(why) => ("down", Some(why.clone())),
        };
        let role = match server.role {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Unknown => "unknown",
        };
        Self {
            address: server.address.to_string(),
            role: role.to_owned(),
            state: state.to_owned(),
            reason,
            mark: server.mark.as_str().map(str::to_owned),
            lag_ms: server.lag_ms,
            gtid_executed: server.gtid_executed.as_ref().map(ToString::to_string),
            version: server.version(),
            connections: view.admission.connections(server.id),
            queries: view.metrics.queries(server.id),
        }
    }
}
