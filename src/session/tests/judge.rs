//! What the parser's verdict does to a statement that was taken for a read.

use super::*;
use crate::route::Reason::{NotRead, PlainRead, ReadOnlyTransaction};
use crate::sql::{Objection, Pending, Refusal, Verdict, Why};

const OBJECTS: Verdict = Verdict::Objects(Objection::Lock);
const REFUSES: Verdict = Verdict::Refuses(Refusal::Syntax);

fn seen(session: &mut Session, payload: &[u8], topology: &Topology, verdicts: &Verdicts) -> Run {
    match judged(session, payload, true, topology, verdicts).expect("a command") {
        Plan::Run(run) => run,
        other => panic!("not run: {other:?}"),
    }
}

fn asked(session: &mut Session, payload: &[u8], topology: &Topology, verdicts: &Verdicts) -> Pending {
    seen(session, payload, topology, verdicts).to_ask().expect("a new read")
}

#[test]
fn a_read_is_a_read_until_the_parser_says_otherwise() {
    let (mut session, topology, verdicts) = (session(), topology(""), Verdicts::new());
    let first = seen(&mut session, &query("SELECT a FROM t WHERE id = 1"), &topology, &verdicts);
    assert_eq!((first.route.server, first.route.reason, first.repeatable), (REPLICA, PlainRead, true));
    let pending = first.to_ask().expect("nobody asked");
    verdicts.note_asked(pending.fingerprint);
    let second = seen(&mut session, &query("SELECT a FROM t WHERE id = 2"), &topology, &verdicts);
    assert_eq!((second.route.server, second.to_ask()), (REPLICA, None), "asked once");
    for (verdict, why) in [(OBJECTS, Why::ParserObjects), (REFUSES, Why::ParserRefuses)] {
        verdicts.record(pending.fingerprint, verdict);
        let third = seen(&mut session, &query("SELECT a FROM t WHERE id = 3"), &topology, &verdicts);
        assert_eq!((third.route.server, third.route.reason), (PRIMARY, NotRead(why)));
        assert!(!third.repeatable, "what is no read is not sent twice");
    }
    let other = seen(&mut session, &query("SELECT b FROM t WHERE id = 3"), &topology, &verdicts);
    assert_eq!(other.route.server, REPLICA);
    verdicts.record(pending.fingerprint, Verdict::Agrees);
    let agreed = seen(&mut session, &query("SELECT a FROM t WHERE id = 4"), &topology, &verdicts);
    assert_eq!((agreed.route.server, agreed.to_ask()), (REPLICA, None));
}

#[test]
fn what_the_parser_objects_to_holds_what_it_may_leave() {
    for (objection, held) in [
        (Objection::Lock, None),
        (Objection::Write, None),
        (Objection::UserVariable, Some("unclassified")),
        (Objection::Function, Some("routine")),
        (Objection::OtherStatement, Some("unclassified")),
    ] {
        let (mut session, topology, verdicts) = (session(), topology(""), Verdicts::new());
        let payload = query("SELECT a FROM t");
        let pending = asked(&mut session, &payload, &topology, &verdicts);
        verdicts.record(pending.fingerprint, Verdict::Objects(objection));
        let mut run = seen(&mut session, &payload, &topology, &verdicts);
        prepared(&mut session, &mut run, &topology);
        answered(&mut session, &mut run, &payload, &ok(AUTOCOMMIT, &[]));
        assert_eq!(session.bound(), held, "{objection:?}");
    }
}

#[test]
fn a_verdict_stays_with_a_prepared_statement() {
    let (mut session, topology, verdicts) = (session(), topology(""), Verdicts::new());
    let payload = [&[Command::StmtPrepare as u8], &b"SELECT a FROM t WHERE a = ?"[..]].concat();
    let mut run = seen(&mut session, &payload, &topology, &verdicts);
    let pending = run.to_ask().expect("nobody asked");
    prepared(&mut session, &mut run, &topology);
    let prepared_ok = [0, 9, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    session.on_packet(&mut run, Kind::PrepareOk, &prepared_ok).expect("a proper packet");
    let id = run.statement.expect("an id");
    let first = seen(&mut session, &execute(id, true), &topology, &verdicts);
    assert_eq!((first.route.server, first.to_ask()), (REPLICA, Some(pending)), "nobody answered yet");
    verdicts.record(pending.fingerprint, OBJECTS);
    let second = seen(&mut session, &execute(id, true), &topology, &verdicts);
    assert_eq!((second.route.server, second.route.reason), (PRIMARY, NotRead(Why::ParserObjects)));
    let forgotten = Verdicts::new();
    let third = seen(&mut session, &execute(id, true), &topology, &forgotten);
    assert_eq!((third.route.server, third.to_ask()), (PRIMARY, None), "no look-up is needed any more");
}

#[test]
fn a_read_only_transaction_goes_on_where_it_is() {
    let (mut session, topology, verdicts) = (session(), topology(""), Verdicts::new());
    let begin = query("START TRANSACTION READ ONLY");
    let mut run = seen(&mut session, &begin, &topology, &verdicts);
    prepared(&mut session, &mut run, &topology);
    let open = Status(IN_TRANS.0 | Status::IN_TRANS_READONLY.0);
    answered(&mut session, &mut run, &begin, &ok(open, &[]));
    let payload = query("SELECT a FROM t");
    let mut run = seen(&mut session, &payload, &topology, &verdicts);
    let pending = run.to_ask().expect("nobody asked");
    prepared(&mut session, &mut run, &topology);
    answered(&mut session, &mut run, &payload, &ok(open, &[]));
    for verdict in [OBJECTS, REFUSES] {
        verdicts.record(pending.fingerprint, verdict);
        let run = seen(&mut session, &payload, &topology, &verdicts);
        assert_eq!((run.route.server, run.route.reason), (REPLICA, ReadOnlyTransaction), "{verdict:?}");
    }
}
