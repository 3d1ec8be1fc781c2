//! Long packets, long results, slow clients, pipelines, and files.

use super::peer::{EDGE, Packet, Peer, packets, warm};
use super::support::{Cluster, Options, Proxy, flavors, wait_for};
use dbproxy::wire::{Capabilities, Expect, Tracker, frame, put_lenenc_bytes, query_payload};
use std::io::Read;
use std::time::Duration;

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        // Else a busy machine shows in the status flags.
        let server_options = "long_query_time=1000\n".to_owned();
        let cluster = Cluster::start(flavor, Options { server_options, ..Options::default() });
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
        cluster.primary().sql("INSERT INTO app.t VALUES (1, 0)");
        cluster.primary().sql("CREATE TABLE app.big (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)");
        cluster.wait_for_replicas();
        run(&cluster, &Proxy::start(&cluster, ""));
    }
}

#[test]
fn packets_around_sixteen_mebibytes_pass_both_ways() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        for size in [0xff_fffb, EDGE - 1, EDGE, EDGE + 1, 40 << 20] {
            // Up: a statement whose whole payload has this size.
            let frame = query_payload("SELECT LENGTH('')", peer.capabilities).len();
            let sql = format!("SELECT LENGTH('{}')", "x".repeat(size - frame));
            assert_eq!(peer.value(&sql), (size - frame).to_string(), "{:?} {size} up", cluster.flavor);
            // Down: one row of this size, with the length in front of the cell.
            let cell = if size - 4 < 1 << 24 { size - 4 } else { size - 9 };
            let answer = peer.ok(&format!("SELECT REPEAT('y', {cell})"));
            let row = answer.iter().skip(2).map(|packet| &packet.payload[..]).collect::<Vec<_>>().concat();
            let mut expected = Vec::new();
            put_lenenc_bytes(&mut expected, &vec![b'y'; cell]);
            assert_eq!(expected.len(), size);
            assert!(row.starts_with(&expected), "{:?} {size} down", cluster.flavor);
            assert!(row.len() < size + 20);
            peer.ping().expect("the session goes on");
        }
    });
}

#[test]
fn long_parameters_pass_in_both_kinds_of_execute() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        let prepare = |sql: &str| [&[0x16][..], sql.as_bytes()].concat();
        for sql in ["INSERT INTO big (b) VALUES (?)", "SELECT LENGTH(?), id FROM t"] {
            let ok = peer.run(&prepare(sql), Expect::Prepared).expect("an answer");
            let id = ok[0].payload[1..5].to_vec();
            for (size, types) in [(EDGE, true), (EDGE - 40, false), (20 << 20, false)] {
                let mut execute =
                    [&[0x17][..], &id, &[0, 1, 0, 0, 0, 0], if types { &[1, 251, 0] } else { &[0] }].concat();
                put_lenenc_bytes(&mut execute, &vec![b'z'; size]);
                let answer = peer.run(&execute, Expect::Results).expect("an answer");
                assert!(answer.iter().all(|packet| packet.err().is_none()), "{:?} {sql} {size}", cluster.flavor);
            }
            // Long data.
            for _ in 0..3 {
                let data = [&[0x18][..], &id, &[0, 0], &vec![b'l'; 6 << 20]].concat();
                peer.send(&data);
            }
            let execute = [&[0x17][..], &id, &[0, 1, 0, 0, 0, 0, 1, 251, 0]].concat();
            let answer = peer.run(&execute, Expect::Results).expect("an answer");
            assert!(answer.iter().all(|packet| packet.err().is_none()), "{:?} {sql} {answer:?}", cluster.flavor);
        }
        assert_eq!(
            peer.value("SELECT GROUP_CONCAT(LENGTH(b) ORDER BY id) FROM big"),
            format!("{EDGE},{},{},{}", EDGE - 40, 20 << 20, 18 << 20)
        );
    });
}

/// Reads an answer and keeps nothing of it: its length.
fn drink(peer: &mut Peer) -> u64 {
    let mut tracker = Tracker::new(Expect::Results, peer.capabilities);
    let mut total = 0;
    let mut chunk = vec![0; 1 << 20];
    loop {
        let scan = tracker.scan(&peer.ahead).expect("an answer");
        let used = scan.pass + scan.event.map_or(0, |(_, len)| len);
        total += used as u64;
        peer.ahead.drain(..used);
        if tracker.is_done() {
            return total;
        }
        if scan.event.is_none() {
            let n = peer.stream.read(&mut chunk).expect("bytes");
            assert!(n > 0, "closed in the middle");
            peer.ahead.extend_from_slice(&chunk[..n]);
        }
    }
}

#[test]
fn a_gibibyte_moves_at_constant_memory_and_a_client_that_stops_reading_stops_the_server() {
    each(|cluster, proxy| {
        for _ in 0..5 {
            cluster.primary().sql("INSERT INTO app.t (n) SELECT n FROM app.t");
        }
        cluster.wait_for_replicas();
        let mut peer = Peer::through(proxy);
        let sql = "SELECT REPEAT('x', 1000000) FROM t a, t b, t c LIMIT 1074";
        peer.ok("SELECT n FROM t");
        let before = proxy.resident_kib();
        peer.send(&query_payload(sql, peer.capabilities));
        std::thread::sleep(Duration::from_millis(1500));
        let stalled = proxy.resident_kib();
        let waiting: usize = cluster
            .servers
            .iter()
            .map(|server| {
                server.sql("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT REPEAT%'").len()
            })
            .sum();
        assert_eq!(waiting, 1, "the server waits for the client");
        let total = drink(&mut peer);
        let after = proxy.resident_kib();
        eprintln!("{:?}: {total} bytes; resident {before} KiB, stalled {stalled}, after {after}", cluster.flavor);
        assert!(total > 1 << 30, "{total}");
        assert!(stalled < before + 4096 && after < before + 8192, "{before} {stalled} {after}");
        peer.ping().expect("the session goes on");
    });
}

#[test]
fn fifty_pipelined_commands_are_answered_in_order() {
    each(|cluster, proxy| {
        let run = |port| {
            let mut peer = Peer::app(port, Capabilities::DEPRECATE_EOF, Some("app"));
            peer.ok("TRUNCATE big");
            let ok = peer.run(b"\x16SELECT ? + 1, 'prepared'", Expect::Prepared).expect("an answer");
            let execute =
                |n: u32| [&[0x17][..], &ok[0].payload[1..5], &[0, 1, 0, 0, 0, 0, 1, 3, 0], &n.to_le_bytes()].concat();
            let mut all = Vec::new();
            let mut expects = Vec::new();
            for n in 0..50u32 {
                let (payload, expect) = match n % 7 {
                    0 => (
                        query_payload(&format!("INSERT INTO big (b) VALUES ('{n}')"), peer.capabilities),
                        Expect::Results,
                    ),
                    1 => (
                        query_payload("SELECT b FROM big ORDER BY id DESC LIMIT 1", peer.capabilities),
                        Expect::Results,
                    ),
                    2 => (execute(n), Expect::Results),
                    3 => (vec![0x0e], Expect::OnePacket),
                    4 => (query_payload(&format!("SELECT nonsense_{n}"), peer.capabilities), Expect::Results),
                    5 => (b"\x02app".to_vec(), Expect::OnePacket),
                    _ => (query_payload("UPDATE t SET n = n + 1", peer.capabilities), Expect::Results),
                };
                frame(&mut all, 0, &payload);
                expects.push(expect);
            }
            peer.raw(&all);
            let answers: Vec<Vec<Packet>> =
                expects.into_iter().map(|expect| peer.answer(expect).expect("an answer")).collect();
            assert!(peer.ahead.is_empty());
            answers
        };
        // Warnings that the statement before left on the same server are counted by commands that are none.
        let seen = |answers: Vec<Vec<Packet>>| -> Vec<Vec<u8>> {
            answers.iter().map(|answer| answer.iter().flat_map(|packet| packet.payload.clone()).collect()).collect()
        };
        let (straight, through) = (seen(run(cluster.primary().port)), seen(run(proxy.port)));
        for (n, (straight, through)) in straight.iter().zip(&through).enumerate() {
            if matches!(n % 7, 3 | 5) {
                assert_eq!((straight[0], through[0]), (0, 0));
            } else {
                assert_eq!(straight, through, "{:?} command {n}", cluster.flavor);
            }
        }
    });
}

/// LOAD DATA LOCAL: the file in packets of a mebibyte, or no file. The packets of the answer.
fn load(peer: &mut Peer, sql: &str, file: &[u8]) -> Vec<Packet> {
    peer.send(&query_payload(sql, peer.capabilities));
    let mut tracker = Tracker::new(Expect::Results, peer.capabilities);
    let mut answer = peer.answer_bytes(&mut tracker).expect("a request for the file");
    while !tracker.is_done() {
        let asked = packets(&answer).pop().expect("a request");
        assert_eq!(asked.payload[0], 0xfb, "{asked:?}");
        let mut bytes = Vec::new();
        let mut seq = asked.seq.wrapping_add(1);
        for chunk in file.chunks(1 << 20) {
            seq = frame(&mut bytes, seq, chunk);
        }
        frame(&mut bytes, seq, b"");
        peer.raw(&bytes);
        tracker.local_infile_sent();
        answer.extend(peer.answer_bytes(&mut tracker).expect("an answer behind the file"));
    }
    packets(&answer)
}

#[test]
fn local_files_of_any_size_are_loaded() {
    each(|cluster, proxy| {
        cluster.primary().sql("CREATE TABLE app.loaded (a INT, b VARCHAR(100))");
        let line = format!("1\t{}\n", "v".repeat(97));
        let files = [Vec::new(), line.repeat(3).into_bytes(), line.repeat(420_000).into_bytes()];
        let load_all = |port| {
            let mut peer = Peer::app(port, Capabilities::MULTI_STATEMENTS, Some("app"));
            let mut heard = Vec::new();
            for file in &files {
                peer.ok("TRUNCATE loaded");
                heard.push(load(&mut peer, "LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded", file));
                heard.push(peer.ok("SELECT COUNT(*), SUM(LENGTH(b)) FROM loaded"));
            }
            let many = "SELECT 1; LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded; SELECT 2; \
                        LOAD DATA LOCAL INFILE 'y' INTO TABLE loaded; SELECT 3";
            heard.push(load(&mut peer, many, &files[1]));
            // No such file: the client says no.
            heard.push(load(&mut peer, "LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded", b""));
            heard.push(load(&mut peer, "LOAD DATA LOCAL INFILE 'x' INTO TABLE nowhere", &files[1]));
            heard.push(peer.ok("SELECT COUNT(*) FROM loaded"));
            heard
        };
        let before = proxy.resident_kib();
        let straight = load_all(cluster.primary().port);
        let through = load_all(proxy.port);
        for (at, (straight, through)) in straight.iter().zip(&through).enumerate() {
            assert_eq!(straight, through, "{:?} answer {at}", cluster.flavor);
        }
        let after = proxy.resident_kib();
        assert!(after < before + 8192, "{before} {after}");
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_file_takes_nothing_with_it() {
    each(|cluster, proxy| {
        cluster.primary().sql("CREATE TABLE app.loaded (a INT)");
        let mut other = Peer::through(proxy);
        for _ in 0..3 {
            let mut peer = Peer::through(proxy);
            peer.send(&query_payload("LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded", peer.capabilities));
            peer.packet().expect("a request");
            peer.write(2, &b"1\n".repeat(100_000));
            peer.raw(&[0, 0, 1, 3, b'1']);
            drop(peer);
        }
        wait_for("the sessions to end", || (proxy.status()["proxy"]["clients"] == 1).then_some(()));
        other.ok("INSERT INTO loaded VALUES (1)");
        wait_for("the server to give up the file", || {
            let rows = cluster.primary().sql("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'LOAD%'");
            rows.is_empty().then_some(())
        });
        assert_eq!(other.value("SELECT COUNT(*) FROM loaded"), "1");
    });
}

#[test]
fn a_client_that_leaves_during_its_statement_ends_its_session() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        peer.send(&query_payload("SELECT SLEEP(30)", peer.capabilities));
        let running = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'";
        let count = || cluster.servers.iter().map(|server| server.sql(running).len()).sum::<usize>();
        wait_for("the statement to run", || (count() == 1).then_some(()));
        drop(peer);
        wait_for("the session to end", || (proxy.status()["proxy"]["clients"] == 0).then_some(()));
    });
}
