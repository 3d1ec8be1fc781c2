//! Statements that are prepared again under what they were prepared under.

use super::*;
use crate::session::state::CharsetVariables;

fn prepare(session: &mut Session, text: &[u8], topology: &Topology) {
    let payload = [&[Command::StmtPrepare as u8], text].concat();
    let mut run = planned(session, &payload, topology);
    prepared(session, &mut run, topology);
    answered(session, &mut run, &payload, &(Kind::PrepareOk, vec![0, 33, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]));
}

fn reported(changes: &[(&str, &str)]) -> Vec<u8> {
    let one = |(name, value): &(&str, &str)| {
        let mut variable = Vec::new();
        put_lenenc_bytes(&mut variable, name.as_bytes());
        put_lenenc_bytes(&mut variable, value.as_bytes());
        entry(0, &variable)
    };
    changes.iter().flat_map(one).collect()
}

/// What is injected before a run, with the texts of statements, and where.
fn steps(session: &mut Session, payload: &[u8], topology: &Topology) -> Vec<(ServerId, Prelude, String)> {
    let mut run = planned(session, payload, topology);
    let mut steps = Vec::new();
    while let Step::Connect | Step::Inject { .. } = session.next_step(&run, topology) {
        match session.next_step(&run, topology) {
            Step::Inject { server, what, payload } => {
                steps.push((server, what, String::from_utf8_lossy(&payload[1..]).into_owned()));
                let answer = match what {
                    Prelude::LearnCharset => {
                        Answer::Row(["gbk", "gbk", "gbk_bin"].map(|name| Some(name.into())).to_vec())
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
                assert_eq!(session.injected(&mut run, server, what, answer), Next::Continue);
            }
            _ => session.connected(run.route.server, AUTOCOMMIT, run.route.target == Target::Primary),
        }
    }
    assert_eq!(session.next_step(&run, topology), Step::Go);
    answered(session, &mut run, payload, &ok(session.status(), &[]));
    steps
}

const SELECT: &[u8] = b"SELECT a FROM t WHERE a = ?";

#[test]
fn a_statement_means_elsewhere_what_it_meant_where_it_was_prepared() {
    let (mut session, topology) = (session(), topology(""));
    prepare(&mut session, SELECT, &topology);
    let names =
        [("character_set_client", "gbk"), ("character_set_connection", "gbk"), ("character_set_results", "gbk")];
    // What is left must be known before it is gone.
    let left = ran(&mut session, "SET NAMES gbk COLLATE gbk_bin", AUTOCOMMIT, &reported(&names), &topology);
    assert_eq!(left, (PRIMARY, left.1, vec![Prelude::Track, Prelude::LearnCharset]));
    ran(&mut session, "SET sql_mode = 'ANSI'", AUTOCOMMIT, &reported(&[("sql_mode", "ANSI_QUOTES")]), &topology);
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    let text = |text: &str| text.to_owned();
    let wanted = [
        (PRIMARY, Prelude::LearnCharset, format!("{} LIMIT 1", CharsetVariables::QUERY)),
        (
            PRIMARY,
            Prelude::Under,
            text("SET character_set_client=utf8mb4, collation_connection=utf8mb4_bin, sql_mode=''"),
        ),
        (PRIMARY, Prelude::Prepare, text("SELECT a FROM t WHERE a = ?")),
        (PRIMARY, Prelude::Charset, text("SET NAMES gbk COLLATE gbk_bin")),
        (PRIMARY, Prelude::Variables, text("SET @@SESSION.sql_mode='ANSI_QUOTES'")),
    ];
    assert_eq!(steps(&mut session, &execute(1, true), &topology), wanted);
    assert_eq!(steps(&mut session, &execute(1, true), &topology), []);
}

#[test]
fn where_nothing_changed_meanwhile_it_is_just_prepared_again() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "SET sql_mode = 'ANSI'", AUTOCOMMIT, &reported(&[("sql_mode", "ANSI_QUOTES")]), &topology);
    prepare(&mut session, SELECT, &topology);
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    let whats: Vec<_> = steps(&mut session, &execute(1, true), &topology).into_iter().map(|step| step.1).collect();
    assert_eq!(whats, [Prelude::Prepare]);
}

#[test]
fn a_backend_is_given_the_sessions_own_back_even_if_nothing_could_be_prepared_there() {
    let (mut session, topology) = (session(), topology(""));
    prepare(&mut session, SELECT, &topology);
    ran(&mut session, "SET sql_mode = 'ANSI'", AUTOCOMMIT, &reported(&[("sql_mode", "ANSI_QUOTES")]), &topology);
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    let mut run = planned(&mut session, &execute(1, true), &topology);
    let Step::Inject { what: Prelude::Under, .. } = session.next_step(&run, &topology) else { panic!("not under") };
    session.injected(&mut run, PRIMARY, Prelude::Under, Answer::Ok);
    let no = crate::wire::ErrPacket::new(1146, *b"42S02", "no such table".to_owned());
    let next = session.injected(&mut run, PRIMARY, Prelude::Prepare, Answer::Err(no));
    assert!(matches!(next, Next::Fail(_)), "{next:?}");
    let whats = |steps: Vec<(ServerId, Prelude, String)>| steps.into_iter().map(|step| step.1).collect::<Vec<_>>();
    assert_eq!(whats(steps(&mut session, &query("SELECT 1"), &topology)), [Prelude::Variables]);
    let again = whats(steps(&mut session, &execute(1, true), &topology));
    assert_eq!(again, [Prelude::Under, Prelude::Prepare, Prelude::Variables]);
}
