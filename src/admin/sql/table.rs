//! Statements to rows.

use super::action::Form;
use super::statement::{Expression, Statement, Subject, like};
use crate::admin::View;
use crate::admin::status::Status;
use crate::conn::SessionRow;
use crate::route::{Action, Place, Rule, Target};
use crate::telemetry::LABELS;
use crate::topology::Topology;
use std::time::Instant;

/// A result: column names, and rows as long as these. `None` is NULL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

/// The account that asks.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub user: String,
    pub connection_id: u32,
}

/// The answer of the control plane. For people: one row for each entry of its list, or one for each value.
pub(super) fn of_answer(answer: &serde_json::Value, form: Form) -> Table {
    if form == Form::Json {
        return table(&["json"], vec![vec![Some(answer.to_string())]]);
    }
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    if let Some(events) = answer.get("events").and_then(serde_json::Value::as_array) {
        let row = |event: &serde_json::Value| ["at_ms", "epoch", "what"].map(|name| text(&event[name])).to_vec();
        return table(&["at_ms", "epoch", "what"], events.iter().map(row).collect());
    }
    let pairs = answer.as_object().into_iter().flatten();
    table(&["name", "value"], pairs.map(|(name, value)| vec![Some(name.clone()), text(value)]).collect())
}

/// The result of a statement; `None` when it has none.
pub(super) fn answer(statement: &Statement, view: &View, asker: &Asker, now: Instant) -> Option<Table> {
    let (mut table, pattern) = match statement {
        Statement::Nothing => return None,
        Statement::Select(expressions) => (select(expressions, view, asker), &None),
        Statement::Show(subject, pattern) => (show(*subject, view, asker, now), pattern),
    };
    if let Some(pattern) = pattern {
        table.rows.retain(|row| row.first().and_then(Option::as_deref).is_some_and(|text| like(text, pattern)));
    }
    Some(table)
}

fn show(subject: Subject, view: &View, asker: &Asker, now: Instant) -> Table {
    match subject {
        Subject::Servers => servers(&Status::of(view, now)),
        Subject::Sessions => sessions(view, now),
        Subject::Status => status(&Status::of(view, now), view),
        Subject::Routes => routes(view),
        Subject::Rules => rules(view),
        Subject::Variables => {
            let known = VARIABLES.iter().map(|name| vec![Some((*name).to_owned()), variable(name, view, asker)]);
            table(&["Variable_name", "Value"], known.collect())
        }
        Subject::Databases => table(&["Database"], Vec::new()),
        Subject::Warnings => table(&["Level", "Code", "Message"], Vec::new()),
    }
}

fn servers(status: &Status) -> Table {
    let columns =
        ["address", "role", "state", "reason", "lag_ms", "gtid_executed", "version", "connections", "queries", "mark"];
    let row = |server: &crate::admin::status::ServerStatus| {
        let server = server.clone();
        vec![
            Some(server.address),
            Some(server.role),
            Some(server.state),
            server.reason,
            server.lag_ms.map(|ms| ms.to_string()),
            server.gtid_executed,
            server.version,
            Some(server.connections.to_string()),
            Some(server.queries.to_string()),
            server.mark,
        ]
    };
    table(&columns, status.servers.iter().map(row).collect())
}

fn sessions(view: &View, now: Instant) -> Table {
    let columns =
        ["id", "user", "client", "schema", "state", "pin", "backends", "running_ms", "connected_s", "queries"];
    let topology = view.topology.load();
    let backends = |row: &SessionRow| {
        let name = |(server, id): &(_, u32)| match topology.server(*server) {
            Some(server) => format!("{}#{id}", server.address),
            None => format!("?#{id}"),
        };
        row.backends.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let line = |row: SessionRow| {
        let running = row.running.map(|since| now.saturating_duration_since(since).as_millis().to_string());
        vec![
            Some(row.id.to_string()),
            Some(row.user.to_string()),
            Some(row.client.to_string()),
            row.schema.clone(),
            Some(if running.is_some() { "running" } else { "idle" }.to_owned()),
            (!row.pins.is_empty()).then(|| row.pins.join(", ")),
            Some(backends(&row)),
            running,
            Some(now.saturating_duration_since(row.since).as_secs().to_string()),
            Some(row.queries.to_string()),
        ]
    };
    table(&columns, view.registry.list().into_iter().map(line).collect())
}

fn status(status: &Status, view: &View) -> Table {
    let (cluster, failover, proxy) = (&status.cluster, &status.failover, &status.proxy);
    let quarantined = failover.quarantined.iter().map(|one| one.server.as_str()).collect::<Vec<_>>().join(", ");
    let (bytes_in, bytes_out) = view.metrics.bytes();
    let queries: u64 = status.servers.iter().map(|server| server.queries).sum();
    let connections: u32 = status.servers.iter().map(|server| server.connections).sum();
    let pairs = [
        ("cluster_name", Some(cluster.name.clone())),
        ("cluster_state", Some(cluster.state.clone())),
        ("cluster_reason", cluster.reason.clone()),
        ("cluster_primary", cluster.primary.clone()),
        ("cluster_epoch", Some(cluster.epoch.to_string())),
        ("failover_mode", Some(failover.mode.clone())),
        ("failover_mode_reason", failover.mode_reason.clone()),
        ("failover_state", Some(failover.state.clone())),
        ("failover_detail", failover.detail.clone()),
        ("failover_problem", Some(failover.problem.clone())),
        ("failover_epoch", Some(failover.epoch.to_string())),
        ("failover_paused", Some(if failover.paused { "1" } else { "0" }.to_owned())),
        ("failover_hold", failover.hold.clone()),
        ("failover_quarantined", Some(quarantined)),
        ("proxy_version", Some(proxy.version.clone())),
        ("proxy_uptime_s", Some(proxy.uptime_s.to_string())),
        ("proxy_clients", Some(proxy.clients.to_string())),
        ("proxy_statements_held", Some(proxy.held.to_string())),
        ("proxy_qps", Some(proxy.qps.to_string())),
        ("proxy_queries", Some(queries.to_string())),
        ("proxy_backend_connections", Some(connections.to_string())),
        ("proxy_bytes_in", Some(bytes_in.to_string())),
        ("proxy_bytes_out", Some(bytes_out.to_string())),
    ];
    table(&["name", "value"], pairs.into_iter().map(|(name, value)| vec![Some(name.to_owned()), value]).collect())
}

fn routes(view: &View) -> Table {
    let mut rows = Vec::new();
    for target in [Target::Primary, Target::Replica] {
        for (n, reason) in LABELS.reasons.iter().enumerate() {
            let decisions = view.metrics.decisions(target, n).to_string();
            rows.push(vec![Some((*reason).to_owned()), Some(target.as_str().to_owned()), Some(decisions)]);
        }
    }
    table(&["reason", "role", "decisions"], rows)
}

/// In their order: the first that fits a statement counts.
fn rules(view: &View) -> Table {
    let config = view.config.load();
    let rows = config.routing.policy.rules.iter().map(|rule| {
        let hits = view.metrics.rules().of(&rule.name).to_string();
        vec![Some(rule.name.to_string()), Some(does(rule, &view.topology.load())), Some(hits)]
    });
    table(&["name", "does", "hits"], rows.collect())
}

/// What a rule does, in the configuration's words.
fn does(rule: &Rule, topology: &Topology) -> String {
    let Action { demand, timeout, reject } = &rule.action;
    let place = demand.place.map(|place| match place {
        Place::Primary => "target = primary".to_owned(),
        Place::Replica => "target = replica".to_owned(),
        Place::Server(id) => format!("server = {}", topology.server(id).map_or("?", |server| &server.address)),
    });
    let max_lag = demand.max_lag.map(|lag| format!("max_lag_ms = {}", lag.as_millis()));
    let timeout = timeout.map(|timeout| format!("timeout_ms = {}", timeout.as_millis()));
    let reject = reject.as_ref().map(|text| format!("reject = {text}"));
    [place, max_lag, timeout, reject].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn select(expressions: &[(Expression, String)], view: &View, asker: &Asker) -> Table {
    let value = |expression: &Expression| match expression {
        Expression::Variable(name) => variable(name, view, asker),
        Expression::Number(number) => Some(number.clone()),
        Expression::Version => variable("version", view, asker),
        Expression::Database => None,
        Expression::User => Some(format!("{}@admin", asker.user)),
        Expression::ConnectionId => Some(asker.connection_id.to_string()),
    };
    Table {
        columns: expressions.iter().map(|(_, name)| name.clone()).collect(),
        rows: vec![expressions.iter().map(|(expression, _)| value(expression)).collect()],
    }
}

/// The interface's version: clients derive a server's abilities from the number.
pub(super) const VERSION: &str = concat!("8.0.0-dbproxy-", env!("CARGO_PKG_VERSION"));

/// Variables that clients ask for when they connect; any other is NULL.
const VARIABLES: &[&str] = &[
    "autocommit",
    "auto_increment_increment",
    "character_set_client",
    "character_set_connection",
    "character_set_database",
    "character_set_results",
    "character_set_server",
    "collation_connection",
    "collation_server",
    "init_connect",
    "interactive_timeout",
    "license",
    "lower_case_table_names",
    "max_allowed_packet",
    "net_write_timeout",
    "performance_schema",
    "sql_mode",
    "system_time_zone",
    "time_zone",
    "transaction_isolation",
    "tx_isolation",
    "version",
    "version_comment",
    "wait_timeout",
];

fn variable(name: &str, view: &View, asker: &Asker) -> Option<String> {
    let value = match name {
        "version" => VERSION,
        "version_comment" => "dbproxy admin interface",
        "autocommit" | "auto_increment_increment" => "1",
        "character_set_client"
        | "character_set_connection"
        | "character_set_database"
        | "character_set_results"
        | "character_set_server" => "utf8mb4",
        "collation_connection" | "collation_server" => "utf8mb4_general_ci",
        "init_connect" | "sql_mode" => "",
        "license" => env!("CARGO_PKG_LICENSE"),
        "lower_case_table_names" | "performance_schema" => "0",
        "max_allowed_packet" => return Some(super::front::STATEMENT_BYTES_MOST.to_string()),
        "net_write_timeout" => "60",
        "system_time_zone" => "UTC",
        "time_zone" => "SYSTEM",
        "transaction_isolation" | "tx_isolation" => "REPEATABLE-READ",
        "interactive_timeout" | "wait_timeout" => {
            return Some(view.config.load().limits.idle_timeout.as_secs().to_string());
        }
        "pseudo_thread_id" => return Some(asker.connection_id.to_string()),
        _ => return None,
    };
    Some(value.to_owned())
}

fn table(columns: &[&str], rows: Vec<Vec<Option<String>>>) -> Table {
    Table { columns: columns.iter().map(|&column| column.to_owned()).collect(), rows }
}
