//! Whatever a session has set: statements are answered as straight, dbproxy's own questions are understood, and a replica has what was set.

use super::peer::{As, Packet, Peer, USUAL, warm};
use super::support::{Cluster, Flavor, Options, Proxy, flavors};
use dbproxy::wire::Capabilities;

fn each(run: impl Fn(&Cluster, &Proxy)) {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options::default());
        warm(&cluster);
        cluster.primary().sql("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)");
        cluster.wait_for_replicas();
        run(&cluster, &Proxy::start(&cluster, ""));
    }
}

/// What sessions set that could change how a statement of dbproxy's own is read, run, or answered.
const STATES: &[&str] = &[
    "SET character_set_results = utf16le",
    "SET character_set_results = utf16",
    "SET character_set_results = ucs2",
    "SET character_set_results = utf32",
    "SET character_set_results = swe7",
    "SET character_set_results = NULL",
    "SET character_set_connection = ucs2",
    "SET character_set_connection = utf32",
    "SET collation_connection = utf16_general_ci",
    "SET character_set_results = utf16, collation_connection = utf32_bin, sql_mode = 'ANSI'",
    "SET NAMES swe7",
    "SET NAMES sjis",
    "SET NAMES gbk",
    "SET NAMES big5",
    "SET NAMES binary",
    "SET character_set_client = swe7, collation_connection = latin1_bin",
    "SET sql_mode = 'ANSI'",
    "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
    "SET sql_mode = 'PIPES_AS_CONCAT'",
    "SET sql_mode = 'IGNORE_SPACE'",
    "SET sql_mode = 'TRADITIONAL'",
    "SET sql_mode = ''",
    "SET sql_select_limit = 0",
    "SET sql_select_limit = 1",
    "SET sql_safe_updates = 1",
    "SET max_join_size = 1, sql_big_selects = 0",
    "SET sql_buffer_result = 1",
    "SET div_precision_increment = 0, group_concat_max_len = 4, max_sort_length = 4",
    "SET max_error_count = 0, sql_warnings = 1, sql_notes = 0",
    "SET lc_messages = 'de_DE', time_zone = '+13:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET completion_type = 1",
    "SET lock_wait_timeout = 1, net_write_timeout = 1, net_read_timeout = 1",
    "SET timestamp = 1",
];
const STATES_MYSQL: &[&str] = &["SET max_execution_time = 1", "SET resultset_metadata = NONE"];
const STATES_MARIADB: &[&str] = &[
    "SET max_statement_time = 0.01",
    "SET sql_mode = 'EMPTY_STRING_IS_NULL'",
    "SET sql_mode = 'SIMULTANEOUS_ASSIGNMENT'",
    "SET old_mode = ''",
    "SET system_versioning_asof = '2001-01-01 00:00:00'",
    "SET big_tables = 1, standard_compliant_cte = 0",
];

/// An answer without its column definitions: the collation in which results are described is not the session's after a change of a
/// single variable (docs/development.md).
fn without_definitions(answer: Vec<Packet>) -> Vec<Packet> {
    let catalogs: [&[u8]; 4] = [b"\x03def", b"\x06\0d\0e", b"\x06d\0e\0", b"\x0c\0\0\0d"];
    let defines = |packet: &Packet| catalogs.iter().any(|catalog| packet.payload.starts_with(catalog));
    answer.into_iter().filter(|packet| !defines(packet)).collect()
}

/// Plays a session that makes dbproxy ask everything it ever asks: the state of the session, for another backend; the position of
/// a replica that is left; and a replica to wait for the session's write.
fn questions(cluster: &Cluster, peer: &mut Peer, state: &str) -> Vec<(String, Vec<Packet>)> {
    let mut answers = Vec::new();
    let mut play = |sql: String| {
        let answer =
            peer.try_query(&sql).unwrap_or_else(|lost| panic!("{:?} {state}: {sql}: {lost:?}", cluster.flavor));
        answers.push((sql, without_definitions(answer)));
    };
    play(state.to_owned());
    play("SET max_seeks_for_key = @@max_seeks_for_key - 100".to_owned());
    for replica in cluster.replicas() {
        play(format!("/* dbproxy: server={} */ SELECT 1, 'a', CONVERT('x' USING latin1)", replica.address()));
        play("INSERT INTO t (n) VALUES (1)".to_owned());
    }
    play("SELECT COUNT(*) > 0 FROM t WHERE id > 0".to_owned());
    play("COMMIT".to_owned());
    answers
}

#[test]
fn dbproxys_own_questions_do_not_depend_on_what_the_session_has_set() {
    each(|cluster, proxy| {
        let more = if cluster.flavor == Flavor::MySql { STATES_MYSQL } else { STATES_MARIADB };
        for state in STATES.iter().chain(more) {
            for capabilities in [Capabilities::DEPRECATE_EOF, Capabilities::OPTIONAL_RESULTSET_METADATA] {
                let peer = |port| Peer::app(port, capabilities, Some("app"));
                let straight = questions(cluster, &mut peer(cluster.primary().port), state);
                let through = questions(cluster, &mut peer(proxy.port), state);
                for ((sql, straight), (_, through)) in straight.iter().zip(&through) {
                    // An id that was made is another one.
                    let inserts = sql.starts_with("INSERT") && straight.last().is_some_and(|last| last.err().is_none());
                    if inserts {
                        assert!(through.last().is_some_and(|last| last.err().is_none()), "{state}: {sql}: {through:?}");
                    } else {
                        assert_eq!(through, straight, "{:?} {state}: {sql}", cluster.flavor);
                    }
                }
            }
        }
        let lost = proxy.log().lines().filter(|line| line.contains("backend lost")).count();
        assert_eq!(lost, 0, "{}", proxy.log());
    });
}

#[test]
fn what_is_asked_about_a_statement_before_is_answered_where_that_left_it() {
    let warns =
        ["SELECT CAST('12x' AS SIGNED)", "SELECT n FROM t LIMIT 1", "SELECT nonsense FROM t", "SELECT n FROM nowhere"];
    let between = [
        "SELECT @@time_zone",
        "SELECT 1",
        "SET time_zone = @@time_zone",
        "BEGIN",
        "COMMIT",
        "USE app",
        "DO 1",
        "INSERT INTO t (n) VALUES (9)",
        "SHOW TABLES LIKE 't'",
        "SELECT COUNT(*) > 0 FROM t",
        "SELECT @@max_error_count + 'x'",
        "UPDATE t SET n = 9 WHERE id < 0",
    ];
    let asks = ["SHOW WARNINGS", "SELECT @@warning_count, @@error_count", "SELECT ROW_COUNT()", "SELECT FOUND_ROWS()"];
    each(|cluster, proxy| {
        for warn in warns {
            for between in between {
                for ask in asks {
                    // In a transaction all is asked at the primary.
                    if between == "BEGIN" && ask != "SELECT ROW_COUNT()" {
                        continue;
                    }
                    let answer = |port| {
                        let mut peer = Peer::app(port, Capabilities::default(), Some("app"));
                        peer.query(warn);
                        peer.query(between);
                        peer.query(ask)
                    };
                    let (straight, through) = (answer(cluster.primary().port), answer(proxy.port));
                    assert_eq!(through, straight, "{:?}: {warn}; {between}; {ask}", cluster.flavor);
                }
            }
        }
    });
}

/// Variables that follow a session, each with two values and a read that tells them apart.
const CARRIED: &[(&str, [&str; 2], &str)] = &[
    ("collation_connection", ["'utf8mb4_bin'", "utf8mb4_general_ci"], "SELECT 'a' = 'A', COLLATION('a')"),
    ("character_set_connection", ["latin1", "'utf8mb4'"], "SELECT CHARSET('a')"),
    ("character_set_results", ["'latin1'", "utf8mb4"], "SELECT 'a', CONVERT(_latin1 X'e9' USING utf8mb4)"),
    ("character_set_client", ["latin1", "utf8mb4"], "SELECT HEX('\u{e9}')"),
    ("group_concat_max_len", ["4", "1024"], "SELECT GROUP_CONCAT(n) FROM (SELECT 1111 AS n UNION SELECT 2222) AS d"),
    ("div_precision_increment", ["2", "5"], "SELECT 1/3"),
    ("time_zone", ["'+05:00'", "'+00:00'"], "SELECT FROM_UNIXTIME(0)"),
    ("lc_time_names", ["'de_DE'", "en_US"], "SELECT DAYNAME('2024-01-01')"),
    ("sql_mode", ["'ANSI_QUOTES'", "''"], "SELECT \"1\""),
    ("sql_select_limit", ["1", "5"], "SELECT 1 UNION SELECT 2"),
    ("default_week_format", ["3", "0"], "SELECT WEEK('2008-02-20')"),
];

/// Ways to write an assignment to a variable of the session.
fn spellings(name: &str, value: &str) -> Vec<String> {
    let upper = name.to_uppercase();
    vec![
        format!("SET {name} = {value}"),
        format!("SET `{name}` := {value}"),
        format!("SET @@{name} = {value}"),
        format!("SET @@`{name}` = {value}"),
        format!("SET @@{upper} = {value}"),
        format!("SET SESSION {name} = {value}"),
        format!("SET LOCAL `{name}` = {value}"),
        format!("SET @@session.{name} = {value}"),
        format!("SET @@LOCAL.{name}={value}"),
        format!("SET @@session.`{name}` = {value}"),
        format!("set /* a comment */ @@{name} /* another */ = {value} -- and another"),
        format!("SET @v = 1, @@{name} = {value}"),
        format!("SET @@{name} = {value}, @v = 1"),
        format!("SET NAMES utf8mb4, @@{name} = {value}"),
    ]
}

#[test]
fn every_spelling_of_an_assignment_follows_to_the_replica() {
    each(|cluster, proxy| {
        for (name, values, read) in CARRIED {
            let answers = |port: u16| {
                let mut answers = Vec::new();
                for spelling in 0..spellings(name, "x").len() {
                    let mut peer = Peer::app(port, Capabilities::DEPRECATE_EOF, Some("app"));
                    for value in values {
                        let set = spellings(name, value).swap_remove(spelling);
                        let done = peer.query(&set).last().and_then(Packet::err);
                        answers.push((set.clone(), done.map(|err| err.code), without_definitions(peer.query(read))));
                        // Over a collation that came another way.
                        peer.ok("SET NAMES utf8mb4 COLLATE utf8mb4_spanish_ci");
                        peer.query(read);
                        peer.query(&set);
                        answers.push((format!("SET NAMES, {set}"), None, without_definitions(peer.query(read))));
                    }
                    let at = peer.value("SELECT @@server_id");
                    assert_eq!(
                        at == "1",
                        port == cluster.primary().port,
                        "{name}: the session goes on reading from a replica"
                    );
                }
                answers
            };
            let (straight, through) = (answers(cluster.primary().port), answers(proxy.port));
            for (straight, through) in straight.iter().zip(&through) {
                assert_eq!(through, straight, "{:?}", cluster.flavor);
            }
        }
    });
}

#[test]
fn a_client_is_told_of_changes_of_its_session_what_it_asked_for() {
    let sets = [
        vec!["SET SESSION session_track_gtids = OWN_GTID"],
        vec!["PREPARE s FROM 'SET session_track_gtids = OWN_GTID'", "EXECUTE s"],
        vec!["SET sql_mode = ''; SET @@session.session_track_gtids = OWN_GTID"],
        vec!["SET /*!50700 session_track_gtids = OWN_GTID */"],
        vec!["SET session_track_system_variables = '*'", "SET group_concat_max_len = 10"],
        vec!["SET session_track_schema = 0", "USE test", "USE app"],
        vec!["SET session_track_state_change = 1", "SET @x = 1", "SET NAMES latin1"],
    ];
    each(|cluster, proxy| {
        // MariaDB has no such variable.
        let own = sets.iter().filter(|set| cluster.flavor == Flavor::MySql || !set.concat().contains("gtids"));
        for set in own {
            // What kinds of changes are told: 3 is GTIDs. Numbers of transactions and statements are others.
            let kinds = |port| {
                let capabilities = USUAL | Capabilities::SESSION_TRACK | Capabilities::MULTI_STATEMENTS;
                let login = As { capabilities, schema: Some("app"), ..As::default() };
                let mut peer = Peer::connect(port, &login).expect("a login");
                let mut answers: Vec<_> = set.iter().map(|sql| peer.query(sql)).collect();
                answers.push(peer.ok("INSERT INTO t (n) VALUES (7)"));
                answers.push(peer.ok("SELECT n FROM t LIMIT 1"));
                let lengths =
                    |answer: &Vec<Packet>| answer.iter().map(|packet| packet.payload.len()).collect::<Vec<_>>();
                answers.iter().map(lengths).collect::<Vec<_>>()
            };
            let (straight, through) = (kinds(cluster.primary().port), kinds(proxy.port));
            assert_eq!(through, straight, "{:?} {set:?}", cluster.flavor);
        }
    });
}
