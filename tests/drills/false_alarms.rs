//! What looks like a lost primary to somebody, and is none: nobody may be promoted. And, beside it, the one that is.

use super::scene::{Scene, Setup, measured};
use super::support::{Flavor, Options, Relay, Server, Way, Weather, accounts, flavors, scratch_dir, wait_for};
use rustix::process::Signal;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Longer than the loss of a primary takes to be acted on.
const LONG: Duration = Duration::from_secs(8);

fn with_network(name: &str, failover: &str) -> Scene {
    let options = Options { semi_sync: true, namespaces: true, ..Options::default() };
    Scene::open(name, Flavor::MySql, Setup { options, failover: failover.to_owned(), ..Setup::default() })
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_02_a_primary_that_nobody_can_reach_is_replaced() {
    measured("02", Flavor::MySql, || {
        let scene = with_network("02", "");
        let old = scene.cluster.primary();
        scene.note("no packet from or to the primary");
        scene.cluster.network().isolate(0);
        scene.primary_after(old);
        scene.goes_on(100);
        scene.note("healed");
        scene.cluster.network().heal();
        scene.fenced(old);
        scene.goes_on(50);
        // It could write all the time, and nobody could have heard of it.
        scene.end(&[1, 2], Some(Duration::from_secs(60)))
    });
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_21_a_primary_that_only_the_proxy_cannot_reach_stays() {
    let scene = with_network("21", "");
    scene.note("no packet between the proxy and the primary");
    scene.cluster.network().cut_proxy(0);
    scene.problem("primary_unreachable");
    scene.no_failover_for(LONG);
    scene.note("healed");
    scene.cluster.network().heal();
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_22_a_proxy_that_reaches_nobody_blames_itself() {
    let scene = with_network("22", "");
    scene.note("no packet between the proxy and any server");
    for server in 0..3 {
        scene.cluster.network().cut_proxy(server);
    }
    scene.no_failover_for(LONG);
    scene.note("healed");
    scene.cluster.network().heal();
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_23_a_primary_that_its_replicas_cannot_reach_stays() {
    let scene = with_network("23", "write_stalled_ms = 2000");
    scene.note("no packet between the primary and its replicas");
    scene.cluster.network().cut_servers(0, 1);
    scene.cluster.network().cut_servers(0, 2);
    scene.problem("writes_wait_for_ackers");
    scene.no_failover_for(LONG);
    scene.note("healed");
    scene.cluster.network().heal();
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_25_a_primary_whose_packets_get_lost_one_way_stays() {
    let scene = with_network("25", "");
    scene.note("no packet from the primary to its replicas");
    scene.cluster.network().cut_one_way(0, 1);
    scene.cluster.network().cut_one_way(0, 2);
    scene.no_failover_for(LONG);
    scene.note("healed");
    scene.cluster.network().heal();
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_26_a_primary_without_a_free_connection_stays() {
    let options = Options { semi_sync: true, max_connections: 40, ..Options::default() };
    let scene = Scene::open("26", Flavor::MySql, Setup { options, ..Setup::default() });
    let primary = scene.cluster.primary();
    let mut crowd = Vec::new();
    while let Ok(client) = primary.connect(accounts::APP) {
        crowd.push(client);
        assert!(crowd.len() < 200, "max_connections is not in force");
    }
    scene.note(format!("{} direct connections, and no more", crowd.len()));
    scene.no_failover_for(LONG);
    drop(crowd);
    scene.note("they are gone");
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_27_a_primary_whose_writes_are_locked_stays() {
    let scene = Scene::open("27", Flavor::MySql, Setup::failover("write_stalled_ms = 2000"));
    let primary = scene.cluster.primary();
    scene.note("FLUSH TABLES WITH READ LOCK");
    primary.sql("FLUSH TABLES WITH READ LOCK");
    scene.problem("writes_locked");
    scene.no_failover_for(LONG);
    primary.sql("UNLOCK TABLES");
    scene.note("UNLOCK TABLES");
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_28_a_proxy_that_was_held_up_blames_itself() {
    let scene = Scene::open("28", Flavor::MySql, Setup::default());
    for time in 1..=3 {
        scene.note(format!("SIGSTOP of the proxy for 4 s, time {time}"));
        scene.proxy.signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(4));
        scene.proxy.signal(Signal::CONT);
        scene.no_failover_for(Duration::from_secs(3));
        scene.goes_on(30);
    }
    assert_eq!(scene.epoch(), 1);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_29_a_primary_that_does_not_let_the_monitor_in_stays() {
    let scene = Scene::open("29", Flavor::MySql, Setup::default());
    let (primary, (monitor, password)) = (scene.cluster.primary(), accounts::MONITOR);
    scene.note("another password for the monitor, and its connections are killed");
    primary.sql(&format!("ALTER USER '{monitor}'@'%' IDENTIFIED BY 'another'"));
    for server in &scene.cluster.servers {
        kill_connections(server, monitor);
    }
    scene.problem("monitor_turned_away");
    scene.no_failover_for(LONG);
    scene.note("the old password again");
    primary.sql(&format!("ALTER USER '{monitor}'@'%' IDENTIFIED BY '{password}'"));
    wait_for("the monitor to be let in", || (scene.failover()["problem"] == "none").then_some(()));
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

fn kill_connections(server: &Server, user: &str) {
    let rows = server.sql(&format!("SELECT id FROM information_schema.processlist WHERE user = '{user}'"));
    for id in rows.iter().filter_map(|row| row[0].as_deref()) {
        let _gone = server.try_sql(&format!("KILL {id}"));
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_30_a_primary_that_lost_its_replicas_stays_and_goes_on_waiting_for_them() {
    for flavor in flavors() {
        let scene = Scene::open("30", flavor, Setup::default());
        scene.note("kill -9 of both replicas");
        for replica in scene.cluster.replicas() {
            replica.kill9();
        }
        scene.stands_still(Duration::from_secs(1));
        scene.no_failover_for(LONG);
        let word = if flavor == Flavor::MySql { "source" } else { "master" };
        let on = scene.cluster.primary().value(&format!("SELECT @@global.rpl_semi_sync_{word}_enabled"));
        assert_eq!(on, "1", "nobody may switch the waiting off");
        scene.note("they are started again");
        for replica in scene.cluster.replicas() {
            replica.start();
            replica.wait_until_ready();
        }
        scene.goes_on(50);
        scene.end(&[0, 1, 2], None);
    }
}

/// A disk of its own, with little room, under a server's data.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Moves the server's data there; it is restarted.
    fn under(server: &Server) -> Self {
        let (data, disk) = (server.dir.join("data"), scratch_dir("small-disk"));
        server.stop();
        let script = "set -e; mb=$(du -sm \"$1\" | cut -f1); mount -t tmpfs -o size=$((mb + 100))m small \"$2\"; \
                      cp -a \"$1\" \"$2/data\"; rm -r \"$1\"; ln -s \"$2/data\" \"$1\"";
        let moved = Command::new("sh").args(["-c", script, "sh"]).arg(&data).arg(&disk).status().expect("sh");
        assert!(moved.success(), "the data could not be moved to a small disk");
        server.start();
        server.wait_until_ready();
        Self(disk)
    }

    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).expect("a file");
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it was written");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
#[ignore = "takes minutes, wants root: make drills"]
fn drill_37_a_full_disk_is_named_and_no_lost_primary() {
    let scene = Scene::open("37", Flavor::MySql, Setup::failover("write_stalled_ms = 2000"));
    let small = &scene.cluster.replicas()[0];
    let disk = SmallDisk::under(small);
    scene.whole();
    scene.note("the disk of a replica is full");
    disk.fill();
    scene.goes_on(300);
    scene.refused(&["switchover", "--to", &small.address()]);
    scene.no_failover_for(LONG);
    scene.note("it has room again");
    disk.make_room();
    // It looks for room once a minute, and then has to catch up.
    std::thread::sleep(Duration::from_secs(60));
    scene.whole();
    wait_for("the replica to be a candidate again", || {
        scene.proxy.command(&["switchover", "--dry-run", "--to", &small.address()]).status.success().then_some(())
    });
    scene.command(&["switchover", "--to", &small.address()]);
    scene.whole();
    scene.goes_on(50);
    scene.note("the disk of the primary is full");
    disk.fill();
    scene.problem("disk_full");
    scene.no_failover_for(LONG);
    scene.note("it has room again");
    disk.make_room();
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

/// With a relay between the proxy and the primary that is in the way of every connection.
fn with_relay(name: &str) -> (Scene, Relay) {
    let scene = with_network(name, "");
    let primary = scene.cluster.primary();
    let relay = scene.cluster.network().relay(None, 0, primary.port);
    // What was connected before goes past the relay.
    for (user, _) in [accounts::APP, accounts::MONITOR] {
        kill_connections(primary, user);
    }
    scene.note("from now on a relay is between the proxy and the primary");
    scene.goes_on(50);
    (scene, relay)
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_relay_connections_that_are_reset_are_no_lost_primary() {
    let (scene, relay) = with_relay("relay-reset");
    for time in 1..=5 {
        scene.note(format!("all connections to the primary are reset, time {time}"));
        relay.set(Weather::Reset);
        std::thread::sleep(Duration::from_millis(200));
        relay.set(Weather::Fair);
        scene.no_failover_for(Duration::from_secs(2));
        scene.goes_on(30);
    }
    assert_eq!(scene.epoch(), 1);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_relay_connections_that_hang_half_open_are_no_lost_primary() {
    let (scene, relay) = with_relay("relay-half-open");
    scene.note("connections to the primary are half-open, new ones are accepted and hear nothing");
    relay.set(Weather::HalfOpen);
    scene.no_failover_for(LONG);
    scene.note("whoever stood in the way resets what it broke, and then passes on");
    relay.set(Weather::Reset);
    std::thread::sleep(Duration::from_millis(100));
    relay.set(Weather::Fair);
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_relay_answers_that_get_lost_are_no_lost_primary() {
    let (scene, relay) = with_relay("relay-one-way");
    scene.note("what the primary says to the proxy gets lost, what it is told arrives");
    relay.set(Weather::Silent(Way::ToClient));
    scene.no_failover_for(LONG);
    scene.note("fair weather");
    relay.set(Weather::Fair);
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_relay_a_slow_network_is_no_lost_primary() {
    let (scene, relay) = with_relay("relay-slow");
    scene.note("the primary's answers take 2 x 300 ms longer");
    relay.set(Weather::Slow(Duration::from_millis(300)));
    scene.no_failover_for(LONG);
    scene.goes_on(20);
    relay.set(Weather::Fair);
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute, wants root: make drills"]
fn drill_relay_replicas_on_a_slow_network_do_not_take_anybody_back_in_time() {
    let scene = with_network("relay-slow-replicas", "");
    let port = scene.cluster.primary().port;
    let relays: Vec<Relay> = [1, 2].map(|replica| scene.cluster.network().relay(Some(replica), 0, port)).into();
    for replica in scene.cluster.replicas() {
        replica.sql("STOP REPLICA IO_THREAD");
        replica.sql("START REPLICA IO_THREAD");
    }
    scene.goes_on(30);
    scene.note("one replica hears of everything 400 ms late, then the other");
    for relay in relays.iter().chain(&relays) {
        relay.set(Weather::Slow(Duration::from_millis(400)));
        scene.no_failover_for(Duration::from_secs(3));
        relay.set(Weather::Fair);
        scene.goes_on(30);
    }
    scene.end(&[0, 1, 2], None);
}
