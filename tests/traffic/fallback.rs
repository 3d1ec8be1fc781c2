//! What a replica refuses, or cannot do, is asked again at the primary: the client gets no error that the primary would not give.

use super::peer::{As, Packet, Peer, USUAL, warm};
use super::support::{Cluster, Flavor, Options, Proxy, Server, flavors, wait_for};
use dbproxy::wire::{Capabilities, Command, Expect, query_payload};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The primary has the server id 1.
const PRIMARY: &str = "1";
const FEW: (&str, &str) = ("few", "few-secret");
const LATE: (&str, &str) = ("late", "late-secret");
/// May write to a server with `read_only`.
const BOSS: (&str, &str) = ("boss", "boss-secret");

/// `open`: the replicas have `read_only` alone, which some accounts need not respect.
fn start(flavor: Flavor, open: bool) -> (Cluster, Proxy) {
    let server_options = "log_bin_trust_function_creators = 1\n".to_owned();
    let cluster = Cluster::start(flavor, Options { server_options, ..Options::default() });
    let primary = cluster.primary();
    for sql in [
        "CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)",
        "INSERT INTO app.t (n) VALUES (1), (2), (3)",
        "CREATE TABLE app.part (n INT) PARTITION BY RANGE (n) (PARTITION p0 VALUES LESS THAN (10))",
        "CREATE TABLE app.log (n INT)",
        "CREATE FUNCTION app.double_it(n INT) RETURNS INT NO SQL RETURN 2 * n",
        "CREATE VIEW app.doubled AS SELECT app.double_it(n) AS d FROM app.t",
        "CREATE SQL SECURITY INVOKER VIEW app.invoked AS SELECT app.double_it(7) AS d",
        "CREATE FUNCTION app.note_it(n INT) RETURNS INT BEGIN INSERT INTO app.log VALUES (n); RETURN n; END",
        "CREATE VIEW app.noted AS SELECT app.note_it(1) AS n",
        "CREATE VIEW app.noted_each AS SELECT app.note_it(n) AS n FROM app.t",
        "DROP FUNCTION app.double_it",
        "CREATE USER few IDENTIFIED BY 'few-secret'",
        "GRANT SELECT (id) ON app.t TO few",
        "GRANT SELECT ON app.invoked TO few",
        "CREATE USER boss IDENTIFIED BY 'boss-secret'",
        "GRANT ALL ON *.* TO boss",
    ] {
        primary.sql(sql);
    }
    cluster.wait_for_replicas();
    warm(&cluster);
    for server in &cluster.servers {
        drop(server.connect(FEW).expect("a login"));
        drop(server.connect(BOSS).expect("a login"));
    }
    if open && flavor == Flavor::MySql {
        cluster.replicas().iter().for_each(|replica| drop(replica.sql("SET GLOBAL super_read_only = 0")));
    }
    let users: String = [FEW, LATE, BOSS]
        .iter()
        .map(|(name, password)| format!("[[user]]\nname = \"{name}\"\npassword = \"{password}\"\n"))
        .collect();
    let proxy = Proxy::start(
        &cluster,
        &format!("[routing]\nconsistency = \"eventual\"\nwrite_wait_ms = 700\nlag_limit_ms = 0\n{users}"),
    );
    (cluster, proxy)
}

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let (cluster, proxy) = start(flavor, false);
        run(&cluster, &proxy);
    }
}

/// Replicas apply everything so many seconds late, and are read from all the same.
fn fall_behind(cluster: &Cluster, seconds: u32) {
    for replica in cluster.replicas() {
        let change = match cluster.flavor {
            Flavor::MySql => "CHANGE REPLICATION SOURCE TO SOURCE_DELAY",
            Flavor::MariaDb => "CHANGE MASTER TO MASTER_DELAY",
        };
        for sql in ["STOP REPLICA", &format!("{change} = {seconds}"), "START REPLICA"] {
            replica.sql(sql);
        }
        replica.wait_until_replicating();
    }
}

fn login(port: u16, (user, password): (&str, &str)) -> Peer {
    let capabilities = USUAL | Capabilities::DEPRECATE_EOF;
    let login = As { user, password, schema: None, capabilities, ..As::default() };
    Peer::connect(port, &login).unwrap_or_else(|error| panic!("{user}: {error:?}"))
}

/// Errors of replicas that were not passed on.
fn refusals(proxy: &Proxy) -> BTreeSet<String> {
    let metrics = proxy.http("/metrics").expect("metrics").1;
    let series = metrics.lines().filter(|line| line.starts_with("dbproxy_route_replica_refusals_total{"));
    series
        .filter(|line| !line.ends_with(" 0"))
        .map(|line| line.split('"').nth(3).expect("an error").to_owned())
        .collect()
}

fn failed(packets: &[Packet]) -> Option<u16> {
    packets.iter().find_map(Packet::err).map(|err| err.code)
}

fn prepare(peer: &mut Peer, sql: &str) -> Vec<u8> {
    let prepared = peer.run(&[&[0x16], sql.as_bytes()].concat(), Expect::Prepared).expect("an answer");
    assert_eq!(failed(&prepared), None, "PREPARE {sql}: {prepared:?}");
    prepared[0].payload[1..5].to_vec()
}

fn execute(peer: &mut Peer, id: &[u8], cursor: bool) -> Vec<Packet> {
    let expect = if cursor { Expect::ResultsOrCursor } else { Expect::Results };
    peer.run(&[&[Command::StmtExecute as u8], id, &[u8::from(cursor), 1, 0, 0, 0]].concat(), expect).expect("an answer")
}

/// The answers to a read: as text, prepared, and prepared where a transaction keeps it.
fn answers(peer: &mut Peer, sql: &str) -> Vec<Vec<Packet>> {
    let text = peer.query(sql);
    let id = prepare(peer, sql);
    let executed = execute(peer, &id, false);
    peer.ok("BEGIN");
    let id = prepare(peer, sql);
    peer.ok("COMMIT");
    vec![text, executed, execute(peer, &id, false), execute(peer, &id, false)]
}

/// What replicas do not have yet, and a read of it.
const LATER: &[(&str, &str)] = &[
    ("CREATE TABLE app.new AS SELECT 7 AS n", "SELECT n FROM app.new"),
    ("ALTER TABLE app.t ADD COLUMN c INT DEFAULT 7", "SELECT c FROM app.t"),
    ("ALTER TABLE app.t ADD INDEX by_n (n)", "SELECT n FROM app.t FORCE INDEX (by_n) ORDER BY n"),
    (
        "ALTER TABLE app.part ADD PARTITION (PARTITION p1 VALUES LESS THAN (20))",
        "SELECT n FROM app.part PARTITION (p1)",
    ),
    ("CREATE VIEW app.seen AS SELECT n FROM app.t", "SELECT n FROM app.seen ORDER BY n"),
    ("CREATE FUNCTION app.double_it(n INT) RETURNS INT NO SQL RETURN 2 * n", "SELECT d FROM app.doubled ORDER BY d"),
    ("CREATE DATABASE later", "SHOW TABLES FROM later"),
    ("CREATE TABLE later.t AS SELECT 7 AS n", "SELECT n FROM later.t"),
    ("CREATE TABLE app.shown (n INT)", "SHOW CREATE TABLE app.shown"),
    ("CREATE TABLE app.described (n INT)", "DESCRIBE app.described"),
    ("CREATE TABLE app.explained (n INT)", "EXPLAIN SELECT n FROM app.explained"),
];

#[test]
fn what_a_replica_does_not_have_yet_is_read_at_the_primary() {
    each(|cluster, proxy| {
        let mut straight = Peer::app(cluster.primary().port, Capabilities::DEPRECATE_EOF, Some("app"));
        let mut through = Peer::through(proxy);
        assert_ne!(through.value("SELECT @@server_id"), PRIMARY);
        fall_behind(cluster, 3600);
        let mut writer = Peer::through(proxy);
        for (later, read) in LATER {
            writer.ok(later);
            assert_eq!(answers(&mut through, read), answers(&mut straight, read), "{:?} {read}", cluster.flavor);
        }
        // Nothing keeps the session from its replica.
        assert_ne!(through.value("SELECT @@server_id"), PRIMARY);
        let known: &[&str] = &["1049", "1054", "1146", "1176", "1356", "1735"];
        let seen = refusals(proxy);
        assert!(known.iter().all(|code| seen.contains(*code)), "{:?} {seen:?}", cluster.flavor);
        let routes = proxy.http("/metrics").expect("metrics").1;
        let reason = "dbproxy_route_decisions_total{role=\"primary\",reason=\"replica_refused\"} ";
        let count: u32 =
            routes.lines().find_map(|line| line.strip_prefix(reason)).expect("it").parse().expect("a number");
        assert!(count >= 3 * u32::try_from(LATER.len()).expect("few"), "{count}");
        // An error that the primary gives too is its error.
        for wrong in
            ["SELECT nothing FROM app.t", "SELECT 1 FROM app.nothing", "SELEC 1", "SELECT (SELECT n FROM app.t)"]
        {
            assert_eq!(through.query(wrong), straight.query(wrong), "{wrong}");
        }
    });
}

#[test]
fn a_schema_in_which_a_session_is_and_its_replica_is_not() {
    each(|cluster, proxy| {
        let mut by_command = Peer::through(proxy);
        assert_ne!(by_command.value("SELECT @@server_id"), PRIMARY);
        fall_behind(cluster, 3600);
        cluster.primary().sql("CREATE DATABASE later");
        cluster.primary().sql("CREATE TABLE later.t AS SELECT 7 AS n");
        let answer = by_command.run(b"\x02later", Expect::OnePacket).expect("an answer");
        assert_eq!(failed(&answer), None);
        let mut by_login = Peer::app(proxy.port, Capabilities::DEPRECATE_EOF, Some("later"));
        for peer in [&mut by_command, &mut by_login] {
            assert_eq!(peer.row("SELECT n, @@server_id, DATABASE() FROM t"), ["7", PRIMARY, "later"]);
            let id = prepare(peer, "SELECT n FROM t");
            assert_eq!(failed(&execute(peer, &id, false)), None);
            peer.ok("USE app");
            assert_ne!(peer.value("SELECT @@server_id"), PRIMARY, "another schema keeps nothing");
        }
        assert!(refusals(proxy).contains("1049"));
    });
}

#[test]
fn rights_and_roles_that_a_replica_does_not_know_yet() {
    each(|cluster, proxy| {
        let (primary, flavor) = (cluster.primary(), cluster.flavor);
        let mut peer = login(proxy.port, FEW);
        assert_eq!(peer.row("SELECT COUNT(id), @@server_id > 1 FROM app.t"), ["3", "1"]);
        fall_behind(cluster, 3600);
        primary.sql("GRANT SELECT (n) ON app.t TO few");
        assert_eq!(peer.value("SELECT MAX(n) FROM app.t"), "3", "{flavor:?}: a column");
        primary.sql("GRANT SELECT ON app.log TO few");
        assert_eq!(peer.value("SELECT COUNT(*) FROM app.log"), "0", "{flavor:?}: a table");
        primary.sql("CREATE FUNCTION app.double_it(n INT) RETURNS INT NO SQL RETURN 2 * n");
        primary.sql("GRANT EXECUTE ON FUNCTION app.double_it TO few");
        assert_eq!(peer.value("SELECT d FROM app.invoked"), "14", "{flavor:?}: a function behind a view");
        primary.sql("GRANT SELECT ON test.* TO few");
        peer.ok("USE test");
        assert_eq!(peer.value("SELECT @@server_id"), PRIMARY, "{flavor:?}: a schema");
        peer.ok("USE app");
        // Roles: of one that is not there, and not while the session has it.
        primary.sql("CREATE ROLE reader");
        primary.sql("GRANT SELECT ON app.* TO reader");
        primary.sql("GRANT reader TO few");
        peer.ok("SET ROLE reader");
        assert_eq!(peer.row("SELECT COUNT(*), @@server_id FROM app.part"), ["0", PRIMARY], "{flavor:?}: a role");
        let id = prepare(&mut peer, "SELECT n FROM app.part");
        assert_eq!(failed(&execute(&mut peer, &id, false)), None);
        // An account that replicas do not know at all.
        primary.sql("CREATE USER late IDENTIFIED BY 'late-secret'");
        primary.sql("GRANT SELECT ON app.* TO late");
        drop(primary.connect(LATE).expect("a login"));
        let mut late = login(proxy.port, LATE);
        assert_eq!(late.row("SELECT COUNT(*), @@server_id FROM app.t"), ["3", PRIMARY], "{flavor:?}: an account");
        let seen = refusals(proxy);
        assert!(["1142", "1143"].iter().all(|code| seen.contains(*code)), "{flavor:?} {seen:?}");
        // It binds nobody: the replicas answer again as soon as they know.
        fall_behind(cluster, 0);
        cluster.wait_for_replicas();
        for server in cluster.replicas() {
            drop(server.connect(LATE).expect("a login"));
        }
        for peer in [&mut peer, &mut late] {
            wait_for("a replica to be read from", || {
                (peer.row("SELECT COUNT(*), @@server_id FROM app.part")[1] != PRIMARY).then_some(())
            });
        }
        peer.ok("SET ROLE NONE");
        assert_eq!(failed(&peer.query("SELECT n FROM app.part")), Some(1142), "{flavor:?}: not without the role");
    });
}

fn notes(server: &Server) -> u32 {
    server.value("SELECT COUNT(*) FROM app.log").parse().expect("a number")
}

/// Reads through views whose functions write: each is done once, at the primary.
fn writes_once(cluster: &Cluster, peer: &mut Peer) {
    let (primary, flavor) = (cluster.primary(), cluster.flavor);
    let before = notes(primary);
    for n in 1..=3 {
        assert_eq!(peer.value("SELECT n FROM app.noted"), "1", "{flavor:?}");
        assert_eq!(notes(primary), before + n, "{flavor:?}");
    }
    let each = peer.ok("SELECT n FROM app.noted_each");
    assert_eq!((each.len(), notes(primary)), (6, before + 6), "{flavor:?}: its columns come before its error");
    let id = prepare(peer, "SELECT n FROM app.noted");
    for cursor in [false, true] {
        let opened = execute(peer, &id, cursor);
        assert_eq!(failed(&opened), None, "{flavor:?}: executed, with a cursor: {cursor}");
    }
    let fetched = peer.run(&[&[0x1c], &id[..], &[9, 0, 0, 0]].concat(), Expect::Rows).expect("an answer");
    assert_eq!(failed(&fetched), None, "{flavor:?}: fetched");
    assert_eq!(notes(primary), before + 8, "{flavor:?}");
    cluster.wait_for_replicas();
    for replica in cluster.replicas() {
        assert_eq!(notes(replica), before + 8, "{flavor:?}: what a replica has");
        let errant = match flavor {
            Flavor::MySql => {
                let executed = replica.gtid_executed();
                primary.value(&format!("SELECT GTID_SUBTRACT('{executed}', @@global.gtid_executed)"))
            }
            Flavor::MariaDb => replica.value("SELECT COUNT(*) FROM mysql.gtid_slave_pos WHERE server_id <> 1"),
        };
        assert!(["", "0"].contains(&&*errant), "{flavor:?}: an errant transaction: {errant}");
    }
}

#[test]
fn a_view_that_writes_is_read_at_the_primary_and_writes_there_once() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        assert_ne!(peer.value("SELECT @@server_id"), PRIMARY);
        writes_once(cluster, &mut peer);
        let code = if cluster.flavor == Flavor::MySql { "1290" } else { "1792" };
        assert!(refusals(proxy).contains(code), "{:?} {:?}", cluster.flavor, refusals(proxy));
        assert_ne!(peer.value("SELECT @@server_id"), PRIMARY, "it binds nothing");
        // With EOF packets, which cannot tell the write's position: it is read all the same.
        let mut old = Peer::app(proxy.port, Capabilities::default(), Some("app"));
        old.ok("SET dbproxy_consistency = 'session'");
        fall_behind(cluster, 3600);
        for _ in 0..3 {
            old.ok("SELECT n FROM noted");
            assert_eq!(old.value("SELECT COUNT(*) FROM log"), notes(cluster.primary()).to_string());
        }
    });
}

#[test]
fn column_definitions_that_come_long_before_the_error_are_not_passed_on() {
    each(|cluster, proxy| {
        let columns: Vec<_> = (0..300).map(|n| format!("a_column_with_quite_a_long_name_{n:03}")).collect();
        let named: Vec<_> = columns.iter().map(|name| format!("n AS {name}")).collect();
        let sql = format!("CREATE VIEW app.wide AS SELECT app.note_it(n) AS noted, {} FROM app.t", named.join(", "));
        cluster.primary().sql(&sql);
        cluster.wait_for_replicas();
        // The longer ones are sent in several pieces, which come one after the other.
        for capabilities in [Capabilities::DEPRECATE_EOF, Capabilities::default()] {
            let mut straight = Peer::app(cluster.primary().port, capabilities, Some("app"));
            let mut through = Peer::app(proxy.port, capabilities, Some("app"));
            assert_ne!(through.value("SELECT @@server_id"), PRIMARY);
            for count in [1, 20, 100, 300] {
                let named = columns[..count].join(", ");
                let read = format!("SELECT noted, {named} FROM wide");
                assert_eq!(through.query(&read), straight.query(&read), "{:?}: {count} columns", cluster.flavor);
                let id = prepare(&mut through, &read);
                assert_eq!(failed(&execute(&mut through, &id, false)), None, "{:?}: {count} columns", cluster.flavor);
            }
        }
    });
}

#[test]
fn an_account_that_may_write_to_replicas_writes_to_none() {
    for flavor in flavors() {
        let (cluster, proxy) = start(flavor, true);
        let mut peer = login(proxy.port, BOSS);
        assert_ne!(peer.value("SELECT @@server_id"), PRIMARY);
        writes_once(&cluster, &mut peer);
        assert!(refusals(&proxy).contains("1792"), "{flavor:?} {:?}", refusals(&proxy));
        // What it is told on a replica is not what the client sees, nor what a new primary keeps.
        let variable = if flavor == Flavor::MySql { "transaction_read_only" } else { "tx_read_only" };
        assert_eq!(peer.value(&format!("SELECT @@{variable}")), "0");
        let replica: usize = peer.value("SELECT @@server_id").parse().expect("a number");
        cluster.switch_primary(0, replica - 1);
        // This account's writes do not show it.
        wait_for("the new primary to be asked", || {
            let row = peer.row(&format!("SELECT @@{variable}, @@server_id"));
            (row == ["0", &replica.to_string()]).then_some(())
        });
        peer.ok("INSERT INTO app.log VALUES (9)");
    }
}

#[test]
fn warnings_after_it_are_those_of_the_primary() {
    each(|cluster, proxy| {
        fall_behind(cluster, 3600);
        cluster.primary().sql("CREATE TABLE app.new AS SELECT 7 AS n");
        let mut straight = Peer::app(cluster.primary().port, Capabilities::DEPRECATE_EOF, Some("app"));
        let mut through = Peer::through(proxy);
        let reads =
            ["SELECT n, CAST('x' AS SIGNED) FROM new", "SELECT n FROM none", "SELECT CAST('y' AS SIGNED) FROM new"];
        for read in reads {
            for asked in ["SHOW WARNINGS", "SHOW COUNT(*) WARNINGS", "SELECT FOUND_ROWS(), ROW_COUNT()"] {
                let (one, other) = (through.query(read), straight.query(read));
                assert_eq!(one, other, "{:?} {read}", cluster.flavor);
                assert_eq!(through.query(asked), straight.query(asked), "{:?} {read}; {asked}", cluster.flavor);
            }
        }
        assert!(refusals(proxy).contains("1146"));
    });
}

/// A read that takes longer than anybody waits for.
const LONG: &str = "SELECT COUNT(*) FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l, t m, t o, t p, t q, t r, t s \
     WHERE a.n + b.n + c.n + d.n + e.n + f.n + g.n + h.n + i.n + j.n + k.n + l.n + m.n + o.n + p.n + q.n + r.n > 50";

#[test]
fn what_was_killed_or_took_too_long_is_not_run_again() {
    each(|cluster, proxy| {
        let sorted = "SELECT a.n FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l, t m, t o, t p, t q ORDER BY RAND()";
        let running = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT%t a, t b%' AND INFO NOT LIKE '%PROCESSLIST%'";
        let mut killer = Peer::through(proxy);
        for read in [LONG, sorted] {
            let mut victim = Peer::through(proxy);
            victim.send(&query_payload(read, victim.capabilities));
            wait_for("the statement to run on a replica", || {
                cluster.replicas().iter().any(|server| !server.sql(running).is_empty()).then_some(())
            });
            killer.ok(&format!("KILL QUERY {}", victim.id));
            let code = failed(&victim.answer(Expect::Results).expect("an answer"));
            assert!(matches!(code, Some(1317 | 1028)), "{:?} {read}: {code:?}", cluster.flavor);
            // It is in the process list until it has ended. If it ran again, it would stay there.
            wait_for("the statement to run nowhere", || {
                cluster.servers.iter().all(|server| server.sql(running).is_empty()).then_some(())
            });
            assert_ne!(victim.value("SELECT @@server_id"), PRIMARY, "the session goes on");
        }
        let (set, code) = match cluster.flavor {
            Flavor::MySql => ("SET max_execution_time = 300", 3024),
            Flavor::MariaDb => ("SET max_statement_time = 0.3", 1969),
        };
        let mut slow = Peer::through(proxy);
        slow.ok(set);
        for read in [LONG, sorted] {
            let began = Instant::now();
            let failed = failed(&slow.query(read));
            assert!(
                [Some(code), Some(1028)].contains(&failed),
                "{:?} {read}: {failed:?} after {:?}",
                cluster.flavor,
                began.elapsed()
            );
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        let id = prepare(&mut slow, LONG);
        assert_eq!(failed(&execute(&mut slow, &id, false)), Some(code));
        assert_eq!(refusals(proxy), BTreeSet::new());
        assert!(cluster.servers.iter().all(|server| server.sql(running).is_empty()));
    });
}

#[test]
fn without_a_primary_the_replicas_error_is_the_answer() {
    each(|cluster, proxy| {
        let mut peer = Peer::through(proxy);
        assert_ne!(peer.value("SELECT @@server_id"), PRIMARY);
        cluster.primary().set_read_only(true);
        wait_for("the proxy to see that nobody takes writes", || {
            (proxy.http("/status").is_some_and(|(_, text)| !text.contains("\"role\":\"primary\""))
                || failed(&peer.query("DELETE FROM t WHERE id = 0")) == Some(1836))
            .then_some(())
        });
        let began = Instant::now();
        assert_eq!(failed(&peer.query("SELECT 1 FROM nothing")), Some(1146), "{:?}", cluster.flavor);
        assert!(began.elapsed() >= Duration::from_millis(600), "somebody could have become the primary");
        assert_eq!(peer.value("SELECT COUNT(*) FROM t"), "3");
    });
}
