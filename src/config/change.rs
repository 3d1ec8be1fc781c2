//! What a changed file means for a running process.

use super::Config;
use super::key::Effect;

/// One key whose value differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The key, or the section if it changes as a whole.
    pub key: &'static str,
    /// Whether a reload is enough.
    pub effect: Effect,
}

/// The outcome of a reload.
#[derive(Clone, Debug)]
pub struct Reload {
    /// The new running configuration: the old one with everything that can change taken from the new file.
    pub config: Config,
    /// The keys that were applied.
    pub applied: Vec<&'static str>,
    /// The keys that differ and need a restart.
    pub pending: Vec<&'static str>,
}

/// A key, its effect, whether two configurations agree on it, and how the first takes it over from the second.
type Row = (&'static str, Effect, fn(&Config, &Config) -> bool, fn(&mut Config, &Config));

macro_rules! rows {
    ($($key:literal $effect:ident $($field:ident).+;)*) => {
        &[$(($key, Effect::$effect, |a, b| a.$($field).+ == b.$($field).+, |a, b| a.$($field).+ = b.$($field).+.clone())),*]
    };
}

const ROWS: &[Row] = rows! {
    "data_dir" Restart data_dir;
    "listen.address" Restart listen.address;
    "listen.backlog" Restart listen.backlog;
    "listen.connection_ids" Reload listen.connection_ids;
    "listen.compression" Reload listen.compression;
    "listen.tls.cert, listen.tls.key" Restart listen.certificate;
    "listen.tls.required" Restart listen.plaintext;
    "http.address" Restart http;
    "cluster.name" Restart cluster.name;
    "cluster.servers" Restart cluster.servers;
    "monitor" Restart monitor;
    "failover" Restart failover;
    "replication" Restart replication;
    "hooks" Restart hooks;
    "user" Reload users;
    "backend.connect_timeout_ms" Reload backend.connect_timeout;
    "backend.tls" Reload backend.tls;
    "limits.max_clients" Reload limits.max_clients;
    "limits.max_connections_per_server" Reload limits.max_connections_per_server;
    "limits.max_prepared_statements" Reload limits.max_prepared_statements;
    "limits.max_held_statements" Reload limits.max_held_statements;
    "limits.max_held_bytes" Reload limits.max_held_bytes;
    "limits.statement_buffer_bytes" Reload limits.statement_buffer_bytes;
    "limits.login_timeout_ms" Reload limits.login_timeout;
    "limits.idle_timeout_ms" Reload limits.idle_timeout;
    "limits.client_stall_timeout_ms" Reload limits.client_stall_timeout;
    "limits.drain_timeout_ms" Reload limits.drain_timeout;
    "limits.worker_threads" Restart limits.worker_threads;
    "routing.lag_limit_ms" Reload routing.lag_limit;
    "routing.gtid_wait_ms" Reload routing.policy.gtid_wait;
    "routing.consistency" Reload routing.policy.consistency;
    "user[].consistency" Reload routing.policy.consistencies;
    "routing.write_wait_ms" Reload routing.write_wait;
    "routing.warm_up_ms" Reload routing.policy.warm_up;
    "log.format" Restart log.format;
    "log.level" Reload log.level;
};

/// The admin section may appear and disappear, so it is not a plain field.
const ADMIN: &[Row] = &[
    (
        "admin.address",
        Effect::Restart,
        |a, b| a.admin.as_ref().map(|admin| admin.address) == b.admin.as_ref().map(|admin| admin.address),
        |_, _| {},
    ),
    (
        "admin.user, admin.password",
        Effect::Reload,
        |a, b| match (&a.admin, &b.admin) {
            (Some(a), Some(b)) => a.user == b.user,
            _ => true,
        },
        |a, b| {
            if let (Some(a), Some(b)) = (&mut a.admin, &b.admin) {
                // An empty password may come with a new loopback address that is not listened on yet.
                if a.address.ip().is_loopback() || !b.user.password.expose().is_empty() {
                    a.user = b.user.clone();
                }
            }
        },
    ),
];

/// By place in `cluster.servers`, so they fit only the servers that they were written for.
const WEIGHTS: Row = (
    "server",
    Effect::Reload,
    |a, b| a.routing.policy.weights == b.routing.policy.weights,
    |a, b| {
        if a.cluster.servers == b.cluster.servers {
            a.routing.policy.weights.clone_from(&b.routing.policy.weights);
        }
    },
);

/// They may name servers by their place, too.
const RULES: Row = (
    "rule",
    Effect::Reload,
    |a, b| a.routing.policy.rules == b.routing.policy.rules,
    |a, b| {
        if a.cluster.servers == b.cluster.servers {
            a.routing.policy.rules.clone_from(&b.routing.policy.rules);
        }
    },
);

fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(ADMIN).chain([&WEIGHTS, &RULES])
}

impl Config {
    /// The differences between two configurations, without any value.
    pub fn diff(old: &Self, new: &Self) -> Vec<Change> {
        let differs = |(key, effect, same, _): &Row| (!same(old, new)).then_some(Change { key, effect: *effect });
        rows().filter_map(differs).collect()
    }

    /// The result of reloading `new` over `running`.
    pub fn reload(running: &Self, new: &Self) -> Reload {
        let mut reload = Reload { config: running.clone(), applied: Vec::new(), pending: Vec::new() };
        for (key, effect, same, take) in rows() {
            if same(running, new) {
                continue;
            }
            if *effect == Effect::Reload {
                take(&mut reload.config, new);
            }
            if same(&reload.config, new) {
                reload.applied.push(key);
            } else {
                reload.pending.push(key);
            }
        }
        reload
    }
}
