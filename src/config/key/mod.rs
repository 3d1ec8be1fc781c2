//! The catalogue of keys: what `docs/config.md` shows and what the checks are made of, in one place.

mod failover;
pub(in crate::config) mod range;
mod rules;

pub(in crate::config) use failover::{DURABILITIES, ERRANT, MODES as FAILOVER_MODES, REJOINS};

/// When a changed key takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// On SIGHUP, for what starts after it: statements, logins, connections.
    Reload,
    /// At the next start only.
    Restart,
}

/// What a key may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A whole number within a range.
    Number(Range),
    /// `true` or `false`.
    Flag,
    /// `IP:port`.
    SocketAddress,
    /// An array of `host:port`.
    ServerAddresses,
    /// Any text.
    Text,
    /// An array of texts.
    Texts,
    /// A path; relative to the folder that dbproxy was started in.
    Path,
    /// The name of an environment variable.
    Variable,
    /// One of these words.
    Words(&'static [&'static str]),
    /// An array of these words, which may be empty.
    WordList(&'static [&'static str]),
}

/// A number's bounds, both included, and what it is when it is not given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Least value.
    pub least: u64,
    /// Value when not given.
    pub default: u64,
    /// Greatest value: the ceiling.
    pub most: u64,
}

/// One key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Full name, as in `limits.max_clients`; `user[]` is each entry of the array `[[user]]`.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What holds when it is not given; `None`: it must be given. A number's default is in its range.
    pub default: Option<&'static str>,
    /// When a change takes effect.
    pub effect: Effect,
    /// What it means, for operators.
    pub meaning: &'static str,
}

impl Key {
    /// The columns `type`, `default` and `ceiling` of `docs/config.md`.
    #[must_use]
    pub fn columns(&self) -> (String, String, String) {
        let default = match (self.kind, self.default) {
            (Kind::Number(_), Some("")) => "none".to_owned(),
            (Kind::Number(range), None) => format!("`{}`", range.default),
            (_, Some("")) => "none".to_owned(),
            (Kind::Text | Kind::Words(_) | Kind::SocketAddress, Some(text)) => format!("`\"{text}\"`"),
            (_, Some(text)) => format!("`{text}`"),
            (_, None) => "must be given".to_owned(),
        };
        match self.kind {
            Kind::Number(range) => (format!("number from {}", range.least), default, range.most.to_string()),
            Kind::Flag => ("`true` or `false`".to_owned(), default, String::new()),
            Kind::SocketAddress => ("`IP:port`".to_owned(), default, String::new()),
            Kind::ServerAddresses => ("array of `host:port`".to_owned(), default, format!("{SERVERS_MOST} servers")),
            Kind::Text => ("text".to_owned(), default, String::new()),
            Kind::Texts => ("array of text".to_owned(), default, String::new()),
            Kind::Path => ("path".to_owned(), default, String::new()),
            Kind::Variable => ("name of a variable".to_owned(), default, String::new()),
            Kind::Words(words) => (listed(words), default, String::new()),
            Kind::WordList(words) => (format!("array of {}", listed(words)), default, String::new()),
        }
    }
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
}

/// Most servers of a cluster.
pub const SERVERS_MOST: usize = 64;
/// Most rules: each statement may be compared with all of them.
pub const RULES_MOST: usize = 1000;
/// Most accounts.
pub const USERS_MOST: usize = 10_000;
/// Longest account name in bytes: MariaDB's 128 characters (MySQL has 32), as
/// <https://mariadb.com/docs/server/reference/sql-structure/sql-language-structure/identifier-names> says.
pub const USER_NAME_BYTES_MOST: usize = 512;
/// Longest password in bytes, as `caching_sha2_password` has it (`CACHING_SHA2_PASSWORD_MAX_PASSWORD_LENGTH`).
pub const PASSWORD_BYTES_MOST: usize = 256;

/// Words of `backend.tls.mode`.
pub(in crate::config) const TLS_MODES: &[&str] = &["disabled", "preferred", "required", "verify-ca", "verify-identity"];
/// Words of `routing.consistency` and `user[].consistency`.
pub(in crate::config) const CONSISTENCIES: &[&str] = &["eventual", "session", "global"];
/// Words of `rule[].target`.
pub(in crate::config) const TARGETS: &[&str] = &["primary", "replica"];
/// Words of `listen.connection_ids`.
pub(in crate::config) const CONNECTION_IDS: &[&str] = &["proxy", "server"];
/// Words of `listen.compression`.
pub(in crate::config) const ALGORITHMS: &[&str] = &["zlib", "zstd"];
/// Words of `log.format`.
pub(in crate::config) const LOG_FORMATS: &[&str] = &["text", "json"];
/// Words of `log.level`.
pub(in crate::config) const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

const fn key(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    effect: Effect,
    meaning: &'static str,
) -> Key {
    Key { name, kind, default, effect, meaning }
}

/// Every key, in the order of the documentation.
pub const KEYS: &[Key] = &joined::<{ FIRST.len() + failover::KEYS.len() + rules::KEYS.len() }>(
    &joined::<{ FIRST.len() + failover::KEYS.len() }>(FIRST, failover::KEYS),
    rules::KEYS,
);

const fn joined<const N: usize>(first: &[Key], second: &[Key]) -> [Key; N] {
    let mut all = [first[0]; N];
    let mut n = 0;
    while n < N {
        all[n] = if n < first.len() { first[n] } else { second[n - first.len()] };
        n += 1;
    }
    all
}

const FIRST: &[Key] = &[
    key(
        "data_dir",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "Folder for files that dbproxy creates: the generated certificate and the journal of failovers. Without it the certificate is kept in memory and changes at each start, and a failover that a restart interrupts is not resumed.",
    ),
    key("listen.address", Kind::SocketAddress, None, Effect::Restart, "Where clients connect."),
    key(
        "listen.backlog",
        Kind::Number(range::BACKLOG),
        None,
        Effect::Restart,
        "Connections that the kernel queues until they are accepted (at most `net.core.somaxconn`).",
    ),
    key(
        "listen.connection_ids",
        Kind::Words(CONNECTION_IDS),
        Some("proxy"),
        Effect::Reload,
        "The connection id in a client's greeting. `proxy`: an id of dbproxy's own, above 1073741823. `server`: the id of its connection to the primary, as in `SHOW PROCESSLIST`; that connection is opened before the greeting and kept, also across COM_CHANGE_USER. After a change of the primary the id has no meaning there. `KILL` accepts both kinds in either case.",
    ),
    key(
        "listen.compression",
        Kind::WordList(ALGORITHMS),
        Some("[\"zlib\", \"zstd\"]"),
        Effect::Reload,
        "Algorithms of the compressed protocol that clients are offered; `[]` is none. A client that asks for both gets zlib, as at a MySQL server. zstd is offered where the servers are MySQL's. Connections to the servers are never compressed.",
    ),
    key(
        "listen.tls.cert",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "Certificate chain (PEM) presented to clients; requires `listen.tls.key`. Without both, a self-signed certificate is generated.",
    ),
    key("listen.tls.key", Kind::Path, Some(""), Effect::Restart, "Private key (PEM) of `listen.tls.cert`."),
    key("listen.tls.required", Kind::Flag, Some("false"), Effect::Restart, "Refuse clients that do not use TLS."),
    key(
        "admin.address",
        Kind::SocketAddress,
        None,
        Effect::Restart,
        "Address of the admin interface (MySQL protocol). Without the section `[admin]` there is none.",
    ),
    key("admin.user", Kind::Text, Some("admin"), Effect::Reload, "Account of the admin interface."),
    key(
        "admin.password",
        Kind::Text,
        Some(""),
        Effect::Reload,
        "Its password. One of the three password keys is required if `admin.address` is not a loopback address; without any of them the password is empty.",
    ),
    key(
        "admin.password_file",
        Kind::Path,
        Some(""),
        Effect::Reload,
        "File that contains the password; one trailing line end is ignored.",
    ),
    key(
        "admin.password_env",
        Kind::Variable,
        Some(""),
        Effect::Reload,
        "Environment variable that contains the password.",
    ),
    key(
        "http.address",
        Kind::SocketAddress,
        None,
        Effect::Restart,
        "Address of `/metrics`, `/healthz`, `/readyz` and `/status`, without TLS and without a password. Without the section `[http]` they are not served, and `dbproxy status` does not work.",
    ),
    key("cluster.name", Kind::Text, Some("main"), Effect::Restart, "Name of the cluster in logs, metrics and status."),
    key(
        "cluster.servers",
        Kind::ServerAddresses,
        None,
        Effect::Restart,
        "The primary and its replicas, in any order; dbproxy detects their roles.",
    ),
    key(
        "server[].address",
        Kind::Text,
        None,
        Effect::Reload,
        "The server of `cluster.servers` that this section is about, written as there. A server without a section `[[server]]` has the defaults.",
    ),
    key(
        "server[].weight",
        Kind::Number(range::WEIGHT),
        None,
        Effect::Reload,
        "Its share of the reads, relative to the other replicas. A server with `0` gets reads only while no other replica can be used.",
    ),
    key("monitor.user", Kind::Text, None, Effect::Restart, "Account with which dbproxy monitors the servers."),
    key(
        "monitor.password",
        Kind::Text,
        Some(""),
        Effect::Restart,
        "Its password. Exactly one of the three password keys is required.",
    ),
    key(
        "monitor.password_file",
        Kind::Path,
        Some(""),
        Effect::Restart,
        "File that contains the password; one trailing line end is ignored.",
    ),
    key(
        "monitor.password_env",
        Kind::Variable,
        Some(""),
        Effect::Restart,
        "Environment variable that contains the password.",
    ),
    key(
        "monitor.interval_ms",
        Kind::Number(range::MONITOR_INTERVAL_MS),
        None,
        Effect::Restart,
        "Milliseconds between two probes of a server.",
    ),
    key(
        "monitor.timeout_ms",
        Kind::Number(range::MONITOR_TIMEOUT_MS),
        None,
        Effect::Restart,
        "Milliseconds after which an unanswered probe counts as failed.",
    ),
    key(
        "monitor.down_after_ms",
        Kind::Number(range::DOWN_AFTER_MS),
        None,
        Effect::Restart,
        "Milliseconds of failed probes after which a server is `down`. A server that refuses connections is down at once; one that still answers clients is not down.",
    ),
    key(
        "user[].name",
        Kind::Text,
        None,
        Effect::Reload,
        "Account with which clients log in, and with which dbproxy logs in to the servers for them. At least one `[[user]]` is required.",
    ),
    key(
        "user[].password",
        Kind::Text,
        Some(""),
        Effect::Reload,
        "Its password. Exactly one of the three password keys is required; `\"\"` is the empty password.",
    ),
    key(
        "user[].password_file",
        Kind::Path,
        Some(""),
        Effect::Reload,
        "File that contains the password; one trailing line end is ignored.",
    ),
    key(
        "user[].password_env",
        Kind::Variable,
        Some(""),
        Effect::Reload,
        "Environment variable that contains the password.",
    ),
    key(
        "user[].consistency",
        Kind::Words(CONSISTENCIES),
        Some(""),
        Effect::Reload,
        "Overrides `routing.consistency` for sessions of this account that begin afterwards.",
    ),
    key(
        "backend.connect_timeout_ms",
        Kind::Number(range::CONNECT_TIMEOUT_MS),
        None,
        Effect::Reload,
        "Milliseconds that connecting and logging in to a server may take.",
    ),
    key(
        "backend.tls.mode",
        Kind::Words(TLS_MODES),
        Some("preferred"),
        Effect::Reload,
        "TLS to the servers: never; if the server supports it; always; always, with a certificate signed by `backend.tls.ca`; the same, and issued for the host name.",
    ),
    key(
        "backend.tls.ca",
        Kind::Path,
        Some(""),
        Effect::Reload,
        "CA certificates (PEM) for server certificates; required for `verify-ca` and `verify-identity`.",
    ),
    key(
        "backend.tls.cert",
        Kind::Path,
        Some(""),
        Effect::Reload,
        "Certificate chain (PEM) that dbproxy presents to servers; requires `backend.tls.key`.",
    ),
    key("backend.tls.key", Kind::Path, Some(""), Effect::Reload, "Private key (PEM) of `backend.tls.cert`."),
    key(
        "limits.max_clients",
        Kind::Number(range::MAX_CLIENTS),
        None,
        Effect::Reload,
        "Highest number of clients; further ones are refused with error 1040.",
    ),
    key(
        "limits.max_connections_per_server",
        Kind::Number(range::MAX_CONNECTIONS),
        None,
        Effect::Reload,
        "Highest number of connections to one server, not counting the monitor's.",
    ),
    key(
        "limits.max_prepared_statements",
        Kind::Number(range::MAX_PREPARED),
        None,
        Effect::Reload,
        "Highest number of prepared statements of one session; further ones are refused with error 1461.",
    ),
    key(
        "limits.max_held_statements",
        Kind::Number(range::MAX_HELD),
        None,
        Effect::Reload,
        "Highest number of statements that wait while there is no primary; further ones fail at once.",
    ),
    key(
        "limits.max_held_bytes",
        Kind::Number(range::MAX_HELD_BYTES),
        None,
        Effect::Reload,
        "Highest total size of such statements; one that exceeds it fails at once.",
    ),
    key(
        "limits.statement_buffer_bytes",
        Kind::Number(range::STATEMENT_BUFFER),
        None,
        Effect::Reload,
        "Longest statement that is read completely for routing; a longer one, or one of 16 MiB or more, is streamed to the primary.",
    ),
    key(
        "limits.login_timeout_ms",
        Kind::Number(range::LOGIN_TIMEOUT_MS),
        None,
        Effect::Reload,
        "Milliseconds that a client may take to log in.",
    ),
    key(
        "limits.idle_timeout_ms",
        Kind::Number(range::IDLE_TIMEOUT_MS),
        None,
        Effect::Reload,
        "Milliseconds without a command after which a session is closed. The session's own `wait_timeout` may close it earlier.",
    ),
    key(
        "limits.client_stall_timeout_ms",
        Kind::Number(range::CLIENT_STALL_TIMEOUT_MS),
        None,
        Effect::Reload,
        "Milliseconds for which a client may neither read its result nor send the rest of its command; then it is closed. \
         A session that sets `net_write_timeout` to more has that long.",
    ),
    key(
        "limits.drain_timeout_ms",
        Kind::Number(range::DRAIN_TIMEOUT_MS),
        None,
        Effect::Reload,
        "Milliseconds that running statements and transactions may take to end after SIGTERM.",
    ),
    key(
        "limits.worker_threads",
        Kind::Number(range::WORKER_THREADS),
        None,
        Effect::Restart,
        "Number of threads that relay traffic; `0` means one per processor.",
    ),
    key(
        "routing.lag_limit_ms",
        Kind::Number(range::LAG_LIMIT_MS),
        None,
        Effect::Reload,
        "Replication lag in milliseconds above which a replica gets no reads; `0` means no limit.",
    ),
    key(
        "routing.gtid_wait_ms",
        Kind::Number(range::GTID_WAIT_MS),
        None,
        Effect::Reload,
        "Milliseconds that a read waits for a replica to have what it must see, before it goes to the primary.",
    ),
    key(
        "routing.write_wait_ms",
        Kind::Number(range::WRITE_WAIT_MS),
        None,
        Effect::Reload,
        "Milliseconds that a statement waits for a primary while there is none, before it fails.",
    ),
    key(
        "routing.consistency",
        Kind::Words(CONSISTENCIES),
        Some("global"),
        Effect::Reload,
        "How fresh reads are: whatever the replica has; with the session's own writes; with all writes that dbproxy acknowledged before. See [routing.md](routing.md).",
    ),
    key(
        "routing.warm_up_ms",
        Kind::Number(range::WARM_UP_MS),
        None,
        Effect::Reload,
        "Milliseconds in which the share of a replica that returns (after it was down, unfit or withdrawn) grows to its weight; `0` means at once.",
    ),
    key(
        "log.format",
        Kind::Words(LOG_FORMATS),
        Some("text"),
        Effect::Restart,
        "Log lines as text, or one JSON object each.",
    ),
    key("log.level", Kind::Words(LOG_LEVELS), Some("info"), Effect::Reload, "Least severe level that is logged."),
];
