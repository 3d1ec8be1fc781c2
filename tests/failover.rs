//! The proxy against the loss of its primary: real servers that replicate semi-synchronously, clients that go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "failover/events.rs"]
mod events;
#[path = "failover/rare.rs"]
mod rare;
#[path = "failover/slow.rs"]
mod slow;
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Cluster, Flavor, Options, Proxy, accounts, flavors, wait_for};

fn cluster(flavor: Flavor) -> Cluster {
    Cluster::start(flavor, Options { semi_sync: true, ..Options::default() })
}

/// With own lag forgiven more than on a machine that has nothing else to do.
fn proxy(cluster: &Cluster, more: &str) -> Proxy {
    proxy_of(&cluster.addresses(), more)
}

fn proxy_of(servers: &[String], more: &str) -> Proxy {
    let (user, password) = accounts::REPLICATION;
    let toml = format!(
        "\n[replication]\nuser = \"{user}\"\npassword = \"{password}\"\n\n[failover]\nloop_lag_limit_ms = 2000\n\
         step_timeout_ms = 10000\n{more}\n"
    );
    let proxy = Proxy::start_edited(servers, |config| config + &toml);
    wait_for("the failover to be ready", || {
        let failover = &proxy.status()["failover"];
        (failover["mode"] == "auto" && failover["state"] == "healthy" && failover["epoch"] == 1).then_some(())
    });
    // Everybody has been asked anew since there is a primary.
    wait_for("a switchover to be possible", || {
        proxy.command(&["switchover", "--dry-run"]).status.success().then_some(())
    });
    proxy
}

/// Clients that insert one row after the other, and what became of each.
struct Load {
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Told>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    acknowledged: BTreeSet<u64>,
    attempted: BTreeSet<u64>,
    errors: Vec<String>,
    /// Between two acknowledgements, over all clients.
    longest_pause: Duration,
    last: Option<Instant>,
}

impl Load {
    fn start(proxy: &Proxy, clients: u64) -> Self {
        proxy.client().query("CREATE TABLE IF NOT EXISTS app.load_rows (id BIGINT PRIMARY KEY)");
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Told::default())));
        let threads = (0..clients).map(|client| {
            let (stop, told, login) =
                (stop.clone(), told.clone(), support::Login::new(proxy.port, accounts::APP.0, accounts::APP.1));
            std::thread::spawn(move || {
                let mut connection = None;
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = client * 1_000_000 + n;
                    let connected = match connection.take() {
                        Some(connected) => connected,
                        None => match support::Client::connect(&login) {
                            Ok(connected) => connected,
                            Err(_) => continue,
                        },
                    };
                    let mut connected = connected;
                    told.lock().unwrap().attempted.insert(id);
                    let result = connected.try_query(&format!("INSERT INTO app.load_rows VALUES ({id})"));
                    let mut told = told.lock().unwrap();
                    match result {
                        Ok(_) => {
                            let now = Instant::now();
                            if let Some(last) = told.last.replace(now) {
                                told.longest_pause = told.longest_pause.max(now - last);
                            }
                            told.acknowledged.insert(id);
                            connection = Some(connected);
                        }
                        Err(error) => {
                            told.errors.push(error.to_string());
                            connection = (error.code != 0).then_some(connected);
                        }
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { stop, told, threads }
    }

    fn acknowledged(&self) -> usize {
        self.told.lock().unwrap().acknowledged.len()
    }

    /// Waits until so many more rows are acknowledged.
    fn goes_on(&self, rows: usize) {
        let from = self.acknowledged();
        wait_for("writes to go on", || (self.acknowledged() >= from + rows).then_some(()));
    }

    fn end(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        Arc::try_unwrap(self.told).ok().unwrap().into_inner().unwrap()
    }
}

/// Every acknowledged row is there, and nothing that nobody tried.
fn nothing_lost(told: &Told, server: &support::Server) {
    let rows = server.sql("SELECT id FROM app.load_rows");
    let found: BTreeSet<u64> = rows.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
    let lost: Vec<_> = told.acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "{} acknowledged rows are lost: {lost:?}", lost.len());
    assert!(found.is_subset(&told.attempted));
    println!(
        "acknowledged {}, longest pause {} ms, errors {:?}",
        told.acknowledged.len(),
        told.longest_pause.as_millis(),
        told.errors
    );
}

/// The first cell, as root: over a new session where the old one was ended, and none while there is none.
fn cell(server: &support::Server, sql: &str) -> Option<String> {
    server.try_sql(sql).ok()?.first()?.first()?.clone()
}

fn follows(server: &support::Server) {
    wait_for("the old primary to follow", || {
        (cell(server, "SELECT 1").is_some() && server.is_replicating()).then_some(())
    });
}

fn new_primary<'a>(cluster: &'a Cluster, proxy: &Proxy) -> &'a support::Server {
    let address = wait_for("another primary", || {
        let status = proxy.status();
        status["cluster"]["primary"]
            .as_str()
            .filter(|address| *address != cluster.primary().address())
            .map(str::to_owned)
    });
    cluster.servers.iter().find(|server| server.address() == address).unwrap()
}

#[test]
fn a_killed_primary_is_replaced_and_nothing_acknowledged_is_lost() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let proxy = proxy(&cluster, "");
        let load = Load::start(&proxy, 4);
        load.goes_on(50);
        let killed = Instant::now();
        cluster.primary().kill9();
        let primary = new_primary(&cluster, &proxy);
        println!("{flavor:?}: another primary after {} ms", killed.elapsed().as_millis());
        load.goes_on(50);
        println!("{flavor:?}: writes go on after {} ms", killed.elapsed().as_millis());
        let told = load.end();
        nothing_lost(&told, primary);
    }
}

fn timeline(proxy: &Proxy) -> String {
    let output = proxy.command(&["events"]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn quarantined(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status();
    let list = status["failover"]["quarantined"].as_array().unwrap();
    list.iter().map(|one| one["server"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_old_primary_that_comes_back_clean_is_fenced_and_follows() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let proxy = proxy(&cluster, "");
        let load = Load::start(&proxy, 2);
        load.goes_on(20);
        // In order, so that nothing is in its binary log that no replica has.
        cluster.primary().stop();
        let primary = new_primary(&cluster, &proxy);
        load.goes_on(20);
        let old = cluster.primary();
        old.start();
        old.wait_until_ready();
        let back = Instant::now();
        let word = if flavor == Flavor::MySql { "super_read_only" } else { "read_only" };
        wait_for("the old primary to be fenced", || {
            (cell(old, &format!("SELECT @@global.{word}")).as_deref() == Some("1")).then_some(())
        });
        println!("{flavor:?}: fenced {} ms after it answered", back.elapsed().as_millis());
        follows(old);
        println!("{flavor:?}: follows after {} ms", back.elapsed().as_millis());
        wait_for("the end of its quarantine", || quarantined(&proxy).is_empty().then_some(()));
        let told = load.end();
        nothing_lost(&told, primary);
        println!("{}", timeline(&proxy));
        old.wait_for_gtid(&primary.gtid_executed());
        nothing_lost(&told, old);
    }
}

#[test]
fn an_old_primary_with_transactions_of_its_own_serves_nothing() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let proxy = proxy(&cluster, "");
        proxy.client().query("CREATE TABLE app.t (id INT PRIMARY KEY, word VARCHAR(30))");
        let old = cluster.primary();
        old.stop();
        let primary = new_primary(&cluster, &proxy);
        // As a crash leaves it: committed there, and nowhere else.
        let before = primary.value("SELECT COUNT(*) FROM app.t");
        proxy.stop_for(|| {
            old.start();
            old.wait_until_ready();
            let word = if flavor == Flavor::MySql { "source" } else { "master" };
            old.sql(&format!("SET GLOBAL rpl_semi_sync_{word}_enabled = 0"));
            old.sql("INSERT INTO app.t VALUES (666, 'only here')");
        });
        wait_for("the quarantine", || quarantined(&proxy).contains(&old.address()).then_some(()));
        wait_for("the reason", || {
            let status = proxy.status();
            let reason = status["failover"]["quarantined"][0]["reason"].as_str()?.to_owned();
            reason.contains("transactions").then_some(reason)
        });
        wait_for("the fence", || (cell(old, "SELECT @@global.read_only").as_deref() == Some("1")).then_some(()));
        for _ in 0..20 {
            assert_eq!(proxy.client().value("SELECT COUNT(*) FROM app.t"), before);
        }
        let status = proxy.status();
        let shown =
            status["servers"].as_array().unwrap().iter().find(|one| one["address"] == old.address()).unwrap().clone();
        assert_eq!(shown["state"], "unfit", "{shown}");
        what_it_has_is_written_down(old, &proxy);
        // Paused, with the primary gone: it is the only server that accepts writes, and it gets none.
        assert!(proxy.command(&["pause"]).status.success());
        primary.stop();
        old.sql("SET GLOBAL read_only = 0");
        wait_for("writes to wait", || {
            let reason = proxy.status()["cluster"]["reason"].as_str().unwrap_or_default().to_owned();
            reason.contains("the only writable server").then_some(())
        });
    }
}

/// The errant row's events are in a file that the product's own program prints.
fn what_it_has_is_written_down(old: &support::Server, proxy: &Proxy) {
    let folder = proxy.config.parent().unwrap();
    let name = format!("errant-{}", old.address().replace(':', "_"));
    let report = wait_for("the report", || {
        let report = std::fs::read_to_string(folder.join(format!("{name}.txt"))).ok()?;
        report.contains("events").then_some(report)
    });
    println!("{report}");
    let file = folder.join(format!("{name}.binlog"));
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"\xfebin"), "{report}");
    assert!(bytes.windows(9).any(|window| window == b"only here"), "{report}");
    assert!(report.contains("(1 transactions"), "{report}");
    let program = if old.flavor == Flavor::MySql { "mysqlbinlog" } else { "mariadb-binlog" };
    match std::process::Command::new(program).args(["--base64-output=DECODE-ROWS", "-vv"]).arg(&file).output() {
        Ok(printed) if old.flavor == Flavor::MariaDb => {
            let text = String::from_utf8_lossy(&printed.stdout);
            assert!(printed.status.success() && text.contains("only here") && text.contains("COMMIT"), "{printed:?}");
        }
        // The system's program of that name may be MariaDB's.
        other => println!("{program}: {:?}", other.map(|printed| printed.status)),
    }
}

#[test]
fn a_primary_that_hangs_is_replaced_and_takes_no_write_when_it_wakes() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let proxy = proxy(&cluster, "");
        let load = Load::start(&proxy, 4);
        load.goes_on(50);
        let old = cluster.primary();
        let paused = Instant::now();
        old.pause();
        let primary = new_primary(&cluster, &proxy);
        load.goes_on(50);
        println!("{}", timeline(&proxy));
        println!("{flavor:?}: writes go on after {} ms", paused.elapsed().as_millis());
        old.resume();
        wait_for("the old primary to be fenced", || {
            (cell(old, "SELECT @@global.read_only").as_deref() == Some("1")).then_some(())
        });
        load.goes_on(20);
        let told = load.end();
        nothing_lost(&told, primary);
    }
}

#[test]
fn a_planned_switchover_loses_nothing_and_tells_nobody() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let proxy = proxy(&cluster, "");
        let load = Load::start(&proxy, 4);
        load.goes_on(50);
        let to = cluster.replicas()[1].address();
        let rehearsed = proxy.command(&["switchover", "--to", &to, "--dry-run"]);
        assert!(rehearsed.status.success(), "{rehearsed:?}");
        let began = Instant::now();
        let output = proxy.command(&["switchover", "--to", &to]);
        assert!(output.status.success(), "{output:?}\n{}", proxy.log());
        println!("{}", timeline(&proxy));
        println!(
            "{flavor:?}: switched in {} ms: {}",
            began.elapsed().as_millis(),
            String::from_utf8_lossy(&output.stdout)
        );
        assert_eq!(new_primary(&cluster, &proxy).address(), to);
        load.goes_on(50);
        let old = cluster.primary();
        follows(old);
        let told = load.end();
        assert!(told.errors.is_empty(), "{:?}", told.errors);
        nothing_lost(&told, &cluster.replicas()[1]);
    }
}

#[test]
fn the_doctor_finds_what_is_missing_and_auto_waits_for_it() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let (user, password) = accounts::REPLICATION;
        let toml = format!("\n[replication]\nuser = \"{user}\"\npassword = \"{password}\"\n");
        let word = if flavor == Flavor::MySql { "source" } else { "master" };
        cluster.primary().sql(&format!("SET GLOBAL rpl_semi_sync_{word}_enabled = 0"));
        let proxy = Proxy::start(&cluster, &toml);
        let ill = proxy.command(&["doctor", "--format", "json"]);
        assert_eq!(ill.status.code(), Some(1), "{ill:?}");
        let json: serde_json::Value = serde_json::from_slice(&ill.stdout).unwrap();
        let missing: Vec<_> = json["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["weight"] == "must" && check["holds"] == false)
            .collect();
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing[0]["fix"].as_str().unwrap().contains("enabled = 1"), "{missing:?}");
        let status = wait_for("the doctor's word", || {
            let status = proxy.status();
            status["failover"]["mode_reason"].as_str().is_some_and(|why| why.contains("semi_sync")).then_some(status)
        });
        assert_eq!(status["failover"]["mode"], "observe");
        let refused = proxy.command(&["switchover"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("observe"), "{refused:?}");

        cluster.primary().sql(&format!("SET GLOBAL rpl_semi_sync_{word}_enabled = 1"));
        wait_for("auto", || (proxy.status()["failover"]["mode"] == "auto").then_some(()));
        let well = proxy.command(&["doctor"]);
        assert_eq!(well.status.code(), Some(0), "{}", String::from_utf8_lossy(&well.stdout));
    }
}

/// However far a failover was when dbproxy was killed: it is finished after the restart, and some server takes writes.
#[test]
fn a_failover_that_a_crash_of_the_proxy_interrupts_is_finished() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let mut proxy = proxy(&cluster, "");
        proxy.client().query("CREATE TABLE app.t (id INT PRIMARY KEY)");
        // Not before it has begun: what it left must be gone on with.
        cluster.primary().kill9();
        wait_for("the failover to begin", || proxy.log().contains("failover begins").then_some(()));
        proxy.crash_and_restart();
        wait_for("writes to go on", || {
            proxy.connect(accounts::APP).ok()?.try_query("REPLACE INTO app.t VALUES (1)").ok()
        });
        let status = proxy.status();
        assert_eq!(status["failover"]["mode"], "auto", "{status}");
        let writable =
            cluster.replicas().iter().filter(|server| server.value("SELECT @@global.read_only") == "0").count();
        assert_eq!(writable, 1, "{}", timeline(&proxy));
    }
}

#[test]
fn a_switchover_that_a_crash_of_the_proxy_interrupts_leaves_one_server_writable() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let mut proxy = proxy(&cluster, "");
        proxy.client().query("CREATE TABLE app.t (id INT PRIMARY KEY)");
        let candidate = &cluster.replicas()[0];
        let to = candidate.address();
        let config = proxy.config.clone();
        let asking = std::thread::spawn(move || {
            let program = env!("CARGO_BIN_EXE_dbproxy");
            std::process::Command::new(program)
                .args(["switchover", "--config"])
                .arg(config)
                .args(["--to", &to])
                .output()
        });
        wait_for("the old primary to be closed", || {
            proxy.log().contains("making the old primary read-only").then_some(())
        });
        proxy.crash_and_restart();
        let _told_that_it_is_gone = asking.join();
        wait_for("writes to go on", || {
            proxy.connect(accounts::APP).ok()?.try_query("REPLACE INTO app.t VALUES (1)").ok()
        });
        let open = |server: &support::Server| cell(server, "SELECT @@global.read_only").as_deref() == Some("0");
        wait_for("one writable server", || {
            (cluster.servers.iter().filter(|server| open(server)).count() == 1).then_some(())
        });
    }
}

/// An operator's program that says no while there is a file `no` beside it.
fn hook(dir: &std::path::Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let hook = dir.join("before");
    let script =
        "#!/bin/sh\ncat >> \"$0.told\"\nif [ -e \"${0%/*}/no\" ]; then echo 'not on a Friday' >&2; exit 3; fi\n";
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    hook
}

#[test]
fn a_hook_calls_a_switchover_off_before_anything_is_touched() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let (hook, no) = (hook(&cluster.dir), cluster.dir.join("no"));
        let proxy = proxy(&cluster, &format!("\n[hooks]\nbefore = {hook:?}\n"));
        let load = Load::start(&proxy, 2);
        load.goes_on(20);
        std::fs::write(&no, "").unwrap();
        let refused = proxy.command(&["switchover"]);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        println!("{flavor:?}: {why}");
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(why.contains("cancelled") && why.contains("not on a Friday"), "{why}");
        let status = proxy.status();
        assert_eq!(status["cluster"]["primary"], cluster.primary().address());
        assert_eq!((&status["failover"]["epoch"], &status["failover"]["state"]), (&1.into(), &"healthy".into()));
        load.goes_on(20);
        std::fs::remove_file(&no).unwrap();
        let output = proxy.command(&["switchover", "--to", &cluster.replicas()[0].address()]);
        assert!(output.status.success(), "{output:?}\n{}", proxy.log());
        let told = std::fs::read_to_string(cluster.dir.join("before.told")).unwrap();
        assert_eq!(told.matches("\"kind\":\"started\"").count(), 2, "asked each time: {told}");
        load.goes_on(20);
        let told = load.end();
        assert!(told.errors.is_empty(), "{:?}", told.errors);
        nothing_lost(&told, &cluster.replicas()[0]);
    }
}

#[test]
fn a_hook_stops_a_failover_only_where_it_may() {
    for blocks in [false, true] {
        let flavor = flavors()[0];
        let cluster = cluster(flavor);
        let (hook, no) = (hook(&cluster.dir), cluster.dir.join("no"));
        let lines = format!("\n[hooks]\nbefore = {hook:?}\nbefore_blocks_failover = {blocks}\n");
        let proxy = proxy(&cluster, &lines);
        std::fs::write(&no, "").unwrap();
        cluster.primary().kill9();
        if blocks {
            let hold =
                wait_for("the failover to be held", || proxy.status()["failover"]["hold"].as_str().map(str::to_owned));
            assert!(hold.contains("hooks.before"), "{hold}");
            std::thread::sleep(Duration::from_secs(3));
            assert_eq!(proxy.status()["failover"]["epoch"], 1, "{}", timeline(&proxy));
            assert!(timeline(&proxy).contains("not on a Friday"), "{}", timeline(&proxy));
            std::fs::remove_file(&no).unwrap();
            let acknowledged = proxy.command(&["acknowledge"]);
            assert!(acknowledged.status.success(), "{acknowledged:?}");
        }
        new_primary(&cluster, &proxy);
    }
}
