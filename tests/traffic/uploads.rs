//! Commands that a server does not take to their end: whatever breaks, and wherever, the client gets one answer or is closed, and
//! no data of its is taken for a command.
//!
//! The data is zeros: read from any place in its middle, it is a row of empty packets, each of which is answered with error 1047.

use super::peer::{EDGE, Lost, Packet, Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, flavors, wait_for};
use dbproxy::wire::{ErrPacket, Expect, Header, frame, put_lenenc_bytes, query_payload};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Begins the data of a command that is to break.
const MARK: &[u8] = b"EVIL";
/// Longer than what dbproxy keeps.
const LONG: usize = 3 << 20;

/// What a server does in the middle of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cause {
    Closes,
    Resets,
    /// As MySQL refuses what is longer than `max_allowed_packet`.
    RefusesAndCloses,
    /// As MariaDB does.
    RefusesAndReadsOn,
    /// Neither reads on nor closes.
    RefusesAndStops,
}

const CAUSES: [Cause; 5] =
    [Cause::Closes, Cause::Resets, Cause::RefusesAndCloses, Cause::RefusesAndReadsOn, Cause::RefusesAndStops];

/// So many bytes behind the mark, this happens.
type Plan = Arc<Mutex<Option<(usize, Cause)>>>;

/// A server as the proxy sees it; a real one behind it.
struct Front {
    port: u16,
    plan: Plan,
}

impl Front {
    fn of(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let plan = Plan::default();
        let shared = plan.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for proxy in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
                let (mut from, mut to) = (server.try_clone().expect("a handle"), proxy.try_clone().expect("a handle"));
                let plan = shared.clone();
                std::thread::spawn(move || up(proxy, server, &plan));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, plan }
    }
}

fn up(mut proxy: TcpStream, mut server: TcpStream, plan: &Plan) {
    let mut chunk = vec![0; 1 << 16];
    // What is left until something happens.
    let mut left = None;
    while let Ok(n @ 1..) = proxy.read(&mut chunk) {
        if left.is_none()
            && let Some(at) = chunk[..n].windows(MARK.len()).position(|part| part == MARK)
        {
            left = plan.lock().expect("a plan").take().map(|(cut, cause)| (at + cut, cause));
        }
        if let Some((bytes, cause)) = &mut left {
            if *bytes <= n {
                let _ = server.write_all(&chunk[..*bytes]);
                return happen(*cause, proxy, &server);
            }
            *bytes -= n;
        }
        if server.write_all(&chunk[..n]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn happen(cause: Cause, mut proxy: TcpStream, server: &TcpStream) {
    if matches!(cause, Cause::RefusesAndCloses | Cause::RefusesAndReadsOn | Cause::RefusesAndStops) {
        let (mut payload, mut packet) = (Vec::new(), Vec::new());
        ErrPacket::new(1153, *b"08S01", "too large").encode(&mut payload);
        frame(&mut packet, 1, &payload);
        let _ = proxy.write_all(&packet);
    }
    match cause {
        Cause::RefusesAndReadsOn => {
            proxy.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
            let _ = std::io::copy(&mut proxy, &mut std::io::sink());
        }
        Cause::RefusesAndStops => std::thread::sleep(Duration::from_millis(300)),
        Cause::Resets => SockRef::from(&proxy).set_linger(Some(Duration::ZERO)).expect("an option"),
        Cause::Closes | Cause::RefusesAndCloses => {}
    }
    let _ = server.shutdown(Shutdown::Both);
    if cause != Cause::Resets {
        let _ = proxy.shutdown(Shutdown::Write);
    }
}

/// Commands by what a client sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Short,
    Text,
    TextOfTwoPackets,
    Prepare,
    Execute,
    ExecuteOfTwoPackets,
    LongData,
    File,
}

const KINDS: [Kind; 8] = [
    Kind::Short,
    Kind::Text,
    Kind::TextOfTwoPackets,
    Kind::Prepare,
    Kind::Execute,
    Kind::ExecuteOfTwoPackets,
    Kind::LongData,
    Kind::File,
];

/// A peer with a statement prepared, and the bytes of the command.
fn command(port: u16, kind: Kind) -> (Peer, Vec<u8>, Vec<u8>) {
    let mut peer = Peer::app(port, super::peer::USUAL, Some("app"));
    let prepared = peer.run(b"\x16INSERT INTO big (b) VALUES (?)", Expect::Prepared).expect("an answer");
    let id = prepared[0].payload[1..5].to_vec();
    let data = |len: usize| [MARK, &vec![0; len]].concat();
    let text = |len| {
        query_payload(&format!("DO LENGTH('{}')", String::from_utf8(data(len)).expect("text")), peer.capabilities)
    };
    let execute = |len| {
        let mut payload = [&[0x17][..], &id, &[0, 1, 0, 0, 0, 0, 1, 251, 0]].concat();
        put_lenenc_bytes(&mut payload, &data(len));
        payload
    };
    let payload = match kind {
        Kind::Short => text(100),
        Kind::Text => text(LONG),
        Kind::TextOfTwoPackets => text(EDGE + 1000),
        Kind::Prepare => [&b"\x16SELECT '"[..], &data(LONG), b"'"].concat(),
        Kind::Execute => execute(LONG),
        Kind::ExecuteOfTwoPackets => execute(EDGE + 1000),
        Kind::LongData => [&[0x18][..], &id, &[0, 0], &data(LONG)].concat(),
        Kind::File => query_payload("LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded", peer.capabilities),
    };
    let mut bytes = Vec::new();
    frame(&mut bytes, 0, &payload);
    if kind == Kind::File {
        peer.raw(&bytes);
        let asked = peer.packet().expect("a request");
        assert_eq!(asked.payload[0], 0xfb, "{asked:?}");
        bytes.clear();
        let mut seq = asked.seq.wrapping_add(1);
        for _ in 0..3 {
            seq = frame(&mut bytes, seq, &data(1 << 20));
        }
        frame(&mut bytes, seq, b"");
    }
    (peer, bytes, id)
}

/// The sequence number behind the last packet of these.
fn behind(mut bytes: &[u8]) -> u8 {
    let mut seq = 0;
    while let Some(header) = Header::peek(bytes) {
        seq = header.seq.wrapping_add(1);
        bytes = &bytes[4 + header.len..];
    }
    seq
}

/// The one answer, if the connection was not closed instead; what comes behind it is the answer to what is asked then.
fn one_answer(peer: &mut Peer, seq: u8, what: &str) -> Option<Packet> {
    let answer = match peer.packet() {
        Ok(answer) => answer,
        Err(Lost::Closed) => return None,
        Err(lost) => panic!("{what}: {lost:?}"),
    };
    assert_eq!(answer.seq, seq, "{what}: {answer:?}");
    // Something would come by itself, if it were to.
    std::thread::sleep(Duration::from_millis(5));
    match peer.run(&[0x0e], Expect::OnePacket) {
        Ok(pong) => assert_eq!(pong[0].payload[0], 0, "{what}: {answer:?} then {pong:?}"),
        Err(Lost::Closed) => return None,
        Err(lost) => panic!("{what}: {answer:?} then {lost:?}"),
    }
    // What is pinned to a server that closes behind its error is lost with it, and is told so.
    match peer.try_query("SELECT 'after'") {
        Ok(after) => {
            let lost = after[0].err().is_some_and(|err| err.code == 1158);
            let answered = after.iter().any(|packet| packet.payload.ends_with(b"after"));
            assert!(lost || answered, "{what}: {answer:?} then {after:?}");
        }
        Err(Lost::Closed) => {}
        Err(lost) => panic!("{what}: {answer:?} then {lost:?}"),
    }
    assert!(peer.ahead.is_empty(), "{what}");
    Some(answer)
}

fn cluster(flavor: Flavor, server_options: &str) -> Cluster {
    let options = Options { replicas: 0, server_options: server_options.to_owned(), ..Options::default() };
    let cluster = Cluster::start(flavor, options);
    warm(&cluster);
    cluster.primary().sql("CREATE TABLE app.big (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)");
    cluster.primary().sql("CREATE TABLE app.loaded (a TEXT)");
    cluster
}

#[test]
fn a_command_that_breaks_anywhere_is_answered_once_or_ends_its_connection() {
    let flavor = flavors()[0];
    let cluster = cluster(flavor, "");
    let front = Front::of(cluster.primary().port);
    let servers = [format!("127.0.0.1:{}", front.port)];
    let proxy = Proxy::start_edited(&servers, |config| config + "[backend.tls]\nmode = \"disabled\"\n");
    let mut answered = 0;
    for kind in KINDS {
        let cuts: &[usize] = match kind {
            Kind::Short => &[0, 50],
            Kind::TextOfTwoPackets | Kind::ExecuteOfTwoPackets => &[1 << 20, EDGE - 100, EDGE + 500],
            _ => &[0, 1, 70_001, 1 << 20, LONG - 2, LONG],
        };
        for cut in cuts {
            for (n, cause) in CAUSES.into_iter().enumerate() {
                let slow = (cut + n) % 2 == 1;
                let what = format!("{kind:?} cut at {cut}, {cause:?}, client slow: {slow}");
                let (mut peer, bytes, id) = command(proxy.port, kind);
                *front.plan.lock().expect("a plan") = Some((*cut, cause));
                if slow {
                    let (first, rest) = bytes.split_at(bytes.len() / 2);
                    peer.raw(first);
                    std::thread::sleep(Duration::from_millis(20));
                    peer.raw(rest);
                } else {
                    peer.raw(&bytes);
                }
                let mut seq = behind(&bytes);
                if kind == Kind::LongData {
                    // It has no answer; the execution has.
                    peer.send(&[&[0x17][..], &id, &[0, 1, 0, 0, 0, 0, 1, 251, 0]].concat());
                    seq = 1;
                }
                if let Some(answer) = one_answer(&mut peer, seq, &what) {
                    answered += 1;
                    let err = answer.err().unwrap_or_else(|| panic!("{what}: {answer:?}"));
                    let refused = !matches!(cause, Cause::Closes | Cause::Resets);
                    assert_eq!(err.code, if refused { 1153 } else { 1158 }, "{what}: {err:?}");
                }
                assert!(front.plan.lock().expect("a plan").is_none(), "{what}: nothing happened");
            }
        }
    }
    assert!(answered > 100, "{answered} commands had an answer");
}

#[test]
fn a_command_beyond_max_allowed_packet_gets_one_error() {
    for flavor in flavors() {
        let cluster = cluster(flavor, "max_allowed_packet=4M\n");
        let proxy = Proxy::start(&cluster, "");
        for kind in [Kind::Text, Kind::TextOfTwoPackets, Kind::Prepare, Kind::Execute, Kind::ExecuteOfTwoPackets] {
            let (mut peer, mut bytes, _) = command(proxy.port, kind);
            if bytes.len() < EDGE {
                // Beyond the limit, in one packet.
                let mut payload = bytes[4..].to_vec();
                payload.resize(6 << 20, 0);
                bytes.clear();
                frame(&mut bytes, 0, &payload);
            }
            peer.raw(&bytes);
            let what = format!("{flavor:?} {kind:?}");
            let answer = one_answer(&mut peer, behind(&bytes), &what);
            let err = answer.unwrap_or_else(|| panic!("{what}: closed")).err();
            assert_eq!(err.map(|err| err.code), Some(1153), "{what}");
        }
    }
}

/// Sends half of a command, lets something happen, and sends the rest.
fn halves(peer: &mut Peer, bytes: &[u8], between: impl FnOnce()) {
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    peer.raw(first);
    // Most of it is at the server then.
    std::thread::sleep(Duration::from_millis(100));
    between();
    peer.raw(rest);
}

#[test]
fn a_server_that_is_killed_during_an_upload_leaves_one_answer() {
    for flavor in flavors() {
        let cluster = cluster(flavor, "");
        let proxy = Proxy::start(&cluster, "");
        for kind in KINDS.into_iter().filter(|kind| !matches!(kind, Kind::Short | Kind::LongData)) {
            for crash in [false, true] {
                let what = format!("{flavor:?} {kind:?}, crash: {crash}");
                let (mut peer, bytes, _) = command(proxy.port, kind);
                halves(&mut peer, &bytes, || {
                    if crash {
                        cluster.primary().kill9();
                        cluster.primary().wait_for_end();
                    } else {
                        let ids =
                            cluster.primary().sql("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'app'");
                        for id in ids.iter().flatten().flatten() {
                            // It may have gone meanwhile.
                            let _ = cluster.primary().try_sql(&format!("KILL {id}"));
                        }
                    }
                });
                let err = peer.packet().ok().map(|answer| {
                    assert_eq!(answer.seq, behind(&bytes), "{what}: {answer:?}");
                    answer.err().unwrap_or_else(|| panic!("{what}: {answer:?}"))
                });
                if crash {
                    cluster.primary().start();
                    cluster.primary().wait_until_ready();
                    wait_for("the proxy to see the primary", || proxy.client().try_query("DO 1").is_ok().then_some(()));
                }
                if err.is_some() {
                    assert_eq!(peer.value("SELECT 'after'"), "after", "{what}");
                    assert!(peer.ahead.is_empty(), "{what}");
                }
            }
        }
        assert_eq!(cluster.primary().value("SELECT COUNT(*) FROM app.big"), "0", "{flavor:?}: nothing was executed");
    }
}

#[test]
fn a_long_write_that_a_read_only_primary_refuses_is_answered() {
    for flavor in flavors() {
        let cluster = cluster(flavor, "");
        let proxy = Proxy::start(&cluster, "");
        for kind in [Kind::Text, Kind::TextOfTwoPackets, Kind::Execute, Kind::ExecuteOfTwoPackets] {
            let (mut peer, mut bytes, _) = command(proxy.port, kind);
            if matches!(kind, Kind::Text | Kind::TextOfTwoPackets) {
                let zeros = "0".repeat(if kind == Kind::Text { LONG } else { EDGE + 1000 });
                bytes.clear();
                frame(
                    &mut bytes,
                    0,
                    &query_payload(&format!("INSERT INTO big (b) VALUES ('{zeros}')"), peer.capabilities),
                );
            }
            halves(&mut peer, &bytes, || cluster.primary().set_read_only(true));
            let what = format!("{flavor:?} {kind:?}");
            let answer = peer.packet().unwrap_or_else(|lost| panic!("{what}: {lost:?}"));
            assert_eq!(
                (answer.seq, answer.err().map(|err| err.code)),
                (behind(&bytes), Some(1290)),
                "{what}: {answer:?}"
            );
            cluster.primary().set_read_only(false);
            wait_for("the proxy to see the primary", || proxy.client().try_query("DO 1").is_ok().then_some(()));
            assert_eq!(peer.ping().map(|_| ()), Ok(()), "{what}");
            assert_eq!(peer.value("SELECT COUNT(*) FROM big"), "0", "{what}");
        }
    }
}

#[test]
fn a_refusal_of_a_command_of_several_packets_has_the_sequence_number_that_the_client_expects() {
    for flavor in flavors() {
        let cluster = cluster(flavor, "");
        let rule = "[[rule]]\nname = \"none\"\nuser = [\"app\"]\nreject = \"not here\"\n";
        let (refusing, proxy) = (Proxy::start(&cluster, rule), Proxy::start(&cluster, ""));
        let mut execute = vec![0x17, 99, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 251, 0];
        execute.resize(EDGE * 2 + 7, 0);
        let text = query_payload(&format!("INSERT INTO big (b) VALUES ('{}')", "0".repeat(EDGE)), super::peer::USUAL);
        for (port, payload, seq, code) in [(proxy.port, execute, 3, 1243), (refusing.port, text, 2, 1148)] {
            let mut peer = Peer::app(port, super::peer::USUAL, Some("app"));
            peer.send(&payload);
            let answer = peer.packet().expect("an answer");
            assert_eq!((answer.seq, answer.err().map(|err| err.code)), (seq, Some(code)), "{flavor:?} {answer:?}");
            assert_eq!(peer.ping().map(|_| ()), Ok(()), "{flavor:?}");
        }
    }
}
