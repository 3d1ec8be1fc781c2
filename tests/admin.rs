//! The admin interface behind its front: what a client sees, however it sends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

use dbproxy::admin::View;
use dbproxy::admin::sql::{Engine, Eof, talk};
use dbproxy::admission::Admission;
use dbproxy::config::{Config, Live};
use dbproxy::conn::{TopologyPublisher, topology_channel};
use dbproxy::route::Target;
use dbproxy::telemetry::{LABELS, Metrics, Query};
use dbproxy::topology::{Health, Role, ServerId, Topology, Writes};
use dbproxy::wire::{Header, Reader, frame};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

const FIXED: &str = include_str!("../fixtures/config/fixed.toml");

fn view() -> (View, TopologyPublisher) {
    let config = Config::parse(FIXED, "fixed.toml").unwrap();
    let mut topology = Topology::unseen(config.cluster.name.clone(), &config.cluster.servers);
    topology.writes = Writes::Primary(ServerId(1));
    for (n, server) in topology.servers.iter_mut().enumerate() {
        let server = Arc::make_mut(server);
        server.role = if n == 1 { Role::Primary } else { Role::Replica };
        server.health = if n == 2 { Health::Unfit("lags".into()) } else { Health::Up };
        server.lag_ms = (n != 1).then_some(1500);
    }
    let metrics = Metrics::new(&config.cluster.name, &config.cluster.servers, LABELS, 2, Instant::now());
    let elapsed = Duration::from_millis(1);
    metrics.meter().query(Query { server: ServerId(0), target: Target::Replica, command: 0, reason: 0, elapsed });
    let (publisher, topology, _) = topology_channel(topology);
    let registry = Arc::<dbproxy::conn::Registry>::default();
    // For as long as the test runs.
    std::mem::forget(registry.insert("127.0.0.1:5555".parse().unwrap(), Instant::now()));
    let draining = tokio::sync::watch::channel(false).1;
    (
        View {
            topology,
            registry,
            admission: Arc::new(Admission::new(3)),
            metrics: Arc::new(metrics),
            config: Live::new(config),
            operator: dbproxy::control::desk().0,
            draining,
        },
        publisher,
    )
}

struct Client {
    stream: DuplexStream,
    server: JoinHandle<Result<(), dbproxy::admin::sql::FrontError>>,
}

/// What a command is answered with.
#[derive(Debug, PartialEq)]
enum Answer {
    Ok,
    Err(u16, String),
    Rows(Vec<String>, Vec<Vec<Option<String>>>),
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    frame(&mut packet, 0, payload);
    packet
}

fn query(text: impl AsRef<[u8]>) -> Vec<u8> {
    packet(&[b"\x03", text.as_ref()].concat())
}

impl Client {
    fn connect_with(eof: Eof, idle: Duration) -> Self {
        let (view, _) = view();
        let (stream, mut far) = duplex(64);
        let (engine, seen) = (Engine::new(view.clone(), "admin", 7, eof).unwrap(), view);
        let server = tokio::spawn(async move { talk(&mut far, engine, &seen, idle).await });
        Self { stream, server }
    }

    fn connect() -> Self {
        Self::connect_with(Eof::Deprecated, Duration::from_secs(60))
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn packet(&mut self, seq: &mut u8) -> Vec<u8> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.unwrap();
        let header = Header::peek(&head).unwrap();
        assert_eq!(header.seq, *seq, "sequence number");
        *seq = seq.wrapping_add(1);
        let mut payload = vec![0; header.len];
        self.stream.read_exact(&mut payload).await.unwrap();
        payload
    }

    async fn answer(&mut self, eof: Eof) -> Answer {
        let mut seq = 1;
        let first = self.packet(&mut seq).await;
        match first[0] {
            0 => return Answer::Ok,
            0xff => {
                let mut reader = Reader::new(&first[1..]);
                let code = reader.u16_le("code").unwrap();
                reader.bytes(6, "state").unwrap();
                return Answer::Err(code, String::from_utf8(reader.take_rest().to_vec()).unwrap());
            }
            _ => {}
        }
        let mut columns = Vec::new();
        for _ in 0..first[0] {
            let column = self.packet(&mut seq).await;
            let mut reader = Reader::new(&column);
            let name = (0..5).map(|_| reader.lenenc_bytes("name").unwrap()).last().unwrap();
            columns.push(String::from_utf8(name.to_vec()).unwrap());
        }
        if eof == Eof::Packet {
            assert_eq!(self.packet(&mut seq).await[0], 0xfe);
        }
        let mut rows = Vec::new();
        loop {
            let row = self.packet(&mut seq).await;
            if row[0] == 0xfe {
                return Answer::Rows(columns, rows);
            }
            let mut reader = Reader::new(&row);
            let mut cells = Vec::new();
            while let Some(first) = reader.rest().first() {
                if *first == 0xfb {
                    reader.u8("null").unwrap();
                    cells.push(None);
                } else {
                    cells.push(Some(String::from_utf8(reader.lenenc_bytes("cell").unwrap().to_vec()).unwrap()));
                }
            }
            rows.push(cells);
        }
    }

    async fn ask(&mut self, text: &str) -> Answer {
        self.send(&query(text)).await;
        self.answer(Eof::Deprecated).await
    }

    async fn rows(&mut self, text: &str) -> Vec<Vec<Option<String>>> {
        match self.ask(text).await {
            Answer::Rows(_, rows) => rows,
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn servers_are_shown_as_they_are() {
    let mut client = Client::connect();
    let rows = client.rows("show servers").await;
    let cell = |row: usize, column: usize| rows[row][column].as_deref();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (cell(0, 0), cell(0, 1), cell(0, 2), cell(0, 8)),
        (Some("127.0.0.1:3306"), Some("replica"), Some("up"), Some("1"))
    );
    assert_eq!((cell(1, 1), cell(1, 4)), (Some("primary"), None));
    assert_eq!((cell(2, 2), cell(2, 3), cell(2, 4)), (Some("unfit"), Some("lags"), Some("1500")));
}

#[tokio::test]
async fn like_filters_the_first_column() {
    let mut client = Client::connect();
    assert_eq!(client.rows("SHOW SERVERS LIKE '%3307'").await.len(), 1);
    let rows = client.rows("SHOW STATUS LIKE 'cluster_primary';").await;
    assert_eq!(rows, [[Some("cluster_primary".to_owned()), Some("127.0.0.1:3307".to_owned())]]);
    let rows = client.rows("show routes like 'plain_read'").await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1][2].as_deref(), Some("1"));
    assert_eq!(client.rows("show sessions").await.len(), 1);
}

#[tokio::test]
async fn an_unknown_statement_is_told_what_there_is() {
    let mut client = Client::connect();
    let Answer::Err(code, text) = client.ask("SELECT * FROM mysql.user").await else { panic!("no error") };
    assert_eq!(code, 1064);
    for subject in ["SHOW SERVERS", "SHOW SESSIONS", "SHOW STATUS", "SHOW ROUTES"] {
        assert!(text.contains(subject), "{text}");
    }
    assert_eq!(client.ask("SET NAMES utf8mb4").await, Answer::Ok);
}

#[tokio::test]
async fn text_that_is_not_utf8_gets_an_error_and_the_connection_stays() {
    let mut client = Client::connect();
    client.send(&query(b"SHOW SERVERS LIKE '\xff'")).await;
    assert!(matches!(client.answer(Eof::Deprecated).await, Answer::Err(1300, _)));
    client.send(&packet(b"\x02\xff")).await;
    assert!(matches!(client.answer(Eof::Deprecated).await, Answer::Err(1300, _)));
    assert_eq!(client.rows("SHOW SERVERS").await.len(), 3);
}

#[tokio::test]
async fn every_other_command_is_refused_never_ok() {
    let mut client = Client::connect();
    for command in (0..=255u8).filter(|command| ![1, 2, 3, 14].contains(command)) {
        client.send(&packet(&[command, 0, 0, 0, 0])).await;
        let answer = client.answer(Eof::Deprecated).await;
        assert!(matches!(answer, Answer::Err(1047, _)), "{command:#x}: {answer:?}");
    }
    client.send(&packet(b"")).await;
    assert!(matches!(client.answer(Eof::Deprecated).await, Answer::Err(1047, _)));
    client.send(&packet(b"\x0e")).await;
    assert_eq!(client.answer(Eof::Deprecated).await, Answer::Ok);
}

#[tokio::test]
async fn pipelined_packets_are_answered_in_order() {
    for eof in [Eof::Packet, Eof::Deprecated] {
        let mut client = Client::connect_with(eof, Duration::from_secs(60));
        let mut sent = Vec::new();
        // Sizes around the engine's buffers (4 KiB, 1 MiB) and the front's limit.
        let sizes = [1usize, 10, 4000, 4085, 4090, 4096, 8192, 20_000, 65_000];
        for n in 0..100 {
            sent.extend(query(format!("SELECT {n} /*{}*/", "x".repeat(sizes[n % sizes.len()]))));
            sent.extend(packet(b"\x0e"));
            sent.extend(query(b"\xff"));
            sent.extend(query("SHOW SERVERS"));
        }
        sent.extend(packet(b"\x01"));
        let (mut read, mut write) = tokio::io::split(client.stream);
        let writing = tokio::spawn(async move {
            write.write_all(&sent).await.unwrap();
            write
        });
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.unwrap();
        client.stream = read.unsplit(writing.await.unwrap());
        let (near, mut far) = duplex(all.len());
        far.write_all(&all).await.unwrap();
        client.stream = near;
        for n in 0..100 {
            let Answer::Rows(_, rows) = client.answer(eof).await else { panic!("no rows") };
            assert_eq!(rows, [[Some(n.to_string())]]);
            assert_eq!(client.answer(eof).await, Answer::Ok);
            assert!(matches!(client.answer(eof).await, Answer::Err(1300, _)));
            let Answer::Rows(_, rows) = client.answer(eof).await else { panic!("no rows") };
            assert_eq!(rows.len(), 3);
        }
        client.server.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn packets_that_come_byte_by_byte_are_whole_before_they_count() {
    let mut client = Client::connect();
    for byte in query("SHOW SERVERS").iter().chain(&query("SELECT 5")) {
        client.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(matches!(client.answer(Eof::Deprecated).await, Answer::Rows(_, rows) if rows.len() == 3));
    assert!(matches!(client.answer(Eof::Deprecated).await, Answer::Rows(_, rows) if rows == [[Some("5".to_owned())]]));
}

#[tokio::test]
async fn a_packet_too_long_or_out_of_order_ends_the_session_with_an_error() {
    let mut client = Client::connect();
    client.send(&[0xff, 0xff, 0xff, 0, 3]).await;
    assert!(matches!(client.answer(Eof::Deprecated).await, Answer::Err(1153, _)));
    assert!(client.server.await.unwrap().is_err());
    let mut client = Client::connect();
    client.send(&[1, 0, 0, 9, 14]).await;
    assert!(matches!(client.answer(Eof::Deprecated).await, Answer::Err(1156, _)));
    assert!(client.server.await.unwrap().is_err());
}

#[tokio::test]
async fn a_silent_client_is_sent_away() {
    let mut client = Client::connect_with(Eof::Deprecated, Duration::from_millis(20));
    let mut all = Vec::new();
    client.stream.read_to_end(&mut all).await.unwrap();
    assert_eq!(all[3..7], [0, 0xff, 0xbf, 0x0f], "error 4031, unasked");
    assert!(matches!(client.server.await.unwrap(), Err(dbproxy::admin::sql::FrontError::Idle)));
}

#[test]
fn an_engine_that_ended_takes_nothing_more() {
    let (view, _) = view();
    let mut engine = Engine::new(view, "admin", 1, Eof::Packet).unwrap();
    assert!(engine.exchange(&packet(b"\x01")).is_err());
    assert!(engine.exchange(&query("SHOW SERVERS")).is_err());
}

#[test]
fn the_engine_takes_one_whole_packet_or_nothing() {
    let (view, _) = view();
    let mut engine = Engine::new(view, "admin", 1, Eof::Packet).unwrap();
    let whole = query("SELECT 1");
    for bad in
        [Vec::new(), [&whole[..], &whole[..]].concat(), [&whole[..], b"\0"].concat(), whole[..whole.len() - 1].to_vec()]
    {
        assert!(matches!(engine.exchange(&bad), Err(dbproxy::admin::sql::Ended::NotOnePacket)), "{bad:?}");
    }
    assert!(!engine.exchange(&whole).unwrap().is_empty());
}
