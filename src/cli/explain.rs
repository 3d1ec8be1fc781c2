//! `dbproxy explain`: facts, target and reason of one statement, offline.

use super::{ConfigFile, Exit, load, print};
use clap::{Args, ValueEnum};
use dbproxy::config::Config;
use dbproxy::route::{self, Frontier, Load, Moment, Needs, Refusal, Route, SessionView};
use dbproxy::sql::{self, CharsetFamily, Facts, Lexis};
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
    match decide(&config, &facts) {
        Ok(route) => print(&answer(&facts, &route, arguments.format)),
        Err(refusal) => {
            eprintln!("no server would take it: {refusal:?}");
            Exit::Bad
        }
    }
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

fn answer(facts: &Facts, route: &Route, form: Form) -> String {
    let (target, reason) = (route.target.as_str(), route.reason.as_str());
    let hold = facts.hold.map(sql::Hold::as_str);
    match form {
        Form::Text => {
            let mut text = format!("target  {target}\nreason  {reason}\neffect  {}\n", facts.effect.as_str());
            text += &format!("why     {}\n", facts.why.as_str());
            if let Some(hold) = hold {
                text += &format!("hold    {hold}\n");
            }
            if facts.sets_charset {
                text += "sets    character set\n";
            }
            if let Some(kill) = facts.kill {
                text += &format!("kills   {}{}\n", if kill.query_only { "query of " } else { "" }, kill.id);
            }
            text
        }
        Form::Json => {
            let kill = facts.kill.map(|kill| serde_json::json!({"id": kill.id, "query_only": kill.query_only}));
            let json = serde_json::json!({
                "target": target,
                "reason": reason,
                "facts": {
                    "effect": facts.effect.as_str(),
                    "why": facts.why.as_str(),
                    "hold": hold,
                    "sets_charset": facts.sets_charset,
                    "kill": kill,
                },
            });
            format!("{json:#}\n")
        }
    }
}
