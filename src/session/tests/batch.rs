//! What goes to a backend in one write.

use super::*;

const CHANGED: &[u8] = &[2, 1, b'1'];

/// The batch of the first step that injects something, other steps done before it.
fn batch(session: &mut Session, payload: &[u8], topology: &Topology) -> (ServerId, Vec<Prelude>, bool) {
    let run = planned(session, payload, topology);
    loop {
        match session.next_step(&run, topology) {
            Step::Connect => session.connected(run.route.server, AUTOCOMMIT, run.route.target == Target::Primary),
            Step::Inject { server, what, payload } => {
                let batch = session.batch(&run, (what, payload), topology);
                let whats = batch.commands.iter().map(|(what, _)| *what).collect();
                return (server, whats, batch.statement_follows);
            }
            other => panic!("nothing to inject: {other:?}"),
        }
    }
}

fn used(session: &mut Session, topology: &Topology) {
    let mut schema = Vec::new();
    put_lenenc_bytes(&mut schema, b"shop");
    ran(session, "SET max_join_size = 7", AUTOCOMMIT, CHANGED, topology);
    ran(session, "USE shop", AUTOCOMMIT, &[&entry(1, &schema), CHANGED].concat(), topology);
}

#[test]
fn a_read_on_a_replica_goes_out_with_all_that_the_replica_lacks() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology);
    used(&mut session, &topology);
    let all = batch(&mut session, &query("SELECT 1"), &topology);
    assert_eq!(all, (REPLICA, vec![Prelude::Variables, Prelude::Schema], true));
}

#[test]
fn a_backend_opened_after_a_reset_is_reset_without_a_round_trip_of_its_own() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "SELECT 1", AUTOCOMMIT, &[], &topology);
    session.reset();
    assert_eq!(batch(&mut session, &query("SELECT 1"), &topology), (REPLICA, vec![Prelude::Reset], true));
    let all = batch(&mut session, &query("DELETE FROM t"), &topology);
    assert_eq!(all, (PRIMARY, vec![Prelude::Reset, Prelude::Track], false));
}

#[test]
fn a_write_waits_until_its_backend_has_the_sessions_state() {
    let (mut session, topology) = (session(), topology(""));
    used(&mut session, &topology);
    assert_eq!(session.backend_closed(PRIMARY), Ok(()));
    let all = batch(&mut session, &query("DELETE FROM t"), &topology);
    assert_eq!(all, (PRIMARY, vec![Prelude::Track, Prelude::Variables], false));
}

#[test]
fn the_start_of_a_transaction_waits_too() {
    let (mut session, topology) = (session(), topology(""));
    used(&mut session, &topology);
    let all = batch(&mut session, &query("START TRANSACTION READ ONLY"), &topology);
    assert_eq!((all.0, all.2), (REPLICA, false));
}

#[test]
fn what_depends_on_an_answer_waits_for_it() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "SET max_join_size = DEFAULT", AUTOCOMMIT, CHANGED, &topology);
    let asked = batch(&mut session, &query("SELECT 1"), &topology);
    assert_eq!(asked, (PRIMARY, vec![Prelude::LearnVariables], false));

    let (mut session, topology) = (super::session(), super::topology(""));
    let payload = [&[Command::StmtPrepare as u8], &b"SELECT a FROM t WHERE a = ?"[..]].concat();
    let mut run = planned(&mut session, &payload, &topology);
    prepared(&mut session, &mut run, &topology);
    answered(&mut session, &mut run, &payload, &(Kind::PrepareOk, vec![0, 33, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]));
    assert_eq!(session.backend_closed(REPLICA), Ok(()));
    let all = batch(&mut session, &execute(1, true), &topology);
    assert_eq!(all, (REPLICA, vec![Prelude::Prepare], false));
}
