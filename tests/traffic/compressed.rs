//! The compressed protocol: the frames themselves, with a client that sends exact bytes. Real client libraries: `tools.rs` and
//! `scripts/clients/compression.sh`.

use super::peer::{As, EDGE, Lost, Packet, Peer, USUAL, warm};
use super::support::{Cluster, Flavor, Options, Proxy, accounts, flavors, wait_for};
use dbproxy::wire::{
    Capabilities, Codecs, Command, Compression, ErrPacket, Expect, FRAME_PAYLOAD_MAX, Frames, frame, query_payload,
};
use rustix::process::Signal;
use std::time::Duration;

const ZLIB: Capabilities = Capabilities::COMPRESS;
const ZSTD: Capabilities = Capabilities::ZSTD_COMPRESSION;

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let server_options = "max_allowed_packet=1G\nlong_query_time=1000\n".to_owned();
        let cluster = Cluster::start(flavor, Options { server_options, ..Options::default() });
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)");
        cluster.primary().sql("CREATE TABLE app.f (id INT PRIMARY KEY, s VARCHAR(40))");
        cluster.wait_for_replicas();
        run(&cluster, &Proxy::start(&cluster, ""));
    }
}

/// What a flavour's clients may ask for.
fn algorithms(flavor: Flavor) -> &'static [Capabilities] {
    match flavor {
        Flavor::MySql => &[ZLIB, ZSTD],
        Flavor::MariaDb => &[ZLIB],
    }
}

fn compressed(port: u16, algorithm: Capabilities) -> Peer {
    let more = Capabilities::DEPRECATE_EOF | Capabilities::MULTI_STATEMENTS;
    let peer = Peer::app(port, algorithm | more, Some("app"));
    assert!(peer.packed.is_some(), "{algorithm:?} was not offered");
    peer
}

/// Numbers of the frames since the last time.
fn seqs(peer: &mut Peer) -> Vec<u8> {
    std::mem::take(&mut peer.packed.as_mut().expect("compressed").seqs)
}

fn in_a_row(seqs: &[u8]) -> bool {
    seqs.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1))
}

#[test]
fn packets_of_any_length_pass_in_frames_of_any_length() {
    each(|cluster, proxy| {
        for algorithm in algorithms(cluster.flavor) {
            let mut peer = compressed(proxy.port, *algorithm);
            // A packet spans frames, or frames end beside packets.
            for frame_max in [3, 4, 7, 50, 1000] {
                peer.packed.as_mut().expect("compressed").frame_max = frame_max;
                assert_eq!(peer.value(&format!("SELECT LENGTH('{}')", "x".repeat(3000))), "3000");
            }
            for frame_max in [FRAME_PAYLOAD_MAX, 5_000_000] {
                peer.packed.as_mut().expect("compressed").frame_max = frame_max;
                for size in [EDGE - 5, EDGE, 40 << 20] {
                    let frame = query_payload("SELECT LENGTH('')", peer.capabilities).len();
                    let sql = format!("SELECT LENGTH('{}')", "x".repeat(size - frame));
                    assert_eq!(peer.value(&sql), (size - frame).to_string(), "{:?} {size} up", cluster.flavor);
                }
            }
            seqs(&mut peer);
            let answer = peer.ok(&format!("SELECT REPEAT('y', {})", 40 << 20));
            let row: usize = answer.iter().skip(2).map(|packet| packet.payload.len()).sum();
            assert!(row > 40 << 20, "{row}");
            let numbers = seqs(&mut peer);
            assert!(numbers[0] == 1 && in_a_row(&numbers), "{numbers:?}");
            peer.ping().expect("the session goes on");
        }
    });
}

#[test]
fn answers_begin_with_the_number_that_a_server_gives_them() {
    each(|cluster, proxy| {
        let play = |port: u16, algorithm: Capabilities| {
            let mut peer = compressed(port, algorithm);
            let mut first = Vec::new();
            let mut note = |peer: &mut Peer| {
                let numbers = seqs(peer);
                assert!(in_a_row(&numbers), "{numbers:?}");
                first.push(numbers[0]);
            };
            peer.ok("SELECT 1");
            note(&mut peer);
            // A command in three frames.
            peer.packed.as_mut().expect("compressed").frame_max = 40;
            peer.ok(&format!("SELECT '{}'", "z".repeat(80)));
            note(&mut peer);
            peer.packed.as_mut().expect("compressed").frame_max = FRAME_PAYLOAD_MAX;
            // Commands without an answer, each a new one.
            let prepared = peer.run(b"\x16SELECT ?", Expect::Prepared).expect("an answer");
            note(&mut peer);
            let id = &prepared[0].payload[1..5];
            for _ in 0..3 {
                peer.send(&[&[Command::StmtSendLongData as u8][..], id, &[0, 0], b"piece"].concat());
            }
            peer.send(&[&[Command::StmtClose as u8][..], id].concat());
            peer.ok("SELECT 2");
            note(&mut peer);
            for sql in ["SELECT REPEAT('a', 200000)", "SELECT nonsense"] {
                peer.query(sql);
                note(&mut peer);
            }
            // Sent ahead, each in a frame of its own.
            for sql in ["SELECT SLEEP(0.1)", "SELECT 3", "SELECT 4"] {
                peer.send(&query_payload(sql, peer.capabilities));
            }
            let mut numbers = Vec::new();
            for _ in 0..3 {
                peer.answer(Expect::Results).expect("an answer");
                numbers.extend(seqs(&mut peer));
            }
            first.extend(numbers);
            first
        };
        for algorithm in algorithms(cluster.flavor) {
            let straight = play(cluster.primary().port, *algorithm);
            assert_eq!(play(proxy.port, *algorithm), straight, "{:?} {algorithm:?}", cluster.flavor);
        }
    });
}

/// Answers a request for a file, with packets numbered as the C libraries do: on from the last frame.
fn send_file(peer: &mut Peer, lines: &[String]) -> Packet {
    let mut seq = peer.packed.as_ref().expect("compressed").frames.next_seq();
    let mut bytes = Vec::new();
    for line in lines {
        seq = frame(&mut bytes, seq, line.as_bytes());
    }
    frame(&mut bytes, seq, b"");
    let packed = peer.packed.as_mut().expect("compressed");
    packed.frame_max = 60;
    let bytes = packed.pack(&bytes, false);
    packed.frame_max = FRAME_PAYLOAD_MAX;
    peer.raw(&bytes);
    peer.packet().expect("an answer to the file")
}

#[test]
fn a_local_file_is_loaded_however_its_packets_are_numbered() {
    each(|cluster, proxy| {
        cluster.primary().sql("SET GLOBAL local_infile = 1");
        for algorithm in algorithms(cluster.flavor) {
            let mut peer = compressed(proxy.port, *algorithm);
            let load = "LOAD DATA LOCAL INFILE 'f' INTO TABLE f";
            // Behind another result, the request's packet has another number than its frame.
            for sql in [load.to_owned(), format!("SELECT 1 UNION SELECT 2; {load}")] {
                peer.ok("DELETE FROM f");
                peer.send(&query_payload(&sql, peer.capabilities));
                let local = |packet: &Packet| packet.payload.first() == Some(&0xfb);
                while !local(&peer.packet().expect("a packet")) {}
                let lines: Vec<_> = (0..300).map(|n| format!("{n}\tline {n} of a file\n")).collect();
                let end = send_file(&mut peer, &lines);
                assert_eq!(end.payload[0], 0, "{:?} {sql}: {end:?}", cluster.flavor);
                assert_eq!(peer.value("SELECT COUNT(*), MAX(id) FROM f"), "300");
            }
        }
    });
}

#[test]
fn another_user_is_compressed_for_too() {
    each(|cluster, proxy| {
        for algorithm in algorithms(cluster.flavor) {
            let mut peer = compressed(proxy.port, *algorithm);
            let (user, password) = accounts::APP;
            for _ in 0..2 {
                let end = peer.change_user(user, password, "test");
                assert_eq!(end.payload[0], 0, "{end:?}");
                assert_eq!(peer.value("SELECT DATABASE()"), "test");
            }
            let end = peer.change_user(user, "wrong", "test");
            assert_eq!(end.err().expect("an error").code, 1045);
        }
    });
}

fn login<'a>(asked: Capabilities, level: Option<u8>) -> As<'a> {
    As { demanded: asked, zstd_level: level, ..As::default() }
}

fn refused(port: u16, asked: Capabilities, level: Option<u8>) -> ErrPacket {
    Peer::connect(port, &login(asked, level)).map(|_| ()).expect_err("a login that is refused")
}

#[test]
fn what_was_not_offered_is_refused_by_its_name() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        let off = |config: String| config.replace("[listen]\n", "[listen]\ncompression = []\n");
        let proxy = Proxy::start_edited(&cluster.addresses(), off);
        for (asked, name) in [
            (ZLIB, "CLIENT_COMPRESS"),
            (ZSTD, "CLIENT_ZSTD_COMPRESSION_ALGORITHM"),
            (ZLIB | ZSTD, "CLIENT_COMPRESS"),
            (Capabilities::SSL, "CLIENT_SSL"),
        ] {
            let err = refused(proxy.port, asked, Some(3));
            assert_eq!(err.code, 1043, "{err}");
            assert!(err.to_string().contains(&format!("asks for {name}:")), "{err}");
        }
        assert!(!Peer::through(&proxy).offered.has(ZLIB));
        // Switched on without a restart.
        let config = std::fs::read_to_string(&proxy.config).expect("the configuration");
        std::fs::write(&proxy.config, config.replace("compression = []", "compression = [\"zstd\"]")).expect("written");
        proxy.signal(Signal::HUP);
        wait_for("the reload", || proxy.log().contains("configuration reloaded").then_some(()));
        match flavor {
            Flavor::MySql => {
                compressed(proxy.port, ZSTD).ping().expect("served");
                for level in [Some(0), Some(23), None] {
                    let err = refused(proxy.port, ZSTD, level);
                    assert_eq!(err.code, 3923, "{err}");
                }
            }
            Flavor::MariaDb => assert!(refused(proxy.port, ZSTD, Some(3)).to_string().contains("ZSTD")),
        }
        // Where a server would mask a flag, so does the proxy: the C libraries set many of these at every server.
        let mask = Capabilities::QUERY_ATTRIBUTES
            | Capabilities::MULTI_FACTOR
            | Capabilities::OPTIONAL_RESULTSET_METADATA
            | Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS
            | Capabilities(0b111 << 29);
        for bit in 0..64 {
            let flag = Capabilities(1 << bit);
            if mask.has(flag) && !Peer::through(&proxy).offered.has(flag) {
                let mut peer = Peer::connect(proxy.port, &login(flag, None)).expect("a login");
                peer.capabilities = USUAL;
                assert_eq!(peer.value("SELECT 'served'"), "served", "{flavor:?} bit {bit}");
            }
        }
    }
}

fn framed(packed: usize, seq: u8, declared: usize, payload: &[u8]) -> Vec<u8> {
    let three = |n: usize| n.to_le_bytes()[..3].to_vec();
    [three(packed), vec![seq], three(declared), payload.to_vec()].concat()
}

/// Frames that no client sends, and the error that each ends with.
fn malformed(compression: Compression) -> Vec<(&'static str, Vec<u8>, u16)> {
    let mut command = Vec::new();
    frame(&mut command, 0, format!("\x03SELECT '{}'", "a".repeat(200)).as_bytes());
    let mut honest = Vec::new();
    Frames::new(compression).write(&command, &mut honest, &mut Codecs::default());
    let packed = honest[7..].to_vec();
    let len = packed.len();
    vec![
        ("out of order", framed(len, 7, command.len(), &packed), 1156),
        ("declares less", framed(len, 0, command.len() - 1, &packed), 1157),
        ("declares more", framed(len, 0, command.len() + 1, &packed), 1157),
        ("declares most", framed(len, 0, FRAME_PAYLOAD_MAX, &packed), 1157),
        ("cut short", framed(len - 3, 0, command.len(), &packed[..len - 3]), 1157),
        ("with a tail", framed(len + 2, 0, command.len(), &[&packed[..], b"xx"].concat()), 1157),
        ("noise", framed(80, 0, 200, &[0xa5; 80]), 1157),
        ("nothing", framed(0, 0, 200, b""), 1157),
        // In the middle of a command that is streamed to the server.
        (
            "noise behind half a command",
            {
                let mut half = framed(5_000_004, 0, 0, &[0xff, 0xff, 0xff, 0]);
                half.extend([&b"\x03SELECT '"[..], &vec![b'a'; 4_999_991]].concat());
                [half, framed(80, 1, 200, &[0xa5; 80])].concat()
            },
            1157,
        ),
    ]
}

#[test]
fn a_malformed_frame_ends_its_connection_with_an_error() {
    each(|cluster, proxy| {
        let mut witness = Peer::through(proxy);
        for algorithm in algorithms(cluster.flavor) {
            let compression = if *algorithm == ZLIB { Compression::Zlib } else { Compression::Zstd(3) };
            for (what, bytes, code) in malformed(compression) {
                let mut peer = compressed(proxy.port, *algorithm);
                peer.ok("SELECT 1");
                peer.raw(&bytes);
                let packet = peer.packet().unwrap_or_else(|lost| panic!("{what}: {lost:?}"));
                let err = packet.err().unwrap_or_else(|| panic!("{what}: {packet:?}"));
                assert_eq!(err.code, code, "{:?} {algorithm:?} {what}: {err}", cluster.flavor);
                assert_eq!(peer.packet(), Err(Lost::Closed), "{what}");
                assert_eq!(witness.value("SELECT 1"), "1");
            }
            // Half a frame, and then nothing more.
            for cut in [1, 6, 7, 20] {
                let mut peer = compressed(proxy.port, *algorithm);
                peer.raw(&framed(100, 0, 200, &[0x78; 100])[..cut]);
                drop(peer);
            }
        }
        wait_for("the sessions to end", || (proxy.status()["proxy"]["clients"] == 1).then_some(()));
    });
}

#[test]
fn bombs_cost_little_memory_and_it_is_given_back() {
    each(|cluster, proxy| {
        let mut witness = Peer::through(proxy);
        for algorithm in algorithms(cluster.flavor) {
            // 96 MiB of one statement in less than 100 KiB, for each of four clients.
            let mut command = Vec::new();
            frame(&mut command, 0, &vec![b' '; EDGE]);
            command[4] = 3;
            let mut peers: Vec<_> = (0..4).map(|_| compressed(proxy.port, *algorithm)).collect();
            let before = proxy.resident_kib();
            for peer in &mut peers {
                let packed = peer.packed.as_mut().expect("compressed");
                let mut bytes = packed.pack(&command, true);
                for seq in 1..6 {
                    command[3] = seq;
                    bytes.extend(packed.pack(&command, false));
                }
                assert!(bytes.len() < 100 << 10, "{} bytes", bytes.len());
                command[3] = 0;
                peer.raw(&bytes);
                let end = packed_end(peer);
                peer.raw(&end);
            }
            for peer in &mut peers {
                let answer = peer.answer(Expect::Results).expect("an answer");
                assert_eq!(answer[0].err().expect("an error").code, 1065, "an empty statement");
            }
            let after = proxy.resident_kib();
            assert!(after < before + 64 * 1024, "{:?} {algorithm:?}: {before} KiB, then {after}", cluster.flavor);
            assert_eq!(witness.value("SELECT 1"), "1");
        }
    });
}

/// The empty packet behind packets of the greatest length.
fn packed_end(peer: &mut Peer) -> Vec<u8> {
    let mut end = Vec::new();
    frame(&mut end, 6, b"");
    peer.packed.as_mut().expect("compressed").pack(&end, false)
}

#[test]
fn compressed_bytes_are_counted_and_an_idle_client_costs_little() {
    each(|cluster, proxy| {
        let counted = |direction: &str, form: &str| -> u64 {
            let (_, text) = proxy.http("/metrics").expect("metrics");
            let series =
                format!("dbproxy_proxy_client_compression_bytes_total{{direction=\"{direction}\",form=\"{form}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&series)).expect("the series");
            line.parse().expect("a number")
        };
        Peer::through(proxy).ok("SELECT REPEAT('a', 1000)");
        assert_eq!(counted("out", "compressed"), 0, "{:?}", cluster.flavor);
        let mut peer = compressed(proxy.port, ZLIB);
        peer.ok("SELECT REPEAT('a', 100000)");
        wait_for("the count", || (counted("out", "uncompressed") > 100_000).then_some(()));
        assert!(counted("out", "compressed") < 10_000);
        assert!(counted("in", "compressed") > 0 && counted("in", "uncompressed") > 0);
        let before = proxy.resident_kib();
        let mut idle: Vec<_> = (0..500).map(|_| compressed(proxy.port, ZLIB)).collect();
        let each = (proxy.resident_kib().saturating_sub(before)) / 500;
        assert!(each < 60, "{each} KiB");
        idle[0].ping().expect("served");
    });
}

#[test]
fn the_admin_interface_speaks_it_too() {
    let cluster = Cluster::start(flavors()[0], Options::default());
    let proxy = Proxy::start(&cluster, "");
    for algorithm in [ZLIB, ZSTD] {
        let login = As { user: "admin", password: "", capabilities: USUAL | algorithm, ..As::default() };
        let mut admin = Peer::connect(proxy.admin_port, &login).expect("a login");
        assert!(admin.packed.is_some());
        admin.ok("SHOW SERVERS");
        admin.stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        admin.raw(&framed(80, 0, 200, &[0xa5; 80]));
        let err = admin.packet().expect("an error").err().expect("an error");
        assert_eq!(err.code, 1157, "{err}");
        assert_eq!(admin.packet(), Err(Lost::Closed));
    }
}
