use super::*;
use crate::topology::{Defaults, Flavor, GtidSet};

const ADDRESSES: [&str; 3] = ["a:1", "b:2", "c:3"];
const A: ServerId = ServerId(0);
const B: ServerId = ServerId(1);
const C: ServerId = ServerId(2);

fn unseen() -> Topology {
    Topology::unseen("main".into(), &ADDRESSES.map(Arc::from))
}

/// A MySQL server `id` of the list, writable, without sources.
fn seen(id: ServerId) -> Seen {
    Seen {
        flavor: Flavor::MySql,
        hello: None,
        server_uuid: Some(format!("uuid-{}", id.0).into()),
        server_id: u32::from(id.0) + 1,
        read_only: false,
        super_read_only: false,
        replication: Replication::From(vec![]),
        behind: None,
        gtid_executed: None,
        gtid_committing: None,
        defaults: Arc::default(),
    }
}

fn primary(id: ServerId) -> Observation {
    Observation { server: id, result: Ok(seen(id)) }
}

fn read_only(id: ServerId) -> Observation {
    Observation { server: id, result: Ok(Seen { read_only: true, ..seen(id) }) }
}

/// Replicates from `ADDRESSES[of]`, all well.
fn source(of: ServerId) -> Source {
    let (host, port) = ADDRESSES[usize::from(of.0)].split_once(':').unwrap();
    Source {
        host: host.to_owned(),
        port: port.parse().unwrap(),
        server_uuid: None,
        server_id: None,
        receiver: Receiver::Running,
        applying: true,
        lag_ms: Some(0),
        error: None,
    }
}

fn replicating(observation: Observation, sources: Vec<Source>) -> Observation {
    let seen = Seen { replication: Replication::From(sources), ..observation.result.unwrap() };
    Observation { server: observation.server, result: Ok(seen) }
}

fn replica(id: ServerId, of: ServerId) -> Observation {
    replicating(read_only(id), vec![source(of)])
}

fn miss(id: ServerId, failure: Failure, probes: u32, lasting_ms: u64) -> Observation {
    Observation { server: id, result: Err(Miss { failure, probes, lasting: Duration::from_millis(lasting_ms) }) }
}

fn refused(id: ServerId) -> Observation {
    miss(id, Failure::Refused, 1, 0)
}

fn judge(previous: &Topology, observations: &[Observation]) -> Topology {
    assemble(previous, observations, &Policy::default())
}

/// A primary, B and C its replicas.
fn usual() -> Topology {
    judge(&unseen(), &[primary(A), replica(B, A), replica(C, A)])
}

fn roles(topology: &Topology) -> [Role; 3] {
    [A, B, C].map(|id| topology.server(id).unwrap().role)
}

fn health(topology: &Topology, id: ServerId) -> &Health {
    &topology.server(id).unwrap().health
}

fn nobody(topology: &Topology) -> &str {
    match &topology.writes {
        Writes::Nobody(why) => why,
        other => panic!("{other:?}"),
    }
}

fn unfit(topology: &Topology, id: ServerId) -> &str {
    match health(topology, id) {
        Health::Unfit(why) => why,
        other => panic!("{other:?}"),
    }
}

// --- roles ---

#[test]
fn the_writable_server_is_the_primary_and_the_read_only_ones_are_replicas() {
    let topology = usual();
    assert_eq!(roles(&topology), [Role::Primary, Role::Replica, Role::Replica]);
    assert_eq!(topology.writes, Writes::Primary(A));
    assert!([A, B, C].iter().all(|&id| *health(&topology, id) == Health::Up));
}

#[test]
fn nobody_takes_writes_until_every_server_was_looked_at() {
    let topology = judge(&unseen(), &[primary(A), replica(B, A)]);
    assert_eq!(
        nobody(&topology),
        "a:1 is writable, but not every server has been looked at yet; b:2 is read-only; c:3 has not been looked at yet"
    );
    assert_eq!(judge(&topology, &[primary(A), replica(B, A), refused(C)]).writes, Writes::Primary(A));
}

#[test]
fn two_writable_servers_are_a_conflict_that_names_both() {
    let topology = judge(&usual(), &[primary(A), primary(B), replica(C, A)]);
    assert_eq!(topology.writes, Writes::Conflict(vec![A, B]));
    assert_eq!(topology.primary(), None);
}

#[test]
fn a_writable_replica_is_half_of_a_conflict() {
    let topology = judge(&usual(), &[primary(A), replicating(primary(B), vec![source(A)]), replica(C, A)]);
    assert_eq!(topology.writes, Writes::Conflict(vec![A, B]));
    assert_eq!(roles(&topology), [Role::Primary, Role::Replica, Role::Replica]);
}

#[test]
fn a_writable_server_whose_source_is_read_only_is_the_primary() {
    let observations = [read_only(A), replicating(primary(B), vec![source(A)]), replica(C, A)];
    let topology = judge(&usual(), &observations);
    assert_eq!(topology.writes, Writes::Primary(B));
    assert_eq!(roles(&topology), [Role::Replica, Role::Primary, Role::Replica]);
}

#[test]
fn a_writable_replica_does_not_inherit_the_writes_of_a_primary_that_went_down() {
    let topology = judge(&usual(), &[refused(A), replicating(primary(B), vec![source(A)]), replica(C, A)]);
    assert_eq!(roles(&topology), [Role::Unknown, Role::Replica, Role::Replica]);
    assert_eq!(
        nobody(&topology),
        "a:1 is down (connection refused); b:2 is writable but replicates from a:1, which may be writable too; c:3 is read-only"
    );
}

#[test]
fn of_two_servers_that_replicate_from_each_other_the_primary_outlives_the_other() {
    let active = || replicating(primary(A), vec![source(B)]);
    let topology = judge(&unseen(), &[active(), replica(B, A), replica(C, A)]);
    assert_eq!(topology.writes, Writes::Primary(A));
    let topology = judge(&topology, &[active(), refused(B), replica(C, A)]);
    assert_eq!(topology.writes, Writes::Primary(A));
}

#[test]
fn a_replica_cut_loose_and_made_writable_takes_the_writes_of_a_dead_primary() {
    let stopped = Source { receiver: Receiver::Stopped, applying: false, ..source(A) };
    for sources in [vec![], vec![stopped]] {
        let topology = judge(&usual(), &[refused(A), replicating(primary(B), sources), replica(C, A)]);
        assert_eq!(topology.writes, Writes::Primary(B));
    }
}

#[test]
fn a_primary_that_replicates_from_outside_the_list_is_a_primary() {
    let outside = Source { host: "elsewhere".to_owned(), ..source(A) };
    let topology = judge(&usual(), &[replicating(primary(A), vec![outside]), replica(B, A), replica(C, A)]);
    assert_eq!(topology.writes, Writes::Primary(A));
}

#[test]
fn a_source_known_by_another_name_is_recognised_by_its_uuid_or_its_id() {
    let by_uuid = Source { host: "10.0.0.1".to_owned(), server_uuid: Some("UUID-0".to_owned()), ..source(A) };
    let by_id = Source { host: "10.0.0.1".to_owned(), server_id: Some(1), ..source(A) };
    for source in [by_uuid, by_id] {
        let topology = judge(&usual(), &[refused(A), replicating(primary(B), vec![source]), replica(C, A)]);
        assert_eq!(roles(&topology)[1], Role::Replica);
    }
}

#[test]
fn a_uuid_decides_against_an_id_that_happens_to_be_the_same() {
    let outside = Source {
        host: "10.9.9.9".to_owned(),
        server_uuid: Some("uuid-of-another-cluster".to_owned()),
        server_id: Some(1),
        ..source(A)
    };
    let topology = judge(&usual(), &[refused(A), replicating(primary(B), vec![outside]), replica(C, A)]);
    assert_eq!(topology.writes, Writes::Primary(B));
}

// --- failing probes ---

#[test]
fn a_refused_connection_is_down_at_once() {
    let topology = judge(&usual(), &[refused(A), replica(B, A), replica(C, A)]);
    assert_eq!(roles(&topology)[0], Role::Unknown);
    assert_eq!(*health(&topology, A), Health::Down("connection refused".to_owned()));
    assert_eq!(topology.server(A).unwrap().writable, None);
    assert_eq!(nobody(&topology), "a:1 is down (connection refused); b:2 is read-only; c:3 is read-only");
}

#[test]
fn other_failures_count_after_two_probes_and_their_time() {
    for (probes, lasting_ms, down) in [(1, 1000, false), (1, 9000, false), (5, 999, false), (2, 1000, true)] {
        for failure in [Failure::Timeout, Failure::NoGreeting, Failure::TooManyConnections, Failure::HostBlocked] {
            let topology = judge(&usual(), &[miss(A, failure, probes, lasting_ms), replica(B, A), replica(C, A)]);
            let expected = if down { Role::Unknown } else { Role::Primary };
            assert_eq!(roles(&topology)[0], expected, "{probes} probes, {lasting_ms} ms");
            assert_eq!(topology.primary().is_none(), down);
        }
    }
}

#[test]
fn a_server_that_stays_down_stays_down_whatever_the_next_failure_is() {
    let down = judge(&usual(), &[refused(A), replica(B, A), replica(C, A)]);
    let topology = judge(&down, &[miss(A, Failure::Timeout, 1, 10), replica(B, A), replica(C, A)]);
    assert_eq!(*health(&topology, A), Health::Down("no answer in time".to_owned()));
}

#[test]
fn a_server_never_seen_is_down_at_its_first_failure() {
    let topology = judge(&unseen(), &[miss(A, Failure::AccessDenied("no".to_owned()), 1, 0)]);
    assert_eq!(
        *health(&topology, A),
        Health::Down("refuses the monitor's account (user or password of [monitor]): no".to_owned())
    );
}

#[test]
fn a_server_that_is_down_keeps_what_identifies_it() {
    let down = judge(&usual(), &[refused(A), replica(B, A), replica(C, A)]);
    let server = down.server(A).unwrap();
    assert_eq!((server.server_uuid.as_deref(), server.server_id), (Some("uuid-0"), Some(1)));
    let by_uuid = Source { host: "10.0.0.1".to_owned(), server_uuid: Some("uuid-0".to_owned()), ..source(A) };
    let topology = judge(&down, &[refused(A), replicating(primary(B), vec![by_uuid]), replica(C, A)]);
    assert_eq!(roles(&topology)[1], Role::Replica);
}

#[test]
fn a_role_that_changes_on_a_live_server_counts_at_once() {
    let before = usual();
    let without = judge(&before, &[read_only(A), replica(B, A), replica(C, A)]);
    assert_eq!(nobody(&without), "a:1 is read-only; b:2 is read-only; c:3 is read-only");
    let after = judge(&without, &[replica(A, B), primary(B), replica(C, B)]);
    assert_eq!(after.writes, Writes::Primary(B));
    assert_eq!(roles(&after), [Role::Replica, Role::Primary, Role::Replica]);
}

// --- epoch ---

#[test]
fn the_epoch_rises_exactly_when_other_servers_take_the_writes() {
    let epoch = |topology: &Topology| topology.epoch.0;
    let start = unseen();
    let one = usual();
    assert_eq!((epoch(&start), epoch(&one)), (0, 1));
    let same = judge(&one, &[primary(A), replica(B, A), refused(C)]);
    assert_eq!(epoch(&same), 1);
    let without = judge(&same, &[refused(A), replica(B, A), refused(C)]);
    assert_eq!(epoch(&without), 2);
    let still_without = judge(&without, &[refused(A), replica(B, A), replica(C, A)]);
    assert_eq!(epoch(&still_without), 2);
    assert_ne!(without.writes, still_without.writes);
    let conflict = judge(&still_without, &[primary(A), primary(B), replica(C, A)]);
    assert_eq!(epoch(&conflict), 3);
    let other_conflict = judge(&conflict, &[primary(A), replica(B, A), primary(C)]);
    assert_eq!(epoch(&other_conflict), 4);
    assert_eq!(epoch(&judge(&other_conflict, &[primary(A), replica(B, A), replica(C, A)])), 5);
}

// --- fitness ---

#[test]
fn a_replica_with_a_stopped_thread_is_unfit() {
    for (receiver, applying, text) in [
        (Receiver::Stopped, true, "the thread that receives from a:1 is stopped: 1236: gone"),
        (Receiver::Running, false, "the thread that applies from a:1 is stopped: 1236: gone"),
        (Receiver::Stopped, false, "replication from a:1 is stopped: 1236: gone"),
    ] {
        let source = Source { receiver, applying, error: Some("1236: gone".to_owned()), ..source(A) };
        let topology = judge(&usual(), &[primary(A), replicating(read_only(B), vec![source]), replica(C, A)]);
        assert_eq!(unfit(&topology, B), text);
        assert_eq!(roles(&topology)[1], Role::Replica);
    }
}

#[test]
fn lag_over_the_limit_is_unfit_and_lag_at_it_is_not() {
    for (lag_ms, fit) in [(0, true), (10_000, true), (10_001, false)] {
        let lagging = Source { lag_ms: Some(lag_ms), ..source(A) };
        let topology = judge(&usual(), &[primary(A), replicating(read_only(B), vec![lagging]), replica(C, A)]);
        assert_eq!(*health(&topology, B) == Health::Up, fit, "{lag_ms}");
        assert_eq!(topology.server(B).unwrap().lag_ms, Some(lag_ms));
    }
}

#[test]
fn a_measured_lag_counts_more_than_the_replica_s_own_word() {
    let source = || Source { lag_ms: Some(3000), ..source(A) };
    let lag_ms = |behind| {
        let lagging = Seen { behind: Some(behind), ..replicating(read_only(B), vec![source()]).result.unwrap() };
        let topology = judge(&usual(), &[primary(A), Observation { server: B, result: Ok(lagging) }, replica(C, A)]);
        (topology.server(B).unwrap().lag_ms, *health(&topology, B) == Health::Up)
    };
    let ms = Duration::from_millis;
    assert_eq!(lag_ms(Behind::By(ms(250))), (Some(250), true));
    assert_eq!(lag_ms(Behind::By(ms(10_250))), (Some(10_250), false));
    assert_eq!(lag_ms(Behind::AtLeast(ms(250))), (Some(3000), true));
    assert_eq!(lag_ms(Behind::AtLeast(ms(10_250))), (Some(10_250), false));
}

#[test]
fn of_several_sources_the_worst_counts() {
    let late = Source { lag_ms: Some(20_000), ..source(C) };
    let topology = judge(&usual(), &[primary(A), replicating(read_only(B), vec![source(A), late]), replica(C, A)]);
    assert_eq!(unfit(&topology, B), "lag is over the limit of 10000 ms");
}

#[test]
fn a_replica_that_cannot_reach_a_live_primary_is_unfit_and_one_of_a_dead_primary_is_not() {
    let deaf = || {
        let source = Source { receiver: Receiver::Connecting, lag_ms: None, ..source(A) };
        replicating(read_only(B), vec![source])
    };
    let topology = judge(&usual(), &[primary(A), deaf(), replica(C, A)]);
    assert_eq!(unfit(&topology, B), "can't reach its source a:1");
    let topology = judge(&topology, &[refused(A), deaf(), replica(C, A)]);
    assert_eq!(*health(&topology, B), Health::Up);
}

#[test]
fn a_replica_that_was_left_behind_by_a_switchover_is_unfit() {
    // A was demoted and follows nobody yet; C still follows A.
    let topology = judge(&usual(), &[read_only(A), primary(B), replica(C, A)]);
    assert_eq!(unfit(&topology, A), "does not replicate from the primary");
    assert_eq!(unfit(&topology, C), "does not replicate from the primary");
    // Now A follows B, and C through it.
    let topology = judge(&topology, &[replica(A, B), primary(B), replica(C, A)]);
    assert_eq!((health(&topology, A), health(&topology, C)), (&Health::Up, &Health::Up));
}

#[test]
fn while_nobody_takes_writes_a_demoted_primary_may_be_read() {
    let topology = judge(&usual(), &[read_only(A), replica(B, A), replica(C, A)]);
    assert_eq!(*health(&topology, A), Health::Up);
}

#[test]
fn a_replica_behind_an_unlisted_server_is_trusted() {
    let outside = Source { host: "elsewhere".to_owned(), ..source(A) };
    let topology = judge(&usual(), &[primary(A), replicating(read_only(B), vec![outside]), replica(C, B)]);
    assert_eq!((health(&topology, B), health(&topology, C)), (&Health::Up, &Health::Up));
}

#[test]
fn a_replica_whose_replication_cannot_be_read_is_unfit() {
    let seen =
        Seen { replication: Replication::NotReadable("REPLICATION CLIENT".to_owned()), read_only: true, ..seen(B) };
    let topology = judge(&usual(), &[primary(A), Observation { server: B, result: Ok(seen) }, replica(C, A)]);
    assert_eq!(
        unfit(&topology, B),
        "replication status is not readable: the monitor's account lacks REPLICATION CLIENT"
    );
}

#[test]
fn a_replica_without_gtids_is_fit() {
    let topology = usual();
    assert_eq!(topology.server(B).unwrap().gtid_executed, None);
    assert_eq!(*health(&topology, B), Health::Up);
}

// --- facts ---

#[test]
fn what_was_seen_is_published_and_what_did_not_change_is_shared() {
    let gtid = Arc::new(GtidSet::parse(Flavor::MariaDb, "0-1-5").unwrap());
    let defaults = Arc::new(Defaults::of(|name| Some(name.to_owned())));
    let seen = Seen { gtid_executed: Some(gtid.clone()), defaults: defaults.clone(), super_read_only: true, ..seen(A) };
    let observations = [Observation { server: A, result: Ok(seen) }, replica(B, A), replica(C, A)];
    let before = usual();
    let topology = judge(&before, &observations);
    let server = topology.server(A).unwrap();
    assert_eq!(
        (server.gtid_executed.as_ref(), &server.defaults, server.writable),
        (Some(&gtid), &defaults, Some(true))
    );
    assert!(server.super_read_only);
    assert!(Arc::ptr_eq(topology.server(B).unwrap(), before.server(B).unwrap()));
}

#[test]
fn judging_twice_changes_nothing() {
    let observations = [primary(A), replica(B, A), refused(C)];
    let topology = judge(&unseen(), &observations);
    assert_eq!(judge(&topology, &observations), topology);
}
