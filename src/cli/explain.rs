//! `dbproxy explain`: facts, target and reason of one statement; offline, or as a live session would have it.

use super::http::{asked_address, post};
use super::{ConfigFile, Exit, load, print};
use clap::{Args, ValueEnum};
use dbproxy::config::Config;
use dbproxy::route::{Frontier, Load, Moment, Route};
use dbproxy::session::{self, Explained, Login, Outcome, Session};
use dbproxy::sql::{self, CharsetFamily, Facts, Lexis, Structure, TableUse, Tables};
use dbproxy::tasks;
use dbproxy::topology::{Defaults, Epoch, Flavor, Health, Role, ServerId, Topology, Writes};
use dbproxy::wire::{Capabilities, Status};
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Ask this session of the running dbproxy (at http.address of the configuration): its id, as in SHOW SESSIONS
    #[arg(long, value_name = "ID")]
    session: Option<u32>,
    /// Which product to read the statement as
    #[arg(long, default_value = "mysql", conflicts_with = "session")]
    flavor: FlavorWord,
    /// Account of the new session that is answered for; rules may be about it
    #[arg(long, default_value = "", conflicts_with = "session")]
    user: String,
    /// Its default schema
    #[arg(long, conflicts_with = "session")]
    schema: Option<String>,
    /// Form of the answer
    #[arg(long, default_value = "text")]
    format: Form,
    /// The statement; with --session it may be left out
    #[arg(value_name = "SQL", required_unless_present = "session")]
    statement: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum FlavorWord {
    Mysql,
    Mariadb,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Form {
    Text,
    Json,
}

pub fn explain(arguments: &Arguments) -> Exit {
    match (arguments.session, &arguments.statement) {
        (Some(session), statement) => live(arguments, session, statement.as_deref()),
        (None, Some(statement)) => offline(arguments, statement),
        (None, None) => Exit::Bad,
    }
}

/// Asks a session of the running dbproxy.
fn live(arguments: &Arguments, session: u32, statement: Option<&str>) -> Exit {
    let address = match asked_address(&arguments.config.config, None) {
        Ok(address) => address,
        Err(exit) => return exit,
    };
    let question = serde_json::json!({"session": session, "statement": statement}).to_string();
    let answer = post(address, "/explain", &question)
        .and_then(|body| serde_json::from_slice::<Value>(&body).map_err(std::io::Error::from));
    match (answer, arguments.format) {
        (Ok(answer), Form::Json) => print(&format!("{answer:#}\n")),
        (Ok(answer), Form::Text) => print(&lines(&answer)),
        (Err(error), _) => {
            eprintln!("http://{address}/explain: {error}");
            Exit::Bad
        }
    }
}

/// What is there, one line each; the decision comes first.
fn lines(answer: &Value) -> String {
    const FIRST: [&str; 4] = ["outcome", "target", "reason", "server"];
    let parts = [("facts", ""), ("session", "session.")];
    let mut out = String::new();
    let mut line = |name: &str, value: &Value| {
        let shown = match value {
            Value::Null | Value::Bool(false) => return,
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        if !shown.is_empty() {
            out += &format!("{name:<23}{shown}\n");
        }
    };
    for name in FIRST {
        line(name, &answer[name]);
    }
    for (name, value) in answer.as_object().into_iter().flatten() {
        if !FIRST.contains(&name.as_str()) && parts.iter().all(|(part, _)| part != name) {
            line(name, value);
        }
    }
    for (part, prefix) in parts {
        for (name, value) in answer[part].as_object().into_iter().flatten() {
            line(&format!("{prefix}{name}"), value);
        }
    }
    out
}

/// Answers for a new session (utf8mb4, no transaction, nothing written) while the whole cluster is up.
fn offline(arguments: &Arguments, statement: &str) -> Exit {
    let config = match load(&arguments.config.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let flavor = match arguments.flavor {
        FlavorWord::Mysql => sql::Flavor::MySql,
        FlavorWord::Mariadb => sql::Flavor::MariaDb,
    };
    let lexis = Lexis { charset: CharsetFamily::AsciiSafe, no_backslash_escapes: false, ansi_quotes: false, flavor };
    let structure = taken_apart(statement.as_bytes(), lexis);
    let Explained { facts, outcome } = explained(arguments, &config, statement, &structure);
    match outcome {
        Outcome::Runs { server, target, reason, rule, .. } => {
            let route = Route { server, target, epoch: Epoch(0), reason, wait: false };
            let mut answer = answer(&facts, &structure, &route, arguments.format);
            if let (Some(rule), Form::Text) = (rule, arguments.format) {
                answer += &format!("{:<8}{rule}\n", "rule");
            }
            print(&answer)
        }
        Outcome::Answered => print("answered by dbproxy itself\n"),
        Outcome::Fails(err) => {
            print(&format!("refused with error {}: {}\n", err.code, String::from_utf8_lossy(&err.message)))
        }
        Outcome::Waits(refusal) => {
            eprintln!("no server would take it: {refusal:?}");
            Exit::Bad
        }
    }
}

/// The parser has a thread of its own here as in the data plane. Without one, the facts are shown all the same.
fn taken_apart(sql: &[u8], lexis: Lexis) -> Structure {
    let sql = sql.to_vec();
    tasks::compute_on_stack(sql::STACK_BYTES, move || sql::structure(&sql, lexis)).unwrap_or_else(Structure::unknown)
}

/// The decision of the data plane itself, for a new session on a cluster in which everything is well.
fn explained(arguments: &Arguments, config: &Config, statement: &str, structure: &Structure) -> Explained {
    /// utf8mb4_general_ci
    const COLLATION: u16 = 45;
    let login = Login {
        user: Arc::from(arguments.user.as_str()),
        client: 0,
        capabilities: Capabilities::PROTOCOL_41,
        collation: COLLATION,
        schema: arguments.schema.as_ref().map(|schema| schema.clone().into_bytes()),
        status: Status::AUTOCOMMIT,
        defaults: Arc::new(Defaults::of(|name| (name == "sql_mode").then(String::new))),
        flavor: match arguments.flavor {
            FlavorWord::Mysql => Flavor::MySql,
            FlavorWord::Mariadb => Flavor::MariaDb,
        },
    };
    let limits = session::Policy {
        prepared_text_max: 0,
        prepared_text_total_max: 0,
        prepared_max: 0,
        connection_ids_from: dbproxy::conn::FIRST_ID,
    };
    let (topology, load) = (well(config), |_: ServerId| Load::default());
    let (policy, acknowledged) = (&config.routing.policy, &Frontier::default);
    let moment = Moment {
        structure: Some(structure),
        topology: &topology,
        policy,
        now: Instant::now(),
        roll: 0,
        load: &load,
        acknowledged,
    };
    Session::new(limits, login).explain(statement, &moment)
}

/// The first server is the primary; with a single one, a replica is made up, since the answer is about the statement.
fn well(config: &Config) -> Topology {
    let mut addresses = config.cluster.servers.clone();
    if addresses.len() == 1 {
        addresses.push(Arc::from("replica:3306"));
    }
    let mut topology = Topology::unseen(config.cluster.name.clone(), &addresses);
    topology.writes = Writes::Primary(ServerId(0));
    for (n, server) in topology.servers.iter_mut().enumerate() {
        let server = Arc::make_mut(server);
        server.role = if n == 0 { Role::Primary } else { Role::Replica };
        server.health = Health::Up;
        server.lag_ms = (n > 0).then_some(0);
    }
    topology
}

fn answer(facts: &Facts, structure: &Structure, route: &Route, form: Form) -> String {
    match form {
        Form::Text => text(facts, structure, route),
        Form::Json => format!("{:#}\n", json(facts, structure, route)),
    }
}

/// One word and its value a line; what is not so has no line.
fn text(facts: &Facts, structure: &Structure, route: &Route) -> String {
    let clauses = [facts.has_where.then_some("where"), facts.has_limit.then_some("limit")];
    let kills = facts.kill.map(|kill| format!("{}{}", if kill.query_only { "query of " } else { "" }, kill.id));
    let lines = [
        ("target", Some(route.target.as_str().to_owned())),
        ("reason", Some(route.reason.as_str().to_owned())),
        ("effect", Some(facts.effect.as_str().to_owned())),
        ("why", Some(facts.why.as_str().to_owned())),
        ("hold", facts.hold.map(|hold| hold.as_str().to_owned())),
        ("sets", facts.sets_charset.then(|| "character set".to_owned())),
        ("kills", kills),
        ("kind", Some(facts.kind.as_str().to_owned())),
        ("clauses", Some(clauses.into_iter().flatten().collect::<Vec<_>>().join(" "))),
        ("reads", tables(structure, |used| used.read)),
        ("writes", tables(structure, |used| used.written)),
        ("names", names(structure)),
        ("calls", Some(structure.functions.join(" "))),
        ("digest", structure.digest.clone()),
    ];
    let shown = lines.into_iter().filter_map(|(word, value)| Some((word, value.filter(|value| !value.is_empty())?)));
    shown.map(|(word, value)| format!("{word:<8}{value}\n")).collect()
}

/// Names of the tables that are used so.
fn tables(structure: &Structure, is_so: impl Fn(&TableUse) -> bool) -> Option<String> {
    let Tables::Known(tables) = &structure.tables else { return None };
    Some(tables.iter().filter(|used| is_so(used)).map(name).collect::<Vec<_>>().join(" "))
}

fn name(used: &TableUse) -> String {
    used.schema.iter().chain([&used.name]).cloned().collect::<Vec<_>>().join(".")
}

/// What may be a table, where the statement was not parsed.
fn names(structure: &Structure) -> Option<String> {
    match &structure.tables {
        Tables::Known(_) => None,
        Tables::Among(names) => Some(format!("{} (not parsed: any of these may be a table)", names.join(" "))),
        Tables::Unknown => Some("not known".to_owned()),
    }
}

fn json(facts: &Facts, structure: &Structure, route: &Route) -> serde_json::Value {
    let kill = facts.kill.map(|kill| serde_json::json!({"id": kill.id, "query_only": kill.query_only}));
    let tables = match &structure.tables {
        Tables::Known(tables) => {
            let one = |used: &TableUse| {
                serde_json::json!({
                    "schema": used.schema, "name": used.name, "read": used.read, "written": used.written,
                })
            };
            serde_json::Value::Array(tables.iter().map(one).collect())
        }
        Tables::Among(_) | Tables::Unknown => serde_json::Value::Null,
    };
    serde_json::json!({
        "target": route.target.as_str(),
        "reason": route.reason.as_str(),
        "facts": {
            "effect": facts.effect.as_str(),
            "why": facts.why.as_str(),
            "hold": facts.hold.map(sql::Hold::as_str),
            "sets_charset": facts.sets_charset,
            "kill": kill,
            "kind": facts.kind.as_str(),
            "has_where": facts.has_where,
            "has_limit": facts.has_limit,
        },
        "tables": tables,
        "functions": structure.functions,
        "digest": structure.digest,
    })
}
