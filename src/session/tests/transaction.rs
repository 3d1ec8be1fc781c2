//! Transactions that only read, and what is asked of the next one.

use super::*;

const READ_ONLY: Status = Status(IN_TRANS.0 | Status::IN_TRANS_READONLY.0);
const BEGIN: &str = "START TRANSACTION READ ONLY";

fn go(session: &mut Session, text: &str, status: Status, topology: &Topology) -> (ServerId, Reason) {
    let (server, reason, _) = ran(session, text, status, &[], topology);
    (server, reason)
}

/// What is injected before a statement, each with its server, and where the statement goes; it is not answered.
fn steps(session: &mut Session, text: &str, topology: &Topology) -> (Vec<(ServerId, String)>, Run) {
    let mut run = planned(session, &query(text), topology);
    let mut injected = Vec::new();
    loop {
        match session.next_step(&run, topology) {
            Step::Connect => session.connected(run.route.server, AUTOCOMMIT, run.route.target == Target::Primary),
            Step::Inject { server, what, payload } => {
                if what != Prelude::Track {
                    injected.push((server, String::from_utf8_lossy(&payload[1..]).into_owned()));
                }
                assert_eq!(session.injected(&mut run, server, what, Answer::Ok), Next::Continue);
            }
            Step::Go => return (injected, run),
            other => panic!("cannot run: {other:?}"),
        }
    }
}

fn finish(session: &mut Session, text: &str, mut run: Run, status: Status) {
    answered(session, &mut run, &query(text), &ok(status, &[]));
}

#[test]
fn a_read_only_transaction_is_on_one_replica_throughout() {
    let (mut session, topology) = (session(), topology(""));
    let there = (REPLICA, Reason::ReadOnlyTransaction);
    assert_eq!(go(&mut session, BEGIN, READ_ONLY, &topology), there);
    assert_eq!(session.bound(), Some("transaction"));
    for text in
        ["SELECT 1", "SELECT @@sql_mode", "SELECT a FROM t FOR UPDATE", "INSERT INTO t VALUES (1)", "SAVEPOINT s"]
    {
        assert_eq!(go(&mut session, text, READ_ONLY, &topology), there, "{text}");
    }
    assert_eq!(go(&mut session, "COMMIT", AUTOCOMMIT, &topology), there);
    assert_eq!(session.bound(), None);
    assert_eq!(go(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &topology).0, PRIMARY);
}

#[test]
fn it_waits_for_the_sessions_own_write_before_it_begins() {
    let (mut session, behind) = (session(), topology(""));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &gtids(WRITTEN), &behind);
    let payload = query(BEGIN);
    let mut run = planned(&mut session, &payload, &behind);
    assert_eq!(stepped(&mut session, &mut run, &behind), (vec![Prelude::Track], vec![REPLICA]));
    answered(&mut session, &mut run, &payload, &ok(READ_ONLY, &[]));
    assert_eq!(ran(&mut session, "SELECT 1", READ_ONLY, &[], &behind).2, vec![], "once");
}

#[test]
fn the_sessions_default_and_the_next_transactions_access_count_too() {
    let topology = topology("");
    for (before, begin, server) in [
        ("SET SESSION TRANSACTION READ ONLY", "BEGIN", REPLICA),
        ("SET SESSION TRANSACTION READ ONLY", "START TRANSACTION READ WRITE", PRIMARY),
        ("SET SESSION TRANSACTION READ WRITE", "BEGIN", PRIMARY),
        ("SET TRANSACTION READ ONLY", "BEGIN", REPLICA),
        ("SET TRANSACTION READ ONLY", "START TRANSACTION READ WRITE", PRIMARY),
        ("SET transaction_read_only = ON", "BEGIN WORK", REPLICA),
        ("SET autocommit = 1", "BEGIN", PRIMARY),
    ] {
        let mut session = session();
        go(&mut session, before, AUTOCOMMIT, &topology);
        assert_eq!(go(&mut session, begin, IN_TRANS, &topology).0, server, "{before}; {begin}");
    }
}

#[test]
fn what_was_asked_of_the_next_transaction_goes_along_and_is_taken_back() {
    let (mut session, topology) = (session(), topology(""));
    go(&mut session, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", AUTOCOMMIT, &topology);
    assert_eq!(session.bound(), Some("next_transaction"));
    assert_eq!(go(&mut session, "SELECT 1", AUTOCOMMIT, &topology).1, Reason::Pinned(Hold::NextTransaction));
    let (injected, run) = steps(&mut session, BEGIN, &topology);
    let asked = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned();
    assert_eq!((injected, run.route.server), (vec![(REPLICA, asked)], REPLICA));
    finish(&mut session, BEGIN, run, READ_ONLY);
    go(&mut session, "COMMIT", AUTOCOMMIT, &topology);
    assert_eq!(session.bound(), None);
    // The primary was asked for it too, and must not use it for the next write.
    let (injected, _) = steps(&mut session, "INSERT INTO t VALUES (1)", &topology);
    assert_eq!(injected, [(PRIMARY, "COMMIT".to_owned())]);
}

#[test]
fn the_next_transaction_is_the_one_that_comes_and_no_other() {
    let topology = topology("");
    for (statements, over) in [
        (&[("BEGIN", IN_TRANS), ("COMMIT", AUTOCOMMIT)][..], true),
        (&[("COMMIT", AUTOCOMMIT)], true),
        (&[("SELECT 1", AUTOCOMMIT), ("SET @x = 1", AUTOCOMMIT)], false),
    ] {
        let mut session = session();
        go(&mut session, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", AUTOCOMMIT, &topology);
        for (text, status) in statements {
            assert_eq!(go(&mut session, text, *status, &topology).0, PRIMARY, "{text}");
        }
        assert_eq!(session.bound().is_none(), over, "{statements:?}");
    }
    let mut session = session();
    go(&mut session, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", AUTOCOMMIT, &topology);
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &gtids(WRITTEN), &topology);
    assert_eq!(session.bound(), None, "a write was a transaction of its own");
}

#[test]
fn a_new_primary_is_asked_for_it_too() {
    let (mut session, topology) = (session(), topology(""));
    go(&mut session, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE", AUTOCOMMIT, &topology);
    assert_eq!(session.backend_closed(PRIMARY), Ok(()));
    let (injected, _) = steps(&mut session, "BEGIN", &topology);
    assert_eq!(injected, [(PRIMARY, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE".to_owned())]);
}

#[test]
fn a_statement_that_commits_ends_it_on_the_replica_and_runs_on_the_primary() {
    let topology = topology("");
    for text in [
        "CREATE TABLE t (a INT)",
        "LOCK TABLES t READ",
        "GRANT SELECT ON t TO a",
        "BEGIN",
        "START TRANSACTION READ WRITE",
    ] {
        let mut session = session();
        go(&mut session, BEGIN, READ_ONLY, &topology);
        go(&mut session, "SELECT 1", READ_ONLY, &topology);
        let (injected, run) = steps(&mut session, text, &topology);
        assert_eq!((injected, run.route.server), (vec![(REPLICA, "ROLLBACK".to_owned())], PRIMARY), "{text}");
    }
    let mut session = session();
    go(&mut session, BEGIN, READ_ONLY, &topology);
    let (injected, run) = steps(&mut session, BEGIN, &topology);
    assert_eq!((injected, run.route.server), (vec![(REPLICA, "ROLLBACK".to_owned())], REPLICA), "another one");
}

#[test]
fn what_would_leave_something_on_the_replica_begins_again_on_the_primary() {
    let (mut session, topology) = (session(), topology(""));
    go(&mut session, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", AUTOCOMMIT, &topology);
    go(&mut session, BEGIN, READ_ONLY, &topology);
    let (injected, run) = steps(&mut session, "SELECT GET_LOCK('a', 1)", &topology);
    // The primary must show what the replica has shown, which is asked for its position.
    let (asked, injected): (Vec<_>, Vec<_>) = injected.into_iter().partition(|(_, text)| text.contains("gtid_owned"));
    assert_eq!(asked.len(), 1);
    let texts: Vec<_> = injected.iter().map(|(server, text)| (server.0, text.as_str())).collect();
    let wanted = [
        (PRIMARY.0, "COMMIT"),
        (REPLICA.0, "ROLLBACK"),
        (PRIMARY.0, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"),
        (PRIMARY.0, BEGIN),
    ];
    assert_eq!((texts, run.route.server), (wanted.to_vec(), PRIMARY));
    finish(&mut session, "SELECT GET_LOCK('a', 1)", run, READ_ONLY);
    assert_eq!(go(&mut session, "SELECT 1", READ_ONLY, &topology).0, PRIMARY);
}

#[test]
fn once_something_was_read_the_client_is_told_to_begin_again() {
    let (mut session, topology) = (session(), topology(""));
    go(&mut session, BEGIN, READ_ONLY, &topology);
    go(&mut session, "SELECT 1", READ_ONLY, &topology);
    let plan = plan(&mut session, &query("CALL p()"), true, &topology).expect("a command");
    assert!(matches!(plan, Plan::Fail(Failure::NotOnReplica)), "{plan:?}");
    assert_eq!(session.bound(), None);
    assert_eq!(go(&mut session, BEGIN, READ_ONLY, &topology).0, PRIMARY, "and then it is there");
}

#[test]
fn a_write_is_refused_as_in_any_read_only_transaction() {
    let (mut session, topology) = (session(), topology(""));
    let refusal =
        b"\xff\x0a\x05#HY000The MySQL server is running with the --read-only option so it cannot execute this".to_vec();
    let shown = |session: &mut Session, text: &str| {
        let payload = query(text);
        let mut run = planned(session, &payload, &topology);
        prepared(session, &mut run, &topology);
        answered(session, &mut run, &payload, &(Kind::Err, refusal.clone()))
    };
    assert_eq!(shown(&mut session, "INSERT INTO t VALUES (f())"), None, "the primary's own word");
    let (mut session, topology) = (super::session(), super::topology(""));
    go(&mut session, BEGIN, READ_ONLY, &topology);
    let err = shown(&mut session, "INSERT INTO t VALUES (f())").expect("another error");
    assert_eq!(err, b"\xff\x00\x07#25006Cannot execute statement in a READ ONLY transaction.");
    assert_eq!(session.bound(), Some("transaction"), "nothing of it was run");
}

#[test]
fn a_lost_replica_is_told_once_and_the_session_goes_on() {
    let (mut session, topology) = (session(), topology(""));
    go(&mut session, BEGIN, READ_ONLY, &topology);
    assert_eq!(session.backend_closed(REPLICA), Ok(()));
    let plan = plan(&mut session, &query("SELECT 1"), true, &topology).expect("a command");
    assert!(matches!(plan, Plan::Fail(Failure::ReadOnlyTransactionLost)), "{plan:?}");
    assert_eq!(go(&mut session, "SELECT 1", AUTOCOMMIT, &topology), (REPLICA, Reason::PlainRead));
}

#[test]
fn variables_set_in_it_follow_from_the_replica_to_the_primary() {
    let (mut session, topology) = (session(), topology(""));
    go(&mut session, BEGIN, READ_ONLY, &topology);
    assert_eq!(go(&mut session, "SET group_concat_max_len = 7, @v = 1", READ_ONLY, &topology).0, REPLICA);
    go(&mut session, "COMMIT", AUTOCOMMIT, &topology);
    let (injected, _) = steps(&mut session, "INSERT INTO t VALUES (@v)", &topology);
    assert_eq!(injected, [(PRIMARY, "SET @@SESSION.group_concat_max_len=7, @`v`=1".to_owned())]);
}

#[test]
fn autocommit_switched_off_in_it_is_off_on_the_primary_and_not_in_later_reads() {
    let (mut session, topology) = (session(), topology(""));
    go(&mut session, BEGIN, READ_ONLY, &topology);
    let off = Status(0);
    go(&mut session, "SET autocommit = 0", Status(READ_ONLY.0 & !AUTOCOMMIT.0), &topology);
    go(&mut session, "COMMIT", off, &topology);
    let (injected, run) = steps(&mut session, "SELECT 1", &topology);
    assert_eq!((injected, run.route.server), (vec![(PRIMARY, "SET autocommit=0".to_owned())], PRIMARY));
    finish(&mut session, "SELECT 1", run, off);
    go(&mut session, "SET autocommit = 1", AUTOCOMMIT, &topology);
    let (injected, run) = steps(&mut session, "SELECT 1", &topology);
    assert_eq!((injected, run.route.server), (vec![(REPLICA, "SET autocommit=1".to_owned())], REPLICA));
}

#[test]
fn what_its_server_refuses_or_what_leaves_nothing_runs_on_the_replica() {
    for text in [
        "CREATE TEMPORARY TABLE t (a INT)",
        "XA START 'x'",
        "SELECT RELEASE_LOCK('a')",
        "EXECUTE nowhere",
        "DEALLOCATE PREPARE nowhere",
        "HANDLER t CLOSE",
        "UNLOCK TABLES",
        "DO SLEEP(0)",
        "SELECT 1; SELECT a FROM t",
        "SELECT LAST_INSERT_ID()",
    ] {
        let (mut session, topology) = (session(), topology(""));
        go(&mut session, BEGIN, READ_ONLY, &topology);
        go(&mut session, "SELECT a FROM t", READ_ONLY, &topology);
        assert_eq!(planned(&mut session, &query(text), &topology).route.server, REPLICA, "{text}");
    }
}

#[test]
fn it_moves_as_long_as_nothing_was_read_or_every_statement_reads_what_is_committed() {
    let read = "SELECT a FROM t";
    for (before, within, moves) in [
        (&[][..], &["SET @v = 1", "SET sql_mode = ''"][..], true),
        (&[], &["SET @v = 1", read], false),
        (&["SET TRANSACTION ISOLATION LEVEL READ COMMITTED"], &[read, "SET @v = 1", read], true),
        (&["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"], &[read], true),
        (&["SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"], &[read], false),
        (&["SET TRANSACTION ISOLATION LEVEL READ COMMITTED"], &[read, "SAVEPOINT s", read], false),
    ] {
        let (mut session, topology) = (session(), topology(""));
        for text in before {
            go(&mut session, text, AUTOCOMMIT, &topology);
        }
        for text in [&[BEGIN], within].concat() {
            assert_eq!(go(&mut session, text, READ_ONLY, &topology).0, REPLICA, "{text}");
        }
        match plan(&mut session, &query("CALL p()"), true, &topology).expect("a command") {
            Plan::Run(run) => assert_eq!((run.route.server, moves), (PRIMARY, true), "{before:?} {within:?}"),
            Plan::Fail(Failure::NotOnReplica) => assert!(!moves, "{before:?} {within:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_insert_id_of_the_primarys_connection_is_not_asked_of_the_replica() {
    let (mut session, topology) = (session(), topology(""));
    session.state.insert_id = super::super::lost_values::InsertId::At(PRIMARY);
    go(&mut session, BEGIN, READ_ONLY, &topology);
    assert_eq!(go(&mut session, "SELECT LAST_INSERT_ID()", READ_ONLY, &topology).0, PRIMARY);
}

#[test]
fn a_snapshot_of_mariadb_is_the_primarys() {
    let (mut session, topology) = (session(), topology(""));
    session.flavor = Flavor::MariaDb;
    let begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
    assert_eq!(planned(&mut session, &query(begin), &topology).route.server, PRIMARY);
    assert_eq!(planned(&mut session, &query(BEGIN), &topology).route.server, REPLICA);
}
