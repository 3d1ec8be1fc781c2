//! The file as it is written, before any check: every value with its place.

use serde::Deserialize;
use toml::Spanned;

pub(super) type Text = Option<Spanned<String>>;
pub(super) type Number = Option<Spanned<i64>>;
pub(super) type Texts = Option<Vec<Spanned<String>>>;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub data_dir: Text,
    pub listen: Option<Listen>,
    pub admin: Option<Admin>,
    pub http: Option<Http>,
    pub cluster: Option<Cluster>,
    #[serde(default)]
    pub server: Vec<Server>,
    pub monitor: Option<Monitor>,
    #[serde(default)]
    pub failover: Failover,
    pub replication: Option<Spanned<Replication>>,
    #[serde(default)]
    pub hooks: Hooks,
    #[serde(default)]
    pub user: Vec<Spanned<User>>,
    #[serde(default)]
    pub backend: Backend,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub routing: Routing,
    #[serde(default)]
    pub rule: Vec<Spanned<RoutingRule>>,
    #[serde(default)]
    pub log: Log,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    pub address: Text,
    pub backlog: Number,
    pub connection_ids: Text,
    pub compression: Texts,
    #[serde(default)]
    pub tls: ListenTls,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenTls {
    pub cert: Text,
    pub key: Text,
    pub required: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub address: Text,
    pub user: Text,
    pub password: Text,
    pub password_file: Text,
    pub password_env: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub address: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub name: Text,
    pub servers: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub address: Text,
    pub weight: Number,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Monitor {
    pub user: Text,
    pub password: Text,
    pub password_file: Text,
    pub password_env: Text,
    pub interval_ms: Number,
    pub timeout_ms: Number,
    pub down_after_ms: Number,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Failover {
    pub mode: Text,
    pub durability: Text,
    pub wait_for_replicas: Number,
    pub wait_for_replicas_least: Number,
    pub loss_limit_ms: Number,
    pub prefer: Option<Spanned<Vec<Spanned<String>>>>,
    pub never: Option<Spanned<Vec<Spanned<String>>>>,
    pub rejoin: Text,
    pub rejoin_errant: Text,
    pub refused_ms: Number,
    pub hung_ms: Number,
    pub deaf_ms: Number,
    pub heartbeat_ms: Number,
    pub step_timeout_ms: Number,
    pub drain_limit_ms: Number,
    pub switchover_drain_ms: Number,
    pub catch_up_ms: Number,
    pub pause_between_ms: Number,
    pub most_per_hour: Number,
    pub write_stalled_ms: Number,
    pub loop_lag_limit_ms: Number,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Replication {
    pub user: Text,
    pub password: Text,
    pub password_file: Text,
    pub password_env: Text,
    pub tls: Option<bool>,
    pub tls_ca: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Hooks {
    pub before: Text,
    pub before_blocks_failover: Option<bool>,
    pub after: Text,
    pub fence: Text,
    pub timeout_ms: Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub name: Text,
    pub password: Text,
    pub password_file: Text,
    pub password_env: Text,
    pub consistency: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Backend {
    pub connect_timeout_ms: Number,
    #[serde(default)]
    pub tls: BackendTls,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct BackendTls {
    pub mode: Text,
    pub ca: Text,
    pub cert: Text,
    pub key: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub max_clients: Number,
    pub max_connections_per_server: Number,
    pub max_prepared_statements: Number,
    pub max_held_statements: Number,
    pub max_held_bytes: Number,
    pub statement_buffer_bytes: Number,
    pub login_timeout_ms: Number,
    pub idle_timeout_ms: Number,
    pub client_stall_timeout_ms: Number,
    pub drain_timeout_ms: Number,
    pub worker_threads: Number,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Routing {
    pub lag_limit_ms: Number,
    pub gtid_wait_ms: Number,
    pub write_wait_ms: Number,
    pub warm_up_ms: Number,
    pub consistency: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoutingRule {
    pub name: Text,
    pub user: Texts,
    pub schema: Texts,
    pub client: Texts,
    pub kind: Texts,
    pub digest: Texts,
    pub table: Texts,
    pub target: Text,
    pub server: Text,
    pub max_lag_ms: Number,
    pub timeout_ms: Number,
    pub reject: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub format: Text,
    pub level: Text,
}
