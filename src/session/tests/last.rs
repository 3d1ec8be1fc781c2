//! The statement id that names the statement prepared last.

use super::*;
use crate::wire::LAST_PREPARED;

fn prepare(session: &mut Session, topology: &Topology) {
    let payload = [&[Command::StmtPrepare as u8], &b"INSERT INTO t VALUES (?)"[..]].concat();
    let mut run = planned(session, &payload, topology);
    prepared(session, &mut run, topology);
    answered(session, &mut run, &payload, &(Kind::PrepareOk, vec![0, 33, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]));
}

fn prepare_fails(session: &mut Session, topology: &Topology) {
    let payload = [&[Command::StmtPrepare as u8], &b"INSERT INTO nowhere VALUES (?)"[..]].concat();
    let mut run = planned(session, &payload, topology);
    prepared(session, &mut run, topology);
    answered(session, &mut run, &payload, &(Kind::Err, b"\xff\x7a\x04#42S02no such table".to_vec()));
}

/// The session's id of the statement that the id -1 executes.
fn executed(session: &mut Session, topology: &Topology) -> Option<u32> {
    match plan(session, &execute(LAST_PREPARED, true), true, topology).expect("a command") {
        Plan::Run(run) => run.statement,
        Plan::Fail(Failure::UnknownStatement { id: LAST_PREPARED, .. }) => None,
        other => panic!("{other:?}"),
    }
}

fn mariadb() -> Session {
    let mut session = session();
    session.flavor = Flavor::MariaDb;
    session
}

#[test]
fn only_mariadb_takes_it_for_the_statement_prepared_last() {
    let topology = topology("");
    let (mut mysql, mut mariadb) = (session(), mariadb());
    prepare(&mut mysql, &topology);
    prepare(&mut mariadb, &topology);
    assert_eq!((executed(&mut mysql, &topology), executed(&mut mariadb, &topology)), (None, Some(1)));
}

#[test]
fn it_names_nothing_after_a_prepare_that_failed() {
    let (mut session, mut topology) = (mariadb(), topology(""));
    prepare(&mut session, &topology);
    prepare_fails(&mut session, &topology);
    assert_eq!(executed(&mut session, &topology), None, "refused by the server");
    prepare(&mut session, &topology);
    assert_eq!(executed(&mut session, &topology), Some(2));
    let primary = std::mem::replace(&mut topology.writes, Writes::Nobody("for a test".into()));
    let payload = [&[Command::StmtPrepare as u8], &b"INSERT INTO t VALUES (?)"[..]].concat();
    let refused = plan(&mut session, &payload, true, &topology).expect("a command");
    assert!(matches!(refused, Plan::Refuse(_)), "{refused:?}");
    topology.writes = primary;
    assert_eq!(executed(&mut session, &topology), None, "refused here");
}

#[test]
fn it_names_nothing_once_that_statement_is_closed() {
    let (mut session, topology) = (mariadb(), topology(""));
    prepare(&mut session, &topology);
    prepare(&mut session, &topology);
    let close = [&[Command::StmtClose as u8][..], &1u32.to_le_bytes()].concat();
    plan(&mut session, &close, true, &topology).expect("a command");
    assert_eq!(executed(&mut session, &topology), Some(2), "another one was closed");
    let close = [&[Command::StmtClose as u8][..], &LAST_PREPARED.to_le_bytes()].concat();
    plan(&mut session, &close, true, &topology).expect("a command");
    assert_eq!(executed(&mut session, &topology), None);
    session.reset();
    assert_eq!(executed(&mut session, &topology), None);
}
