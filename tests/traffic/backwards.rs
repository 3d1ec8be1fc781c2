//! A session's reads do not go back, whichever servers answer them.

use super::peer::{Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, Server, flavors, wait_for};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const COUNT: &str = "SELECT COUNT(*), @@server_id FROM t";

fn start(flavor: Flavor, options: Options, extra: &str) -> (Cluster, Proxy) {
    let cluster = Cluster::start(flavor, options);
    warm(&cluster);
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT)");
    cluster.primary().sql("INSERT INTO app.t VALUES (1)");
    cluster.wait_for_replicas();
    let proxy = Proxy::start(&cluster, extra);
    (cluster, proxy)
}

#[test]
fn a_replica_is_not_behind_what_the_primary_showed() {
    for flavor in flavors() {
        let (cluster, proxy) = start(flavor, Options::default(), "[routing]\nconsistency = \"session\"\n");
        let mut reader = Peer::through(&proxy);
        wait_for("the session to have a replica", || (reader.row(COUNT)[1] != "1").then_some(()));
        cluster.replicas().iter().for_each(Server::pause_applier);
        Peer::through(&proxy).ok("INSERT INTO t VALUES (2)");
        let row = reader.row(COUNT);
        assert!(row[0] == "1" || row[1] == "1", "{flavor:?}: others' writes are not waited for: {row:?}");
        assert_eq!(reader.row(&format!("/* dbproxy: primary */ {COUNT}")), ["2", "1"]);
        for _ in 0..3 {
            assert_eq!(reader.value(COUNT), "2", "{flavor:?}: it has seen both");
        }
        cluster.replicas().iter().for_each(Server::resume_applier);
        wait_for("the session to read from a replica again", || {
            let row = reader.row(COUNT);
            assert_eq!(row[0], "2");
            (row[1] != "1").then_some(())
        });
        reader.ok("SET dbproxy_consistency = 'eventual'");
        cluster.replicas().iter().for_each(Server::pause_applier);
        Peer::through(&proxy).ok("INSERT INTO t VALUES (3)");
        assert_eq!(reader.value(&format!("/* dbproxy: primary */ {COUNT}")), "3");
        let row = reader.row(COUNT);
        assert!(row[0] == "2" || row[1] == "1", "{flavor:?}: who asks for no order gets none: {row:?}");
    }
}

/// One replica shows what the primary, waiting for another acknowledgement, does not show yet.
#[test]
fn the_primary_is_not_behind_what_a_replica_showed() {
    if !flavors().contains(&Flavor::MySql) {
        return;
    }
    let options = Options { semi_sync: true, ..Options::default() };
    let (cluster, proxy) = start(Flavor::MySql, options, "[routing]\ngtid_wait_ms = 5000\n");
    let [first, second] = cluster.replicas() else { panic!("two replicas") };
    cluster.primary().sql("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = 2");
    second.sql("STOP REPLICA IO_THREAD");
    let mut reader = Peer::through(&proxy);
    std::thread::scope(|both| {
        let written = both.spawn(|| Peer::through(&proxy).ok("INSERT INTO t VALUES (2)"));
        let on_replica = format!("/* dbproxy: server={} */ {COUNT}", first.address());
        wait_for("the replica to show it", || (reader.row(&on_replica) == ["2", "2"]).then_some(()));
        assert_eq!(cluster.primary().value("SELECT COUNT(*) FROM app.t"), "1", "it waits for the other one");
        both.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            second.sql("START REPLICA IO_THREAD");
        });
        assert_eq!(reader.row(&format!("/* dbproxy: primary */ {COUNT}")), ["2", "1"]);
        written.join().expect("written in the end");
    });
}

/// No replica acknowledges anything any more, and each goes on showing what it receives.
fn stop_acknowledging(cluster: &Cluster) {
    let (word, thread) = match cluster.flavor {
        Flavor::MySql => ("replica", "REPLICA"),
        Flavor::MariaDb => ("slave", "SLAVE"),
    };
    for replica in cluster.replicas() {
        replica.sql(&format!("SET GLOBAL rpl_semi_sync_{word}_enabled = 0"));
        replica.sql(&format!("STOP {thread} IO_THREAD"));
        replica.sql(&format!("START {thread} IO_THREAD"));
        replica.wait_until_replicating();
    }
}

/// The primary waits for acknowledgements no more.
fn commit_without_acknowledgement(cluster: &Cluster) {
    cluster.primary().sql(match cluster.flavor {
        Flavor::MySql => "SET GLOBAL rpl_semi_sync_source_enabled = 0",
        Flavor::MariaDb => "SET GLOBAL rpl_semi_sync_master_enabled = 0",
    });
}

/// The replicas are cut off from their primary behind a transaction that they have shown: the read does not go back, whatever its
/// way to the primary is. It waits, and then fails saying why.
#[test]
fn a_session_goes_on_seeing_what_it_has_seen_on_a_replica_that_was_cut_off() {
    for flavor in flavors() {
        let options = Options { semi_sync: true, ..Options::default() };
        let (cluster, proxy) = start(flavor, options, "[routing]\ngtid_wait_ms = 200\nwrite_wait_ms = 1500\n");
        stop_acknowledging(&cluster);
        let primary = cluster.primary();
        let mut readers = [Peer::through(&proxy), Peer::through(&proxy), Peer::through(&proxy)];
        let on_primary = format!("/* dbproxy: primary */ {COUNT}");
        std::thread::scope(|both| {
            let written = both.spawn(|| Peer::through(&proxy).ok("INSERT INTO t VALUES (2)"));
            let on_replica = format!("/* dbproxy: server={} */ {COUNT}", cluster.replicas()[0].address());
            for reader in &mut readers {
                wait_for("the replica to show it", || (reader.row(&on_replica) == ["2", "2"]).then_some(()));
            }
            assert_eq!(primary.value("SELECT COUNT(*) FROM app.t"), "1", "{flavor:?}: it waits for an acknowledgement");
            let [asked, lost, waits] = &mut readers;
            let began = Instant::now();
            for _ in 0..2 {
                let failed = asked.fails(&on_primary);
                assert_eq!(failed.code, 1205, "{flavor:?}: {failed:?}");
                assert!(String::from_utf8_lossy(&failed.message).contains("has read from a replica"), "{failed:?}");
            }
            assert!(began.elapsed() > Duration::from_secs(3), "it waits first");
            assert_eq!(asked.row(&on_replica)[0], "2", "the session goes on");
            // Nobody can tell what a lost replica has shown: the primary must show all that it has logged.
            let connections = "SELECT id FROM information_schema.processlist WHERE user = 'app'";
            for row in cluster.replicas()[0].sql(connections) {
                let _ = cluster.replicas()[0].try_sql(&format!("KILL {}", row[0].as_deref().unwrap_or_default()));
            }
            assert_eq!(lost.fails(&on_primary).code, 1205, "{flavor:?}");
            both.spawn(|| {
                std::thread::sleep(Duration::from_millis(500));
                commit_without_acknowledgement(&cluster);
            });
            assert_eq!(waits.row(&on_primary), ["2", "1"], "{flavor:?}");
            assert_eq!(asked.row(&on_primary), ["2", "1"], "{flavor:?}");
            written.join().expect("written in the end");
        });
    }
}

/// Changes between all three servers while others write; how often a read saw less than the one before, by where it changed to.
fn changes(cluster: &Cluster, proxy: &Proxy, time: Duration) -> (u32, u32, u32) {
    let over = AtomicBool::new(false);
    let (mut reads, mut on_replica, mut on_primary) = (0, 0, 0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut writer = Peer::through(proxy);
                while !over.load(Ordering::Relaxed) {
                    writer.ok("INSERT INTO t VALUES ()");
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let mut reader = Peer::through(proxy);
        let began = Instant::now();
        let mut before = 0;
        for server in cluster.servers.iter().cycle() {
            if began.elapsed() > time {
                break;
            }
            let row = reader.row(&format!("/* dbproxy: server={} */ {COUNT}", server.address()));
            let count: u64 = row[0].parse().expect("a number");
            match (count < before, &*row[1]) {
                (true, "1") => on_primary += 1,
                (true, _) => on_replica += 1,
                (false, _) => {}
            }
            (before, reads) = (count, reads + 1);
        }
        over.store(true, Ordering::Relaxed);
    });
    (reads, on_replica, on_primary)
}

#[test]
fn reads_that_change_their_server_each_time_do_not_go_back() {
    for flavor in flavors() {
        let options = Options { semi_sync: true, ..Options::default() };
        let (cluster, proxy) = start(flavor, options, "[routing]\ngtid_wait_ms = 5000\n");
        let (reads, on_replica, on_primary) = changes(&cluster, &proxy, Duration::from_secs(6));
        eprintln!(
            "{flavor:?}: {reads} reads, each elsewhere: {on_replica} saw less on a replica, {on_primary} on the primary"
        );
        assert_eq!((on_replica, on_primary), (0, 0), "{flavor:?}");
    }
}
