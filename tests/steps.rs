//! Each step of a failover by itself, on real servers of both products; and each one done twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use dbproxy::admission::Admission;
use dbproxy::config::{BackendTls, Hooks, Replication, Secret, TlsMode, User};
use dbproxy::control::execute::{Access, Closed, Executor, Fitness, Hand, Held, Means, Source};
use dbproxy::failover::{Acks, Done, FailedHow, Order, OrderId, Step};
use dbproxy::tasks::Worker;
use dbproxy::topology::{Epoch, Flavor, GtidHistory, GtidSet, ServerId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Client, Cluster, Options, Server, accounts, flavors, wait_for};
use tokio::runtime::Runtime;

const HEARTBEAT: Duration = Duration::from_millis(500);

fn cluster(flavor: Flavor, replicas: usize) -> Cluster {
    Cluster::start(flavor, Options { replicas, semi_sync: true, ..Options::default() })
}

fn access() -> Access {
    let (name, password) = accounts::MONITOR;
    Access {
        user: User { name: name.into(), password: Secret::new(password) },
        tls: BackendTls { mode: TlsMode::Preferred, ca: None, identity: None },
        step_timeout: Duration::from_secs(30),
    }
}

fn replication() -> Replication {
    let (name, password) = accounts::REPLICATION;
    let user = User { name: name.into(), password: Secret::new(password) };
    Replication { user, tls: false, tls_ca: None }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn hand(server: &Server) -> Hand {
    Hand::log_in(&server.address().into(), &access()).await.unwrap()
}

fn source_words(flavor: Flavor) -> (&'static str, &'static str) {
    match flavor {
        Flavor::MySql => ("source", "replica"),
        Flavor::MariaDb => ("master", "slave"),
    }
}

/// A statement that runs on a thread of its own, since it may never end.
fn in_background(server: &Server, sql: &str) -> std::thread::JoinHandle<Result<(), String>> {
    let mut client = server.connect(accounts::APP).unwrap();
    let sql = sql.to_owned();
    std::thread::spawn(move || client.try_query(&sql).map(|_| ()).map_err(|error| error.to_string()))
}

fn table(cluster: &Cluster) {
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY)");
    cluster.wait_for_replicas();
}

fn repoint(hand: &mut Hand, runtime: &Runtime, to: &Server) {
    let (address, replication) = (to.address(), replication());
    runtime.block_on(hand.repoint(Source::new(&address, &replication, HEARTBEAT), true)).unwrap();
}

#[test]
fn a_replica_that_stops_receiving_acknowledges_nothing_and_loses_nothing() {
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 1), runtime());
        table(&cluster);
        let replica = &cluster.replicas()[0];
        // Received, not applied: this is what MariaDB would throw away.
        replica.pause_applier();
        let mut app = cluster.primary().connect(accounts::APP).unwrap();
        for id in 0..20 {
            app.query(&format!("INSERT INTO app.t VALUES ({id})"));
        }
        let written = GtidSet::parse(flavor, &cluster.primary().gtid_executed()).unwrap();
        let mut hand = runtime.block_on(hand(replica));
        for _twice in 0..2 {
            runtime.block_on(hand.stop_receiver()).unwrap();
        }
        let waiting = in_background(cluster.primary(), "INSERT INTO app.t VALUES (100)");
        let Held { received, .. } = runtime.block_on(hand.held()).unwrap();
        assert!(received.covers(&written), "{received} of {written}");
        runtime.block_on(async {
            hand.start_applier().await.unwrap();
            hand.drain(&received, Duration::from_secs(30)).await.unwrap();
            hand.drain(&received, Duration::from_secs(30)).await.unwrap();
        });
        assert_eq!(replica.value("SELECT COUNT(*) FROM app.t"), "20");
        assert!(!waiting.is_finished(), "a commit was acknowledged that no replica has");
        // Undone, it goes on.
        runtime.block_on(hand.start_receiver()).unwrap();
        waiting.join().unwrap().unwrap();
        cluster.wait_for_replicas();
    }
}

/// A source that hangs takes connections and says nothing, also to who wants to end a stream there.
#[test]
fn a_replica_of_a_source_that_hangs_stops_receiving_at_once() {
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 1), runtime());
        table(&cluster);
        let (primary, replica) = (cluster.primary(), &cluster.replicas()[0]);
        let mut hand = runtime.block_on(hand(replica));
        let mut took = Vec::new();
        for id in 0..5 {
            primary.pause();
            std::thread::sleep(Duration::from_millis(1600));
            let began = Instant::now();
            runtime.block_on(hand.stop_receiver()).unwrap();
            took.push(began.elapsed());
            primary.resume();
            runtime.block_on(hand.start_receiver()).unwrap();
            // Its commit waits for the replica.
            primary.sql(&format!("INSERT INTO app.t VALUES ({id})"));
            cluster.wait_for_replicas();
        }
        println!("{flavor:?}: {took:?}");
        // On a machine that is busy MariaDB may miss the moment, and take a second or two.
        took.sort_unstable();
        assert!(took[2] < Duration::from_millis(1500), "{flavor:?}: {took:?}");
        if flavor == Flavor::MariaDb {
            assert_eq!(replica.value("SELECT @@global.rpl_semi_sync_slave_kill_conn_timeout"), "5", "put back");
        }
    }
}

#[test]
fn a_replica_is_promoted_and_the_others_follow_it() {
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 2), runtime());
        table(&cluster);
        let [next, other] = cluster.replicas() else { panic!("two replicas") };
        cluster.primary().kill9();
        let mut promoted = runtime.block_on(hand(next));
        let mut follower = runtime.block_on(hand(other));
        runtime.block_on(async {
            for hand in [&mut promoted, &mut follower] {
                hand.stop_receiver().await.unwrap();
                let held = hand.held().await.unwrap();
                hand.drain(&held.received, Duration::from_secs(30)).await.unwrap();
            }
            for _twice in 0..2 {
                promoted.stop_replication().await.unwrap();
                promoted.arm(1).await.unwrap();
            }
        });
        repoint(&mut follower, &runtime, next);
        repoint(&mut follower, &runtime, next);
        runtime.block_on(async {
            for _twice in 0..2 {
                promoted.open().await.unwrap();
                promoted.write_epoch(7, "a test", Duration::from_secs(60)).await.unwrap();
                promoted.forget_source().await.unwrap();
            }
            assert_eq!(promoted.read_epoch().await.unwrap(), 7);
            promoted.beat(Duration::from_secs(60)).await.unwrap();
        });
        let mut app = next.connect(accounts::APP).unwrap();
        app.query("INSERT INTO app.t VALUES (1)");
        other.wait_for_gtid(&next.gtid_executed());
        assert_eq!(other.value("SELECT COUNT(*) FROM app.t"), "1");
        assert_eq!(other.value("SELECT @@global.read_only"), "1");
        let (source, _) = source_words(flavor);
        let clients = next.sql(&format!("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_{source}_clients'"));
        assert_eq!(clients[0][1].as_deref(), Some("1"), "the follower acknowledges");
        assert_eq!(heartbeat_s(other), 0.5, "pointing at another source would have put the heartbeat back");
    }
}

fn heartbeat_s(server: &Server) -> f64 {
    let value = match server.flavor {
        Flavor::MySql => {
            server.value("SELECT HEARTBEAT_INTERVAL FROM performance_schema.replication_connection_configuration")
        }
        Flavor::MariaDb => server.sql("SHOW GLOBAL STATUS LIKE 'Slave_heartbeat_period'")[0][1].clone().unwrap(),
    };
    value.parse().unwrap()
}

#[test]
fn a_primary_is_fenced_at_once_when_nothing_waits() {
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 1), runtime());
        table(&cluster);
        let primary = cluster.primary();
        let mut open = primary.connect(accounts::APP).unwrap();
        open.query("BEGIN");
        open.query("INSERT INTO app.t VALUES (1)");
        let mut hand = runtime.block_on(hand(primary));
        for _twice in 0..2 {
            assert_eq!(runtime.block_on(hand.fence()).unwrap(), Closed::Cleanly);
        }
        let _the_harness_s_own_session_was_ended_too = primary.try_sql("SELECT 1");
        assert!(open.try_query("COMMIT").is_err(), "a transaction of before is not committed after");
        let mut late = primary.connect(accounts::APP).unwrap();
        assert_eq!(late.try_query("INSERT INTO app.t VALUES (2)").unwrap_err().code, 1290);
        assert_eq!(primary.value("SELECT COUNT(*) FROM app.t"), "0");
        let (source, _) = source_words(flavor);
        assert_eq!(primary.value(&format!("SELECT @@global.rpl_semi_sync_{source}_enabled")), "0");
    }
}

#[test]
fn a_primary_whose_commits_hang_is_fenced_all_the_same() {
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 1), runtime());
        table(&cluster);
        let primary = cluster.primary();
        let mut replica = runtime.block_on(hand(&cluster.replicas()[0]));
        runtime.block_on(replica.stop_receiver()).unwrap();
        let waiting = in_background(primary, "INSERT INTO app.t VALUES (1)");
        wait_until_a_commit_waits(primary);
        let mut hand = runtime.block_on(hand(primary));
        let began = Instant::now();
        assert_eq!(runtime.block_on(hand.fence()).unwrap(), Closed::LettingCommitsThrough);
        println!("{flavor:?}: fenced in {} ms", began.elapsed().as_millis());
        let _told_or_cut_off = waiting.join().unwrap();
        let _the_harness_s_own_session_was_ended_too = primary.try_sql("SELECT 1");
        let mut late = primary.connect(accounts::APP).unwrap();
        assert_eq!(late.try_query("INSERT INTO app.t VALUES (2)").unwrap_err().code, 1290);
        assert_eq!(primary.value("SELECT COUNT(*) FROM app.t WHERE id = 2"), "0");
        if flavor == Flavor::MySql {
            assert_eq!(primary.value("SELECT @@global.offline_mode"), "0");
        }
    }
}

fn wait_until_a_commit_waits(primary: &Server) {
    let (source, _) = source_words(primary.flavor);
    wait_for("a commit to wait for its acknowledgement", || {
        let sessions = primary.sql(&format!("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_{source}_wait_sessions'"));
        (sessions[0][1].as_deref() == Some("1")).then_some(())
    });
}

#[test]
fn a_healthy_primary_is_closed_and_opened_again() {
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 1), runtime());
        table(&cluster);
        let primary = cluster.primary();
        let mut kept: Client = primary.connect(accounts::APP).unwrap();
        let id = kept.value("SELECT CONNECTION_ID()").parse().unwrap();
        let mut hand = runtime.block_on(hand(primary));
        runtime.block_on(async {
            for _twice in 0..2 {
                hand.close(&[id]).await.unwrap();
            }
            let settled = hand.settled().await.unwrap();
            assert!(!settled.is_empty());
        });
        assert_eq!(kept.try_query("INSERT INTO app.t VALUES (1)").unwrap_err().code, 1290, "kept, and read-only");
        runtime.block_on(hand.open()).unwrap();
        kept.query("INSERT INTO app.t VALUES (1)");
    }
}

#[test]
fn a_clean_former_primary_rejoins_and_an_errant_one_is_told() {
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 2), runtime());
        table(&cluster);
        let old = cluster.primary();
        cluster.switch_primary(0, 1);
        let new = &cluster.servers[1];
        old.sql("STOP REPLICA");
        old.sql("RESET REPLICA ALL");
        new.sql("INSERT INTO app.t VALUES (1)");
        let (mut at_old, mut at_new) = (runtime.block_on(hand(old)), runtime.block_on(hand(new)));
        assert_eq!(runtime.block_on(at_old.fitness(&mut at_new)).unwrap(), Fitness::Clean);
        let (address, replication) = (new.address(), replication());
        for _twice in 0..2 {
            runtime.block_on(at_old.rejoin(Source::new(&address, &replication, HEARTBEAT), true)).unwrap();
        }
        old.wait_for_gtid(&new.gtid_executed());
        assert_eq!(old.value("SELECT COUNT(*) FROM app.t"), "1");

        old.sql("STOP REPLICA");
        old.set_read_only(false);
        old.sql("INSERT INTO app.t VALUES (2)");
        let errant = runtime.block_on(at_old.fitness(&mut at_new)).unwrap();
        assert!(matches!(&errant, Fitness::Errant(gtids) if !gtids.is_empty()), "{errant:?}");
    }
}

#[test]
fn a_server_that_misses_what_the_primary_has_thrown_away_is_told() {
    let flavor = Flavor::MySql;
    if !flavors().contains(&flavor) {
        return;
    }
    let (cluster, runtime) = (cluster(flavor, 1), runtime());
    table(&cluster);
    let replica = &cluster.replicas()[0];
    replica.sql("STOP REPLICA");
    let primary = cluster.primary();
    primary.sql("SET GLOBAL rpl_semi_sync_source_enabled = 0");
    primary.sql("INSERT INTO app.t VALUES (1)");
    primary.sql("FLUSH BINARY LOGS");
    let last = primary.sql("SHOW BINARY LOGS").last().unwrap()[0].clone().unwrap();
    primary.sql(&format!("PURGE BINARY LOGS TO '{last}'"));
    let (mut at_replica, mut at_primary) = (runtime.block_on(hand(replica)), runtime.block_on(hand(primary)));
    let fitness = runtime.block_on(at_replica.fitness(&mut at_primary)).unwrap();
    assert!(matches!(fitness, Fitness::Purged(_)), "{fitness:?}");
}

#[test]
fn an_errant_server_is_overwritten_with_a_clone() {
    let flavor = Flavor::MySql;
    if !flavors().contains(&flavor) {
        return;
    }
    let (cluster, runtime) = (cluster(flavor, 1), runtime());
    table(&cluster);
    let replica = &cluster.replicas()[0];
    replica.sql("SET GLOBAL super_read_only = 0");
    replica.sql("INSERT INTO app.t VALUES (666)");
    replica.sql("SET GLOBAL super_read_only = 1");
    let mut at_replica = runtime.block_on(hand(replica));
    let donor = cluster.primary().address();
    runtime.block_on(at_replica.clone_from(&donor, &access(), Duration::from_secs(120))).unwrap();
    // Nothing supervises a test's server: it has gone down, and is started again.
    replica.wait_for_end();
    replica.start();
    replica.wait_until_ready();
    assert_eq!(replica.value("SELECT COUNT(*) FROM app.t"), "0");
    let (mut at_replica, mut at_primary) = (runtime.block_on(hand(replica)), runtime.block_on(hand(cluster.primary())));
    assert_eq!(runtime.block_on(at_replica.fitness(&mut at_primary)).unwrap(), Fitness::Clean);
    let replication = replication();
    runtime.block_on(at_replica.rejoin(Source::new(&donor, &replication, HEARTBEAT), true)).unwrap();
    cluster.primary().sql("INSERT INTO app.t VALUES (1)");
    cluster.wait_for_replicas();
    assert_eq!(replica.value("SELECT @@global.super_read_only"), "1");
}

/// Carries out orders as the proxy does, at the servers by their places in the cluster.
fn executor(cluster: &Cluster) -> Executor {
    let addresses: Vec<Arc<str>> = cluster.servers.iter().map(|server| server.address().into()).collect();
    let hooks = Hooks {
        before: None,
        before_blocks_failover: false,
        after: None,
        fence: None,
        timeout: Duration::from_secs(1),
    };
    Executor::new(Means {
        access: access(),
        replication: Some(replication()),
        heartbeat: HEARTBEAT,
        hooks,
        registry: Arc::default(),
        admission: Arc::new(Admission::new(addresses.len())),
        addresses,
        by: "a test".to_owned(),
        lease: Arc::new(AtomicBool::new(true)),
        disk: Worker::start("disk").unwrap().0,
        reports: None,
    })
}

fn order(step: Step, limit: Duration) -> Order {
    let lease = step.lease();
    Order { id: OrderId(1), epoch: Epoch(1), step, limit_ms: u64::try_from(limit.as_millis()).unwrap(), lease }
}

fn write_rows(cluster: &Cluster, ids: std::ops::Range<u32>) {
    let mut app = cluster.primary().connect(accounts::APP).unwrap();
    for id in ids {
        app.query(&format!("INSERT INTO app.t VALUES ({id})"));
    }
}

fn rows(server: &Server) -> String {
    server.value("SELECT COUNT(*) FROM app.t")
}

#[test]
fn a_replica_follows_the_candidate_while_the_primary_takes_writes() {
    const ATTACH: Step = Step::RepointEarly { server: ServerId(2), source: ServerId(1), acks: Acks::On };
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 2), runtime());
        table(&cluster);
        let [next, other] = cluster.replicas() else { panic!("two replicas") };
        let executor = Arc::new(executor(&cluster));
        // The candidate receives, and can't apply.
        let mut lock = next.connect(accounts::APP).unwrap();
        lock.query("LOCK TABLES app.t READ");
        write_rows(&cluster, 0..5);
        other.wait_for_gtid(&cluster.primary().gtid_executed());

        // The candidate has not applied what the other has: the other goes on as before.
        let outcome = runtime.block_on(executor.run(order(ATTACH, Duration::from_millis(1500))));
        assert_eq!(outcome.result.unwrap_err().how, FailedHow::NotYet);
        write_rows(&cluster, 5..10);
        other.wait_for_gtid(&cluster.primary().gtid_executed());

        // Commits go through meanwhile, acknowledged by the candidate alone.
        let attaching = {
            let executor = executor.clone();
            runtime.spawn(async move { executor.run(order(ATTACH, Duration::from_secs(60))).await })
        };
        std::thread::sleep(Duration::from_millis(500));
        write_rows(&cluster, 10..15);
        assert!(!attaching.is_finished(), "{flavor:?}: the candidate has not all that the other has");
        lock.query("UNLOCK TABLES");
        assert_eq!(runtime.block_on(attaching).unwrap().result, Ok(Done::Plain));
        write_rows(&cluster, 15..20);
        other.wait_for_gtid(&cluster.primary().gtid_executed());
        assert_eq!(rows(other), "20");
        // Done twice it does nothing.
        let again = runtime.block_on(executor.run(order(ATTACH, Duration::from_secs(60))));
        assert_eq!(again.result, Ok(Done::Plain));

        // Connected before the candidate was armed, it acknowledges.
        cluster.primary().kill9();
        for step in [
            Step::EnableSemiSync { server: ServerId(1), wait_count: 1, relay_log_helper: None },
            Step::Open { server: ServerId(1), wait_count: 1 },
        ] {
            let outcome = runtime.block_on(executor.run(order(step, Duration::from_secs(60))));
            assert!(outcome.result.is_ok(), "{flavor:?}: {outcome:?}");
        }
        let mut app = next.connect(accounts::APP).unwrap();
        app.query("INSERT INTO app.t VALUES (100)");
        other.wait_for_gtid(&next.gtid_executed());
        assert_eq!(rows(other), "21");
    }
}

#[test]
fn a_replica_that_has_received_more_than_is_known_is_not_told_to_follow_another() {
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 2), runtime());
        table(&cluster);
        let [next, other] = cluster.replicas() else { panic!("two replicas") };
        let executor = executor(&cluster);
        let has = |server: &Server| runtime.block_on(async { hand(server).await.sets().await.unwrap().0.executed });
        let repoint = |at_most: GtidHistory| {
            let step =
                Step::Repoint { server: ServerId(2), source: ServerId(1), acks: Acks::On, at_most: Some(at_most) };
            runtime.block_on(executor.run(order(step, Duration::from_secs(60)))).result
        };
        let known = has(next);
        // Received, and not applied.
        other.pause_applier();
        write_rows(&cluster, 0..1);
        wait_for("the row to be received", || {
            let held = runtime.block_on(async { hand(other).await.held().await.unwrap() });
            let written = GtidSet::parse(flavor, &cluster.primary().gtid_executed()).unwrap();
            held.received.covers(&written).then_some(())
        });
        assert_eq!(repoint(known).unwrap_err().how, FailedHow::Changed);
        next.wait_for_gtid(&cluster.primary().gtid_executed());
        assert_eq!(repoint(has(next)), Ok(Done::Plain));
        other.wait_for_gtid(&next.gtid_executed());
        assert_eq!(rows(other), "1");
    }
}

/// Clients that write, no more than replicas can follow on a busy machine, until they are told to end.
struct Writers(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

impl Writers {
    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..4).map(|_| {
            let (mut client, stop) = (server.connect(accounts::APP).unwrap(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.query("INSERT INTO app.many (text) VALUES (REPEAT('x', 2000)), (REPEAT('y', 2000))");
                    std::thread::sleep(Duration::from_millis(10));
                }
            })
        });
        let threads = threads.collect();
        Self(stop, threads)
    }

    fn end(self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// MySQL's applier that has begun a transaction waits up to 60 s for its rest when it is told to stop; a receiver that is told to stop does so
/// in the middle of one.
#[test]
fn a_replica_is_moved_at_once_however_much_is_written() {
    for flavor in flavors() {
        let (cluster, runtime) = (cluster(flavor, 2), runtime());
        cluster.primary().sql("CREATE TABLE app.many (id INT AUTO_INCREMENT PRIMARY KEY, text TEXT)");
        cluster.wait_for_replicas();
        let executor = executor(&cluster);
        let writers = Writers::start(cluster.primary());
        let mut took = Vec::new();
        for round in 0..20 {
            let step = Step::RepointEarly { server: ServerId(2), source: ServerId((round + 1) % 2), acks: Acks::On };
            let began = Instant::now();
            let outcome = runtime.block_on(executor.run(order(step, Duration::from_secs(70))));
            assert_eq!(outcome.result, Ok(Done::Plain), "{flavor:?}");
            took.push(began.elapsed());
        }
        writers.end();
        println!("{flavor:?}: {took:?}");
        took.sort_unstable();
        assert!(took[19] < Duration::from_secs(30), "{flavor:?}: {took:?}");
        cluster.wait_for_replicas();
        let count = |server: &Server| server.value("SELECT COUNT(*) FROM app.many");
        assert_eq!(count(&cluster.replicas()[1]), count(cluster.primary()));
    }
}

#[test]
fn a_candidate_that_received_half_a_transaction_is_armed_at_once() {
    let flavor = Flavor::MySql;
    if !flavors().contains(&flavor) {
        return;
    }
    let (cluster, runtime) = (cluster(flavor, 2), runtime());
    let primary = cluster.primary();
    primary.sql("CREATE TABLE app.many (id INT AUTO_INCREMENT PRIMARY KEY, text TEXT)");
    primary.sql("INSERT INTO app.many (text) VALUES (REPEAT('x', 2000))");
    for _ in 0..14 {
        primary.sql("INSERT INTO app.many (text) SELECT text FROM app.many");
    }
    cluster.wait_for_replicas();
    let executor = executor(&cluster);
    let mut large = primary.connect(accounts::APP).unwrap();
    let unfinished = std::thread::spawn(move || {
        large.try_query("INSERT INTO app.many (text) SELECT text FROM app.many").map(|_| ())
    });
    let queueing =
        "SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE QUEUEING_TRANSACTION <> ''";
    let candidate = &cluster.replicas()[0];
    let mut eye = candidate.connect(accounts::MONITOR).unwrap();
    wait_for("half of a transaction", || (eye.query(queueing)[0][0].as_deref() == Some("1")).then_some(()));
    primary.kill9();
    let run = |step: Step| {
        let began = Instant::now();
        let outcome = runtime.block_on(executor.run(order(step, Duration::from_secs(100))));
        assert!(outcome.result.is_ok(), "{outcome:?}");
        began.elapsed()
    };
    run(Step::StopReceiver { server: ServerId(1) });
    run(Step::StopReceiver { server: ServerId(2) });
    let has_half = candidate.value(queueing) == "1";
    let took = run(Step::EnableSemiSync { server: ServerId(1), wait_count: 1, relay_log_helper: Some(ServerId(2)) });
    println!("half a transaction: {has_half}; armed in {took:?}; the client: {:?}", unfinished.join().unwrap());
    assert!(has_half, "the receiver got the whole transaction");
    assert!(took < Duration::from_secs(10), "{took:?}");
    run(Step::Repoint { server: ServerId(2), source: ServerId(1), acks: Acks::On, at_most: None });
    run(Step::Open { server: ServerId(1), wait_count: 1 });
    assert_eq!(candidate.value("SELECT COUNT(*) FROM app.many"), "16384", "half of a transaction is none");
}
