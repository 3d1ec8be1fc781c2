//! What holds a session on its backend, seen by what would be lost without it; and that its end lets the session go.

use super::peer::{Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, flavors};

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

fn on_primary(peer: &mut Peer, why: &str) {
    assert_eq!(peer.value("SELECT @@server_id"), "1", "on the primary: {why}");
}

fn free(peer: &mut Peer, why: &str) {
    assert_ne!(peer.value("SELECT @@server_id"), "1", "on a replica: {why}");
}

#[test]
fn temporary_tables_are_there_until_the_last_is_dropped() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("CREATE TEMPORARY TABLE t (n INT)");
        peer.ok("CREATE TEMPORARY TABLE IF NOT EXISTS app.u SELECT 5 AS n");
        peer.ok("INSERT INTO t VALUES (42)");
        assert_eq!((peer.value("SELECT n FROM t"), peer.value("SELECT n FROM u")), ("42".to_owned(), "5".to_owned()));
        peer.ok("DROP TEMPORARY TABLE t");
        assert_eq!(peer.value("SELECT n FROM u"), "5", "the other is still there");
        peer.ok("DROP TABLE u");
        assert_eq!(peer.value("SELECT n FROM t"), "0", "the real one");
        free(&mut peer, "both are dropped");
        peer.ok("DROP TEMPORARY TABLE IF EXISTS never");
        free(&mut peer, "none was dropped");
        let (_, metrics) = proxy.http("/metrics").expect("metrics");
        for (pin, times) in [("temporary_table", 1), ("user_lock", 0)] {
            let line = format!("dbproxy_route_pins_total{{pin=\"{pin}\"}} {times}\n");
            assert!(metrics.contains(&line), "{line}{metrics}");
        }
    });
}

#[test]
fn locks_are_held_by_one_connection_until_they_are_released() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        let holder = |name: &str| cluster.primary().value(&format!("SELECT IS_USED_LOCK('{name}') IS NULL"));
        assert_eq!(peer.value("SELECT GET_LOCK('a', 1)"), "1");
        assert_eq!(peer.value("SELECT GET_LOCK('b', 1)"), "1");
        on_primary(&mut peer, "a lock");
        assert_eq!(peer.value("SELECT RELEASE_LOCK('a')"), "1", "asked of the connection that has it");
        on_primary(&mut peer, "the other lock");
        assert_eq!((holder("a"), holder("b")), ("1".to_owned(), "0".to_owned()));
        assert_eq!(peer.value("SELECT RELEASE_LOCK('b')"), "1");
        free(&mut peer, "no lock is left");
        assert_eq!(peer.value("SELECT GET_LOCK(CONCAT('c', 1), 1)"), "1");
        on_primary(&mut peer, "a lock whose name is not known");
        peer.ok("DO RELEASE_ALL_LOCKS()");
        free(&mut peer, "all locks are released");

        peer.ok("LOCK TABLES t WRITE");
        on_primary(&mut peer, "a table lock");
        peer.ok("UPDATE t SET n = 7");
        peer.ok("UNLOCK TABLES");
        assert_eq!(peer.value("SELECT n FROM t"), "7");
        free(&mut peer, "tables are unlocked");
        peer.ok("FLUSH TABLES WITH READ LOCK");
        on_primary(&mut peer, "a global lock");
        peer.ok("UNLOCK TABLES");
        free(&mut peer, "the global lock is released");
    });
}

#[test]
fn handlers_and_prepared_texts_stay_until_they_are_closed() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("HANDLER t OPEN AS h");
        on_primary(&mut peer, "a handler");
        assert_eq!(peer.row("HANDLER h READ FIRST")[0], "1");
        peer.ok("HANDLER h CLOSE");
        free(&mut peer, "the handler is closed");
        peer.ok("PREPARE p FROM 'SELECT ? + 1'");
        peer.ok("SET @a = 4");
        assert_eq!(peer.value("EXECUTE p USING @a"), "5");
        on_primary(&mut peer, "a prepared text");
        peer.ok("DEALLOCATE PREPARE p");
        free(&mut peer, "it is deallocated");
        peer.ok("PREPARE p FROM 'CREATE TEMPORARY TABLE hidden (n INT)'");
        peer.ok("EXECUTE p");
        peer.ok("DEALLOCATE PREPARE p");
        peer.ok("SELECT n FROM hidden");
    });
}

#[test]
fn an_xa_transaction_stays_until_it_is_over() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        let root = |sql: &str| cluster.primary().value(sql);
        if cluster.flavor == Flavor::MySql {
            cluster.primary().sql("GRANT XA_RECOVER_ADMIN ON *.* TO app@'%'");
        }
        for sql in ["XA START 'x'", "UPDATE t SET n = 55", "XA END 'x'", "XA PREPARE 'x'"] {
            peer.ok(sql);
        }
        on_primary(&mut peer, "prepared, not committed");
        assert_eq!(root("SELECT n FROM app.t"), "0");
        peer.ok("XA COMMIT 'x'");
        assert_eq!(root("SELECT n FROM app.t"), "55");
        free(&mut peer, "it is committed");
        assert_eq!(peer.value("SELECT n FROM t"), "55");
    });
}

#[test]
fn user_variables_are_read_where_they_are_and_hold_nothing() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("SET @v = 42, @w = 'text'");
        free(&mut peer, "literals");
        assert_eq!(peer.row("SELECT @v, @w"), ["42", "text"]);
        peer.ok("UPDATE t SET n = @v");
        free(&mut peer, "they were only read");
        assert_eq!(peer.value("SELECT n FROM t"), "42");
        peer.ok("SELECT @v := @v + 1");
        on_primary(&mut peer, "a query assigned one");
        assert_eq!(peer.value("SELECT @v"), "43");
    });
}
