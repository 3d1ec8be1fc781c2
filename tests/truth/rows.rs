//! `fixtures/truth/rows.toml`: each decision as it should be, through the proxy, and turned round.

use super::peer::{Packet, Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, Server, flavors, wait_for};
use dbproxy::wire::{Capabilities, Expect, OkPacket};
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    row: Vec<Row>,
}

/// One experiment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Line of the table in `docs/routing.md` that it is about.
    rule: String,
    /// What is shown.
    name: String,
    /// `mysql` or `mariadb`; both if it is left out.
    flavor: Option<String>,
    /// Run on the primary before each play, after the usual.
    #[serde(default)]
    reset: Vec<String>,
    play: String,
}

/// One statement of a script, and where it is played.
#[derive(Clone, Debug)]
struct Line {
    right: char,
    astray: char,
    sql: String,
}

impl Row {
    fn lines(&self) -> Vec<Line> {
        let line = |line: &str| {
            let mut letters = line.chars();
            let (right, astray) = (letters.next().expect("a place"), letters.next().expect("another"));
            assert!("prbo".contains(right) && "prbo".contains(astray), "{}: {line}", self.name);
            Line { right, astray, sql: letters.as_str().trim().to_owned() }
        };
        self.play.lines().map(line).collect()
    }

    fn is_for(&self, flavor: Flavor) -> bool {
        let word = if flavor == Flavor::MySql { "mysql" } else { "mariadb" };
        self.flavor.as_deref().is_none_or(|only| only == word)
    }
}

fn rows() -> Vec<Row> {
    let file: File = toml::from_str(include_str!("../../fixtures/truth/rows.toml")).expect("a table");
    file.row
}

const SETUP: &[&str] = &[
    "CREATE DATABASE other",
    "CREATE TABLE app.here (id INT PRIMARY KEY, mark VARCHAR(20))",
    "INSERT INTO app.here VALUES (1, 'primary'), (2, 'primary'), (3, 'primary')",
    "CREATE TABLE other.here SELECT id, CONCAT('other ', mark) AS mark FROM app.here",
    "CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)",
    "INSERT INTO app.t VALUES (1, 0), (2, 0)",
    "CREATE TABLE app.shape (id INT)",
    "CREATE FUNCTION app.seen() RETURNS VARCHAR(20) READS SQL DATA RETURN (SELECT mark FROM app.here WHERE id = 1)",
    "CREATE FUNCTION app.count (a INT) RETURNS VARCHAR(20) READS SQL DATA RETURN app.seen()",
    "CREATE FUNCTION app.bump() RETURNS INT DETERMINISTIC MODIFIES SQL DATA \
     BEGIN UPDATE app.t SET n = n + 1 WHERE id = 1; RETURN 1; END",
    "CREATE PROCEDURE app.bump_it() UPDATE app.t SET n = n + 1 WHERE id = 1",
    "CREATE PROCEDURE app.begins() BEGIN START TRANSACTION; UPDATE app.t SET n = n + 1 WHERE id = 1; END",
    "CREATE EVENT app.e ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01' DO DO 1",
    "CREATE ROLE truth_role",
    "GRANT SELECT ON app.* TO truth_role",
    "GRANT truth_role TO app@'%'",
];

const RESET: &[&str] = &["TRUNCATE TABLE app.t", "INSERT INTO app.t VALUES (1, 0), (2, 0)"];

/// From now on it follows nobody for an hour, and differs.
fn part(replica: &Server) {
    let (close, delay) = match replica.flavor {
        Flavor::MySql => ("super_read_only", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 3600"),
        Flavor::MariaDb => ("read_only", "CHANGE MASTER TO MASTER_DELAY = 3600"),
    };
    let open = format!("SET GLOBAL {close} = 0");
    let close = format!("SET GLOBAL {close} = 1");
    for sql in [
        "STOP REPLICA",
        &open,
        "SET sql_log_bin = 0",
        "UPDATE app.here SET mark = 'replica'",
        "UPDATE other.here SET mark = 'other replica'",
        "UPDATE app.t SET n = -1",
        "ALTER TABLE app.shape ADD COLUMN there INT, ADD INDEX (id)",
        "CREATE TABLE app.only_there (id INT)",
        "SET sql_log_bin = 1",
        &close,
        delay,
        "START REPLICA",
    ] {
        replica.sql(sql);
    }
}

/// What is said to each line.
type Outcome = Vec<String>;

/// Where scripts are played.
struct Stage {
    cluster: Cluster,
    proxy: Proxy,
}

impl Stage {
    fn build(flavor: Flavor) -> Self {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        for sql in SETUP {
            cluster.primary().sql(sql);
        }
        match flavor {
            Flavor::MySql => {
                cluster.primary().sql("GRANT REPLICATION CLIENT, REPLICATION SLAVE, BACKUP_ADMIN ON *.* TO app@'%'");
            }
            Flavor::MariaDb => {
                cluster.primary().sql("GRANT SLAVE MONITOR, BINLOG MONITOR, REPLICATION SLAVE ON *.* TO app@'%'");
                cluster.primary().sql("CREATE SEQUENCE app.seq");
            }
        }
        cluster.wait_for_replicas();
        cluster.replicas().iter().for_each(part);
        let proxy = Proxy::start(&cluster, "[routing]\nconsistency = \"eventual\"\nlag_limit_ms = 0\n");
        Self { cluster, proxy }
    }

    /// As if nothing had been played.
    fn reset(&self, row: &Row) {
        // Locks of a session are let go when its server notices that it is gone.
        for server in &self.cluster.servers {
            let sessions = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'app'";
            wait_for("the sessions of the last play to end", || (server.value(sessions) == "0").then_some(()));
            let _ = std::fs::remove_file(server.dir.join("data/app/truth.txt"));
        }
        for sql in RESET.iter().copied().chain(row.reset.iter().map(String::as_str)) {
            self.cluster.primary().sql(sql);
        }
    }

    /// Each line at the one server, or at the other.
    fn straight(&self, row: &Row, place: impl Fn(usize, &Line) -> char) -> Outcome {
        self.reset(row);
        let connect = |server: &Server| {
            let capabilities = Capabilities::DEPRECATE_EOF | Capabilities::MULTI_STATEMENTS;
            Peer::app(server.port, capabilities, Some("app"))
        };
        let (mut primary, mut replica) = (connect(self.cluster.primary()), connect(&self.cluster.replicas()[0]));
        let play = |(at, line): (usize, &Line)| match place(at, line) {
            'p' => say(&mut primary, &line.sql),
            'r' => say(&mut replica, &line.sql),
            'b' => {
                say(&mut replica, &line.sql);
                say(&mut primary, &line.sql)
            }
            _ => self.other(&line.sql),
        };
        row.lines().iter().enumerate().map(play).collect()
    }

    fn through(&self, row: &Row) -> Outcome {
        self.reset(row);
        let capabilities = Capabilities::DEPRECATE_EOF | Capabilities::MULTI_STATEMENTS;
        let mut peer = Peer::app(self.proxy.port, capabilities, Some("app"));
        let play = |line: &Line| if line.right == 'o' { self.other(&line.sql) } else { say(&mut peer, &line.sql) };
        row.lines().iter().map(play).collect()
    }

    /// Somebody else, on the primary.
    fn other(&self, sql: &str) -> String {
        match self.cluster.primary().try_sql(sql) {
            Ok(rows) => format!("{rows:?}"),
            Err(error) => format!("error {}", error.code),
        }
    }

    /// What is wrong with a row.
    fn complaints(&self, row: &Row) -> Vec<String> {
        let lines = row.lines();
        let right = self.straight(row, |_, line| line.right);
        let mut complaints = Vec::new();
        let told = |outcome: &Outcome| {
            let each = lines.iter().zip(outcome).zip(&right);
            let line = |((line, said), right): ((&Line, &String), &String)| {
                let mark = if said == right { ' ' } else { '*' };
                format!("  {mark} {}{} {}\n      {said}", line.right, line.astray, line.sql)
            };
            each.map(line).collect::<Vec<_>>().join("\n")
        };
        let through = self.through(row);
        if through != right {
            complaints.push(format!(
                "{}: {}: through the proxy:\n{}\n should be\n{}",
                row.rule,
                row.name,
                told(&through),
                told(&right)
            ));
        }
        for at in (0..lines.len()).filter(|at| lines[*at].right != lines[*at].astray) {
            let astray = self.straight(row, |other, line| if other == at { line.astray } else { line.right });
            if astray == right {
                complaints.push(format!(
                    "{}: {}: nobody would notice that {:?} went astray:\n{}",
                    row.rule,
                    row.name,
                    lines[at].sql,
                    told(&right)
                ));
            }
        }
        complaints
    }
}

/// A statement or command, and what came back: rows byte by byte, rows affected, or the error's number.
fn say(peer: &mut Peer, sql: &str) -> String {
    let answer = match sql.split_once(' ').unwrap_or((sql, "")) {
        ("!reset", _) => peer.run(&[0x1f], Expect::OnePacket),
        ("!schema", schema) => peer.run(&[b"\x02", schema.as_bytes()].concat(), Expect::OnePacket),
        ("!prepared", sql) => {
            let prepared = peer.run(&[b"\x16", sql.as_bytes()].concat(), Expect::Prepared).expect("an answer");
            match prepared[0].err() {
                Some(_) => Ok(prepared),
                None => {
                    peer.run(&[&[0x17][..], &prepared[0].payload[1..5], &[0, 1, 0, 0, 0]].concat(), Expect::Results)
                }
            }
        }
        _ => peer.try_query(sql),
    };
    let packets = answer.unwrap_or_else(|lost| panic!("{sql}: {lost:?}"));
    told(peer, &packets)
}

fn told(peer: &Peer, packets: &[Packet]) -> String {
    let mut said = Vec::new();
    let mut packets = packets.iter();
    while let Some(first) = packets.next() {
        match first.payload[0] {
            0xff => said.push(format!("error {}", first.err().expect("an error").code)),
            0 => {
                let ok = OkPacket::decode(&first.payload, peer.capabilities).expect("OK");
                said.push(format!("ok {}", ok.affected_rows));
            }
            columns => {
                let end = |packet: &&Packet| packet.payload[0] != 0xfe && packet.payload[0] != 0xff;
                let rows = packets.by_ref().skip(usize::from(columns)).take_while(end);
                said.push(format!("{:?}", rows.map(|row| row.payload.escape_ascii().to_string()).collect::<Vec<_>>()));
            }
        }
    }
    said.join(", ")
}

fn show(flavor: Flavor) {
    let only = std::env::var("DBPROXY_TRUTH").unwrap_or_default();
    let stage = Stage::build(flavor);
    let rows = rows();
    let shown: Vec<_> = rows.iter().filter(|row| row.is_for(flavor) && row.name.contains(&only)).collect();
    let turned: usize =
        shown.iter().map(|row| row.lines().iter().filter(|line| line.right != line.astray).count()).sum();
    let complaints: Vec<_> = shown.iter().flat_map(|row| stage.complaints(row)).collect();
    eprintln!("{flavor:?}: {} rows, {turned} decisions turned round one by one", shown.len());
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn every_decision_of_mysql_would_be_missed() {
    if flavors().contains(&Flavor::MySql) {
        show(Flavor::MySql);
    }
}

#[test]
fn every_decision_of_mariadb_would_be_missed() {
    if flavors().contains(&Flavor::MariaDb) {
        show(Flavor::MariaDb);
    }
}

/// Names of the functions in the tests' sources.
fn tests_in(folder: &std::path::Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of tests").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            tests_in(&entry, names);
        } else if entry.extension().is_some_and(|ext| ext == "rs") {
            let text = std::fs::read_to_string(&entry).expect("a test");
            names.extend(text.split("\nfn ").skip(1).filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
}

#[test]
fn the_routing_page_names_every_rule_and_what_shows_it() {
    let page = include_str!("../../docs/routing.md");
    let table = page.split_once("<!-- truth -->").and_then(|(_, rest)| rest.split_once("<!-- /truth -->"));
    let mut known = BTreeSet::new();
    tests_in(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut known);
    let mut with_rows = BTreeSet::new();
    for line in table.expect("the table").0.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [rule, _, rows, tests] = cells[..] else { panic!("not four cells: {line}") };
        if rows == "yes" {
            with_rows.insert(rule.trim_matches('`').to_owned());
        }
        let named: Vec<_> =
            tests.split(", ").filter(|test| !test.is_empty()).map(|test| test.trim_matches('`')).collect();
        assert!(rows == "yes" || !named.is_empty(), "nothing shows {rule}");
        for test in named {
            assert!(known.contains(test), "{rule}: there is no test {test}");
        }
    }
    let rules: BTreeSet<_> = rows().into_iter().map(|row| row.rule).collect();
    assert_eq!(with_rows, rules);
}
