//! A story, line by line, on the simulation's servers.

use super::Case;
use super::dice::Dice;
use super::sabotage::Sabotage;
use super::server::Setup;
use super::told::Told;
use super::world::{Extras, Happening, World, server_id};
use dbproxy::failover::{
    AskHook, Command, Durability, Event, FenceHook, FenceRule, Force, Lease, MaintenanceState, Mode, OnDiskStall,
    OnErrant, OnOpenTransactions, Policy, Promotion, RejoinErrant, Stall,
};
use dbproxy::topology::Flavor;
use std::time::Duration;

/// Between two looks at what the planner thinks.
const SLICE: u64 = 10;

/// Plays a story and says what the planner said; for both flavours, where they must say the same.
pub fn played(case: &Case) -> String {
    match case.flavor.as_str() {
        "mysql" => played_by(case, Flavor::MySql),
        "mariadb" => played_by(case, Flavor::MariaDb),
        "both" => {
            let (mysql, mariadb) = (played_by(case, Flavor::MySql), played_by(case, Flavor::MariaDb));
            assert_eq!(mysql, mariadb, "{}: MySQL and MariaDB differ", case.name);
            mysql
        }
        other => panic!("{}: no such flavour: {other}", case.name),
    }
}

fn played_by(case: &Case, flavor: Flavor) -> String {
    let setup = Setup {
        flavor,
        relay_lost_by_crash: false,
        truncates: false,
        boots_read_only: true,
        boots_replicating: true,
        apply_every: 1,
    };
    let policy = policy(&case.policy, case.servers);
    let mut world = World::bare(Dice::new(7), vec![setup; case.servers], policy, Sabotage::None, Extras::None);
    (world.healed, world.effects, world.tell) = (true, Some(Vec::new()), std::env::var_os("TELL").is_some());
    let (mut told, start) = (Told::default(), world.now);
    for line in case.story.lines().filter(|line| !line.trim().is_empty()) {
        let (time, what) = line.trim().split_once(" s ").unwrap_or_else(|| panic!("{}: {line}", case.name));
        let seconds: f64 = time.trim().parse().unwrap_or_else(|_| panic!("{}: {line}", case.name));
        let at = start + Duration::from_secs_f64(seconds).as_millis() as u64;
        play_until(&mut world, at, &mut told);
        let words: Vec<&str> = what.split_whitespace().collect();
        if words != ["end"] {
            told.line(format!("* {}", words.join(" ")));
            happen(&mut world, &words, &case.name);
        }
        note(&mut world, &mut told);
    }
    assert!(world.check.complaints.is_empty(), "{}: {:?}", case.name, world.check.complaints);
    told.text()
}

fn play_until(world: &mut World, end: u64, told: &mut Told) {
    while world.now < end {
        let next = (world.now + SLICE).min(end);
        world.play_until(next);
        note(world, told);
    }
}

fn note(world: &mut World, told: &mut Told) {
    let effects = world.effects.as_mut().map(std::mem::take).unwrap_or_default();
    told.problem(&world.state);
    told.note(effects);
}

/// What the operator wants, in words.
fn policy(words: &[String], servers: usize) -> Policy {
    let mut policy = Policy { servers: vec![Default::default(); servers], ..Policy::default() };
    for line in words {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u16>().unwrap();
        match words[0] {
            "async" => {
                policy.durability =
                    Durability::Async { loss_max: Duration::from_millis(500), fence: FenceRule::Required };
            }
            "wait" => policy.durability = Durability::SemiSync { wait_count: number(1) },
            "least" => policy.wait_least = Some(number(1)),
            "observe" => policy.mode = Mode::Observe,
            "manual" => policy.mode = Mode::Manual,
            "ask-hook" => policy.ask_hook = AskHook::Always,
            "fence-hook" => policy.fence_hook = FenceHook::Run,
            "disk-fails-over" => policy.disk_stall = OnDiskStall::FailOver,
            "clone" => policy.errant = OnErrant::Clone,
            "kill" => policy.open_transactions = OnOpenTransactions::Kill,
            "never" => policy.servers[usize::from(number(1))].promotion = Promotion::Never,
            "priority" => policy.servers[usize::from(number(1))].priority = number(2),
            "zone" => policy.servers[usize::from(number(1))].zone = Some(words[2].to_owned()),
            other => panic!("no such policy: {other}"),
        }
    }
    policy
}

/// What happens: a fault, something wrong with a server, or what an operator asks for.
fn happen(world: &mut World, words: &[&str], name: &str) {
    let server = words.iter().find_map(|word| word.parse::<usize>().ok()).unwrap_or(0);
    if befalls(world, words, server) || is_wrong(world, words, server) {
        return;
    }
    let (id, to) = (server_id(server), words.contains(&"to").then(|| server_id(server)));
    let state = if words.last() == Some(&"off") { MaintenanceState::Off } else { MaintenanceState::On };
    let errant = if words.last() == Some(&"clone") { RejoinErrant::Clone } else { RejoinErrant::Refuse };
    let force = if words.last() == Some(&"force") { Force::Yes } else { Force::No };
    let command = match words[0] {
        "switchover" => Command::Switchover { to },
        "failover" => Command::Failover { to, force },
        "rejoin" => Command::Rejoin { server: id, errant },
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "acknowledge" => Command::Acknowledge,
        "drain" => Command::Drain { server: id },
        "maintenance" => Command::Maintenance { server: id, state },
        _ => panic!("{name}: what is {words:?}?"),
    };
    world.command(command);
}

/// What the network, a crash or the proxy's own machine does.
fn befalls(world: &mut World, words: &[&str], server: usize) -> bool {
    let proxy = world.proxy();
    match words[0] {
        "kill" => world.servers[server].crash(),
        "kill-all" => world.servers.iter_mut().for_each(super::server::Server::crash),
        "start" => world.start(server),
        "hang" => world.servers[server].paused = true,
        "wake" => world.servers[server].paused = false,
        // The first two numbers, or a number and the proxy; "deaf" is one way only.
        "cut" => {
            let other = words.last().and_then(|word| word.parse().ok()).unwrap_or(proxy);
            (world.links[server][other], world.links[other][server]) = (false, false);
        }
        "isolate" => (0..proxy).for_each(|server| world.links[proxy][server] = false),
        "mend" => world.links.iter_mut().for_each(|row| row.fill(true)),
        "saturate" => world.saturated[server] = true,
        "turn-away" => world.turned_away[server] = true,
        "let-in" => (world.saturated[server], world.turned_away[server]) = (false, false),
        "late" => world.feed(Event::OwnLag { ms: 900 }),
        "lease-lost" => world.feed(Event::Lease(Lease::NotHeld)),
        "restart-proxy" => world.restart_proxy(),
        // By the operator, as a copy of the primary.
        "rebuild" => {
            let (has, log) = (world.servers[0].has.clone(), world.servers[0].log.clone());
            let at = &mut world.servers[server];
            (at.has, at.log) = (has, log);
            at.relay.clear();
            at.forget_cache();
        }
        "clients" => world.at(1, Happening::Write),
        _ => return false,
    }
    true
}

/// What is wrong with a server, or no more.
fn is_wrong(world: &mut World, words: &[&str], server: usize) -> bool {
    let Some(at) = world.servers.get_mut(server) else { return false };
    let argument = words.last().copied().unwrap_or_default();
    match words[0] {
        "read-only" => at.read_only = true,
        "writable" => at.read_only = false,
        // Written there and nowhere else.
        "errant" | "commit" => {
            world.commit(server, None);
        }
        "freeze-applier" => at.applies = false,
        "slow-applier" => at.setup.apply_every = 1000,
        "break-applier" => at.apply_error = true,
        "mend-applier" => (at.apply_error, at.applies) = (false, true),
        "stop-receiver" => (at.receives, at.connected) = (false, false),
        "no-semi-sync" => at.source_on = false,
        "loses-relay" => at.setup.relay_lost_by_crash = true,
        "truncates" => at.setup.truncates = true,
        "stall" => {
            at.quirks.stall = Some(match argument {
                "ackers" => Stall::Ackers,
                "lock" => Stall::Lock,
                "disk-full" => Stall::DiskFull,
                "disk" => Stall::Disk,
                _ => Stall::Unknown,
            });
        }
        "delay" => at.quirks.delay_ms = 60_000,
        "newer" => at.quirks.newer = true,
        "filters" => at.quirks.settings.filters = true,
        "no-binlog" => at.quirks.settings.log_bin = false,
        "no-updates-logged" => at.quirks.settings.log_replica_updates = false,
        "no-gtids" => at.quirks.settings.gtids = false,
        "no-room" => at.quirks.settings.disk_room = false,
        "purge" => at.quirks.purged = true,
        "lag" => at.quirks.lag_ms = Some(argument.parse().ok()),
        "busy" => at.quirks.busy_ms = 60_000,
        "locked" => at.quirks.locked = Some("FLUSH TABLES WITH READ LOCK".to_owned()),
        "changed" => at.quirks.changed = Some(argument.to_owned()),
        "unchanged" => at.quirks.changed = None,
        "refuses" => at.quirks.refuses = Some(argument.to_owned()),
        "hook-says-no" => world.hook_says = Some("it is Friday"),
        _ => return false,
    }
    world.servers[server].forget_cache();
    true
}
