//! What a session begins with, on servers that begin with something else.

use super::*;

type Values = &'static [(&'static str, &'static str)];

fn of(values: Values) -> Arc<Defaults> {
    Arc::new(Defaults::of(|name| values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())))
}

fn with(primary: Values, replica: Values) -> Topology {
    let mut topology = topology("");
    for (server, values) in topology.servers.iter_mut().zip([primary, replica]) {
        Arc::make_mut(server).defaults = of(values);
    }
    topology
}

/// A session that begins on that cluster.
fn begun(topology: &Topology) -> Session {
    let session = session();
    let login = Login {
        user: session.user.clone(),
        client: 0,
        capabilities: session.capabilities,
        collation: 45,
        schema: None,
        status: AUTOCOMMIT,
        defaults: defaults_of(topology),
        flavor: Flavor::MySql,
    };
    Session::new(session.policy, login)
}

/// Runs a statement on a backend that is opened for it; where it went, and what went before it. `status` is that of the login.
fn first(session: &mut Session, text: &str, topology: &Topology, status: Status) -> (ServerId, Vec<String>) {
    let payload = query(text);
    let mut run = planned(session, &payload, topology);
    let server = run.route.server;
    let mut texts = Vec::new();
    loop {
        match session.next_step(&run, topology) {
            Step::Connect => {
                session.connected(server, status, run.route.target == Target::Primary);
                session.begun_with(server, &topology.servers[usize::from(server.0)].defaults, status);
            }
            Step::Inject { server, what, payload } => {
                if what != Prelude::Track {
                    texts.push(String::from_utf8_lossy(&payload[1..]).into_owned());
                }
                assert_eq!(session.injected(&mut run, server, what, Answer::Ok), Next::Continue);
            }
            Step::Go => break,
            other => panic!("cannot run: {other:?}"),
        }
    }
    answered(session, &mut run, &payload, &ok(session.status(), &[]));
    (server, texts)
}

const USUAL: Values = &[("sql_mode", ""), ("time_zone", "SYSTEM"), ("autocommit", "1"), ("init_connect", "")];
const OTHER: Values =
    &[("sql_mode", "ANSI_QUOTES"), ("time_zone", "SYSTEM"), ("autocommit", "1"), ("init_connect", "")];

#[test]
fn equal_defaults_cost_no_command() {
    let topology = with(USUAL, USUAL);
    let mut session = begun(&topology);
    assert_eq!(first(&mut session, "SELECT 1", &topology, AUTOCOMMIT), (REPLICA, vec![]));
    assert_eq!(first(&mut session, "DELETE FROM t", &topology, AUTOCOMMIT), (PRIMARY, vec![]));
}

#[test]
fn a_replica_with_other_defaults_is_given_those_of_the_session_once() {
    let topology = with(USUAL, OTHER);
    let mut session = begun(&topology);
    let given = vec!["SET @@SESSION.sql_mode=''".to_owned()];
    assert_eq!(first(&mut session, "SELECT 1", &topology, AUTOCOMMIT), (REPLICA, given));
    assert_eq!(first(&mut session, "SELECT 1", &topology, AUTOCOMMIT), (REPLICA, vec![]));
}

#[test]
fn globals_that_change_are_those_of_sessions_to_come() {
    let (before, after) = (with(USUAL, USUAL), with(OTHER, USUAL));
    let mut old = begun(&before);
    let given = vec!["SET @@SESSION.sql_mode=''".to_owned()];
    assert_eq!(first(&mut old, "DELETE FROM t", &after, AUTOCOMMIT), (PRIMARY, given));
    let mut new = begun(&after);
    assert_eq!(first(&mut new, "DELETE FROM t", &after, AUTOCOMMIT), (PRIMARY, vec![]));
    let given = vec!["SET @@SESSION.sql_mode='ANSI_QUOTES'".to_owned()];
    assert_eq!(first(&mut new, "SELECT 1", &after, AUTOCOMMIT), (REPLICA, given));
}

#[test]
fn how_statements_are_read_is_what_the_session_began_with() {
    let hidden = "SELECT \"a\\\" FROM t FOR UPDATE -- \"";
    for (primary, target) in [(USUAL, Target::Replica), (OTHER, Target::Primary)] {
        let topology = with(primary, USUAL);
        let run = planned(&mut begun(&topology), &query(hidden), &topology);
        assert_eq!(run.route.target, target);
    }
    let escaped = with(&[("sql_mode", "NO_BACKSLASH_ESCAPES")], USUAL);
    let run = planned(&mut begun(&escaped), &query("SELECT 'a\\' FROM t FOR UPDATE -- '"), &escaped);
    assert_eq!(run.route.target, Target::Primary, "the flags of the greeting are older");
}

#[test]
fn without_autocommit_a_session_is_in_a_transaction_from_its_first_statement_on() {
    let topology = with(&[("sql_mode", ""), ("autocommit", "0")], USUAL);
    let mut session = begun(&topology);
    assert!(!session.status().has(AUTOCOMMIT));
    let run = planned(&mut session, &query("SELECT 1"), &topology);
    assert_eq!((run.route.server, run.route.reason), (PRIMARY, Reason::AutocommitOff));
    // The server has switched it on again by now.
    let (_, texts) = first(&mut session, "INSERT INTO t VALUES (1)", &topology, AUTOCOMMIT);
    assert_eq!(texts, ["SET autocommit=0"]);
}

#[test]
fn a_backend_whose_flags_surprise_is_given_all() {
    let topology = with(USUAL, USUAL);
    let mut session = begun(&topology);
    let (server, texts) = first(&mut session, "SELECT 1", &topology, Status(0x202));
    assert_eq!((server, texts), (REPLICA, vec!["SET @@SESSION.sql_mode='', @@SESSION.time_zone='SYSTEM'".to_owned()]));
    assert!(!session.status().has(Status::NO_BACKSLASH_ESCAPES));
}

#[test]
fn a_session_that_is_reset_begins_with_what_new_sessions_begin_with() {
    let (before, after) = (with(USUAL, USUAL), with(OTHER, USUAL));
    let mut session = begun(&before);
    first(&mut session, "DELETE FROM t", &before, AUTOCOMMIT);
    assert_eq!(session.ansi_quotes(), Some(false));
    let payload = [Command::ResetConnection as u8];
    let mut run = planned(&mut session, &payload, &after);
    answered(&mut session, &mut run, &payload, &ok(AUTOCOMMIT, &[]));
    assert_eq!(session.ansi_quotes(), Some(true));
    assert_eq!(first(&mut session, "DELETE FROM t", &after, AUTOCOMMIT), (PRIMARY, vec![]));
    let (server, texts) = first(&mut session, "SELECT 1", &after, AUTOCOMMIT);
    assert_eq!((server, &*texts[1]), (REPLICA, "SET @@SESSION.sql_mode='ANSI_QUOTES'"));
}

#[test]
fn what_init_connect_has_made_of_the_session_is_asked_for_and_given_to_every_backend() {
    const INIT: Values = &[("sql_mode", ""), ("autocommit", "1"), ("init_connect", "SET NAMES gbk, sql_mode = 'ANSI'")];
    let topology = with(USUAL, INIT);
    assert!(begun(&with(USUAL, USUAL)).asks_at_login(&with(USUAL, USUAL)).is_none());
    let topology =
        Topology { servers: vec![with(INIT, INIT).servers[0].clone(), topology.servers[1].clone()], ..topology };
    let mut session = begun(&topology);
    let question = String::from_utf8(session.asks_at_login(&topology).expect("a question")).expect("text");
    assert!(question.ends_with("CAST(@@SESSION.sql_mode AS BINARY), CAST(@@SESSION.autocommit AS BINARY) LIMIT 1"));
    session.connected(PRIMARY, AUTOCOMMIT, true);
    session.begun_with(PRIMARY, &topology.servers[0].defaults, AUTOCOMMIT);
    let row = ["gbk", "gbk", "gbk_chinese_ci", "ANSI_QUOTES", "1"].map(|value| Some(value.as_bytes().to_vec()));
    session.learnt_at_login(PRIMARY, Some(&row));
    assert_eq!((session.ansi_quotes(), session.state.charset.family), (Some(true), CharsetFamily::Gbk));
    assert_eq!(first(&mut session, "DELETE FROM t", &topology, AUTOCOMMIT), (PRIMARY, vec![]));
    let given = vec![
        "SET autocommit=1".to_owned(),
        "SET @@SESSION.sql_mode='ANSI_QUOTES'".to_owned(),
        "SET character_set_client=gbk, character_set_results=gbk, collation_connection=gbk_chinese_ci".to_owned(),
    ];
    assert_eq!(first(&mut session, "SELECT 1", &topology, AUTOCOMMIT), (REPLICA, given));
    session.learnt_at_login(PRIMARY, None);
    assert_eq!((session.ansi_quotes(), session.state.charset.family), (None, CharsetFamily::Unknown));
}

#[test]
fn defaults_that_belong_to_a_connection_hold_the_session_to_it() {
    for values in [&[("sql_auto_is_null", "1")][..], &[("sql_mode", "PIPES_AS_CONCAT,ORACLE")]] {
        let topology = with(values, values);
        assert_eq!(begun(&topology).bound(), Some("session_variable"));
    }
}
