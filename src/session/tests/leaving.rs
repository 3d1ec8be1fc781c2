//! Reads that do not go back when another server answers them.

use super::*;

const READ: &str = "SELECT a FROM t";
const ON_PRIMARY: &str = "/* dbproxy: primary */ SELECT a FROM t";

#[test]
fn the_primary_is_left_as_a_replica_is() {
    let (mut session, behind) = (session(), topology(""));
    ran(&mut session, ON_PRIMARY, AUTOCOMMIT, &[], &behind);
    assert_eq!(read(&mut session, READ, &behind), (REPLICA, vec![Prelude::Position], vec![REPLICA]));
    assert_eq!(read(&mut session, READ, &behind).1, []);
    // Known to be there: nothing is waited for at the plan's time, and what the primary tells is waited for.
    let abreast = topology(WRITTEN);
    ran(&mut session, ON_PRIMARY, AUTOCOMMIT, &[], &abreast);
    assert_eq!(read(&mut session, READ, &abreast).1, [Prelude::Position]);
}

#[test]
fn the_primary_must_show_what_a_replica_has_shown() {
    let (mut session, topology) = (session(), topology(WRITTEN));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &[], &topology);
    ran(&mut session, READ, AUTOCOMMIT, &[], &topology);
    assert_eq!(read(&mut session, ON_PRIMARY, &topology), (PRIMARY, vec![Prelude::Position], vec![PRIMARY]));
    assert_eq!(read(&mut session, ON_PRIMARY, &topology), (PRIMARY, vec![], vec![]), "the primary is left by nobody");
}

#[test]
fn a_read_that_the_primary_would_take_back_waits_and_is_planned_again() {
    let (mut session, topology) = (session(), topology(WRITTEN));
    ran(&mut session, READ, AUTOCOMMIT, &[], &topology);
    for _ in 0..2 {
        let mut run = planned(&mut session, &query(ON_PRIMARY), &topology);
        let Step::Inject { server: REPLICA, what: Prelude::Position, .. } = session.next_step(&run, &topology) else {
            panic!("the replica is not asked")
        };
        let shown = Answer::Row(vec![Some(WRITTEN.into())]);
        assert_eq!(session.injected(&mut run, REPLICA, Prelude::Position, shown), Next::Continue);
        let Step::Await { server: PRIMARY, until, .. } = session.next_step(&run, &topology) else { panic!("no wait") };
        let refused = session.awaited(&mut run, &until, false, &topology);
        let lacks = crate::route::Lacks::Seen;
        assert_eq!(refused, Err(Refusal::PrimaryBehind { server: "db0:3306".to_owned(), lacks }));
    }
}

#[test]
fn a_read_that_a_replica_does_not_take_must_not_go_back_on_the_primary() {
    let (mut session, topology) = (session(), topology(WRITTEN));
    ran(&mut session, READ, AUTOCOMMIT, &[], &topology);
    let mut run = planned(&mut session, &query(READ), &topology);
    assert_eq!(run.route.server, REPLICA);
    session.move_to_primary(&mut run, Reason::ReplicaBehind, &topology).expect("a primary");
    let (injected, awaited) = stepped(&mut session, &mut run, &topology);
    assert!(injected.contains(&Prelude::Position) && awaited == [PRIMARY], "{injected:?} {awaited:?}");
}

#[test]
fn the_primary_is_asked_in_place_of_a_replica_that_is_lost() {
    let (mut session, topology) = (session(), topology(WRITTEN));
    ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &[], &topology);
    ran(&mut session, READ, AUTOCOMMIT, &[], &topology);
    session.backend_closed(REPLICA).expect("nothing is lost");
    let run = planned(&mut session, &query(ON_PRIMARY), &topology);
    assert!(matches!(
        session.next_step(&run, &topology),
        Step::Inject { server: PRIMARY, what: Prelude::Position, .. }
    ));
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
