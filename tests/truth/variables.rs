//! `fixtures/truth/variables.tsv`: every variable that a session of the servers can set, and what is done with it.

use super::peer::{Peer, warm};
use super::support::{Client, Cluster, Flavor, Options, Proxy, accounts, flavors};
use std::collections::BTreeMap;

/// One line of the table.
struct Known {
    /// `mysql`, `mariadb`, `both`, or `other`: only in versions that are not here.
    servers: &'static str,
    /// What is done, in the words of `session::variables`.
    care: &'static str,
    /// A value to try, if none is found by trying; `=`: none that can be set here.
    sample: Option<&'static str>,
}

fn table() -> BTreeMap<&'static str, Known> {
    let lines = include_str!("../../fixtures/truth/variables.tsv").lines().filter(|line| !line.starts_with('#'));
    let read = |line: &'static str| {
        let mut cells = line.split('\t');
        let name = cells.next().expect("a name");
        let (servers, care) = (cells.next().expect("servers"), cells.next().expect("what is done"));
        (name, Known { servers, care, sample: cells.next() })
    };
    lines.map(read).collect()
}

impl Known {
    fn is_of(&self, flavor: Flavor) -> bool {
        self.servers == "both" || self.servers == if flavor == Flavor::MySql { "mysql" } else { "mariadb" }
    }
}

/// The server's own list of what a session has a value of.
fn listed(cluster: &Cluster) -> Vec<String> {
    let list = match cluster.flavor {
        Flavor::MySql => {
            "SELECT LOWER(VARIABLE_NAME) FROM performance_schema.variables_metadata WHERE VARIABLE_SCOPE LIKE 'SESSION%'"
        }
        Flavor::MariaDb => {
            "SELECT LOWER(VARIABLE_NAME) FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_SCOPE LIKE 'SESSION%'"
        }
    };
    cluster.primary().sql(list).into_iter().map(|mut row| row[0].take().expect("a name")).collect()
}

/// A literal that gives the variable another value than it has now.
fn sample(client: &mut Client, name: &str, known: &Known) -> Option<String> {
    let get = format!("SELECT @@SESSION.{name}");
    let now = client.value(&get);
    let candidates = match (known.sample, now.parse::<u64>()) {
        (Some("="), _) => return None,
        (Some(sample), _) => {
            return client.try_query(&format!("SET SESSION {name} = {sample}")).is_ok().then(|| sample.to_owned());
        }
        (None, Ok(number)) => {
            let numbers = [number / 2, number.saturating_mul(2), number.wrapping_add(1), 0, 1, 2];
            numbers.into_iter().map(|number| number.to_string()).collect()
        }
        (None, Err(_)) => ["0", "1", "2", "0.5"].map(str::to_owned).to_vec(),
    };
    candidates
        .into_iter()
        .find(|value| client.try_query(&format!("SET SESSION {name} = {value}")).is_ok() && client.value(&get) != now)
}

/// What is wrong with what became of it, if anything.
fn complaint(cluster: &Cluster, proxy: &Proxy, name: &str, care: &str, value: &str) -> Option<String> {
    let mut peer = Peer::through(proxy);
    // A read that asks for the variable is the primary's, but for one in a transaction that reads only.
    peer.ok("SELECT 1");
    peer.ok(&format!("SET SESSION {name} = {value}"));
    let set = peer.value(&format!("SELECT @@SESSION.{name}"));
    peer.ok("START TRANSACTION READ ONLY");
    let there = peer.row(&format!("SELECT @@port, @@SESSION.{name}"));
    let stays = care == "stay" || (care == "off" && !["0", "OFF"].contains(&value));
    match (there[0] == cluster.primary().port.to_string(), stays) {
        (true, false) => Some(format!("{name} = {value} holds the session on the primary")),
        (false, true) => Some(format!("{name} = {value} lets the session go to a replica")),
        (false, false) if there[1] != set => Some(format!("{name} = {value} is {set}, and {} on a replica", there[1])),
        _ => None,
    }
}

#[test]
fn every_variable_of_a_session_is_dealt_with_on_purpose() {
    let table = table();
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("GRANT ALL ON *.* TO app@'%'");
        cluster.wait_for_replicas();
        let listed = listed(&cluster);
        let new: Vec<_> = listed.iter().filter(|name| !table.contains_key(name.as_str())).collect();
        assert!(new.is_empty(), "{flavor:?} has variables that nobody decided about: {new:?}");
        let ghost = |(name, known): (&&str, &Known)| known.is_of(flavor) && !listed.iter().any(|own| own == *name);
        let gone: Vec<_> = table.iter().filter(|entry| ghost((entry.0, entry.1))).map(|entry| entry.0).collect();
        assert!(gone.is_empty(), "{flavor:?} does not have {gone:?}");

        let proxy = Proxy::start(&cluster, "");
        let (mut tried, mut untried, mut complaints) = (0, Vec::new(), Vec::new());
        for name in &listed {
            let known = &table[name.as_str()];
            if ["told", "tracking", "read_only"].contains(&known.care) {
                continue;
            }
            let mut client = cluster.primary().connect(accounts::APP).expect("a login");
            match sample(&mut client, name, known) {
                None if known.sample == Some("=") => {}
                None => untried.push(name),
                Some(value) => {
                    tried += 1;
                    complaints.extend(complaint(&cluster, &proxy, name, known.care, &value));
                }
            }
        }
        eprintln!("{flavor:?}: {} session variables, {tried} set", listed.len());
        assert!(complaints.is_empty(), "{flavor:?}:\n{}", complaints.join("\n"));
        assert!(untried.is_empty(), "{flavor:?}: no other value was found for {untried:?}");
    }
}
