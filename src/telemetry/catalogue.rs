//! Every metric by name, with the help that `/metrics` and `docs/metrics.md` show.

/// How a metric behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Only rises, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// `dbproxy_<room>_<noun>_<unit or total>`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Type,
    /// Its label names.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

impl Type {
    /// Prometheus's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Type::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Type::Gauge, labels, help }
}

pub(super) const INFO: Metric = gauge("dbproxy_proxy_info", &["version"], "1, labelled with the version.");
pub(super) const UPTIME: Metric = gauge("dbproxy_proxy_uptime_seconds", &[], "Seconds since start.");
pub(super) const CLIENTS: Metric =
    gauge("dbproxy_proxy_clients", &[], "Clients connected, including those that are logging in.");
pub(super) const ACCEPTED: Metric =
    counter("dbproxy_proxy_clients_accepted_total", &[], "Clients whose login succeeded.");
pub(super) const REFUSED: Metric =
    counter("dbproxy_proxy_clients_refused_total", &["reason"], "Clients that were refused, by reason.");
pub(super) const PANICKED: Metric =
    counter("dbproxy_proxy_session_panics_total", &[], "Sessions that ended because of a defect of dbproxy.");
pub(super) const STALLED: Metric = counter(
    "dbproxy_proxy_clients_stalled_total",
    &[],
    "Clients closed because for `limits.client_stall_timeout_ms` they neither read their result nor sent the rest of their command.",
);
pub(super) const BYTES: Metric = counter(
    "dbproxy_proxy_client_bytes_total",
    &["direction"],
    "Bytes of MySQL packets read from (in) and written to (out) clients, in the command phase.",
);
pub(super) const COMPRESSED: Metric = counter(
    "dbproxy_proxy_client_compression_bytes_total",
    &["direction", "form"],
    "Bytes read from (in) and written to (out) clients under the compressed protocol: as on the network, or uncompressed.",
);
pub(super) const QUERIES: Metric = counter(
    "dbproxy_proxy_queries_total",
    &["server", "role", "command"],
    "Commands that a server answered, by the role of the server.",
);
pub(super) const QUERY_SECONDS: Metric = Metric {
    name: "dbproxy_proxy_query_seconds",
    kind: Type::Histogram,
    labels: &["role", "command"],
    help: "Seconds from a command's arrival to the end of its answer.",
};
pub(super) const RUNNING: Metric =
    gauge("dbproxy_proxy_queries_running", &["server"], "Commands sent to the server whose response is not complete.");
pub(super) const HELD: Metric =
    gauge("dbproxy_proxy_statements_held", &[], "Statements that wait because there is no primary.");
pub(super) const DECISIONS: Metric =
    counter("dbproxy_route_decisions_total", &["role", "reason"], "Routing decisions, by role and reason.");
pub(super) const RULE_HITS: Metric =
    counter("dbproxy_route_rule_hits_total", &["rule"], "Statements that a rule was applied to.");
pub(super) const HINTS: Metric = counter(
    "dbproxy_route_hints_total",
    &["outcome"],
    "Hints in statements: obeyed, ignored (following it was impossible or unsafe), unknown (no such hint or server).",
);
pub(super) const PARSER: Metric = counter(
    "dbproxy_route_parser_verdicts_total",
    &["verdict"],
    "Proven reads that were new to the parser, by what it said: agrees, objects, refuses; not_asked when it had too much to do.",
);
pub(super) const PINS: Metric = counter(
    "dbproxy_route_pins_total",
    &["pin"],
    "Times that a session was pinned to one server, by the pin's name as in SHOW SESSIONS and docs/routing.md.",
);
pub(super) const WAITS: Metric = counter(
    "dbproxy_route_waits_total",
    &["outcome"],
    "Reads that waited for a replica to have what they must see: reached, or given up and sent to the primary.",
);
pub(super) const ABANDONED: Metric = counter(
    "dbproxy_proxy_statements_abandoned_total",
    &["server"],
    "Reads, and commands of dbproxy's own, that were given up while the server ran them, and ended there by KILL.",
);
pub(super) const POSITIONS: Metric = counter(
    "dbproxy_route_position_questions_total",
    &["server", "outcome"],
    "Questions for the server's position on behalf of all reads that wait for it: reached (reads went on), not_yet, failed (no answer).",
);
pub(super) const WATCHED: Metric = gauge(
    "dbproxy_conn_position_watchers",
    &["server"],
    "1 while the connection stands on which the server's position is asked for (program_name dbproxy-positions), else 0.",
);
pub(super) const REFUSALS: Metric = counter(
    "dbproxy_route_replica_refusals_total",
    &["server", "error"],
    "Errors by which a replica refused a proven read, which the primary was then asked for, by error number (at most 64 for each \
     server, the rest as other).",
);
pub(super) const CONNECTIONS: Metric = gauge(
    "dbproxy_conn_backend_connections",
    &["server"],
    "Connections open to the server, not counting the monitor's.",
);
pub(super) const OPENED: Metric =
    counter("dbproxy_conn_backend_opened_total", &["server"], "Connections opened to the server.");
pub(super) const ERRORS: Metric = counter(
    "dbproxy_conn_backend_errors_total",
    &["server", "fault"],
    "Connections to the server that could not be opened or that broke, by fault.",
);
pub(super) const FAILED: Metric = counter(
    "dbproxy_proxy_statements_failed_total",
    &["fault"],
    "Statements that dbproxy itself answered with an error, by fault.",
);
pub(super) const EPOCH: Metric =
    gauge("dbproxy_topology_epoch", &["cluster"], "Epoch: rises whenever the primary changes.");
pub(super) const SERVER_UP: Metric =
    gauge("dbproxy_topology_server_up", &["server"], "1 if the server may be used, else 0.");
pub(super) const SERVER_ROLE: Metric =
    gauge("dbproxy_topology_server_role", &["server", "role"], "1 for the role that the server has, else 0.");
pub(super) const SERVER_LAG: Metric = gauge(
    "dbproxy_topology_server_lag_seconds",
    &["server"],
    "Replication lag in seconds; NaN if it is not known, and for the primary.",
);
pub(super) const PROBLEM: Metric =
    gauge("dbproxy_failover_problem", &["problem"], "1 for the cluster's present problem (`none` included), else 0.");
pub(super) const NOTICES: Metric = counter(
    "dbproxy_failover_notices_total",
    &["kind"],
    "Notices of the failover: problems, changes of the primary that began or ended, servers that were quarantined or rejoined.",
);
pub(super) const STEPS: Metric =
    counter("dbproxy_failover_steps_total", &["step", "outcome"], "Steps on servers, by outcome.");
pub(super) const RELOADS: Metric =
    counter("dbproxy_config_reloads_total", &["outcome"], "Reloads on SIGHUP, applied or refused.");

/// All of them, in the order of the documentation.
pub const METRICS: &[Metric] = &[
    INFO,
    UPTIME,
    CLIENTS,
    ACCEPTED,
    REFUSED,
    PANICKED,
    STALLED,
    BYTES,
    COMPRESSED,
    QUERIES,
    QUERY_SECONDS,
    RUNNING,
    HELD,
    DECISIONS,
    RULE_HITS,
    HINTS,
    PARSER,
    PINS,
    WAITS,
    ABANDONED,
    POSITIONS,
    WATCHED,
    REFUSALS,
    CONNECTIONS,
    OPENED,
    ERRORS,
    FAILED,
    EPOCH,
    SERVER_UP,
    SERVER_ROLE,
    SERVER_LAG,
    PROBLEM,
    NOTICES,
    STEPS,
    RELOADS,
];
