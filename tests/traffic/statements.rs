//! Statements and their ids, straight and through the proxy: the same errors, and nothing runs twice.

use super::peer::{Peer, warm};
use super::support::{Cluster, Options, Proxy, flavors};
use dbproxy::wire::{Capabilities, Command, Expect, LAST_PREPARED};

pub fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
        cluster.wait_for_replicas();
        run(&cluster, &Proxy::start(&cluster, ""));
    }
}

fn prepare(text: &str) -> Vec<u8> {
    [&[Command::StmtPrepare as u8], text.as_bytes()].concat()
}

fn execute_last() -> Vec<u8> {
    [&[Command::StmtExecute as u8][..], &LAST_PREPARED.to_le_bytes(), &[0, 1, 0, 0, 0]].concat()
}

/// The error of each answer, 0 for OK.
fn codes(peer: &mut Peer, answers: &[Expect]) -> Vec<u16> {
    let answers = answers.iter().map(|expect| peer.answer(*expect).expect("an answer"));
    answers.map(|answer| answer[0].err().map_or(0, |err| err.code)).collect()
}

#[test]
fn the_id_of_the_statement_prepared_last_survives_no_failure() {
    each(|cluster, proxy| {
        let play = |port| {
            let mut peer = Peer::app(port, Capabilities::DEPRECATE_EOF, Some("app"));
            let insert = prepare("INSERT INTO t (n) VALUES (1)");
            let prepared = peer.run(&insert, Expect::Prepared).expect("an answer");
            let id = prepared[0].payload[1..5].to_vec();
            let mut seen = vec![codes_of(&mut peer, &execute_last())];
            // Without waiting, as MariaDB's connectors do.
            peer.send(&prepare("INSERT INTO nowhere VALUES (1)"));
            peer.send(&execute_last());
            seen.push(codes(&mut peer, &[Expect::Prepared, Expect::Results]));
            peer.send(&insert);
            peer.send(&execute_last());
            seen.push(codes(&mut peer, &[Expect::Prepared, Expect::Results]));
            // Another statement than the last one is closed, and then the last one.
            peer.send(&[&[Command::StmtClose as u8][..], &id].concat());
            seen.push(codes_of(&mut peer, &execute_last()));
            peer.send(&[&[Command::StmtClose as u8][..], &LAST_PREPARED.to_le_bytes()].concat());
            seen.push(codes_of(&mut peer, &execute_last()));
            peer.send(&insert);
            peer.send(&[Command::ResetConnection as u8]);
            peer.send(&execute_last());
            seen.push(codes(&mut peer, &[Expect::Prepared, Expect::OnePacket, Expect::Results]));
            (seen, peer.value("SELECT COUNT(*) FROM app.t FOR UPDATE"))
        };
        let straight = play(cluster.primary().port);
        cluster.primary().sql("DELETE FROM app.t");
        assert_eq!(play(proxy.port), straight, "{:?}", cluster.flavor);
    });
}

fn codes_of(peer: &mut Peer, payload: &[u8]) -> Vec<u16> {
    peer.send(payload);
    codes(peer, &[Expect::Results])
}

/// Statements of which the server runs nothing, or that leave nothing with their session.
const LEAVE_NOTHING: [&str; 14] = [
    "SELEC 1",
    "SELECT 1; SELECT 2",
    "SELECT n FROM t; SELECT LAST_INSERT_ID()",
    "INSERT INTO t (n) VALUES (5); SELECT LAST_INSERT_ID() > 0",
    "BEGIN; UPDATE t SET n = 7; COMMIT",
    "SELECT nowhere(1)",
    "SELECT app.nowhere(1)",
    "CALL nowhere()",
    "CALL takes_none(1)",
    "EXECUTE nowhere",
    "DEALLOCATE PREPARE nowhere",
    "PREPARE p FROM 'SELEC'",
    "SELECT /*!40001 SQL_NO_CACHE */ COUNT(*) FROM t",
    "SELECT /*+ SET_VAR(sql_mode='') */ 1",
];

#[test]
fn what_leaves_nothing_does_not_hold_its_session() {
    each(|cluster, proxy| {
        cluster.primary().sql("CREATE PROCEDURE app.takes_none() SELECT 1");
        for more in [Capabilities::default(), Capabilities::MULTI_STATEMENTS] {
            for capabilities in [more, more | Capabilities::DEPRECATE_EOF] {
                for sql in LEAVE_NOTHING {
                    let answer = |port| {
                        let mut peer = Peer::app(port, capabilities, Some("app"));
                        let answer = peer.query(sql);
                        (answer, peer.value("SELECT @@server_id"))
                    };
                    let (straight, through) = (answer(cluster.primary().port), answer(proxy.port));
                    let of = format!("{:?} {capabilities:?} {sql}", cluster.flavor);
                    if !sql.starts_with("INSERT") && !sql.starts_with("BEGIN") {
                        assert_eq!(through.0, straight.0, "{of}");
                    }
                    assert_ne!(through.1, "1", "on a replica: {of}");
                }
            }
        }
    });
}

#[test]
fn a_long_statement_of_a_client_that_may_send_several_does_not_hold_its_session() {
    each(|_, proxy| {
        let mut peer = Peer::app(proxy.port, Capabilities::MULTI_STATEMENTS | Capabilities::DEPRECATE_EOF, Some("app"));
        let blanks = " ".repeat(2 << 20);
        peer.ok(&format!("INSERT INTO t (n){blanks} VALUES (1)"));
        assert_ne!(peer.value("SELECT @@server_id"), "1", "it was the only one");
        peer.ok(&format!("INSERT INTO t (n){blanks} VALUES (1); SET @v = 1"));
        assert_eq!(peer.value("SELECT @@server_id"), "1", "there was another one behind it");
    });
}

/// Ends the application's connections at a server.
fn cut(cluster: &Cluster) {
    let ids = "SELECT GROUP_CONCAT(id) FROM information_schema.processlist WHERE user = 'app'";
    for id in cluster.primary().value(ids).split(',') {
        cluster.primary().sql(&format!("KILL {id}"));
    }
}

#[test]
fn an_insert_id_lost_with_its_connection_is_not_silently_0() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        peer.ok("INSERT INTO t (n) VALUES (1)");
        assert_eq!(peer.value("SELECT LAST_INSERT_ID()"), "1");
        cut(cluster);
        for sql in ["SELECT LAST_INSERT_ID()", "INSERT INTO t (n) VALUES (LAST_INSERT_ID())", "SELECT ROW_COUNT()"] {
            let err = peer.fails(sql);
            assert_eq!((err.code, &err.sql_state), (1158, b"08S01"), "{}", String::from_utf8_lossy(&err.message));
        }
        peer.ok("INSERT INTO t (n) VALUES (2)");
        assert_eq!(peer.value("SELECT ROW_COUNT()"), "1");
        assert_eq!(peer.value("SELECT LAST_INSERT_ID()"), "2", "{:?}", cluster.flavor);
    });
}
