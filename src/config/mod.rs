//! Raw TOML to a checked [`Config`].
//!
//! Only `config::load` reads files and the environment. There is no global: whoever needs a value is handed it, or reads a
//! [`Live`] handle at the start of a connection or statement. Every number has a default and a ceiling (`KEYS`,
//! `docs/config.md`). Imports the rooms' policy types.

mod change;
mod check;
mod error;
mod failover;
mod key;
#[cfg(feature = "shell")]
mod live;
mod load;
mod place;
mod policy;
mod raw;
mod routing;
mod rules;
mod secret;
#[cfg(test)]
mod tests;

pub use change::{Change, Reload};
pub use check::Secrets;
pub use error::{Complaint, ConfigError, Rule};
pub use failover::{Durability, ErrantPolicy, Failover, FailoverMode, Hook, Hooks, Replication};
pub use key::{Effect, KEYS, Key, Kind, Range};
#[cfg(feature = "shell")]
pub use live::Live;
pub use secret::Secret;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// All that the operator decides, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Folder for files that dbproxy creates; `None`: keep them in memory.
    pub data_dir: Option<PathBuf>,
    /// Where clients connect.
    pub listen: Listen,
    /// The admin interface; `None`: not served.
    pub admin: Option<Admin>,
    /// Where metrics and status are served; `None`: not served.
    pub http: Option<SocketAddr>,
    /// The servers.
    pub cluster: Cluster,
    /// How they are watched.
    pub monitor: Monitor,
    /// What to do when the primary is lost.
    pub failover: Failover,
    /// The account that replicas use; `None`: no server is ever made to replicate from another.
    pub replication: Option<Replication>,
    /// Programs that run beside a failover.
    pub hooks: Hooks,
    /// The accounts; names are unique.
    pub users: Vec<User>,
    /// How servers are connected to.
    pub backend: Backend,
    /// How much of everything.
    pub limits: Limits,
    /// Where reads go, and what reads and writes wait for.
    pub routing: Routing,
    /// What is logged, and how.
    pub log: Log,
}

/// Where and how clients connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Address to bind.
    pub address: SocketAddr,
    /// The listening socket's backlog.
    pub backlog: u32,
    /// Which connection ids clients are greeted with.
    pub connection_ids: ConnectionIds,
    /// What is presented to clients.
    pub certificate: Certificate,
    /// Whether a client may go without TLS.
    pub plaintext: Plaintext,
    /// What clients are offered for compression.
    pub compression: Algorithms,
}

/// Algorithms of the compressed protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Algorithms {
    /// `CLIENT_COMPRESS`.
    pub zlib: bool,
    /// `CLIENT_ZSTD_COMPRESSION_ALGORITHM`, where the servers are MySQL's.
    pub zstd: bool,
}

impl Algorithms {
    /// All that there are.
    pub const ALL: Self = Self { zlib: true, zstd: true };
}

/// Which connection ids clients are greeted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionIds {
    /// The proxy's own.
    Proxy,
    /// That of a connection to the primary, opened for the client before the greeting.
    Server,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyPair {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// The certificate that clients are shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Certificate {
    /// The operator's.
    Given(KeyPair),
    /// Made at first start and kept in `data_dir`, or in memory if there is none.
    Generated,
}

/// Whether clients may go without TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plaintext {
    /// They may.
    Allowed,
    /// They are refused.
    Refused,
}

/// The admin interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    /// Address to bind; loopback unless the password is not empty.
    pub address: SocketAddr,
    /// The one account, with its password (may be empty).
    pub user: User,
}

/// The servers, one of which is the primary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// Name for logs, metrics and status.
    pub name: Arc<str>,
    /// `host:port` each, 1 to 64, without duplicates. A server's place is its `ServerId`.
    pub servers: Vec<Arc<str>>,
}

/// How the servers are watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Monitor {
    /// Account to watch with.
    pub user: User,
    /// Time between two probes.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// How long a server may fail its probes before it is down.
    pub down_after: Duration,
}

/// An account that clients log in with, and that their backends are logged in with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Account name.
    pub name: Arc<str>,
    /// Its password.
    pub password: Secret,
}

/// How servers are connected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backend {
    /// How long connecting and logging in may take.
    pub connect_timeout: Duration,
    /// TLS to the servers.
    pub tls: BackendTls,
}

/// TLS to the servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendTls {
    /// When TLS is used, and what is verified.
    pub mode: TlsMode,
    /// The CA of server certificates; required if the mode verifies.
    pub ca: Option<PathBuf>,
    /// The certificate presented to servers.
    pub identity: Option<KeyPair>,
}

/// As the `--ssl-mode` of MySQL's clients:
/// <https://dev.mysql.com/doc/refman/en/connection-options.html#option_general_ssl-mode>.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// If the server has it; nothing is verified.
    Preferred,
    /// Always; nothing is verified.
    Required,
    /// Always, and the chain must lead to the given CA.
    VerifyCa,
    /// That, and the certificate must be made out to the host that was connected to.
    VerifyIdentity,
}

/// How much of everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Highest number of clients.
    pub max_clients: u32,
    /// Highest number of connections to one server.
    pub max_connections_per_server: u32,
    /// Prepared statements per session.
    pub max_prepared_statements: u32,
    /// Highest number of statements that wait for a primary.
    pub max_held_statements: u32,
    /// Highest total size of statements that wait for a primary.
    pub max_held_bytes: u64,
    /// Longest statement in bytes that is read for routing.
    pub statement_buffer_bytes: usize,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a session may be without a command.
    pub idle_timeout: Duration,
    /// How long a client may neither read its result nor send the rest of its command.
    pub client_stall_timeout: Duration,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// Threads that carry traffic; `None`: one per processor.
    pub worker_threads: Option<usize>,
}

/// Where reads go, and what reads and writes wait for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routing {
    /// Greatest lag of a replica that is read from; `None`: any.
    pub lag_limit: Option<Duration>,
    /// How long a statement waits for a primary.
    pub write_wait: Duration,
    /// The policy of routing decisions.
    pub policy: crate::route::Policy,
}

/// What is logged, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Log {
    /// Form of a line.
    pub format: LogFormat,
    /// Least severe level.
    pub level: LogLevel,
}

/// Form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// Levels, most severe first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // The usual five.
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Config {
    /// The account of this name.
    #[must_use]
    pub fn user(&self, name: &[u8]) -> Option<&User> {
        self.users.iter().find(|user| user.name.as_bytes() == name)
    }

    /// Checks a text whose passwords stand in it; `password_file` and `password_env` are refused.
    ///
    /// # Errors
    /// Every fault of a configuration. `file` is its name in the errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        check::check(text, file, &load::Nowhere)
    }

    /// Checks a text, asking `secrets` for the passwords that stand elsewhere.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse_with(text: &str, file: &str, secrets: &dyn Secrets) -> Result<Self, ConfigError> {
        check::check(text, file, secrets)
    }
}

impl LogLevel {
    /// The level's word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
