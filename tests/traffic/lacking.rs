//! A server that lacks what a client agreed on with the others: in a rolling upgrade, an older one that was down meanwhile.

use super::peer::{Lost, Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, flavors, wait_for};
use dbproxy::wire::{Capabilities, FirstPacket, Greeting, HEADER_LEN, Header, frame};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

/// A relay to a server that takes capabilities out of its greeting.
struct Older {
    port: u16,
    /// Refuses everybody.
    down: Arc<AtomicBool>,
    /// What is taken out.
    stripped: Arc<AtomicU64>,
    open: Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Older {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let older = Self {
            port: listener.local_addr().expect("an address").port(),
            down: Arc::default(),
            stripped: Arc::default(),
            open: Arc::default(),
        };
        let (down, stripped, open) = (older.down.clone(), older.stripped.clone(), older.open.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if down.load(Relaxed) {
                    continue;
                }
                open.lock().expect("no panic").push(client.try_clone().expect("a second handle"));
                let stripped = Capabilities(stripped.load(Relaxed));
                thread::spawn(move || relay(client, server, stripped));
            }
        });
        older
    }

    /// Ends all its connections, as a restart does.
    fn restart(&self) {
        for client in self.open.lock().expect("no panic").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn relay(mut client: TcpStream, server: u16, stripped: Capabilities) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { return };
    let mut head = [0; HEADER_LEN];
    if server.read_exact(&mut head).is_err() {
        return;
    }
    let mut payload = vec![0; Header::peek(&head).expect("four bytes").len];
    if server.read_exact(&mut payload).is_err() {
        return;
    }
    if let Ok(FirstPacket::Greeting(greeting)) = FirstPacket::decode(&payload) {
        payload.clear();
        Greeting { capabilities: greeting.capabilities & !stripped, ..greeting }.encode(&mut payload);
    }
    let mut greeting = Vec::new();
    frame(&mut greeting, 0, &payload);
    if client.write_all(&greeting).is_err() {
        return;
    }
    let (mut from, mut to) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
}

fn state(proxy: &Proxy, server: usize) -> String {
    proxy.status()["servers"][server]["state"].to_string()
}

/// What the older version lacks, and a client that relies on it.
fn lacks(flavor: Flavor) -> Capabilities {
    let both = Capabilities::DEPRECATE_EOF;
    match flavor {
        Flavor::MySql => both | Capabilities::QUERY_ATTRIBUTES,
        Flavor::MariaDb => both | Capabilities::MARIADB_CACHE_METADATA,
    }
}

#[test]
fn a_replica_that_lacks_what_a_client_agreed_on_is_not_read_from_by_it() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY, v VARCHAR(20))");
        cluster.primary().sql("INSERT INTO app.t VALUES (1, 'one'), (2, 'two')");
        cluster.wait_for_replicas();
        let older = Older::before(cluster.servers[1].port);
        older.down.store(true, Relaxed);
        older.stripped.store(lacks(flavor).0, Relaxed);
        let servers = [cluster.primary().address(), format!("127.0.0.1:{}", older.port), cluster.servers[2].address()];
        let fast = "[routing]\nwarm_up_ms = 0\n[backend.tls]\nmode = \"disabled\"\n";
        let proxy = Proxy::start_edited(&servers, |config| config + fast);
        // The server that is down is not counted among what all have.
        let mut peer = Peer::app(proxy.port, lacks(flavor), Some("app"));
        assert!(peer.capabilities.has(lacks(flavor)), "{flavor:?}");
        older.down.store(false, Relaxed);
        wait_for("the older server", || state(&proxy, 1).contains("up").then_some(()));
        let newer = cluster.servers[2].id.to_string();
        let read = |peer: &mut Peer| {
            let row = peer.row("SELECT @@server_id, v, id FROM t WHERE id = 2");
            assert_eq!(&row[1..], ["two", "2"], "{flavor:?}");
            row[0].clone()
        };
        for _ in 0..10 {
            assert_eq!(read(&mut peer), newer, "{flavor:?}");
            let mut other = Peer::app(proxy.port, lacks(flavor), Some("app"));
            assert!(!other.capabilities.has(lacks(flavor)), "{flavor:?}: a new client is greeted with what all have");
            read(&mut other);
        }
        // No other replica: the primary, with a reason.
        let marked = proxy.command(&["maintenance", &servers[2], "on"]);
        assert!(marked.status.success(), "{}", String::from_utf8_lossy(&marked.stderr));
        let primary = cluster.primary().id.to_string();
        wait_for("reads on the primary", || (read(&mut peer) == primary).then_some(()));
        let (_, metrics) = proxy.http("/metrics").expect("metrics");
        let counted = metrics.lines().any(|line| {
            line.starts_with("dbproxy_route_decisions_total{role=\"primary\",reason=\"replica_lacks_capability\"}")
                && !line.ends_with(" 0")
        });
        assert!(counted, "{flavor:?}: {metrics}");
    }
}

#[test]
fn a_primary_that_lacks_what_a_client_agreed_on_says_so_and_ends_the_session() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        let older = Older::before(cluster.primary().port);
        let servers = [format!("127.0.0.1:{}", older.port)];
        let proxy = Proxy::start_edited(&servers, |config| config + "[backend.tls]\nmode = \"disabled\"\n");
        let mut peer = Peer::app(proxy.port, lacks(flavor), Some("app"));
        peer.ok("DO 1");
        older.stripped.store(lacks(flavor).0, Relaxed);
        older.restart();
        let err = wait_for("the error", || match peer.try_query("DO 2") {
            Ok(answer) => answer.last().and_then(super::peer::Packet::err),
            Err(lost) => panic!("{flavor:?}: {lost:?}"),
        });
        assert_eq!(err.code, 1158, "{flavor:?} {err}");
        let text = err.to_string();
        assert!(text.contains("lacks CLIENT_DEPRECATE_EOF, ") && text.contains("connect again"), "{text}");
        assert_eq!(peer.ping(), Err(Lost::Closed), "{flavor:?}");
        wait_for("a new login", || {
            let mut again = Peer::app(proxy.port, lacks(flavor), Some("app"));
            (!again.capabilities.has(lacks(flavor)) && again.value("SELECT 'served'") == "served").then_some(())
        });
    }
}
