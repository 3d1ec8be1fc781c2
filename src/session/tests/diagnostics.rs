//! What is asked about the statement before goes where that left it.

use super::*;

fn mariadb() -> Session {
    let mut session = session();
    session.flavor = Flavor::MariaDb;
    session
}

/// The OK of a statement with so many warnings.
fn warned(count: u16) -> (Kind, Vec<u8>) {
    let mut payload = Vec::new();
    OkPacket { warnings: count, ..OkPacket::new(AUTOCOMMIT) }.encode(Capabilities::SESSION_TRACK, &mut payload);
    (Kind::Ok(AUTOCOMMIT), payload)
}

fn ran_with(session: &mut Session, text: &str, warnings: u16, topology: &Topology) {
    let payload = query(text);
    let mut run = planned(session, &payload, topology);
    prepared(session, &mut run, topology);
    answered(session, &mut run, &payload, &warned(warnings));
}

fn goes(session: &mut Session, text: &str, topology: &Topology) -> ServerId {
    planned(session, &query(text), topology).route.server
}

#[test]
fn a_statement_without_tables_leaves_mariadbs_warnings_where_they_are() {
    let topology = topology("");
    for between in ["SELECT @@time_zone", "SET time_zone = 'SYSTEM'", "USE test", "COMMIT", "DO 1"] {
        for (mut session, warned) in [(mariadb(), REPLICA), (super::session(), PRIMARY)] {
            ran_with(&mut session, "SELECT CAST('12x' AS SIGNED)", 1, &topology);
            ran_with(&mut session, between, 0, &topology);
            assert_eq!(goes(&mut session, "SHOW WARNINGS", &topology), warned, "{between}");
            assert_eq!(goes(&mut session, "SELECT @@warning_count", &topology), warned, "{between}");
            assert_eq!(goes(&mut session, "SELECT ROW_COUNT()", &topology), PRIMARY, "{between}");
        }
    }
    for (between, warnings) in [("SELECT @@a + 'x'", 1), ("SELECT @@a FROM t", 0), ("INSERT INTO t VALUES (1)", 0)] {
        let mut session = mariadb();
        ran_with(&mut session, "SELECT CAST('12x' AS SIGNED)", 1, &topology);
        ran_with(&mut session, between, warnings, &topology);
        assert_eq!(goes(&mut session, "SHOW WARNINGS", &topology), PRIMARY, "{between}");
    }
}

#[test]
fn found_rows_is_about_the_last_statement_that_found_any() {
    let topology = topology("");
    for (between, found) in [
        ("INSERT INTO t VALUES (1)", REPLICA),
        ("SET @x = 1", REPLICA),
        ("COMMIT", REPLICA),
        ("SELECT @@time_zone", PRIMARY),
        ("INSERT INTO t SELECT a FROM t", PRIMARY),
        ("UPDATE t SET a = 1", PRIMARY),
    ] {
        let mut session = session();
        ran_with(&mut session, "SELECT a FROM t LIMIT 3", 0, &topology);
        ran_with(&mut session, between, 0, &topology);
        assert_eq!(goes(&mut session, "SELECT FOUND_ROWS()", &topology), found, "{between}");
        assert_eq!(goes(&mut session, "SELECT FOUND_ROWS(), ROW_COUNT()", &topology), PRIMARY, "{between}");
    }
}
