//! The functions that the lexer proves against those that the servers have.

use super::support::{Client, Cluster, Flavor, Options, accounts, flavors};
use dbproxy::sql::{self, CharsetFamily, Effect, Lexis, Why, classify};
use std::collections::{BTreeMap, BTreeSet};

fn lexis(flavor: Flavor) -> Lexis {
    let flavor = match flavor {
        Flavor::MySql => sql::Flavor::MySql,
        Flavor::MariaDb => sql::Flavor::MariaDb,
    };
    Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor }
}

/// Ways to write a call.
fn calls(name: &str) -> Vec<String> {
    let arguments = ["", "1", "1, 2", "1, 2, 3"];
    let gaps = ["", " ", "\n", "/**/", "  -- \n"];
    arguments.iter().flat_map(|arguments| gaps.map(|gap| format!("SELECT {name}{gap}({arguments})"))).collect()
}

/// Functions of the server by its own list: MariaDB's table of them, MySQL's manual.
fn listed(cluster: &Cluster) -> BTreeSet<String> {
    let list = match cluster.flavor {
        Flavor::MySql => {
            "SELECT LOWER(t.name) FROM mysql.help_topic t JOIN mysql.help_category c USING (help_category_id) \
             LEFT JOIN mysql.help_category p ON p.help_category_id = c.parent_category_id \
             WHERE 'Functions' IN (c.name, p.name) OR c.name LIKE '%function%' OR p.name LIKE '%function%' \
             OR c.name IN ('GTID', 'XML', 'Geometry Constructors', 'MBR', 'WKT', 'WKB')"
        }
        Flavor::MariaDb => "SELECT LOWER(FUNCTION) FROM information_schema.SQL_FUNCTIONS",
    };
    let names = cluster.primary().sql(list).into_iter().filter_map(|mut row| row[0].take());
    let bare = names.map(|name| name.trim_end_matches("()").trim_end_matches(" function").to_owned());
    bare.filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
        .collect()
}

/// `fixtures/truth/functions.tsv`: built-ins that are not proven, and why.
fn unproven(flavor: Flavor) -> BTreeMap<&'static str, &'static str> {
    let word = if flavor == Flavor::MySql { "mysql" } else { "mariadb" };
    let lines = include_str!("../../fixtures/truth/functions.tsv").lines().filter(|line| !line.starts_with('#'));
    let cells = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    cells.filter(|cells| cells[1] == word).map(|cells| (cells[0], cells[2])).collect()
}

#[test]
fn every_built_in_is_known_or_left_out_on_purpose() {
    let mut complaints = Vec::new();
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options { replicas: 0, ..Options::default() });
        let (listed, left_out) = (listed(&cluster), unproven(flavor));
        let strange = |name: &&String| {
            calls(name).iter().all(|call| {
                let why = classify(call.as_bytes(), lexis(flavor)).why;
                matches!(why, Why::UnknownFunction | Why::NotUnderstood)
            })
        };
        let unknown: BTreeSet<_> = listed.iter().filter(strange).map(String::as_str).collect();
        eprintln!("{flavor:?}: {} built-ins, {} not known", listed.len(), unknown.len());
        assert!(listed.len() > 200, "{flavor:?}: {} built-ins", listed.len());
        let mut complain = |what: &str, names: Vec<&&str>| {
            if !names.is_empty() {
                complaints.push(format!("{flavor:?}: {what}: {names:?}"));
            }
        };
        complain("nobody decided about", unknown.iter().filter(|name| !left_out.contains_key(*name)).collect());
        let known = |name: &&&str| listed.contains(**name) && !unknown.contains(**name);
        complain("known after all", left_out.keys().filter(known).collect());
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Every word in quotes of the lexer's lists.
fn named() -> BTreeSet<&'static str> {
    let lists = include_str!("../../src/sql/words.rs");
    let words = lists.split('"').skip(1).step_by(2);
    words
        .filter(|word| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
        .collect()
}

/// Whether the call ran the stored function of that name: it left its mark, or was found and had other parameters.
fn reached(client: &mut Client, call: &str) -> bool {
    client.query("SET @reached = NULL");
    let outcome = client.try_query(call);
    outcome.is_err_and(|error| error.code == 1318) || client.value("SELECT @reached") != "NULL"
}

#[test]
fn no_proven_call_reaches_a_stored_function() {
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options { replicas: 0, ..Options::default() });
        cluster.primary().sql("SET GLOBAL log_bin_trust_function_creators = 1");
        let mut client = cluster.primary().connect(accounts::APP).expect("a login");
        client.query("USE app");
        let (mut functions, mut played, mut found) = (0, 0, Vec::new());
        for name in named() {
            let is_read = |call: &String| classify(call.as_bytes(), lexis(flavor)).effect == Effect::Read;
            let proven: Vec<_> = calls(name).into_iter().filter(is_read).collect();
            if proven.is_empty() {
                continue;
            }
            functions += 1;
            client.query(&format!(
                "CREATE FUNCTION `{name}` (a INT) RETURNS INT DETERMINISTIC BEGIN SET @reached = 1; RETURN 1; END"
            ));
            played += proven.len();
            found.extend(proven.into_iter().filter(|call| reached(&mut client, call)));
            // A call that nothing shadows is reached, so the experiment would show it.
            assert!(reached(&mut client, &format!("SELECT app.`{name}`(1)")), "{flavor:?}: {name}");
            client.query(&format!("DROP FUNCTION `{name}`"));
        }
        eprintln!("{flavor:?}: {played} calls of {functions} names");
        assert!(found.is_empty(), "{flavor:?}: a stored function is reached by {found:#?}");
        assert!(functions > 300, "{flavor:?}: only {functions} names are proven");
    }
}
