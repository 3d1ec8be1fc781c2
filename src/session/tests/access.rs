//! Replicas on which an account may write in spite of `read_only`.

use super::*;

const CHANGED: &[u8] = &[2, 1, b'1'];

/// The replica has `read_only` alone.
fn open_topology() -> Topology {
    let mut topology = topology(WRITTEN);
    Arc::make_mut(&mut topology.servers[1]).super_read_only = false;
    topology
}

fn read(session: &mut Session, topology: &Topology) -> (ServerId, Vec<Prelude>) {
    let read = ran(session, "SELECT a FROM v", AUTOCOMMIT, &[], topology);
    (read.0, read.2)
}

#[test]
fn a_replica_without_super_read_only_is_told_once_to_refuse_writes() {
    let (mut session, open) = (session(), open_topology());
    assert_eq!(read(&mut session, &open), (REPLICA, vec![Prelude::ReadOnly]));
    assert_eq!(read(&mut session, &open), (REPLICA, vec![]));
    session.reset();
    assert_eq!(read(&mut session, &open), (REPLICA, vec![Prelude::Reset, Prelude::ReadOnly]));
    assert_eq!(session.backend_closed(REPLICA), Ok(()));
    assert_eq!(read(&mut session, &topology(WRITTEN)), (REPLICA, vec![Prelude::Reset]), "nobody may write there");
    assert_eq!(read(&mut session, &open), (REPLICA, vec![Prelude::ReadOnly]), "somebody may now");
}

#[test]
fn a_statement_is_not_prepared_before_it_and_a_transaction_that_only_reads_needs_none() {
    let (mut session, open) = (session(), open_topology());
    let begin = ran(&mut session, "START TRANSACTION READ ONLY", IN_TRANS, &[], &open);
    assert_eq!((begin.0, begin.2), (REPLICA, vec![Prelude::Track]));
    assert_eq!(ran(&mut session, "SELECT a FROM v", IN_TRANS, &[], &open).2, vec![]);
    ran(&mut session, "COMMIT", AUTOCOMMIT, &[], &open);
    let prepare = [&[Command::StmtPrepare as u8], &b"SELECT a FROM v"[..]].concat();
    let mut run = planned(&mut session, &prepare, &open);
    assert_eq!(prepared(&mut session, &mut run, &open), vec![Prelude::ReadOnly]);
}

#[test]
fn a_replica_that_becomes_the_primary_takes_writes_again_with_the_sessions_own_access() {
    let (mut session, mut open) = (session(), open_topology());
    ran(&mut session, "SET max_join_size = 7", AUTOCOMMIT, CHANGED, &open);
    assert_eq!(read(&mut session, &open), (REPLICA, vec![Prelude::Variables, Prelude::ReadOnly]));
    open.writes = Writes::Primary(REPLICA);
    let write = ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &[], &open);
    assert_eq!((write.0, write.2), (REPLICA, vec![Prelude::OwnAccess, Prelude::Track, Prelude::Variables]));
    assert_eq!(ran(&mut session, "INSERT INTO t VALUES (1)", AUTOCOMMIT, &[], &open).2, vec![]);
}

#[test]
fn a_session_that_chooses_to_write_does_not_choose_so_for_replicas() {
    let (mut session, open) = (session(), open_topology());
    assert_eq!(read(&mut session, &open).1, vec![Prelude::ReadOnly]);
    ran(&mut session, "SET SESSION TRANSACTION READ WRITE", AUTOCOMMIT, CHANGED, &open);
    assert_eq!(read(&mut session, &open), (REPLICA, vec![Prelude::Variables, Prelude::ReadOnly]));
    assert_eq!(read(&mut session, &open), (REPLICA, vec![]));
    // On the replica itself, in a transaction there.
    ran(&mut session, "START TRANSACTION READ ONLY", IN_TRANS, &[], &open);
    let set = ran(&mut session, "SET SESSION TRANSACTION READ WRITE", IN_TRANS, CHANGED, &open);
    assert_eq!(set.0, REPLICA);
    ran(&mut session, "COMMIT", AUTOCOMMIT, &[], &open);
    assert_eq!(read(&mut session, &open), (REPLICA, vec![Prelude::ReadOnly]));
}

#[test]
fn the_first_read_waits_until_the_replica_refuses_writes() {
    let (mut session, open) = (session(), open_topology());
    let run = planned(&mut session, &query("SELECT a FROM v"), &open);
    session.connected(REPLICA, AUTOCOMMIT, false);
    let Step::Inject { what, payload, .. } = session.next_step(&run, &open) else { panic!("nothing to inject") };
    let batch = session.batch(&run, (what, payload), &open);
    assert_eq!((what, batch.statement_follows), (Prelude::ReadOnly, false));
}
