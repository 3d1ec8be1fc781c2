//! What is rarely done: replication that waits for nobody with a fence of the operator's, a server rebuilt by command, two
//! dbproxies on one folder, a full disk.

use super::support::{self, Cluster, Flavor, Proxy, accounts, flavors, wait_for, wait_within};
use super::{Load, cell, cluster, follows, new_primary, proxy, quarantined, timeline};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Replication that waits for nobody.
fn asynchronous(flavor: Flavor) -> Cluster {
    let cluster = cluster(flavor);
    let word = if flavor == Flavor::MySql { "source" } else { "master" };
    cluster.primary().sql(&format!("SET GLOBAL rpl_semi_sync_{word}_enabled = 0"));
    cluster
}

/// A program that keeps what it is told in `told`, and does something.
fn hook(cluster: &Cluster, work: &str) -> (PathBuf, PathBuf) {
    let (program, told) = (cluster.dir.join("fence.sh"), cluster.dir.join("told"));
    std::fs::write(&program, format!("#!/bin/sh\ncat >>{}\n{work}\n", told.display())).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (program, told)
}

fn with_fence(cluster: &Cluster, program: &std::path::Path) -> Proxy {
    proxy(cluster, &format!("durability = \"async\"\n\n[hooks]\nfence = {program:?}\n"))
}

#[test]
fn where_nobody_acknowledges_the_operator_s_fence_ends_a_primary_that_hangs() {
    for flavor in flavors() {
        let cluster = asynchronous(flavor);
        let old = cluster.primary();
        let (program, told) = hook(&cluster, &format!("kill -9 $(cat {}/pid)", old.dir.display()));
        let proxy = with_fence(&cluster, &program);
        let load = Load::start(&proxy, 4);
        load.goes_on(50);
        old.pause();
        let primary = new_primary(&cluster, &proxy);
        load.goes_on(50);
        let words = std::fs::read_to_string(&told).unwrap();
        println!("{flavor:?}: {words}\n{}", timeline(&proxy));
        let first: serde_json::Value = serde_json::Deserializer::from_str(&words).into_iter().next().unwrap().unwrap();
        assert_eq!((&first["action"], &first["server"]), (&"fence".into(), &old.address().into()));
        let state = std::fs::read_to_string(format!("/proc/{}/stat", old.pid().unwrap())).unwrap();
        assert_eq!(state.rsplit_once(") ").unwrap().1.split(' ').next(), Some("Z"), "the old primary is dead");
        let told = load.end();
        let rows = primary.sql("SELECT id FROM app.load_rows");
        let found: BTreeSet<u64> = rows.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
        assert!(found.is_subset(&told.attempted));
        println!(
            "{flavor:?}: acknowledged {}, lost {}, longest pause {} ms",
            told.acknowledged.len(),
            told.acknowledged.difference(&found).count(),
            told.longest_pause.as_millis()
        );
    }
}

#[test]
fn where_nobody_acknowledges_nobody_is_promoted_without_a_fence_that_holds() {
    for flavor in flavors() {
        let cluster = asynchronous(flavor);
        let old = cluster.primary();
        let (program, told) = hook(&cluster, "echo no power switch >&2; exit 3");
        let proxy = with_fence(&cluster, &program);
        let load = Load::start(&proxy, 2);
        load.goes_on(20);
        old.pause();
        let status = wait_for("it to be blocked", || {
            let status = proxy.status();
            (status["failover"]["state"] == "blocked").then_some(status)
        });
        let detail = status["failover"]["detail"].as_str().unwrap();
        assert!(detail.contains("no power switch"), "{detail}");
        println!("{flavor:?}: {detail}");
        wait_for("the fence to be tried again", || {
            (std::fs::read_to_string(&told).unwrap().matches("\"action\"").count() >= 2).then_some(())
        });
        for replica in cluster.replicas() {
            assert_eq!(replica.value("SELECT @@global.read_only"), "1", "{}", timeline(&proxy));
        }
        old.resume();
        load.goes_on(20);
        println!("{flavor:?}: {}", timeline(&proxy));
        load.end();
        let open = |server: &support::Server| cell(server, "SELECT @@global.read_only").as_deref() == Some("0");
        wait_for("one writable server", || {
            (cluster.servers.iter().filter(|server| open(server)).count() == 1).then_some(())
        });
    }
}

#[test]
fn more_than_the_operator_allows_is_lost_by_force_alone() {
    for flavor in flavors() {
        let cluster = asynchronous(flavor);
        let (program, _told) = hook(&cluster, "exit 0");
        let proxy =
            proxy(&cluster, &format!("durability = \"async\"\nloss_limit_ms = 1000\n\n[hooks]\nfence = {program:?}\n"));
        let load = Load::start(&proxy, 2);
        load.goes_on(20);
        let thread = if flavor == Flavor::MySql { "REPLICA" } else { "SLAVE" };
        for replica in cluster.replicas() {
            replica.sql(&format!("STOP {thread} IO_THREAD"));
        }
        std::thread::sleep(std::time::Duration::from_secs(3));
        cluster.primary().kill9();
        let status = wait_for("it to be blocked", || {
            let status = proxy.status();
            (status["failover"]["state"] == "blocked").then_some(status)
        });
        let detail = status["failover"]["detail"].as_str().unwrap();
        println!("{flavor:?}: {detail}");
        assert!(detail.contains("ms"), "{detail}");
        for replica in cluster.replicas() {
            assert_eq!(replica.value("SELECT @@global.read_only"), "1", "{}", timeline(&proxy));
        }
        let forced = proxy.command(&["failover", "--force"]);
        assert!(forced.status.success(), "{forced:?}\n{}", timeline(&proxy));
        let primary = new_primary(&cluster, &proxy);
        load.goes_on(20);
        let told = load.end();
        let rows = primary.sql("SELECT id FROM app.load_rows");
        let found: BTreeSet<u64> = rows.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
        assert!(found.is_subset(&told.attempted));
        let lost = told.acknowledged.difference(&found).count();
        println!("{flavor:?}: acknowledged {}, lost {lost}", told.acknowledged.len());
        assert!(lost > 0, "nothing was written while nobody received");
    }
}

#[test]
fn a_server_with_transactions_of_its_own_is_rebuilt_by_command() {
    for flavor in flavors().into_iter().filter(|flavor| *flavor == Flavor::MySql) {
        let cluster = cluster(flavor);
        let proxy = proxy(&cluster, "");
        proxy.client().query("CREATE TABLE app.t (id INT PRIMARY KEY)");
        let old = cluster.primary();
        old.stop();
        old.set_option("super_read_only=ON");
        let primary = new_primary(&cluster, &proxy);
        proxy.stop_for(|| {
            old.start();
            old.wait_until_ready();
            old.sql("SET GLOBAL super_read_only = 0");
            old.sql("SET GLOBAL rpl_semi_sync_source_enabled = 0");
            old.sql("INSERT INTO app.t VALUES (666)");
        });
        wait_for("the reason of its quarantine", || {
            let status = proxy.status();
            status["failover"]["quarantined"][0]["reason"].as_str()?.contains("transactions").then_some(())
        });
        let refused = proxy.command(&["rejoin", &old.address()]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        proxy.client().query("INSERT INTO app.t VALUES (1)");
        let output = std::thread::scope(|scope| {
            // The server ends itself when it has the copy: here nobody but us starts it again.
            let starter = scope.spawn(|| {
                old.wait_for_end();
                old.start();
            });
            let output = proxy.command(&["rejoin", &old.address(), "--clone"]);
            println!("{output:?}\n{}", timeline(&proxy));
            starter.join().unwrap();
            output
        });
        assert!(output.status.success(), "{output:?}\n{}", proxy.log());
        follows(old);
        wait_for("the end of its quarantine", || quarantined(&proxy).is_empty().then_some(()));
        old.wait_for_gtid(&primary.gtid_executed());
        assert_eq!(old.value("SELECT GROUP_CONCAT(id) FROM app.t"), "1");
        assert_eq!(old.value("SELECT @@global.super_read_only"), "1");
    }
}

#[test]
fn of_two_on_one_folder_the_second_acts_only_when_the_first_is_gone() {
    for flavor in flavors() {
        let cluster = cluster(flavor);
        let folder = cluster.dir.join("shared");
        let (user, password) = accounts::REPLICATION;
        let edit = |config: String| {
            format!(
                "data_dir = {folder:?}\n{config}\n[replication]\nuser = \"{user}\"\npassword = \"{password}\"\n\n\
                 [failover]\nloop_lag_limit_ms = 2000\nstep_timeout_ms = 10000\n"
            )
        };
        let first = Proxy::start_edited(&cluster.addresses(), edit);
        wait_for("the first to be ready", || {
            let failover = &first.status()["failover"];
            (failover["mode"] == "auto" && failover["state"] == "healthy" && failover["epoch"] == 1).then_some(())
        });
        let second = Proxy::start_edited(&cluster.addresses(), edit);
        let failover = second.status()["failover"].clone();
        println!("{flavor:?}: {failover}");
        assert_eq!(failover["mode"], "observe", "{failover}");
        let refused = second.command(&["switchover"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");

        let load = Load::start(&second, 2);
        load.goes_on(20);
        wait_for("a switchover", || first.command(&["switchover"]).status.success().then_some(()));
        let primary = new_primary(&cluster, &first);
        load.goes_on(50);
        assert_eq!(second.status()["cluster"]["primary"], primary.address());
        // The doctor has said by now that the cluster is fit; the first acts all the same.
        let failover = second.status()["failover"].clone();
        assert_eq!(failover["mode"], "observe", "{failover}");
        assert!(failover["mode_reason"].as_str().unwrap().contains("another dbproxy"), "{failover}");
        wait_for("all of them to count", || {
            let failover = first.status()["failover"].clone();
            (failover["problem"] == "none" && failover["state"] == "healthy").then_some(())
        });
        follows(cluster.primary());

        // When the first has gone without a word, the other goes on where it ended.
        first.signal(rustix::process::Signal::KILL);
        primary.kill9();
        // A MySQL applier that holds half of a transaction stops only after 60 s, and a server that is fenced waits for it.
        let next = wait_within(Duration::from_secs(150), "a third primary", || {
            let address = second.status()["cluster"]["primary"].as_str()?.to_owned();
            (address != primary.address()).then(|| cluster.servers.iter().find(|server| server.address() == address))?
        });
        load.goes_on(50);
        let failover = second.status()["failover"].clone();
        assert_eq!((&failover["mode"], &failover["mode_reason"]), (&"auto".into(), &serde_json::Value::Null));
        assert_eq!(failover["epoch"], 3, "{failover}");
        super::nothing_lost(&load.end(), next);
    }
}

/// A file system of its own, so small that it can be filled.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&at).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Self(at)
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("ballast")).unwrap();
        let full = (0..100_000).find_map(|_| file.write_all(&[0; 64]).err());
        assert_eq!(full.unwrap().kind(), std::io::ErrorKind::StorageFull);
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _left_mounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn without_room_for_its_journal_the_proxy_serves_and_decides_nothing_until_there_is() {
    let flavor = flavors()[0];
    let cluster = cluster(flavor);
    let disk = SmallDisk::mount(cluster.dir.join("small"));
    let (user, password) = accounts::REPLICATION;
    let proxy = Proxy::start_edited(&cluster.addresses(), |config| {
        format!(
            "data_dir = {:?}\n{config}\n[replication]\nuser = \"{user}\"\npassword = \"{password}\"\n\n[failover]\nloop_lag_limit_ms = 2000\n",
            disk.0
        )
    });
    let ready = |epoch: u64| {
        wait_for("the failover to be ready", || {
            let failover = &proxy.status()["failover"];
            (failover["mode"] == "auto" && failover["state"] == "healthy" && failover["epoch"] == epoch).then_some(())
        });
        wait_for("a switchover to be possible", || {
            proxy.command(&["switchover", "--dry-run"]).status.success().then_some(())
        });
    };
    ready(1);
    let load = Load::start(&proxy, 2);
    load.goes_on(20);
    disk.fill();
    let refused = proxy.command(&["switchover"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the journal can't be written"), "{refused:?}");
    let failover = proxy.status()["failover"].clone();
    assert_eq!(failover["mode"], "observe", "{failover}");
    assert!(failover["mode_reason"].as_str().unwrap().contains("No space left"), "{failover}");
    // Clients need no decision.
    load.goes_on(100);
    assert_eq!(proxy.status()["cluster"]["primary"], cluster.primary().address());
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(proxy.status()["failover"]["mode"], "observe");

    disk.empty();
    ready(1);
    cluster.primary().kill9();
    let next = new_primary(&cluster, &proxy);
    load.goes_on(50);
    assert_eq!(proxy.status()["failover"]["epoch"], 2);
    super::nothing_lost(&load.end(), next);
}

#[test]
fn a_disk_that_hangs_stops_neither_clients_nor_probes() {
    let flavor = flavors()[0];
    let cluster = cluster(flavor);
    let folder = cluster.dir.join("data");
    std::fs::create_dir(&folder).unwrap();
    // Whoever opens it waits until somebody opens the other end.
    let (journal, other_end) = (folder.join("failover-main.journal"), folder.join("other-end"));
    assert!(Command::new("mkfifo").arg(&journal).status().unwrap().success());
    std::fs::hard_link(&journal, &other_end).unwrap();
    let (user, password) = accounts::REPLICATION;
    let proxy = Proxy::start_edited(&cluster.addresses(), |config| {
        format!(
            "data_dir = {folder:?}\n{config}\n[replication]\nuser = \"{user}\"\npassword = \"{password}\"\n\n\
             [failover]\nloop_lag_limit_ms = 2000\n"
        )
    });
    let reason = || proxy.status()["failover"]["mode_reason"].as_str().unwrap_or_default().to_owned();
    let mut client = proxy.client();
    client.query("CREATE TABLE app.hung (a INT)");
    client.query("INSERT INTO app.hung VALUES (1)");
    assert_eq!(proxy.status()["failover"]["mode"], "observe");
    assert!(reason().contains("can't be opened"), "{}", reason());
    let replica = &cluster.replicas()[0];
    replica.stop();
    let state = || {
        let status = proxy.status();
        let servers = status["servers"].as_array().unwrap().clone();
        let server = servers.into_iter().find(|server| server["address"] == replica.address().as_str());
        server.unwrap()["state"].clone()
    };
    wait_for("the probes to see that a replica is down", || (state() == "down").then_some(()));
    replica.start();
    wait_for("the probes to see that it is up", || (state() == "up").then_some(()));
    client.query("INSERT INTO app.hung VALUES (2)");

    // The disk answers again.
    std::fs::remove_file(&journal).unwrap();
    drop(std::fs::OpenOptions::new().write(true).open(&other_end).unwrap());
    wait_for("the journal to be taken over", || {
        (proxy.status()["failover"]["mode"] == "auto" && journal.metadata().is_ok_and(|file| file.len() > 0))
            .then_some(())
    });
    client.query("INSERT INTO app.hung VALUES (3)");
}
