//! Reads that do not go back when another server answers them.

use super::*;

const READ: &str = "SELECT a FROM t";
const ON_PRIMARY: &str = "/* dbproxy: primary */ SELECT a FROM t";

#[test]
fn the_primary_is_left_as_a_replica_is() {
    let (mut session, behind) = (session(), topology(""));
    ran(&mut session, ON_PRIMARY, AUTOCOMMIT, &[], &behind);
    let (server, reason, injected) = ran(&mut session, READ, AUTOCOMMIT, &[], &behind);
    assert_eq!((server, reason, injected), (REPLICA, Reason::PlainRead, vec![Prelude::Position, Prelude::Wait]));
    assert_eq!(ran(&mut session, READ, AUTOCOMMIT, &[], &behind).2, []);
    // Known to be there: nothing is waited for.
    let abreast = topology(WRITTEN);
    ran(&mut session, ON_PRIMARY, AUTOCOMMIT, &[], &abreast);
    assert_eq!(ran(&mut session, READ, AUTOCOMMIT, &[], &abreast).2, [Prelude::Position]);
}

#[test]
fn the_primary_finishes_what_a_replica_may_have_shown_and_gets_the_read_in_the_same_write() {
    let (mut session, topology) = (session(), topology(WRITTEN));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &[], &topology);
    ran(&mut session, READ, AUTOCOMMIT, &[], &topology);
    let mut run = planned(&mut session, &query(ON_PRIMARY), &topology);
    let Step::Inject { server: PRIMARY, what, payload } = session.next_step(&run, &topology) else { panic!("no step") };
    assert_eq!(what, Prelude::CatchUp);
    let batch = session.batch(&run, (what, payload), &topology);
    assert!(batch.commands.len() == 1 && batch.statement_follows);
    let failed = Answer::Err(crate::wire::ErrPacket::new(1778, *b"HY000", "no GTIDs".to_owned()));
    assert_eq!(session.injected(&mut run, PRIMARY, Prelude::CatchUp, failed), Next::Continue);
    assert_eq!(session.next_step(&run, &topology), Step::Go);
}

#[test]
fn what_is_bound_to_the_primary_asks_nobody() {
    let (mut session, topology) = (session(), topology(WRITTEN));
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    ran(&mut session, READ, IN_TRANS, &[], &topology);
    ran(&mut session, "COMMIT", AUTOCOMMIT, &[], &topology);
    assert_eq!(ran(&mut session, READ, AUTOCOMMIT, &[], &topology), (REPLICA, Reason::PlainRead, vec![]));
    ran(&mut session, "BEGIN", IN_TRANS, &[], &topology);
    assert_eq!(ran(&mut session, READ, IN_TRANS, &[], &topology).2, []);
    ran(&mut session, "COMMIT", AUTOCOMMIT, &[], &topology);
    assert_eq!(ran(&mut session, READ, AUTOCOMMIT, &[], &topology).2, []);
}

#[test]
fn who_wants_whatever_there_is_asks_nobody() {
    let (mut session, topology) = (session(), topology(""));
    ran(&mut session, "/* dbproxy: primary, consistency=eventual */ SELECT a FROM t", AUTOCOMMIT, &[], &topology);
    assert_eq!(ran(&mut session, READ, AUTOCOMMIT, &[], &topology).2, []);
}
