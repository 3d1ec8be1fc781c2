//! What a SET changes is there wherever the session's next statement runs. Each of these reads gives another answer, or an
//! error, on a backend that was not given what the session has.

use super::peer::{As, Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, flavors, wait_for};
use dbproxy::wire::{Capabilities, Expect};

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
        cluster.primary().sql("INSERT INTO app.t (n) VALUES (1), (22), (333), (4444)");
        cluster.wait_for_replicas();
        run(&cluster, &Proxy::start(&cluster, "[[user]]\nname = \"few\"\npassword = \"few-secret\"\n"));
    }
}

/// SETs, and a plain read whose answer depends on them.
const SETS: &[(&str, &str)] = &[
    ("SET SESSION group_concat_max_len = 5", "SELECT GROUP_CONCAT(n ORDER BY n) FROM t"),
    ("SET @@group_concat_max_len = @@group_concat_max_len - 1018", "SELECT GROUP_CONCAT(n ORDER BY n) FROM t"),
    ("SET LOCAL sql_select_limit = 2", "SELECT n FROM t ORDER BY n"),
    ("SET time_zone = '+05:00'", "SELECT FROM_UNIXTIME(0)"),
    ("SET sql_mode = 'ANSI_QUOTES'", "SELECT \"n\" FROM t ORDER BY \"id\" LIMIT 1"),
    ("SET sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')", "SELECT 'a' || 'b'"),
    ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'", "SELECT LENGTH('a\\b')"),
    ("SET sql_mode = ''", "SELECT n, id FROM t GROUP BY n ORDER BY id"),
    ("SET SESSION lc_time_names = 'de_DE'", "SELECT DAYNAME('2024-01-01')"),
    ("SET div_precision_increment = 2", "SELECT 1/3"),
    ("SET default_week_format = 3", "SELECT WEEK('2008-02-20')"),
    ("SET timestamp = 1000000000, time_zone = '+00:00'", "SELECT NOW()"),
    ("SET max_sort_length = 4, max_join_size = 2, sql_big_selects = 0", "SELECT a.n FROM t a, t b"),
    ("SET NAMES latin1, div_precision_increment = 1", "SELECT 1/3"),
];

#[test]
fn what_a_set_changes_follows_to_the_replica() {
    each(|cluster, proxy| {
        for (set, read) in SETS {
            let answers = |port| {
                let mut peer = Peer::app(port, Capabilities::DEPRECATE_EOF, Some("app"));
                // The replica's backend is there before the SET, and once more after another.
                peer.ok("SELECT n FROM t LIMIT 1");
                peer.ok(set);
                let first = peer.query(read);
                peer.ok("SET div_precision_increment = DEFAULT");
                (first, peer.query("SELECT 2/3"), peer.value("SELECT @@server_id"))
            };
            let (straight, through) = (answers(cluster.primary().port), answers(proxy.port));
            assert_eq!(through.0, straight.0, "{:?} {set}", cluster.flavor);
            assert_eq!(through.1, straight.1, "{:?} {set}, then a default", cluster.flavor);
            assert_ne!(through.2, "1", "{:?} {set}: the read is a replica's", cluster.flavor);
        }
    });
}

#[test]
fn a_prepared_set_follows_with_the_value_that_it_was_given() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        let prepared = peer.run(b"\x16SET group_concat_max_len = ?", Expect::Prepared).expect("an answer");
        let mut execute = [&[0x17][..], &prepared[0].payload[1..5], &[0, 1, 0, 0, 0]].concat();
        execute.extend_from_slice(&[0, 1, 8, 0]);
        execute.extend_from_slice(&6_u64.to_le_bytes());
        let done = peer.run(&execute, Expect::Results).expect("an answer");
        assert!(done[0].err().is_none(), "{:?}", done[0].err());
        assert_eq!(peer.row("SELECT GROUP_CONCAT(n ORDER BY n), 1 FROM t")[0], "1,22,3");
        assert_ne!(peer.value("SELECT @@server_id"), "1");
    });
}

#[test]
fn isolation_and_access_follow_into_a_transaction_of_the_new_primary() {
    each(|cluster, proxy| {
        let ask = match cluster.flavor {
            Flavor::MySql => "SELECT @@transaction_isolation, @@transaction_read_only, @x, @@sql_mode, @@server_id",
            Flavor::MariaDb => "SELECT @@tx_isolation, @@tx_read_only, @x, @@sql_mode, @@server_id",
        };
        let mut peer = Peer::through(proxy);
        peer.ok("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY");
        peer.ok("SET @x = 'kept', sql_mode = 'ANSI_QUOTES'");
        peer.ok("SELECT n FROM t LIMIT 1");
        cluster.switch_primary(0, 1);
        wait_for("the new primary to be asked", || {
            let row = peer.row(ask);
            (row == ["READ-COMMITTED", "1", "kept", "ANSI_QUOTES", "2"]).then_some(())
        });
        assert_eq!(peer.fails("INSERT INTO t (n) VALUES (5)").code, 1792, "still read only");
        peer.ok("SET SESSION TRANSACTION READ WRITE");
        peer.ok("INSERT INTO t (n) VALUES (5)");
    });
}

#[test]
fn a_role_is_taken_on_by_the_replica() {
    each(|cluster, proxy| {
        cluster.primary().sql("CREATE ROLE reader");
        cluster.primary().sql("GRANT SELECT ON app.* TO reader");
        cluster.primary().sql("CREATE USER few@'%' IDENTIFIED BY 'few-secret'");
        cluster.primary().sql("GRANT reader TO few@'%'");
        cluster.wait_for_replicas();
        for server in &cluster.servers {
            drop(server.connect(("few", "few-secret")).expect("a login"));
        }
        let login = As { user: "few", password: "few-secret", ..As::default() };
        let mut peer = Peer::connect(proxy.port, &login).expect("a login");
        assert_eq!(peer.fails("SELECT n FROM app.t").code, 1142, "not without the role");
        peer.ok("SET ROLE reader");
        assert_eq!(peer.row("SELECT COUNT(*), @@server_id > 1 FROM app.t"), ["4", "1"]);
        peer.ok("SET ROLE NONE");
        assert_eq!(peer.fails("SELECT n FROM app.t").code, 1142, "no longer with the role");
    });
}

#[test]
fn writes_without_a_log_are_read_where_they_are() {
    each(|cluster, proxy| {
        cluster.primary().sql("GRANT ALL ON *.* TO app@'%'");
        cluster.wait_for_replicas();
        let mut peer = Peer::through(proxy);
        peer.ok("SET sql_log_bin = 0");
        assert_eq!(peer.value("SELECT @@server_id"), "1");
        peer.ok("INSERT INTO t (n) VALUES (7)");
        assert_eq!(peer.value("SELECT COUNT(*) FROM t WHERE n = 7"), "1", "no replica will ever have it");
    });
}

/// A cluster whose replicas do not have the schema `late`, and a session in it.
fn in_a_schema_that_replicas_lack(then: impl Fn(&Cluster, &mut Peer)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        let proxy = Proxy::start(&cluster, "[routing]\nconsistency = \"eventual\"\n");
        let mut peer = Peer::app(proxy.port, Capabilities::DEPRECATE_EOF, None);
        assert_ne!(peer.value("SELECT @@server_id"), "1");
        cluster.replicas().iter().for_each(super::support::Server::pause_applier);
        for sql in ["CREATE DATABASE late", "USE late", "CREATE TABLE t (n INT)", "INSERT INTO t VALUES (7)"] {
            peer.ok(sql);
        }
        then(&cluster, &mut peer);
    }
}

#[test]
fn a_read_sent_with_state_that_its_replica_refuses_is_answered_by_the_primary() {
    in_a_schema_that_replicas_lack(|_, peer| {
        for n in 0..20 {
            // What the replica makes of it in its old schema must not be seen.
            assert_eq!(peer.row(&format!("SELECT {n}, DATABASE(), @@server_id")), [&n.to_string(), "late", "1"]);
            assert_eq!(peer.value("SELECT n FROM t"), "7");
        }
        peer.ok("USE app");
        // The primary showed what the replicas do not have.
        peer.ok("SET dbproxy_consistency = 'eventual'");
        assert_ne!(peer.value("SELECT @@server_id"), "1", "the replica was not given up");
    });
}

#[test]
fn a_long_answer_that_nobody_wants_costs_the_connection_and_not_the_answer() {
    in_a_schema_that_replicas_lack(|_, peer| {
        for size in [1_000, 3_000_000, 10] {
            let row = peer.row(&format!("SELECT LENGTH(a), a, DATABASE() FROM (SELECT REPEAT('x', {size}) AS a) AS d"));
            assert_eq!((row[0].as_str(), row[1].len(), row[2].as_str()), (size.to_string().as_str(), size, "late"));
        }
    });
}
