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
