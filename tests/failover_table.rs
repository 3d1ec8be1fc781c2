//! Small stories and what the planner makes of them (`fixtures/failover/*.toml`, but for the simulation's seeds): the problem it names, whom
//! it chooses and what is against the others, what it refuses and why. `BLESS=1` writes down what it says now; read every line of the
//! difference.
//!
//! The servers are those of the simulation, with nothing left to chance: what happens to them stands in the story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(dead_code, reason = "of the simulation's parts not all are needed here")]

#[path = "failover_sim/check.rs"]
mod check;
#[path = "failover_sim/dice.rs"]
mod dice;
#[path = "failover_sim/faults.rs"]
mod faults;
#[path = "failover_sim/orders.rs"]
mod orders;
#[path = "failover_sim/replicate.rs"]
mod replicate;
#[path = "failover_sim/sabotage.rs"]
mod sabotage;
#[path = "failover_table/script.rs"]
mod script;
#[path = "failover_sim/server.rs"]
mod server;
#[path = "failover_table/told.rs"]
mod told;
#[path = "failover_sim/world.rs"]
mod world;

use dbproxy::failover::Problem;
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One story.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows.
    name: String,
    /// `mysql`, `mariadb`, or both where they do the same.
    flavor: String,
    /// How many; 0 is the primary, the others replicate from it.
    #[serde(default = "three")]
    servers: usize,
    /// What the operator wants, where it is not the default.
    #[serde(default)]
    policy: Vec<String>,
    /// `time  what happens`, a line each; the last time is the end.
    story: String,
    /// What the planner says.
    told: String,
}

const fn three() -> usize {
    3
}

#[derive(Deserialize)]
struct Table {
    case: Vec<Case>,
}

/// Words of refusals that must stand somewhere in the tables: a reason that no story leads to may be wrong unseen.
const REFUSALS: &[&str] = &[
    // Of candidates.
    "has errant transactions",
    "must never be promoted",
    "is not the requested candidate",
    "GTIDs are off",
    "has no binary log",
    "does not log what it applies",
    "has replication filters",
    "its disk is full",
    "has a configured delay",
    "cannot apply what it has received",
    "has a newer version",
    "acknowledging replicas,",
    "has not reported its state yet",
    "failed in this change",
    "is in maintenance",
    "in quarantine: has transactions",
    "its disk failed",
    "is the primary to be replaced",
    "that no other server can supply",
    "may have lost its last transactions",
    // Of failovers.
    "are needed to prove that none is lost",
    "each have transactions of the old primary that the other lacks",
    "no eligible candidate among",
    "the old primary may still accept writes",
    "behind, more than is allowed",
    "mode is observe",
    "mode is manual",
    "paused",
    "the operator works on the primary",
    "failovers within",
    "hooks.before cancelled a failover",
    "no primary is known, so its transactions",
    "commits waited for replicas",
    "enough acknowledging replicas answer",
    // Of switchovers.
    "is the primary already",
    "the primary is read-only",
    "the primary's last report is too old",
    "use `dbproxy failover`",
    "its replication does not run",
    "has not heard the primary recently",
    "does not report its lag",
    "no replica of the primary answers",
    "there is no such replica",
    "the primary is locked",
    "a transaction has been open for",
    "2 transactions are open",
    "the primary could not be asked",
    "a change of the primary is in progress",
    "the switchover was undone",
    // Of taking servers back.
    "it is the primary",
    "another server is rejoining",
    "it does not answer",
    "the primary has purged transactions that it lacks",
    "`rejoin` with clone rebuilds it",
    "only MySQL can be rebuilt by cloning",
    "it changed while it was compared",
];

fn tables() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/failover");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "toml") && !path.ends_with("seeds.toml"))
        .collect();
    tables.sort();
    tables
}

fn read(path: &Path) -> (String, Vec<Case>) {
    let text = std::fs::read_to_string(path).unwrap();
    let head = text.split("[[case]]").next().unwrap().to_owned();
    let table: Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (head, table.case)
}

#[test]
fn every_story_ends_as_it_is_told() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = String::new();
    for path in tables() {
        let (mut text, cases) = read(&path);
        for case in &cases {
            let told = script::played(case);
            if told.trim() != case.told.trim() {
                let _ = write!(wrong, "\n--- {}\nexpected:\n{}\ntold:\n{told}", case.name, case.told.trim());
            }
            text.push_str(&written(case, &told));
        }
        if bless {
            std::fs::write(&path, text.trim_end().to_owned() + "\n").unwrap();
        }
    }
    assert!(bless || wrong.is_empty(), "{wrong}");
}

fn written(case: &Case, told: &str) -> String {
    let mut text = format!("[[case]]\nname = {:?}\nflavor = {:?}\n", case.name, case.flavor);
    if case.servers != three() {
        let _ = writeln!(text, "servers = {}", case.servers);
    }
    if !case.policy.is_empty() {
        let _ = writeln!(text, "policy = {:?}", case.policy);
    }
    let _ = write!(text, "story = '''\n{}\n'''\ntold = '''\n{}\n'''\n\n", case.story.trim(), told.trim());
    text
}

#[test]
fn the_tables_lead_to_every_problem_and_every_refusal() {
    let told: String = tables().iter().flat_map(|path| read(path).1).map(|case| case.told + "\n").collect();
    let missing: Vec<String> = Problem::all()
        .map(|problem| format!("problem {}\n", told::word(&problem)))
        .chain(REFUSALS.iter().map(|text| (*text).to_owned()))
        .filter(|text| !told.contains(text))
        .collect();
    assert!(missing.is_empty(), "no story leads to: {missing:#?}");
}
