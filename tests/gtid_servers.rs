//! GTID sets against the servers' own functions: what is a subset, a difference, a union, and how each is printed.
//!
//! MySQL has functions for it. MariaDB has none; there the server is given a position or a state, and asked what it makes of it and whether it
//! has reached another. A fixed seed; `GTID_SEED=17` plays another, `GTID_ROUNDS=10000` more of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![cfg(feature = "shell")]

#[path = "failover_sim/dice.rs"]
mod dice;
mod support;

use dbproxy::topology::{GtidHistory, MariaDbGtidPosition, MariaDbGtidState, MySqlGtidSet};
use dice::Dice;
use support::{Client, Cluster, Flavor, Options, accounts, flavors};

/// The last number that MySQL gives out.
const LAST: u64 = i64::MAX as u64 - 1;
const UUIDS: [&str; 3] = [
    "3e11fa47-71ca-11e1-9e33-c80aa9429562",
    "4350F323-7565-4E59-8763-4B1B83A0CE0E",
    "00000000-0000-0000-0000-000000000001",
];
const TAGS: [&str; 5] = ["", "", "blue", "_a", "thirty_two_characters_are_allowed"];

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

fn alone(flavor: Flavor) -> Option<Cluster> {
    let has = flavors().contains(&flavor);
    has.then(|| Cluster::start(flavor, Options { replicas: 0, ..Options::default() }))
}

/// A set as a person may write it: parts in any order, overlapping, in any case, with blanks.
fn mysql_text(dice: &mut Dice) -> String {
    let parts = (0..dice.below(5)).map(|_| {
        let mut part = UUIDS[dice.index(3)].to_owned();
        for _ in 0..dice.between(1, 3) {
            let tag = TAGS[dice.index(TAGS.len())];
            let tag = &tag[..tag.len().min(32)];
            if !tag.is_empty() {
                part += &format!(":{}", if dice.permille(500) { tag.to_uppercase() } else { tag.to_owned() });
            }
            for _ in 0..dice.between(1, 3) {
                let first = if dice.permille(50) { LAST - dice.below(5) } else { dice.between(1, 30) };
                let last = (first + dice.below(8)).min(LAST);
                part += &if dice.permille(300) { format!(":{first}") } else { format!(":{first}-{last}") };
            }
        }
        if dice.permille(200) { part.replace(':', " : ") } else { part }
    });
    parts.collect::<Vec<_>>().join([",", ",\n", " , "][dice.index(3)])
}

/// As the server prints it, on one line.
fn printed(text: &str) -> String {
    text.replace('\n', "")
}

#[test]
fn mysql_sets_are_the_servers_own() {
    let Some(cluster) = alone(Flavor::MySql) else { return };
    let mut dice = Dice::new(number("GTID_SEED", 4711));
    let rounds = number("GTID_ROUNDS", 3000);
    let mut client = cluster.primary().connect(accounts::APP).unwrap();
    let mut subsets = 0;
    for round in 0..rounds {
        let a = mysql_text(&mut dice);
        let b = if dice.permille(100) { a.clone() } else { mysql_text(&mut dice) };
        let row = client.query(&format!(
            "SELECT GTID_SUBSET('{b}', '{a}'), GTID_SUBTRACT('{a}', ''), GTID_SUBTRACT('{a}', '{b}'), GTID_SUBTRACT('{a},{b}', ''),
             GTID_SUBTRACT('{a}', GTID_SUBTRACT('{a}', '{b}'))"
        ));
        let cells: Vec<String> = row[0].iter().map(|cell| printed(&cell.clone().unwrap())).collect();
        let (ours, other): (MySqlGtidSet, MySqlGtidSet) = (a.parse().unwrap(), b.parse().unwrap());
        let (mut rest, mut union, mut common) = (ours.clone(), ours.clone(), ours.clone());
        rest.subtract(&other);
        union.merge(&other);
        common.intersect(&other);
        let told = [
            u8::from(ours.covers(&other)).to_string(),
            ours.to_string(),
            rest.to_string(),
            union.to_string(),
            common.to_string(),
        ];
        assert_eq!(told.map(|text| printed(&text)).to_vec(), cells, "round {round}: {a:?} and {b:?}");
        subsets += u64::from(cells[0] == "1");
    }
    println!("{rounds} pairs of sets, {subsets} of them subsets");
    assert!(subsets > rounds / 20 && subsets < rounds, "pairs of which the one is in the other are too rare, or all");
}

/// What both take for a set is the same one. We are the stricter: the server takes an interval that ends before it begins, for nothing.
#[test]
fn what_mysql_reads_is_read() {
    let Some(cluster) = alone(Flavor::MySql) else { return };
    let mut dice = Dice::new(number("GTID_SEED", 4712));
    let mut client = cluster.primary().connect(accounts::APP).unwrap();
    let (mut taken, mut refused, mut stricter) = (0, 0, 0);
    for _ in 0..number("GTID_ROUNDS", 3000) {
        let mut text: Vec<char> = mysql_text(&mut dice).chars().collect();
        for _ in 0..dice.between(1, 2) {
            let at = dice.index(text.len() + 1);
            match (dice.below(3), at < text.len()) {
                (0, true) => drop(text.remove(at)),
                (1, true) => text[at] = [':', ',', '-', '0', '9', 'a', 'g', ' ', '_'][dice.index(9)],
                _ => text.insert(at, [':', ',', '-', '0', '9', 'a', 'g', ' ', '_'][dice.index(9)]),
            }
        }
        let text: String = text.into_iter().collect();
        match client.try_query(&format!("SELECT GTID_SUBTRACT('{text}', '')")) {
            Ok(rows) => {
                let Ok(ours) = text.parse::<MySqlGtidSet>() else {
                    stricter += 1;
                    continue;
                };
                taken += 1;
                assert_eq!(printed(&ours.to_string()), printed(&rows[0][0].clone().unwrap()), "{text:?}");
            }
            Err(_) => refused += 1,
        }
    }
    println!("{taken} texts taken by both, {refused} refused, {stricter} refused by us alone");
    assert!(taken > 100 && refused > 100 && stricter < taken / 4, "{taken}, {refused}, {stricter}");
}

/// `domain-server-sequence`, each domain once.
fn position(dice: &mut Dice) -> String {
    let domains = (0..4).filter(|_| dice.permille(600)).collect::<Vec<u64>>();
    let gtids = domains.into_iter().map(|domain| {
        let sequence = if dice.permille(50) { u64::MAX - dice.below(3) } else { dice.between(1, 9) };
        format!("{domain}-{}-{sequence}", dice.between(1, 3))
    });
    gtids.collect::<Vec<_>>().join(",")
}

#[test]
fn mariadb_positions_are_the_servers_own() {
    let Some(cluster) = alone(Flavor::MariaDb) else { return };
    let mut dice = Dice::new(number("GTID_SEED", 4713));
    let server = cluster.primary();
    // Else the server warns of what its binary log has beyond a position.
    server.sql("RESET MASTER");
    let (mut reached, rounds) = (0, number("GTID_ROUNDS", 300));
    for round in 0..rounds {
        let (a, b) = (position(&mut dice), position(&mut dice));
        server.sql(&format!("SET GLOBAL gtid_slave_pos = '{a}'"));
        let (ours, other): (MariaDbGtidPosition, MariaDbGtidPosition) = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(ours.to_string(), server.value("SELECT @@GLOBAL.gtid_slave_pos"), "round {round}: {a}");
        // 0: it is there; -1: the time is over.
        let waited = server.value(&format!("SELECT MASTER_GTID_WAIT('{b}', 0)"));
        assert_eq!(ours.covers(&other), waited == "0", "round {round}: {a} and {b}: {waited}");
        reached += u64::from(waited == "0");
    }
    println!("{rounds} pairs of positions, {reached} reached");
    assert!(reached > rounds / 20 && reached < rounds);
}

/// As the binary log's state is: in each domain numbers rise, whoever wrote them.
fn state(dice: &mut Dice) -> String {
    let mut gtids = Vec::new();
    for domain in 0..4 {
        let mut sequence = 0;
        let mut servers = vec![1, 2, 3];
        for _ in 0..dice.below(4) {
            sequence += dice.between(1, 5);
            let server = servers.remove(dice.index(servers.len()));
            gtids.push(format!("{domain}-{server}-{sequence}"));
        }
    }
    gtids.join(",")
}

fn sorted(state: &str) -> Vec<&str> {
    let mut gtids: Vec<&str> = state.split(',').filter(|gtid| !gtid.is_empty()).collect();
    gtids.sort_unstable();
    gtids
}

#[test]
fn mariadb_states_are_the_servers_own() {
    let Some(cluster) = alone(Flavor::MariaDb) else { return };
    let mut dice = Dice::new(number("GTID_SEED", 4714));
    let server = cluster.primary();
    for round in 0..number("GTID_ROUNDS", 20) {
        let text = state(&mut dice);
        server.sql("RESET MASTER");
        server.sql(&format!("SET GLOBAL gtid_binlog_state = '{text}'"));
        let ours: MariaDbGtidState = text.parse().unwrap();
        let told = server.value("SELECT @@GLOBAL.gtid_binlog_state");
        // The server puts the last of a domain last, whoever wrote it.
        assert_eq!(sorted(&ours.to_string()), sorted(&told), "round {round}: {text}");
        assert_eq!(told.parse::<MariaDbGtidState>().unwrap(), ours);
        let position = server.value("SELECT @@GLOBAL.gtid_binlog_pos");
        assert_eq!(ours.position(), position.parse().unwrap(), "round {round}: {text}");
        // What another server wrote on top comes to what the set says.
        own_transactions(server, &mut dice, &ours);
    }
}

/// Transactions as servers 1 to 3 would write them: the state has grown by exactly those.
fn own_transactions(server: &support::Server, dice: &mut Dice, before: &MariaDbGtidState) {
    let mut client = Client::connect(&server.root_login()).unwrap();
    let mut grown = before.clone();
    for _ in 0..2 {
        let (domain, writer) = (dice.below(4), dice.between(1, 3));
        client.query(&format!("SET gtid_domain_id = {domain}, server_id = {writer}"));
        client.query("CREATE OR REPLACE TABLE app.gtids (id INT)");
        let last = client.value("SELECT @@last_gtid");
        grown.merge(&last.parse().unwrap());
        assert!(!before.covers(&last.parse().unwrap()), "{last} is new after {before}");
    }
    let told: MariaDbGtidState = server.value("SELECT @@GLOBAL.gtid_binlog_state").parse().unwrap();
    assert_eq!(told, grown);
    let wrapped = GtidHistory::MariaDb(told.clone());
    assert!(wrapped.covers(&GtidHistory::MariaDb(before.clone())) && told.covers(&grown));
}
