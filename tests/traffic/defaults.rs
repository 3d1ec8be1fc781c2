//! What new sessions begin with: as at the primary when the client logged in, on whatever server a statement runs, and also if it
//! changes while dbproxy runs.

use super::peer::{As, Packet, Peer, USUAL, warm};
use super::support::{Cluster, Options, Proxy, flavors, wait_for};
use dbproxy::wire::{Capabilities, OkPacket, Status};

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
        cluster.primary().sql("INSERT INTO app.t (n) VALUES (1111), (2222)");
        cluster.primary().sql("CREATE USER few@'%' IDENTIFIED BY 'few-secret'");
        cluster.primary().sql("GRANT SELECT, INSERT ON app.* TO few@'%'");
        cluster.wait_for_replicas();
        for server in &cluster.servers {
            drop(server.connect(("few", "few-secret")).expect("a login"));
        }
        run(&cluster, &Proxy::start(&cluster, "[[user]]\nname = \"few\"\npassword = \"few-secret\"\n"));
    }
}

/// As an account without any right beside its tables: `init_connect` is run for it.
fn few(port: u16) -> Peer {
    let capabilities = USUAL | Capabilities::DEPRECATE_EOF;
    let login = As { user: "few", password: "few-secret", schema: Some("app"), capabilities, ..As::default() };
    Peer::connect(port, &login).expect("a login")
}

/// Several intervals of the monitor.
fn seen_by_the_monitor() {
    std::thread::sleep(std::time::Duration::from_millis(800));
}

fn begins_with_autocommit(peer: &Peer) -> bool {
    OkPacket::decode(&peer.login, peer.capabilities).expect("OK").status.has(Status::AUTOCOMMIT)
}

#[test]
fn autocommit_that_is_switched_off_for_new_sessions_is_noticed() {
    each(|cluster, proxy| {
        let count = || cluster.primary().value("SELECT COUNT(*) FROM app.t WHERE n = 5");
        // Logged in before, and without a backend at the primary so far: the schema is known from another login.
        drop(few(proxy.port));
        let mut old = few(proxy.port);
        assert!(begins_with_autocommit(&old));
        cluster.primary().sql("SET GLOBAL autocommit = 0");
        let mut new = wait_for("new sessions to begin without autocommit", || {
            let peer = few(proxy.port);
            (!begins_with_autocommit(&peer)).then_some(peer)
        });
        new.ok("INSERT INTO t (n) VALUES (5)");
        new.ok("ROLLBACK");
        assert_eq!(count(), "0", "{:?}: rolled back", cluster.flavor);
        assert_eq!(new.value("SELECT @@autocommit"), "0");
        old.ok("INSERT INTO t (n) VALUES (5)");
        old.ok("ROLLBACK");
        assert_eq!(count(), "1", "{:?}: its session began before", cluster.flavor);
        assert_eq!(old.value("SELECT @@autocommit"), "1");
    });
}

#[test]
fn a_replica_without_autocommit_is_given_that_of_the_primary() {
    each(|cluster, proxy| {
        cluster.replicas().iter().for_each(|replica| drop(replica.sql("SET GLOBAL autocommit = 0")));
        let mut peer = few(proxy.port);
        assert_ne!(peer.value("SELECT @@server_id"), "1");
        cluster.primary().sql("INSERT INTO app.t (n) VALUES (6)");
        cluster.wait_for_replicas();
        assert_eq!(peer.value("SELECT COUNT(*) FROM t WHERE n = 6"), "1", "no snapshot was kept open");
    });
}

/// Globals, and a plain read whose answer depends on them.
const GLOBALS: &[(&str, &str, &str)] = &[
    ("sql_mode", "'ANSI_QUOTES'", "SELECT \"n\" FROM t ORDER BY id LIMIT 1"),
    ("sql_mode", "'NO_BACKSLASH_ESCAPES'", "SELECT LENGTH('a\\b')"),
    ("time_zone", "'+05:00'", "SELECT FROM_UNIXTIME(0)"),
    ("group_concat_max_len", "5", "SELECT GROUP_CONCAT(n ORDER BY n) FROM t"),
    ("div_precision_increment", "2", "SELECT 1/3"),
    ("lc_time_names", "'de_DE'", "SELECT DAYNAME('2024-01-01')"),
    ("default_week_format", "3", "SELECT WEEK('2008-02-20')"),
    ("sql_select_limit", "1", "SELECT n FROM t ORDER BY n"),
    ("max_join_size", "1", "SELECT a.n FROM t a, t b"),
];

#[test]
fn the_defaults_of_the_primary_are_those_of_its_sessions_on_every_server() {
    each(|cluster, proxy| {
        for (name, value, read) in GLOBALS {
            for (changed, servers) in [(0, &cluster.servers[..1]), (1, cluster.replicas())] {
                let server = &servers[0];
                let set =
                    |value: &str| servers.iter().for_each(|one| drop(one.sql(&format!("SET GLOBAL {name} = {value}"))));
                let before = server.value(&format!("SELECT @@global.{name}"));
                let mut old = (few(cluster.primary().port), few(proxy.port));
                set(value);
                let now = server.value(&format!("SELECT @@global.{name}"));
                wait_for("the change to be seen", || {
                    let seen = few(proxy.port).value(&format!("SELECT @@{name}"));
                    (changed != 0 || seen == now).then_some(())
                });
                seen_by_the_monitor();
                let what = format!("{:?}: {name} = {value} on {}", cluster.flavor, server.address());
                for _ in 0..3 {
                    let (mut straight, mut through) = (few(cluster.primary().port), few(proxy.port));
                    assert_eq!(through.query(read), straight.query(read), "{what}");
                    assert_eq!(through.query("SELECT 1"), straight.query("SELECT 1"), "{what}");
                }
                assert_eq!(old.1.query(read), old.0.query(read), "{what}, of a session that began before");
                let quoted = if before.parse::<f64>().is_ok() { before } else { format!("'{before}'") };
                set(&quoted);
                seen_by_the_monitor();
            }
        }
    });
}

/// What `init_connect` may do to a session, and statements that are taken for something else by a proxy that does not know.
const INITS: &[(&str, &str)] = &[
    ("SET sql_mode = 'ANSI_QUOTES'", "SELECT \"n\" FROM t ORDER BY id LIMIT 1"),
    ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'", "SELECT 'a\\' AS b, n FROM t ORDER BY id LIMIT 1 -- '"),
    ("SET NAMES gbk", "SELECT '\u{3bf}\\' AS a, n FROM t ORDER BY id LIMIT 1 -- '"),
    ("SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SELECT 'a' = 'A'"),
    (
        "SET time_zone = '+05:00', group_concat_max_len = 5",
        "SELECT FROM_UNIXTIME(0), GROUP_CONCAT(n ORDER BY n) FROM t",
    ),
    ("SET autocommit = 0", "SELECT n FROM t ORDER BY id LIMIT 1"),
];

fn cells(answer: Vec<Packet>) -> Vec<Vec<u8>> {
    let payloads = answer.into_iter().map(|packet| packet.payload);
    payloads.filter(|payload| !payload.starts_with(b"\x03def")).collect()
}

#[test]
fn what_init_connect_sets_is_known() {
    each(|cluster, proxy| {
        for (init, read) in INITS {
            for servers in [&cluster.servers[..1], &cluster.servers[1..], &cluster.servers[..]] {
                servers.iter().for_each(|server| drop(server.sql(&format!("SET GLOBAL init_connect = \"{init}\""))));
                seen_by_the_monitor();
                let what = format!("{:?}: {init} on {} servers", cluster.flavor, servers.len());
                for _ in 0..3 {
                    let (mut straight, mut through) = (few(cluster.primary().port), few(proxy.port));
                    assert_eq!(cells(through.query(read)), cells(straight.query(read)), "{what}");
                    assert_eq!(through.query("SELECT @@autocommit"), straight.query("SELECT @@autocommit"), "{what}");
                    assert_eq!(cells(through.query(read)), cells(straight.query(read)), "{what}, again");
                }
                servers.iter().for_each(|server| drop(server.sql("SET GLOBAL init_connect = ''")));
            }
        }
    });
}
