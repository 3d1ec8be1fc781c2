//! The monitor against real servers: what it finds, and how fast it sees what changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "a test may sleep, and runs its monitor as it likes")]

mod support;

use dbproxy::config::{BackendTls, Secret, TlsMode, User};
use dbproxy::conn::{TopologyWatch, topology_channel};
use dbproxy::control::{self, Policy};
use dbproxy::topology::{self, Flavor, GtidSet, Health, Role, Server, ServerId, Topology, Writes};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Cluster, Options, accounts, flavors, wait_within};
use tokio::runtime::Runtime;

/// What the issue asks for: a change of role is seen within a second.
const SECOND: Duration = Duration::from_secs(1);

/// A running monitor, and all that it published.
struct Watched {
    watch: TopologyWatch,
    published: Arc<Mutex<Vec<Arc<Topology>>>>,
    // Dropped last: it ends the monitor.
    _runtime: Runtime,
}

impl Watched {
    fn start(cluster: &Cluster) -> Self {
        Self::start_as(&cluster.addresses(), accounts::MONITOR, TlsMode::Preferred)
    }

    fn start_as(addresses: &[String], (user, password): (&str, &str), mode: TlsMode) -> Self {
        let addresses: Vec<Arc<str>> = addresses.iter().map(|address| address.as_str().into()).collect();
        let first = Topology::unseen("test".into(), &addresses);
        let (publisher, watch, hints) = topology_channel(first.clone());
        let policy = Policy {
            user: User { name: user.into(), password: Secret::new(password) },
            connector: Arc::new(
                dbproxy::conn::BackendTls::load(&BackendTls { mode, ca: None, identity: None }).unwrap(),
            ),
            tls: BackendTls { mode, ca: None, identity: None },
            interval: Duration::from_millis(250),
            timeout: SECOND,
            connect_timeout: SECOND,
            depth: control::Depth::Roles,
            metrics: None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(control::run(first, policy, topology::Policy::default, publisher, hints, std::future::pending()));
        let published = Arc::new(Mutex::new(Vec::new()));
        let (mut changes, seen) = (watch.clone(), published.clone());
        runtime.spawn(async move {
            loop {
                changes.changed().await;
                seen.lock().unwrap().push(Arc::clone(&changes.load()));
            }
        });
        Self { watch, published, _runtime: runtime }
    }

    /// Waits for a topology that `check` accepts; returns it, and how long it took.
    fn within(&self, limit: Duration, what: &str, check: impl Fn(&Topology) -> bool) -> (Arc<Topology>, Duration) {
        let began = Instant::now();
        let deadline = began + limit;
        loop {
            let topology = Arc::clone(&self.watch.load());
            if check(&topology) {
                let took = began.elapsed();
                println!("{what}: {} ms", took.as_millis());
                return (topology, took);
            }
            assert!(Instant::now() < deadline, "waited {limit:?} for {what}: {topology:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all is as a cluster starts: a primary, and replicas that may be read from.
    fn settled(&self) -> Arc<Topology> {
        let all_up = |topology: &Topology| topology.servers.iter().all(|server| server.health == Health::Up);
        self.within(10 * SECOND, "roles", |topology| {
            topology.writes == Writes::Primary(ServerId(0)) && all_up(topology)
        })
        .0
    }
}

fn server(topology: &Topology, index: u16) -> &Server {
    topology.server(ServerId(index)).unwrap()
}

fn pair(flavor: Flavor) -> Cluster {
    Cluster::start(flavor, Options { replicas: 1, ..Options::default() })
}

#[test]
fn roles_greetings_and_positions_are_found() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        let watched = Watched::start(&cluster);
        let topology = watched.settled();
        let roles: Vec<Role> = topology.servers.iter().map(|server| server.role).collect();
        assert_eq!(roles, [Role::Primary, Role::Replica, Role::Replica]);
        assert_eq!(topology.epoch.0, 1);
        for (seen, real) in topology.servers.iter().zip(&cluster.servers) {
            assert_eq!(seen.flavor, Some(flavor));
            assert_eq!(seen.version(), Some(real.value("SELECT @@version")));
            assert_eq!(seen.server_id.map(|id| id.to_string()), Some(real.value("SELECT @@server_id")));
            let plugin = &seen.hello.as_ref().unwrap().auth_plugin;
            assert_eq!(plugin, if flavor == Flavor::MySql { "caching_sha2_password" } else { "mysql_native_password" });
            assert_eq!(seen.defaults.get("sql_mode"), Some(&*real.value("SELECT @@global.sql_mode")));
            assert!(seen.defaults.is_on("autocommit") && !seen.defaults.runs_init_connect());
        }
        assert!(topology.servers[1..].iter().all(|replica| replica.lag_ms == Some(0)));
    }
}

#[test]
fn positions_advance_with_the_writes_on_the_primary_and_on_the_replica() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        let watched = Watched::start(&cluster);
        watched.settled();
        cluster.primary().sql("CREATE TABLE app.positions (id INT PRIMARY KEY)");
        let written = GtidSet::parse(flavor, &cluster.primary().gtid_executed()).unwrap();
        assert!(!written.is_empty());
        for index in [0, 1] {
            watched.within(2 * SECOND, "the position", |topology| {
                server(topology, index).gtid_executed.as_ref().is_some_and(|executed| executed.covers(&written))
            });
        }
    }
}

#[test]
fn a_replica_s_own_transactions_do_not_count_as_the_primary_s() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        let watched = Watched::start(&cluster);
        watched.settled();
        cluster.replicas()[0].pause_applier();
        cluster.primary().sql("CREATE TABLE app.missed (id INT PRIMARY KEY)");
        let written = GtidSet::parse(flavor, &cluster.primary().gtid_executed()).unwrap();
        // As somebody does who repairs a replica by hand; root may, read-only or not. More of them than the primary wrote.
        cluster.replicas()[0].set_read_only(false);
        if flavor == Flavor::MariaDb {
            cluster.replicas()[0].sql("SET GLOBAL gtid_strict_mode = 0");
        }
        for index in 0..5 {
            cluster.replicas()[0].sql(&format!("CREATE TABLE app.own_{index} (id INT PRIMARY KEY)"));
        }
        cluster.replicas()[0].set_read_only(true);
        std::thread::sleep(SECOND);
        let topology = Arc::clone(&watched.watch.load());
        let executed = server(&topology, 1).gtid_executed.clone().unwrap();
        assert!(!executed.covers(&written), "{executed} does not have all of {written}");
    }
}

#[test]
fn read_only_set_here_and_cleared_there_moves_the_writes_within_a_second() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        let watched = Watched::start(&cluster);
        let epoch = watched.settled().epoch;
        cluster.primary().set_read_only(true);
        watched.within(SECOND, "nobody writable", |topology| matches!(topology.writes, Writes::Nobody(_)));
        cluster.replicas()[0].set_read_only(false);
        let (topology, _) =
            watched.within(SECOND, "the new primary", |topology| topology.writes == Writes::Primary(ServerId(1)));
        assert_eq!(topology.epoch.0, epoch.0 + 2);
        assert_eq!(server(&topology, 0).role, Role::Replica);
        // It does not follow the new primary yet.
        assert!(matches!(server(&topology, 0).health, Health::Unfit(_)));
    }
}

#[test]
fn two_writable_servers_are_a_conflict_within_a_second() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        let watched = Watched::start(&cluster);
        watched.settled();
        cluster.replicas()[0].set_read_only(false);
        let conflict = Writes::Conflict(vec![ServerId(0), ServerId(1)]);
        watched.within(SECOND, "the conflict", |topology| topology.writes == conflict);
        cluster.replicas()[0].set_read_only(true);
        watched.within(SECOND, "its end", |topology| topology.writes == Writes::Primary(ServerId(0)));
    }
}

#[test]
fn a_switchover_never_looks_like_a_conflict() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        let watched = Watched::start(&cluster);
        watched.settled();
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            cluster.switch_primary(from, to);
            let primary = Writes::Primary(ServerId(u16::try_from(to).unwrap()));
            watched.within(SECOND, "the new primary", |topology| topology.writes == primary);
            watched.within(5 * SECOND, "its replicas", |topology| {
                topology.servers.iter().all(|server| server.health == Health::Up)
            });
        }
        // The fastest: nothing between the two statements.
        cluster.servers[0].set_read_only(true);
        cluster.servers[1].set_read_only(false);
        watched.within(SECOND, "the new primary", |topology| topology.writes == Writes::Primary(ServerId(1)));
        let published = watched.published.lock().unwrap();
        let conflict = published.iter().find(|topology| matches!(topology.writes, Writes::Conflict(_)));
        assert!(conflict.is_none(), "{conflict:#?}");
    }
}

#[test]
fn a_replica_that_stops_replicating_is_unfit_until_it_goes_on() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        let watched = Watched::start(&cluster);
        watched.settled();
        cluster.replicas()[0].pause_applier();
        let (topology, _) = watched.within(2 * SECOND, "unfit", |topology| server(topology, 1).health != Health::Up);
        let Health::Unfit(reason) = &server(&topology, 1).health else { panic!("{topology:#?}") };
        assert_eq!(*reason, format!("the thread that applies from {} is stopped", cluster.primary().address()));
        assert_eq!(server(&topology, 1).role, Role::Replica);
        cluster.replicas()[0].resume_applier();
        watched.within(2 * SECOND, "fit", |topology| server(topology, 1).health == Health::Up);
    }
}

#[test]
fn lag_is_how_long_a_replica_misses_what_the_primary_has() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        let watched = Watched::start(&cluster);
        watched.settled();
        // A second of quiet first: the time since the last write is not lag.
        std::thread::sleep(SECOND);
        cluster.replicas()[0].pause_applier();
        cluster.primary().sql("CREATE TABLE app.late (id INT PRIMARY KEY)");
        let since = Instant::now();
        let behind = |topology: &Topology, ms| server(topology, 1).lag_ms.is_some_and(|lag_ms| lag_ms >= ms);
        let (topology, _) = watched.within(3 * SECOND, "lag", |topology| behind(topology, 1000));
        let (lag_ms, truth) = (server(&topology, 1).lag_ms.unwrap(), since.elapsed().as_millis());
        assert!(u128::from(lag_ms) <= truth + 50 && truth < 1800, "{lag_ms} ms after {truth} ms");
        cluster.replicas()[0].resume_applier();
        watched.within(3 * SECOND, "no lag", |topology| server(topology, 1).lag_ms == Some(0));
    }
}

#[test]
fn a_killed_primary_is_down_within_a_second_and_back_when_it_is() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        let watched = Watched::start(&cluster);
        watched.settled();
        cluster.primary().kill9();
        let (topology, _) = watched.within(SECOND, "down", |topology| topology.primary().is_none());
        assert_eq!(server(&topology, 0).health, Health::Down("connection refused".to_owned()));
        let [primary, replica] = [cluster.primary(), &cluster.replicas()[0]].map(support::Server::address);
        let why = format!("{primary} is down (connection refused); {replica} is read-only");
        assert_eq!(topology.writes, Writes::Nobody(why));
        // The replica is readable for as long as nobody writes.
        assert_eq!(server(&topology, 1).health, Health::Up);
        cluster.primary().restart();
        watched.within(2 * SECOND, "back", |topology| topology.writes == Writes::Primary(ServerId(0)));
    }
}

#[test]
fn a_server_that_hangs_is_down_within_three_seconds() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        let watched = Watched::start(&cluster);
        watched.settled();
        cluster.replicas()[0].pause();
        let (topology, took) =
            watched.within(3 * SECOND, "down", |topology| matches!(server(topology, 1).health, Health::Down(_)));
        assert!(took > SECOND, "one slow probe is not enough: {took:?}");
        assert_eq!(
            server(&topology, 1).health,
            Health::Down("accepts connections but does not greet: it hangs or is stopped".to_owned())
        );
        assert_eq!(topology.writes, Writes::Primary(ServerId(0)));
        cluster.replicas()[0].resume();
        watched.within(4 * SECOND, "back", |topology| server(topology, 1).health == Health::Up);
    }
}

#[test]
fn a_hint_makes_the_monitor_look_at_once() {
    let cluster = pair(flavors()[0]);
    let watched = Watched::start(&cluster);
    watched.settled();
    let slowest_of_20 = || {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            cluster.primary().set_read_only(true);
            watched.watch.hint(ServerId(0));
            let (_, took) = watched.within(SECOND, "nobody", |topology| topology.primary().is_none());
            slowest = slowest.max(took);
            cluster.primary().set_read_only(false);
            watched.watch.hint(ServerId(0));
            watched.within(SECOND, "primary", |topology| topology.primary().is_some());
        }
        slowest
    };
    // An interval is 250 ms: without the hint one of twenty looks would come later, on a machine that is never held up too.
    let rounds: Vec<_> =
        (0..3).map(|_| slowest_of_20()).take_while(|slowest| *slowest >= Duration::from_millis(200)).collect();
    assert!(rounds.len() < 3, "{rounds:?}");
}

#[test]
fn a_wrong_password_and_a_lacking_privilege_are_named() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        let watched = Watched::start_as(&cluster.addresses(), ("dbproxy", "wrong"), TlsMode::Preferred);
        let (topology, _) = watched
            .within(5 * SECOND, "the refusal", |topology| format!("{:?}", topology.servers[1].health).contains("1045"));
        let Health::Down(reason) = &server(&topology, 1).health else { panic!("{topology:#?}") };
        assert!(
            reason.starts_with("refuses the monitor's account (user or password of [monitor]): 1045: "),
            "{reason}"
        );

        let watched = Watched::start_as(&cluster.addresses(), accounts::APP, TlsMode::Preferred);
        let privilege = if flavor == Flavor::MySql { "REPLICATION CLIENT" } else { "SLAVE MONITOR" };
        let unfit =
            Health::Unfit(format!("replication status is not readable: the monitor's account lacks {privilege}"));
        // Roles do not need it.
        watched.within(5 * SECOND, "the privilege", |topology| {
            server(topology, 1).health == unfit && topology.writes == Writes::Primary(ServerId(0))
        });
    }
}

#[test]
fn a_server_at_its_connection_limit_says_so() {
    for flavor in flavors() {
        // Both let one more in with the right to do so, which the monitor does not have.
        let options = Options { replicas: 0, max_connections: 10, ..Options::default() };
        let cluster = Cluster::start(flavor, options);
        cluster.primary().sql("SELECT 1");
        let mut apps = Vec::new();
        while let Ok(app) = cluster.primary().connect(accounts::APP) {
            apps.push(app);
        }
        let watched = Watched::start(&cluster);
        let (topology, _) = watched.within(5 * SECOND, "the limit", |topology| {
            server(topology, 0).health == Health::Down("too many connections: the monitor finds no free one".to_owned())
        });
        assert_eq!(topology.primary(), None);
        drop(apps);
        watched.within(5 * SECOND, "room", |topology| topology.primary().is_some());
    }
}

#[test]
fn the_monitor_logs_in_with_and_without_tls() {
    for flavor in flavors() {
        let cluster = pair(flavor);
        for (mode, encrypted) in [(TlsMode::Disabled, false), (TlsMode::Preferred, true), (TlsMode::Required, true)] {
            let watched = Watched::start_as(&cluster.addresses(), accounts::MONITOR, mode);
            watched.settled();
            // Nothing in the process list tells TLS from plain text on both products; the accounts can be made to.
            cluster.primary().sql("ALTER USER 'dbproxy'@'%' REQUIRE SSL");
            drop(watched);
            let watched = Watched::start_as(&cluster.addresses(), accounts::MONITOR, mode);
            let expected = if encrypted { Role::Primary } else { Role::Unknown };
            watched.within(5 * SECOND, "the login", |topology| {
                server(topology, 0).role == expected && !format!("{topology:?}").contains("not looked at yet")
            });
            cluster.primary().sql("ALTER USER 'dbproxy'@'%' REQUIRE NONE");
        }
    }
}

/// Collects what is logged by any thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn changes_are_logged_once_and_probes_never() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // Other tests of this process log here, too: lines are told apart by the servers' ports.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let cluster = pair(flavors()[0]);
    let watched = Watched::start(&cluster);
    watched.settled();
    let primary = cluster.primary().address();
    let lines = |what: &str| {
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(&primary) && line.contains(what)).count()
    };
    assert_eq!(lines("role changed from Unknown"), 1);
    assert_eq!(lines("this server is the primary"), 1);
    let quiet = lines("");
    std::thread::sleep(2 * SECOND);
    assert_eq!(lines(""), quiet);
    cluster.primary().kill9();
    watched.within(SECOND, "down", |topology| topology.primary().is_none());
    std::thread::sleep(2 * SECOND);
    assert_eq!(lines(": down "), 1);
    assert_eq!(lines("no writable primary: writes wait"), 1);
    assert_eq!(lines("role changed from Primary"), 1);
    let told = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!told.contains(accounts::MONITOR.1), "{told}");
}

/// The set algebra and the normal form are the server's own.
#[test]
fn gtid_sets_agree_with_the_server_s_functions() {
    if !flavors().contains(&Flavor::MySql) {
        return;
    }
    let cluster = Cluster::start(Flavor::MySql, Options { replicas: 0, ..Options::default() });
    let texts = [
        "",
        "3E11FA47-71CA-11E1-9E33-C80AA9429562:5:1-3:Blue:1:_a:2:7-9 ,\n 2174B383-5441-11E8-B90A-C80AA9429562:Z:4",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:2-3:blue:1",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:blue:1-9:blues:4, 3e11fa47-71ca-11e1-9e33-c80aa9429562:4",
        "2174b383-5441-11e8-b90a-c80aa9429562:9223372036854775806",
        ",2174b383-5441-11e8-b90a-c80aa9429562 : 1 - 2 : 4 : 3,,",
    ];
    let set = |text: &str| GtidSet::parse(Flavor::MySql, text).unwrap();
    for a in texts {
        let normal = cluster.primary().value(&format!("SELECT GTID_SUBTRACT('{a}', '')"));
        assert_eq!(set(a).to_string(), normal.replace('\n', ""));
        for b in texts {
            let subset = cluster.primary().value(&format!("SELECT GTID_SUBSET('{a}', '{b}')"));
            assert_eq!(set(b).covers(&set(a)), subset == "1", "{a} in {b}");
            let mut union = set(a);
            union.merge(&set(b));
            let normal = cluster.primary().value(&format!("SELECT GTID_SUBTRACT('{a},{b}', '')"));
            assert_eq!(union.to_string(), normal.replace('\n', ""), "{a} with {b}");
        }
    }
    let own = cluster.primary().gtid_executed();
    assert_eq!(set(&own).to_string(), own.replace('\n', ""));
}

#[test]
fn a_monitor_that_is_told_to_shut_down_returns() {
    let cluster = Cluster::start(flavors()[0], Options { replicas: 0, ..Options::default() });
    let addresses: Vec<Arc<str>> = vec![cluster.primary().address().into()];
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let first = Topology::unseen("test".into(), &addresses);
        let (publisher, mut watch, hints) = topology_channel(first.clone());
        let policy = Policy {
            user: User { name: accounts::MONITOR.0.into(), password: Secret::new(accounts::MONITOR.1) },
            connector: Arc::new(dbproxy::conn::BackendTls::disabled()),
            tls: BackendTls { mode: TlsMode::Disabled, ca: None, identity: None },
            interval: Duration::from_millis(250),
            timeout: SECOND,
            connect_timeout: SECOND,
            depth: control::Depth::Roles,
            metrics: None,
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let run = tokio::spawn(control::run(first, policy, topology::Policy::default, publisher, hints, shutdown));
        watch.changed().await;
        stop.send(()).unwrap();
        tokio::time::timeout(SECOND, run).await.unwrap().unwrap();
    });
    let connections =
        || cluster.primary().value("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'dbproxy'");
    wait_within(2 * SECOND, "the monitor's connection to go", || (connections() == "0").then_some(()));
}
