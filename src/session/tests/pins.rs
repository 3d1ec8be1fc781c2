//! What holds a session, and what lets it go.

use super::*;

const CHANGED: &[u8] = &[2, 1, b'1'];

/// Runs statements, each to its OK, with a change of state reported; returns what binds the session then.
fn bound_after(session: &mut Session, statements: &[&str], topology: &Topology) -> Option<&'static str> {
    for text in statements {
        ran(session, text, AUTOCOMMIT, CHANGED, topology);
    }
    session.bound()
}

#[test]
fn every_pin_has_an_end() {
    for (takes, ends, word) in [
        (&["CREATE TEMPORARY TABLE a (x INT)"][..], &["DROP TEMPORARY TABLE a"][..], "temporary_table"),
        (&["CREATE TEMPORARY TABLE a (x INT)"], &["DROP TABLE IF EXISTS b, a"], "temporary_table"),
        (&["LOCK TABLES a READ"], &["UNLOCK TABLES"], "table_lock"),
        (&["FLUSH TABLES WITH READ LOCK"], &["UNLOCK TABLES"], "table_lock"),
        (&["LOCK INSTANCE FOR BACKUP"], &["UNLOCK INSTANCE"], "table_lock"),
        (&["SELECT GET_LOCK('a', 1)"], &["SELECT RELEASE_LOCK('a')"], "user_lock"),
        (&["SELECT GET_LOCK(@name, 1)"], &["DO RELEASE_ALL_LOCKS()"], "user_lock"),
        (&["XA START 'a'", "XA END 'a'", "XA PREPARE 'a'"], &["XA COMMIT 'a'"], "xa"),
        (&["HANDLER a OPEN", "HANDLER a READ FIRST"], &["HANDLER a CLOSE"], "handler"),
        (&["PREPARE p FROM 'SELECT 1'", "EXECUTE p"], &["DEALLOCATE PREPARE p"], "text_prepared"),
    ] {
        let (mut session, topology) = (session(), topology(""));
        assert_eq!(bound_after(&mut session, takes, &topology), Some(word), "{takes:?}");
        assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).0, PRIMARY, "{takes:?}");
        assert_eq!(bound_after(&mut session, ends, &topology), None, "{ends:?}");
        assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).0, REPLICA, "{ends:?}");
    }
}

#[test]
fn a_pin_lasts_until_the_last_of_its_kind_is_gone() {
    for (statements, word) in [
        (
            &["CREATE TEMPORARY TABLE a (x INT)", "CREATE TEMPORARY TABLE b (x INT)", "DROP TABLE a"][..],
            "temporary_table",
        ),
        (&["CREATE TEMPORARY TABLE a (x INT)", "DROP TABLE s.a"], "temporary_table"),
        (&["CREATE TEMPORARY TABLE a (x INT)", "ALTER TABLE a RENAME b", "DROP TABLE IF EXISTS a"], "temporary_table"),
        (&["SELECT GET_LOCK('a', 1)", "SELECT GET_LOCK('a', 1)", "SELECT RELEASE_LOCK('a')"], "user_lock"),
        (&["SELECT GET_LOCK('a', 1)", "SELECT RELEASE_LOCK('a') FROM t"], "user_lock"),
        (&["LOCK INSTANCE FOR BACKUP", "UNLOCK TABLES"], "table_lock"),
        (&["XA START 'a'", "XA COMMIT 'b'"], "xa"),
        (&["HANDLER a OPEN AS h", "HANDLER a CLOSE"], "handler"),
        (&["PREPARE p FROM 'SET @x = 1'", "EXECUTE p", "DEALLOCATE PREPARE p"], "text_prepared"),
        (&["CREATE TEMPORARY TABLE a SELECT GET_LOCK('x', 1)", "DROP TABLE a"], "user_lock"),
        (&["SELECT @v := 1", "SELECT @v"], "user_variable"),
    ] {
        let (mut session, topology) = (session(), topology(""));
        assert_eq!(bound_after(&mut session, statements, &topology), Some(word), "{statements:?}");
    }
}

#[test]
fn an_end_that_fails_ends_nothing() {
    let (mut session, topology) = (session(), topology(""));
    bound_after(&mut session, &["CREATE TEMPORARY TABLE a (x INT)"], &topology);
    let payload = query("DROP TABLE a, b");
    let mut run = planned(&mut session, &payload, &topology);
    answered(&mut session, &mut run, &payload, &(Kind::Err, b"\xff\x1b\x04#42S02no".to_vec()));
    assert_eq!(session.bound(), Some("temporary_table"));
}

#[test]
fn to_read_a_user_variable_holds_nothing() {
    let (mut session, topology) = (session(), topology(""));
    let statements = ["SET @v = 5", "SELECT @v", "INSERT INTO t VALUES (@v)", "UPDATE t SET a = @v"];
    for text in statements {
        assert_eq!(ran(&mut session, text, AUTOCOMMIT, &[], &topology).0, PRIMARY, "{text}");
    }
    assert_eq!(session.bound(), None);
}

#[test]
fn a_table_is_dropped_in_the_schema_that_it_was_made_in() {
    let (mut session, topology) = (session(), topology(""));
    session.state.schema = Some(b"s".to_vec());
    bound_after(&mut session, &["CREATE TEMPORARY TABLE a (x INT)"], &topology);
    session.state.schema = Some(b"other".to_vec());
    assert_eq!(bound_after(&mut session, &["DROP TABLE a"], &topology), Some("temporary_table"));
    assert_eq!(bound_after(&mut session, &["DROP TABLE s.a"], &topology), None);
}

#[test]
fn a_prepared_text_may_be_replaced_by_another() {
    let (mut session, topology) = (session(), topology(""));
    let statements = ["PREPARE p FROM 'SELECT 1'", "PREPARE p FROM @text", "EXECUTE p", "DEALLOCATE PREPARE p"];
    assert_eq!(bound_after(&mut session, &statements, &topology), Some("text_prepared"));
}

/// Runs a statement to an error; returns what binds the session then.
fn failed(session: &mut Session, text: &str, code: u16, message: &str, topology: &Topology) -> Option<&'static str> {
    let payload = query(text);
    let mut run = planned(session, &payload, topology);
    prepared(session, &mut run, topology);
    let mut error = Vec::new();
    crate::wire::ErrPacket::new(code, *b"42000", message).encode(&mut error);
    answered(session, &mut run, &payload, &(Kind::Err, error));
    session.bound()
}

#[test]
fn a_statement_of_which_the_server_ran_nothing_holds_nothing() {
    let syntax = |near| format!("You have an error in your SQL syntax; ... to use near '{near}' at line 1");
    for (text, code, message, word) in [
        ("SELEC 1", 1064, syntax("SELEC 1"), None),
        ("SELECT 1; SET @x = 1", 1064, syntax("SET @x = 1"), None),
        ("SELECT f(1)", 1305, "FUNCTION app.f does not exist".into(), None),
        ("SELECT f(1)", 1305, "FUNCTION app.inside does not exist".into(), Some("routine")),
        ("CALL p()", 1305, "PROCEDURE app.p does not exist".into(), None),
        ("CALL p()", 1305, "PROCEDURE app.inside does not exist".into(), Some("routine")),
        ("CALL p()", 1064, syntax("SELEC 1"), Some("routine")),
        ("CALL p()", 1062, "Duplicate entry".into(), Some("routine")),
        ("EXECUTE p", 1243, "Unknown prepared statement handler (p) given to EXECUTE".into(), None),
        ("EXECUTE p", 1146, "no such table".into(), Some("text_prepared")),
    ] {
        let (mut session, topology) = (session(), topology(""));
        assert_eq!(failed(&mut session, text, code, &message, &topology), word, "{text}: {message}");
    }
}

#[test]
fn an_error_behind_a_result_says_nothing_of_what_ran_before() {
    let (mut session, topology) = (session(), topology(""));
    let payload = query("SET @x := f(1); SELEC 2");
    let mut run = planned(&mut session, &payload, &topology);
    prepared(&mut session, &mut run, &topology);
    let (kind, packet) = ok(Status(AUTOCOMMIT.0 | Status::MORE_RESULTS_EXISTS.0), &[]);
    session.on_packet(&mut run, kind, &packet).expect("a proper packet");
    let mut error = Vec::new();
    crate::wire::ErrPacket::new(1064, *b"42000", "... near 'SELEC 2' at line 1").encode(&mut error);
    answered(&mut session, &mut run, &payload, &(Kind::Err, error));
    assert_eq!(session.bound(), Some("multi_statement"));
}

#[test]
fn a_text_that_the_server_does_not_know_any_more_is_let_go() {
    let (mut session, topology) = (session(), topology(""));
    bound_after(&mut session, &["PREPARE p FROM 'SELECT 1'"], &topology);
    assert_eq!(failed(&mut session, "PREPARE p FROM 'SELEC'", 1064, "...", &topology), Some("text_prepared"));
    let unknown = "Unknown prepared statement handler (p) given to DEALLOCATE PREPARE";
    assert_eq!(failed(&mut session, "DEALLOCATE PREPARE p", 1243, unknown, &topology), None);
}

#[test]
fn several_statements_that_leave_nothing_hold_nothing() {
    for text in [
        "SELECT 1; SELECT a FROM t",
        "SELECT @@version; SELECT LAST_INSERT_ID();",
        "INSERT INTO t VALUES (1); SELECT LAST_INSERT_ID()",
        "BEGIN; UPDATE t SET a = 1; COMMIT",
        "SELECT /*!40001 SQL_NO_CACHE */ a FROM t",
        "SELECT /*+ SET_VAR(sql_mode='') */ 1",
    ] {
        let (mut session, topology) = (session(), topology(""));
        assert_eq!(bound_after_quietly(&mut session, text, &topology), (PRIMARY, None), "{text}");
    }
}

fn bound_after_quietly(session: &mut Session, text: &str, topology: &Topology) -> (ServerId, Option<&'static str>) {
    let server = ran(session, text, AUTOCOMMIT, &[], topology).0;
    (server, session.bound())
}

#[test]
fn a_long_statement_is_alone_in_its_packet_if_it_has_one_result() {
    let multi = Capabilities::MULTI_STATEMENTS;
    let more = Status(AUTOCOMMIT.0 | Status::MORE_RESULTS_EXISTS.0);
    for (text, results, word) in [
        ("INSERT INTO t VALUES ('long", &[AUTOCOMMIT][..], None),
        ("INSERT INTO t VALUES ('long", &[more, AUTOCOMMIT], Some("unclassified")),
        ("SET @x = 'long", &[AUTOCOMMIT], Some("unclassified")),
    ] {
        let (mut session, topology) = (session(), topology(""));
        session.capabilities = session.capabilities | multi;
        let payload = query(text);
        let Plan::Run(mut run) = plan(&mut session, &payload, false, &topology).expect("a command") else {
            panic!("not run")
        };
        prepared(&mut session, &mut run, &topology);
        for status in results {
            let (kind, packet) = ok(*status, &[]);
            session.on_packet(&mut run, kind, &packet).expect("a proper packet");
        }
        session.finished(&run, &payload[..0]);
        assert_eq!(session.bound(), word, "{text}: {results:?}");
    }
}

#[test]
fn a_write_of_which_the_server_ran_nothing_needs_not_be_waited_for() {
    for (text, code, message, server) in [
        ("INSERT INTO t VALUES (", 1064, "... near '' at line 1", REPLICA),
        ("SELEC 1", 1064, "... near 'SELEC 1' at line 1", REPLICA),
        ("INSERT INTO t VALUES (1)", 1062, "Duplicate entry", PRIMARY),
        ("DROP TABLE a, b", 1051, "Unknown table", PRIMARY),
    ] {
        let (mut session, topology) = (session(), topology(""));
        failed(&mut session, text, code, message, &topology);
        assert_eq!(ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology).0, server, "{text}");
    }
}
