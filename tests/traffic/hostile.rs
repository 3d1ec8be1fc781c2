//! Peers that break the protocol, on either side: nobody but they themselves is disturbed.

use super::peer::{Lost, Peer, warm};
use super::support::{Cluster, Options, Proxy, flavors};
use dbproxy::wire::{Expect, query_payload};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

fn cluster(flavor: super::support::Flavor, replicas: usize) -> Cluster {
    let cluster = Cluster::start(flavor, Options { replicas, ..Options::default() });
    warm(&cluster);
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
    cluster.primary().sql("INSERT INTO app.t VALUES (1, 0)");
    cluster.wait_for_replicas();
    cluster
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.roll(most);
        (0..len).map(|_| self.roll(256) as u8).collect()
    }
}

#[test]
fn random_bytes_before_the_login_disturb_nobody() {
    let cluster = cluster(flavors()[0], 2);
    let proxy = Proxy::start(&cluster, "");
    let mut witness = Peer::through(&proxy);
    let mut dice = Dice(7);
    let before = proxy.resident_kib();
    for round in 0..300 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).expect("a connection");
        let bytes = dice.bytes(400);
        if round % 2 == 0 {
            let mut packet = vec![bytes.len() as u8, (bytes.len() >> 8) as u8, 0, 1];
            packet.extend_from_slice(&bytes);
            let _ = stream.write_all(&packet);
        } else {
            let _ = stream.write_all(&bytes);
        }
        if round % 10 == 0 {
            witness.ok("UPDATE t SET n = n + 1");
        }
    }
    witness.ok("SELECT n FROM t");
    assert!(proxy.resident_kib() < before + 32 * 1024, "{} then {}", before, proxy.resident_kib());
}

#[test]
fn random_commands_are_answered_or_end_their_connection_alone() {
    for flavor in flavors() {
        let cluster = cluster(flavor, 2);
        let proxy = Proxy::start(&cluster, "");
        let mut witness = Peer::through(&proxy);
        let mut dice = Dice(11);
        for round in 0..200 {
            let mut peer = Peer::through(&proxy);
            let mut payload = vec![dice.roll(256) as u8];
            payload.extend(dice.bytes(60));
            // Not what would end the server, or a stream without end.
            if [0x08, 0x12, 0x1e, 0x15].contains(&payload[0]) {
                continue;
            }
            peer.write(dice.roll(3) as u8, &payload);
            if round % 3 == 0 {
                peer.write(0, &[]);
            }
            if round % 20 == 0 {
                witness.ok("UPDATE t SET n = n + 1");
            }
        }
        assert_eq!(witness.value("SELECT n FROM t"), "10");
    }
}

#[test]
fn a_packet_of_no_bytes_or_out_of_order_is_answered_as_by_the_server() {
    for flavor in flavors() {
        let cluster = cluster(flavor, 2);
        let proxy = Proxy::start(&cluster, "");
        let heard = |port: u16, bytes: &[u8]| {
            let mut peer = Peer::app(port, super::peer::USUAL, Some("app"));
            peer.raw(bytes);
            let first = peer.packet();
            peer.stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
            (first, matches!(peer.packet(), Err(Lost::Closed)))
        };
        for bytes in [&[0, 0, 0, 0][..], &[1, 0, 0, 5, 0x0e], &[1, 0, 0, 0, 0xff]] {
            let (straight, through) = (heard(cluster.primary().port, bytes), heard(proxy.port, bytes));
            // The text may say more; number, SQLSTATE, and whether the connection ends are the server's.
            let short = |(first, closed): (Result<super::peer::Packet, Lost>, bool)| {
                let err = first.ok().map(|packet| packet.err().map(|err| (err.code, err.sql_state)));
                (err, closed)
            };
            let (straight, through) = (short(straight), short(through));
            assert_eq!(through, straight, "{flavor:?} {bytes:?}");
        }
    }
}

#[test]
fn a_client_that_falls_silent_in_its_login_is_left() {
    let cluster = cluster(flavors()[0], 2);
    let proxy = Proxy::start(&cluster, "[limits]\nlogin_timeout_ms = 500\n");
    for bytes in [&b""[..], &[5, 0], &[200, 0, 0, 1, 1, 2, 3]] {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        stream.write_all(bytes).expect("written");
        let began = Instant::now();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(began.elapsed() < Duration::from_secs(3), "{bytes:?} {:?}", began.elapsed());
    }
    // One that falls silent in a command waits for itself alone.
    let mut silent = Peer::through(&proxy);
    silent.raw(&[20, 0, 0, 0, 3]);
    Peer::through(&proxy).ok("SELECT n FROM t");
}

/// What a middleman does to the answer of a statement that says EVIL.
#[derive(Clone, Copy, Debug)]
enum Game {
    Honest,
    Garbage,
    CloseInTheMiddle,
    CloseAtOnce,
    More,
    WrongCount,
    HugeHeader,
}

const GAMES: [Game; 7] = [
    Game::Honest,
    Game::Garbage,
    Game::CloseInTheMiddle,
    Game::CloseAtOnce,
    Game::More,
    Game::WrongCount,
    Game::HugeHeader,
];

/// Stands between the proxy and a server, in plain text.
struct Middleman {
    port: u16,
    game: Arc<AtomicU8>,
}

impl Middleman {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let game = Arc::new(AtomicU8::new(0));
        let shared = game.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
                let evil = Arc::new(AtomicU8::new(0));
                let (game, flag) = (shared.clone(), evil.clone());
                let (c, s) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
                std::thread::spawn(move || up(client, server, &flag, &game));
                std::thread::spawn(move || down(s, c, &evil));
            }
        });
        Self { port, game }
    }

    fn play(&self, game: usize) {
        self.game.store(game as u8, Ordering::SeqCst);
    }
}

fn up(mut client: TcpStream, mut server: TcpStream, evil: &AtomicU8, game: &AtomicU8) {
    let mut chunk = [0; 1 << 16];
    while let Ok(n @ 1..) = client.read(&mut chunk) {
        if chunk[..n].windows(4).any(|part| part == b"EVIL") {
            evil.store(game.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        if server.write_all(&chunk[..n]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn down(mut server: TcpStream, mut client: TcpStream, evil: &AtomicU8) {
    let mut chunk = [0; 1 << 16];
    while let Ok(n @ 1..) = server.read(&mut chunk) {
        let mut bytes = chunk[..n].to_vec();
        let game = GAMES[usize::from(evil.swap(0, Ordering::SeqCst))];
        match game {
            Game::Honest => {}
            Game::Garbage => bytes = Dice(3).bytes(5000),
            Game::CloseInTheMiddle => bytes.truncate(n / 2),
            Game::CloseAtOnce => bytes.clear(),
            Game::More => bytes.extend_from_slice(&[7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]),
            Game::WrongCount => bytes[4] = 200,
            Game::HugeHeader => bytes[..3].fill(0xfe),
        }
        let written = client.write_all(&bytes);
        if written.is_err()
            || matches!(
                game,
                Game::Garbage | Game::CloseInTheMiddle | Game::CloseAtOnce | Game::WrongCount | Game::HugeHeader
            )
        {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn a_server_that_lies_hurts_only_who_asked_it() {
    for flavor in flavors() {
        let cluster = cluster(flavor, 1);
        let middleman = Middleman::before(cluster.servers[1].port);
        let servers = [cluster.primary().address(), format!("127.0.0.1:{}", middleman.port)];
        let proxy = Proxy::start_edited(&servers, |config| config + "[backend.tls]\nmode = \"disabled\"\n");
        let mut witness = Peer::through(&proxy);
        for (index, game) in GAMES.iter().enumerate() {
            let mut peer = Peer::through(&proxy);
            peer.ok("SELECT 1");
            middleman.play(index);
            peer.send(&query_payload("SELECT REPEAT('right', 2000), n /* EVIL */ FROM t", peer.capabilities));
            peer.stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| peer.answer(Expect::Results)));
            middleman.play(0);
            // An answer, an error, or the end: whatever came next on the same connection is right.
            if matches!(outcome, Ok(Ok(_))) {
                for n in 0..3 {
                    match peer.try_query(&format!("SELECT 'next {n}'")) {
                        Ok(answer) => {
                            let text = format!("next {n}");
                            assert!(
                                answer.iter().any(|packet| packet.payload.ends_with(text.as_bytes())),
                                "{flavor:?} {game:?} {outcome:?} {answer:?}"
                            );
                        }
                        Err(Lost::Closed) => break,
                        Err(lost) => panic!("{flavor:?} {game:?}: no answer: {lost:?}"),
                    }
                }
            } else {
                assert!(
                    !matches!(game, Game::Honest | Game::CloseAtOnce | Game::More),
                    "{flavor:?} {game:?} {outcome:?}"
                );
                assert!(!matches!(outcome, Ok(Err(Lost::TimedOut))), "{flavor:?} {game:?} hangs");
            }
            witness.ok("UPDATE t SET n = n + 1");
            witness.ok("SELECT n FROM t");
            Peer::through(&proxy).ok("SELECT n FROM t");
        }
    }
}

#[test]
fn a_replica_that_drops_whoever_prepares_there_is_left_alone() {
    let flavor = flavors()[0];
    let cluster = cluster(flavor, 1);
    let middleman = Middleman::before(cluster.servers[1].port);
    let servers = [cluster.primary().address(), format!("127.0.0.1:{}", middleman.port)];
    let proxy = Proxy::start_edited(&servers, |config| config + "[backend.tls]\nmode = \"disabled\"\n");
    let mut peer = Peer::through(&proxy);
    peer.ok("BEGIN");
    let prepare = [&[0x16][..], b"SELECT n /* EVIL */ FROM t"].concat();
    let prepared = peer.run(&prepare, Expect::Prepared).expect("an answer");
    peer.ok("COMMIT");
    let at_once = GAMES.iter().position(|game| matches!(game, Game::CloseAtOnce)).expect("a game");
    middleman.play(at_once);
    let execute = [&[0x17][..], &prepared[0].payload[1..5], &[0, 1, 0, 0, 0]].concat();
    let answer = peer.run(&execute, Expect::Results).expect("an answer, from the primary");
    assert!(answer.iter().all(|packet| packet.err().is_none()), "{answer:?}");
}
