//! Read your own writes.

use super::peer::{Peer, warm};

use super::support::{Client, Cluster, Flavor, Options, Proxy, Server, accounts, flavors, wait_for};
use dbproxy::wire::Capabilities;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

/// Increments and reads back `pairs` times; how many reads were stale, and how many came from a replica.
fn pairs(peer: &mut Peer, pairs: u32) -> (u32, u32) {
    let (mut stale, mut replica) = (0, 0);
    for _ in 0..pairs {
        peer.ok("UPDATE t SET n = LAST_INSERT_ID(n + 1) WHERE id = 1");
        let read = peer.row("SELECT n, @@server_id FROM t WHERE id = 1");
        let written = peer.value("SELECT n FROM t WHERE id = 1 FOR UPDATE");
        stale += u32::from(read[0] != written);
        replica += u32::from(read[1] != "1");
    }
    (stale, replica)
}

#[test]
fn a_thousand_reads_after_own_writes_are_never_stale() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        let (stale, replica) = pairs(&mut peer, 1000);
        eprintln!("{:?}: 1000 pairs, {stale} stale, {replica} read from a replica", cluster.flavor);
        assert_eq!(stale, 0);
        assert!(replica > 500, "replicas that follow are read from: {replica} of 1000");
    });
}

#[test]
fn a_thousand_reads_are_never_stale_while_the_appliers_stop_and_go() {
    each(|cluster, proxy| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for replica in cluster.replicas() {
                        replica.pause_applier();
                        std::thread::sleep(Duration::from_millis(150));
                        replica.resume_applier();
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            });
            let counted = std::panic::catch_unwind(|| pairs(&mut Peer::through(proxy), 1000));
            over.store(true, Ordering::Relaxed);
            let (stale, replica) = counted.expect("all pairs ran");
            eprintln!("{:?}, stop and go: 1000 pairs, {stale} stale, {replica} read from a replica", cluster.flavor);
            assert_eq!(stale, 0);
            assert!(replica > 0, "the replicas are used between the stops");
        });
    });
}

#[test]
fn a_read_that_the_replicas_cannot_answer_falls_back_within_the_bound() {
    each(|cluster, proxy| {
        cluster.replicas().iter().for_each(Server::pause_applier);
        let mut peer = Peer::through(proxy);
        peer.ok("INSERT INTO t (n) VALUES (7)");
        let began = Instant::now();
        assert_eq!(peer.row("SELECT n, @@server_id FROM t ORDER BY id DESC LIMIT 1"), ["7", "1"]);
        let took = began.elapsed();
        assert!(took < Duration::from_millis(1500), "{took:?}");
        // Another session wrote nothing, and may read what was.
        cluster.replicas().iter().for_each(Server::resume_applier);
        wait_for("the session to read from a replica again", || {
            let row = peer.row("SELECT COUNT(*), @@server_id FROM t");
            assert_eq!(row[0], "2");
            (row[1] != "1").then_some(())
        });
    });
}

/// The replicas apply nothing for as long as this lives, and their appliers run.
struct Stalled(#[allow(dead_code, reason = "the connections hold the locks")] Vec<Client>);

impl Stalled {
    fn new(cluster: &Cluster) -> Self {
        let lock = |replica: &Server| {
            let mut root = Client::connect(&replica.root_login()).expect("root");
            root.query("FLUSH TABLES WITH READ LOCK");
            root
        };
        Self(cluster.replicas().iter().map(lock).collect())
    }
}

/// Rows of the general log of a server's that have this word.
fn logged(server: &Server, word: &str) -> String {
    server.value(&format!(
        "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE '%{word}%' AND argument NOT LIKE '%general_log%'"
    ))
}

#[test]
fn a_read_that_is_given_up_never_ran_on_the_replica() {
    each(|cluster, proxy| {
        for replica in cluster.replicas() {
            replica.sql("SET GLOBAL log_output = 'TABLE'");
            replica.sql("SET GLOBAL general_log = 1");
        }
        let stalled = Stalled::new(cluster);
        let mut peer = Peer::through(proxy);
        peer.ok("INSERT INTO t (n) VALUES (7)");
        for _ in 0..3 {
            assert_eq!(peer.row("SELECT 'given_up', @@server_id FROM t WHERE n = 7"), ["given_up", "1"]);
        }
        for replica in cluster.replicas() {
            assert_eq!(logged(replica, "given_up"), "0", "{:?}", cluster.flavor);
        }
        assert!(metric(proxy, "dbproxy_route_waits_total", "given_up") > 0, "{:?}: it was waited for", cluster.flavor);
        drop(stalled);
        wait_for("a replica to be read from again", || {
            (peer.value("SELECT @@server_id FROM t WHERE n = 7 AND 'caught_up' = 'caught_up'") != "1").then_some(())
        });
        let ran: u32 =
            cluster.replicas().iter().map(|replica| logged(replica, "caught_up").parse::<u32>().unwrap()).sum();
        assert!(ran > 0, "{:?}: the log tells", cluster.flavor);
    });
}

#[test]
fn by_default_a_read_sees_what_another_connection_wrote() {
    each(|cluster, proxy| {
        let (mut writer, mut reader) = (Peer::through(proxy), Peer::through(proxy));
        let mut replica = 0;
        for n in 1..=400 {
            writer.ok(&format!("UPDATE t SET n = {n} WHERE id = 1"));
            let row = reader.row("SELECT n, @@server_id FROM t WHERE id = 1");
            assert_eq!(row[0], n.to_string(), "{:?}", cluster.flavor);
            replica += u32::from(row[1] != "1");
        }
        eprintln!("{:?}: {replica} of 400 reads were answered by a replica", cluster.flavor);
        assert!(replica > 200, "{:?}: {replica} of 400", cluster.flavor);
    });
}

/// A counter of the proxy's, summed over its series that have this part.
fn metric(proxy: &Proxy, name: &str, part: &str) -> u64 {
    let text = proxy.http("/metrics").expect("metrics").1;
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(part));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}

#[test]
fn many_reads_that_wait_share_one_question() {
    each(|cluster, proxy| {
        let mut readers: Vec<_> = (0..40).map(|_| Peer::through(proxy)).collect();
        readers.iter_mut().for_each(|reader| drop(reader.ok("SELECT n FROM t")));
        for round in 0..10 {
            let stalled = Stalled::new(cluster);
            Peer::through(proxy).ok(&format!("UPDATE t SET n = {round}"));
            std::thread::scope(|scope| {
                let waits: Vec<_> =
                    readers.iter_mut().map(|reader| scope.spawn(|| reader.value("SELECT n FROM t"))).collect();
                std::thread::sleep(Duration::from_millis(30));
                drop(stalled);
                waits.into_iter().for_each(|wait| assert_eq!(wait.join().unwrap(), round.to_string()));
            });
        }
        let (waited, asked) = (
            metric(proxy, "dbproxy_route_waits_total", ""),
            metric(proxy, "dbproxy_route_position_questions_total", ""),
        );
        eprintln!("{:?}: {waited} reads waited, {asked} questions", cluster.flavor);
        assert!(waited >= 40 && asked < waited, "{:?}: {waited} reads waited, {asked} questions", cluster.flavor);
        assert_eq!(metric(proxy, "dbproxy_route_position_questions_total", "failed"), 0);
        let watchers = metric(proxy, "dbproxy_conn_position_watchers", "");
        assert!(
            (1..=2).contains(&watchers),
            "{:?}: one connection for each replica that was waited for",
            cluster.flavor
        );
    });
}

#[test]
fn positions_are_asked_for_again_after_a_replica_was_restarted() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        assert_eq!(pairs(&mut peer, 50).0, 0);
        cluster.replicas().iter().for_each(Server::restart);
        cluster.replicas().iter().for_each(Server::wait_until_replicating);
        wait_for("reads on replicas again", || {
            let (stale, replica) = pairs(&mut peer, 20);
            assert_eq!(stale, 0, "{:?}", cluster.flavor);
            (replica > 0).then_some(())
        });
    });
}

#[test]
fn a_wait_may_be_longer_than_commands_of_dbproxys_own() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (n INT)");
        cluster.wait_for_replicas();
        let proxy = Proxy::start(&cluster, "[routing]\ngtid_wait_ms = 30000\nlag_limit_ms = 0\n");
        let stalled = Stalled::new(&cluster);
        let mut peer = Peer::through(&proxy);
        peer.ok("INSERT INTO t VALUES (7)");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(11));
                drop(stalled);
            });
            let row = peer.row("SELECT n, @@server_id FROM t");
            assert!(row[0] == "7" && row[1] != "1", "{flavor:?}: {row:?}");
        });
    }
}

/// The position that a client was told, as servers print it.
fn position(cluster: &Cluster) -> String {
    cluster.primary().gtid_executed()
}

/// Two processes of the proxy's, which know nothing of each other.
#[test]
fn a_client_may_name_what_a_read_must_see_to_another_process() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (n INT)");
        cluster.primary().sql("INSERT INTO app.t VALUES (0)");
        cluster.wait_for_replicas();
        let extra = "[routing]\nconsistency = \"eventual\"\nwrite_wait_ms = 1000\n";
        let (one, other) = (Proxy::start(&cluster, extra), Proxy::start(&cluster, extra));
        let (mut writer, mut reader) = (Peer::through(&one), Peer::through(&other));
        let mut replica = 0;
        for n in 1..=200 {
            writer.ok(&format!("UPDATE t SET n = {n}"));
            let named = position(&cluster);
            let row = if n % 2 == 0 {
                reader.row(&format!("/* dbproxy: gtid='{named}' */ SELECT n, @@server_id FROM t"))
            } else {
                reader.ok(&format!("SET dbproxy_gtid = '{named}'"));
                assert_eq!(reader.value("SELECT @@dbproxy_gtid"), named);
                let row = reader.row("SELECT n, @@server_id FROM t");
                reader.ok("SET dbproxy_gtid = DEFAULT");
                row
            };
            assert_eq!(row[0], n.to_string(), "{flavor:?}");
            replica += u32::from(row[1] != "1");
        }
        assert!(replica > 50, "{flavor:?}: {replica} of 200 reads were answered by a replica");
        assert_eq!(reader.value("SELECT @@dbproxy_gtid"), "");
        let wrong = reader.fails("/* dbproxy: gtid=nonsense */ SELECT n FROM t");
        assert_eq!(wrong.code, 1231, "{flavor:?}: {wrong:?}");
        assert_eq!(reader.fails("SET dbproxy_gtid = 'nonsense'").code, 1231);
        // What no server has: the primary does not answer in its place.
        let future = match flavor {
            Flavor::MySql => "3e11fa47-71ca-11e1-9e33-c80aa9429562:1",
            Flavor::MariaDb => "7-7-7",
        };
        let failed = reader.fails(&format!("/* dbproxy: gtid={future} */ SELECT n FROM t"));
        assert!(failed.code == 1205 && String::from_utf8_lossy(&failed.message).contains("named"), "{failed:?}");
        assert_eq!(reader.value("SELECT n FROM t"), "200", "the session goes on");
    }
}

#[test]
fn kill_query_ends_a_read_that_waits_for_a_replica() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (n INT)");
        cluster.wait_for_replicas();
        let proxy = Proxy::start(&cluster, "[routing]\ngtid_wait_ms = 30000\nlag_limit_ms = 0\n");
        let _stalled = Stalled::new(&cluster);
        let mut peer = Peer::through(&proxy);
        let id = peer.value("SELECT CONNECTION_ID()");
        peer.ok("INSERT INTO t VALUES (7)");
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(500));
                Peer::through(&proxy).ok(&format!("KILL QUERY {id}"));
            });
            assert_eq!(peer.fails("SELECT n FROM t").code, 1317, "{flavor:?}");
        });
        assert!(began.elapsed() < Duration::from_secs(10), "{flavor:?}");
        assert_eq!(peer.value("/* dbproxy: primary */ SELECT n FROM t"), "7", "the session goes on");
    }
}

#[test]
fn a_session_reads_what_its_ddl_made() {
    each(|_, proxy| {
        let mut peer = Peer::through(proxy);
        for round in 0..30 {
            peer.ok(&format!("CREATE TABLE made_{round} (a INT)"));
            assert_eq!(peer.value(&format!("SELECT COUNT(*) FROM made_{round}")), "0");
            peer.ok(&format!("ALTER TABLE made_{round} ADD b INT DEFAULT 3"));
            peer.ok(&format!("SELECT a, b FROM made_{round}"));
        }
    });
}

#[test]
fn every_way_to_write_is_followed() {
    each(|cluster, proxy| {
        cluster.primary().sql("CREATE PROCEDURE app.put(v INT) INSERT INTO app.t (n) VALUES (v)");
        cluster.primary().sql(
            "CREATE FUNCTION app.give(v INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA \
             BEGIN INSERT INTO app.t (n) VALUES (v); RETURN v; END",
        );
        cluster.wait_for_replicas();
        let mut ways = vec![
            vec!["INSERT INTO t (n) VALUES (1)"],
            vec!["BEGIN", "INSERT INTO t (n) VALUES (2)", "COMMIT"],
            vec!["SET autocommit = 0", "INSERT INTO t (n) VALUES (3)", "SET autocommit = 1"],
            vec!["BEGIN", "INSERT INTO t (n) VALUES (4)", "BEGIN", "ROLLBACK"],
            vec!["BEGIN", "INSERT INTO t (n) VALUES (4)", "CREATE TABLE IF NOT EXISTS implicit (a INT)"],
            vec!["BEGIN", "INSERT INTO t (n) VALUES (4)", "COMMIT AND CHAIN", "ROLLBACK"],
            vec!["REPLACE INTO t (n) VALUES (5)"],
            vec!["INSERT INTO t (n) SELECT n FROM t LIMIT 1"],
            vec!["CALL put(6)"],
            vec!["SELECT give(8)"],
            vec!["DO give(9)"],
            vec!["SELECT 1; INSERT INTO t (n) VALUES (10)"],
            vec!["INSERT INTO t (n) VALUES (11); SELECT 1"],
        ];
        if cluster.flavor == Flavor::MariaDb {
            ways.push(vec!["INSERT INTO t (n) VALUES (12) RETURNING n"]);
            ways.push(vec!["DELETE FROM t WHERE id = (SELECT MAX(id) FROM t) RETURNING n"]);
        }
        cluster.replicas().iter().for_each(Server::pause_applier);
        for capabilities in [
            Capabilities::MULTI_STATEMENTS,
            Capabilities::MULTI_STATEMENTS | Capabilities::DEPRECATE_EOF,
            Capabilities::MULTI_STATEMENTS | Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK,
        ] {
            for way in &ways {
                let mut peer = Peer::app(proxy.port, capabilities, Some("app"));
                way.iter().for_each(|sql| drop(peer.ok(sql)));
                let expected = cluster.primary().value("SELECT CONCAT(COUNT(*), ' ', MAX(id)) FROM app.t");
                let seen = peer.value("SELECT CONCAT(COUNT(*), ' ', MAX(id)) FROM t");
                assert_eq!(seen, expected, "{:?} {capabilities:?} {way:?}", cluster.flavor);
            }
        }
    });
}

#[test]
fn what_a_client_wrote_is_seen_after_it_changed_its_user() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("SELECT n FROM t");
        cluster.replicas().iter().for_each(Server::pause_applier);
        for n in ["1", "2"] {
            peer.ok(&format!("UPDATE t SET n = {n}"));
            let (user, password) = accounts::APP;
            assert_eq!(peer.change_user(user, password, "app").err(), None);
            assert_eq!(peer.value("SELECT n FROM t"), n, "{:?}", cluster.flavor);
        }
        cluster.replicas().iter().for_each(Server::resume_applier);
    });
}
