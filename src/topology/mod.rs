//! The shared nouns: which servers exist, what role each has in the cluster, and how far each one is.
//!
//! A [`Topology`] is immutable: `control` builds one, checks it and publishes it; all other rooms read it. It cannot
//! hold two primaries.

mod assemble;
mod defaults;
mod gtid;
mod lag;
mod observation;
mod stamp;

pub use assemble::assemble;
pub use defaults::Defaults;
pub use gtid::{
    GTID_TEXT_LEN_MAX, GtidError, GtidHistory, GtidSet, MariaDbGtidPosition, MariaDbGtidState, MySqlGtidSet, Origin,
};
pub use lag::{Behind, PositionHistory};
pub use observation::{Failure, Miss, Observation, Policy, Receiver, Replication, Seen, Source};
pub use stamp::Mark;

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// A server of the cluster: an index into the configured list, stable for the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ServerId(pub u16);

/// Counts the changes of the primary. A decision made under an older epoch is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// Which product a server is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Flavor {
    /// Oracle MySQL and its close relatives (Percona Server).
    MySql,
    /// MariaDB Server.
    MariaDb,
}

/// A server's role in the cluster, by its own report.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Writable, and replicating from no other server of the cluster that may accept writes itself.
    Primary,
    /// Read-only, or replicating from another server of the cluster.
    Replica,
    /// Unknown: never seen, or not answering.
    Unknown,
}

/// Whether a server can be used now; the text says why not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// Answers its probes.
    Up,
    /// Answers, and must not be read from (replication stopped, lag over the limit, ...).
    Unfit(String),
    /// Does not answer, or rejects the login.
    Down(String),
}

/// The facts of a server's greeting that a client must see too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Capability flags: MySQL's 32 bits below, MariaDB's extended 32 bits above.
    pub capabilities: u64,
    /// Version exactly as greeted (MariaDB below 11 prefixes `5.5.5-`).
    pub version: Vec<u8>,
    /// Default collation id (its low byte).
    pub collation: u8,
    /// Status flags of a new connection.
    pub status: u16,
    /// Default authentication plugin.
    pub auth_plugin: String,
}

/// One server as last seen.
#[derive(Clone, PartialEq, Debug)]
pub struct Server {
    /// Its index.
    pub id: ServerId,
    /// `host:port` as configured.
    pub address: Arc<str>,
    /// Its role in the cluster.
    pub role: Role,
    /// Whether it can be used.
    pub health: Health,
    /// Whether it accepts writes (`read_only` off), by its own report; `None` if not known: never seen, or down.
    pub writable: Option<bool>,
    /// `super_read_only` is on: no account may write, whatever its privileges. Never so on MariaDB, which has no such variable.
    pub super_read_only: bool,
    /// Product; `None` when never seen.
    pub flavor: Option<Flavor>,
    /// MySQL's `server_uuid` in lower case; `None` for MariaDB, which has none, and when never seen.
    pub server_uuid: Option<Arc<str>>,
    /// `server_id`; `None` when never seen.
    pub server_id: Option<u32>,
    /// Its greeting; `None` if never seen.
    pub hello: Option<Arc<Hello>>,
    /// What new sessions there begin with; empty if never seen.
    pub defaults: Arc<Defaults>,
    /// Replication lag in milliseconds: measured by position, else the server's own value in whole seconds; `None` for
    /// a primary or if not known.
    pub lag_ms: Option<u64>,
    /// Executed transactions (MySQL `gtid_executed`, MariaDB `gtid_current_pos`); `None` if GTIDs are off or unknown.
    pub gtid_executed: Option<Arc<GtidSet>>,
    /// What it was committing then (MySQL's `gtid_owned`): in its binary log perhaps, and so on replicas, and not shown by it yet. `None`:
    /// nothing, or not known. MariaDB's position has it already.
    pub gtid_committing: Option<Arc<GtidSet>>,
    /// When the latest probe began that it answered: everything that it had acknowledged by then is in `gtid_executed`.
    /// `None` if never seen.
    pub looked: Option<Instant>,
    /// When it became readable again after it was not; `None` if it always was, or never.
    pub returned: Option<Instant>,
    /// What the operator requested.
    pub mark: Mark,
}

impl Server {
    /// A server that has not been probed yet.
    pub fn unseen(id: ServerId, address: Arc<str>) -> Self {
        Self {
            id,
            address,
            role: Role::Unknown,
            health: Self::not_looked_at(),
            writable: None,
            super_read_only: false,
            flavor: None,
            server_uuid: None,
            server_id: None,
            hello: None,
            defaults: Arc::default(),
            lag_ms: None,
            gtid_executed: None,
            gtid_committing: None,
            looked: None,
            returned: None,
            mark: Mark::None,
        }
    }

    /// Whether its greeting has all of these capability flags; a server that was never seen has.
    pub fn offers(&self, capabilities: u64) -> bool {
        self.hello.as_ref().is_none_or(|hello| hello.capabilities & capabilities == capabilities)
    }

    /// The version as `SELECT VERSION()` has it, without the `5.5.5-` of MariaDB's greeting; `None` when never seen.
    pub fn version(&self) -> Option<String> {
        let version = &self.hello.as_ref()?.version;
        let bare = match self.flavor {
            Some(Flavor::MariaDb) => version.strip_prefix(b"5.5.5-".as_slice()).unwrap_or(version),
            Some(Flavor::MySql) | None => version,
        };
        Some(String::from_utf8_lossy(bare).into_owned())
    }
}

/// Which server accepts the writes.
#[derive(Clone, PartialEq, Debug)]
pub enum Writes {
    /// Exactly this server.
    Primary(ServerId),
    /// None; the text says what was seen. Writes wait.
    Nobody(String),
    /// These servers are all writable. Writes stop, because dbproxy cannot tell which of them is right.
    Conflict(Vec<ServerId>),
}

impl Writes {
    /// Whether both name the same servers; the text of [`Nobody`](Self::Nobody) does not matter.
    pub fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nobody(_), Self::Nobody(_)) => true,
            (this, other) => this == other,
        }
    }
}

/// The cluster at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Topology {
    /// Configured name.
    pub cluster: Arc<str>,
    /// Rises whenever `writes` changes.
    pub epoch: Epoch,
    /// Which server accepts the writes.
    pub writes: Writes,
    /// While no server accepts new writes: where open transactions may continue and end.
    pub draining: Option<ServerId>,
    /// All configured servers, indexed by [`ServerId`].
    pub servers: Vec<Arc<Server>>,
}

impl Topology {
    /// The cluster before any probe: no role is known, no server accepts writes, epoch 0.
    ///
    /// The addresses are `host:port`, at most 65536 of them; further ones are ignored.
    pub fn unseen(cluster: Arc<str>, addresses: &[Arc<str>]) -> Self {
        let servers =
            (0..=u16::MAX).zip(addresses).map(|(id, address)| Arc::new(Server::unseen(ServerId(id), address.clone())));
        Self {
            cluster,
            epoch: Epoch(0),
            writes: Writes::Nobody("no server has been looked at yet".to_owned()),
            draining: None,
            servers: servers.collect(),
        }
    }

    /// The server that accepts the writes, if there is exactly one.
    pub fn primary(&self) -> Option<&Arc<Server>> {
        match self.writes {
            Writes::Primary(id) => self.server(id),
            Writes::Nobody(_) | Writes::Conflict(_) => None,
        }
    }

    /// The server with this id.
    pub fn server(&self, id: ServerId) -> Option<&Arc<Server>> {
        self.servers.get(usize::from(id.0))
    }
}
