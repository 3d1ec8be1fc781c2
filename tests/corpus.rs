//! The statements of the servers' own test suites: what the lexer proves of them, what the parser says to that, how many of the
//! real reads are proven, and how few of these the parser refuses.
//!
//! The suites are fetched when the test runs (`scripts/fetch-corpus.sh`). MariaDB's is small and always wanted; MySQL's is
//! looked at when it is in the cache, which `make corpus` sees to. `DBPROXY_CORPUS=full` parses every statement and fetches
//! both; else every tenth is parsed. A suite that cannot be had is named, with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "corpus/mysqltest.rs"]
mod mysqltest;
#[path = "corpus/report.rs"]
mod report;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use dbproxy::sql::{
    CharsetFamily, Effect, Flavor, Lexis, STACK_BYTES, StatementKind, Tables, classify, objection_to, structure,
};
use report::Report;

/// Of the statements, one in so many is parsed when not all are.
const SAMPLE: usize = 10;

fn lexis(flavor: Flavor) -> Lexis {
    Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor }
}

fn full() -> bool {
    std::env::var_os("DBPROXY_CORPUS").is_some_and(|word| word == "full")
}

/// The directory of a suite; nothing, and the reason on standard error, where it cannot be had.
fn suite(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = std::env::var_os("DBPROXY_CACHE").map_or_else(|| root.join(".cache"), PathBuf::from);
    let kept = cache.join("corpus").join(name);
    if kept.join("version").exists() {
        return Some(kept);
    }
    if name == "mysql" && !full() {
        eprintln!(
            "NOT TESTED on the statements of MySQL's test suite: not in {}; make corpus fetches it",
            cache.display()
        );
        return None;
    }
    let output = Command::new(root.join("scripts/fetch-corpus.sh")).arg(name).output().expect("a shell");
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("NOT TESTED on the statements of {name}'s test suite: {}", why.trim());
        assert!(!full(), "make corpus wants both suites");
        return None;
    }
    Some(kept)
}

/// Each statement once, as far as it is UTF-8.
fn statements(suite: &Path) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for path in mysqltest::scripts(suite) {
        let script = std::fs::read(path).expect("a readable script");
        for sql in mysqltest::statements(&script) {
            if let Ok(sql) = String::from_utf8(sql)
                && seen.insert(sql.clone())
            {
                all.push(sql);
            }
        }
    }
    all
}

fn look_at(flavor: Flavor, statements: Vec<String>) -> Report {
    let lexis = lexis(flavor);
    let mut report = Report::new(full());
    for (place, sql) in statements.iter().enumerate() {
        let facts = classify(sql.as_bytes(), lexis);
        report.classified(sql, &facts, lexis);
        if place % SAMPLE != 0 && !full() {
            continue;
        }
        let structure = structure(sql.as_bytes(), lexis);
        report.parsed(facts.kind, matches!(structure.tables, Tables::Known(_)));
        if facts.effect == Effect::Read {
            report.judged(sql, structure.verdict.expect("a read can be cut"));
            // The tree of the statement as it stands, its literals included.
            if let Some(objection) = objection_to(sql, lexis) {
                report.disagreement(sql, objection.as_str());
            }
        }
        let writes = |used: &dbproxy::sql::TableUse| used.written;
        if let Tables::Known(tables) = &structure.tables
            && facts.effect == Effect::Read
            && facts.kind == StatementKind::Select
            && tables.iter().any(writes)
        {
            report.disagreement(sql, "a table is written");
        }
    }
    report
}

fn check(name: &str, flavor: Flavor, least: usize, share: f64) {
    let Some(suite) = suite(name) else { return };
    let statements = statements(&suite);
    assert!(statements.len() > least, "only {} statements of {name}", statements.len());
    let thread = std::thread::Builder::new().stack_size(4 * STACK_BYTES);
    let report = thread.spawn(move || look_at(flavor, statements)).expect("a thread").join().expect("no panic");
    println!("{}", report.text(name));
    assert!(report.disagreements.is_empty(), "{}", report.disagreements.join("\n"));
    assert!(report.read_share() > share, "{:.1} % of the reads of {name} are proven", 100.0 * report.read_share());
    assert!(report.refused_share() < 0.01, "the parser refuses {:.2} % of them", 100.0 * report.refused_share());
}

#[test]
fn the_parser_has_nothing_against_a_proven_read_of_mariadbs_suite() {
    check("mariadb", Flavor::MariaDb, 150_000, 0.92);
}

#[test]
fn the_parser_has_nothing_against_a_proven_read_of_mysqls_suite() {
    check("mysql", Flavor::MySql, 150_000, 0.92);
}
