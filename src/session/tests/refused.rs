//! A replica answers with an error, or refuses what the session has.

use super::*;

const CHANGED: &[u8] = &[2, 1, b'1'];
/// Unknown table.
const UNKNOWN: u16 = 1146;

fn err(code: u16) -> Vec<u8> {
    let mut payload = Vec::new();
    crate::wire::ErrPacket::new(code, *b"HY000", "no").encode(&mut payload);
    payload
}

fn refused(session: &Session, run: &Run, code: u16) -> bool {
    matches!(session.not_run(run, &err(code)), Some(NotRun::Refused(refused)) if refused.code == code)
}

/// The replica refuses a command of ours.
fn refuse(session: &mut Session, run: &mut Run, what: Prelude, code: u16) -> Next {
    let err = crate::wire::ErrPacket::decode(&err(code)).expect("an error");
    session.injected(run, REPLICA, what, Answer::Err(err))
}

#[test]
fn any_error_of_a_read_on_a_replica_but_its_end_is_asked_again_at_the_primary() {
    let (mut session, topology) = (session(), topology(""));
    let prepare = [&[Command::StmtPrepare as u8], &b"SELECT 1"[..]].concat();
    for payload in [query("SELECT 1"), prepare] {
        let run = planned(&mut session, &payload, &topology);
        assert_eq!(run.route.server, REPLICA);
        for code in [3, 1040, 1044, 1049, 1054, 1064, UNKNOWN, 1205, 1213, 1290, 1305, 1356, 1792, 3032, 65_000] {
            assert!(refused(&session, &run, code), "{code}");
        }
        for code in [1028, 1317, 1927, 1969, 3024, 3169] {
            assert_eq!(session.not_run(&run, &err(code)), None, "{code}");
        }
    }
}

#[test]
fn no_other_error_is() {
    let (mut session, topology) = (session(), topology(""));
    for text in ["/* dbproxy: primary */ SELECT 1", "INSERT INTO t VALUES (1)", "SHOW WARNINGS"] {
        let run = planned(&mut session, &query(text), &topology);
        assert!(!refused(&session, &run, UNKNOWN), "{text}");
    }
    let mut run = planned(&mut session, &query("SELECT 1"), &topology);
    run.set_over_limit();
    assert!(!refused(&session, &run, UNKNOWN), "its rule ended it");
    let begin = ran(&mut session, "START TRANSACTION READ ONLY", IN_TRANS, &[], &topology);
    assert_eq!((begin.0, begin.1), (REPLICA, Reason::ReadOnlyTransaction));
    let run = planned(&mut session, &query("SELECT 1"), &topology);
    assert!(!refused(&session, &run, UNKNOWN), "the transaction is the replica's");
}

#[test]
fn the_primary_is_asked_once_and_ran_the_statement() {
    let (mut session, topology) = (session(), topology(""));
    let payload = query("SELECT 1");
    let mut run = planned(&mut session, &payload, &topology);
    prepared(&mut session, &mut run, &topology);
    run.refused(UNKNOWN);
    session.move_to_primary(&mut run, Reason::ReplicaRefused, &topology).expect("a primary");
    assert!(run.repeatable, "it is still a read");
    prepared(&mut session, &mut run, &topology);
    assert!(!refused(&session, &run, UNKNOWN));
    answered(&mut session, &mut run, &payload, &ok(AUTOCOMMIT, &[]));
    assert_eq!(planned(&mut session, &query("SHOW WARNINGS"), &topology).route.server, PRIMARY);
    assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).0, REPLICA);
}

#[test]
fn what_turned_out_to_write_is_not_sent_twice_and_its_position_is_missed() {
    let (mut session, topology) = (session(), topology(""));
    let payload = query("SELECT a FROM v");
    let mut run = planned(&mut session, &payload, &topology);
    prepared(&mut session, &mut run, &topology);
    run.refused(1290);
    session.move_to_primary(&mut run, Reason::ReplicaRefused, &topology).expect("a primary");
    assert!(!run.repeatable);
    prepared(&mut session, &mut run, &topology);
    // The end of a result set for a client that wants EOF packets carries no position.
    answered(&mut session, &mut run, &payload, &(Kind::Eof(AUTOCOMMIT), vec![0xfe, 0, 0, 2, 0]));
    let read = ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology);
    assert_eq!((read.0, read.1), (PRIMARY, Reason::OwnWriteUntracked));
}

#[test]
fn the_primary_first_finishes_what_the_replica_has_shown() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology);
    let mut run = planned(&mut session, &query("SELECT 1"), &topology);
    session.move_to_primary(&mut run, Reason::ReplicaRefused, &topology).expect("a primary");
    let (injected, awaited) = stepped(&mut session, &mut run, &topology);
    assert_eq!((injected, awaited), (vec![Prelude::Position, Prelude::Track], vec![PRIMARY]));
}

#[test]
fn a_state_that_a_replica_refuses_sends_reads_to_the_primary_for_a_while_and_binds_nothing() {
    for (set, what) in [("SET SESSION a = 1", Prelude::Variables), ("SET ROLE r", Prelude::Role)] {
        let (mut session, topology) = (session(), topology(""));
        ran(&mut session, set, AUTOCOMMIT, CHANGED, &topology);
        let mut run = planned(&mut session, &query("SELECT 1"), &topology);
        session.connected(REPLICA, AUTOCOMMIT, false);
        let next = refuse(&mut session, &mut run, what, 1193);
        assert!(matches!(next, Next::Refused { of_session: true, .. }), "{next:?}");
        session.refused_state(REPLICA, Instant::now());
        assert_eq!(session.bound(), None);
        let read = ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology);
        assert_eq!((read.0, read.1), (PRIMARY, Reason::ReplicaRefused));
        assert_eq!(ran(&mut session, "SHOW WARNINGS", AUTOCOMMIT, &[], &topology).0, PRIMARY);
        // Another state, and the same one later.
        session.state.refused.as_mut().expect("it was refused").until = Instant::now();
        assert_eq!(planned(&mut session, &query("SELECT 1"), &topology).route.server, REPLICA);
        session.refused_state(REPLICA, Instant::now());
        ran(&mut session, "SET SESSION b = 1", AUTOCOMMIT, CHANGED, &topology);
        assert_eq!(planned(&mut session, &query("SELECT 1"), &topology).route.server, REPLICA);
    }
}

#[test]
fn a_statement_that_cannot_be_prepared_on_a_replica_keeps_no_other_away_from_it() {
    let (mut session, topology) = (session(), topology(""));
    let mut run = planned(&mut session, &query("SELECT 1"), &topology);
    session.connected(REPLICA, AUTOCOMMIT, false);
    let next = refuse(&mut session, &mut run, Prelude::Prepare, UNKNOWN);
    assert!(matches!(next, Next::Refused { of_session: false, .. }), "{next:?}");
}

#[test]
fn what_is_killed_while_its_replica_is_brought_there_is_killed() {
    let (mut session, topology) = (session(), topology(""));
    let mut run = planned(&mut session, &query("SELECT 1"), &topology);
    session.connected(REPLICA, AUTOCOMMIT, false);
    for what in [Prelude::Under, Prelude::Schema, Prelude::Charset] {
        let next = refuse(&mut session, &mut run, what, 1317);
        assert!(matches!(next, Next::Fail(Failure::Server(ref err)) if err.code == 1317), "{next:?}");
    }
}

#[test]
fn a_long_execute_is_the_primarys() {
    let (mut session, topology) = (session(), topology(""));
    let payload = [&[Command::StmtPrepare as u8], &b"SELECT a FROM t WHERE a = ?"[..]].concat();
    let mut run = planned(&mut session, &payload, &topology);
    prepared(&mut session, &mut run, &topology);
    answered(&mut session, &mut run, &payload, &(Kind::PrepareOk, vec![0, 33, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]));
    assert_eq!(planned(&mut session, &execute(1, true), &topology).route.server, REPLICA);
    let plan = plan(&mut session, &execute(1, true), false, &topology).expect("a command");
    assert!(matches!(plan, Plan::Run(run) if run.route.server == PRIMARY));
}
