//! `dbproxy explain`: facts, target and reason of one statement, offline.

use super::{ConfigFile, Exit, load, print};
use clap::{Args, ValueEnum};
use dbproxy::config::Config;
use dbproxy::route::{self, Demand, Frontier, Load, Moment, Needs, Reason, Refusal, Route, SessionView};
use dbproxy::sql::{self, CharsetFamily, Facts, Lexis, Structure, TableUse, Tables};
use dbproxy::topology::{Health, Role, ServerId, Topology, Writes};
use std::sync::Arc;
use std::time::Instant;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Which product to read the statement as
    #[arg(long, default_value = "mysql")]
    flavor: FlavorWord,
    /// Form of the answer
    #[arg(long, default_value = "text")]
    format: Form,
    /// The statement
    #[arg(value_name = "SQL")]
    statement: String,
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

/// Answers for a new session (utf8mb4, no transaction, nothing written) while the whole cluster is up.
pub fn explain(arguments: &Arguments) -> Exit {
    let config = match load(&arguments.config.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let flavor = match arguments.flavor {
        FlavorWord::Mysql => sql::Flavor::MySql,
        FlavorWord::Mariadb => sql::Flavor::MariaDb,
    };
    let lexis = Lexis { charset: CharsetFamily::AsciiSafe, no_backslash_escapes: false, ansi_quotes: false, flavor };
    let facts = sql::classify(arguments.statement.as_bytes(), lexis);
    let structure = taken_apart(arguments.statement.as_bytes(), lexis);
    match decide(&config, &facts) {
        Ok(route) => print(&answer(&facts, &structure, &route, arguments.format)),
        Err(refusal) => {
            eprintln!("no server would take it: {refusal:?}");
            Exit::Bad
        }
    }
}

/// The parser has a thread of its own here as in the data plane. Without one, the facts are shown all the same.
fn taken_apart(sql: &[u8], lexis: Lexis) -> Structure {
    let sql = sql.to_vec();
    let thread = std::thread::Builder::new().stack_size(sql::STACK_BYTES);
    let running = thread.spawn(move || sql::structure(&sql, lexis));
    running.ok().and_then(|running| running.join().ok()).unwrap_or_else(Structure::unknown)
}

/// The decision of the data plane itself, on a cluster in which everything is well.
fn decide(config: &Config, facts: &Facts) -> Result<Route, Refusal> {
    let needs = Needs::default();
    let view = SessionView {
        in_transaction: false,
        autocommit: true,
        pin: None,
        last: None,
        replica: None,
        needs: &needs,
        proven: None,
        demand: Demand::default(),
        demanded_by: Reason::Hint,
    };
    let (topology, policy, load) = (well(config), &config.routing.policy, |_: ServerId| Load::default());
    route::decide(
        facts,
        &view,
        &Moment {
            topology: &topology,
            policy,
            now: Instant::now(),
            roll: 0,
            load: &load,
            acknowledged: &Frontier::default,
        },
    )
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
