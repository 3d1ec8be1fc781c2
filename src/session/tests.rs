//! Scripts: a command, where it goes, what the server answers, and what that changes for the next command.

mod access;
mod batch;
mod begin;
mod carried;
mod diagnostics;
mod exact;
mod judge;
mod last;
mod leaving;
mod lost_values;
mod pins;
mod refused;
mod transaction;
mod under;

use super::*;
use crate::route::Reason;
use crate::sql::Verdicts;
use crate::topology::{Epoch, GtidSet, Health, Role, Server, Topology, Writes};
use crate::wire::{Command, Kind, Malformed, OkPacket, put_lenenc_bytes};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PRIMARY: ServerId = ServerId(0);
const REPLICA: ServerId = ServerId(1);
const AUTOCOMMIT: Status = Status::AUTOCOMMIT;
const IN_TRANS: Status = Status(Status::AUTOCOMMIT.0 | Status::IN_TRANS.0);
const WRITTEN: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7";

fn server(id: ServerId, role: Role, executed: &str) -> Arc<Server> {
    let mut server = Server::unseen(id, format!("db{}:3306", id.0).into());
    server.role = role;
    server.health = Health::Up;
    server.super_read_only = true;
    server.gtid_executed = Some(Arc::new(GtidSet::parse(Flavor::MySql, executed).expect("a GTID set")));
    Arc::new(server)
}

fn topology(replica_executed: &str) -> Topology {
    Topology {
        cluster: "main".into(),
        epoch: Epoch(1),
        writes: Writes::Primary(PRIMARY),
        draining: None,
        servers: vec![server(PRIMARY, Role::Primary, WRITTEN), server(REPLICA, Role::Replica, replica_executed)],
    }
}

fn session() -> Session {
    let policy = Policy {
        prepared_text_max: 1000,
        prepared_text_total_max: 2000,
        prepared_max: 3,
        connection_ids_from: 0x4000_0000,
    };
    let capabilities = Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF;
    Session::new(
        policy,
        Login {
            user: "app".into(),
            client: 0,
            capabilities,
            collation: 45,
            schema: None,
            status: AUTOCOMMIT,
            defaults: Arc::new(Defaults::of(|name| (name == "sql_mode").then(String::new))),
            flavor: Flavor::MySql,
        },
    )
}

fn query(text: &str) -> Vec<u8> {
    crate::wire::query_payload(text, Capabilities::default())
}

fn plan(session: &mut Session, payload: &[u8], complete: bool, topology: &Topology) -> Result<Plan, Malformed> {
    judged(session, payload, complete, topology, &Verdicts::small())
}

fn judged(
    session: &mut Session,
    payload: &[u8],
    complete: bool,
    topology: &Topology,
    verdicts: &Verdicts,
) -> Result<Plan, Malformed> {
    let (gtid_wait, consistency) = (Duration::from_millis(100), Consistency::Session);
    let policy = crate::route::Policy { gtid_wait, consistency, ..crate::route::Policy::default() };
    let load = |_| crate::route::Load::default();
    let positions = &Frontier::default();
    let moment = Moment {
        structure: None,
        verdicts,
        topology,
        policy: &policy,
        now: Instant::now(),
        roll: 0,
        load: &load,
        positions,
    };
    session.plan(payload, complete, &moment)
}

fn planned(session: &mut Session, payload: &[u8], topology: &Topology) -> Run {
    match plan(session, payload, true, topology).expect("a command") {
        Plan::Run(run) => run,
        other => panic!("not run: {other:?}"),
    }
}

/// Takes every step, answering OK; returns what was injected.
fn prepared(session: &mut Session, run: &mut Run, topology: &Topology) -> Vec<Prelude> {
    stepped(session, run, topology).0
}

/// The same, and the servers that were waited for.
fn stepped(session: &mut Session, run: &mut Run, topology: &Topology) -> (Vec<Prelude>, Vec<ServerId>) {
    let (mut injected, mut awaited) = (Vec::new(), Vec::new());
    loop {
        match session.next_step(run, topology) {
            Step::Await { server, until, .. } => {
                awaited.push(server);
                assert_eq!(session.awaited(run, &until, true, topology), Ok(Next::Continue));
            }
            Step::Connect => session.connected(run.route.server, AUTOCOMMIT, run.route.target == Target::Primary),
            Step::Inject { server, what, .. } => {
                injected.push(what);
                let answer = match what {
                    Prelude::Position => Answer::Row(vec![Some(WRITTEN.into())]),
                    Prelude::LearnCharset => {
                        Answer::Row(["utf8mb4", "utf8mb4", "utf8mb4_bin"].map(|name| Some(name.into())).to_vec())
                    }
                    Prelude::Prepare => Answer::Prepared(crate::wire::PrepareOk {
                        id: 70,
                        columns: 0,
                        params: 1,
                        warnings: 0,
                        metadata_follows: true,
                    }),
                    _ => Answer::Ok,
                };
                assert_eq!(session.injected(run, server, what, answer), Next::Continue);
            }
            Step::Go => return (injected, awaited),
            other => panic!("cannot run: {other:?}"),
        }
    }
}

fn entry(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    put_lenenc_bytes(&mut out, data);
    out
}

fn gtids(text: &str) -> Vec<u8> {
    let mut data = vec![0];
    put_lenenc_bytes(&mut data, text.as_bytes());
    entry(3, &data)
}

fn ok(status: Status, changes: &[u8]) -> (Kind, Vec<u8>) {
    let mut payload = Vec::new();
    let ok = OkPacket { session_state: (!changes.is_empty()).then_some(changes), ..OkPacket::new(status) };
    ok.encode(Capabilities::SESSION_TRACK, &mut payload);
    let changed = if changes.is_empty() { 0 } else { Status::SESSION_STATE_CHANGED.0 };
    (Kind::Ok(Status(status.0 | changed)), payload)
}

fn answered(session: &mut Session, run: &mut Run, payload: &[u8], answer: &(Kind, Vec<u8>)) -> Option<Vec<u8>> {
    let shown = session.on_packet(run, answer.0, &answer.1).expect("a proper packet");
    session.finished(run, payload);
    shown
}

/// Runs a statement to its OK; returns where it went, why, and what was injected before it.
fn ran(
    session: &mut Session,
    text: &str,
    status: Status,
    changes: &[u8],
    topology: &Topology,
) -> (ServerId, Reason, Vec<Prelude>) {
    let payload = query(text);
    let mut run = planned(session, &payload, topology);
    let injected = prepared(session, &mut run, topology);
    answered(session, &mut run, &payload, &ok(status, changes));
    (run.route.server, run.route.reason, injected)
}

/// Runs a read; returns where, what was injected before it, and the servers that were waited for.
fn read(session: &mut Session, text: &str, topology: &Topology) -> (ServerId, Vec<Prelude>, Vec<ServerId>) {
    let payload = query(text);
    let mut run = planned(session, &payload, topology);
    let (injected, awaited) = stepped(session, &mut run, topology);
    answered(session, &mut run, &payload, &ok(AUTOCOMMIT, &[]));
    (run.route.server, injected, awaited)
}

#[test]
fn a_read_goes_to_the_replica_and_a_write_to_the_primary() {
    let (mut session, topology) = (session(), topology(""));
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology), (REPLICA, Reason::PlainRead, vec![]));
    let (server, _, injected) = ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &[], &topology);
    assert_eq!((server, injected), (PRIMARY, vec![Prelude::Track]));
}

#[test]
fn after_a_write_the_replica_is_waited_for_before_the_read_is_sent() {
    let (mut session, behind) = (session(), topology(""));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &gtids(WRITTEN), &behind);
    assert_eq!(read(&mut session, "SELECT 1", &behind), (REPLICA, vec![], vec![REPLICA]));
    // A role that a lagging replica does not have yet would be refused.
    ran(&mut session, "SET ROLE r", AUTOCOMMIT, &[], &behind);
    let run = planned(&mut session, &query("SELECT 1"), &behind);
    assert!(matches!(session.next_step(&run, &behind), Step::Await { server: REPLICA, .. }), "before anything else");
}

#[test]
fn a_replica_known_to_have_the_write_is_not_waited_for() {
    let (mut session, caught_up) = (session(), topology(WRITTEN));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &gtids(WRITTEN), &caught_up);
    assert_eq!(read(&mut session, "SELECT 1", &caught_up), (REPLICA, vec![], vec![]));
}

#[test]
fn a_replica_that_does_not_get_there_in_time_loses_the_read_to_the_primary() {
    let (mut session, behind) = (session(), topology(""));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &gtids(WRITTEN), &behind);
    let mut run = planned(&mut session, &query("SELECT 1"), &behind);
    let Step::Await { server: REPLICA, until, .. } = session.next_step(&run, &behind) else { panic!("no wait") };
    assert_eq!(session.awaited(&mut run, &until, false, &behind), Ok(Next::ToPrimary(Reason::ReplicaBehind)));
}

#[test]
fn an_open_transaction_keeps_its_reads_on_the_primary_until_it_ends() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    let read = ran(&mut session, "SELECT 1", IN_TRANS, &[], &topology);
    assert_eq!((read.0, read.1), (PRIMARY, Reason::Transaction));
    ran(&mut session, "COMMIT", AUTOCOMMIT, &[], &topology);
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).0, REPLICA);
}

#[test]
fn the_servers_flag_counts_not_the_statement() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "UPDATE t SET a = 1", IN_TRANS, &[], &topology);
    assert_eq!(ran(&mut session, "SELECT 1", IN_TRANS, &[], &topology).0, PRIMARY);
}

#[test]
fn a_change_of_state_that_nothing_explains_pins() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &entry(2, b"1"), &topology);
    assert_eq!(session.bound(), Some("unclassified"));
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).0, PRIMARY);
}

#[test]
fn a_pin_goes_when_the_connection_is_reset() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "CREATE TEMPORARY TABLE t (a INT)", AUTOCOMMIT, &entry(2, b"1"), &topology);
    assert_eq!(session.bound(), Some("temporary_table"));
    let payload = [Command::ResetConnection as u8];
    let mut run = planned(&mut session, &payload, &topology);
    answered(&mut session, &mut run, &payload, &ok(AUTOCOMMIT, &[]));
    assert_eq!(session.bound(), None);
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).2, vec![Prelude::Reset]);
    assert_eq!(ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &[], &topology).2, vec![Prelude::Track]);
}

#[test]
fn the_schema_follows_to_the_replica() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology);
    let mut schema = Vec::new();
    put_lenenc_bytes(&mut schema, b"shop");
    ran(&mut session, "USE shop", AUTOCOMMIT, &[entry(1, &schema), entry(2, b"1")].concat(), &topology);
    assert_eq!((session.schema(), session.bound()), (Some(&b"shop"[..]), None));
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).2, vec![Prelude::Schema]);
}

#[test]
fn the_collation_is_asked_for_before_the_replica_is_given_it() {
    let (mut session, topology) = (session(), topology(""));
    let variable = [&b"\x14character_set_client"[..], b"\x07utf8mb4"].concat();
    let changes = [entry(0, &variable), entry(2, b"1")].concat();
    ran(&mut session, "SET NAMES utf8mb4 COLLATE utf8mb4_bin", AUTOCOMMIT, &changes, &topology);
    assert_eq!(session.bound(), None);
    let read = ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology);
    assert_eq!((read.0, read.2), (REPLICA, vec![Prelude::LearnCharset, Prelude::Charset]));
}

#[test]
fn autocommit_off_outlives_the_backend_that_it_was_set_on() {
    let (mut session, topology) = (session(), topology(""));
    let off = Status(0);
    ran(&mut session, "SET autocommit=0", off, &entry(2, b"1"), &topology);
    assert_eq!(session.backend_closed(PRIMARY), Ok(()));
    let (server, reason, injected) = ran(&mut session, "SELECT 1", off, &[], &topology);
    assert_eq!((server, reason), (PRIMARY, Reason::AutocommitOff));
    assert_eq!(injected, vec![Prelude::Track, Prelude::Autocommit]);
}

#[test]
fn a_lost_backend_with_a_transaction_is_the_clients_loss() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    assert_eq!(session.backend_closed(PRIMARY), Err("transaction"));
}

#[test]
fn a_client_without_session_tracking_sees_none_of_ours() {
    let (mut session, topology) = (session(), topology(""));
    let payload = query("INSERT INTO t VALUES (1)");
    let mut run = planned(&mut session, &payload, &topology);
    prepared(&mut session, &mut run, &topology);
    let shown = answered(&mut session, &mut run, &payload, &ok(AUTOCOMMIT, &gtids(WRITTEN)));
    let mut plain = Vec::new();
    OkPacket::new(AUTOCOMMIT).encode(Capabilities::default(), &mut plain);
    assert_eq!(shown, Some(plain));
}

fn execute(id: u32, bound: bool) -> Vec<u8> {
    let mut payload = vec![Command::StmtExecute as u8];
    payload.extend_from_slice(&id.to_le_bytes());
    payload.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
    payload.extend_from_slice(if bound { &[1, 3, 0][..] } else { &[0][..] });
    payload.extend_from_slice(&7u32.to_le_bytes());
    payload
}

#[test]
fn a_statement_prepared_on_the_replica_is_prepared_again_in_a_transaction_with_its_types() {
    let (mut session, topology) = (session(), topology(""));
    let payload = [&[Command::StmtPrepare as u8], &b"SELECT a FROM t WHERE a = ?"[..]].concat();
    let mut run = planned(&mut session, &payload, &topology);
    assert_eq!(run.route.server, REPLICA);
    prepared(&mut session, &mut run, &topology);
    let answer = (Kind::PrepareOk, vec![0, 33, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    let shown = answered(&mut session, &mut run, &payload, &answer).expect("its id is the session's");
    assert_eq!(shown[1..5], [1, 0, 0, 0]);

    let first = execute(1, true);
    let mut run = planned(&mut session, &first, &topology);
    assert_eq!(session.edit(&run, &first, true), Edit::StatementId(33));
    answered(&mut session, &mut run, &first, &ok(AUTOCOMMIT, &[]));

    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    let second = execute(1, false);
    let mut run = planned(&mut session, &second, &topology);
    assert_eq!((run.route.server, prepared(&mut session, &mut run, &topology)), (PRIMARY, vec![Prelude::Prepare]));
    let Edit::Payload(sent) = session.edit(&run, &second, true) else { panic!("types must be sent again") };
    let mut wanted = execute(1, true);
    wanted[1..5].copy_from_slice(&70u32.to_le_bytes());
    assert_eq!(sent, wanted);
    assert_eq!(session.edit(&run, &second, true), Edit::StatementId(70));
}

#[test]
fn an_unknown_statement_gets_the_servers_own_error() {
    let (mut session, topology) = (session(), topology(""));
    let plan = plan(&mut session, &execute(9, true), true, &topology).expect("a command");
    assert!(matches!(plan, Plan::Fail(Failure::UnknownStatement { id: 9, .. })));
}

#[test]
fn a_transaction_does_not_move_to_another_primary() {
    let (mut session, mut topology) = (session(), topology(""));
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    topology.writes = Writes::Primary(REPLICA);
    let plan = plan(&mut session, &query("COMMIT"), true, &topology).expect("a command");
    assert!(matches!(plan, Plan::Abandon { server: PRIMARY, fatal: false, .. }));
}

#[test]
fn two_writable_servers_stop_the_writes_and_not_the_reads() {
    let (mut session, mut topology) = (session(), topology(""));
    topology.writes = Writes::Conflict(vec![PRIMARY, REPLICA]);
    let plan = plan(&mut session, &query("DELETE FROM t"), true, &topology).expect("a command");
    let Plan::Refuse(Refusal::Conflict(servers)) = plan else { panic!("refused") };
    assert_eq!(servers, ["db0:3306", "db1:3306"]);
    assert_eq!(planned(&mut session, &query("SELECT 1"), &topology).route.server, REPLICA);
}

#[test]
fn a_result_set_without_room_for_a_position_keeps_the_reads_on_the_primary() {
    let (mut session, topology) = (session(), topology(""));
    let payload = query("INSERT INTO t VALUES (1) RETURNING a");
    let mut run = planned(&mut session, &payload, &topology);
    prepared(&mut session, &mut run, &topology);
    answered(&mut session, &mut run, &payload, &(Kind::Eof(AUTOCOMMIT), vec![0xfe, 0, 0, 2, 0]));
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).1, Reason::OwnWriteUntracked);
    // A look at the primary that began later shows the write.
    let looked = looked(topology);
    let position = vec![Prelude::Position];
    assert_eq!(read(&mut session, "SELECT 1", &looked), (REPLICA, position, vec![REPLICA]));
}

/// The same after another look at the primary.
fn looked(mut topology: Topology) -> Topology {
    Arc::make_mut(&mut topology.servers[0]).looked = Some(Instant::now());
    topology
}

#[test]
fn a_commit_whose_position_a_server_does_not_tell_is_a_write() {
    let (mut session, mut topology) = (session(), topology(""));
    Arc::make_mut(&mut topology.servers[0]).gtid_executed = None;
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    ran(&mut session, "INSERT INTO t VALUES (1)", IN_TRANS, &[], &topology);
    ran(&mut session, "COMMIT", AUTOCOMMIT, &[], &topology);
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).1, Reason::OwnWriteUntracked);
}

#[test]
fn a_transaction_that_only_read_leaves_the_replicas_as_they_are() {
    let (mut session, mut topology) = (session(), topology(""));
    Arc::make_mut(&mut topology.servers[0]).gtid_executed = None;
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    ran(&mut session, "SELECT 1", IN_TRANS, &[], &topology);
    ran(&mut session, "COMMIT", AUTOCOMMIT, &[], &topology);
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).0, REPLICA);
}

const OTHER: ServerId = ServerId(2);

fn with_other(mut topology: Topology) -> Topology {
    topology.servers.push(server(OTHER, Role::Replica, ""));
    topology
}

fn drained(mut topology: Topology) -> Topology {
    Arc::make_mut(&mut topology.servers[1]).mark = crate::topology::Mark::Drain;
    topology
}

#[test]
fn a_replica_that_is_left_is_asked_how_far_it_is_so_that_the_next_is_not_behind_it() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology);
    let topology = drained(with_other(topology));
    let payload = query("SELECT 1");
    let mut run = planned(&mut session, &payload, &topology);
    assert_eq!(run.route.server, OTHER);
    let Step::Inject { server: REPLICA, what: Prelude::Position, .. } = session.next_step(&run, &topology) else {
        panic!("not asked")
    };
    let at = Answer::Row(vec![Some(WRITTEN.into())]);
    assert_eq!(session.injected(&mut run, REPLICA, Prelude::Position, at), Next::Continue);
    assert_eq!(stepped(&mut session, &mut run, &topology), (vec![], vec![OTHER]));
    answered(&mut session, &mut run, &payload, &ok(AUTOCOMMIT, &[]));
    // Once is enough.
    assert_eq!(read(&mut session, "SELECT 1", &topology).1, vec![]);
}

#[test]
fn after_a_replica_was_lost_the_primary_answers_until_it_is_known_what_that_could_have_shown() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology);
    session.backend_closed(REPLICA).expect("nothing is lost");
    let topology = drained(with_other(topology));
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).1, Reason::ReplicaLost);
    let topology = looked(topology);
    // What the primary answered meanwhile counts, too.
    assert_eq!(read(&mut session, "SELECT 1", &topology), (OTHER, vec![Prelude::Position], vec![OTHER]));
}

#[test]
fn a_write_that_is_gone_is_not_waited_for() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &gtids(WRITTEN), &topology);
    assert_eq!(read(&mut session, "SELECT 1", &topology).2, [REPLICA]);
    // The look that comes next finds nothing of it: RESET, or a failover that lost it.
    let mut reset = looked(topology);
    Arc::make_mut(&mut reset.servers[0]).gtid_executed = reset.servers[1].gtid_executed.clone();
    assert_eq!(read(&mut session, "SELECT 1", &reset), (REPLICA, vec![], vec![]));
}

#[test]
fn in_a_schema_of_the_servers_own_tables_reads_stay_on_the_primary() {
    let (mut session, topology) = (session(), topology(""));
    session.state.schema = Some(b"Performance_Schema".to_vec());
    assert_eq!(planned(&mut session, &query("SELECT * FROM threads"), &topology).route.server, PRIMARY);
}

proptest::proptest! {
    #[test]
    fn no_commands_bytes_panic(payload: Vec<u8>, complete: bool, packet: Vec<u8>) {
        let (mut session, topology) = (session(), topology(""));
        if let Ok(Plan::Run(mut run)) = plan(&mut session, &payload, complete, &topology) {
            let _ = session.edit(&run, &payload, complete);
            for kind in [Kind::Ok(Status(0x4002)), Kind::Err, Kind::PrepareOk, Kind::Eof(AUTOCOMMIT)] {
                let _ = session.on_packet(&mut run, kind, &packet);
            }
            session.finished(&run, &payload);
        }
    }
}

#[test]
fn the_consistency_of_a_session_is_its_own_to_set_and_to_ask_for() {
    let (mut session, topology) = (session(), topology(""));
    let mut answer = |text: &str| plan(&mut session, &query(text), true, &topology).expect("a command");
    let shows = |plan: &Plan, word: &str| {
        let Plan::Answer(bytes) = plan else { return false };
        bytes.windows(word.len()).any(|part| part == word.as_bytes())
    };
    assert!(shows(&answer("SELECT @@dbproxy_consistency"), "session"));
    assert!(matches!(answer("SET dbproxy_consistency = 'eventual'"), Plan::Ok));
    assert!(shows(&answer("SELECT @@dbproxy_consistency"), "eventual"));
    assert!(matches!(answer("SET dbproxy_consistency = 'no'"), Plan::Fail(Failure::WrongConsistency(_))));
    assert!(matches!(answer("SET dbproxy_consistency = DEFAULT"), Plan::Ok));
    assert!(shows(&answer("SELECT @@dbproxy_consistency"), "session"));
}

#[test]
fn an_eventual_read_waits_for_nothing() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &gtids(WRITTEN), &topology);
    let set = plan(&mut session, &query("SET dbproxy_consistency = eventual"), true, &topology).expect("a command");
    assert!(matches!(set, Plan::Ok));
    assert_eq!(read(&mut session, "SELECT 1", &topology), (REPLICA, vec![], vec![]));
}

#[test]
fn a_client_may_name_what_its_reads_must_see() {
    let (mut session, behind) = (session(), topology(""));
    let hinted = format!("/* dbproxy: gtid='{WRITTEN}' */ SELECT 1");
    assert_eq!(read(&mut session, &hinted, &behind), (REPLICA, vec![], vec![REPLICA]));
    assert_eq!(read(&mut session, &hinted, &topology(WRITTEN)), (REPLICA, vec![], vec![]), "known to be there");
    assert_eq!(read(&mut session, "SELECT 1", &behind), (REPLICA, vec![], vec![]), "of one statement only");
    let mut set = |sql: &str| plan(&mut session, &query(sql), true, &behind).expect("a command");
    assert!(matches!(set(&format!("SET dbproxy_gtid = '{WRITTEN}'")), Plan::Ok));
    for wrong in ["SET dbproxy_gtid = '0-1-7'", "/* dbproxy: gtid=yesterday */ SELECT 1"] {
        assert!(matches!(set(wrong), Plan::Fail(Failure::WrongGtid { .. })), "{wrong}");
    }
    assert_eq!(read(&mut session, "SELECT 1", &behind), (REPLICA, vec![], vec![REPLICA]));
    // The primary must have it, too.
    let (_, injected, awaited) = read(&mut session, "/* dbproxy: primary */ SELECT 1", &behind);
    assert_eq!((injected, awaited), (vec![Prelude::Position, Prelude::Track], vec![PRIMARY, PRIMARY]));
    session.reset();
    assert_eq!(session.state.named, None);
}
