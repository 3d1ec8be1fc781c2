//! What one connection keeps between statements, once it is lost.

use super::*;

fn with_id(id: u64) -> (Kind, Vec<u8>) {
    let mut payload = Vec::new();
    OkPacket { last_insert_id: id, ..OkPacket::new(AUTOCOMMIT) }.encode(Capabilities::SESSION_TRACK, &mut payload);
    (Kind::Ok(AUTOCOMMIT), payload)
}

fn inserted(session: &mut Session, id: u64, topology: &Topology) {
    let payload = query("INSERT INTO t VALUES ()");
    let mut run = planned(session, &payload, topology);
    prepared(session, &mut run, topology);
    answered(session, &mut run, &payload, &with_id(id));
}

/// What a statement asks for that is lost.
fn lost(session: &mut Session, text: &str, topology: &Topology) -> Option<&'static str> {
    match plan(session, &query(text), true, topology).expect("a command") {
        Plan::Fail(Failure::StateLost { bound, server }) => {
            assert_eq!(server, "db0:3306");
            Some(bound)
        }
        Plan::Run(_) => None,
        other => panic!("{other:?}"),
    }
}

const ASKS: [&str; 4] = [
    "SELECT LAST_INSERT_ID()",
    "INSERT INTO child VALUES (last_insert_id())",
    "SELECT @@identity",
    "SELECT * FROM t WHERE id = LAST_INSERT_ID ()",
];

#[test]
fn an_insert_id_that_is_lost_is_told_to_whoever_asks_for_it() {
    for text in ASKS {
        let (mut session, topology) = (session(), topology(""));
        assert_eq!(lost(&mut session, text, &topology), None, "there was none: {text}");
        inserted(&mut session, 7, &topology);
        assert_eq!(lost(&mut session, text, &topology), None, "{text}");
        assert_eq!(session.backend_closed(PRIMARY), Ok(()));
        assert_eq!(lost(&mut session, text, &topology), Some("last_insert_id"), "{text}");
        // Another connection is opened meanwhile, which has none.
        ran(&mut session, "UPDATE t SET a = 1", AUTOCOMMIT, &[], &topology);
        assert_eq!(lost(&mut session, text, &topology), Some("last_insert_id"), "{text}");
        assert_eq!(lost(&mut session, "INSERT INTO t VALUES ()", &topology), None);
        inserted(&mut session, 8, &topology);
        assert_eq!(lost(&mut session, text, &topology), None, "a new one: {text}");
    }
}

#[test]
fn another_primary_has_none_of_it() {
    let (mut session, mut topology) = (session(), topology(""));
    inserted(&mut session, 7, &topology);
    topology.writes = Writes::Primary(REPLICA);
    assert_eq!(lost(&mut session, ASKS[0], &topology), Some("last_insert_id"));
    session.reset();
    assert_eq!(lost(&mut session, ASKS[0], &topology), None, "forgotten with the rest");
}

#[test]
fn a_connection_without_an_insert_id_may_be_lost() {
    let (mut session, topology) = (session(), topology(""));
    inserted(&mut session, 0, &topology);
    assert_eq!(session.backend_closed(PRIMARY), Ok(()));
    assert_eq!(lost(&mut session, ASKS[0], &topology), None);
    ran(&mut session, "SELECT LAST_INSERT_ID(5)", AUTOCOMMIT, &[], &topology);
    assert_eq!(session.backend_closed(PRIMARY), Ok(()));
    assert_eq!(lost(&mut session, ASKS[0], &topology), Some("last_insert_id"));
}

#[test]
fn what_the_statement_before_left_is_lost_with_its_connection() {
    for text in ["SELECT ROW_COUNT()", "SELECT FOUND_ROWS()", "SHOW WARNINGS", "GET DIAGNOSTICS @n = NUMBER"] {
        let (mut session, topology) = (session(), topology(""));
        ran(&mut session, "UPDATE t SET a = 1", AUTOCOMMIT, &[], &topology);
        assert_eq!(lost(&mut session, text, &topology), None, "{text}");
        assert_eq!(session.backend_closed(PRIMARY), Ok(()));
        assert_eq!(lost(&mut session, text, &topology), Some("diagnostics"), "{text}");
        ran(&mut session, "UPDATE t SET a = 1", AUTOCOMMIT, &[], &topology);
        assert_eq!(lost(&mut session, text, &topology), None, "of another statement: {text}");
    }
}
