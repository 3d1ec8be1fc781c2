//! A replica that the operator takes out of service, and gives back, while clients are at work.

use super::peer::{Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, Server, flavors, wait_for};
use dbproxy::wire::{Expect, query_payload};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ASK: &str = "SELECT @@server_id FROM t";

fn cluster(flavor: Flavor) -> Cluster {
    let cluster = Cluster::start(flavor, Options::default());
    warm(&cluster);
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY)");
    cluster.primary().sql("INSERT INTO app.t VALUES (1)");
    cluster.primary().sql("CREATE TABLE app.many (id INT PRIMARY KEY)");
    let rows: Vec<_> = (0..400).map(|n| format!("({n})")).collect();
    cluster.primary().sql(&format!("INSERT INTO app.many VALUES {}", rows.join(", ")));
    cluster.wait_for_replicas();
    cluster
}

fn command(proxy: &Proxy, arguments: &[&str]) {
    let output = proxy.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Statements that the proxy has sent to a server, with an answer to its end.
fn statements(proxy: &Proxy, server: &Server) -> u64 {
    let status = proxy.status();
    let all = status["servers"].as_array().expect("a list");
    let own = all.iter().find(|row| row["address"] == server.address().as_str()).expect("the server");
    own["queries"].as_u64().expect("a number")
}

/// Decisions for a reason so far.
fn decisions(proxy: &Proxy, role: &str, reason: &str) -> u64 {
    let series = format!("dbproxy_route_decisions_total{{role=\"{role}\",reason=\"{reason}\"}} ");
    let text = proxy.http("/metrics").expect("metrics").1;
    let found = text.lines().find_map(|line| line.strip_prefix(series.as_str()));
    found.unwrap_or_else(|| panic!("no {series}")).parse().expect("a number")
}

/// A session that reads from this replica.
fn session_on(proxy: &Proxy, server: &Server) -> Peer {
    wait_for("a session to be on the replica", || {
        let mut peer = Peer::through(proxy);
        (peer.value(ASK) == server.id.to_string()).then_some(peer)
    })
}

/// Who answered which read, and when it was asked.
type Reads = Mutex<Vec<(Instant, String)>>;

/// Runs while clients come, read, stay a little and leave.
fn under_load<T>(proxy: &Proxy, run: impl FnOnce(&Reads) -> T) -> T {
    let (over, seen) = (AtomicBool::new(false), Reads::default());
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let mut peer = Peer::through(proxy);
                    for _ in 0..3 {
                        let asked = Instant::now();
                        let server = peer.value(ASK);
                        seen.lock().expect("nobody panics holding it").push((asked, server));
                        std::thread::sleep(Duration::from_millis(60));
                    }
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&seen)));
        over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How many of a hundred reads a server answered that were asked between two moments.
fn share(reads: &Reads, server: &Server, from: Instant, to: Instant) -> usize {
    let reads = reads.lock().expect("nobody panics holding it");
    let asked: Vec<_> = reads.iter().filter(|(at, _)| (from..to).contains(at)).collect();
    let own = asked.iter().filter(|(_, by)| *by == server.id.to_string()).count();
    100 * own / asked.len().max(1)
}

/// The same from now on, for so many reads.
fn share_of_next(reads: &Reads, server: &Server, count: usize) -> usize {
    let from = Instant::now();
    wait_for("reads", || {
        let reads = reads.lock().expect("nobody panics holding it");
        (reads.iter().filter(|(at, _)| *at >= from).count() >= count).then_some(())
    });
    share(reads, server, from, Instant::now())
}

#[test]
fn a_drained_replica_ends_what_it_runs_and_gets_nothing_new() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let proxy = Proxy::start(&cluster, "");
        let (drained, other) = (&cluster.replicas()[0], &cluster.replicas()[1]);
        under_load(&proxy, |seen| {
            let replicas = decisions(&proxy, "replica", "plain_read");
            assert!(share_of_next(seen, drained, 200) > 0, "it is read from");
            let [mut idle, mut inside, mut busy] = [0; 3].map(|_| session_on(&proxy, drained));
            let mut pinned = Peer::through(&proxy);
            pinned.ok("CREATE TEMPORARY TABLE mine (a INT)");
            inside.ok("START TRANSACTION READ ONLY");
            assert_eq!(inside.value(ASK), drained.id.to_string());
            busy.stream.set_read_timeout(Some(Duration::from_secs(100))).expect("a timeout");
            let long = "SELECT @@server_id, COUNT(*) FROM many a JOIN many b JOIN many c WHERE a.id + b.id <> c.id";
            busy.send(&query_payload(long, busy.capabilities));
            std::thread::sleep(Duration::from_millis(200));
            command(&proxy, &["drain", &drained.address()]);
            // What was on its way is through.
            std::thread::sleep(Duration::from_millis(500));
            let before = statements(&proxy, drained);
            assert_eq!(share_of_next(seen, drained, 200), 0, "{flavor:?}: new sessions, and those that it had");
            assert_eq!(idle.value(ASK), other.id.to_string());
            assert_eq!(pinned.value("SELECT COUNT(*) FROM mine"), "0");
            assert_eq!(inside.value(ASK), drained.id.to_string(), "a transaction stays where it is open");
            inside.ok("COMMIT");
            assert_eq!(inside.value(ASK), other.id.to_string());
            let answer = busy.answer(Expect::Results).expect("the answer of what ran");
            let row = answer.iter().find(|packet| packet.payload.starts_with(&[1, b'0' + drained.id as u8]));
            assert!(row.is_some(), "{flavor:?}: it ran to its end where it was: {answer:?}");
            assert_eq!(busy.value(ASK), other.id.to_string());
            let after = statements(&proxy, drained);
            eprintln!("{flavor:?}: {} statements at the drained replica, all begun before", after - before);
            // The read in the transaction, its COMMIT, and the long one.
            assert_eq!(after - before, 3);

            let alone = decisions(&proxy, "primary", "no_replica");
            command(&proxy, &["drain", &other.address()]);
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(share_of_next(seen, cluster.primary(), 100), 100, "{flavor:?}: nobody else is left");
            assert!(decisions(&proxy, "primary", "no_replica") >= alone + 100);
            assert!(decisions(&proxy, "replica", "plain_read") > replicas, "the reads until then");
        });
    }
}

#[test]
fn a_replica_back_from_maintenance_gets_its_share_bit_by_bit() {
    const WARM_UP: Duration = Duration::from_secs(16);
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let proxy = Proxy::start(&cluster, &format!("[routing]\nwarm_up_ms = {}\n", WARM_UP.as_millis()));
        let replica = &cluster.replicas()[0];
        under_load(&proxy, |seen| {
            command(&proxy, &["maintenance", &replica.address(), "on"]);
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(share_of_next(seen, replica, 100), 0);
            command(&proxy, &["maintenance", &replica.address(), "off"]);
            let back = Instant::now();
            std::thread::sleep(WARM_UP);
            let last = share_of_next(seen, replica, 300);
            let part = |n: u32| share(seen, replica, back + n * WARM_UP / 4, back + (n + 1) * WARM_UP / 4);
            let shares = [part(0), part(1), part(2), part(3), last];
            eprintln!("{flavor:?}: hundredths of the reads in each quarter of the warm-up, and then: {shares:?}");
            // A twentieth to a quarter of its weight in the first one, where the other has all of its: 5 to 20 of 100 reads.
            assert!(shares[0] < 30 && shares[0] < shares[3], "{flavor:?}: {shares:?}");
            assert!((35..65).contains(&last), "{flavor:?}: as much as the other: {shares:?}");
        });
    }
}
