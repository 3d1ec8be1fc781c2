//! The primary is lost, one way or the other.

use super::scene::{Scene, Setup, measured};
use super::support::{Flavor, Options, Server, flavors, wait_for};
use std::time::Duration;

/// How long an old primary that comes back writable may stay so. It is 1 s by design; on a machine that is busy it is more.
const FENCE: Option<Duration> = Some(Duration::from_secs(10));

/// With four servers, of which two acknowledge each commit.
fn four_servers(failover: &str) -> Setup {
    let options = Options { semi_sync: true, replicas: 3, ..Options::default() };
    Setup { options, failover: failover.to_owned(), ..Setup::default() }
}

/// Stops the receiving of both replicas, and waits until commits hang: what is in the primary's binary log then is nowhere else.
fn unacknowledged(scene: &Scene) {
    for replica in scene.cluster.replicas() {
        replica.sql("STOP REPLICA IO_THREAD");
    }
    scene.stands_still(Duration::from_millis(300));
    scene.note("commits hang, and nobody but the primary has them");
}

/// What a server has and another lacks.
fn rows(server: &Server) -> u64 {
    server.value("SELECT COUNT(*) FROM app.ledger").parse().expect("a count")
}

#[test]
fn drill_01_a_killed_primary_is_replaced() {
    for flavor in flavors() {
        measured("01", flavor, || {
            let scene = Scene::open("01", flavor, Setup::default());
            scene.note("kill -9 of the primary");
            scene.cluster.primary().kill9();
            scene.primary_after(scene.cluster.primary());
            scene.goes_on(100);
            scene.end(&[1, 2], None)
        });
    }
}

#[test]
fn drill_03_a_primary_that_hangs_is_replaced_and_fenced_when_it_wakes() {
    for flavor in flavors() {
        measured("03", flavor, || {
            let scene = Scene::open("03", flavor, Setup::default());
            let old = scene.cluster.primary();
            scene.note("SIGSTOP of the primary");
            old.pause();
            scene.primary_after(old);
            scene.goes_on(100);
            scene.note("SIGCONT");
            old.resume();
            scene.fenced(old);
            scene.goes_on(20);
            scene.end(&[1, 2], FENCE)
        });
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_04_a_primary_shut_down_in_order_is_replaced_and_taken_back() {
    for flavor in flavors() {
        let scene = Scene::open("04", flavor, Setup::default());
        let old = scene.cluster.primary();
        scene.note("shutdown of the primary");
        old.stop();
        scene.primary_after(old);
        scene.goes_on(100);
        scene.note("it is started again");
        old.start();
        old.wait_until_ready();
        wait_for("the old primary to follow", || old.is_replicating().then_some(()));
        scene.taken_back(old);
        scene.goes_on(20);
        scene.end(&[0, 1, 2], None);
    }
}

/// The crash that leaves transactions on the old primary that nobody else has. `line` is put into its option file.
fn crash_with_unacknowledged(scene: &Scene, line: &str) {
    let old = scene.cluster.primary();
    unacknowledged(scene);
    if !line.is_empty() {
        old.set_option(line);
    }
    scene.note("kill -9 of the primary");
    old.kill9();
    for replica in scene.cluster.replicas() {
        replica.sql("START REPLICA IO_THREAD");
    }
    scene.primary_after(old);
    scene.goes_on(50);
    scene.note("it is started again");
    old.start();
    old.wait_until_ready();
}

/// That it is told of, that it stays out, and that nothing which only it has is ever read.
fn stays_out(scene: Scene) {
    let old = scene.cluster.primary();
    scene.quarantined_because(old, "transactions");
    let (its, all) = (rows(old), rows(scene.primary().expect("a primary")));
    scene.note(format!("it has {its} rows, the primary {all}"));
    scene.no_failover_for(Duration::from_secs(5));
    scene.quarantined_because(old, "transactions");
    assert!(!old.is_replicating(), "a server with transactions of its own must not replicate");
    scene.goes_on(20);
    scene.end(&[1, 2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_05_an_old_primary_with_transactions_of_its_own_stays_out() {
    let scene = Scene::open("05", Flavor::MySql, Setup::default());
    crash_with_unacknowledged(&scene, "");
    stays_out(scene);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_06_mariadb_that_drops_its_unacknowledged_tail_is_taken_back() {
    let scene = Scene::open("06", Flavor::MariaDb, Setup::default());
    crash_with_unacknowledged(&scene, "init_rpl_role=SLAVE");
    let old = scene.cluster.primary();
    wait_for("the old primary to follow", || old.is_replicating().then_some(()));
    scene.taken_back(old);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_07_mariadb_that_keeps_its_unacknowledged_tail_stays_out() {
    let scene = Scene::open("07", Flavor::MariaDb, Setup::default());
    crash_with_unacknowledged(&scene, "");
    stays_out(scene);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_08_a_primary_that_is_back_at_once_is_not_left_read_only() {
    for flavor in flavors() {
        let scene = Scene::open("08", flavor, Setup::default());
        let old = scene.cluster.primary();
        scene.note("kill -9 of the primary, and it is started again at once");
        old.kill9();
        old.start();
        old.wait_until_ready();
        scene.goes_on(100);
        let primary = scene.primary().expect("a primary");
        scene.note(format!("server {} is the primary, epoch {}", primary.id, scene.epoch()));
        for server in &scene.cluster.servers {
            if server.id != primary.id {
                wait_for("the others to follow", || server.is_replicating().then_some(()));
            }
        }
        scene.end(&[0, 1, 2], None);
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_09_without_a_quorum_nobody_is_promoted_until_it_is_forced() {
    for flavor in flavors() {
        let scene = Scene::open("09", flavor, Setup::default());
        let (old, replica) = (scene.cluster.primary(), &scene.cluster.replicas()[0]);
        scene.note("SIGSTOP of a replica, kill -9 of the primary");
        replica.pause();
        old.kill9();
        scene.no_failover_for(Duration::from_secs(8));
        let why = scene.proxy.command(&["why"]);
        scene.note(format!("why: {}", String::from_utf8_lossy(&why.stdout).replace('\n', " | ")));
        scene.refused(&["failover", "--dry-run"]);
        scene.refused(&["failover"]);
        scene.note("SIGCONT of the replica");
        replica.resume();
        scene.primary_after(old);
        scene.goes_on(50);
        scene.end(&[1, 2], None);
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_09_forced_the_only_one_left_takes_over() {
    for flavor in flavors() {
        let scene = Scene::open("09-force", flavor, Setup::default());
        let (old, replica) = (scene.cluster.primary(), &scene.cluster.replicas()[0]);
        scene.note("kill -9 of a replica and of the primary");
        replica.kill9();
        old.kill9();
        scene.no_failover_for(Duration::from_secs(4));
        let forced = scene.proxy.command(&["failover", "--force"]);
        scene.note(format!("failover --force: {}", String::from_utf8_lossy(&forced.stdout).trim()));
        assert!(forced.status.success(), "{}\n{}", String::from_utf8_lossy(&forced.stderr), scene.proxy.log());
        scene.primary_after(old);
        scene.note("the replica is started again: commits have somebody to wait for");
        replica.start();
        replica.wait_until_ready();
        scene.goes_on(50);
        scene.end_lossy();
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_10_with_two_acknowledgements_a_primary_and_a_replica_may_die() {
    let mut setup = four_servers("wait_for_replicas = 2\nwait_for_replicas_least = 1");
    setup.options.server_options = "rpl_semi_sync_source_wait_for_replica_count=2\n".to_owned();
    let scene = Scene::open("10", Flavor::MySql, setup);
    scene.goes_on(100);
    scene.note("kill -9 of the primary and of a replica");
    scene.cluster.primary().kill9();
    scene.cluster.replicas()[2].kill9();
    let new = scene.primary_after(scene.cluster.primary());
    scene.goes_on(100);
    scene.note("the replica is started again: commits are to wait for two once more");
    scene.cluster.replicas()[2].start();
    scene.cluster.replicas()[2].wait_until_ready();
    wait_for("the new primary to wait for two", || {
        (new.value("SELECT @@global.rpl_semi_sync_source_wait_for_replica_count") == "2").then_some(())
    });
    scene.goes_on(100);
    scene.end(&[1, 2, 3], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_11_a_replica_that_forgot_its_relay_log_is_not_counted() {
    let options =
        Options { semi_sync: true, server_options: "relay_log_recovery=ON\n".to_owned(), ..Options::default() };
    let scene = Scene::open("11", Flavor::MySql, Setup { options, ..Setup::default() });
    let (old, replica) = (scene.cluster.primary(), &scene.cluster.replicas()[0]);
    // A server tells in whole seconds for how long it has been up: by that alone a restart shows only some time after the start before.
    std::thread::sleep(Duration::from_secs(3));
    scene.note("kill -9 of the primary and of a replica, which is started again");
    replica.kill9();
    old.kill9();
    replica.start();
    replica.wait_until_ready();
    scene.no_failover_for(Duration::from_secs(8));
    scene.note("the primary is started again");
    old.start();
    old.wait_until_ready();
    scene.goes_on(50);
    scene.end(&[0, 1, 2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_12_what_is_received_and_not_applied_is_applied_first() {
    received_and_not_applied("12", Flavor::MySql);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_13_what_mariadb_received_and_did_not_apply_is_applied_first() {
    received_and_not_applied("13", Flavor::MariaDb);
}

fn received_and_not_applied(name: &str, flavor: Flavor) {
    let scene = Scene::open(name, flavor, Setup::default());
    let old = scene.cluster.primary();
    for replica in scene.cluster.replicas() {
        replica.pause_applier();
    }
    scene.note("both replicas stop applying");
    scene.goes_on(2000);
    scene.note("kill -9 of the primary");
    old.kill9();
    scene.primary_after(old);
    scene.goes_on(50);
    scene.end(&[1, 2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_14_a_replica_that_cannot_apply_is_passed_over_and_nothing_is_dropped() {
    let scene = Scene::open("14", Flavor::MySql, Setup::failover("drain_limit_ms = 5000"));
    let (old, broken) = (scene.cluster.primary(), &scene.cluster.replicas()[0]);
    // A row in the way of one that is to come, as somebody left it who wrote to a replica without a trace.
    broken.sql("SET SESSION sql_log_bin = 0");
    broken.set_read_only(false);
    broken.sql("INSERT INTO app.accounts VALUES (77, 0)");
    broken.set_read_only(true);
    scene.proxy.client().query("INSERT INTO app.accounts VALUES (77, 0)");
    wait_for("the replica to break", || (!broken.is_replicating()).then_some(()));
    scene.note("a replica stopped on a duplicate key");
    scene.goes_on(50);
    old.kill9();
    scene.note("kill -9 of the primary");
    let new = scene.primary_after(old);
    assert_ne!(new.id, broken.id);
    // The old one stays down: the broken one can follow, and nobody else acknowledges.
    scene.goes_on(20);
    scene.end(&[2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_15_a_replica_with_transactions_of_its_own_is_not_promoted() {
    // Four, so that the one who is promoted finds somebody to acknowledge: the odd one may not.
    let scene = Scene::open("15", Flavor::MySql, four_servers(""));
    let (old, errant) = (scene.cluster.primary(), &scene.cluster.replicas()[0]);
    errant.set_read_only(false);
    errant.sql("CREATE TABLE test.own (id INT)");
    errant.set_read_only(true);
    scene.note("a replica has a transaction of its own");
    scene.goes_on(50);
    old.kill9();
    scene.note("kill -9 of the primary");
    let new = scene.primary_after(old);
    assert_ne!(new.id, errant.id, "the one with a transaction of its own was promoted");
    scene.goes_on(20);
    scene.end(&[2, 3], FENCE);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_16_two_replicas_with_transactions_of_their_own_are_not_guessed_between() {
    let scene = Scene::open("16", Flavor::MySql, Setup::default());
    for replica in scene.cluster.replicas() {
        replica.set_read_only(false);
        replica.sql("CREATE TABLE test.own (id INT)");
        replica.set_read_only(true);
    }
    scene.note("each replica has a transaction of its own");
    scene.goes_on(50);
    scene.cluster.primary().kill9();
    scene.note("kill -9 of the primary");
    scene.no_failover_for(Duration::from_secs(8));
    let said = scene.failover()["detail"].to_string();
    assert!(said.contains("transactions"), "why nobody is promoted: {said}");
    scene.note("the primary is started again, to look at what it has");
    scene.cluster.primary().start();
    scene.cluster.primary().wait_until_ready();
    scene.end_at(0, FENCE);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_17_a_candidate_that_dies_is_followed_by_the_next() {
    let scene = Scene::open("17", Flavor::MySql, four_servers(""));
    let old = scene.cluster.primary();
    for replica in scene.cluster.replicas() {
        replica.pause_applier();
    }
    scene.goes_on(1000);
    scene.note("kill -9 of the primary");
    old.kill9();
    let candidate = wait_for("a candidate", || {
        let applying = |server: &&Server| {
            server
                .value("SELECT COUNT(*) FROM performance_schema.replication_applier_status WHERE SERVICE_STATE = 'ON'")
                == "1"
        };
        scene.cluster.replicas().iter().find(applying)
    });
    candidate.kill9();
    scene.note(format!("kill -9 of server {}, the first that applies again", candidate.id));
    // Whether what it had can be proven to be elsewhere is the planner's to know; that somebody takes writes in the end, and that
    // nothing is lost, must hold either way.
    let began = std::time::Instant::now();
    while scene.primary().is_none() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(100));
    }
    if scene.primary().is_none() {
        scene.note(format!("nobody is promoted: {}; the old primary is started again", scene.failover()["detail"]));
        old.start();
        old.wait_until_ready();
    }
    scene.goes_on(50);
    assert_ne!(scene.primary().expect("a primary").id, candidate.id);
    let settled: Vec<usize> = (1..4).filter(|index| scene.cluster.servers[*index].id != candidate.id).collect();
    scene.end(&settled, FENCE);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_19_the_new_primary_may_die_at_once() {
    let scene = Scene::open("19", Flavor::MySql, four_servers(""));
    let old = scene.cluster.primary();
    scene.note("kill -9 of the primary");
    old.kill9();
    let second = scene.primary_after(old);
    scene.goes_on(50);
    std::thread::sleep(Duration::from_secs(3));
    scene.note("kill -9 of the new primary");
    second.kill9();
    let third = scene.primary_after(second);
    scene.goes_on(50);
    let settled: Vec<usize> = (1..4).filter(|index| scene.cluster.servers[*index].id != second.id).collect();
    assert_ne!(third.id, old.id);
    scene.end(&settled, None);
}

#[test]
#[ignore = "takes minutes: make drills"]
fn drill_20_a_primary_that_flaps_is_held_for_the_operator() {
    let scene = Scene::open("20", Flavor::MySql, Setup::failover("pause_between_ms = 0\nmost_per_hour = 2"));
    for time in 1..=2 {
        let old = scene.primary().expect("a primary");
        scene.note(format!("shutdown of the primary, time {time}"));
        old.stop();
        scene.primary_after(old);
        scene.goes_on(30);
        old.start();
        old.wait_until_ready();
        wait_for("the old primary to follow", || old.is_replicating().then_some(()));
        scene.taken_back(old);
        scene.whole();
        scene.goes_on(100);
    }
    let old = scene.primary().expect("a primary");
    scene.note("shutdown of the primary, once more");
    old.stop();
    scene.no_failover_for(Duration::from_secs(6));
    let hold = scene.failover()["hold"].clone();
    assert!(hold.is_string(), "why it is held: {:#}", scene.failover());
    scene.note(format!("acknowledge; it was held: {hold}"));
    let output = scene.proxy.command(&["acknowledge"]);
    assert!(output.status.success(), "{output:?}");
    scene.primary_after(old);
    scene.goes_on(30);
    let settled: Vec<usize> = (0..3).filter(|index| scene.cluster.servers[*index].id != old.id).collect();
    scene.end(&settled, None);
}

/// The proxy dies itself at some point of what it does about a lost primary, is started again, and has a journal.
#[test]
#[ignore = "takes minutes: make drills"]
fn drill_32_a_failover_is_ended_by_the_next_proxy() {
    // Detection takes 600 ms or so and the failover 100 to 300: before, amid, and after it.
    for ms in [100, 500, 650, 700, 750, 800, 900, 1200] {
        let mut scene = Scene::open(&format!("32-after-{ms}"), Flavor::MySql, Setup::default());
        scene.note("kill -9 of the primary");
        scene.cluster.primary().kill9();
        std::thread::sleep(Duration::from_millis(ms));
        scene.proxy_crashes();
        scene.primary_after(scene.cluster.primary());
        scene.goes_on(50);
        scene.end(&[1, 2], None);
    }
}
