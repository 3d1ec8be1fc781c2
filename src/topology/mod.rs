//! The shared nouns: which servers there are, what each is to the cluster, how far each has got.
//!
//! Imports nothing of dbproxy. A [`Topology`] is immutable: `control` builds one, checks it and publishes it;
//! everybody else reads it. It cannot hold two primaries.

mod gtid;

pub use gtid::{GtidError, GtidSet, MariaDbGtidPosition, MySqlGtidSet};

use std::sync::Arc;

/// A server of the cluster: an index into the configured list, stable for the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ServerId(pub u16);

/// Counts the changes of "who takes the writes". A decision made under an older epoch is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Epoch(pub u64);

/// Which product a server is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Flavor {
    /// Oracle MySQL and its close relatives (Percona Server).
    MySql,
    /// MariaDB Server.
    MariaDb,
}

/// What a server is to the cluster, by its own word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Writable, and replicating from no other server of the cluster.
    Primary,
    /// Read-only, or replicating from another server of the cluster.
    Replica,
    /// Not known: never seen, or not answering.
    Unknown,
}

/// Whether a server may be used now; the text says why not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// Answers its probes.
    Up,
    /// Answers, and must not be read from (replication stopped, lag over the limit, ...).
    Unfit(String),
    /// Does not answer, or refuses us.
    Down(String),
}

/// The facts of a server's greeting that a client of ours must see too.
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
    /// What it is to the cluster.
    pub role: Role,
    /// Whether it may be used.
    pub health: Health,
    /// Whether it accepts writes (`read_only` off), by its own word; `None` when never seen.
    pub writable: Option<bool>,
    /// Product; `None` when never seen.
    pub flavor: Option<Flavor>,
    /// What it greets with; `None` when never seen.
    pub hello: Option<Arc<Hello>>,
    /// Global `sql_mode` has `ANSI_QUOTES`: `"x"` is an identifier in new sessions.
    pub ansi_quotes: bool,
    /// Replication lag in milliseconds; `None` for a primary or when not known.
    pub lag_ms: Option<u64>,
    /// Transactions executed (MySQL `gtid_executed`, MariaDB `gtid_current_pos`); `None` when GTIDs are off or unknown.
    pub gtid_executed: Option<Arc<GtidSet>>,
}

/// Who takes the writes.
#[derive(Clone, PartialEq, Debug)]
pub enum Writes {
    /// Exactly this server.
    Primary(ServerId),
    /// Nobody; the text says what was seen. Writes wait.
    Nobody(String),
    /// These servers are all writable. Writes stop: which of them is right is not ours to guess.
    Conflict(Vec<ServerId>),
}

/// The cluster at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Topology {
    /// Configured name.
    pub cluster: Arc<str>,
    /// Rises whenever `writes` changes.
    pub epoch: Epoch,
    /// Who takes the writes.
    pub writes: Writes,
    /// All configured servers, indexed by [`ServerId`].
    pub servers: Vec<Arc<Server>>,
}

impl Topology {
    /// The server that takes the writes, if there is exactly one.
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
