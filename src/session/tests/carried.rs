//! Variables, roles and what else a SET leaves, from backend to backend.

use super::*;

const CHANGED: &[u8] = &[2, 1, b'1'];

fn reported(name: &str, value: &str) -> Vec<u8> {
    let mut variable = Vec::new();
    put_lenenc_bytes(&mut variable, name.as_bytes());
    put_lenenc_bytes(&mut variable, value.as_bytes());
    [&entry(0, &variable)[..], CHANGED].concat()
}

/// Runs a SET on the primary.
fn set(session: &mut Session, text: &str, changes: &[u8], topology: &Topology) {
    assert_eq!(ran(session, text, AUTOCOMMIT, changes, topology).0, PRIMARY, "{text}");
}

/// A statement that fails.
fn failed(session: &mut Session, text: &str, topology: &Topology) {
    let payload = query(text);
    let mut run = planned(session, &payload, topology);
    prepared(session, &mut run, topology);
    answered(session, &mut run, &payload, &(Kind::Err, b"\xff\xd7\x04#42000no".to_vec()));
}

/// The statements that are injected before a read, and where it goes. Questions are answered with `answer`.
fn before_a_read(session: &mut Session, topology: &Topology, answer: &[&str]) -> (ServerId, Vec<String>) {
    let mut run = planned(session, &query("SELECT 1"), topology);
    let mut texts = Vec::new();
    loop {
        match session.next_step(&run, topology) {
            Step::Connect => session.connected(run.route.server, AUTOCOMMIT, run.route.target == Target::Primary),
            Step::Inject { server, what, payload } => {
                texts.push(String::from_utf8_lossy(&payload[1..]).into_owned());
                let row = || Answer::Row(answer.iter().map(|value| Some(value.as_bytes().to_vec())).collect());
                let answer = if what == Prelude::LearnVariables { row() } else { Answer::Ok };
                match session.injected(&mut run, server, what, answer) {
                    Next::Continue => {}
                    Next::ToPrimary(reason) => {
                        run.route = crate::route::primary(topology, reason).expect("a primary");
                    }
                    other => panic!("{other:?}"),
                }
            }
            Step::Go => return (run.route.server, texts),
            other => panic!("cannot run: {other:?}"),
        }
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_literal_follows_without_a_question() {
    let (mut session, topology) = (session(), topology(""));
    set(&mut session, "SET SESSION group_concat_max_len = 10, @@max_join_size = 7", CHANGED, &topology);
    assert_eq!(session.bound(), None);
    let wanted = texts(&["SET @@SESSION.group_concat_max_len=10, @@SESSION.max_join_size=7"]);
    assert_eq!(before_a_read(&mut session, &topology, &[]), (REPLICA, wanted));
    assert_eq!(before_a_read(&mut session, &topology, &[]), (REPLICA, vec![]));
    set(&mut session, "SET max_join_size = 8", CHANGED, &topology);
    assert_eq!(before_a_read(&mut session, &topology, &[]).1, texts(&["SET @@SESSION.max_join_size=8"]));
}

#[test]
fn what_is_no_literal_is_asked_for_once() {
    let (mut session, topology) = (session(), topology(""));
    set(&mut session, "SET a = DEFAULT, b = @@c + 1", CHANGED, &topology);
    let question = "SELECT CAST(@@SESSION.a AS BINARY), CAST(@@SESSION.b AS BINARY) LIMIT 1";
    let wanted = texts(&[question, "SET @@SESSION.a='ON', @@SESSION.b=5"]);
    assert_eq!(before_a_read(&mut session, &topology, &["ON", "5"]), (REPLICA, wanted));
    assert_eq!(before_a_read(&mut session, &topology, &[]), (REPLICA, vec![]));
    assert_eq!(session.backend_closed(PRIMARY), Ok(()), "nothing is lost with it any more");
}

#[test]
fn a_value_that_nobody_asked_for_yet_is_lost_with_its_backend() {
    let (mut session, topology) = (session(), topology(""));
    set(&mut session, "SET a = DEFAULT", CHANGED, &topology);
    assert_eq!(session.backend_closed(PRIMARY), Err("session_variable"));
}

#[test]
fn a_reported_value_counts_and_not_the_text() {
    let (mut session, topology) = (session(), topology(""));
    set(&mut session, "SET time_zone = 'system'", &reported("time_zone", "SYSTEM"), &topology);
    assert_eq!(before_a_read(&mut session, &topology, &[]).1, texts(&["SET @@SESSION.time_zone='SYSTEM'"]));
}

#[test]
fn sql_mode_decides_how_the_next_statement_is_read() {
    let (mut session, topology) = (session(), topology(""));
    let hidden = "SELECT \"a\\\" FROM t FOR UPDATE -- \"";
    let reason = |session: &mut Session| planned(session, &query(hidden), &topology).route.reason;
    assert_eq!(reason(&mut session), Reason::PlainRead, "all of it is a string");
    set(&mut session, "SET sql_mode = 'ANSI_QUOTES'", &reported("sql_mode", "ANSI_QUOTES"), &topology);
    assert_eq!(reason(&mut session), Reason::NotRead(crate::sql::Why::LockingRead), "a name ends before it");
    set(&mut session, "SET sql_mode = ''", &reported("sql_mode", ""), &topology);
    assert_eq!(reason(&mut session), Reason::PlainRead);
}

#[test]
fn while_sql_mode_is_not_known_a_statement_must_be_a_read_in_both() {
    let (mut session, topology) = (session(), topology(""));
    set(&mut session, "SET sql_mode = 'ANSI'", CHANGED, &topology);
    let reason = |session: &mut Session, text: &str| planned(session, &query(text), &topology).route.reason;
    assert_eq!(reason(&mut session, "SELECT \"a\" FROM t"), Reason::PlainRead);
    let hidden = "SELECT \"a\\\" FROM t FOR UPDATE -- \"";
    assert_eq!(reason(&mut session, hidden), Reason::NotRead(crate::sql::Why::NotUnderstood));
}

/// MariaDB reports nothing of `SET @@name = value`.
#[test]
fn a_character_set_that_is_not_reported_is_asked_for_however_it_was_set() {
    for text in [
        "SET @@collation_connection = 'utf8mb4_bin'",
        "SET @@`collation_connection` = utf8mb4_bin",
        "SET @@session.collation_connection = utf8mb4_bin, a = 1",
        "SET LOCAL character_set_connection = latin1",
        "SET `character_set_results` = NULL",
        "SET @@character_set_results = DEFAULT",
        "SET @@collation_connection = (SELECT 'utf8mb4_bin')",
        "SET @@character_set_client = 'latin1'",
    ] {
        let (mut session, topology) = (session(), topology(""));
        set(&mut session, text, &[], &topology);
        assert_eq!(session.bound(), None, "{text}");
        let mut run = planned(&mut session, &query("SELECT 1"), &topology);
        let injected = prepared(&mut session, &mut run, &topology);
        assert_eq!(injected[..2], [Prelude::LearnCharset, Prelude::Charset], "{text}");
        assert_eq!(run.route.server, REPLICA, "{text}");
    }
}

#[test]
fn a_character_set_that_is_not_reported_decides_how_the_next_statement_is_read() {
    for (text, family) in [
        ("SET @@character_set_client = gbk", CharsetFamily::Gbk),
        ("SET @@character_set_client = 'SJIS', @@collation_connection = 'latin1_bin'", CharsetFamily::Sjis),
        ("SET @@character_set_client = @@character_set_server", CharsetFamily::Unknown),
        ("SET @@character_set_client = (SELECT 'gbk')", CharsetFamily::Unknown),
        ("SET @@collation_connection = gbk_bin", CharsetFamily::Utf8),
    ] {
        let (mut session, topology) = (session(), topology(""));
        set(&mut session, text, &[], &topology);
        assert_eq!(session.state.charset.family, family, "{text}");
    }
    let (mut session, topology) = (session(), topology(""));
    failed(&mut session, "SET @@character_set_client = gbk, b = 'x'", &topology);
    assert_eq!(session.state.charset.family, CharsetFamily::Unknown, "nobody knows how far it came");
}

#[test]
fn a_set_that_failed_changes_nothing_and_one_of_several_is_asked_for() {
    let (mut session, topology) = (session(), topology(""));
    failed(&mut session, "SET a = 5", &topology);
    assert_eq!(before_a_read(&mut session, &topology, &[]), (REPLICA, vec![]));
    failed(&mut session, "SET a = 5, b = 'x'", &topology);
    let question = "SELECT CAST(@@SESSION.a AS BINARY), CAST(@@SESSION.b AS BINARY) LIMIT 1";
    let wanted = texts(&[question, "SET @@SESSION.a=1, @@SESSION.b='y'"]);
    assert_eq!(before_a_read(&mut session, &topology, &["1", "y"]), (REPLICA, wanted));
}

#[test]
fn what_belongs_to_one_connection_stays_there() {
    for text in [
        "SET sql_log_bin = 0",
        "SET gtid_next = 'AUTOMATIC'",
        "SET insert_id = 5",
        "SET rand_seed1 = 5",
        "SET profiling = 1",
        "SET sql_auto_is_null = 1",
        "SET timestamp = UNIX_TIMESTAMP()",
        "SET optimizer_trace = 'enabled=on'",
        "SET @v = 1 + 1",
        "SET @@transaction_isolation = 'SERIALIZABLE'",
        "SET RESOURCE GROUP g",
    ] {
        let (mut session, topology) = (session(), topology(""));
        set(&mut session, text, CHANGED, &topology);
        assert!(session.bound().is_some(), "{text}");
    }
    for text in ["SET profiling = OFF", "SET timestamp = 1000", "SET timestamp = DEFAULT", "SET sql_auto_is_null = 0"] {
        let (mut session, topology) = (session(), topology(""));
        set(&mut session, text, CHANGED, &topology);
        assert_eq!(session.bound(), None, "{text}");
        assert_eq!(before_a_read(&mut session, &topology, &[]).1.len(), 1, "{text}");
    }
}

#[test]
fn roles_are_taken_on_before_anything_is_looked_at() {
    let (mut session, topology) = (session(), topology(""));
    set(&mut session, "SET ROLE 'r'@'%'", &[], &topology);
    set(&mut session, "SET max_join_size = 8", CHANGED, &topology);
    let wanted = texts(&["SET ROLE 'r'@'%'", "SET @@SESSION.max_join_size=8"]);
    assert_eq!(before_a_read(&mut session, &topology, &[]), (REPLICA, wanted));
}

#[test]
fn isolation_is_a_variable_like_others() {
    let (mut session, topology) = (session(), topology(""));
    set(&mut session, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY", CHANGED, &topology);
    assert_eq!(session.bound(), None);
    let wanted = texts(&["SET @@SESSION.transaction_isolation='READ-COMMITTED', @@SESSION.transaction_read_only=1"]);
    assert_eq!(before_a_read(&mut session, &topology, &[]), (REPLICA, wanted));
}

#[test]
fn a_literal_in_a_user_variable_is_given_to_the_next_primary_backend() {
    let (mut session, topology) = (session(), topology(""));
    set(&mut session, "SET @v = 'x'", CHANGED, &topology);
    assert_eq!((session.bound(), session.backend_closed(PRIMARY)), (None, Ok(())));
    let mut run = planned(&mut session, &query("INSERT INTO t VALUES (@v)"), &topology);
    session.connected(PRIMARY, AUTOCOMMIT, true);
    session.injected(&mut run, PRIMARY, Prelude::Track, Answer::Ok);
    let Step::Inject { payload, .. } = session.next_step(&run, &topology) else { panic!("it needs its variable") };
    assert_eq!(payload, query("SET @`v`='x'"));
}

#[test]
fn a_reset_forgets_what_was_set() {
    let (mut session, topology) = (session(), topology(""));
    set(&mut session, "SET max_join_size = 8", CHANGED, &topology);
    before_a_read(&mut session, &topology, &[]);
    let payload = [Command::ResetConnection as u8];
    let mut run = planned(&mut session, &payload, &topology);
    answered(&mut session, &mut run, &payload, &ok(AUTOCOMMIT, &[]));
    assert_eq!(before_a_read(&mut session, &topology, &[]), (REPLICA, texts(&[""])), "its own reset only");
}
