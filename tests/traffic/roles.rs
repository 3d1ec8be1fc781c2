//! Primaries that change, go, come back, and are two; replicas that cannot be used.

use super::peer::{Peer, warm};
use super::support::{Cluster, Options, Proxy, Server, flavors, wait_for, wait_within};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn each(run: impl Fn(&Cluster)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT, at INT)");
        cluster.primary().sql("INSERT INTO app.t VALUES (1, 0, 1)");
        cluster.wait_for_replicas();
        run(&cluster);
    }
}

fn message(err: &dbproxy::wire::ErrPacket) -> String {
    String::from_utf8_lossy(&err.message).into_owned()
}

#[test]
fn writes_follow_the_primary_under_load_and_none_is_lost_or_doubled() {
    each(|cluster| {
        let proxy = Proxy::start(cluster, "");
        let over = AtomicBool::new(false);
        let (moved, results) = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut peer = Peer::through(&proxy);
                        let (mut sure, mut failed, mut longest) = (0, Vec::new(), Duration::ZERO);
                        while !over.load(Ordering::Relaxed) {
                            let began = Instant::now();
                            let answer = peer.query("INSERT INTO t (n, at) VALUES (100, @@server_id)");
                            longest = longest.max(began.elapsed());
                            match answer[0].err() {
                                None => sure += 1,
                                Some(err) => failed.push((err.code, message(&err))),
                            }
                        }
                        (sure, failed, longest)
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(500));
            cluster.switch_primary(0, 1);
            let writable = Instant::now();
            let moved = wait_for("writes on the new primary", || {
                let count = cluster.servers[1].value("SELECT COUNT(*) FROM app.t WHERE at = 2");
                (count != "0").then(|| writable.elapsed())
            });
            std::thread::sleep(Duration::from_millis(500));
            over.store(true, Ordering::Relaxed);
            (moved, writers.into_iter().map(|writer| writer.join().expect("a writer")).collect::<Vec<_>>())
        });
        cluster.servers[0].wait_for_gtid(&cluster.servers[1].gtid_executed());
        let sure: u32 = results.iter().map(|(sure, ..)| sure).sum();
        let failed: Vec<_> = results.iter().flat_map(|(_, failed, _)| failed).collect();
        let longest = results.iter().map(|(_, _, longest)| *longest).max();
        eprintln!(
            "{:?}: {sure} writes, moved after {moved:?}, longest {longest:?}, {} refused",
            cluster.flavor,
            failed.len()
        );
        assert!(moved < Duration::from_secs(1), "{moved:?}");
        for server in &cluster.servers[..2] {
            assert_eq!(server.value("SELECT COUNT(*) FROM app.t WHERE n = 100"), sure.to_string());
        }
        // What the old primary refuses before the proxy knows waits for the new one.
        assert!(failed.is_empty(), "{failed:?}");
    });
}

#[test]
fn two_writable_servers_stop_writes_by_an_error_that_names_both() {
    each(|cluster| {
        let proxy = Proxy::start(cluster, "");
        let mut peer = Peer::through(&proxy);
        peer.ok("UPDATE t SET n = 1");
        cluster.servers[2].set_read_only(false);
        let began = Instant::now();
        let err =
            wait_within(Duration::from_secs(3), "writes to stop", || peer.query("UPDATE t SET n = n + 1")[0].err());
        assert!(began.elapsed() < Duration::from_millis(1200), "{:?}", began.elapsed());
        for server in [&cluster.servers[0], &cluster.servers[2]] {
            assert!(message(&err).contains(&server.address()), "{}", message(&err));
        }
        assert!(!message(&err).contains(&cluster.servers[1].address()), "{}", message(&err));
        assert!(peer.query("BEGIN")[0].err().is_some());
        let mut fresh = Peer::through(&proxy);
        fresh.ok("SELECT * FROM t");
        cluster.servers[2].set_read_only(true);
        wait_within(Duration::from_secs(3), "writes to go on", || {
            peer.query("UPDATE t SET n = 77")[0].err().is_none().then_some(())
        });
    });
}

#[test]
fn a_write_waits_for_the_primary_to_come_back() {
    each(|cluster| {
        let proxy = Proxy::start(cluster, "[routing]\nwrite_wait_ms = 60000\n");
        let mut peer = Peer::through(&proxy);
        peer.ok("UPDATE t SET n = 1");
        cluster.primary().stop();
        let mut reader = Peer::through(&proxy);
        reader.ok("SELECT * FROM t");
        peer.send(&dbproxy::wire::query_payload("UPDATE t SET n = n + 1", peer.capabilities));
        std::thread::sleep(Duration::from_millis(1500));
        cluster.primary().start();
        let answer = peer.answer(dbproxy::wire::Expect::Results).expect("an answer");
        assert!(answer[0].err().is_none(), "{answer:?}");
        assert_eq!(peer.value("SELECT n FROM t"), "2");
    });
}

#[test]
fn a_write_that_waited_too_long_is_told_why() {
    each(|cluster| {
        let proxy = Proxy::start(cluster, "[routing]\nwrite_wait_ms = 700\n");
        let mut peer = Peer::through(&proxy);
        cluster.primary().stop();
        let began = Instant::now();
        let err = peer.fails("UPDATE t SET n = n + 1");
        let took = began.elapsed();
        assert!(took > Duration::from_millis(500) && took < Duration::from_secs(3), "{took:?}");
        assert_eq!(err.code, 1836);
        assert!(message(&err).contains("no primary"), "{}", message(&err));
        assert!(message(&err).contains(&cluster.primary().address()), "{}", message(&err));
        peer.ok("SELECT * FROM t");
    });
}

#[test]
fn reads_go_to_the_primary_when_no_replica_is_usable() {
    each(|cluster| {
        let proxy = Proxy::start(cluster, "");
        let mut peer = Peer::through(&proxy);
        assert_ne!(peer.value("SELECT @@server_id"), "1");
        cluster.replicas().iter().for_each(Server::kill9);
        assert_eq!(peer.row("SELECT n, @@server_id FROM t"), ["0", "1"]);
        cluster.servers[1].start();
        cluster.servers[1].wait_until_ready();
        wait_for("reads on the replica that came back", || (peer.value("SELECT @@server_id") == "2").then_some(()));
        cluster.servers[1].sql("STOP REPLICA");
        wait_for("reads on the primary", || (peer.value("SELECT @@server_id") == "1").then_some(()));
    });
}

#[test]
fn a_transaction_that_the_primary_left_is_told_to_restart() {
    each(|cluster| {
        let proxy = Proxy::start(cluster, "");
        let mut peer = Peer::through(&proxy);
        peer.ok("BEGIN");
        peer.ok("SELECT n FROM t");
        let mut pinned = Peer::through(&proxy);
        pinned.ok("SELECT @v := 1");
        cluster.switch_primary(0, 1);
        wait_for("the proxy to see the new primary", || {
            (proxy.status()["cluster"]["primary"] == cluster.servers[1].address()).then_some(())
        });
        let err = peer.fails("UPDATE t SET n = 5");
        assert_eq!((err.code, &err.sql_state), (1213, b"40001"), "{}", message(&err));
        peer.ok("BEGIN");
        peer.ok("UPDATE t SET n = 6, at = @@server_id");
        peer.ok("COMMIT");
        assert_eq!(peer.row("SELECT n, at FROM t"), ["6", "2"]);
        // What cannot be had again ends the connection, and says so.
        let answer = pinned.query("SELECT @v");
        assert!(answer[0].err().is_some(), "{answer:?}");
        pinned.until_closed();
    });
}

#[test]
fn a_primary_that_hangs_is_noticed_and_reads_go_on() {
    each(|cluster| {
        let proxy = Proxy::start(cluster, "[routing]\nwrite_wait_ms = 4000\n");
        let mut peer = Peer::through(&proxy);
        assert_ne!(peer.value("SELECT @@server_id"), "1");
        cluster.primary().pause();
        let began = Instant::now();
        let mut fresh = Peer::through(&proxy);
        fresh.ok("SELECT * FROM t");
        let took = began.elapsed();
        peer.ok("SELECT * FROM t");
        cluster.primary().resume();
        peer.ok("UPDATE t SET n = 8");
        assert_eq!(peer.value("SELECT n FROM t"), "8");
        assert!(took < Duration::from_secs(5), "a login while the primary hangs took {took:?}");
    });
}
