//! `dbproxy explain`: facts, target and reason of one statement; offline, or as a live session would have it.

use super::http::{asked_address, post};
use super::{ConfigFile, Exit, load, print};
use clap::{Args, ValueEnum};
use dbproxy::config::Config;
use dbproxy::proxy::explanation;
use dbproxy::route::{Frontier, Load, Moment};
use dbproxy::session::{self, Login, Session};
use dbproxy::sql::{self, CharsetFamily, Lexis, Structure, Verdicts};
use dbproxy::tasks;
use dbproxy::topology::{Defaults, Flavor, GtidSet, Health, Role, ServerId, Topology, Writes};
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

/// One word and its value a line, the decision first; what is not so has no line.
fn lines(answer: &Value) -> String {
    let shown: Vec<_> = words(answer).into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = shown.iter().map(|(word, _)| word.len() + 1).max().unwrap_or_default().max(8);
    shown.iter().map(|(word, value)| format!("{word:<width$}{value}\n")).collect()
}

fn words(answer: &Value) -> Vec<(String, String)> {
    const PLAIN: [&str; 6] = ["why", "error", "message", "waits_for", "leaves", "timeout_ms"];
    let facts = &answer["facts"];
    let outcome = plain(&answer["outcome"]);
    let kill = &facts["kill"];
    let query = if kill["query_only"] == true { "query of " } else { "" };
    let kills = if kill.is_null() { String::new() } else { format!("{query}{}", kill["id"]) };
    let clauses = [("has_where", "where"), ("has_limit", "limit")];
    let clauses: Vec<_> = clauses.into_iter().filter(|(key, _)| facts[key] == true).map(|(_, clause)| clause).collect();
    let sets = if facts["sets_charset"] == true { "character set" } else { "" };
    let unparsed = " (not parsed: any of these may be a table)";
    let names = if answer["names"].is_null() { String::new() } else { plain(&answer["names"]) + unparsed };
    let parser = &answer["parser"];
    let parser = format!("{} {}", plain(&parser["verdict"]), plain(&parser["why"]));
    let mut words: Vec<(String, String)> = [
        ("outcome", if outcome == "runs" { String::new() } else { outcome }),
        ("target", plain(&answer["target"])),
        ("reason", plain(&answer["reason"])),
        ("server", plain(&answer["server"])),
        ("effect", plain(&facts["effect"])),
        ("why", plain(&facts["why"])),
        ("hold", plain(&facts["hold"])),
        ("sets", sets.to_owned()),
        ("kills", kills),
        ("kind", plain(&facts["kind"])),
        ("clauses", clauses.join(" ")),
        ("parser", parser.trim().to_owned()),
        ("reads", tables(&answer["tables"], "read")),
        ("writes", tables(&answer["tables"], "written")),
        ("names", names),
        ("calls", plain(&answer["functions"])),
        ("digest", plain(&answer["digest"])),
        ("rule", plain(&answer["rule"])),
    ]
    .map(|(word, value)| (word.to_owned(), value))
    .into();
    words.extend(PLAIN.into_iter().map(|key| (key.to_owned(), plain(&answer[key]))));
    for part in ["hints", "session"] {
        for (name, value) in answer[part].as_object().into_iter().flatten().filter(|(_, value)| **value != 0) {
            words.push((format!("{part}.{name}"), plain(value)));
        }
    }
    words
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(false) => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Names of the tables that are used so.
fn tables(tables: &Value, used: &str) -> String {
    let name = |table: &Value| {
        let parts = [plain(&table["schema"]), plain(&table["name"])];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    };
    let used = tables.as_array().into_iter().flatten().filter(|table| table[used] == true);
    used.map(name).collect::<Vec<_>>().join(" ")
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
    let mut answer = explained(arguments, &config, statement, &structure);
    // Of a session and a cluster that are made up.
    if let Some(answer) = answer.as_object_mut() {
        answer.retain(|key, _| key != "session" && key != "server");
    }
    if answer["outcome"] == "waits for a primary" {
        eprintln!("no server would take it: {}", plain(&answer["why"]));
        return Exit::Bad;
    }
    match arguments.format {
        Form::Json => print(&format!("{answer:#}\n")),
        Form::Text => print(&lines(&answer)),
    }
}

/// The parser has a thread of its own here as in the data plane. Without one, the facts are shown all the same.
fn taken_apart(sql: &[u8], lexis: Lexis) -> Structure {
    let sql = sql.to_vec();
    tasks::compute_on_stack(sql::STACK_BYTES, move || sql::structure(&sql, lexis)).unwrap_or_else(Structure::unknown)
}

/// The decision of the data plane itself, for a new session on a cluster in which everything is well.
fn explained(arguments: &Arguments, config: &Config, statement: &str, structure: &Structure) -> Value {
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
    let (topology, load) = (well(config, login.flavor), |_: ServerId| Load::default());
    let (policy, positions) = (&config.routing.policy, &Frontier::default());
    let moment = Moment {
        structure: Some(structure),
        verdicts: &Verdicts::small(),
        topology: &topology,
        policy,
        now: Instant::now(),
        roll: 0,
        load: &load,
        positions,
    };
    explanation(&Session::new(limits, login), Some(statement), &moment)
}

/// A healthy cluster that replicates by GTID. The first server is the primary; if only one is configured, a replica is made up, because
/// the answer is about the statement.
fn well(config: &Config, flavor: Flavor) -> Topology {
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
        server.gtid_executed = Some(Arc::new(GtidSet::empty(flavor)));
    }
    topology
}
