//! The harness itself: clusters come up, replicate, and leave nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![cfg(feature = "shell")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Client, Cluster, Flavor, Install, Login, Options, Server, accounts, flavors, wait_for};

/// A cluster, or `None` (said on standard error) when the machine has no such server.
fn cluster(flavor: Flavor) -> Option<Cluster> {
    flavors().contains(&flavor).then(|| Cluster::start(flavor, Options::default()))
}

fn replicates(flavor: Flavor) {
    let Some(cluster) = cluster(flavor) else { return };
    let version = cluster.primary().value("SELECT VERSION()");
    println!("{version}: primary and two replicas up in {} ms", cluster.started_in.as_millis());
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY)");
    cluster.primary().sql("INSERT INTO app.t VALUES (1), (2)");
    cluster.wait_for_replicas();
    for replica in cluster.replicas() {
        assert_eq!(replica.value("SELECT COUNT(*) FROM app.t"), "2");
    }
}

#[test]
fn a_mysql_cluster_replicates() {
    replicates(Flavor::MySql);
}

#[test]
fn a_mariadb_cluster_replicates() {
    replicates(Flavor::MariaDb);
}

/// Otherwise a write that a proxy sends astray would pass unseen.
fn replicas_refuse_the_application(flavor: Flavor) {
    let Some(cluster) = cluster(flavor) else { return };
    for replica in cluster.replicas() {
        let mut app = replica.connect(accounts::APP).expect("the application may log in");
        assert_eq!(app.try_query("CREATE TABLE app.astray (id INT)").expect_err("a replica is read-only").code, 1290);
    }
}

#[test]
fn a_mysql_replica_refuses_writes_of_the_application() {
    replicas_refuse_the_application(Flavor::MySql);
}

#[test]
fn a_mariadb_replica_refuses_writes_of_the_application() {
    replicas_refuse_the_application(Flavor::MariaDb);
}

/// With verification on, so a wrong authority or name would fail the login.
fn speaks_tls(flavor: Flavor) {
    let Some(cluster) = cluster(flavor) else { return };
    let (user, password) = accounts::APP;
    let login = Login { tls_ca: Some(cluster.ca()), ..Login::new(cluster.primary().port, user, password) };
    let mut client = Client::connect(&login).expect("the certificate is of that authority");
    let cipher = client.query("SHOW STATUS LIKE 'Ssl_cipher'")[0][1].clone();
    assert_ne!(cipher, Some(String::new()), "not encrypted");
}

#[test]
fn a_mysql_server_has_a_certificate_that_verifies() {
    speaks_tls(Flavor::MySql);
}

#[test]
fn a_mariadb_server_has_a_certificate_that_verifies() {
    speaks_tls(Flavor::MariaDb);
}

#[test]
fn mariadb_has_an_ed25519_account() {
    let Some(cluster) = cluster(Flavor::MariaDb) else { return };
    // The driver cuts a last zero byte off the nonce: one login in 256 is refused.
    let login = || cluster.replicas()[0].connect(accounts::APP_ED25519);
    let mut client = login().or_else(|_| login()).expect("login by client_ed25519");
    assert_eq!(client.value("SELECT CURRENT_USER()"), "app_ed25519@%");
    assert!(cluster.primary().connect((accounts::APP_ED25519.0, "wrong")).is_err());
}

fn survives_a_kill(flavor: Flavor) {
    let Some(cluster) = cluster(flavor) else { return };
    let primary = cluster.primary();
    primary.sql("CREATE TABLE app.t (id INT PRIMARY KEY)");
    primary.sql("INSERT INTO app.t VALUES (1)");
    primary.kill9();
    assert!(primary.try_sql("SELECT 1").is_err(), "a killed server answers");
    primary.restart();
    assert_eq!(primary.value("SELECT COUNT(*) FROM app.t"), "1");
    primary.sql("INSERT INTO app.t VALUES (2)");
    cluster.wait_for_replicas();
}

#[test]
fn a_killed_mysql_primary_comes_back_with_its_rows() {
    survives_a_kill(Flavor::MySql);
}

#[test]
fn a_killed_mariadb_primary_comes_back_with_its_rows() {
    survives_a_kill(Flavor::MariaDb);
}

fn moves_the_writes(flavor: Flavor) {
    let Some(cluster) = cluster(flavor) else { return };
    cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY)");
    cluster.switch_primary(0, 1);
    cluster.servers[1].sql("INSERT INTO app.t VALUES (1)");
    cluster.switch_primary(1, 0);
    cluster.servers[0].sql("INSERT INTO app.t VALUES (2)");
    cluster.wait_for_replicas();
    for server in &cluster.servers {
        assert_eq!(server.value("SELECT COUNT(*) FROM app.t"), "2", "server {}", server.id);
    }
}

#[test]
fn writes_move_to_another_mysql_server_and_back() {
    moves_the_writes(Flavor::MySql);
}

#[test]
fn writes_move_to_another_mariadb_server_and_back() {
    moves_the_writes(Flavor::MariaDb);
}

/// The product that starts fastest of those there are.
fn any_flavor() -> Flavor {
    *flavors().last().expect("flavors() answers at least one")
}

fn runs(pid: u32) -> bool {
    // A zombie has ended: only its parent has not asked yet.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(status.rsplit(')').next().and_then(|rest| rest.trim().chars().next()), None | Some('Z' | 'X'))
}

fn pids(cluster: &Cluster) -> Vec<u32> {
    cluster.servers.iter().filter_map(Server::pid).collect()
}

#[test]
fn a_dropped_cluster_leaves_no_process_and_no_file() {
    let cluster = Cluster::start(any_flavor(), Options::default());
    let (pids, dir) = (pids(&cluster), cluster.dir.clone());
    assert_eq!(pids.iter().filter(|pid| runs(**pid)).count(), 3);
    drop(cluster);
    assert!(!pids.into_iter().any(runs), "a server runs on");
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn a_panicking_test_leaves_its_logs_only() {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let test = std::thread::Builder::new().name("panics_on_purpose".to_owned());
    let test = test.spawn(move || {
        let cluster = Cluster::start(any_flavor(), Options::default());
        tell.send((pids(&cluster), cluster.dir.clone())).expect("the test waits for this");
        panic!("on purpose");
    });
    let (pids, dir) = told.recv().expect("the cluster started");
    assert!(test.expect("a thread").join().is_err(), "the thread was to panic");
    assert!(!pids.into_iter().any(runs), "a server runs on");
    assert!(!dir.exists(), "{} is left", dir.display());
}

/// The other half of the next test: it starts a cluster, tells about it, and waits for its end.
#[test]
#[ignore = "run by a_killed_test_leaves_no_process_and_no_file"]
fn waits_to_be_killed() {
    let cluster = Cluster::start(any_flavor(), Options::default());
    println!("\npids {:?} dir {}", pids(&cluster), cluster.dir.display());
    // Longer than the killer needs, and not for ever, should nobody come.
    // Not parked: a token left by a channel's wake-up would end that at once.
    std::thread::sleep(support::PATIENCE);
}

#[test]
fn a_killed_test_leaves_no_process_and_no_file() {
    let mut test = Command::new(std::env::current_exe().expect("this test binary"));
    test.args(["--exact", "waits_to_be_killed", "--ignored", "--nocapture"]);
    let mut test = test.stdout(Stdio::piped()).spawn().expect("this test binary runs");
    let output = BufReader::new(test.stdout.take().expect("a pipe"));
    let told = output.lines().map_while(Result::ok).find(|line| line.starts_with("pids "));
    let (pids, dir) = parse(&told.expect("the cluster started"));
    assert!(pids.iter().all(|pid| runs(*pid)) && dir.exists(), "it runs before the kill");
    test.kill().expect("a child of ours");
    test.wait().expect("a child of ours");
    wait_for("the servers' end", || (!pids.iter().any(|pid| runs(*pid))).then_some(()));
    wait_for("the directory's end", || (!dir.exists()).then_some(()));
}

/// `pids [1, 2, 3] dir /path`
fn parse(told: &str) -> (Vec<u32>, PathBuf) {
    let (pids, dir) = told.split_once("] dir ").expect("as printed");
    let pids = pids.trim_start_matches("pids [").split(", ").map(|pid| pid.parse().expect("a number")).collect();
    (pids, Path::new(dir).to_owned())
}

#[test]
fn reserved_ports_are_different_ones() {
    let (first, second) = (support::Ports::reserve(5), support::Ports::reserve(5));
    let mut all = [first.numbers(), second.numbers()].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10);
}

#[test]
fn an_install_names_its_version() {
    for flavor in flavors() {
        let version = &Install::find(flavor).expect("it is among the flavors").version;
        assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{version}");
    }
}
