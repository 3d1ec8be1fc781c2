//! Backends that close, crash and restart under sessions.

use super::peer::{Lost, Peer, warm};
use super::support::{Cluster, Options, Proxy, Server, accounts, flavors, wait_for};
use std::io::Read;
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

/// Kills every connection of the application at every server.
fn kill_backends(cluster: &Cluster) -> usize {
    let mut killed = 0;
    for server in &cluster.servers {
        let user = accounts::APP.0;
        for row in server.sql(&format!("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{user}'")) {
            // It may have ended by itself meanwhile.
            killed += usize::from(server.try_sql(&format!("KILL {}", row[0].as_deref().expect("an id"))).is_ok());
        }
    }
    killed
}

#[test]
fn an_idle_session_does_not_notice_that_its_backends_closed() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        for round in 0..5 {
            peer.ok("UPDATE t SET n = n + 1");
            peer.ok("SELECT * FROM t");
            peer.ok("USE test");
            peer.ok("SET NAMES latin1 COLLATE latin1_bin");
            // A read elsewhere makes the proxy ask for the collation, which no server reports.
            peer.ok("SELECT 1");
            assert!(kill_backends(cluster) > 0, "it has a primary's at least");
            if round % 2 == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            assert_eq!(peer.row("SELECT DATABASE(), @@collation_connection"), ["test", "latin1_bin"]);
            peer.ok("USE app");
        }
        assert_eq!(peer.value("SELECT n FROM t"), "5");
    });
}

#[test]
fn a_transaction_ends_with_its_backend_as_at_a_server() {
    each(|cluster, proxy| {
        for (holds, statement) in [
            ("a transaction", "BEGIN"),
            ("a temporary table", "CREATE TEMPORARY TABLE tmp (a INT)"),
            ("a lock", "SELECT GET_LOCK('l', 1)"),
            ("a variable whose value only the server knows", "SET @v = 1 + 1"),
        ] {
            let killed = |port: u16| {
                let mut peer = Peer::app(port, super::peer::USUAL, Some("app"));
                peer.ok(statement);
                peer.ok("INSERT INTO t (n) VALUES (1)");
                assert!(kill_backends(cluster) > 0);
                String::from_utf8_lossy(&peer.until_closed()).into_owned()
            };
            assert_eq!(killed(proxy.port), killed(cluster.primary().port), "{:?} {holds}", cluster.flavor);
        }
    });
}

#[test]
fn servers_that_time_idle_connections_out_are_not_noticed() {
    each(|cluster, proxy| {
        cluster.servers.iter().for_each(|server| drop(server.sql("SET GLOBAL wait_timeout = 1")));
        let mut peer = Peer::through(proxy);
        for _ in 0..2 {
            peer.ok("UPDATE t SET n = n + 1");
            assert_ne!(peer.value("SELECT @@server_id"), "1");
            std::thread::sleep(Duration::from_millis(1300));
        }
        assert_eq!(peer.value("SELECT n FROM t"), "2");
    });
}

#[test]
fn a_session_that_was_idle_too_long_ends_in_the_servers_way() {
    each(|cluster, proxy| {
        let last = |port: u16| {
            let mut peer = Peer::app(port, super::peer::USUAL, Some("app"));
            peer.ok("CREATE TEMPORARY TABLE held (a INT)");
            peer.ok("SET SESSION wait_timeout = 1");
            let mut words = Vec::new();
            // In order or by a reset: clients report another error for each.
            let end = peer.stream.read_to_end(&mut words).map_err(|error| error.kind());
            (String::from_utf8_lossy(&words).into_owned(), end)
        };
        assert_eq!(last(proxy.port), last(cluster.primary().port), "{:?}", cluster.flavor);
    });
}

#[test]
fn a_read_on_a_replica_that_crashes_is_run_elsewhere() {
    const SLOW: &str = "SELECT /* slow */ COUNT(*) FROM many a, many b, many c WHERE a.id + b.id + c.id = 0";
    const RUNNING: &str = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT /* slow%'";
    each(|cluster, proxy| {
        cluster.primary().sql("CREATE TABLE app.many (id INT PRIMARY KEY AUTO_INCREMENT)");
        cluster.primary().sql("INSERT INTO app.many VALUES (), (), (), (), (), (), (), ()");
        for _ in 0..8 {
            cluster.primary().sql("INSERT INTO app.many SELECT NULL FROM app.many");
        }
        cluster.wait_for_replicas();
        let mut peer = Peer::through(proxy);
        let at: usize = peer.value("SELECT @@server_id").parse().expect("a number");
        assert_ne!(at, 1, "a replica");
        peer.send(&dbproxy::wire::query_payload(SLOW, peer.capabilities));
        let victim = &cluster.servers[at - 1];
        wait_for("the read to run", || {
            let rows = victim.sql(RUNNING);
            (!rows.is_empty()).then_some(())
        });
        victim.kill9();
        // Where it runs now, it is ended, so that the test need not wait for it: an answer all the same.
        let elsewhere = wait_for("the read to run elsewhere", || {
            cluster.servers.iter().filter(|server| server.id != victim.id).find_map(|server| {
                let rows = server.sql(RUNNING);
                Some((server, rows.first()?[0].clone()?))
            })
        });
        elsewhere.0.sql(&format!("KILL QUERY {}", elsewhere.1));
        let answer = peer.answer(dbproxy::wire::Expect::Results).expect("an answer");
        assert_eq!(answer.last().and_then(|packet| packet.err()).map(|err| err.code), Some(1317), "{answer:?}");
        assert_eq!(peer.value("SELECT n FROM t"), "0");
        victim.start();
        victim.wait_until_ready();
    });
}

#[test]
fn a_write_on_a_primary_that_crashes_is_unknown_and_never_sent_twice() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("SELECT 1");
        let sql = "INSERT INTO t (n) SELECT 5 + SLEEP(3)";
        peer.send(&dbproxy::wire::query_payload(sql, peer.capabilities));
        wait_for("the write to run", || {
            let rows = cluster.primary().sql("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT%'");
            (!rows.is_empty()).then_some(())
        });
        cluster.primary().kill9();
        let answer = peer.answer(dbproxy::wire::Expect::Results).expect("an error");
        let err = answer[0].err().expect("an error");
        assert_eq!(err.code, 1158);
        let text = String::from_utf8_lossy(&err.message).into_owned();
        assert!(text.contains("whether it was executed is not known"), "{text}");
        assert!(text.contains(&cluster.primary().address()), "{text}");
        cluster.primary().start();
        cluster.primary().wait_until_ready();
        // The session goes on, and the statement ran at most once: here not at all.
        peer.ok("INSERT INTO t (n) VALUES (6)");
        assert_eq!(cluster.primary().value("SELECT COUNT(*) FROM app.t WHERE n = 5"), "0");
        assert_eq!(peer.value("SELECT GROUP_CONCAT(n ORDER BY n) FROM t"), "0,6");
    });
}

#[test]
fn a_commit_without_an_answer_is_unknown() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("BEGIN");
        peer.ok("INSERT INTO t (n) VALUES (9)");
        cluster.primary().pause();
        peer.send(&dbproxy::wire::query_payload("COMMIT", peer.capabilities));
        std::thread::sleep(Duration::from_millis(100));
        cluster.primary().kill9();
        let answer = peer.answer(dbproxy::wire::Expect::Results).expect("an error");
        let err = answer[0].err().expect("an error");
        assert!(String::from_utf8_lossy(&err.message).contains("not known"), "{err:?}");
        cluster.primary().start();
        cluster.primary().wait_until_ready();
        let mut other = Peer::through(proxy);
        assert_eq!(other.value("SELECT COUNT(*) FROM t WHERE n = 9"), "0");
    });
}

#[test]
fn restarted_servers_whose_password_caches_are_cold_are_logged_in_to() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("UPDATE t SET n = n + 1");
        cluster.servers.iter().for_each(Server::restart);
        wait_for("replication to go on", || cluster.replicas().iter().all(Server::is_replicating).then_some(()));
        wait_for("the proxy to see all servers", || (proxy.status()["cluster"]["state"] == "ok").then_some(()));
        peer.ok("UPDATE t SET n = n + 1");
        assert_eq!(peer.row("SELECT n FROM t"), ["2"]);
        assert_ne!(peer.value("SELECT @@server_id"), "1");
        let mut fresh = Peer::through(proxy);
        fresh.ok("UPDATE t SET n = n + 1");
        assert_eq!(fresh.value("SELECT n FROM t"), "3");
    });
}

#[test]
fn a_restart_under_load_loses_no_acknowledged_write_and_doubles_none() {
    each(|cluster, proxy| {
        let deadline = Instant::now() + Duration::from_secs(4);
        let acknowledged: Vec<(u32, u32)> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut peer = Peer::through(proxy);
                        let (mut sure, mut unknown) = (0, 0);
                        while Instant::now() < deadline {
                            match peer.try_query("INSERT INTO t (n) VALUES (100)") {
                                Ok(answer) if answer[0].payload[0] == 0 => sure += 1,
                                Ok(_) => unknown += 1,
                                Err(Lost::Closed) => {
                                    unknown += 1;
                                    peer = Peer::through(proxy);
                                }
                                Err(lost) => panic!("no answer: {lost:?}"),
                            }
                        }
                        (sure, unknown)
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(700));
            cluster.primary().kill9();
            cluster.primary().start();
            cluster.primary().wait_until_ready();
            writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
        });
        let (sure, unknown) = acknowledged.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let rows: u32 = cluster.primary().value("SELECT COUNT(*) FROM app.t WHERE n = 100").parse().expect("a number");
        eprintln!("{:?}: {sure} acknowledged, {unknown} unknown, {rows} rows", cluster.flavor);
        assert!(sure > 100 && unknown <= 8, "{sure} {unknown}");
        assert!((sure..=sure + unknown).contains(&rows), "{sure} {unknown} {rows}");
    });
}

#[test]
fn a_statement_prepared_on_a_lost_backend_is_prepared_again() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        let prepare = |sql: &str| [&[0x16][..], sql.as_bytes()].concat();
        let mut ids = Vec::new();
        for sql in ["SELECT n FROM t WHERE id = ?", "UPDATE t SET n = n + ? "] {
            let ok = peer.run(&prepare(sql), dbproxy::wire::Expect::Prepared).expect("an answer");
            ids.push(ok[0].payload[1..5].to_vec());
        }
        let execute = |id: &[u8], types: bool| {
            let types: &[u8] = if types { &[1, 3, 0] } else { &[0] };
            [&[0x17][..], id, &[0, 1, 0, 0, 0, 0], types, &1u32.to_le_bytes()].concat()
        };
        for round in 0..4 {
            for id in &ids {
                let answer = peer.run(&execute(id, round == 0), dbproxy::wire::Expect::Results).expect("an answer");
                assert!(answer.iter().all(|packet| packet.err().is_none()), "round {round}: {answer:?}");
            }
            kill_backends(cluster);
        }
        assert_eq!(peer.value("SELECT n FROM t"), "4");
    });
}

#[test]
fn long_data_that_no_primary_takes_fails_the_execution() {
    let flavor = flavors()[0];
    let cluster = Cluster::start(flavor, Options::default());
    warm(&cluster);
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
    cluster.wait_for_replicas();
    let proxy = Proxy::start(&cluster, "[routing]\nwrite_wait_ms = 300\n");
    let has_primary = |wanted: bool| {
        wait_for("the proxy to see it", || (proxy.status()["cluster"]["primary"].is_string() == wanted).then_some(()));
    };
    let mut peer = Peer::through(&proxy);
    let prepared = peer.run(b"\x16INSERT INTO t (n) VALUES (?)", dbproxy::wire::Expect::Prepared).expect("an answer");
    let id = &prepared[0].payload[1..5];
    let long_data = [&[0x18][..], id, &[0, 0, b'7']].concat();
    let execute = [&[0x17][..], id, &[0, 1, 0, 0, 0, 0, 1, 253, 0]].concat();
    cluster.primary().set_read_only(true);
    has_primary(false);
    peer.send(&long_data);
    peer.ping().expect("its own answer");
    let answer = peer.run(&execute, dbproxy::wire::Expect::Results).expect("an answer");
    assert_eq!(answer[0].err().map(|err| err.code), Some(1836), "{answer:?}");
    cluster.primary().set_read_only(false);
    has_primary(true);
    let answer = peer.run(&[&[0x1a][..], id].concat(), dbproxy::wire::Expect::OnePacket).expect("an answer");
    assert!(answer[0].err().is_none(), "{answer:?}");
    peer.send(&long_data);
    let answer = peer.run(&execute, dbproxy::wire::Expect::Results).expect("an answer");
    assert!(answer[0].err().is_none(), "{answer:?}");
    assert_eq!(peer.value("SELECT n FROM t"), "7");
}
