//! What an operator does, on purpose or by mistake.

use super::check::Verdict;
use super::history::{Event, What};
use super::load::Clients;
use super::scene::{Scene, Setup, rounds};
use super::support::{Flavor, flavors, wait_for};
use std::time::Duration;

/// As in `crashes`: 1 s by design.
const FENCE: Option<Duration> = Some(Duration::from_secs(10));

/// Switches over so many times, each time to the next server, and returns when each began.
fn switch_over(scene: &Scene, times: usize) -> Vec<u64> {
    let mut began = Vec::new();
    for _ in 0..times {
        scene.whole();
        scene.goes_on(30);
        let old = scene.primary().expect("a primary");
        let next = scene.cluster.servers.iter().cycle().nth(usize::try_from(old.id).expect("few"));
        let to = next.expect("an endless ring").address();
        // Where the machine is the limit a replica may be too far behind for a while.
        wait_for("a switchover to be possible", || {
            scene.proxy.command(&["switchover", "--to", &to, "--dry-run"]).status.success().then_some(())
        });
        began.push(scene.recorder.now());
        scene.command(&["switchover", "--to", &to]);
        assert_eq!(scene.primary_after(old).address(), to);
    }
    scene.goes_on(30);
    began
}

/// The longest time without an acknowledged write that began within 10 s of each of these moments, in milliseconds, in order.
fn pauses(history: &[Event], moments: &[u64]) -> Vec<u64> {
    let times: Vec<u64> =
        history.iter().filter(|event| matches!(event.what, What::Acknowledged { .. })).map(|event| event.at).collect();
    let near = |moment: u64, at: u64| at + 1_000_000 > moment && at < moment + 10_000_000;
    let mut pauses: Vec<u64> = moments
        .iter()
        .map(|&moment| {
            let gaps = times.windows(2).filter(|pair| near(moment, pair[0]) && pair[1] > moment);
            gaps.map(|pair| (pair[1] - pair[0]) / 1000).max().unwrap_or(0)
        })
        .collect();
    pauses.sort_unstable();
    pauses
}

fn tell_pauses(scene: &Scene, began: &[u64]) {
    let pauses = pauses(&scene.recorder.history(), began);
    let (times, median, longest) = (pauses.len(), pauses[pauses.len() / 2], pauses[pauses.len() - 1]);
    scene.note(format!("{times} switchovers: pause median {median} ms, longest {longest} ms: {pauses:?}"));
}

fn nobody_was_told(verdict: &Verdict) {
    assert!(verdict.errors.is_empty(), "what is planned is nobody's error: {:?}", verdict.errors);
}

#[test]
fn drill_38_switchovers_lose_nothing_and_tell_nobody() {
    for flavor in flavors() {
        let scene = Scene::open("38-short", flavor, Setup::default());
        let began = switch_over(&scene, rounds().unwrap_or(3));
        tell_pauses(&scene, &began);
        nobody_was_told(&scene.end(&[0, 1, 2], None));
    }
}

#[test]
#[ignore = "takes minutes: make drills"]
fn drill_38_switchovers_under_all_kinds_of_sessions() {
    for flavor in flavors() {
        let clients = Clients { preparing: 2, locking: 2, ..Clients::default() };
        let scene = Scene::open("38", flavor, Setup { clients, ..Setup::default() });
        let began = switch_over(&scene, rounds().unwrap_or(20));
        tell_pauses(&scene, &began);
        nobody_was_told(&scene.end(&[0, 1, 2], None));
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_38_a_temporary_table_does_not_vanish_unsaid() {
    for flavor in flavors() {
        let scene = Scene::open("38-pinned", flavor, Setup::default());
        let mut pinned = scene.proxy.client();
        pinned.query("CREATE TEMPORARY TABLE app.mine (id INT)");
        pinned.query("INSERT INTO app.mine VALUES (1)");
        switch_over(&scene, 1);
        let error = pinned.try_query("SELECT * FROM app.mine").expect_err("the table is gone with the old primary");
        scene.note(format!("the session with a temporary table was told: {error}"));
        assert_ne!(error.code, 1146, "it was moved without a word: {error}");
        nobody_was_told(&scene.end(&[0, 1, 2], None));
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_38_a_transaction_that_does_not_end_is_not_waited_for_for_ever() {
    for flavor in flavors() {
        let scene = Scene::open("38-long", flavor, Setup::failover("switchover_drain_ms = 1000"));
        let mut open = scene.proxy.client();
        open.query("BEGIN");
        open.query("UPDATE app.accounts SET balance = balance + 0 WHERE id = 0");
        let old = scene.cluster.primary();
        scene.refused(&["switchover", "--to", &scene.cluster.replicas()[0].address()]);
        open.query("COMMIT");
        scene.goes_on(50);
        assert_eq!(scene.primary().expect("a primary").id, old.id, "what is called off leaves all as it was");
        nobody_was_told(&scene.end(&[0, 1, 2], None));
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_39_all_servers_are_restarted_one_after_the_other() {
    for flavor in flavors() {
        let scene = Scene::open("39", flavor, Setup::default());
        for index in [1, 2, 0] {
            if index == 0 {
                switch_over(&scene, 1);
            }
            let server = &scene.cluster.servers[index];
            scene.command(&["maintenance", &server.address(), "on"]);
            std::thread::sleep(Duration::from_secs(1));
            scene.note(format!("restart of server {}", server.id));
            server.restart();
            wait_for("the server to follow", || server.is_replicating().then_some(()));
            scene.command(&["maintenance", &server.address(), "off"]);
            scene.whole();
            scene.goes_on(50);
        }
        assert_eq!(scene.epoch(), 2, "one switchover, and no failover");
        nobody_was_told(&scene.end(&[0, 1, 2], None));
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_40_a_replica_that_somebody_opens_for_writes_is_closed() {
    for flavor in flavors() {
        let scene = Scene::open("40-opened", flavor, Setup::default());
        let replica = &scene.cluster.replicas()[0];
        scene.note("SET GLOBAL read_only = 0 on a replica");
        replica.set_read_only(false);
        scene.fenced(replica);
        scene.goes_on(50);
        assert_eq!(scene.primary().expect("a primary").id, scene.cluster.primary().id);
        scene.end(&[0, 1, 2], FENCE);
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_40_an_old_primary_that_comes_back_writable_is_closed_and_gets_nothing() {
    for flavor in flavors() {
        let scene = Scene::open("40-back", flavor, Setup { fenced_at_boot: false, ..Setup::default() });
        let old = scene.cluster.primary();
        scene.note("shutdown of the primary");
        old.stop();
        scene.primary_after(old);
        scene.goes_on(50);
        scene.note("it is started again, writable");
        old.start();
        old.wait_until_ready();
        scene.fenced(old);
        scene.whole();
        scene.goes_on(50);
        scene.end(&[0, 1, 2], FENCE);
    }
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_18_the_preferred_replica_is_promoted() {
    let scene = Scene::open("18-prefer", Flavor::MySql, Setup::failover("prefer = [\"{2}\"]"));
    let old = scene.cluster.primary();
    scene.note("kill -9 of the primary");
    old.kill9();
    assert_eq!(scene.primary_after(old).id, 3);
    scene.goes_on(50);
    scene.end(&[1, 2], None);
}

#[test]
#[ignore = "takes a minute: make drills"]
fn drill_18_what_only_a_server_has_that_may_not_be_promoted_is_not_lost() {
    let scene = Scene::open("18-never", Flavor::MySql, Setup::failover("never = [\"{1}\"]"));
    let (old, behind) = (scene.cluster.primary(), &scene.cluster.replicas()[1]);
    behind.sql("STOP REPLICA IO_THREAD");
    scene.note("server 3 receives nothing, so that only server 2, which may not be promoted, acknowledges");
    scene.goes_on(100);
    scene.note("kill -9 of the primary");
    old.kill9();
    assert_eq!(scene.primary_after(old).id, 3);
    scene.goes_on(50);
    scene.end(&[1, 2], None);
}

/// The proxy dies itself in the middle of a switchover, and is started again: both servers read-only is not to last.
#[test]
#[ignore = "takes minutes: make drills"]
fn drill_32_a_switchover_is_ended_or_undone_by_the_next_proxy() {
    for ms in [20, 60, 100, 150, 250] {
        let mut scene = Scene::open(&format!("32-switchover-{ms}"), Flavor::MySql, Setup::default());
        scene.whole();
        let to = scene.cluster.replicas()[0].address();
        std::thread::scope(|both| {
            let asked = both.spawn(|| scene.proxy.command(&["switchover", "--to", &to]));
            std::thread::sleep(Duration::from_millis(ms));
            let _killed = rustix::process::kill_process(
                rustix::process::Pid::from_raw(scene.proxy.pid().cast_signed()).expect("a process id"),
                rustix::process::Signal::KILL,
            );
            let _lost = asked.join();
        });
        scene.proxy_crashes();
        scene.goes_on(50);
        let primary = scene.primary().expect("a primary");
        scene.note(format!("server {} is the primary, epoch {}", primary.id, scene.epoch()));
        scene.whole();
        scene.end(&[0, 1, 2], None);
    }
}
