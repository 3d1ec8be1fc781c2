//! What a session carries from backend to backend, what binds it to one, and what lets it go again.

use super::peer::{As, Peer, USUAL, warm};
use super::support::{Cluster, Options, Proxy, flavors};
use dbproxy::wire::{Capabilities, Expect, query_payload};

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
        cluster.primary().sql("INSERT INTO app.t VALUES (1, 0)");
        cluster.wait_for_replicas();
        run(&cluster, &Proxy::start(&cluster, ""));
    }
}

/// Where its next plain read runs.
fn reads_at(peer: &mut Peer) -> String {
    peer.value("SELECT @@server_id")
}

fn on_replica(peer: &mut Peer, why: &str) {
    assert_ne!(reads_at(peer), "1", "on a replica: {why}");
}

fn on_primary(peer: &mut Peer, why: &str) {
    assert_eq!(reads_at(peer), "1", "on the primary: {why}");
}

#[test]
fn the_schema_follows_however_it_was_chosen() {
    each(|_, proxy| {
        let schema = |peer: &mut Peer| {
            let row = peer.row("SELECT DATABASE(), @@server_id");
            assert_ne!(row[1], "1", "a read stays a read");
            row[0].clone()
        };
        let mut peer = Peer::app(proxy.port, Capabilities::default(), None);
        assert_eq!(schema(&mut peer), "NULL");
        peer.ok("USE app");
        assert_eq!(schema(&mut peer), "app");
        peer.run(b"\x02test", Expect::OnePacket).expect("an answer");
        assert_eq!(schema(&mut peer), "test");
        peer.ok("USE `app`");
        peer.ok("SELECT n FROM t");
        let mut peer = Peer::app(proxy.port, Capabilities::default(), Some("test"));
        assert_eq!(schema(&mut peer), "test");
        // In a procedure-like place the proxy does not read.
        peer.ok("PREPARE p FROM 'DO 1'");
        peer.ok("DEALLOCATE PREPARE p");
        assert_eq!(peer.value("SELECT DATABASE()"), "test");
    });
}

#[test]
fn a_dropped_schema_is_left() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("CREATE DATABASE gone");
        peer.ok("USE gone");
        assert_eq!(peer.value("SELECT DATABASE()"), "gone");
        peer.ok("DROP DATABASE gone");
        assert_eq!(peer.value("SELECT DATABASE()"), "NULL");
        peer.ok("USE app");
        assert_eq!(peer.row("SELECT DATABASE(), n FROM t")[0], "app");
    });
}

#[test]
fn the_character_set_follows_to_the_replica() {
    each(|cluster, proxy| {
        // Only within a transaction that reads does a replica answer about itself.
        let asked = |peer: &mut Peer| {
            peer.ok("START TRANSACTION READ ONLY");
            let mut row = peer.row(
                "SELECT @@character_set_client, @@character_set_connection, @@character_set_results, \
                 @@collation_connection, @@server_id",
            );
            peer.ok("COMMIT");
            (row.pop().expect("an id"), row)
        };
        for set in [
            "SET NAMES latin1",
            "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
            "SET NAMES 'gbk'",
            "SET CHARACTER SET latin1",
            "SET character_set_results = NULL",
            "SET character_set_results = ascii",
            "SET collation_connection = latin1_german1_ci",
            "SET NAMES DEFAULT",
        ] {
            let set_at = |port| {
                let mut peer = Peer::app(port, Capabilities::DEPRECATE_EOF, Some("app"));
                peer.ok(set);
                asked(&mut peer)
            };
            let (straight, through) = (set_at(cluster.primary().port), set_at(proxy.port));
            assert_eq!(through.1, straight.1, "{:?} {set}", cluster.flavor);
            assert_ne!(through.0, "1", "{:?} {set}", cluster.flavor);
        }
        let login = As { collation: 8, schema: Some("app"), capabilities: USUAL, ..As::default() };
        let mut straight = Peer::connect(cluster.primary().port, &login).expect("a login");
        let mut through = Peer::connect(proxy.port, &login).expect("a login");
        assert_eq!(asked(&mut through).1, asked(&mut straight).1);
    });
}

#[test]
fn gbk_statements_are_read_in_gbk() {
    each(|cluster, proxy| {
        // 0xbf5c is one character of gbk, whose second byte is a backslash elsewhere: the string ends behind it,
        // and what follows is a statement that must not go to a replica.
        let run = |port| {
            cluster.primary().sql("DELETE FROM app.t WHERE id > 1");
            cluster.primary().sql("ALTER TABLE app.t AUTO_INCREMENT = 2");
            let mut peer = Peer::app(port, Capabilities::MULTI_STATEMENTS, Some("app"));
            peer.ok("SET NAMES gbk");
            let mut payload = query_payload("SELECT '", peer.capabilities);
            payload.extend_from_slice(b"\xbf\x5c'; INSERT INTO t (n) VALUES (55); SELECT '\xbf\x5c' ");
            let answer = peer.run(&payload, Expect::Results).expect("an answer");
            let mut read = query_payload("SELECT HEX('", peer.capabilities);
            read.extend_from_slice(b"\xbf\x5c') AS h, n FROM t WHERE id = 1");
            (answer, peer.run(&read, Expect::Results).expect("an answer"))
        };
        let straight = run(cluster.primary().port);
        assert_eq!(run(proxy.port), straight);
        assert_eq!(cluster.primary().value("SELECT COUNT(*) FROM app.t WHERE n = 55"), "1");
    });
}

#[test]
fn transactions_stay_on_the_primary() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        on_replica(&mut peer, "nothing done");
        for (begin, end) in [
            ("BEGIN", "COMMIT"),
            ("START TRANSACTION", "ROLLBACK"),
            ("SET autocommit = 0", "SET autocommit = 1"),
            ("/* a comment */ begin work", "commit"),
        ] {
            peer.ok(begin);
            on_primary(&mut peer, begin);
            peer.ok("UPDATE t SET n = n + 1");
            on_primary(&mut peer, begin);
            peer.ok(end);
            peer.ok("SELECT n FROM t");
        }
        // By a prepared statement, and by one that the proxy cannot read.
        peer.ok("SET @s = 'SET autocommit = 0'");
        peer.ok("PREPARE p FROM @s");
        peer.ok("EXECUTE p");
        on_primary(&mut peer, "autocommit switched off behind the proxy's back");
    });
}

#[test]
fn state_that_cannot_follow_pins_until_it_is_gone() {
    each(|_, proxy| {
        let pins = [
            "SET @v = 1 + 1",
            "SET profiling = 1",
            "SET insert_id = 5",
            "CREATE TEMPORARY TABLE tmp (a INT)",
            "LOCK TABLES t READ, app.t AS x READ",
            "SELECT GET_LOCK('a lock', 1)",
            "SELECT @v := 1",
            "PREPARE p FROM 'SELECT 1'",
            "HANDLER t OPEN",
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SELECT 1 INTO @w",
        ];
        for pin in pins {
            let mut peer = Peer::through(proxy);
            on_replica(&mut peer, "a new session");
            peer.ok(pin);
            on_primary(&mut peer, pin);
            let ok = peer.run(&[0x1f], Expect::OnePacket).expect("an answer");
            assert_eq!(ok[0].payload[0], 0, "{pin}");
            on_replica(&mut peer, &format!("reset after {pin}"));
            peer.ok(pin);
            on_primary(&mut peer, pin);
            let (user, password) = super::support::accounts::APP;
            assert_eq!(peer.change_user(user, password, "app").payload[0], 0, "{pin}");
            on_replica(&mut peer, &format!("another user after {pin}"));
        }
    });
}

#[test]
fn a_temporary_table_shadows_the_real_one() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("SELECT n FROM t");
        peer.ok("CREATE TEMPORARY TABLE t (n INT)");
        peer.ok("INSERT INTO t VALUES (42)");
        assert_eq!(peer.value("SELECT n FROM t"), "42");
        peer.run(&[0x1f], Expect::OnePacket).expect("an answer");
        peer.ok("USE app");
        assert_eq!(peer.value("SELECT n FROM t"), "0");
    });
}

#[test]
fn a_reset_forgets_what_a_server_forgets() {
    each(|cluster, proxy| {
        let reset = |port| {
            let mut peer = Peer::app(port, Capabilities::DEPRECATE_EOF, Some("app"));
            for sql in ["SELECT 1", "USE test", "SET NAMES latin1", "SET @v = 1", "SET autocommit = 0", "BEGIN"] {
                peer.ok(sql);
            }
            let prepared = peer.run(b"\x16SELECT 1", Expect::Prepared).expect("an answer");
            peer.run(&[0x1f], Expect::OnePacket).expect("an answer");
            let execute = [&[0x17][..], &prepared[0].payload[1..5], &[0, 1, 0, 0, 0]].concat();
            let gone = peer.run(&execute, Expect::Results).expect("an answer")[0].err().map(|err| err.code);
            let state = peer.row("SELECT @v, DATABASE(), @@autocommit, @@character_set_client, @@collation_connection");
            let read = peer.row("SELECT DATABASE(), @@autocommit, @@character_set_client, @@collation_connection");
            (gone, state, read)
        };
        assert_eq!(reset(proxy.port), reset(cluster.primary().port), "{:?}", cluster.flavor);
    });
}

#[test]
fn diagnostics_are_those_of_the_statement_before() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("SELECT 1/0");
        assert!(peer.row("SHOW WARNINGS").len() >= 2);
        peer.ok("INSERT INTO t (n) VALUES (1), (2), (3)");
        assert_eq!(peer.value("SELECT ROW_COUNT()"), "3");
        let id = peer.value("SELECT LAST_INSERT_ID()");
        peer.ok("SELECT n FROM t");
        assert_eq!(peer.value("SELECT LAST_INSERT_ID()"), id);
        peer.ok("SELECT SQL_CALC_FOUND_ROWS n FROM t LIMIT 1");
        assert_eq!(peer.value("SELECT FOUND_ROWS()"), "4");
    });
}

#[test]
fn nothing_but_reads_ever_reaches_a_replica() {
    each(|cluster, proxy| {
        // The replicas tell what they are asked.
        for replica in cluster.replicas() {
            replica.sql("SET GLOBAL log_output = 'TABLE'");
            replica.sql("SET GLOBAL general_log = 1");
        }
        let mut peer = Peer::app(proxy.port, Capabilities::MULTI_STATEMENTS, Some("app"));
        let reads = ["WITH x AS (SELECT 1 AS a) SELECT a FROM x", "EXPLAIN SELECT n FROM t"];
        let others = [
            "(SELECT n FROM t FOR UPDATE)",
            "SELECT n FROM t LOCK IN SHARE MODE",
            "SELECT SLEEP(0)",
            "SELECT @@read_only",
            "SELECT 71; SELECT 72",
            "SET GLOBAL max_connect_errors = 100",
            "INSERT INTO t (n) VALUES (1)",
            "/* SELECT */ UPDATE t SET n = 5",
        ];
        for sql in reads.iter().chain(&others) {
            let _ = peer.query(sql);
        }
        let log = "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE user_host LIKE 'app%'";
        let asked: Vec<_> =
            cluster.replicas().iter().flat_map(|replica| replica.sql(log)).flatten().flatten().collect();
        for read in reads {
            assert!(asked.iter().any(|sql| sql == read), "{:?}: {read} is not among {asked:#?}", cluster.flavor);
        }
        for other in others {
            // Of several statements in a packet the log has each.
            let first = other.split(';').next().expect("a statement");
            assert!(!asked.iter().any(|sql| sql.contains(first)), "{:?}: {other}", cluster.flavor);
        }
        assert_eq!(peer.value("SELECT MAX(n) FROM t"), "5");
    });
}
