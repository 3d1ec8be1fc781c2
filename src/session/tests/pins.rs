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
