//! The servers bring their manuals along: every statement that `mysql.help_topic` has a page on must be in the golden table.

use super::support::{Cluster, Flavor, Options, flavors};
use serde::Deserialize;
use std::path::Path;

/// Words that a statement begins with.
#[rustfmt::skip]
const VERBS: &[&str] = &[
    "ALTER", "ANALYZE", "BACKUP", "BEGIN", "BINLOG", "CACHE", "CALL", "CHANGE", "CHECK", "CHECKSUM", "CLONE", "COMMIT",
    "CREATE", "DEALLOCATE", "DELETE", "DESC", "DESCRIBE", "DO", "DROP", "EXECUTE", "EXPLAIN", "FLUSH", "GET", "GRANT", "HANDLER",
    "HELP", "IMPORT", "INSERT", "INSTALL", "KILL", "LOAD", "LOCK", "OPTIMIZE", "PREPARE", "PURGE", "RELEASE", "RENAME",
    "REPAIR", "REPLACE", "RESET", "RESIGNAL", "RESTART", "REVOKE", "ROLLBACK", "SAVEPOINT", "SELECT", "SET", "SHOW",
    "SHUTDOWN", "SIGNAL", "START", "STOP", "TABLE", "TRUNCATE", "UNINSTALL", "UNLOCK", "UPDATE", "USE", "VALUES", "WITH", "XA",
];

/// Titles of pages that begin so and are about something else: parts of stored programs, functions, types, articles.
#[rustfmt::skip]
const NO_STATEMENTS: &[&str] = &[
    "BEGIN END", "DEALLOCATE / DROP PREPARE", "INSERT FUNCTION", "LOCK IN SHARE MODE", "REPLACE FUNCTION", "SET DATA TYPE", "SHOW",
    "VALUES", "VALUES / VALUE",
];

/// Words in titles that are not in the statement.
const FILLERS: &[&str] = &["STATEMENT", "STATEMENTS", "COMMAND", "VARIABLE", "TRANSACTIONS"];

#[derive(Deserialize)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    sql: Option<String>,
    flavor: Option<String>,
}

fn words(text: &str) -> Vec<String> {
    let cut = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    cut.filter(|word| !word.is_empty()).map(str::to_ascii_uppercase).collect()
}

/// The golden table's statements for a product, in words.
fn golden(flavor: Flavor) -> Vec<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sql");
    let files = std::fs::read_dir(folder).expect("fixtures/sql").map(|entry| entry.expect("an entry").path());
    let tables = files.filter(|path| path.extension().is_some_and(|ext| ext == "toml"));
    let read = |path| toml::from_str::<File>(&std::fs::read_to_string(path).expect("a table")).expect("a table");
    let word = if flavor == Flavor::MySql { "mysql" } else { "mariadb" };
    let cases = tables.flat_map(|path| read(path).case);
    let ours = cases.filter(|case| case.flavor.as_deref().is_none_or(|only| only == word));
    ours.filter_map(|case| case.sql).map(|sql| words(&sql)).collect()
}

/// Whether the words stand in the statement in that order, the first one first.
fn has(statement: &[String], title: &[String]) -> bool {
    let mut rest = statement.iter();
    statement.first() == title.first() && title.iter().all(|word| rest.any(|other| other == word))
}

/// Titles of statements are in capitals, but for the word that says what they are.
fn is_article(title: &str) -> bool {
    let is_filler = |word: &str| FILLERS.contains(&word.to_ascii_uppercase().as_str());
    title.split(' ').any(|word| word.bytes().any(|byte| byte.is_ascii_lowercase()) && !is_filler(word))
}

#[test]
fn every_statement_of_the_servers_manual_is_in_the_golden_table() {
    let mut lacking = Vec::new();
    for flavor in flavors() {
        let cluster = Cluster::start(flavor, Options { replicas: 0, ..Options::default() });
        let golden = golden(flavor);
        let mut compared = 0;
        for row in cluster.primary().sql("SELECT name FROM mysql.help_topic ORDER BY name") {
            let title = row[0].as_deref().expect("a title").replace('\\', "");
            let title = title.trim_end_matches(" LOADABLE FUNCTION").trim_end_matches(" [DATABASE]").to_owned();
            let words: Vec<_> = words(&title).into_iter().filter(|word| !FILLERS.contains(&word.as_str())).collect();
            let statement = words.first().is_some_and(|word| VERBS.contains(&word.as_str()))
                && !is_article(&title)
                && !title.contains("removed")
                && !NO_STATEMENTS.contains(&title.to_ascii_uppercase().as_str());
            if !statement {
                continue;
            }
            compared += 1;
            if !golden.iter().any(|sql| has(sql, &words)) {
                lacking.push(format!("{flavor:?}: {title}"));
            }
        }
        eprintln!("{flavor:?}: {compared} statements of the manual");
        assert!(compared > 100, "{flavor:?}: only {compared} pages were found");
    }
    assert!(lacking.is_empty(), "not in fixtures/sql: {lacking:#?}");
}
