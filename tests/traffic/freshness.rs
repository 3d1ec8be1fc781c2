//! No stale read, counted: own reads with `session`, anybody's with `global`, while the replicas lag. `scripts/own-reads.sh`
//! runs it with a hundred thousand pairs of a write and a read, and prints what it costs.

use super::peer::{Peer, warm};
use super::support::{Cluster, Flavor, Options, Proxy, flavors};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const THREADS: u32 = 4;

/// Pairs of a write and a read, for each consistency.
fn pairs() -> u32 {
    std::env::var("DBPROXY_OWN_READS").map_or(2_000, |count| count.parse().expect("DBPROXY_OWN_READS is a number"))
}

/// What one thread saw.
#[derive(Default)]
struct Seen {
    stale: u32,
    replica: u32,
    reads: Vec<Duration>,
}

/// Writes a number of its own and reads it back, by the same session or (`other`) by another one.
fn write_and_read(proxy: &Proxy, row: u32, consistency: &str, other: bool, count: u32) -> Seen {
    let mut writer = Peer::through(proxy);
    let mut second = other.then(|| Peer::through(proxy));
    second.as_mut().unwrap_or(&mut writer).ok(&format!("SET dbproxy_consistency = '{consistency}'"));
    let mut seen = Seen::default();
    for number in 1..=count {
        writer.ok(&format!("UPDATE t SET n = {number} WHERE id = {row}"));
        let began = Instant::now();
        let read =
            second.as_mut().unwrap_or(&mut writer).row(&format!("SELECT n, @@server_id FROM t WHERE id = {row}"));
        seen.reads.push(began.elapsed());
        seen.stale += u32::from(read[0] != number.to_string());
        seen.replica += u32::from(read[1] != "1");
    }
    seen
}

fn all_threads(proxy: &Proxy, consistency: &str, other: bool) -> Seen {
    let next = AtomicU32::new(1);
    let each = pairs().div_ceil(THREADS);
    std::thread::scope(|scope| {
        let run = || write_and_read(proxy, next.fetch_add(1, Ordering::Relaxed), consistency, other, each);
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        threads.into_iter().fold(Seen::default(), |mut all, thread| {
            let seen = thread.join().expect("a thread that ran to its end");
            all.stale += seen.stale;
            all.replica += seen.replica;
            all.reads.extend(seen.reads);
            all
        })
    })
}

/// One replica is a second behind all the time, the other stands still now and then.
fn lagging<T>(cluster: &Cluster, run: impl FnOnce() -> T) -> T {
    super::routing::delay(&cluster.replicas()[1]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                cluster.replicas()[0].pause_applier();
                std::thread::sleep(Duration::from_millis(150));
                cluster.replicas()[0].resume_applier();
                std::thread::sleep(Duration::from_millis(850));
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Counters of the proxy by series, for what grew between two looks.
fn counters(proxy: &Proxy) -> BTreeMap<String, u64> {
    let text = proxy.http("/metrics").expect("metrics").1;
    let wanted = |line: &&str| line.starts_with("dbproxy_route_");
    let pair = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        (series.to_owned(), value.parse().expect("a whole number"))
    };
    text.lines().filter(wanted).map(pair).collect()
}

fn report(flavor: Flavor, what: &str, seen: &mut Seen, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) {
    seen.reads.sort_unstable();
    let at = |percent: usize| seen.reads[(seen.reads.len() * percent / 100).min(seen.reads.len() - 1)];
    let grew: Vec<_> = after
        .iter()
        .map(|(series, value)| (series, value - before.get(series).unwrap_or(&0)))
        .filter(|(series, grown)| *grown > 0 && !series.contains("\"write\"") && !series.contains("session_state"))
        .map(|(series, grown)| format!("{} {grown}", series.trim_start_matches("dbproxy_route_")))
        .collect();
    eprintln!(
        "{flavor:?} {what}: {} pairs, {} stale, {:.1} % on replicas, reads p50 {:?} p95 {:?} p99 {:?}\n    {}",
        seen.reads.len(),
        seen.stale,
        100.0 * f64::from(seen.replica) / seen.reads.len() as f64,
        at(50),
        at(95),
        at(99),
        grew.join("\n    ")
    );
}

#[test]
fn no_read_is_stale_while_one_replica_lags_and_the_other_stops_and_goes() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY, n INT)");
        cluster.primary().sql("INSERT INTO app.t VALUES (1, 0), (2, 0), (3, 0), (4, 0)");
        cluster.wait_for_replicas();
        let proxy = Proxy::start(&cluster, "");
        lagging(&cluster, || {
            for (consistency, other) in [("eventual", false), ("session", false), ("global", true)] {
                let before = counters(&proxy);
                let mut seen = all_threads(&proxy, consistency, other);
                report(flavor, consistency, &mut seen, &before, &counters(&proxy));
                if consistency == "eventual" {
                    assert!(seen.stale > 0, "the replicas lag, and this test can tell");
                } else {
                    assert_eq!(seen.stale, 0, "{flavor:?} {consistency}");
                    assert!(seen.replica > 0, "{flavor:?} {consistency}: the replicas are used between the stops");
                }
            }
        });
    }
}
