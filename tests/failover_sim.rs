//! A seeded simulation: the real `failover::step` against model servers, a lossy network and faults of every kind.
//!
//! `make sim SEEDS=100000` plays so many; `SIM_SEED=17` plays one and tells its story, `SIM_PLAIN=1` with it
//! one of before there were extras.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(dead_code, unused_imports, reason = "the simulation grows: part of what it can break is not switched on yet")]

#[path = "failover_sim/check.rs"]
mod check;
#[path = "failover_sim/dice.rs"]
mod dice;
#[path = "failover_sim/faults.rs"]
mod faults;
#[path = "failover_sim/orders.rs"]
mod orders;
#[path = "failover_sim/replicate.rs"]
mod replicate;
#[path = "failover_sim/sabotage.rs"]
mod sabotage;
#[path = "failover_sim/server.rs"]
mod server;
#[path = "failover_sim/world.rs"]
mod world;

use sabotage::Sabotage;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use world::{Extras, World};

/// Seeds that are played when nobody says how many.
const SEEDS: u64 = 200;

/// Seeds within which a sabotage must show.
const SABOTAGE_SEEDS: u64 = 300;

fn played(seed: u64, sabotage: Sabotage, extras: Extras) -> World {
    let mut world = World::new(seed, sabotage, extras);
    world.play();
    world
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Seeds in eight of which the proxy's own disk is full now and then.
const fn extras(seed: u64) -> Extras {
    if seed % 8 == 7 { Extras::FullDisks } else { Extras::Rolled }
}

/// What came of some seeds.
#[derive(Default)]
struct Sum {
    changes: u64,
    acked: u64,
    events: u64,
    failed: BTreeMap<u64, String>,
}

/// Plays them, as many at once as there are processors.
fn play_all(seeds: &[(u64, Extras)]) -> Sum {
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Sum::default()));
    let worker = || {
        while let Some((seed, extras)) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let world = played(*seed, Sabotage::None, *extras);
            let mut sum = sum.lock().unwrap();
            sum.changes += world.check.changes;
            sum.acked += world.check.acked;
            sum.events += world.events;
            if let Some(complaint) = world.check.complaints.first() {
                println!("seed {seed}: {complaint}");
                sum.failed.insert(*seed, complaint.clone());
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
    sum.into_inner().unwrap()
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("SIM_SEED") {
        let extras = match (number("SIM_PLAIN"), number("SIM_ROLLED")) {
            (Some(_), _) => Extras::None,
            (None, Some(_)) => Extras::Rolled,
            (None, None) => extras(seed),
        };
        let mut world = World::new(seed, Sabotage::None, extras);
        world.tell = true;
        world.play();
        assert!(world.check.complaints.is_empty(), "seed {seed}: {:#?}", world.check.complaints);
        return;
    }
    let (first, count) = (number("SIM_FIRST").unwrap_or(0), number("SIM_SEEDS").unwrap_or(SEEDS));
    let began = Instant::now();
    let Sum { changes, acked, events, failed } =
        play_all(&(first..first + count).map(|seed| (seed, extras(seed))).collect::<Vec<_>>());
    let took = began.elapsed().as_secs();
    println!("{count} seeds, {events} events, {changes} changes of the primary, {acked} acknowledged writes, {took} s");
    assert!(failed.is_empty(), "{} seeds failed: {:?}", failed.len(), failed.keys().collect::<Vec<_>>());
}

/// Seeds that once failed, each for another reason.
#[test]
fn no_seed_that_once_failed_fails_again() {
    #[derive(serde::Deserialize)]
    struct File {
        seed: Vec<Seed>,
    }
    #[derive(serde::Deserialize)]
    struct Seed {
        number: u64,
        /// Found before there were extras.
        #[serde(default)]
        plain: bool,
        /// With the proxy's own disk full now and then.
        #[serde(default)]
        full_disks: bool,
        showed: String,
    }
    let File { seed } = toml::from_str(include_str!("../fixtures/failover/seeds.toml")).unwrap();
    let failed = play_all(
        &seed
            .iter()
            .map(|seed| {
                let extras = match (seed.plain, seed.full_disks) {
                    (true, _) => Extras::None,
                    (false, true) => Extras::FullDisks,
                    (false, false) => Extras::Rolled,
                };
                (seed.number, extras)
            })
            .collect::<Vec<_>>(),
    )
    .failed;
    for Seed { number, showed, .. } in &seed {
        assert!(!failed.contains_key(number), "seed {number}: {}; it once showed: {showed}", failed[number]);
    }
}

/// The checks are worth something only if they catch a planner that is wrong. What shows rarely is played from where it does.
#[test]
fn every_sabotage_is_caught() {
    let mut missed = Vec::new();
    let seeds = number("SIM_SABOTAGE_SEEDS").unwrap_or(SABOTAGE_SEEDS);
    for (sabotage, first, caught) in [
        (Sabotage::SmallQuorum, 2200, "acknowledged"),
        (Sabotage::SkipRevoke, 3100, "can be acknowledged"),
        (Sabotage::SkipDrain, 0, "without"),
        (Sabotage::ForgetJournal, 0, "epoch"),
        (Sabotage::DeafReplicas, 0, "nothing was wrong"),
        (Sabotage::HideErrant, 0, "is made a replica"),
        (Sabotage::NoUndo, 0, "no convergence"),
        (Sabotage::SkipFence, 0, "takes writes"),
        (Sabotage::SkipArm, 0, "unarmed"),
        (Sabotage::HideReceived, 0, "without acknowledged"),
        (Sabotage::HideRestart, 600, "acknowledged"),
        (Sabotage::WaitForFewer, 0, "unarmed"),
        (Sabotage::StayWeak, 0, "no convergence"),
        (Sabotage::OldGate, 0, "was opened last"),
        (Sabotage::ServeAll, 0, "serves, and wrote"),
        (Sabotage::LeaveStrays, 0, "no convergence"),
        (Sabotage::SkipHook, 0, "before the hook has said yes"),
        (Sabotage::IgnoreHook, 0, "that the hook called off"),
    ] {
        let complaint = (first..first + seeds).find_map(|seed| {
            let complaints = played(seed, sabotage, Extras::Rolled).check.complaints;
            complaints.into_iter().find(|complaint| complaint.contains(caught)).map(|complaint| (seed, complaint))
        });
        match complaint {
            Some((seed, complaint)) => println!("{sabotage:?}: seed {seed}, {complaint}"),
            None => missed.push(sabotage),
        }
    }
    assert!(missed.is_empty(), "not caught within {seeds} seeds: {missed:?}");
}
