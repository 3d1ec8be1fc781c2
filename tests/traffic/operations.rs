//! Draining, reloading, and limits.

use super::peer::{As, Peer, warm};
use super::support::{Client, Cluster, Login, Options, Proxy, flavors, wait_for, wait_within};
use dbproxy::wire::{Expect, query_payload};
use rustix::process::Signal;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

fn cluster() -> Cluster {
    let cluster = Cluster::start(flavors()[0], Options::default());
    warm(&cluster);
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
    cluster.primary().sql("INSERT INTO app.t VALUES (1, 0)");
    cluster.wait_for_replicas();
    cluster
}

#[test]
fn a_drain_lets_statements_and_transactions_finish() {
    let cluster = cluster();
    let mut proxy = Proxy::start(&cluster, "");
    let (mut idle, mut running, mut open) = (Peer::through(&proxy), Peer::through(&proxy), Peer::through(&proxy));
    idle.ok("SELECT n FROM t");
    open.ok("BEGIN");
    open.ok("UPDATE t SET n = 1");
    running.send(&query_payload("SELECT SLEEP(1.5), 'done'", running.capabilities));
    std::thread::sleep(Duration::from_millis(200));
    proxy.signal(Signal::TERM);
    let began = Instant::now();
    idle.until_closed();
    assert!(began.elapsed() < Duration::from_millis(700), "idle sessions go at once: {:?}", began.elapsed());
    open.ok("UPDATE t SET n = n + 1");
    let answer = running.answer(Expect::Results).expect("the running statement's answer");
    assert!(answer.iter().any(|packet| packet.payload.ends_with(b"\x04done")), "{answer:?}");
    running.until_closed();
    open.ok("COMMIT");
    open.until_closed();
    assert!(proxy.ended().success(), "an orderly end\n{}", proxy.log());
    assert_eq!(cluster.primary().value("SELECT n FROM app.t"), "2");
}

#[test]
fn a_drain_has_a_limit() {
    let cluster = cluster();
    let proxy = Proxy::start(&cluster, "[limits]\ndrain_timeout_ms = 800\n");
    let mut open = Peer::through(&proxy);
    open.ok("BEGIN");
    open.ok("UPDATE t SET n = 1");
    let began = Instant::now();
    proxy.signal(Signal::TERM);
    open.until_closed();
    let took = began.elapsed();
    assert!(took > Duration::from_millis(600) && took < Duration::from_secs(4), "{took:?}");
    wait_for("the transaction to be rolled back", || {
        (cluster.primary().try_sql("UPDATE app.t SET n = 9").is_ok()).then_some(())
    });
}

#[test]
fn a_reload_lets_new_users_in_and_takes_new_limits() {
    let cluster = cluster();
    cluster.primary().sql("CREATE USER late IDENTIFIED BY 'late-secret'");
    cluster.wait_for_replicas();
    let proxy = Proxy::start(&cluster, "[limits]\nmax_clients = 2\n");
    let late = As { user: "late", password: "late-secret", ..As::default() };
    assert_eq!(Peer::connect(proxy.port, &late).expect_err("nobody knows it").code, 1045);
    let mut first = Peer::through(&proxy);
    let _second = Peer::through(&proxy);
    let err = Peer::connect(proxy.port, &As::default()).expect_err("a third client");
    assert_eq!((err.code, &err.message[..]), (1040, &b"Too many connections"[..]));
    let config = std::fs::read_to_string(&proxy.config).expect("the configuration");
    let config = config.replace("max_clients = 2", "max_clients = 5")
        + "[[user]]\nname = \"late\"\npassword = \"late-secret\"\n";
    std::fs::write(&proxy.config, config).expect("the configuration written");
    proxy.signal(Signal::HUP);
    wait_within(Duration::from_secs(5), "the new user to log in", || Peer::connect(proxy.port, &late).ok());
    first.ok("SELECT 1");
    // A configuration that is wrong changes nothing.
    std::fs::write(&proxy.config, "listen = 5").expect("written");
    proxy.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    first.ok("SELECT 1");
    drop(Peer::connect(proxy.port, &late).expect("still known"));
}

#[test]
fn a_proxy_without_file_descriptors_says_so_and_recovers() {
    let cluster = cluster();
    let proxy = Proxy::start(&cluster, "");
    let mut survivor = Peer::through(&proxy);
    survivor.ok("SELECT n FROM t");
    survivor.ok("UPDATE t SET n = 1");
    let open = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("its descriptors").count();
    let maximum = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = rustix::process::Rlimit { current: Some(open as u64 + 20), maximum };
    let pid = rustix::process::Pid::from_raw(proxy.pid() as i32);
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).expect("a lower limit");
    let mut waiting = Vec::new();
    let mut refused = 0;
    for _ in 0..60 {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).expect("the kernel accepts");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        waiting.push(stream);
    }
    for stream in &mut waiting {
        let mut head = [0; 7];
        if stream.read_exact(&mut head).is_ok() && head[4] == 0xff {
            assert_eq!(u16::from_le_bytes([head[5], head[6]]), 1040);
            refused += 1;
        }
    }
    assert!(refused > 10, "clients are told: {refused} of 60");
    survivor.ok("UPDATE t SET n = n + 1");
    drop(waiting);
    wait_within(Duration::from_secs(5), "clients to be served again", || {
        let mut peer = Peer::connect(proxy.port, &As::default()).ok()?;
        peer.try_query("SELECT n FROM app.t").ok().filter(|answer| answer[0].err().is_none())
    });
    survivor.ok("SELECT n FROM t");
}

/// What an idle connection hears until it is closed, whether that was in order, and when.
fn end_of_idleness(mut peer: Peer, statements: &[&str]) -> (Vec<u8>, bool, Duration) {
    statements.iter().for_each(|sql| drop(peer.ok(sql)));
    let began = Instant::now();
    let mut said = Vec::new();
    let end = peer.stream.read_to_end(&mut said);
    (said, end.is_ok(), began.elapsed())
}

#[test]
fn a_session_is_ended_by_its_own_wait_timeout_as_its_server_would() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY, n INT)");
        cluster.wait_for_replicas();
        let proxy = Proxy::start(&cluster, "");
        let cases: [&[&str]; 3] = [
            &["SET wait_timeout = 2", "SELECT n FROM t"],
            &["SELECT n FROM t", "SET SESSION wait_timeout = 2", "SELECT n FROM t", "SELECT n FROM t FOR UPDATE"],
            &["SET @@session.wait_timeout = 2", "BEGIN", "SELECT n FROM t"],
        ];
        for case in cases {
            let login = As { schema: Some("app"), ..As::default() };
            let straight = Peer::connect(cluster.primary().port, &login).expect("a login");
            let (said, in_order, took) = end_of_idleness(straight, case);
            let through = end_of_idleness(Peer::through(&proxy), case);
            eprintln!("{flavor:?} {case:?}: {} {in_order} {took:?} {:?}", said.escape_ascii(), through.2);
            assert_eq!((&through.0, through.1), (&said, in_order), "{flavor:?} {case:?}");
            assert!((1800..8000).contains(&through.2.as_millis()), "{flavor:?} {case:?}: {:?}", through.2);
        }
        // It is about logins to come.
        let mut other = Peer::through(&proxy);
        other.ok("SET SESSION interactive_timeout = 1");
        std::thread::sleep(Duration::from_millis(2500));
        other.ok("SELECT n FROM t");
    }
}

#[test]
fn all_that_holds_a_session_is_shown() {
    let cluster = cluster();
    let proxy = Proxy::start(&cluster, "");
    let mut peer = Peer::through(&proxy);
    let mut admin = Client::connect(&Login::new(proxy.admin_port, "admin", "")).expect("a login as admin");
    let mut shown = || admin.query("SHOW SESSIONS")[0][5].clone();
    peer.ok("SELECT n FROM t");
    assert_eq!(shown(), None);
    peer.ok("CREATE TEMPORARY TABLE one (a INT)");
    peer.ok("CREATE TEMPORARY TABLE two (a INT)");
    peer.ok("SELECT GET_LOCK('l', 0)");
    peer.ok("BEGIN");
    assert_eq!(shown().as_deref(), Some("temporary_table, user_lock, transaction"));
    peer.ok("COMMIT");
    peer.ok("DROP TEMPORARY TABLE one, two");
    assert_eq!(shown().as_deref(), Some("user_lock"));
    peer.ok("DO RELEASE_LOCK('l')");
    assert_eq!(shown(), None);
}

#[test]
fn an_idle_session_is_ended_after_its_time() {
    let cluster = cluster();
    let proxy = Proxy::start(&cluster, "[limits]\nidle_timeout_ms = 1000\n");
    let mut peer = Peer::through(&proxy);
    peer.ok("SELECT n FROM t");
    let began = Instant::now();
    peer.until_closed();
    let took = began.elapsed();
    assert!(took > Duration::from_millis(800) && took < Duration::from_secs(4), "{took:?}");
}
