//! What must be the same wherever a statement runs: found by sessions played straight and through.

use super::*;
use crate::wire::ErrPacket;

const PREPARE: u8 = 0x16;
const EXECUTE: &[u8] = &[0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0];

fn in_schema(name: &str) -> Vec<u8> {
    let mut data = Vec::new();
    put_lenenc_bytes(&mut data, name.as_bytes());
    entry(1, &data)
}

/// Prepares a read on the replica, in the schema that the session has.
fn prepare_read(session: &mut Session, topology: &Topology) {
    let payload = [&[PREPARE], &b"SELECT n FROM t"[..]].concat();
    let mut run = planned(session, &payload, topology);
    assert_eq!(run.route.server, REPLICA);
    prepared(session, &mut run, topology);
    answered(session, &mut run, &payload, &(Kind::PrepareOk, vec![0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
}

#[test]
fn a_statement_is_prepared_again_in_the_schema_in_which_it_was_prepared() {
    let topology = topology(WRITTEN);
    let mut session = session();
    ran(&mut session, "USE one", AUTOCOMMIT, &in_schema("one"), &topology);
    prepare_read(&mut session, &topology);
    ran(&mut session, "USE two", AUTOCOMMIT, &in_schema("two"), &topology);
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    let mut run = planned(&mut session, EXECUTE, &topology);
    assert_eq!(run.route.server, PRIMARY);
    let injected = prepared(&mut session, &mut run, &topology);
    assert_eq!(injected, [Prelude::Schema, Prelude::Prepare, Prelude::Schema]);
    assert_eq!(session.schema(), Some(&b"two"[..]));
}

#[test]
fn a_statement_of_a_schema_runs_where_the_session_has_none() {
    let topology = topology(WRITTEN);
    let mut session = session();
    ran(&mut session, "USE one", AUTOCOMMIT, &in_schema("one"), &topology);
    prepare_read(&mut session, &topology);
    ran(&mut session, "DROP DATABASE one", AUTOCOMMIT, &in_schema(""), &topology);
    let mut run = planned(&mut session, EXECUTE, &topology);
    assert_eq!(prepared(&mut session, &mut run, &topology), []);
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    let mut run = planned(&mut session, EXECUTE, &topology);
    assert_eq!(prepared(&mut session, &mut run, &topology), [Prelude::Schema, Prelude::Prepare]);
    // Told of the schema that only the backend has, the session has none still.
    answered(&mut session, &mut run, EXECUTE, &ok(IN_TRANS, &in_schema("one")));
    assert_eq!(session.schema(), None);
}

#[test]
fn a_replica_that_is_fetched_from_does_not_hide_the_open_transaction() {
    let topology = topology(WRITTEN);
    let mut session = session();
    prepare_read(&mut session, &topology);
    // CURSOR_TYPE_READ_ONLY.
    let execute = [&EXECUTE[..5], &[1], &EXECUTE[6..]].concat();
    let mut run = planned(&mut session, &execute, &topology);
    prepared(&mut session, &mut run, &topology);
    let cursor = Status(AUTOCOMMIT.0 | Status::CURSOR_EXISTS.0);
    answered(&mut session, &mut run, &execute, &ok(cursor, &[]));
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    let fetch = [&[0x1c, 1, 0, 0, 0][..], &2_u32.to_le_bytes()].concat();
    let mut run = planned(&mut session, &fetch, &topology);
    assert_eq!(run.route.server, REPLICA);
    let shown = answered(&mut session, &mut run, &fetch, &ok(cursor, &[])).expect("rewritten");
    let status = OkPacket::decode(&shown, Capabilities::default()).expect("OK").status;
    assert!(status.has(Status::IN_TRANS) && status.has(Status::CURSOR_EXISTS), "{status:?}");
}

#[test]
fn long_data_that_could_not_be_sent_fails_the_execution() {
    let topology = topology(WRITTEN);
    let mut session = session();
    prepare_read(&mut session, &topology);
    let long_data = [0x18, 1, 0, 0, 0, 0, 0, b'x'];
    let failure = Failure::NoPrimary { cluster: "main".into(), waited: Duration::ZERO, why: "nobody".into() };
    assert!(!session.awaits_refusal(&long_data, &failure), "it has no answer");
    assert!(session.awaits_refusal(EXECUTE, &failure));
    let told = |session: &mut Session| match plan(session, EXECUTE, true, &topology).expect("a command") {
        Plan::Fail(told) => Some(told),
        _ => None,
    };
    assert_eq!(told(&mut session), Some(failure.clone()));
    assert_eq!(told(&mut session), Some(failure), "until it is reset");
    assert!(matches!(plan(&mut session, &[0x1a, 1, 0, 0, 0], true, &topology), Ok(Plan::Ok)));
    assert_eq!(told(&mut session), None);
}

#[test]
fn a_client_that_chooses_what_it_is_told_is_told_nothing_of_ours() {
    let topology = topology(WRITTEN);
    let mut session = session();
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &[], &topology);
    let choose = "SET session_track_system_variables = 'sql_mode'";
    assert_eq!(ran(&mut session, choose, AUTOCOMMIT, &[], &topology).2, [Prelude::Untrack]);
    assert_eq!(ran(&mut session, "SELECT n FROM t", AUTOCOMMIT, &[], &topology).2, []);
}

#[test]
fn a_reset_without_a_backend_forgets_autocommit_too() {
    let topology = topology(WRITTEN);
    let mut session = session();
    ran(&mut session, "SET autocommit = 0", Status(0), &[], &topology);
    assert!(!session.status().has(AUTOCOMMIT));
    session.backend_closed(PRIMARY).expect("nothing is lost");
    assert!(matches!(plan(&mut session, &[0x1f], true, &topology), Ok(Plan::Ok)));
    assert!(session.status().has(AUTOCOMMIT));
    assert_eq!(
        ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &[], &topology).2,
        [Prelude::Reset, Prelude::Track]
    );
}

#[test]
fn a_write_that_failed_may_have_done_a_part() {
    let topology = topology(WRITTEN);
    for (text, to) in [("DROP TABLE t, missing", PRIMARY), ("SELECT nonsense FROM t", REPLICA)] {
        let mut session = session();
        let payload = query(text);
        let mut run = planned(&mut session, &payload, &topology);
        prepared(&mut session, &mut run, &topology);
        answered(&mut session, &mut run, &payload, &(Kind::Err, b"\xff\x1b\x04#42S02gone".to_vec()));
        assert_eq!(planned(&mut session, &query("SELECT n FROM t"), &topology).route.server, to, "{text}");
    }
}

#[test]
fn only_what_a_server_has_surely_not_run_may_run_elsewhere() {
    let topology = topology(WRITTEN);
    let mut session = session();
    let err = |code: u16, text: &str| {
        let mut payload = Vec::new();
        ErrPacket::new(code, *b"HY000", text).encode(&mut payload);
        payload
    };
    let read_only =
        err(1290, "The MySQL server is running with the --super-read-only option so it cannot execute this");
    let other_option =
        err(1290, "The MySQL server is running with the --secure-file-priv option so it cannot execute this");
    let shutdown = err(1053, "Server shutdown in progress");
    let mut judged = |sql: &str| {
        let run = planned(&mut session, &query(sql), &topology);
        [&read_only, &other_option, &shutdown].map(|payload| session.not_run(&run, payload).is_some())
    };
    assert_eq!(judged("INSERT INTO t VALUES (1)"), [true, false, false]);
    assert_eq!(judged("CREATE TABLE u (id INT)"), [true, false, false]);
    // Its first statements may have been committed before the server became read-only.
    assert_eq!(judged("CALL p()"), [false, false, false]);
    // The primary can do what a replica does not.
    assert_eq!(judged("SELECT n FROM t"), [true, true, true]);
    assert_eq!(judged("SELECT n FROM t FOR UPDATE"), [false, false, false]);
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    let run = planned(&mut session, &query("INSERT INTO t VALUES (1)"), &topology);
    assert_eq!(session.not_run(&run, &read_only), None, "what came before it in its transaction is gone");
}
