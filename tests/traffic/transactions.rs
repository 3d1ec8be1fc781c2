//! Transactions that only read, on one replica throughout; and what is asked of the next transaction.

use super::peer::{Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, Server, flavors, wait_for};
use dbproxy::wire::Capabilities;

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
        cluster.primary().sql("INSERT INTO app.t (n) VALUES (1)");
        cluster.wait_for_replicas();
        run(&cluster, &Proxy::start(&cluster, ""));
    }
}

fn replica<'a>(cluster: &'a Cluster, id: &str) -> &'a Server {
    cluster.replicas().iter().find(|server| server.id.to_string() == id).expect("a replica's id")
}

/// Begins on a replica, whose id it returns.
fn begin(peer: &mut Peer, sql: &str) -> String {
    peer.ok(sql);
    let id = peer.value("SELECT @@server_id");
    assert_ne!(id, "1", "on a replica: {sql}");
    id
}

#[test]
fn it_sees_one_snapshot_of_one_replica_that_has_the_sessions_writes() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        for n in 2..12 {
            peer.ok("INSERT INTO t (n) VALUES (0)");
            peer.ok("START TRANSACTION READ ONLY");
            assert_eq!(peer.value("SELECT COUNT(*) FROM t"), n.to_string(), "its own write");
            peer.ok("COMMIT");
        }
        let id = begin(&mut peer, "START TRANSACTION READ ONLY");
        assert_eq!(peer.value("SELECT COUNT(*) FROM t"), "11");
        cluster.primary().sql("INSERT INTO app.t (n) VALUES (0)");
        cluster.wait_for_replicas();
        assert_eq!(peer.row("SELECT COUNT(*), @@server_id FROM t"), ["11", id.as_str()], "the same snapshot");
        // What is no plain read runs there, too.
        assert_eq!(peer.value("SELECT @@read_only"), "1");
        peer.ok("COMMIT");
        peer.ok("INSERT INTO t (n) VALUES (0)");
        assert_eq!(peer.value("SELECT COUNT(*) FROM t"), "13");
    });
}

#[test]
fn a_write_in_it_gets_the_servers_own_error() {
    each(|cluster, proxy| {
        let errors = |port| {
            let mut peer = Peer::app(port, Capabilities::DEPRECATE_EOF, Some("app"));
            peer.ok("START TRANSACTION READ ONLY");
            peer.ok("SELECT n FROM t");
            let writes =
                ["INSERT INTO t (n) VALUES (2)", "UPDATE t SET n = 2", "DELETE FROM t", "SELECT n FROM t FOR UPDATE"];
            let errors = writes.map(|sql| peer.query(sql)[0].payload.clone());
            peer.ok("COMMIT");
            peer.ok("UPDATE t SET n = 1");
            errors
        };
        assert_eq!(errors(proxy.port)[..3], errors(cluster.primary().port)[..3], "{:?}", cluster.flavor);
        assert_eq!(cluster.primary().value("SELECT COUNT(*) FROM app.t"), "1");
    });
}

#[test]
fn isolation_asked_for_the_next_transaction_goes_to_the_replica_and_stays_nowhere() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        for (level, later) in [("READ COMMITTED", true), ("REPEATABLE READ", false)] {
            peer.ok(&format!("SET TRANSACTION ISOLATION LEVEL {level}"));
            begin(&mut peer, "START TRANSACTION READ ONLY");
            let before = peer.value("SELECT COUNT(*) FROM t");
            cluster.primary().sql("INSERT INTO app.t (n) VALUES (1)");
            cluster.wait_for_replicas();
            assert_eq!(peer.value("SELECT COUNT(*) FROM t") != before, later, "{level}");
            peer.ok("COMMIT");
        }
        // The server that was asked first must not use it now.
        peer.ok("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY");
        begin(&mut peer, "BEGIN");
        peer.ok("ROLLBACK");
        peer.ok("BEGIN");
        peer.ok("UPDATE t SET n = n + 1");
        let level = "SELECT trx_isolation_level FROM information_schema.innodb_trx WHERE trx_rows_modified > 0";
        assert_eq!(cluster.primary().value(level), "REPEATABLE READ");
        peer.ok("COMMIT");
        peer.ok("SET TRANSACTION READ ONLY");
        assert_eq!(peer.fails("INSERT INTO t (n) VALUES (1)").code, 1792, "it is the next transaction");
    });
}

#[test]
fn the_sessions_default_makes_every_begin_one() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("SET SESSION TRANSACTION READ ONLY");
        begin(&mut peer, "BEGIN");
        assert_eq!(peer.fails("INSERT INTO t (n) VALUES (2)").code, 1792);
        peer.ok("ROLLBACK");
        assert_eq!(peer.fails("INSERT INTO t (n) VALUES (2)").code, 1792, "and every other statement");
        peer.ok("SET SESSION TRANSACTION READ WRITE");
        peer.ok("INSERT INTO t (n) VALUES (2)");
    });
}

#[test]
fn a_statement_that_commits_implicitly_runs_on_the_primary() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        begin(&mut peer, "START TRANSACTION READ ONLY");
        peer.ok("CREATE TABLE made (a INT)");
        assert_eq!(cluster.primary().value("SELECT COUNT(*) FROM app.made"), "0");
        peer.ok("INSERT INTO made VALUES (1)");
        begin(&mut peer, "START TRANSACTION READ ONLY");
        peer.ok("START TRANSACTION");
        peer.ok("INSERT INTO made VALUES (2)");
        peer.ok("COMMIT");
        assert_eq!(cluster.primary().value("SELECT COUNT(*) FROM app.made"), "2");
        // A lock is one of the primary's, and a variable set in it is kept.
        begin(&mut peer, "START TRANSACTION READ ONLY");
        peer.ok("SET group_concat_max_len = 4, @v = 9");
        peer.ok("COMMIT");
        peer.ok("START TRANSACTION READ ONLY");
        assert_eq!(peer.value("SELECT GET_LOCK('l', 0)"), "1");
        assert_eq!(cluster.primary().value("SELECT IS_USED_LOCK('l') IS NULL"), "0");
        peer.ok("COMMIT");
        assert_eq!(peer.row("SELECT @v, @@group_concat_max_len"), ["9", "4"]);
    });
}

#[test]
fn a_transaction_lost_with_its_replica_is_told_and_the_session_goes_on() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("SET group_concat_max_len = 5");
        let id = begin(&mut peer, "START TRANSACTION READ ONLY");
        replica(cluster, &id).kill9();
        let err = peer.fails("SELECT n FROM t");
        assert_eq!((err.code, &err.sql_state), (1213, b"40001"), "{}", String::from_utf8_lossy(&err.message));
        wait_for("the other servers to answer", || {
            let rows = peer.query("SELECT GROUP_CONCAT(n + 100000) FROM t");
            rows[0].err().is_none().then_some(())
        });
        assert_eq!(peer.value("SELECT GROUP_CONCAT(n + 100000) FROM t"), "10000", "with all that it had");
        // What the lost replica had shown must be known of the next one first.
        wait_for("the other replica to be taken", || {
            peer.ok("START TRANSACTION READ ONLY");
            let other = peer.value("SELECT @@server_id");
            assert_ne!(other, id);
            if other == "1" {
                peer.ok("COMMIT");
            }
            (other != "1").then_some(())
        });
        if cluster.flavor == Flavor::MySql {
            assert_eq!(peer.value("SELECT @@transaction_read_only"), "0");
        }
        peer.ok("COMMIT");
    });
}

/// What a server does or refuses by itself in a transaction that only reads.
const WITHIN: [&str; 14] = [
    "CREATE TEMPORARY TABLE tmp (a INT)",
    "XA START 'x'",
    "EXECUTE nowhere",
    "DEALLOCATE PREPARE nowhere",
    "HANDLER t CLOSE",
    "UNLOCK TABLES",
    "DO SLEEP(0)",
    "DO 1",
    "SELECT RELEASE_LOCK('none')",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SET group_concat_max_len = 7",
    "SELECT n FROM t FOR UPDATE",
    "SET TRANSACTION READ WRITE",
];

#[test]
fn what_the_server_decides_in_it_is_answered_as_by_the_server() {
    each(|cluster, proxy| {
        let play = |port| {
            let mut peer = Peer::app(port, Capabilities::DEPRECATE_EOF, Some("app"));
            peer.ok("START TRANSACTION READ ONLY");
            peer.ok("SELECT n FROM t");
            let answers = WITHIN.map(|sql| (sql, peer.query(sql)));
            let where_it_is = peer.value("SELECT @@server_id");
            (answers, peer.query("COMMIT"), where_it_is)
        };
        let (straight, through) = (play(cluster.primary().port), play(proxy.port));
        assert_eq!(through.0, straight.0, "{:?}", cluster.flavor);
        assert_eq!(through.1, straight.1, "{:?}", cluster.flavor);
        assert_ne!(through.2, "1", "on a replica");
    });
}

#[test]
fn a_snapshot_with_a_savepoint_can_be_committed() {
    each(|cluster, proxy| {
        for begin in ["START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", "SET TRANSACTION READ ONLY"] {
            let mut peer = Peer::through(proxy);
            for sql in [begin, "BEGIN", "SELECT n FROM t", "SAVEPOINT s", "COMMIT"] {
                if sql != "BEGIN" || begin.starts_with("SET") {
                    peer.ok(sql);
                }
            }
            assert!(!peer.ping().expect("OK").has(dbproxy::wire::Status::IN_TRANS), "{:?} {begin}", cluster.flavor);
            peer.ok("INSERT INTO t (n) VALUES (2)");
        }
    });
}

#[test]
fn an_insert_id_is_asked_of_the_connection_that_has_it() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("INSERT INTO t (n) VALUES (2)");
        peer.ok("START TRANSACTION READ ONLY");
        assert_eq!(peer.value("SELECT LAST_INSERT_ID()"), "2");
        peer.ok("COMMIT");
    });
}

#[test]
fn it_moves_to_the_primary_where_each_statement_reads_what_is_committed() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
        begin(&mut peer, "START TRANSACTION READ ONLY");
        peer.ok("SELECT n FROM t");
        peer.ok("PREPARE p FROM 'SELECT n FROM t'");
        assert_eq!(peer.value("EXECUTE p"), "1");
        assert_eq!(peer.fails("INSERT INTO t (n) VALUES (2)").code, 1792);
        peer.ok("COMMIT");
    });
}
