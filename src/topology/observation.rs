//! What one look at one server saw. Plain values: `control` makes them, [`assemble`](super::assemble()) judges them.

use super::{Behind, Defaults, Flavor, GtidSet, Hello, ServerId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How observations are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How long a server may fail its probes before it is down. A refused connection counts at once: then nobody listens.
    pub down_after: Duration,
    /// A replica whose lag is over this is not read from; `None`: whatever its lag.
    pub lag_limit: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { down_after: Duration::from_secs(1), lag_limit: Some(Duration::from_secs(10)) }
    }
}

/// The latest look at one server.
#[derive(Clone, PartialEq, Debug)]
pub struct Observation {
    /// Which server.
    pub server: ServerId,
    /// What it answered, or how it failed to.
    pub result: Result<Seen, Miss>,
}

/// A server that did not answer, this time or several times in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Miss {
    /// The latest cause.
    pub failure: Failure,
    /// Probes that failed since the last one that did not; at least 1.
    pub probes: u32,
    /// From the start of the first of them to the end of the last.
    pub lasting: Duration,
}

impl Miss {
    /// The server answered something that a client had asked it `ago` before the last of these probes was over: so far it was alive, and
    /// just slow. A refused connection stays one: nobody listens.
    pub fn answered_clients(&mut self, ago: Duration) {
        self.lasting = self.lasting.min(ago);
    }
}

/// Why a server did not answer. The text of each is meant for the operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Nobody listens at that address.
    Refused,
    /// No answer within the limit.
    Timeout,
    /// The connection stands, but the server does not greet: it hangs, or is stopped.
    NoGreeting,
    /// The server does not let the monitor in (1044, 1045, 1130, 1698, …); its own text.
    AccessDenied(String),
    /// The server is at its connection limit (1040, 1203).
    TooManyConnections,
    /// The server has blocked this host after too many broken connections (1129).
    HostBlocked,
    /// The connection came about and ended without an answer: reset, or closed.
    Broken(String),
    /// Anything else; a server said it, so a server is there.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::NoGreeting => f.write_str("accepts connections but does not greet: it hangs or is stopped"),
            Self::AccessDenied(text) => {
                write!(f, "refuses the monitor's account (user or password of [monitor]): {text}")
            }
            Self::TooManyConnections => f.write_str("too many connections: the monitor finds no free one"),
            Self::HostBlocked => {
                f.write_str("has blocked this host (1129): FLUSH HOSTS or TRUNCATE performance_schema.host_cache there")
            }
            Self::Broken(text) | Self::Other(text) => f.write_str(text),
        }
    }
}

/// What a server that answered said of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// Product.
    pub flavor: Flavor,
    /// Its greeting; `None` when it was not read yet.
    pub hello: Option<Arc<Hello>>,
    /// MySQL's `server_uuid`; `None` for MariaDB.
    pub server_uuid: Option<Arc<str>>,
    /// `server_id`.
    pub server_id: u32,
    /// `read_only` is anything but off.
    pub read_only: bool,
    /// `super_read_only` is on (MySQL only).
    pub super_read_only: bool,
    /// Where it replicates from.
    pub replication: Replication,
    /// Lag as measured by position ([`PositionHistory`](super::PositionHistory)), if it could be.
    pub behind: Option<Behind>,
    /// Transactions that a new session there sees; `None` when GTIDs are off or unreadable.
    pub gtid_executed: Option<Arc<GtidSet>>,
    /// Transactions that it is committing; `None`: none, or not known.
    pub gtid_committing: Option<Arc<GtidSet>>,
    /// What new sessions there begin with.
    pub defaults: Arc<Defaults>,
}

/// Where a server replicates from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replication {
    /// These sources are configured; often none or one.
    From(Vec<Source>),
    /// The monitor's account may not ask; the text names the privilege.
    NotReadable(String),
}

/// One configured source of a replica: a channel, in MySQL's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Host as configured there.
    pub host: String,
    /// Port as configured there.
    pub port: u16,
    /// The source's `server_uuid`, once the replica has talked to it (MySQL).
    pub server_uuid: Option<String>,
    /// The source's `server_id`, once the replica has talked to it.
    pub server_id: Option<u32>,
    /// The thread that receives.
    pub receiver: Receiver,
    /// Whether the thread that applies runs.
    pub applying: bool,
    /// Lag in milliseconds by the replica's own word, which is in whole seconds; `None` when it can't tell, as when a thread
    /// does not run.
    pub lag_ms: Option<u64>,
    /// The last error of either thread, as `number: text`.
    pub error: Option<String>,
}

/// State of the thread that receives from a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// Connected.
    Running,
    /// Started, not connected: the source can't be reached or refuses.
    Connecting,
    /// Not started, or ended by an error.
    Stopped,
}
