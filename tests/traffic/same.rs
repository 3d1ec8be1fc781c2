//! The same commands straight to the primary and through the proxy: the same bytes in answer.

use super::peer::{As, Packet, Peer, USUAL, warm};
use super::support::{Cluster, Flavor, Options, Proxy, accounts, flavors};
use dbproxy::wire::{Capabilities, Command, Expect, put_lenenc_bytes, query_payload};

/// A command; `Named` ones carry an index into the statements prepared so far where the statement's id goes.
#[derive(Clone)]
enum Act {
    Query(&'static str),
    Raw(Vec<u8>, Expect),
    Prepare(&'static str),
    Named(Command, usize, Vec<u8>, Expect),
}

const INT: [u8; 2] = [3, 0];
const STRING: [u8; 2] = [253, 0];

/// What follows the statement's id in COM_STMT_EXECUTE, as MySQL's client library writes it.
fn execute(capabilities: Capabilities, cursor: bool, types: &[[u8; 2]], send_types: bool, values: &[u8]) -> Vec<u8> {
    const PARAMETER_COUNT_AVAILABLE: u8 = 8;
    let attributes = capabilities.has(Capabilities::QUERY_ATTRIBUTES);
    let mut rest = vec![u8::from(cursor) | if attributes { PARAMETER_COUNT_AVAILABLE } else { 0 }];
    rest.extend_from_slice(&1u32.to_le_bytes());
    if attributes {
        rest.push(types.len() as u8);
    }
    if !types.is_empty() {
        rest.extend(vec![0; types.len().div_ceil(8)]);
        rest.push(u8::from(send_types));
        for kind in types.iter().filter(|_| send_types) {
            rest.extend_from_slice(kind);
            if attributes {
                put_lenenc_bytes(&mut rest, b"");
            }
        }
        rest.extend_from_slice(values);
    }
    rest
}

fn text_statements(flavor: Flavor) -> Vec<Act> {
    let mut all = warnings_and_preparing();
    all.extend(USUAL_STATEMENTS.map(Act::Query));
    if flavor == Flavor::MariaDb {
        all.push(Act::Query("INSERT INTO t (b) VALUES ('r1'), ('r2') RETURNING id, b"));
        all.push(Act::Query("SELECT COUNT(*) FROM t"));
        // The EOF behind the columns says that state of the session changed.
        all.push(Act::Query("SET STATEMENT sql_mode = '' FOR SELECT b FROM t"));
    }
    all
}

/// To prepare a statement, elsewhere too, may clear the warnings, and leaves the rest.
fn warnings_and_preparing() -> Vec<Act> {
    let of = |prepared| {
        let warns = Act::Query("INSERT IGNORE INTO t SELECT * FROM t WHERE id < 3");
        let [warnings, rows] = ["SHOW WARNINGS", "SELECT ROW_COUNT()"].map(Act::Query);
        [warns.clone(), Act::Prepare(prepared), warnings, warns, Act::Prepare(prepared), rows]
    };
    ["SELECT b FROM t WHERE id = ?", "SELECT 1", "SELECT nonsense FROM t"].into_iter().flat_map(of).collect()
}

const USUAL_STATEMENTS: [&str; 68] = [
    "SELECT 1",
    "SELECT 1 AS a, 'x' AS b, NULL AS c",
    "SELECT * FROM t ORDER BY id",
    "SELECT * FROM t WHERE id < 0",
    "SELECT * FROM nowhere",
    "SELECT nonsense",
    "SELEC 1",
    "",
    "   ",
    "-- only a comment",
    "INSERT INTO t VALUES (10, 'ten', 1.5)",
    "INSERT INTO t (b) VALUES ('auto'), ('auto2')",
    "INSERT INTO t VALUES (10, 'again', 0)",
    "INSERT IGNORE INTO t VALUES (10, 'again', 0)",
    "SHOW WARNINGS",
    "SELECT LAST_INSERT_ID()",
    "UPDATE t SET b = 'changed' WHERE id >= 10",
    "UPDATE t SET b = 'changed' WHERE id >= 10",
    "DELETE FROM t WHERE id = 10",
    "SELECT COUNT(*) FROM t",
    "SELECT 1/0",
    "SHOW WARNINGS",
    "SELECT CAST('abc' AS SIGNED)",
    "DROP TABLE IF EXISTS none_such",
    "SHOW WARNINGS",
    "BEGIN",
    "INSERT INTO t (b) VALUES ('in')",
    "SELECT COUNT(*) FROM t",
    "ROLLBACK",
    "SET autocommit = 0",
    "SELECT COUNT(*) FROM t",
    "COMMIT",
    "SET autocommit = 1",
    "SELECT @@autocommit",
    "SET NAMES latin1",
    "SELECT 'é' AS x",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SELECT @@collation_connection",
    "SET nonsense = 1",
    "USE test",
    "SELECT DATABASE()",
    "USE app",
    "CREATE TABLE made (a INT)",
    "ALTER TABLE made ADD b INT",
    "SHOW COLUMNS FROM made",
    "DROP TABLE made",
    "SHOW TABLES LIKE 't'",
    "EXPLAIN SELECT * FROM t WHERE id = 1",
    "DO 1",
    "START TRANSACTION READ ONLY",
    "SELECT COUNT(*) FROM t",
    "COMMIT",
    "SET @v = 5",
    "SELECT @v",
    "CALL results(2)",
    "CALL nowhere()",
    "PREPARE p FROM 'SELECT ? + 1'",
    "EXECUTE p USING @v",
    "DEALLOCATE PREPARE p",
    "SELECT 1; SELECT 2; SELECT 3",
    "SELECT 1; INSERT INTO t (b) VALUES ('multi'); SELECT nonsense; SELECT 4",
    "LOCK TABLES t READ",
    "SELECT COUNT(*) FROM t",
    "UNLOCK TABLES",
    "CREATE TEMPORARY TABLE tmp (a INT)",
    "SELECT * FROM tmp",
    "DROP TEMPORARY TABLE tmp",
    "SELECT REPEAT('long', 50000)",
];

fn prepared_statements(capabilities: Capabilities) -> Vec<Act> {
    let execute_on = |statement: usize, rest: Vec<u8>| {
        let expect = if rest[0] & 7 == 0 { Expect::Results } else { Expect::ResultsOrCursor };
        Act::Named(Command::StmtExecute, statement, rest, expect)
    };
    let plain = |cursor, types: &[[u8; 2]], send, values: &[u8]| execute(capabilities, cursor, types, send, values);
    let mut text = Vec::new();
    put_lenenc_bytes(&mut text, b"a value");
    let long_data =
        |bytes: &[u8]| Act::Named(Command::StmtSendLongData, 3, [&[0, 0][..], bytes].concat(), Expect::Nothing);
    vec![
        Act::Prepare("SELECT id, b, d FROM t WHERE id > ? ORDER BY id"),
        Act::Prepare("SELECT nonsense FROM"),
        Act::Prepare("INSERT INTO t (b) VALUES (?)"),
        Act::Prepare("SELECT * FROM t WHERE id = 1"),
        execute_on(0, plain(false, &[INT], true, &0u32.to_le_bytes())),
        execute_on(0, plain(false, &[INT], false, &2u32.to_le_bytes())),
        execute_on(0, plain(false, &[INT], false, &9_999_999u32.to_le_bytes())),
        execute_on(1, plain(false, &[STRING], true, &text)),
        execute_on(0, plain(false, &[INT], false, &0u32.to_le_bytes())),
        execute_on(2, plain(false, &[], false, &[])),
        execute_on(0, vec![0, 1, 0, 0, 0]),
        execute_on(0, [&[0, 1, 0, 0, 0, 0, 1][..], &INT, &INT[..1]].concat()),
        // A cursor.
        execute_on(0, plain(true, &[INT], true, &0u32.to_le_bytes())),
        Act::Named(Command::StmtFetch, 0, 2u32.to_le_bytes().to_vec(), Expect::Rows),
        Act::Named(Command::StmtFetch, 0, 100u32.to_le_bytes().to_vec(), Expect::Rows),
        Act::Named(Command::StmtFetch, 0, 100u32.to_le_bytes().to_vec(), Expect::Rows),
        Act::Named(Command::StmtReset, 0, vec![], Expect::OnePacket),
        Act::Named(Command::StmtFetch, 0, 1u32.to_le_bytes().to_vec(), Expect::Rows),
        // Long data.
        Act::Prepare("SELECT LENGTH(?), ?"),
        long_data(b"one half, "),
        long_data(b"the other half"),
        execute_on(3, plain(false, &[STRING, INT], true, &7u32.to_le_bytes())),
        long_data(b"forgotten"),
        Act::Named(Command::StmtReset, 3, vec![], Expect::OnePacket),
        execute_on(3, plain(false, &[STRING, INT], true, &[&text[..], &7u32.to_le_bytes()].concat())),
        Act::Named(Command::StmtClose, 3, vec![], Expect::Nothing),
        execute_on(3, plain(false, &[STRING, INT], true, &[&text[..], &7u32.to_le_bytes()].concat())),
        Act::Named(Command::StmtReset, 3, vec![], Expect::OnePacket),
        Act::Named(Command::StmtFetch, 3, 1u32.to_le_bytes().to_vec(), Expect::Rows),
        // Ids that were never given.
        Act::Raw([&[0x17][..], &77u32.to_le_bytes(), &[0, 1, 0, 0, 0]].concat(), Expect::Results),
        Act::Raw([&[0x19][..], &77u32.to_le_bytes()].concat(), Expect::Nothing),
        Act::Raw([&[0x1a][..], &77u32.to_le_bytes()].concat(), Expect::OnePacket),
        Act::Prepare("CALL results(?)"),
        execute_on(4, plain(false, &[INT], true, &1u32.to_le_bytes())),
        Act::Prepare("CALL inside()"),
        execute_on(5, plain(false, &[], false, &[])),
        execute_on(5, plain(true, &[], false, &[])),
        Act::Query("CALL inside()"),
        Act::Prepare("CALL gives(?)"),
        execute_on(6, plain(false, &[INT], true, &1u32.to_le_bytes())),
        execute_on(6, plain(true, &[INT], false, &1u32.to_le_bytes())),
        Act::Raw([&[0x1b][..], &0u16.to_le_bytes()].concat(), Expect::OnePacket),
        Act::Query("SELECT 1; SELECT 2"),
        Act::Raw([&[0x1b][..], &1u16.to_le_bytes()].concat(), Expect::OnePacket),
        Act::Query("SELECT 1"),
        Act::Raw([&[0x1b][..], &7u16.to_le_bytes()].concat(), Expect::OnePacket),
    ]
}

fn commands() -> Vec<Act> {
    let one = |bytes: &[u8]| Act::Raw(bytes.to_vec(), Expect::OnePacket);
    vec![
        one(&[0x0e]),
        one(b"\x02test"),
        Act::Query("SELECT DATABASE()"),
        one(b"\x02missing"),
        // No read in between: it would clear the warnings of another server than the one that counts them here.
        one(b"\x02app"),
        Act::Query("SELECT DATABASE()"),
        Act::Raw(b"\x04t\0".to_vec(), Expect::Rows),
        Act::Raw(b"\x04t\0i%".to_vec(), Expect::Rows),
        Act::Raw(b"\x04nowhere\0".to_vec(), Expect::Rows),
        one(&[0x09]),
        one(&[0x22]),
        one(&[0x00]),
        one(&[0x05, b'x']),
        one(&[0x0b]),
        one(&[0x0f]),
        one(&[0x14]),
        one(&[0x1d]),
        one(&[0x7f, 1, 2]),
        Act::Query("SET @before = 1"),
        Act::Query("CREATE TEMPORARY TABLE tmp (a INT)"),
        one(&[0x1f]),
        Act::Query("SELECT @before"),
        Act::Query("SELECT * FROM tmp"),
        Act::Query("SELECT DATABASE(), @@collation_connection"),
        one(&[0x0e]),
    ]
}

/// Runs them all; what each was and what came of it.
fn play(port: u16, capabilities: Capabilities, acts: &[Act]) -> Vec<(String, Vec<Packet>)> {
    let mut peer = Peer::app(port, capabilities, Some("app"));
    let mut statements = Vec::new();
    let mut heard = Vec::new();
    for act in acts {
        let (name, payload, expect) = match act {
            Act::Query(sql) => ((*sql).to_owned(), query_payload(sql, peer.capabilities), Expect::Results),
            Act::Raw(bytes, expect) => {
                (format!("command {:?}", bytes.escape_ascii().to_string()), bytes.clone(), *expect)
            }
            Act::Prepare(sql) => {
                (format!("prepare {sql}"), [&[Command::StmtPrepare as u8], sql.as_bytes()].concat(), Expect::Prepared)
            }
            Act::Named(command, index, rest, expect) => {
                let id: u32 = statements[*index];
                (
                    format!("{} of statement {index}", command.as_str()),
                    [&[*command as u8], &id.to_le_bytes()[..], rest].concat(),
                    *expect,
                )
            }
        };
        let answer = if expect == Expect::Nothing {
            peer.send(&payload);
            Ok(Vec::new())
        } else {
            peer.run(&payload, expect)
        };
        let mut answer = answer.unwrap_or_else(|lost| panic!("{name} under {capabilities:?}: {lost:?}"));
        if expect == Expect::Prepared && answer[0].payload[0] == 0 {
            statements.push(u32::from_le_bytes(answer[0].payload[1..5].try_into().expect("four bytes")));
            answer[0].payload[1..5].fill(0);
        }
        if payload[0] == Command::Statistics as u8 {
            answer.iter_mut().for_each(|packet| packet.payload = shape(&packet.payload));
        }
        // MariaDB reports the variables of a SET in no certain order.
        if name.starts_with("SET NAMES") {
            answer[0].payload.sort_unstable();
        }
        if let Some(packet) = answer.iter_mut().find(|packet| packet.payload[0] == 0xff) {
            blank_statement_id(&mut packet.payload);
        }
        heard.push((name, answer));
    }
    peer.ping().unwrap_or_else(|lost| panic!("after all under {capabilities:?}: {lost:?}"));
    assert!(peer.ahead.is_empty(), "something came behind the last answer");
    heard
}

/// The servers count up for statements that could not be prepared too, MariaDB's from one counter for all connections.
fn blank_statement_id(error: &mut Vec<u8>) {
    if let Some(at) = error.windows(2).position(|pair| pair[0] == b'(' && pair[1].is_ascii_digit()) {
        error.truncate(at);
    }
}

/// Numbers blanked.
fn shape(text: &[u8]) -> Vec<u8> {
    let mut shape = Vec::new();
    for &byte in text {
        let byte = if byte.is_ascii_digit() || byte == b'.' { b'#' } else { byte };
        if byte != b'#' || shape.last() != Some(&b'#') {
            shape.push(byte);
        }
    }
    shape
}

fn set_up(cluster: &Cluster) {
    for sql in [
        "DROP DATABASE IF EXISTS app",
        "CREATE DATABASE app",
        "CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(20), d DECIMAL(8,2))",
        "INSERT INTO app.t VALUES (1, 'one', 1.1), (2, NULL, NULL), (3, '', 0), (4, 'four', 4)",
        "CREATE PROCEDURE app.results(n INT) BEGIN SELECT n; SELECT n + 1 AS more; END",
        "CREATE PROCEDURE app.inside() BEGIN DECLARE c CURSOR FOR SELECT id FROM app.t; OPEN c; SELECT 1; CLOSE c; SELECT 2; END",
        "CREATE PROCEDURE app.gives(OUT n INT) BEGIN SET n = 7; SELECT 1; END",
    ] {
        cluster.primary().sql(sql);
    }
    cluster.wait_for_replicas();
}

/// Complains of every command that is answered otherwise through the proxy.
fn compare(cluster: &Cluster, proxy: &Proxy, capabilities: Capabilities, acts: &[Act]) {
    set_up(cluster);
    let straight = play(cluster.primary().port, capabilities, acts);
    set_up(cluster);
    let through = play(proxy.port, capabilities, acts);
    let differences: Vec<String> = straight
        .iter()
        .zip(&through)
        .enumerate()
        .filter(|(_, (straight, through))| straight != through)
        .map(|(at, ((name, straight), (_, through)))| {
            format!("{at} {name}\n  straight {straight:?}\n  through {through:?}")
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{:?} {capabilities:?}: {} of {} differ\n{}",
        cluster.flavor,
        differences.len(),
        acts.len(),
        differences.join("\n")
    );
}

fn combinations() -> Vec<Capabilities> {
    let mut all = Vec::new();
    for eof in [Capabilities::default(), Capabilities::DEPRECATE_EOF] {
        for track in [Capabilities::default(), Capabilities::SESSION_TRACK] {
            for multi in [Capabilities::default(), Capabilities::MULTI_STATEMENTS] {
                all.push(eof | track | multi);
            }
        }
    }
    all
}

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        let proxy = Proxy::start(&cluster, "");
        run(&cluster, &proxy);
    }
}

#[test]
fn text_statements_are_answered_as_by_the_server() {
    each(|cluster, proxy| {
        for capabilities in combinations() {
            compare(cluster, proxy, capabilities, &text_statements(cluster.flavor));
        }
    });
}

#[test]
fn prepared_statements_are_answered_as_by_the_server() {
    each(|cluster, proxy| {
        for capabilities in combinations() {
            compare(cluster, proxy, capabilities, &prepared_statements(capabilities));
        }
    });
}

#[test]
fn commands_are_answered_as_by_the_server() {
    each(|cluster, proxy| {
        for capabilities in combinations() {
            compare(cluster, proxy, capabilities, &commands());
        }
    });
}

#[test]
fn a_change_of_user_is_answered_as_by_the_server() {
    each(|cluster, proxy| {
        set_up(cluster);
        for (user, password, schema) in [
            (accounts::APP.0, accounts::APP.1, "app"),
            (accounts::APP.0, accounts::APP.1, ""),
            (accounts::APP.0, accounts::APP.1, "missing"),
            (accounts::APP.0, "wrong", "app"),
            ("stranger", "x", ""),
        ] {
            let change = |port| {
                let mut peer = Peer::app(port, Capabilities::DEPRECATE_EOF, Some("test"));
                peer.ok("SET @v = 1");
                let end = peer.change_user(user, password, schema).payload;
                let after = peer.try_query("SELECT DATABASE(), @v");
                (end, after)
            };
            let (mut straight, mut through) = (change(cluster.primary().port), change(proxy.port));
            if cluster.flavor == Flavor::MariaDb && straight.0[0] == 0xff {
                // MariaDB goes on as the user of before; the proxy ends the connection, as MySQL does.
                (straight.1, through.1) = (Ok(Vec::new()), Ok(Vec::new()));
            }
            assert_eq!(straight, through, "{:?} {user} {password} {schema}", cluster.flavor);
        }
    });
}

/// COM_QUERY with one attribute: `name` is 'value'.
fn with_attribute(sql: &str) -> Vec<u8> {
    let mut payload = vec![3, 1, 1, 0, 1];
    payload.extend_from_slice(&STRING);
    put_lenenc_bytes(&mut payload, b"name");
    put_lenenc_bytes(&mut payload, b"value");
    payload.extend_from_slice(sql.as_bytes());
    payload
}

#[test]
fn mysqls_query_attributes_and_optional_metadata_are_carried() {
    each(|cluster, proxy| {
        if cluster.flavor != Flavor::MySql {
            return;
        }
        for server in &cluster.servers {
            server.sql("SET GLOBAL super_read_only = 0");
            server.sql("SET SESSION sql_log_bin = 0");
            server.sql("INSTALL COMPONENT 'file://component_query_attributes'");
            server.sql("SET SESSION sql_log_bin = 1");
            if server.id > 1 {
                server.set_read_only(true);
            }
        }
        super::support::wait_for("one writable server", || {
            (proxy.status()["cluster"]["state"] == "ok" || proxy.status()["cluster"]["primary"].is_string())
                .then_some(())
        });
        let results = |sql: &str| Act::Raw(with_attribute(sql), Expect::Results);
        let acts = vec![
            results("SELECT mysql_query_attribute_string('name')"),
            results("SELECT b FROM t WHERE id = 1"),
            results("INSERT INTO t (b) VALUES (mysql_query_attribute_string('name'))"),
            Act::Query("SELECT b FROM t ORDER BY id DESC LIMIT 1"),
            Act::Query("SET resultset_metadata = NONE"),
            Act::Query("SELECT * FROM t"),
            results("SELECT * FROM t"),
            Act::Prepare("SELECT * FROM t WHERE id = ?"),
        ];
        for more in [Capabilities::default(), Capabilities::DEPRECATE_EOF] {
            let attributes = Capabilities::QUERY_ATTRIBUTES | more;
            compare(cluster, proxy, attributes, &acts);
            compare(cluster, proxy, attributes | Capabilities::OPTIONAL_RESULTSET_METADATA, &acts);
            compare(cluster, proxy, attributes | Capabilities::SESSION_TRACK, &prepared_statements(attributes));
        }
    });
}

#[test]
fn mariadbs_cached_metadata_and_bulk_execution_are_carried() {
    each(|cluster, proxy| {
        if cluster.flavor != Flavor::MariaDb {
            return;
        }
        let bulk = Capabilities::MARIADB_STMT_BULK_OPERATIONS | Capabilities::MARIADB_EXTENDED_METADATA;
        let flags = bulk | Capabilities::MARIADB_CACHE_METADATA;
        let mut rows = vec![128, 0];
        rows.extend_from_slice(&STRING);
        for text in ["bulk one", "bulk two", "bulk three"] {
            rows.push(0);
            put_lenenc_bytes(&mut rows, text.as_bytes());
        }
        let mut acts = vec![
            Act::Prepare("INSERT INTO t (b) VALUES (?)"),
            Act::Named(Command::StmtBulkExecute, 0, rows.clone(), Expect::Results),
            Act::Query("SELECT b FROM t ORDER BY id"),
            Act::Prepare("SELECT id, b FROM t WHERE id > ? ORDER BY id"),
        ];
        for send in [true, false, false] {
            let rest = execute(flags, false, &[INT], send, &1u32.to_le_bytes());
            acts.push(Act::Named(Command::StmtExecute, 1, rest, Expect::Results));
        }
        for more in [Capabilities::default(), Capabilities::DEPRECATE_EOF] {
            compare(cluster, proxy, flags | more, &acts);
            // A server leaves metadata out that it has sent for the statement, and which one that is may change here.
            compare(cluster, proxy, bulk | more, &prepared_statements(bulk | more));
        }
    });
}

#[test]
fn a_login_is_answered_as_by_the_server() {
    each(|cluster, proxy| {
        let login = |port, schema, password| {
            let login = As { schema, password, capabilities: USUAL, ..As::default() };
            Peer::connect(port, &login).map(|mut peer| peer.row("SELECT DATABASE(), @@collation_connection"))
        };
        for (schema, password) in
            [(None, accounts::APP.1), (Some("test"), accounts::APP.1), (Some("no"), accounts::APP.1), (None, "bad")]
        {
            let straight = login(cluster.primary().port, schema, password);
            assert_eq!(login(proxy.port, schema, password), straight, "{schema:?} {password}");
        }
    });
}
